// SPDX-License-Identifier: BSD-3-Clause
/*
 * The io_uring engine: one ring for readiness and file operations, and, where a
 * drive needs it, another one for NVMe commands (loop_wide.c).
 *
 * The ring is one's own or given by a keeper (ring.h).  With the latter each
 * operation stands in the journal, from before the kernel can see it until its
 * completion is taken; for the former the journal is plain memory, so that
 * there is one way.
 *
 * user_data says whose completion it is: 0 is nobody's, an odd number is a
 * watch's key shifted up, one with the highest bit a sure call's that goes
 * along, anything else the address of an operation.
 */
#include <liburing.h>

#include <base/loop_private.h>

#include <base/fd.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAP_BATCH	64
#define OPS_A_TURN	8	/* then pollers find what these set off */
#define SUBMIT_BATCH	4	/* the device starts on these meanwhile */
#define TRIES		100	/* of a kernel without memory */
#define RETRY_NS	1000000	/* ... that has not taken commands */
#define CROWD		64	/* entries of the completion queue */
#define PASSES		16	/* without a call that others could go along with */

struct uring {
	struct io_uring ring;
	struct ob_ring_journal *journal;
	bool is_given;			/* the journal */
	bool can_ring;
	struct ob_wide *wide;		/* NULL: nobody has asked for it */
	unsigned along, passed;		/* entries that wait for others; how often */
	struct merge merge;
	unsigned nr_free;
	uint16_t free[OB_RING_OPS];	/* entries of the journal, a stack */
};

static struct io_uring *ring_of(struct ob_loop *loop)
{
	return &((struct uring *)loop->io)->ring;
}

static int open_own(struct uring *uring, uint32_t depth)
{
	struct io_uring_params params;
	unsigned most = depth > OB_RING_SQ ? depth : OB_RING_SQ;
	int r, fd;

	uring->journal = calloc(1, sizeof(*uring->journal));
	if (!uring->journal)
		return -ENOMEM;
	fd = ob_ring_setup(OB_RING_SQ, OB_RING_CQ_PER_OP * most, &params);
	if (fd < 0)
		return fd;
	r = ob_ring_map(fd, &params, &uring->ring);
	if (r)
		close(fd);
	return r;
}

static int open_given(struct uring *uring, struct ob_rings *given)
{
	int r;

	uring->is_given = true;
	uring->journal = ob_ring_journal_map(given->journal);
	if (!uring->journal)
		return -errno;
	r = ob_ring_map(given->loop, &uring->journal->loop, &uring->ring);
	if (!r)
		ob_fd_take(&given->loop);
	return r;
}

static void release_journal(struct uring *uring)
{
	if (uring->is_given)
		ob_ring_journal_unmap(uring->journal);
	else
		free(uring->journal);
}

/* No more in flight than the completion queue holds. */
static void bound_depth(struct ob_loop *loop, struct uring *uring)
{
	uint32_t most = uring->ring.cq.ring_entries / OB_RING_CQ_PER_OP;

	if (loop->depth > most)
		loop->depth = most;
	while (uring->nr_free < OB_RING_OPS) {
		uring->free[uring->nr_free] =
			(uint16_t)(OB_RING_OPS - 1 - uring->nr_free);
		uring->nr_free++;
	}
}

/* Linux 5.18 */
static bool knows_messages(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool knows = probe &&
		io_uring_opcode_supported(probe, IORING_OP_MSG_RING);

	io_uring_free_probe(probe);
	return knows;
}

static int uring_open(struct ob_loop *loop, struct ob_err *err)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int r;

	if (!uring)
		return ob_fail(err, ENOMEM, "io_uring: out of memory");
	r = loop->given.loop >= 0 ? open_given(uring, &loop->given) :
		open_own(uring, loop->depth);
	if (r) {
		release_journal(uring);
		free(uring);
		return ob_fail(err, -r, "io_uring: %s", strerror(-r));
	}
	bound_depth(loop, uring);
	ob_merge_init(&uring->merge);
	uring->can_ring = knows_messages(&uring->ring);
	loop->io = uring;
	return 0;
}

static void uring_close(struct ob_loop *loop)
{
	struct uring *uring = loop->io;

	ob_wide_close(loop, uring->wide);
	ob_ring_unmap(&uring->ring);
	close(uring->ring.ring_fd);
	release_journal(uring);
	free(uring);
}

