/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of one worker's life, a set for each of its threads.  A keeper makes
 * them before it starts the worker and holds them, so that they, and what the
 * kernel does in them, outlive it; without a keeper the loop makes its own, the
 * same way.
 *
 *	loop	readiness and file operations (loop_uring.c)
 *	sure	socket calls whose outcome a successor can learn (sure.h)
 *
 * The journal is a memfd: the parameters of both rings, then one entry for
 * each file operation that was handed to the kernel.  An entry counts from the
 * store of its op, which is before the kernel can see the submission, until
 * its completion is about to be taken off the queue.  So for each that counts
 * one of three is true: the kernel has not consumed the submission (sq is at or
 * after the ring's head), the completion is in the queue, or the request is in
 * the kernel.
 */
#ifndef OB_BASE_RING_H
#define OB_BASE_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>

#include <outboard/loop.h>

#define OB_THREADS 16u		/* most of a process; each has a loop */
#define OB_RING_MAGIC 0x31474e4952424fu		/* "OBRING1" */
#define OB_RING_OPS 4096u	/* most that a loop may have in flight */

#define OB_RING_SQ 256u		/* submission entries of the loop's ring */
#define OB_RING_CQ_PER_OP 4u	/* room for watches and cancellations */

struct ob_ring_op {
	uint64_t op;		/* user_data; 0: free */
	uint32_t sq;		/* its place among all submission entries */
	uint32_t reserved;
};

struct ob_ring_journal {
	uint64_t magic, generation;
	struct io_uring_params loop, sure;	/* as io_uring_setup left them */
	struct ob_ring_op ops[OB_RING_OPS];
};

/* Descriptors of one thread of a generation; -1 each when there are none. */
struct ob_rings {
	int loop, sure, journal;
	uint64_t generation;
	unsigned thread;	/* below OB_THREADS */
};

/*
 * Makes both and the journal (close-on-exec).  -ENOSYS, -EPERM where the
 * kernel refuses io_uring: the loop then uses threads, and nothing of a dead
 * process is ever in flight.  Needs no allocation.  out is valid in any case,
 * and thread 0's until the caller says otherwise.
 */
int ob_rings_create(uint64_t generation, struct ob_rings *out);
void ob_rings_close(struct ob_rings *rings);

/* One ring, as all are made here: close-on-exec, or -errno. */
int ob_ring_setup(unsigned sq_entries, unsigned cq_entries,
		  struct io_uring_params *params);
/* The journal's memory, checked for no more than its size; NULL and errno. */
struct ob_ring_journal *ob_ring_journal_map(int fd);
void ob_ring_journal_unmap(struct ob_ring_journal *journal);

/* Maps a ring that was made elsewhere.  Takes nothing; params are checked,
 * since they may come from a dead process's memory: -EINVAL. */
struct io_uring;
int ob_ring_map(int fd, const struct io_uring_params *params,
		struct io_uring *out);
void ob_ring_unmap(struct io_uring *ring);

/*
 * The rings of a dead worker; dead is dead: its last thread has gone.  Opening
 * cancels what can be cancelled, the polls above all, which would hold
 * the files of closed sockets open.  `over` is called once from the loop, when
 * no request of the former life is in the kernel any more.  Then, or at any
 * time, close.  The descriptors stay the caller's, who may close them at once;
 * -1 each is a worker that had none.
 *
 * A successor that dies on the way leaves to the next what it found itself.
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
 * What became of the sure call with that tag: its result, -ENOENT when it
 * never happened in these, -ENXIO when there was no ring, and so nobody knows.
 * It is in one set at most of all that are given to a successor.
 */
int ob_old_rings_sure(const struct ob_old_rings *old, uint64_t tag);

/*
 * A loop that runs on these instead of a ring of its own.  They are taken, also
 * when this fails.  Its depth is at most what they hold.
 */
struct ob_loop_params;
int ob_loop_create_on(const struct ob_loop_params *params,
		      struct ob_rings *rings, struct ob_loop **out,
		      struct ob_err *err);

#endif
