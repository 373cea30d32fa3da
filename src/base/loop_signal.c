// SPDX-License-Identifier: BSD-3-Clause
/*
 * Signals to a peer's eventfd.
 *
 * The peer owns the same open file.  It can clear O_NONBLOCK and fill the
 * counter at any instant, also between a look at either and the write that
 * relies on it, be that our own look or the one that io_uring takes inside a
 * request; and a write that waits stops the whole loop (RULES R6).  What never
 * waits is the kernel's own signalling, which adds to the counter or leaves it
 * full.  Two things make it do so: a completion in a ring with which the
 * eventfd is registered (loop_bell.c), and one of Linux AIO (loop_aio.c),
 * which makes dying slow and is for those who have no ring.
 *
 * What is raised within a turn leaves with one call at its end, and with it
 * whatever else waits in the loop's ring.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stddef.h>

/* The bell of an fd that AIO signals; and of one that is no eventfd. */
static char by_aio, nobody;
#define BY_AIO	((struct ob_bell *)&by_aio)
#define NOBODY	((struct ob_bell *)&nobody)

static struct ob_bell *find_bell(struct ob_loop *loop, int fd)
{
	struct ob_bell *bell;
	int r = -ENOSYS;

	if (loop->engine->can_ring && loop->engine->can_ring(loop))
		r = ob_bell_open(fd, &bell);
	if (r == 0)
		return bell;
	return r == -EBADF ? NOBODY : BY_AIO;
}

/* False: the ring takes nothing now. */
static bool send_one(struct ob_loop *loop, struct ob_signal *signal)
{
	if (!signal->bell)
		signal->bell = find_bell(loop, signal->fd);
	if (signal->bell == BY_AIO)
		ob_aio_signal(loop, signal->fd);
	else if (signal->bell != NOBODY)
		return !loop->engine->ring(loop, ob_bell_ready(signal->bell));
	return true;
}

void ob_signals_send(struct ob_loop *loop)
{
	struct ob_signal *signal = loop->raised;

	if (!signal)
		return;
	for (; signal && send_one(loop, signal); signal = loop->raised) {
		loop->raised = signal->next;
		signal->raised = false;
	}
	ob_aio_send(loop);
	loop->engine->flush(loop, true);
}

void ob_signals_close(struct ob_loop *loop)
{
	while (loop->raised)
		ob_signal_withdraw(loop, loop->raised);
	ob_aio_end(loop);
}

void ob_signal_raise(struct ob_loop *loop, struct ob_signal *signal)
{
	if (signal->raised)
		return;
	signal->raised = true;
	signal->next = loop->raised;
	loop->raised = signal;
}

void ob_signal_withdraw(struct ob_loop *loop, struct ob_signal *signal)
{
	struct ob_signal **at = &loop->raised;

	if (!signal->raised)
		return;
	while (*at != signal)
		at = &(*at)->next;
	*at = signal->next;
	signal->raised = false;
}

void ob_signal_close(struct ob_loop *loop, struct ob_signal *signal)
{
	ob_signal_withdraw(loop, signal);
	if (signal->bell && signal->bell != BY_AIO && signal->bell != NOBODY) {
		/* What the ring could not take yet names it by its number. */
		loop->engine->flush(loop, true);
		ob_bell_close(signal->bell);
	}
	signal->bell = NULL;
}