/* The submission that get_sqe gave last. */
static void journal_add(struct uring *uring, struct ob_op *op)
{
	struct ob_ring_op *entry;

	op->entry = uring->free[--uring->nr_free];
	entry = &uring->journal->ops[op->entry];
	entry->sq = uring->ring.sq.sqe_tail - 1;
	/* Compilers keep the order; whoever reads comes after our death. */
	__atomic_store_n(&entry->op, (uint64_t)(uintptr_t)op, __ATOMIC_RELEASE);
}

static void journal_drop(struct uring *uring, const struct ob_op *op)
{
	struct ob_ring_op *entry = &uring->journal->ops[op->entry];

	__atomic_store_n(&entry->op, 0, __ATOMIC_RELEASE);
	uring->free[uring->nr_free++] = (uint16_t)op->entry;
}

static void submit(struct ob_loop *loop)
{
	struct uring *uring = loop->io;

	io_uring_submit(&uring->ring);
	uring->along = uring->passed = 0;
}

static void submit_and_look(struct ob_loop *loop)
{
	struct uring *uring = loop->io;

	io_uring_submit_and_get_events(&uring->ring);
	uring->along = uring->passed = 0;
}

/* What may go along waits for others, but not for ever. */
static void uring_flush(struct ob_loop *loop, bool all)
{
	struct uring *uring = loop->io;
	unsigned ready = io_uring_sq_ready(&uring->ring);

	if (uring->wide)
		(void)ob_wide_flush(uring->wide);	/* again before it waits */
	if (ready > uring->along ||
	    (ready && (all || ++uring->passed == PASSES)))
		submit(loop);
}

/* NULL only when the kernel takes nothing before completions are reaped. */
static struct io_uring_sqe *get_sqe(struct ob_loop *loop)
{
	struct io_uring *ring = ring_of(loop);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (sqe)
		return sqe;
	submit(loop);
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

/* Most transfers are of one piece, and some of those of memory that was lent. */
static void prepare_transfer(struct ob_loop *loop, struct io_uring_sqe *sqe,
			     const struct ob_op *op, const struct iovec *iov,
			     unsigned count)
{
	bool is_one = count == 1 && iov->iov_len <= INT_MAX;
	int slot = is_one ? ob_lent_slot(loop, iov) : -1;
	bool reads = op->code == OP_READV;
	int opcode = reads ? IORING_OP_READV : IORING_OP_WRITEV;

	if (slot >= 0)
		opcode = reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
	else if (is_one)
		opcode = reads ? IORING_OP_READ : IORING_OP_WRITE;
	io_uring_prep_rw(opcode, sqe, op->fd, is_one ? iov->iov_base : iov,
			 is_one ? (unsigned)iov->iov_len : count, op->off);
	sqe->rw_flags = (int)op->flags;
	if (slot >= 0)
		sqe->buf_index = (uint16_t)slot;
}

/* Into the newest entry, which is written anew. */
static bool join(struct ob_loop *loop, struct ob_op *op)
{
	struct uring *uring = loop->io;
	const struct io_uring_sq *sq = &uring->ring.sq;
	struct merge *merge = &uring->merge;
	struct io_uring_sqe *sqe = &sq->sqes[merge->entry &
					     (sq->ring_entries - 1)];

	if (!ob_merge_join(merge, op, *sq->khead, sq->sqe_tail))
		return false;
	prepare_transfer(loop, sqe, merge->lead, merge->array->pieces,
			 merge->count);
	io_uring_sqe_set_data(sqe, merge->lead);
	if (ob_merge_is_full(merge))
		submit(loop);
	return true;
}

static int uring_nvme_open(struct ob_loop *loop)
{
	struct uring *uring = loop->io;

	return uring->wide ? 0 : ob_wide_open(loop, &uring->wide);
}

static struct ob_wide *wide_of(const struct ob_loop *loop)
{
	struct ob_wide *wide = ((const struct uring *)loop->io)->wide;

	assert(wide);		/* ob_loop_nvme comes first */
	return wide;
}

static int uring_op_start(struct ob_loop *loop, struct ob_op *op)
{
	struct io_uring_sqe *sqe;

	op->next = NULL;
	if (op->code == OP_NVME)
		return ob_wide_start(wide_of(loop), op);
	if (join(loop, op))
		return 0;
	sqe = get_sqe(loop);
	if (!sqe)
		return -EAGAIN;
	op->lead = op;
	switch ((enum op_code)op->code) {
	case OP_READV:
	case OP_WRITEV:
		prepare_transfer(loop, sqe, op, op->addr, op->len);
		break;
	case OP_FDATASYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, (int)op->flags,
					(off_t)op->off, (off_t)op->off2);
		break;
	case OP_NVME:
		break;		/* not here */
	}
	io_uring_sqe_set_data(sqe, op);
	journal_add(loop->io, op);
	ob_merge_begin(&((struct uring *)loop->io)->merge, op,
		       ring_of(loop)->sq.sqe_tail - 1);
	/*
	 * Requests usually leave with the call that waits.  A deep queue would
	 * then reach its device only when the last entry has been prepared.
	 */
	if (io_uring_sq_ready(ring_of(loop)) >= SUBMIT_BATCH)
		submit(loop);
	return 0;
}

