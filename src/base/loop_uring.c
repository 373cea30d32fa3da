// SPDX-License-Identifier: BSD-3-Clause
/*
 * The io_uring engine: one ring for readiness and file operations.
 *
 * Flags.  COOP_TASKRUN: completions are posted when this thread enters the
 * kernel anyway, not by interrupting it; TASKRUN_FLAG tells a spinning loop
 * that some are due.  Not DEFER_TASKRUN, though it is a little quicker: the
 * ring of a process that was killed can be adopted by a successor, every
 * request in flight accounted for, with cooperative task work but not with
 * deferred.  Kernels that know none of these flags get a plain ring.
 *
 * user_data says whose completion it is: 0 is nobody's, an odd number is a
 * watch's key shifted up, anything else the address of an operation.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SQ_ENTRIES	256
#define CQ_PER_OP	4	/* room for watches and cancellations */
#define REAP_BATCH	64
#define OPS_A_TURN	8	/* then pollers find what these set off */
#define SUBMIT_BATCH	4	/* the device starts on these meanwhile */

static struct io_uring *ring_of(struct ob_loop *loop)
{
	return loop->io;
}

static int init_ring(struct io_uring *ring, uint32_t depth)
{
	static const unsigned flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int r = -EINVAL;

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_CQSIZE |
				IORING_SETUP_CLAMP,
			.cq_entries = CQ_PER_OP * (depth > SQ_ENTRIES ?
						   depth : SQ_ENTRIES),
		};

		r = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
		if (r != -EINVAL)
			break;
	}
	/*
	 * Without the first a full queue loses completions; without the
	 * second a timeout would be a request of its own (before 5.11).
	 */
	if (!r && (!(ring->features & IORING_FEAT_NODROP) ||
		   !(ring->features & IORING_FEAT_EXT_ARG))) {
		io_uring_queue_exit(ring);
		r = -ENOSYS;
	}
	return r;
}

static int uring_open(struct ob_loop *loop, struct ob_err *err)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return ob_fail(err, ENOMEM, "io_uring: out of memory");
	r = init_ring(ring, loop->depth);
	if (r) {
		free(ring);
		return ob_fail(err, -r, "io_uring: %s", strerror(-r));
	}
	io_uring_ring_dontfork(ring);
	loop->io = ring;
	return 0;
}

static void uring_close(struct ob_loop *loop)
{
	io_uring_queue_exit(ring_of(loop));
	free(ring_of(loop));
}

/* NULL only when the kernel takes nothing before completions are reaped. */
static struct io_uring_sqe *get_sqe(struct ob_loop *loop)
{
	struct io_uring *ring = ring_of(loop);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (sqe)
		return sqe;
	io_uring_submit(ring);
	return io_uring_get_sqe(ring);
}

static uint64_t watch_tag(const struct ob_loop *loop, uint32_t index)
{
	return ob_watch_key(loop, index) << 1 | 1;
}

static int uring_watch_arm(struct ob_loop *loop, uint32_t index)
{
	struct ob_watch *watch = loop->slots[index].watch;
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	if (watch->edge)
		io_uring_prep_poll_multishot(sqe, watch->fd, watch->events);
	else
		io_uring_prep_poll_add(sqe, watch->fd, watch->events);
	io_uring_sqe_set_data64(sqe, watch_tag(loop, index));
	return 0;
}

/*
 * Not by a poll removal: the kernel refuses that (-EALREADY) while an event is
 * on its way, and a poll that goes on would hold the file of a closed fd open
 * for ever.  Without room it stays armed; its event will find another
 * generation.
 */
static void uring_watch_disarm(struct ob_loop *loop, uint32_t index)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, watch_tag(loop, index), 0);
	io_uring_sqe_set_data64(sqe, 0);
}

