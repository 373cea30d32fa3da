// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker's end, up to its START, and the short things it says.
 *
 * Sending waits for room: the keeper always listens, and what it was sent it
 * has, whatever happens to us then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "link/link_impl.h"

#define TRIES 1000		/* of a millisecond */

static void nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

bool ob_link_is_gone(const struct ob_link *link)
{
	return __atomic_load_n(&link->gone, __ATOMIC_RELAXED);
}

void ob_link_set_gone(struct ob_link *link)
{
	__atomic_store_n(&link->gone, true, __ATOMIC_RELAXED);
}

/* Too many descriptors on their way is a matter of moments. */
int ob_link_send(struct ob_link *link, const struct ob_keeper_msg *msg, int fd)
{
	int r = 0;

	for (int i = 0; i < TRIES && !ob_link_is_gone(link); i++) {
		r = ob_msg_send(link->channel, msg, 0, fd, 0);
		if (r != -ETOOMANYREFS)
			break;
		nap();
	}
	if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
		ob_link_set_gone(link);
	return ob_link_is_gone(link) ? 0 : r;
}

int ob_link_say(struct ob_link *link, enum ob_keeper_op op, uint64_t value,
		const char *name, int fd)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, op, name);
	msg.value = value;
	return ob_link_send(link, &msg, fd);
}

static int say_text(struct ob_link *link, enum ob_keeper_op op,
		    uint64_t value, const char *text)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, op, NULL);
	msg.value = value;
	ob_msg_text(&msg, text);
	return ob_link_send(link, &msg, -1);
}

/* Opening */

