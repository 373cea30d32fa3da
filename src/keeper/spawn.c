// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker is born, by the midwife.  Rings cannot be sent over a socket, so they
 * are made before and inherited: its own, a set for each thread, and those of all
 * generations that are not over.  Everything else comes over the channel, when
 * it starts.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

void ob_sets_close(struct ob_sets *sets)
{
	for (unsigned i = 0; i < sets->count; i++)
		ob_rings_close(&sets->set[i]);
	sets->count = 0;
}

static void forget_rings(struct ob_keeper *k, unsigned i)
{
	ob_sets_close(&k->rings[i]);
	k->nr_rings--;
	memmove(&k->rings[i], &k->rings[i + 1],
		(k->nr_rings - i) * sizeof(k->rings[0]));
}

/*
 * When a storm of deaths fills the list, the second goes: as long as the oldest
 * is not over, nobody after it has begun anything (R26).  What was said to
 * clients is in those of the last one that was ready, which stay, or of one that
 * took a device over after it, of which the newest stay.
 */
void ob_rings_keep(struct ob_keeper *k, struct ob_worker *w)
{
	if (k->nr_rings == k->rings_room)
		forget_rings(k, k->rings[1].generation == k->served ? 2 : 1);
	k->rings[k->nr_rings++] = w->rings;
	w->rings.count = 0;
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

static int tell_set(struct ob_worker *w, const struct ob_rings *rings)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, OB_KEEPER_RINGS, NULL);
	msg.value = rings->generation;
	msg.number[0] = rings->loop;
	msg.number[1] = rings->sure;
	msg.number[2] = rings->journal;
	msg.number[3] = (int32_t)rings->thread;
	return ob_msg_send(w->channel, &msg, 0, -1, MSG_DONTWAIT);
}

static int tell_rings(struct ob_worker *w, const struct ob_sets *sets)
{
	int r = 0;

	for (unsigned i = 0; i < sets->count && !r; i++)
		r = tell_set(w, &sets->set[i]);
	return r;
}

/* That it has died already (no program, say) is told elsewhere. */
static int tell_all_rings(struct ob_keeper *k, struct ob_worker *w)
{
	int r = 0;

	for (unsigned i = 0; i < k->nr_rings && !r; i++)
		r = tell_rings(w, &k->rings[i]);
	if (!r)
		r = tell_rings(w, &w->rings);
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
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
	siginfo_t info;
	struct ob_birth birth;
	int r = ob_midwife_bear(k, binary, w, &birth);

	if (r)
		return r;
	w->pid = birth.pid;
	w->pidfd = birth.fd;
	w->channel = birth.channel;
	w->rings = birth.rings;
	r = watch(k, w);
	/* One that knew only some of the rings would not wait for the rest. */
	if (!r)
		r = tell_all_rings(k, w);
	if (r) {
		ob_worker_signal(w, SIGKILL);
		waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED);
	}
	return r;
}

static void clear_pulses(struct ob_keeper *k, struct ob_worker *w)
{
	for (unsigned i = 0; i < k->threads; i++) {
		w->pulses[i].turn = 0;
		w->pulses[i].idle_seen = UINT64_MAX;
	}
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
			.pidfd = -1, .channel = -1, .pulse_fd = w->pulse_fd,
			.pulses = w->pulses, .generation = ++k->born,
		};
		clear_pulses(k, w);
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
	ob_sets_close(&w->rings);
	w->state = OB_WORKER_NONE;
}

bool ob_worker_signal(struct ob_worker *w, int signo)
{
	return !syscall(SYS_pidfd_send_signal, w->pidfd, signo, NULL, 0);
}