static void uring_op_cancel(struct ob_loop *loop, struct ob_op *op)
{
	struct io_uring_sqe *sqe;

	if (op->code == OP_NVME)
		return ob_wide_cancel(wide_of(loop), op);
	sqe = get_sqe(loop);
	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, op->lead, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

/* A kernel older than 5.19 refuses; then they end by themselves. */
static void uring_cancel_all(struct ob_loop *loop)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	ob_wide_cancel_all(((struct uring *)loop->io)->wide);
	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY |
			       IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, 0);
}

static bool uring_can_ring(const struct ob_loop *loop)
{
	return ((const struct uring *)loop->io)->can_ring;
}

/* Without a completion of its own, unless it fails, which concerns nobody. */
static int uring_ring(struct ob_loop *loop, int bell)
{
	struct io_uring_sqe *sqe = get_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_msg_ring(sqe, bell, 0, 0, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, 0);
	return 0;
}

/* Linux 5.19; nothing is lost without. */
static int uring_hold_table(struct ob_loop *loop, unsigned slots)
{
	return io_uring_register_buffers_sparse(ring_of(loop), slots);
}

static int uring_hold(struct ob_loop *loop, unsigned slot, void *addr,
		      size_t len)
{
	struct iovec iov = { addr, len };
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(ring_of(loop), slot, &iov,
						     &tag, 1);

	return r < 0 ? r : 0;
}

/* -- sure calls ----------------------------------------------------------- */

/* Completions may be due that only the kernel can post. */
static bool needs_enter(const struct io_uring *ring)
{
	return IO_URING_READ_ONCE(*ring->sq.kflags) &
		(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/*
 * Its result has to find room in the queue, or it cannot be read before all that
 * is in the queue has been worked off.  One client cannot fill the rest of it before
 * the entry is submitted: what nobody reads fills its socket first.
 */
static bool is_crowded(struct io_uring *ring)
{
	return io_uring_cq_ready(ring) > CROWD || needs_enter(ring);
}

static int uring_recv(struct ob_loop *loop, uint64_t tag, int fd, void *buf,
		      size_t len)
{
	struct io_uring_sqe *sqe = is_crowded(ring_of(loop)) ? NULL : get_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_recv(sqe, fd, buf, len, OB_SURE_FLAGS);
	io_uring_sqe_set_data64(sqe, ob_along_data(tag));
	((struct uring *)loop->io)->along++;
	return 0;
}

/* Is it among those that the kernel has not taken? */
static struct io_uring_sqe *find_waiting(struct io_uring *ring, uint64_t data)
{
	const struct io_uring_sq *sq = &ring->sq;

	for (unsigned at = *sq->khead; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe =
			&sq->sqes[at & (sq->ring_entries - 1)];

		if (sqe->user_data == data)
			return sqe;
	}
	return NULL;
}

/* Leaves the queue as it is: what comes to it there has been told already. */
static void tell_of(struct ob_loop *loop, uint64_t data)
{
	const struct io_uring_cq *cq = &ring_of(loop)->cq;
	unsigned tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);

	for (unsigned at = *cq->khead; at != tail; at++) {
		const struct io_uring_cqe *cqe =
			&cq->cqes[at & (cq->ring_entries - 1)];

		if (cqe->user_data == data)
			ob_sure_came(loop->sure, data, cqe->res);
	}
}

/* It is over once the kernel has it; who finds no room for it never had it. */
static void uring_recv_now(struct ob_loop *loop, uint64_t tag)
{
	struct io_uring *ring = ring_of(loop);
	uint64_t data = ob_along_data(tag);
	struct io_uring_sqe *sqe = NULL;

	for (int i = 0; i < TRIES && (sqe = find_waiting(ring, data)); i++)
		submit(loop);
	tell_of(loop, data);
	if (!sqe || !(sqe = find_waiting(ring, data)))
		return;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, 0);
	ob_sure_came(loop->sure, data, -EAGAIN);
}

/* -- completions ---------------------------------------------------------- */

static bool is_op(uint64_t tag)
{
	return tag && !(tag & 1) && !(tag & OB_ALONG);
}

