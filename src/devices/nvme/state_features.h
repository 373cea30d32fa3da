/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Set Features has set.  A header of its own, as has the slot, so that
 * tests/next can be a release that lays it out in another way.
 */
#ifndef OB_NVME_STATE_FEATURES_H
#define OB_NVME_STATE_FEATURES_H

#include <outboard/state.h>

struct nvme_features {
	uint32_t arbitration, power, error_recovery, write_cache;
	uint32_t nr_sqs, nr_cqs;	/* allocated I/O queues */
	uint32_t coalescing, atomicity, events;
	uint16_t temp_over, temp_under;
	uint64_t no_coalescing[2];	/* bit per vector */
	uint64_t timestamp_ms;		/* as set by the host */
	/*
	 * Our clock at that time.  It means nothing in another process: halt
	 * moves both to its own time, loaded to its.  The time between is not
	 * counted; a host sets its timestamp anew when it cares.
	 */
	uint64_t timestamp_ns;
	uint8_t timestamp_origin;
	/* Not moved by halt: the writer died here, and its clock is ours. */
	uint8_t timestamp_live;
	uint8_t reserved[6];
};

extern const struct ob_table nvme_features_table;

#endif
