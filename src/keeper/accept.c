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
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define ALARM_US 100000

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
		SAY(ERROR, "'%s' cannot be listened on", name);
	else
		entry->accept = true;
}

void ob_accept_none(struct ob_keeper *k)
{
	struct ob_held_entry *entry = ob_held_next(&k->held, NULL);

	for (; entry; entry = ob_held_next(&k->held, entry))
		ob_accept_end(k, entry);
}

/*
 * accept must not wait, and the socket's flags belong to everybody who has it:
 * they are set right before.  A worker that clears them just then, and takes the
 * client itself, makes it wait all the same; until the alarm, which comes
 * again and again, since it may be early.  SIGALRM's handler does nothing, and
 * does not restart the call.
 */
static void set_alarm(long us)
{
	const struct itimerval every = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &every, NULL);
}

static int accept_now(int listener)
{
	int fd, error;

	fcntl(listener, F_SETFL, O_NONBLOCK);
	set_alarm(ALARM_US);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	error = errno;
	set_alarm(0);
	errno = error;
	return fd;
}

/* The descriptor that was spared for this makes room to take one and hang up. */
static void refuse_one(struct ob_keeper *k, int listener)
{
	int fd;

	ob_fd_close(&k->spare);
	fd = accept_now(listener);
	ob_fd_close(&fd);
	k->spare = eventfd(0, EFD_CLOEXEC);
	SAY(GUEST, "refused a client: too many open files");
}

void ob_accept_ready(struct ob_keeper *k, uint32_t number)
{
	struct ob_held_entry *entry = &k->held.entries[number];
	OB_CLEANUP_FD int fd = -1;

	if (!entry->accept || !k->active)
		return;
	fd = accept_now(entry->fd);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_one(k, entry->fd);
	else if (fd < 0 && errno == EINTR)
		SAY(GUEST, "'%s' was made to wait", entry->name);
	else if (fd >= 0 && !ob_worker_tell(k->active, OB_KEEPER_CLIENT, 0,
					    entry->name, fd))
		SAY(GUEST, "a client of '%s' was dropped", entry->name);
}
