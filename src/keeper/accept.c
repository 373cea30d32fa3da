// SPDX-License-Identifier: BSD-3-Clause
/*
 * Listening sockets at which the keeper accepts for the worker.  Only while
 * one serves: before that, clients wait in the socket's own queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

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
	else if (!is_listening(entry->fd) ||
		 ob_keeper_watch(k, EPOLL_CTL_ADD, entry->fd, EPOLLIN,
				 OB_FROM_LISTENER, number_of(k, entry)))
		SAY(GUEST, "'%s' cannot be listened on", name);
	else
		entry->accept = true;
}

void ob_accept_none(struct ob_keeper *k)
{
	struct ob_held_entry *entry = ob_held_next(&k->held, NULL);

	for (; entry; entry = ob_held_next(&k->held, entry))
		ob_accept_end(k, entry);
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
	OB_CLEANUP_FD int fd = -1;

	if (!entry->accept || !k->active)
		return;
	fcntl(entry->fd, F_SETFL, O_NONBLOCK);
	fd = accept4(entry->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_one(k, entry->fd);
	else if (fd >= 0 && !ob_worker_tell(k->active, OB_KEEPER_CLIENT, 0,
					    entry->name, fd))
		SAY(GUEST, "a client of '%s' was dropped", entry->name);
}
