/* SPDX-License-Identifier: BSD-3-Clause */
/* In the place of src/devices/nvme/state_slot.h: all moved, one widened. */
#ifndef OB_NVME_STATE_SLOT_H
#define OB_NVME_STATE_SLOT_H

#include <outboard/state.h>

#include "devices/nvme/spec.h"

enum nvme_slot_stage { NVME_SLOT_FREE, NVME_SLOT_RUNNING, NVME_SLOT_DONE };

struct nvme_slot {
	uint8_t stage;
	uint8_t reserved[3];
	uint32_t step;			/* widened */
	uint16_t status, sqid;
	uint32_t generation, result;
	uint32_t reserved2;
	uint64_t post, fetch, order;
	struct nvme_sqe sqe;
};

extern const struct ob_table nvme_slot_table;

#endif