static void op_over(struct ob_loop *loop, struct ob_op *op, int res)
{
	if (op->next)
		ob_merge_over(loop, op, res);
	else
		ob_op_complete(op, res);
}

static void dispatch(struct ob_loop *loop, const struct io_uring_cqe *cqe)
{
	uint64_t tag = cqe->user_data;
	uint32_t events = cqe->res < 0 ? POLLERR : (uint32_t)cqe->res;

	if (tag & 1)
		ob_watch_dispatch(loop, tag >> 1, events,
				  cqe->flags & IORING_CQE_F_MORE);
	else if (is_op(tag))
		op_over(loop, (struct ob_op *)(uintptr_t)tag, cqe->res);
}

/*
 * Takes up to REAP_BATCH entries, few of them operations: these are work, and
 * come in bursts, while a watch's event says little and others wait behind it.
 * The journal forgets an operation while its completion is in the queue.  What a
 * sure call came to is told before any callback runs, which may await it.
 */
static unsigned take(struct ob_loop *loop, struct io_uring_cqe *copies)
{
	struct uring *uring = loop->io;
	struct io_uring_cqe *cqes[REAP_BATCH];
	unsigned count = io_uring_peek_batch_cqe(&uring->ring, cqes,
						 REAP_BATCH);
	unsigned n = 0, ops = 0;

	for (; n < count && ops < OPS_A_TURN; n++) {
		uint64_t tag = cqes[n]->user_data;

		copies[n] = *cqes[n];
		ops += is_op(tag);
		if (is_op(tag))
			journal_drop(uring, (struct ob_op *)(uintptr_t)tag);
		else if (tag & OB_ALONG && !(tag & 1))
			ob_sure_came(loop->sure, tag, cqes[n]->res);
	}
	io_uring_cq_advance(&uring->ring, n);
	return n;
}

static bool uring_has_news(const struct ob_loop *loop)
{
	const struct io_uring *ring = &((const struct uring *)loop->io)->ring;

	return needs_enter(ring) || io_uring_cq_ready(ring);
}

/*
 * Each entry is taken off the queue before its callback runs, because the
 * callback may submit, and the kernel may then need the room.
 */
static bool uring_reap(struct ob_loop *loop)
{
	struct io_uring *ring = ring_of(loop);
	struct ob_wide *wide = ((struct uring *)loop->io)->wide;
	struct io_uring_cqe copies[REAP_BATCH];
	unsigned count, along = ob_sure_along(loop->sure);
	bool any, commands;

	if (needs_enter(ring))
		submit_and_look(loop);
	else if (io_uring_cq_ready(ring))
		uring_flush(loop, false);
	count = take(loop, copies);
	/* Calls that went along set nothing off. */
	any = count > along - ob_sure_along(loop->sure);
	for (unsigned i = 0; i < count; i++)
		dispatch(loop, &copies[i]);
	commands = wide && ob_wide_reap(wide);
	ob_watch_retry(loop);
	if (count || commands)
		ob_op_advance(loop);
	return any || commands;
}

/*
 * Calls that go along have their completions in the queue by the time that the
 * kernel waits, and are no reason to wake.
 */
static int wait_until(struct io_uring *ring, unsigned count, int64_t timeout_ns)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};

	if (timeout_ns < 0)
		return io_uring_submit_and_wait(ring, count);
	return io_uring_submit_and_wait_timeout(ring, &cqe, count, &ts, NULL);
}

static int uring_wait(struct ob_loop *loop, int64_t timeout_ns)
{
	struct uring *uring = loop->io;
	int r = uring->wide ? ob_wide_flush(uring->wide) : 0;

	if (r < 0)
		return r;
	if (r && (timeout_ns < 0 || timeout_ns > RETRY_NS))
		timeout_ns = RETRY_NS;
	r = wait_until(&uring->ring, 1 + ob_sure_along(loop->sure), timeout_ns);

	uring->along = uring->passed = 0;

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
	.has_news = uring_has_news,
	.flush = uring_flush,
	.wait = uring_wait,
	.watch_arm = uring_watch_arm,
	.watch_disarm = uring_watch_disarm,
	.op_start = uring_op_start,
	.op_cancel = uring_op_cancel,
	.cancel_all = uring_cancel_all,
	.nvme_open = uring_nvme_open,
	.can_ring = uring_can_ring,
	.ring = uring_ring,
	.recv = uring_recv,
	.recv_now = uring_recv_now,
	.hold_table = uring_hold_table,
	.hold = uring_hold,
};
