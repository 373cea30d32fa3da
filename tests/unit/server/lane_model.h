/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model with queues for several lanes: the guest writes a number into its page of
 * a queue, and the device tells there, in its state and by an interrupt that it has
 * seen it.
 */
#ifndef OB_TESTS_SERVER_LANE_MODEL_H
#define OB_TESTS_SERVER_LANE_MODEL_H

#include "rig.h"

#define LANE_QUEUES 6u
#define LANE_PAGE 4096u
#define LANE_POISON UINT64_MAX	/* kills who sees it */

/* A queue's page of guest memory, at LANE_PAGE * queue. */
struct lane_page {
	uint64_t asked, done;
};

/* BAR0 */
enum {
	LANE_CHECK = 0x00,	/* a control step, which looks at all lanes */
	LANE_FAILED = 0x08,	/* reads as 1 in the failed state */
	LANE_SPREAD = 0x10,	/* reads as 1 while queues are on several threads */
	LANE_BELL = 0x100,	/* hot: that queue has work */
	LANE_DONE = 0x200,	/* hot: what it has seen */
};

extern const struct ob_device_class lane_class;

/* n threads with loops, as rig_lanes. */
void lane_threads_begin(unsigned n);
void lane_threads_end(void);
/* Threads on which a queue of the model was worked on, in this process. */
unsigned lane_threads_seen(struct ob_device *dev);

#endif
