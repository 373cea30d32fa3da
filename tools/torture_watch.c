// SPDX-License-Identifier: BSD-3-Clause
/*
 * When exactly an upgrade has switched is known to nobody outside of the
 * server; but a process's end can be waited for.  A watch that cannot be had
 * leaves *at alone.
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture.h"

static void *watch(void *arg)
{
	struct torture_watch *w = arg;
	struct pollfd fds[] = {
		{ .fd = w->process, .events = POLLIN },
		{ .fd = w->stop, .events = POLLIN },
	};

	while (poll(fds, 2, -1) < 0)
		;
	if (fds[0].revents)
		__atomic_store_n(w->at, now_ns(), __ATOMIC_RELEASE);
	return NULL;
}

void torture_watch_start(struct torture_watch *w, pid_t pid, uint64_t *at)
{
	w->at = at;
	w->process = (int)syscall(SYS_pidfd_open, pid, 0);
	w->stop = eventfd(0, EFD_CLOEXEC);
	if (w->process >= 0 && w->stop >= 0 &&
	    !pthread_create(&w->thread, NULL, watch, w))
		return;
	if (w->stop >= 0)
		close(w->stop);
	if (w->process >= 0)
		close(w->process);
	w->stop = -1;
}

void torture_watch_stop(struct torture_watch *w)
{
	if (w->stop < 0)
		return;
	eventfd_write(w->stop, 1);
	pthread_join(w->thread, NULL);
	close(w->stop);
	close(w->process);
}
