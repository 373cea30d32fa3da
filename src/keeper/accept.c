// SPDX-License-Identifier: BSD-3-Clause
/*
 * Listening sockets at which the keeper accepts for the worker.  Only while
 * one serves: before that, clients wait in the socket's own queue.
 *
 * Who was accepted is in the table before the worker hears of it, and leaves it
 * when the worker says so.  If that dies before, its successor is given the
 * client like all that is kept.  Each socket has a few places; when they are
 * taken, whoever comes next waits in the socket's queue, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keep.h"
#include "keeper/impl.h"

#define NEW_LENGTH 6u		/* of "/new/N" */
_Static_assert(OB_KEEP_NEW <= 10, "one digit");

static uint32_t number_of(const struct ob_keeper *k,
			  const struct ob_held_entry *entry)
{
	return (uint32_t)(entry - k->held.entries);
}

void ob_accept_end(struct ob_keeper *k, struct ob_held_entry *entry)
{
	if (!entry->accept)
		return;
	/* The worker has duplicates: closing ours would not end it. */
	ob_keeper_watch(k, EPOLL_CTL_DEL, entry->fd, 0, OB_FROM_LISTENER, 0);
	entry->accept = false;
}

static void watch(struct ob_keeper *k, struct ob_held_entry *entry, bool on)
{
	ob_keeper_watch(k, EPOLL_CTL_MOD, entry->fd, on ? EPOLLIN : 0,
			OB_FROM_LISTENER, number_of(k, entry));
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) && value;
}

void ob_accept_set(struct ob_keeper *k, const char *name, bool on)
{
	struct ob_held_entry *entry = ob_held_find(&k->held, name);

	if (!entry || entry->accept == on)
		return;
	if (!on)
		ob_accept_end(k, entry);
	else if (strlen(name) + NEW_LENGTH >= OB_KEEPER_NAME ||
		 !is_listening(entry->fd) ||
		 ob_keeper_watch(k, EPOLL_CTL_ADD, entry->fd, EPOLLIN,
				 OB_FROM_LISTENER, number_of(k, entry)))
		SAY(GUEST, "'%s' cannot be listened on", name);
	else
		entry->accept = true;
}

void ob_accept_none(struct ob_keeper *k)
{
	struct ob_held_entry *entry = ob_held_next(&k->held, NULL);

	for (; entry; entry = ob_held_next(&k->held, entry)) {
		ob_accept_end(k, entry);
		entry->untold = false;	/* who comes next is given it */
	}
}

/* Clients that are held */

static void listener_of(const struct ob_held_entry *client,
			char name[OB_KEEPER_NAME])
{
	snprintf(name, OB_KEEPER_NAME, "%.*s",
		 (int)(strlen(client->name) - NEW_LENGTH), client->name);
}

void ob_accept_taken(struct ob_keeper *k, struct ob_held_entry *client)
{
	struct ob_held_entry *listener;
	char name[OB_KEEPER_NAME];

	if (!client->is_new)
		return;
	k->nr_new--;
	listener_of(client, name);
	listener = ob_held_find(&k->held, name);
	if (listener && listener->accept)
		watch(k, listener, true);
}

static int tell_one(struct ob_worker *w, const struct ob_held_entry *client)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, OB_KEEPER_CLIENT, NULL);
	listener_of(client, msg.name);
	msg.value = (uint64_t)(client->name[strlen(client->name) - 1] - '0');
	return ob_msg_send(w->channel, &msg, 0, client->fd, MSG_DONTWAIT);
}

int ob_accept_tell(struct ob_keeper *k, struct ob_worker *w)
{
	struct ob_held_entry *entry = ob_held_next(&k->held, NULL);
	int r = 0;

	for (; entry && !r; entry = ob_held_next(&k->held, entry)) {
		if (!entry->untold)
			continue;
		r = tell_one(w, entry);
		entry->untold = r != 0;
	}
	return r;
}

/* False: nobody has dropped one of them yet. */
static bool free_name(struct ob_keeper *k, const char *listener,
		      char name[OB_KEEPER_NAME])
{
	for (unsigned n = 0; n < OB_KEEP_NEW; n++) {
		snprintf(name, OB_KEEPER_NAME, "%.*s/new/%u",
			 (int)(OB_KEEPER_NAME - 1 - NEW_LENGTH), listener, n);
		if (!ob_held_find(&k->held, name))
			return true;
	}
	return false;
}

/* Takes fd. */
static void hold(struct ob_keeper *k, const char *name, int fd)
{
	struct ob_held_entry *entry;

	if (k->nr_new == OB_KEEPER_NEW || ob_held_put(&k->held, name, fd)) {
		ob_fd_close(&fd);
		SAY(GUEST, "refused a client: too many wait to be taken");
		return;
	}
	entry = ob_held_find(&k->held, name);
	entry->is_new = entry->untold = true;
	k->nr_new++;
	ob_worker_push(k, k->active);
}

/* The descriptor that was spared for this makes room to take one and hang up. */
static void refuse_one(struct ob_keeper *k, int listener)
{
	int fd;

	ob_fd_close(&k->spare);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ob_fd_close(&fd);
	k->spare = eventfd(0, EFD_CLOEXEC);
	SAY(GUEST, "refused a client: too many open files");
}

/*
 * accept must not wait, and the socket's flags belong to everybody who has it:
 * they are set right before.
 */
void ob_accept_ready(struct ob_keeper *k, uint32_t number)
{
	struct ob_held_entry *entry = &k->held.entries[number];
	char name[OB_KEEPER_NAME];
	int fd;

	if (!entry->accept || !k->active)
		return;
	if (!free_name(k, entry->name, name)) {
		watch(k, entry, false);
		return;
	}
	fcntl(entry->fd, F_SETFL, O_NONBLOCK);
	fd = accept4(entry->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_one(k, entry->fd);
	else if (fd >= 0)
		hold(k, name, fd);
}
