/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of src/devices/nvme/state_features.h; see ../../meson.build. */
#ifndef OB_NVME_STATE_FEATURES_H
#define OB_NVME_STATE_FEATURES_H

#include <outboard/state.h>

#define NVME_NOT_COUNTED 0xffffffffu

struct nvme_features {
	/* Moved: what was last is first. */
	uint64_t timestamp_ns, timestamp_ms;
	uint64_t no_coalescing[2];
	/* Added, and may be forgotten: Set Features since the last reset. */
	uint32_t changes;
	uint32_t temp_over, temp_under;		/* widened */
	uint32_t events, atomicity, coalescing;
	uint32_t nr_cqs, nr_sqs;
	uint32_t write_cache, error_recovery, power, arbitration;
	uint8_t timestamp_origin;
	/* Added, and must be understood: the host has chosen a burst of 32. */
	uint8_t burst_of_32;
	uint8_t timestamp_live;			/* removed: it has no row */
	uint8_t reserved[5];
};

extern const struct ob_table nvme_features_table;

#endif
