// SPDX-License-Identifier: BSD-3-Clause
/*
 * Signals to a peer's eventfd.
 *
 * The peer owns the same open file: it can clear O_NONBLOCK and fill the
 * counter, and then a plain write would stop the whole loop.  So the write is
 * an asynchronous operation, and what can get stuck is a request, not us.
 * While one is stuck, further signals of the same fd are held as one.
 *
 * The request lives in a structure of the loop's, taken from a free list:
 * the owner of a struct ob_signal can go away while a write is stuck.
 */
#include <base/loop_private.h>

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct signal_write {
	struct ob_op op;
	struct ob_signal *owner;	/* NULL: it closed */
	struct ob_loop *loop;
	bool again;
	struct signal_write *next, *next_spare;
};

static const uint64_t one = 1;

static void start_write(struct signal_write *wr)
{
	wr->op.code = OP_SIGNAL;
	wr->op.fd = wr->owner->fd;
	wr->op.addr = &one;
	wr->op.len = sizeof(one);
	wr->again = false;
	ob_op_submit(wr->loop, &wr->op);
}

/*
 * The result does not matter: -EAGAIN says that the counter is full, which
 * the peer will notice as a signal; no other error has anybody to tell.
 */
static void on_written(struct ob_op *op, int res)
{
	struct signal_write *wr = (struct signal_write *)op;

	(void)res;
	if (wr->owner && wr->again) {
		start_write(wr);
		return;
	}
	if (wr->owner)
		wr->owner->pending = NULL;
	wr->owner = NULL;
	wr->next_spare = wr->loop->spare;
	wr->loop->spare = wr;
}

static struct signal_write *take_spare(struct ob_loop *loop)
{
	struct signal_write *wr = loop->spare;

	if (wr) {
		loop->spare = wr->next_spare;
		return wr;
	}
	wr = calloc(1, sizeof(*wr));
	if (!wr)
		return NULL;
	wr->op.done = on_written;
	wr->loop = loop;
	wr->next = loop->signals;
	loop->signals = wr;
	return wr;
}

/* Without memory for a request: better a small race than a lost interrupt. */
static void write_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) &&
	    write(fd, &one, sizeof(one)) < 0)
		return;		/* a full counter: the peer is signalled */
}

void ob_signal_raise(struct ob_loop *loop, struct ob_signal *signal)
{
	struct signal_write *wr = signal->pending;

	if (wr) {
		wr->again = true;
		return;
	}
	wr = take_spare(loop);
	if (!wr) {
		write_now(signal->fd);
		return;
	}
	wr->owner = signal;
	signal->pending = wr;
	start_write(wr);
}

void ob_signal_close(struct ob_loop *loop, struct ob_signal *signal)
{
	struct signal_write *wr = signal->pending;

	if (!wr)
		return;
	signal->pending = NULL;
	wr->owner = NULL;
	/*
	 * The owner closes the fd next, and its number will be used again: no
	 * request that names it may reach the kernel later.
	 */
	loop->engine->flush(loop);
	ob_op_cancel(loop, &wr->op);
}

/* After the engine is closed: some may have been stuck in it. */
void ob_signal_free_all(struct ob_loop *loop)
{
	struct signal_write *wr;

	while ((wr = loop->signals)) {
		loop->signals = wr->next;
		if (wr->owner)
			wr->owner->pending = NULL;
		free(wr);
	}
}
