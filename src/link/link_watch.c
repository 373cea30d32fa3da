// SPDX-License-Identifier: BSD-3-Clause
/* A worker's end while it serves: the channel and the pulse, in its loop. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "link/link_impl.h"

static void tell_status(struct ob_link *link, const struct ob_keeper_msg *msg)
{
	struct ob_keeper_status status;

	memcpy(&status, msg->text, sizeof(status));
	status.why[sizeof(status.why) - 1] = '\0';
	if (link->events.status)
		link->events.status(link->events.arg, &status);
}

/* The keeper has it under that name, which is to be dropped. */
static void note_client(struct ob_link *link, const struct ob_keeper_msg *msg)
{
	char name[OB_KEEPER_NAME];
	int n = snprintf(name, sizeof(name), "%s/new/%u", msg->name,
			 (unsigned)msg->value);
	OB_LINK_LOCK(link);

	if (n > 0 && (size_t)n < sizeof(name))
		(void)ob_held_put(&link->held, name, -1);
}

static void handle(struct ob_link *link, const struct ob_keeper_msg *msg,
		   int *fd)
{
	const struct ob_link_events *on = &link->events;

	if (msg->op == OB_KEEPER_CLIENT && *fd >= 0 && on->client) {
		note_client(link, msg);
		on->client(on->arg, msg->name, (unsigned)msg->value,
			   ob_fd_take(fd));
	} else if (msg->op == OB_KEEPER_COPY && on->copy)
		on->copy(on->arg, msg->value);
	else if (msg->op == OB_KEEPER_STATUS_IS)
		tell_status(link, msg);
	else if (msg->op == OB_KEEPER_STOP && on->stop)
		on->stop(on->arg, msg->value);
}

void ob_link_later(struct ob_link *link, const struct ob_keeper_msg *msg, int fd)
{
	struct ob_link_late *late = malloc(sizeof(*late));

	if (!late) {
		ob_fd_close(&fd);
		return;
	}
	*late = (struct ob_link_late){ .msg = *msg, .fd = fd };
	*link->late_tail = late;
	link->late_tail = &late->next;
	if (link->loop)
		ob_loop_post(link->loop, &link->post);
}

static struct ob_link_late *next_late(struct ob_link *link)
{
	OB_LINK_LOCK(link);
	struct ob_link_late *late = link->late;

	if (late)
		link->late = late->next;
	if (!link->late)
		link->late_tail = &link->late;
	return late;
}

static void handle_late(struct ob_post *post)
{
	struct ob_link *link = (struct ob_link *)
		((char *)post - offsetof(struct ob_link, post));
	struct ob_link_late *late;

	while ((late = next_late(link))) {
		handle(link, &late->msg, &late->fd);
		ob_fd_close(&late->fd);
		free(late);
	}
}

/*
 * It closes its end a moment before the kernel kills us for its death
 * (PR_SET_PDEATHSIG).  In between we would only look as if we had ended in order.
 */
static void keeper_gone(void)
{
	raise(SIGKILL);
}

/* In their order: those that are late have come before. */
static int hear(struct ob_link *link, struct ob_keeper_msg *msg, int *fd)
{
	OB_LINK_LOCK(link);

	return link->late ? -EAGAIN :
		ob_msg_recv(link->channel, msg, fd, MSG_DONTWAIT);
}

static void ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_link *link = (struct ob_link *)
		((char *)watch - offsetof(struct ob_link, watch));
	struct ob_keeper_msg msg;
	OB_CLEANUP_FD int fd = -1;
	int r = hear(link, &msg, &fd);

	(void)events;
	if (r == 1)
		handle(link, &msg, &fd);
	else if (r == 0)
		keeper_gone();
}

static void awake(void *arg)
{
	ob_link_say(arg, OB_KEEPER_AWAKE, 0, NULL, -1);
}

static void set_pulse(struct ob_link *link, unsigned thread,
		      struct ob_loop *loop)
{
	struct ob_pulse *pulse = &link->pulses[thread];
	const struct ob_loop_pulse loop_pulse = {
		.turn = &pulse->turn, .idle_seen = &pulse->idle_seen,
		.awake = awake, .arg = link,
	};

	ob_loop_set_pulse(loop, &loop_pulse);
}

/* It wakes from turn 0, in which the keeper may have stopped looking. */
void ob_link_pulse(struct ob_link *link, unsigned thread, struct ob_loop *loop)
{
	struct ob_pulse *pulse = &link->pulses[thread];

	set_pulse(link, thread, loop);
	__atomic_store_n(&pulse->turn, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&pulse->idle_seen, __ATOMIC_SEQ_CST) == 0)
		awake(link);
}

void ob_link_no_pulse(struct ob_link *link, unsigned thread,
		      struct ob_loop *loop)
{
	ob_loop_set_pulse(loop, NULL);
	__atomic_store_n(&link->pulses[thread].turn, 0, __ATOMIC_SEQ_CST);
}

int ob_link_watch(struct ob_link *link, struct ob_loop *loop,
		  const struct ob_link_events *events)
{
	link->loop = loop;
	link->events = *events;
	link->post.run = handle_late;
	link->watch = (struct ob_watch){
		.ready = ready, .fd = link->channel, .events = POLLIN,
	};
	set_pulse(link, 0, loop);
	if (link->late)
		ob_loop_post(loop, &link->post);
	return ob_watch_add(loop, &link->watch);
}

void ob_link_unwatch(struct ob_link *link)
{
	if (!link->loop)
		return;
	ob_loop_set_pulse(link->loop, NULL);
	ob_post_cancel(link->loop, &link->post);
	if (link->watch.ready)
		ob_watch_remove(link->loop, &link->watch);
	link->loop = NULL;
}