static int uring_op_start(struct ob_loop *loop, struct ob_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	switch ((enum op_code)op->code) {
	case OP_READV:
		io_uring_prep_readv(sqe, op->fd, op->addr, op->len, op->off);
		break;
	case OP_WRITEV:
		io_uring_prep_writev2(sqe, op->fd, op->addr, op->len, op->off,
				      (int)op->flags);
		break;
	case OP_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, (int)op->flags,
					(off_t)op->off, (off_t)op->off2);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
	/*
	 * Requests usually leave with the call that waits.  A deep queue would
	 * then reach its device only when the last entry has been prepared.
	 */
	if (io_uring_sq_ready(ring_of(loop)) >= SUBMIT_BATCH)
		io_uring_submit(ring_of(loop));
	return 0;
}

static void uring_op_cancel(struct ob_loop *loop, struct ob_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

/* A kernel older than 5.19 refuses; then they end by themselves. */
static void uring_cancel_all(struct ob_loop *loop)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY |
			       IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, 0);
}

static void dispatch(struct ob_loop *loop, const struct io_uring_cqe *cqe)
{
	uint64_t tag = cqe->user_data;
	uint32_t events = cqe->res < 0 ? POLLERR : (uint32_t)cqe->res;

	if (!tag)
		return;
	if (tag & 1)
		ob_watch_dispatch(loop, tag >> 1, events,
				  cqe->flags & IORING_CQE_F_MORE);
	else
		ob_op_complete((struct ob_op *)(uintptr_t)tag, cqe->res);
}

/* Completions may be due that only the kernel can post. */
static bool needs_enter(const struct io_uring *ring)
{
	return IO_URING_READ_ONCE(*ring->sq.kflags) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/*
 * Takes up to REAP_BATCH entries, few of them operations: these are work, and
 * come in bursts, while a watch's event says little and others wait behind it.
 */
static unsigned take(struct io_uring *ring, struct io_uring_cqe *copies)
{
	struct io_uring_cqe *cqes[REAP_BATCH];
	unsigned count = io_uring_peek_batch_cqe(ring, cqes, REAP_BATCH);
	unsigned n = 0, ops = 0;

	for (; n < count && ops < OPS_A_TURN; n++) {
		copies[n] = *cqes[n];
		ops += !(copies[n].user_data & 1);
	}
	io_uring_cq_advance(ring, n);
	return n;
}

/*
 * Each entry is taken off the queue before its callback runs, because the
 * callback may submit, and the kernel may then need the room.
 */
static bool uring_reap(struct ob_loop *loop)
{
	struct io_uring *ring = ring_of(loop);
	struct io_uring_cqe copies[REAP_BATCH];
	unsigned count;

	if (needs_enter(ring))
		io_uring_submit_and_get_events(ring);
	else if (io_uring_cq_ready(ring))
		io_uring_submit(ring);
	count = take(ring, copies);
	for (unsigned i = 0; i < count; i++)
		dispatch(loop, &copies[i]);
	ob_watch_retry(loop);
	if (count)
		ob_op_advance(loop);
	return count;
}

static void uring_flush(struct ob_loop *loop)
{
	if (io_uring_sq_ready(ring_of(loop)))
		io_uring_submit(ring_of(loop));
}

static int wait_until(struct io_uring *ring, int64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};

	if (timeout_ns < 0)
		return io_uring_submit_and_wait(ring, 1);
	return io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);
}

static int uring_wait(struct ob_loop *loop, int64_t timeout_ns)
{
	int r = wait_until(ring_of(loop), timeout_ns);

	switch (r) {
	case -ETIME:
	case -EINTR:
	case -EAGAIN:
	case -EBUSY:
		return 0;	/* a timer, or completions to be reaped */
	default:
		return r < 0 ? r : 0;
	}
}

const struct engine ob_engine_uring = {
	.open = uring_open,
	.close = uring_close,
	.reap = uring_reap,
	.flush = uring_flush,
	.wait = uring_wait,
	.watch_arm = uring_watch_arm,
	.watch_disarm = uring_watch_disarm,
	.op_start = uring_op_start,
	.op_cancel = uring_op_cancel,
	.cancel_all = uring_cancel_all,
};
