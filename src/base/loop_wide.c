// SPDX-License-Identifier: BSD-3-Clause
/*
 * A second ring of the io_uring engine, for commands to NVMe namespaces.
 *
 * The kernel takes those in entries of twice the size only, and answers in entries
 * of twice the size (Linux 5.19).  Rings cannot mix sizes before Linux 6.19, and
 * nobody else is to pay for larger ones; so this one exists from the first drive on
 * that needs it.  It is the process's own: a keeper can hold only rings that
 * it made itself, since they do not travel over sockets.  So a successor does
 * not adopt it; how it knows that nothing of the dead is under way is the
 * drive's business (block/file_fence.c).
 *
 * The loop sleeps in its first ring, where a poll waits for this one's completions.
 * That poll is level-triggered and armed anew after it fired, so whatever is
 * left here keeps the loop awake; taking them off is uring_reap's.
 *
 * A command cannot be recalled once the device has it; one that has to wait for a place
 * in the device's queue can.
 */
#include <liburing.h>

#include <base/loop_private.h>

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SQ_ENTRIES	64u
#define CQ_ENTRIES	1024u		/* more wait in the kernel (NODROP) */
#define OPS_A_TURN	8u
#define SUBMIT_BATCH	4u		/* as in the first ring */

struct ob_wide {
	struct io_uring ring;
	struct ob_watch watch;
};

static int make_ring(struct io_uring *ring)
{
	static const unsigned flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0,
	};
	int r = -EINVAL;

	for (size_t i = 0; r == -EINVAL && i < sizeof(flags) / sizeof(*flags);
	     i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_CQSIZE |
				IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
			.cq_entries = CQ_ENTRIES,
		};

		r = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
	}
	return r;
}

static bool knows_commands(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool knows = probe &&
		io_uring_opcode_supported(probe, IORING_OP_URING_CMD);

	io_uring_free_probe(probe);
	return knows;
}

/* Being awake is all that was wanted. */
static void woken(struct ob_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
}

static int begin(struct ob_loop *loop, struct ob_wide *wide)
{
	if (!knows_commands(&wide->ring))
		return -EOPNOTSUPP;
	io_uring_ring_dontfork(&wide->ring);
	wide->watch = (struct ob_watch){
		.ready = woken, .fd = wide->ring.ring_fd, .events = POLLIN,
	};
	return ob_watch_add(loop, &wide->watch);
}

int ob_wide_open(struct ob_loop *loop, struct ob_wide **out)
{
	struct ob_wide *wide = calloc(1, sizeof(*wide));
	int r;

	if (!wide)
		return -ENOMEM;
	r = make_ring(&wide->ring);
	if (r) {
		free(wide);
		return r == -EINVAL ? -EOPNOTSUPP : r;
	}
	r = begin(loop, wide);
	if (r) {
		io_uring_queue_exit(&wide->ring);
		free(wide);
		return r;
	}
	*out = wide;
	return 0;
}

void ob_wide_close(struct ob_loop *loop, struct ob_wide *wide)
{
	if (!wide)
		return;
	ob_watch_remove(loop, &wide->watch);
	io_uring_queue_exit(&wide->ring);
	free(wide);
}

static struct io_uring_sqe *get_sqe(struct ob_wide *wide)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&wide->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&wide->ring);
	return io_uring_get_sqe(&wide->ring);
}

/* The command lies where a small entry ends, and goes on in its second half. */
static void prepare(struct io_uring_sqe *sqe, struct ob_op *op)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op->fd, NULL, 0, 0);
	sqe->cmd_op = NVME_URING_CMD_IO;
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), op->addr,
	       sizeof(struct nvme_uring_cmd));
	io_uring_sqe_set_data(sqe, op);
}

int ob_wide_start(struct ob_wide *wide, struct ob_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(wide);

	if (!sqe)
		return -EAGAIN;
	prepare(sqe, op);
	if (io_uring_sq_ready(&wide->ring) >= SUBMIT_BATCH)
		io_uring_submit(&wide->ring);
	return 0;
}

void ob_wide_cancel(struct ob_wide *wide, struct ob_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(wide);

	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

void ob_wide_cancel_all(struct ob_wide *wide)
{
	struct io_uring_sqe *sqe = wide ? get_sqe(wide) : NULL;

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY |
			       IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, 0);
}

/*
 * What the kernel does not take now stays in the queue and is offered again: nobody
 * else would, since the loop sleeps in its first ring.
 */
int ob_wide_flush(struct ob_wide *wide)
{
	int r = 0;

	if (io_uring_sq_ready(&wide->ring))
		r = io_uring_submit(&wide->ring);
	switch (r) {
	case -EAGAIN:
	case -EBUSY:
	case -EINTR:
	case -ENOMEM:
		return 1;
	default:
		return r < 0 ? r : io_uring_sq_ready(&wide->ring) > 0;
	}
}

/* Completions for which there was no room come although nothing is taken. */
static void look(struct io_uring *ring)
{
	if (io_uring_submit_and_get_events(ring) < 0)
		io_uring_get_events(ring);
}

/* The entries are copied off the queue before a callback runs, as everywhere. */
static unsigned take(struct ob_wide *wide, struct ob_op **ops, int *res)
{
	struct io_uring_cqe *cqes[OPS_A_TURN];
	unsigned count = io_uring_peek_batch_cqe(&wide->ring, cqes, OPS_A_TURN);
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!cqes[i]->user_data)
			continue;	/* a cancellation's */
		ops[n] = io_uring_cqe_get_data(cqes[i]);
		res[n++] = cqes[i]->res;
	}
	io_uring_cq_advance(&wide->ring, count);
	return n;
}

bool ob_wide_reap(struct ob_wide *wide)
{
	struct ob_op *ops[OPS_A_TURN];
	int res[OPS_A_TURN];
	unsigned n;

	if (IO_URING_READ_ONCE(*wide->ring.sq.kflags) &
	    (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		look(&wide->ring);
	n = take(wide, ops, res);
	for (unsigned i = 0; i < n; i++)
		ob_op_complete(ops[i], res[i]);
	return n;
}
