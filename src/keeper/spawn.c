// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker is born.  Rings cannot be sent over a socket, so they are made
 * before and inherited: its own, and those of all generations that are not
 * over.  Everything else comes over the channel, when it starts.
 */
#include <errno.h>
#include <fcntl.h>
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

static const struct ob_rings no_rings = { .loop = -1, .sure = -1,
					  .journal = -1 };

static void close_rings(struct ob_rings *rings)
{
	ob_fd_close(&rings->loop);
	ob_fd_close(&rings->sure);
	ob_fd_close(&rings->journal);
}

static void forget_rings(struct ob_keeper *k, unsigned i)
{
	close_rings(&k->rings[i]);
	k->nr_rings--;
	memmove(&k->rings[i], &k->rings[i + 1],
		(k->nr_rings - i) * sizeof(k->rings[0]));
}

/*
 * When a storm of deaths fills the list, the second goes: as long as the oldest
 * is not over, nobody after it has begun anything (R26), and what the last
 * ones said to their clients is in the newest.
 */
void ob_rings_keep(struct ob_keeper *k, struct ob_worker *w)
{
	if (k->nr_rings == OB_RINGS_HELD)
		forget_rings(k, 1);
	k->rings[k->nr_rings++] = w->rings;
	w->rings = no_rings;
}

void ob_rings_over(struct ob_keeper *k, uint64_t generation)
{
	for (unsigned i = 0; i < k->nr_rings; i++) {
		if (k->rings[i].generation != generation ||
		    generation == k->active->generation)
			continue;
		forget_rings(k, i);
		for (i = 0; i < OB_WORKERS; i++)
			if (k->workers[i].state == OB_WORKER_WAITS ||
			    k->workers[i].state == OB_WORKER_REHEARSES)
				ob_worker_tell(&k->workers[i],
					       OB_KEEPER_RINGS_OVER, generation,
					       NULL, -1);
		return;
	}
}

static void make_rings(struct ob_worker *w)
{
	int r;

	w->rings = no_rings;
	r = ob_rings_create(w->generation, &w->rings);
	if (r)
		w->rings = no_rings;
	if (r && r != -ENOSYS && r != -EPERM)
		SAY(WARN, "generation %llu has no rings: %s",
		    (unsigned long long)w->generation, strerror(-r));
	w->rings.generation = w->generation;
}

static void tell_rings(struct ob_worker *w, const struct ob_rings *rings)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, OB_KEEPER_RINGS, NULL);
	msg.value = rings->generation;
	msg.number[0] = rings->loop;
	msg.number[1] = rings->sure;
	msg.number[2] = rings->journal;
	ob_msg_send(w->channel, &msg, 0, -1, MSG_DONTWAIT);
}

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
static void belong_to_keeper(struct ob_keeper *k, pid_t keeper)
{
	sigset_t mask = k->mask;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != keeper)
		_exit(127);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void become_worker(struct ob_keeper *k, const struct ob_worker *w,
			  int channel, int binary)
{
	inherit(channel);
	inherit(w->pulse_fd);
	inherit_rings(&w->rings);
	for (unsigned i = 0; i < k->nr_rings; i++)
		inherit_rings(&k->rings[i]);
	syscall(SYS_execveat, binary, "", k->opts->argv, k->env, AT_EMPTY_PATH);
	SAY(ERROR, "the binary cannot be run: %s", strerror(errno));
	_exit(127);
}

static int run(struct ob_keeper *k, struct ob_worker *w, int channel,
	       int binary)
{
	pid_t keeper;

	snprintf(k->env_link, sizeof(k->env_link), OB_KEEPER_ENV "=%d,%d,%u",
		 channel, w->pulse_fd, k->held.room - OB_KEEPER_NEW);
	keeper = getpid();
	w->pid = fork();
	if (w->pid < 0)
		return -errno;
	if (w->pid == 0) {
		belong_to_keeper(k, keeper);
		become_worker(k, w, channel, binary);
	}
	w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	if (w->pidfd < 0) {
		int error = errno;

		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
		return -error;
	}
	return 0;
}

static int watch(struct ob_keeper *k, struct ob_worker *w)
{
	uint32_t number = (uint32_t)(w - k->workers);
	int r = ob_keeper_watch(k, EPOLL_CTL_ADD, w->pidfd, EPOLLIN,
				OB_FROM_PID, number);

	return r ? r : ob_keeper_watch(k, EPOLL_CTL_ADD, w->channel, EPOLLIN,
				       OB_FROM_CHANNEL, number);
}

static int give_birth(struct ob_keeper *k, struct ob_worker *w, int binary)
{
	OB_CLEANUP_FD int theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	w->channel = pair[0];
	theirs = pair[1];
	make_rings(w);
	r = run(k, w, theirs, binary);
	if (r)
		return r;
	r = watch(k, w);
	if (r) {
		ob_worker_signal(w, SIGKILL);
		waitpid(w->pid, NULL, 0);
		return r;
	}
	for (unsigned i = 0; i < k->nr_rings; i++)
		tell_rings(w, &k->rings[i]);
	tell_rings(w, &w->rings);
	return 0;
}

static struct ob_worker *free_place(struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_WORKERS; i++)
		if (k->workers[i].state == OB_WORKER_NONE)
			return &k->workers[i];
	return NULL;
}

struct ob_worker *ob_worker_spawn(struct ob_keeper *k, int binary)
{
	struct ob_worker *w = free_place(k);
	int r = -EAGAIN;

	if (w) {
		*w = (struct ob_worker){
			.pidfd = -1, .channel = -1, .rings = no_rings,
			.pulse_fd = w->pulse_fd, .pulse = w->pulse,
			.generation = ++k->born,
		};
		w->pulse->turn = 0;
		w->pulse->idle_seen = UINT64_MAX;
		r = give_birth(k, w, binary);
	}
	if (r) {
		SAY(ERROR, "cannot start a worker: %s", strerror(-r));
		if (w)
			ob_worker_close(w);
		return NULL;
	}
	w->state = OB_WORKER_WAITS;
	return w;
}

/* The last copies of both: epoll forgets them by itself. */
void ob_worker_close(struct ob_worker *w)
{
	ob_fd_close(&w->pidfd);
	ob_fd_close(&w->channel);
	close_rings(&w->rings);
	w->state = OB_WORKER_NONE;
}

bool ob_worker_signal(struct ob_worker *w, int signo)
{
	return !syscall(SYS_pidfd_send_signal, w->pidfd, signo, NULL, 0);
}
