// SPDX-License-Identifier: BSD-3-Clause
/*
 * The midwives: who starts workers.
 *
 * A filter lasts through fork and exec, so the keeper, which is under a strict
 * one, cannot start a worker that is not.  A midwife was forked before the
 * filter.  It hears nobody but the keeper, and an order is a few numbers; it
 * sleeps until one comes.  There are two, so that one can start another if the
 * other one dies.
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
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define REPLACE_AGAIN_MS 1000
#define PATIENCE_MS 10000	/* a fork under memory pressure takes its time */

struct order {
	enum { BEAR, OPEN, REPLACE } what;	/* OPEN: the binary at the path */
	unsigned place;		/* REPLACE: whose */
	int binary, pulse;	/* BEAR, as what follows */
	uint64_t generation;
	struct ob_sets old[OB_RINGS_HELD];	/* inherited */
	unsigned nr_old;
};

/*
 * For want of memory the kernel is to kill a worker, who leaves everything to a
 * successor.  Others are spared if we may do that; if not, it is asked to
 * kill a worker rather than a midwife, and her rather than the keeper.
 */
#define SPARED "-1000"
#define MIDWIFE_OOM 100		/* as if it had a tenth of what there is more */
#define WORKER_OOM 200

static const char oom_path[] = "/proc/self/oom_score_adj";

static bool set_oom_score(const char *score)
{
	OB_CLEANUP_FD int fd = open(oom_path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, score, strlen(score)) > 0;
}

static void write_score(char text[OB_OOM_SCORE], int score)
{
	snprintf(text, OB_OOM_SCORE, "%d", score < 1000 ? score : 1000);
}

/* As text, so that midwives have no use for the pages that make it. */
static void choose_oom_scores(struct ob_keeper *k)
{
	OB_CLEANUP_FD int fd = open(oom_path, O_RDONLY | O_CLOEXEC);
	char text[OB_OOM_SCORE] = "";
	int found = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 ? atoi(text) : 0;
	bool spared = set_oom_score(SPARED);

	write_score(k->oom_worker, found + (spared ? 0 : WORKER_OOM));
	if (!spared)
		write_score(k->oom_midwife, found + MIDWIFE_OOM);
}

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

