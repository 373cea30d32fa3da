/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which commands a flight recorder has seen begin and not end: for an
 * operator, of a device that lives or of what a dead one left behind.
 */
#ifndef OB_STATE_INFLIGHT_H
#define OB_STATE_INFLIGHT_H

#include "state/recorder.h"

enum ob_inflight_phase {
	OB_INFLIGHT_FETCHED,	/* the device has it */
	OB_INFLIGHT_DRIVE,	/* its drive works on it */
	OB_INFLIGHT_ENDED,	/* by its drive; not told to the guest */
	OB_INFLIGHT_NR_PHASES
};

struct ob_inflight {
	uint16_t queue, phase;
	uint16_t slot;		/* from DRIVE on */
	uint32_t id;
	uint64_t opcode;
	uint64_t since;		/* of its fetching, CLOCK_MONOTONIC, ns */
	uint64_t phase_since;
	uint64_t offset;	/* of what it last asked its drive for */
	int error;		/* ENDED: 0 or errno */
	uint32_t born;		/* the generation that fetched it */
	uint32_t begun;		/* ... and the one that asked the drive last */
};

/*
 * events as ob_recorder_read gives them.  Fills out with the oldest first;
 * how many there are, which may be more than room; those are only counted.  A
 * command that was fetched before the first event is not known here.
 */
size_t ob_inflight_find(const struct ob_event_entry *events, size_t count,
			struct ob_inflight *out, size_t room);
/*
 * The same of the memory of all recorders of a device.  rows is the caller's to free; NULL and none
 * when memory is short.
 */
struct ob_inflight_list {
	struct ob_inflight *rows;
	size_t count;
};
void ob_inflight_read(const struct ob_recorder_bytes *recs, unsigned nr,
		      struct ob_inflight_list *out);
const char *ob_inflight_phase_name(unsigned phase);

#endif
