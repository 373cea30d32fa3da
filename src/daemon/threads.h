/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads of a serving process (docs/threads.md).  Each has a loop, and each
 * device is on one of them: whatever touches a device runs there.  The first
 * thread is the process's own.
 */
#ifndef OB_DAEMON_THREADS_H
#define OB_DAEMON_THREADS_H

#include <pthread.h>
#include <semaphore.h>

#include <outboard/loop.h>

#include "base/ring.h"

struct ob_thread {
	unsigned number;		/* 0: the first, which has no more than the loop */
	struct ob_loop *loop;		/* NULL: not begun */
	const struct ob_loop_params *params;
	struct ob_rings rings;		/* to run on, -1: its own */
	pthread_t id;
	sem_t made;			/* the loop, or the error */
	int rc;
	struct ob_err err;
	struct ob_post end;
};

/*
 * Begins count of them; rings is NULL or has a set for each, which are taken.
 * Signals that are to be blocked are blocked already.  What has begun when this
 * fails is for ob_threads_end.
 */
int ob_threads_begin(struct ob_thread *threads, unsigned count,
		     const struct ob_loop_params *params,
		     struct ob_rings *rings, struct ob_err *err);
/*
 * Nobody posts to any of them any more, and nothing is left in their loops:
 * all end, and their loops with them; the first one's is destroyed here.
 */
void ob_threads_end(struct ob_thread *threads, unsigned count);

#endif
