/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes: parts of one device on several threads (docs/threads.md).
 *
 * What a lane's thread has of the device is a handle, a struct ob_device of its
 * own: what changes in control steps only is copied into it at their end, and what
 * the lane writes (the recorder, the last DMA hit, signals, counters) is its own.
 * So the code of a command's path is the same with one lane and with several, and
 * asks nowhere which.
 *
 * All of it is for devices with more than one; with one, dev->lanes is NULL.
 */
#ifndef OB_SERVER_LANE_H
#define OB_SERVER_LANE_H

#include <outboard/device.h>

#include "base/gate.h"
#include "proto/proto.h"
#include "state/recorder.h"

_Static_assert(OB_LANES_MAX <= OB_GATE_LANES, "a place in the gate for each");

struct ob_lane;

struct ob_lanes {
	struct ob_gate gate;
	unsigned shut_at;	/* depth of the step that shut it; 0: open */
	bool spread;		/* may be, as the model was told */
	bool busy;		/* is, as the model told */
	struct ob_lane *of[OB_LANES_MAX];
};

/* The handles; before the model's init, which may ask for them. */
int ob_lanes_create(struct ob_device *dev, struct ob_err *err);
/* What follows from the PCI description has been built. */
int ob_lanes_built(struct ob_device *dev, struct ob_err *err);
/* Takes them off their threads; then nothing of the library's runs there. */
void ob_lanes_leave(struct ob_device *dev);
void ob_lanes_free(struct ob_device *dev);

/* Their recorders: new ones, or a dead process's, whose open steps are noted. */
int ob_lanes_record(struct ob_device *dev, struct ob_err *err);
int ob_lanes_adopt(struct ob_device *dev, struct ob_err *err);
/* The hand-over has been: they are between steps, and what was too many goes. */
void ob_lanes_adopted(struct ob_device *dev);
void ob_lanes_born(struct ob_device *dev, uint32_t generation);
void ob_lanes_get_warm(struct ob_device *dev);
/* The device's own and theirs; how many. */
unsigned ob_lanes_recorders(const struct ob_device *dev,
			    struct ob_recorder_bytes recs[1 + OB_LANES_MAX]);

/*
 * Without a step: nobody else is in one until open; false: that was so already,
 * or there is one lane.
 */
bool ob_lanes_shut(struct ob_device *dev);
/* did: what shut returned.  Lanes learn what has changed. */
void ob_lanes_open(struct ob_device *dev, bool did);
/* The open step, which was begun beside others, goes on alone. */
void ob_lanes_alone(struct ob_device *dev);
/* May another lane be in a step now? */
bool ob_lanes_are_in(const struct ob_device *dev);
/* Something of what lanes depend on has changed outside of a step. */
static inline void ob_lanes_update(struct ob_device *dev)
{
	ob_lanes_open(dev, ob_lanes_shut(dev));
}

/* dev is a handle, or the device: then of all lanes. */
void ob_lanes_poll(struct ob_device *dev, bool on, bool busy);

/* Interrupts: a lane signals by eventfds of its own. */
/* dev, a handle, has none for it: is there one to be had? */
bool ob_lane_tie(struct ob_device *dev, unsigned index, unsigned vector);
/* The client took that trigger away.  True: some lane has signalled by it. */
bool ob_lanes_untie(struct ob_device *dev, unsigned index, unsigned vector);
/* A lane could not: the device's thread is to look what is pending. */
void ob_lane_owes(struct ob_device *dev);

/* What was signalled and seen in all lanes, added up; the gate is shut. */
struct ob_irqs;
void ob_lanes_count(const struct ob_device *dev, struct ob_irqs *sum);

#endif
