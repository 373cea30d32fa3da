/* SPDX-License-Identifier: BSD-3-Clause */
/* A lane, for lane.c and lane_thread.c. */
#ifndef OB_SERVER_LANE_IMPL_H
#define OB_SERVER_LANE_IMPL_H

#include "base/gate.h"
#include "server/device_impl.h"

/* An eventfd of the client, signalled from this lane's thread. */
struct ob_lane_signal {
	struct ob_signal signal;
	struct ob_lane_signal *next;	/* that are over */
};

struct ob_lane {
	_Alignas(OB_GATE_LINE) struct ob_device dev;	/* the handle */
	struct ob_device *home;
	unsigned number;
	/* Its step: in its recorder, for a successor; or nowhere. */
	struct ob_recorder_step *at, nowhere;

	bool may_poll;			/* somebody is there, nothing stands still */
	/* Changed in steps, control's or its own; done by its thread: */
	bool polls, busy;
	struct ob_lane_signal *over;
	struct ob_post arrange;		/* ... when this runs there */
	struct ob_post owes;		/* to the device's thread: look what is pending */
};

/* 0: it is one without lanes. */
static inline unsigned ob_lanes_nr(const struct ob_device *dev)
{
	return dev->lanes ? dev->nr_lanes : 0;
}

/* lane_thread.c */
void ob_lane_prepare(struct ob_lane *lane);
/* Of what control steps may have changed: the handle's copies. */
void ob_lane_renew(struct ob_lane *lane);
/* On its thread, at the end. */
void ob_lane_leave(void *lane);

#endif
