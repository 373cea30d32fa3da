// SPDX-License-Identifier: BSD-3-Clause
/*
 * The midwife: who starts workers.
 *
 * A filter lasts through fork and exec, so the keeper, which is under a strict
 * one, cannot start a worker that is not.  The midwife was forked before the
 * filter.  It hears nobody but the keeper, and an order is a few numbers; it
 * sleeps until one comes.
 *
 * It shares the keeper's table of descriptors (CLONE_FILES), so that nothing
 * has to be sent to and fro, rings least of all, which cannot be sent; but
 * not its memory, or whoever had taken over the keeper could write
 * into the midwife's.  What it bears is the keeper's child (CLONE_PARENT): the
 * keeper waits for it, and whoever dies, the signals are as if the keeper had
 * forked itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define PATIENCE_MS 10000	/* a fork under memory pressure takes its time */

struct order {
	int binary;		/* -1: open the one at the path, no birth */
	int pulse;
	uint64_t generation;
	struct ob_rings old[OB_RINGS_HELD];	/* inherited */
	unsigned nr_old;
};

/* Raw, since fork() knows no flags; as with fork(), memory is a copy. */
static pid_t clone_raw(unsigned long flags, int *pidfd)
{
	return (pid_t)syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, NULL,
			      pidfd, NULL, NULL);
}

/* In the child */

static void inherit(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void inherit_rings(const struct ob_rings *rings)
{
	inherit(rings->loop);
	inherit(rings->sure);
	inherit(rings->journal);
}

/*
 * The keeper's death is everybody's, as with one process; and the signals that
 * are the keeper's business do not kill a worker that has not got ready.
 */
static void belong_to_keeper(const struct ob_keeper *k)
{
	sigset_t mask = k->mask;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != k->pid)
		_exit(127);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

__attribute__((noreturn))
static void become_worker(struct ob_keeper *k, const struct order *order,
			  const struct ob_birth *birth, int channel)
{
	belong_to_keeper(k);
	snprintf(k->env_link, sizeof(k->env_link), OB_KEEPER_ENV "=%d,%d,%u",
		 channel, order->pulse, k->held.room - OB_KEEPER_NEW);
	inherit(channel);
	inherit(order->pulse);
	inherit_rings(&birth->rings);
	for (unsigned i = 0; i < order->nr_old && i < OB_RINGS_HELD; i++)
		inherit_rings(&order->old[i]);
	syscall(SYS_execveat, order->binary, "", k->opts->argv, k->env,
		AT_EMPTY_PATH);
	SAY(ERROR, "the binary cannot be run: %s", strerror(errno));
	_exit(127);
}

/* In the midwife */

static void make_rings(struct ob_birth *birth, uint64_t generation)
{
	int r = ob_rings_create(generation, &birth->rings);

	if (r && r != -ENOSYS && r != -EPERM)
		SAY(WARN, "generation %llu has no rings: %s",
		    (unsigned long long)generation, strerror(-r));
}

static int bear(struct ob_keeper *k, const struct order *order,
		struct ob_birth *birth)
{
	OB_CLEANUP_FD int theirs = -1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	birth->channel = pair[0];
	theirs = pair[1];
	make_rings(birth, order->generation);
	birth->pid = clone_raw(CLONE_PARENT, &birth->fd);
	if (birth->pid < 0)
		return -errno;
	if (birth->pid == 0)
		become_worker(k, order, birth, theirs);
	return 0;
}

static void work_off(struct ob_keeper *k, const struct order *order,
		     struct ob_birth *birth)
{
	*birth = ob_birth_none;
	if (order->binary >= 0) {
		birth->error = bear(k, order, birth);
	} else {
		birth->fd = open(k->opts->path, O_PATH | O_CLOEXEC);
		birth->error = birth->fd < 0 ? -errno : 0;
	}
	if (birth->error) {
		ob_fd_close(&birth->channel);
		ob_rings_close(&birth->rings);
	}
}

__attribute__((noreturn))
static void be_midwife(struct ob_keeper *k)
{
	struct ob_birth birth;
	struct order order;

	prctl(PR_SET_NAME, "outboard-births", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != k->pid)
		_exit(0);
	while (recv(k->midwife.end, &order, sizeof(order), 0) == sizeof(order)) {
		work_off(k, &order, &birth);
		/* Without an answer she would be taken for dead. */
		while (send(k->midwife.end, &birth, sizeof(birth), 0) < 0)
			poll(NULL, 0, 1);
	}
	_exit(1);
}

/* In the keeper */

const struct ob_birth ob_birth_none = {
	.fd = -1, .channel = -1, .rings = { -1, -1, -1, 0 },
};

int ob_midwife_start(struct ob_keeper *k)
{
	struct ob_midwife *m = &k->midwife;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	m->orders = pair[0];
	m->end = pair[1];
	pid = clone_raw(CLONE_FILES, &m->pidfd);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_midwife(k);
	return ob_keeper_watch(k, EPOLL_CTL_ADD, m->pidfd, EPOLLIN,
			       OB_FROM_MIDWIFE, 0);
}

/* Both have both ends: the death of one closes nothing. */
static bool has_answered(const struct ob_midwife *m)
{
	struct pollfd fds[] = {
		{ .fd = m->orders, .events = POLLIN },
		{ .fd = m->pidfd, .events = POLLIN },
	};
	int n;

	do
		n = poll(fds, 2, PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 && fds[0].revents & POLLIN;
}

/* What answers too late would answer another question: it is killed. */
static int ask(struct ob_keeper *k, const struct order *order,
	       struct ob_birth *birth)
{
	struct ob_midwife *m = &k->midwife;

	if (m->pidfd < 0)
		return -ESRCH;
	if (send(m->orders, order, sizeof(*order), MSG_DONTWAIT) < 0)
		return -errno;
	if (!has_answered(m) ||
	    recv(m->orders, birth, sizeof(*birth), MSG_DONTWAIT) < 0) {
		syscall(SYS_pidfd_send_signal, m->pidfd, SIGKILL, NULL, 0);
		ob_midwife_died(k);
		return -ESRCH;
	}
	return birth->error;
}

int ob_midwife_bear(struct ob_keeper *k, int binary, const struct ob_worker *w,
		    struct ob_birth *birth)
{
	struct order order = { .binary = binary, .pulse = w->pulse_fd,
			       .generation = w->generation,
			       .nr_old = k->nr_rings };

	memcpy(order.old, k->rings, k->nr_rings * sizeof(order.old[0]));
	return ask(k, &order, birth);
}

int ob_midwife_open(struct ob_keeper *k)
{
	const struct order order = { .binary = -1 };
	struct ob_birth birth;
	int r = ask(k, &order, &birth);

	return r ? r : birth.fd;
}

/* Nobody can make another.  The worker that serves goes on. */
void ob_midwife_died(struct ob_keeper *k)
{
	siginfo_t info;

	if (k->midwife.pidfd < 0)
		return;
	SAY(ERROR, "the process that starts workers has died: when the "
	    "present worker dies, all ends");
	waitid(P_PIDFD, (id_t)k->midwife.pidfd, &info, WEXITED);
	ob_fd_close(&k->midwife.pidfd);
}
