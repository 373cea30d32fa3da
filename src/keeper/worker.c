// SPDX-License-Identifier: BSD-3-Clause
/*
 * What workers say, and what is given to them.
 *
 * A worker is believed about names and descriptors and about nothing else.
 * The keeper never waits for one: it sends without waiting, and what is too much
 * for the channel (all that is held, at a start) goes on when there is room.
 * Only who serves, or is to serve, may change the table.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define HEAR_AT_ONCE 64		/* messages; then others have a turn */
#define DIES_MS 1000		/* between the end of its channel and its own */
#define PUSH_AGAIN_MS 5		/* too many descriptors are under way */

bool ob_worker_tell(struct ob_worker *w, enum ob_keeper_op op, uint64_t value,
		    const char *name, int fd)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, op, name);
	msg.value = value;
	return !ob_msg_send(w->channel, &msg, 0, fd, MSG_DONTWAIT);
}

/* Giving */

bool ob_is_copy(const struct ob_held_entry *entry)
{
	static const char end[] = "/copy";
	size_t len = strlen(entry->name);

	return len >= sizeof(end) &&
	       !strcmp(entry->name + len - (sizeof(end) - 1), end);
}

static int send_begin(struct ob_keeper *k, struct ob_worker *w)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, w->state == OB_WORKER_REHEARSES ?
		    OB_KEEPER_REHEARSE : OB_KEEPER_START, NULL);
	msg.value = w->generation;
	msg.number[0] = (int32_t)k->deaths;
	msg.number[1] = k->last_signal;
	msg.number[2] = k->last_pid;
	msg.number[3] = w->why;
	return ob_msg_send(w->channel, &msg, 0, -1, MSG_DONTWAIT);
}

static int send_next(struct ob_keeper *k, struct ob_worker *w)
{
	struct ob_keeper_msg msg;
	int r = 0;

	if (!w->give) {
		r = send_begin(k, w);
		w->giving = r != 0;
		return r;
	}
	ob_msg_init(&msg, OB_KEEPER_GIVE, w->give->name);
	/* A rehearsal sees copies only, a life everything else. */
	if (ob_is_copy(w->give) == (w->state == OB_WORKER_REHEARSES))
		r = ob_msg_send(w->channel, &msg, 0, w->give->fd, MSG_DONTWAIT);
	if (!r)
		w->give = ob_held_next(&k->held, w->give);
	return r;
}

static void wait_for_room(struct ob_keeper *k, struct ob_worker *w, bool wait)
{
	ob_keeper_watch(k, EPOLL_CTL_MOD, w->channel,
			wait ? EPOLLIN | EPOLLOUT : EPOLLIN, OB_FROM_CHANNEL,
			(uint32_t)(w - k->workers));
}

void ob_worker_push(struct ob_keeper *k, struct ob_worker *w)
{
	int r = 0;

	w->push_at = 0;
	while (w->giving && !r)
		r = send_next(k, w);
	if (!r && w == k->active)
		r = ob_accept_tell(k, w);
	wait_for_room(k, w, r == -EAGAIN);
	/* Any other failure is a death that is told elsewhere. */
	if (r == -ETOOMANYREFS || r == -ENOMEM || r == -ENOBUFS)
		w->push_at = ob_keeper_ms() + PUSH_AGAIN_MS;
}

void ob_worker_give(struct ob_keeper *k, struct ob_worker *w)
{
	w->giving = true;
	w->give = ob_held_next(&k->held, NULL);
	ob_worker_push(k, w);
}

/* The table */

void ob_held_forget(struct ob_keeper *k, struct ob_held_entry *entry)
{
	for (unsigned i = 0; i < OB_WORKERS; i++)
		if (k->workers[i].giving && k->workers[i].give == entry)
			k->workers[i].give = ob_held_next(&k->held, entry);
	ob_accept_end(k, entry);
	ob_accept_taken(k, entry);
	ob_held_remove(&k->held, entry);
}

static void put(struct ob_keeper *k, struct ob_keeper_msg *msg, int *fd)
{
	struct ob_held_entry *entry = ob_held_find(&k->held, msg->name);

	if (*fd < 0 && !strcmp(msg->name, "copied/")) {
		ob_upgrade_copied(k, msg->value);
		return;
	}
	if (*fd < 0 || !msg->name[0]) {
		SAY(GUEST, "a worker put nothing as '%s'", msg->name);
		return;
	}
	if (entry)
		ob_accept_end(k, entry);
	if (ob_held_put(&k->held, msg->name, *fd))
		SAY(GUEST, "no room for '%s'", msg->name);
	else
		*fd = -1;
}

static void drop(struct ob_keeper *k, const char *pattern)
{
	struct ob_held_entry *entry, *next;
	size_t len = strlen(pattern);

	if (!len || pattern[len - 1] != '/') {
		entry = ob_held_find(&k->held, pattern);
		if (entry)
			ob_held_forget(k, entry);
		return;
	}
	for (entry = ob_held_below(&k->held, pattern, NULL); entry; entry = next) {
		next = ob_held_below(&k->held, pattern, entry);
		ob_held_forget(k, entry);
	}
}