static void close_on_exec(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int parse_env(struct ob_link *link, const char *env)
{
	int pulse, n = -1;

	if (sscanf(env, "%d,%d,%u%n", &link->channel, &pulse, &link->room,
		   &n) != 3 ||
	    env[n] || link->channel < 0 || pulse < 0)
		return -EINVAL;
	close_on_exec(link->channel);
	link->pulses = mmap(NULL, OB_PULSE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, pulse, 0);
	if (link->pulses == MAP_FAILED) {
		link->pulses = NULL;
		return -errno;
	}
	close(pulse);
	return 0;
}

int ob_link_open(struct ob_link **out, struct ob_err *err)
{
	const char *env = getenv(OB_KEEPER_ENV);
	struct ob_link *link;
	int r;

	*out = NULL;
	if (!env)
		return 0;
	link = calloc(1, sizeof(*link));
	if (!link)
		return ob_fail(err, ENOMEM, "out of memory");
	link->channel = -1;
	link->late_tail = &link->late;
	pthread_mutex_init(&link->lock, NULL);
	r = parse_env(link, env);
	if (!r)
		r = ob_held_init(&link->held, link->room + OB_KEEPER_NEW);
	if (r) {
		ob_link_close(link);
		return ob_fail(err, -r, OB_KEEPER_ENV "=%.40s: %s", env,
			       strerror(-r));
	}
	ob_log_never_wait();
	unsetenv(OB_KEEPER_ENV);	/* ours alone, not our children's */
	/* Started from a descriptor, it would be called by its number. */
	prctl(PR_SET_NAME, program_invocation_short_name, 0, 0, 0);
	ob_link_keep_init(link);
	*out = link;
	return 0;
}

void ob_link_close(struct ob_link *link)
{
	if (!link)
		return;
	ob_link_unwatch(link);
	for (unsigned i = 0; i < link->nr_rings; i++)
		ob_rings_close(&link->rings[i]);
	while (link->late) {
		struct ob_link_late *late = link->late;

		link->late = late->next;
		ob_fd_close(&late->fd);
		free(late);
	}
	ob_held_finish(&link->held);
	if (link->pulses)
		munmap(link->pulses, OB_PULSE_PAGE);
	ob_fd_close(&link->channel);
	free(link);
}

/* Waiting */

/* Whoever knew some of them only would take these for all. */
static int add_rings(struct ob_link *link, const struct ob_keeper_msg *msg)
{
	const unsigned room = sizeof(link->rings) / sizeof(link->rings[0]);
	struct ob_rings *rings;

	if (link->nr_rings == room || (uint32_t)msg->number[3] >= OB_THREADS)
		return -E2BIG;
	rings = &link->rings[link->nr_rings++];
	*rings = (struct ob_rings){
		.loop = msg->number[0], .sure = msg->number[1],
		.journal = msg->number[2], .generation = msg->value,
		.thread = (unsigned)msg->number[3],
	};
	close_on_exec(rings->loop);
	close_on_exec(rings->sure);
	close_on_exec(rings->journal);
	return 0;
}

static void end_rings(struct ob_link *link, uint64_t generation)
{
	unsigned left = 0;

	for (unsigned i = 0; i < link->nr_rings; i++) {
		if (link->rings[i].generation == generation)
			ob_rings_close(&link->rings[i]);
		else
			link->rings[left++] = link->rings[i];
	}
	link->nr_rings = left;
}

/* The last generation's, once; they were made after those of all who died. */
static void take_own(struct ob_link *link, struct ob_link_start *start)
{
	uint64_t own = link->nr_rings && !link->has_own ?
		link->rings[link->nr_rings - 1].generation : start->generation;

	for (unsigned i = 0; i < OB_THREADS; i++)
		start->rings[i] = (struct ob_rings){ -1, -1, -1, own, i };
	for (; link->nr_rings && !link->has_own; link->nr_rings--) {
		const struct ob_rings *last = &link->rings[link->nr_rings - 1];

		if (last->generation != own)
			break;
		start->rings[last->thread] = *last;
	}
	link->has_own = true;
}

static void forget_all(struct ob_held *held)
{
	struct ob_held_entry *entry;

	while ((entry = ob_held_next(held, NULL)))
		ob_held_remove(held, entry);
}

static int fill_start(struct ob_link *link, const struct ob_keeper_msg *msg,
		      struct ob_link_start *start)
{
	*start = (struct ob_link_start){
		.rehearse = msg->op == OB_KEEPER_REHEARSE,
		.warm = msg->op == OB_KEEPER_WARM,
		.generation = msg->value,
		.deaths = (unsigned)msg->number[0],
		.signal = msg->number[1],
		.why = (enum ob_start_why)msg->number[3],
	};
	take_own(link, start);
	if (link->nr_rings > OB_LINK_RINGS)
		return -E2BIG;
	link->rehearsed = start->rehearse || start->warm;
	if (link->rehearsed)
		return 1;
	start->nr_old = link->nr_rings;
	memcpy(start->old, link->rings, start->nr_old * sizeof(start->old[0]));
	link->nr_rings = 0;
	return 1;
}

/* 1: started */
static int before_start(struct ob_link *link, const struct ob_keeper_msg *msg,
			int *fd, struct ob_link_start *start)
{
	switch (msg->op) {
	case OB_KEEPER_GIVE:
		return *fd < 0 ? 0 :
			ob_held_put(&link->held, msg->name, ob_fd_take(fd));
	case OB_KEEPER_RINGS:
		return add_rings(link, msg);
	case OB_KEEPER_RINGS_OVER:
		end_rings(link, msg->value);
		return 0;
	case OB_KEEPER_STOP:
		return -ECANCELED;
	case OB_KEEPER_START:
	case OB_KEEPER_REHEARSE:
	case OB_KEEPER_WARM:
		return fill_start(link, msg, start);
	}
	return 0;
}

int ob_link_wait(struct ob_link *link, struct ob_link_start *start,
		 struct ob_err *err)
{
	struct ob_keeper_msg msg;
	int r = 0;

	if (link->rehearsed)
		forget_all(&link->held);
	while (!r) {
		OB_CLEANUP_FD int fd = -1;

		r = ob_msg_recv(link->channel, &msg, &fd, 0);
		if (r == 1)
			r = before_start(link, &msg, &fd, start);
		else if (r == 0)
			r = -EPIPE;
		else if (r == -EBADMSG)
			r = 0;
	}
	if (r < 0)
		return ob_fail(err, -r, "waiting for the keeper: %s",
			       strerror(-r));
	return 0;
}

/* Saying */

int ob_link_accept(struct ob_link *link, const char *name, bool on)
{
	return ob_link_say(link, OB_KEEPER_ACCEPT, on, name, -1);
}

int ob_link_ready(struct ob_link *link, const char *text)
{
	for (; strlen(text) >= OB_KEEPER_TEXT; text += OB_KEEPER_TEXT - 1) {
		int r = say_text(link, OB_KEEPER_READY_PART, 0, text);

		if (r)
			return r;
	}
	return say_text(link, OB_KEEPER_READY, 0, text);
}

int ob_link_rehearsed(struct ob_link *link, uint64_t gap_us, const char *text)
{
	return say_text(link, OB_KEEPER_READY, gap_us, text);
}

int ob_link_refused(struct ob_link *link, const char *why)
{
	return say_text(link, OB_KEEPER_REFUSED, 0, why);
}

int ob_link_ended(struct ob_link *link, int status)
{
	return ob_link_say(link, OB_KEEPER_ENDED, (uint64_t)status, NULL, -1);
}

int ob_link_copied(struct ob_link *link, uint64_t value)
{
	return ob_link_say(link, OB_KEEPER_PUT, value, "copied/", -1);
}

int ob_link_rings_over(struct ob_link *link, uint64_t generation)
{
	return ob_link_say(link, OB_KEEPER_RINGS_OVER, generation, NULL, -1);
}

int ob_link_upgrade(struct ob_link *link, int binary, unsigned flags,
		    int32_t ticket)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, OB_KEEPER_UPGRADE, NULL);
	msg.value = flags;
	msg.number[0] = ticket;
	return ob_link_send(link, &msg, binary);
}

int ob_link_ask_status(struct ob_link *link)
{
	return ob_link_say(link, OB_KEEPER_STATUS, 0, NULL, -1);
}

int ob_link_has_to_say(struct ob_link *link, const char *text)
{
	return say_text(link, OB_KEEPER_SAYS, 0, text);
}
