/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of one worker's life.  A keeper makes them before it starts the
 * worker and holds them, so that they, and what the kernel does in them,
 * outlive it; without a keeper the loop makes its own, the same way.
 *
 *	loop	readiness and file operations (loop_uring.c)
 *	sure	socket calls whose outcome a successor can learn (sure.h)
 *
 * The journal is a memfd: the parameters of both rings, then one entry for
 * each file operation that was handed to the kernel.  An entry counts from the
 * store of its op until its completion has been acted upon.
 */
#ifndef OB_BASE_RING_H
#define OB_BASE_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>

#include <outboard/loop.h>

#define OB_RING_MAGIC 0x31474e4952424fu		/* "OBRING1" */
#define OB_RING_OPS 4096u	/* most that a loop may have in flight */

struct ob_ring_op {
	uint64_t op;		/* user_data; 0: free */
	uint32_t sq;		/* its place among all submission entries */
	uint32_t reserved;
};

struct ob_ring_journal {
	uint64_t magic;
	struct io_uring_params loop, sure;	/* as io_uring_setup left them */
	struct ob_ring_op ops[OB_RING_OPS];
};

/* Descriptors of one generation; -1 each when there are none. */
struct ob_rings {
	int loop, sure, journal;
	uint64_t generation;
};

/*
 * Makes both and the journal (close-on-exec).  -ENOSYS, -EPERM where the
 * kernel refuses io_uring: the loop then uses threads, and nothing of a dead
 * process is ever in flight.  Needs no allocation.
 */
int ob_rings_create(uint64_t generation, struct ob_rings *out);
void ob_rings_close(struct ob_rings *rings);

/*
 * The rings of a dead worker.  Opening cancels what has not begun; `over` is
 * called once from the loop, when no request of the former life is in the
 * kernel any more, which may be at once.  Then, or at any time, close.
 */
struct ob_old_rings;
int ob_old_rings_open(struct ob_loop *loop, const struct ob_rings *rings,
		      void (*over)(void *arg), void *arg,
		      struct ob_old_rings **out, struct ob_err *err);
void ob_old_rings_close(struct ob_old_rings *old);
bool ob_old_rings_over(const struct ob_old_rings *old);
/* Requests that are still in the kernel. */
unsigned ob_old_rings_left(const struct ob_old_rings *old);
/*
 * What became of the sure call with that tag: its result, or -ENOENT when it
 * never happened.
 */
int ob_old_rings_sure(const struct ob_old_rings *old, uint64_t tag);

/* The loop runs on these (taken) instead of rings of its own; before the
 * first turn. */
struct ob_loop_params;
int ob_loop_create_on(const struct ob_loop_params *params,
		      struct ob_rings *rings, struct ob_loop **out,
		      struct ob_err *err);

#endif