static void give_one(struct ob_keeper *k, struct ob_worker *w, const char *name)
{
	struct ob_held_entry *entry = ob_held_find(&k->held, name);

	if (ob_worker_tell(w, OB_KEEPER_GIVE, 0, name, entry ? entry->fd : -1))
		return;
	/* It waits for the answer, and would for ever. */
	SAY(ERROR, "worker %d cannot be given '%s'", (int)w->pid, name);
	ob_worker_signal(w, SIGKILL);
}

/* Hearing */

static void tell_status(struct ob_keeper *k, struct ob_worker *w)
{
	struct ob_keeper_msg msg;

	k->status.generation = w->generation;
	k->status.worker_pid = w->pid;
	ob_msg_init(&msg, OB_KEEPER_STATUS_IS, NULL);
	memcpy(msg.text, &k->status, sizeof(k->status));
	ob_msg_send(w->channel, &msg, sizeof(k->status), -1, MSG_DONTWAIT);
}

static void refused(struct ob_keeper *k, struct ob_worker *w, const char *text)
{
	SAY(ERROR, "worker %d, generation %llu, refuses: %.400s", (int)w->pid,
	    (unsigned long long)w->generation, text);
	if (k->upgrade.state == OB_UPGRADE_GRACE)
		ob_upgrade_fail(k, "the new binary refuses: %.120s", text);
	else if (w->state == OB_WORKER_LOADS && w->why != OB_START_UPGRADE)
		ob_upgrade_no_way_back(k, text);
}

static void ended(struct ob_keeper *k, int status)
{
	k->ended = true;
	k->exit_status = status & 0xff;
}

/* Of one that serves, or loads to serve. */
static void handle(struct ob_keeper *k, struct ob_worker *w,
		   struct ob_keeper_msg *msg, int *fd)
{
	switch (msg->op) {
	case OB_KEEPER_PUT:
		put(k, msg, fd);
		break;
	case OB_KEEPER_DROP:
		drop(k, msg->name);
		break;
	case OB_KEEPER_GET:
		give_one(k, w, msg->name);
		break;
	case OB_KEEPER_ACCEPT:
		ob_accept_set(k, msg->name, msg->value);
		break;
	case OB_KEEPER_READY:
		ob_life_ready(k, w, msg->text);
		break;
	case OB_KEEPER_READY_PART:
		ob_life_ready_part(k, w, msg->text);
		break;
	case OB_KEEPER_RINGS_OVER:
		ob_rings_over(k, msg->value);
		break;
	case OB_KEEPER_REFUSED:
		refused(k, w, msg->text);
		break;
	case OB_KEEPER_ENDED:
		ended(k, (int)msg->value);
		break;
	case OB_KEEPER_UPGRADE:
		ob_upgrade_begin(k, *fd < 0 ? -EBADF : ob_fd_take(fd),
				 (unsigned)msg->value, msg->number[0]);
		break;
	case OB_KEEPER_STATUS:
		tell_status(k, w);
		break;
	case OB_KEEPER_AWAKE:
		ob_watchdog_start(k);
		break;
	case OB_KEEPER_SAYS:
		ob_keeper_tell(k, OB_KEEPER_HAS_TO_SAY, msg->text);
		break;
	}
}

static void handle_any(struct ob_keeper *k, struct ob_worker *w,
		       struct ob_keeper_msg *msg, int *fd)
{
	if (w == k->active)
		handle(k, w, msg, fd);
	else if (w == k->next && w->state == OB_WORKER_REHEARSES &&
		 (msg->op == OB_KEEPER_READY || msg->op == OB_KEEPER_REFUSED))
		ob_upgrade_answer(k, msg);
	else if (w->state != OB_WORKER_DYING)
		SAY(GUEST, "worker %d speaks out of turn (%u)", (int)w->pid,
		    msg->op);
}

/* False: there is no more, now or for ever. */
static bool hear_one(struct ob_keeper *k, struct ob_worker *w, bool *over)
{
	struct ob_keeper_msg msg;
	OB_CLEANUP_FD int fd = -1;
	int r = ob_msg_recv(w->channel, &msg, &fd, MSG_DONTWAIT);

	if (r == 1)
		handle_any(k, w, &msg, &fd);
	else if (r == -EBADMSG)
		SAY(GUEST, "worker %d: not a message", (int)w->pid);
	else if (r == 0)
		*over = true;
	return r == 1 || r == -EBADMSG;
}

/* One that closed its end is about to die, or can be told nothing any more. */
void ob_worker_hear(struct ob_keeper *k, struct ob_worker *w)
{
	bool over = false;

	for (int i = 0; i < HEAR_AT_ONCE; i++)
		if (!hear_one(k, w, &over))
			break;
	if (!over)
		return;
	ob_keeper_watch(k, EPOLL_CTL_DEL, w->channel, 0, OB_FROM_CHANNEL, 0);
	w->giving = false;
	w->kill_at = ob_keeper_ms() + DIES_MS;
}

void ob_worker_drain(struct ob_keeper *k, struct ob_worker *w)
{
	bool over = false;

	while (hear_one(k, w, &over))
		;
}