static void inherit_rings(const struct ob_sets *sets)
{
	for (unsigned i = 0; i < sets->count; i++) {
		inherit(sets->set[i].loop);
		inherit(sets->set[i].sure);
		inherit(sets->set[i].journal);
	}
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
	set_oom_score(k->oom_worker);
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

/* For all threads, or for none: the same is known of each of their calls. */
static void make_rings(struct ob_sets *sets, uint64_t generation,
		       unsigned threads)
{
	int r = 0;

	sets->generation = generation;
	for (; sets->count < threads && !r; sets->count++) {
		r = ob_rings_create(generation, &sets->set[sets->count]);
		sets->set[sets->count].thread = sets->count;
	}
	if (!r)
		return;
	ob_sets_close(sets);
	for (; sets->count < threads; sets->count++)
		sets->set[sets->count] = (struct ob_rings){
			-1, -1, -1, generation, sets->count
		};
	if (r != -ENOSYS && r != -EPERM)
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
	make_rings(&birth->rings, order->generation, k->threads);
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
	if (order->what == BEAR) {
		birth->error = bear(k, order, birth);
	} else {
		birth->fd = open(k->opts->path, O_PATH | O_CLOEXEC);
		birth->error = birth->fd < 0 ? -errno : 0;
	}
	if (birth->error) {
		ob_fd_close(&birth->channel);
		ob_sets_close(&birth->rings);
	}
}

/* Returns in both; true: in the new one. */
static bool replace(struct ob_birth *birth)
{
	*birth = ob_birth_none;
	birth->pid = clone_raw(CLONE_FILES | CLONE_PARENT, &birth->fd);
	birth->error = birth->pid < 0 ? -errno : 0;
	return birth->pid == 0;
}

static void be_born(const struct ob_keeper *k)
{
	prctl(PR_SET_NAME, "outboard-births", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != k->pid)
		_exit(0);
	set_oom_score(k->oom_midwife);
}

__attribute__((noreturn))
static void be_midwife(struct ob_keeper *k, unsigned place)
{
	struct ob_birth birth;
	struct order order;

	be_born(k);
	while (recv(k->midwives[place].end, &order, sizeof(order), 0) ==
	       sizeof(order)) {
		if (order.what != REPLACE) {
			work_off(k, &order, &birth);
		} else if (replace(&birth)) {
			place = order.place;
			be_born(k);
			continue;
		}
		/* Without an answer she would be taken for dead. */
		while (send(k->midwives[place].end, &birth, sizeof(birth), 0) < 0)
			poll(NULL, 0, 1);
	}
	_exit(1);
}

/* In the keeper */

const struct ob_birth ob_birth_none = { .fd = -1, .channel = -1 };

static void kill_by(int pidfd)
{
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static int watch(struct ob_keeper *k, unsigned place)
{
	return ob_keeper_watch(k, EPOLL_CTL_ADD, k->midwives[place].pidfd,
			       EPOLLIN, OB_FROM_MIDWIFE, place);
}

static int start_one(struct ob_keeper *k, unsigned place)
{
	struct ob_midwife *m = &k->midwives[place];
	pid_t pid = clone_raw(CLONE_FILES, &m->pidfd);

	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_midwife(k, place);
	return watch(k, place);
}

int ob_midwife_start(struct ob_keeper *k)
{
	int pair[2], r = 0;

	choose_oom_scores(k);
	/* Both ends before the first, so that each has all. */
	for (unsigned i = 0; i < OB_MIDWIVES; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
			return -errno;
		k->midwives[i].orders = pair[0];
		k->midwives[i].end = pair[1];
	}
	for (unsigned i = 0; i < OB_MIDWIVES && !r; i++)
		r = start_one(k, i);
	return r;
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
static bool ask_one(struct ob_midwife *m, const struct order *order,
		    struct ob_birth *birth)
{
	if (m->pidfd < 0 || m->dying)
		return false;
	if (send(m->orders, order, sizeof(*order), MSG_DONTWAIT) < 0)
		return false;
	if (has_answered(m) &&
	    recv(m->orders, birth, sizeof(*birth), MSG_DONTWAIT) > 0)
		return true;
	kill_by(m->pidfd);
	m->dying = true;
	return false;
}

static int ask(struct ob_keeper *k, const struct order *order,
	       struct ob_birth *birth)
{
	for (unsigned i = 0; i < OB_MIDWIVES; i++)
		if (ask_one(&k->midwives[i], order, birth))
			return birth->error;
	return -ESRCH;
}

int ob_midwife_bear(struct ob_keeper *k, int binary, const struct ob_worker *w,
		    struct ob_birth *birth)
{
	struct order order = { .what = BEAR, .binary = binary,
			       .pulse = w->pulse_fd,
			       .generation = w->generation,
			       .nr_old = k->nr_rings };

	memcpy(order.old, k->rings, k->nr_rings * sizeof(order.old[0]));
	return ask(k, &order, birth);
}

int ob_midwife_open(struct ob_keeper *k)
{
	const struct order order = { .what = OPEN };
	struct ob_birth birth;
	int r = ask(k, &order, &birth);

	return r ? r : birth.fd;
}

/* Dying */

bool ob_midwife_is_none(const struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_MIDWIVES; i++)
		if (k->midwives[i].pidfd >= 0 && !k->midwives[i].dying)
			return false;
	return true;
}

/* Its sockets go on: what is in them is nobody's any more. */
static void bury(struct ob_keeper *k, struct ob_midwife *m)
{
	struct ob_birth birth;
	struct order order;

	while (recv(m->end, &order, sizeof(order), MSG_DONTWAIT) > 0)
		;
	while (recv(m->orders, &birth, sizeof(birth), MSG_DONTWAIT) > 0) {
		if (birth.pid > 0)
			kill_by(birth.fd);
		ob_fd_close(&birth.fd);
		ob_fd_close(&birth.channel);
		ob_sets_close(&birth.rings);
	}
	ob_keeper_watch(k, EPOLL_CTL_DEL, m->pidfd, 0, OB_FROM_MIDWIFE, 0);
	ob_fd_close(&m->pidfd);
	m->dying = false;
}

static int replace_one(struct ob_keeper *k, unsigned place)
{
	const struct order order = { .what = REPLACE, .place = place };
	struct ob_midwife *m = &k->midwives[place];
	struct ob_birth birth;
	int r = ask(k, &order, &birth);

	if (r)
		return r;
	m->pidfd = birth.fd;
	r = watch(k, place);
	if (r) {
		kill_by(m->pidfd);
		ob_fd_close(&m->pidfd);
	}
	return r;
}

void ob_midwife_replace(struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_MIDWIVES && !ob_midwife_is_none(k); i++)
		if (k->midwives[i].pidfd < 0 && replace_one(k, i))
			k->midwife_at = ob_keeper_ms() + REPLACE_AGAIN_MS;
}

void ob_midwife_died(struct ob_keeper *k, unsigned place)
{
	struct ob_midwife *m = &k->midwives[place];
	siginfo_t info = { 0 };

	/* ECHILD: ob_life_reap was first. */
	if (m->pidfd < 0 ||
	    (!waitid(P_PIDFD, (id_t)m->pidfd, &info, WEXITED | WNOHANG) &&
	     !info.si_pid))
		return;
	bury(k, m);
	if (ob_midwife_is_none(k))
		SAY(ERROR, "the processes that start workers have died: when the "
		    "present worker dies, all ends");
	else
		SAY(WARN, "a process that starts workers has died, another one "
		    "takes its place");
	ob_midwife_replace(k);
}

void ob_midwife_finish(struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_MIDWIVES; i++) {
		struct ob_midwife *m = &k->midwives[i];
		siginfo_t info;

		if (m->pidfd < 0)
			continue;
		kill_by(m->pidfd);
		waitid(P_PIDFD, (id_t)m->pidfd, &info, WEXITED);
	}
}
