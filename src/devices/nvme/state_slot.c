// SPDX-License-Identifier: BSD-3-Clause
/* The table of a command in flight (state.c). */
#include "devices/nvme/nvme.h"

static const struct ob_field slot_fields[] = {
	OB_BYTES(1, struct nvme_slot, sqe, "0.1"),
	OB_U64(8, struct nvme_slot, order, "0.2"),
	OB_U64(9, struct nvme_slot, fetch, "0.3", .optional = true),
	OB_U64(10, struct nvme_slot, post, "0.3", .optional = true),
	OB_U32(2, struct nvme_slot, result, "0.1"),
	OB_U32(3, struct nvme_slot, generation, "0.1"),
	OB_U16(4, struct nvme_slot, sqid, "0.1", .max = NVME_MAX_QUEUES),
	OB_U16(5, struct nvme_slot, status, "0.1"),
	OB_U16(6, struct nvme_slot, step, "0.1"),
	OB_U8(7, struct nvme_slot, stage, "0.1", .max = NVME_SLOT_DONE),
	OB_RESERVED(struct nvme_slot, reserved),
	OB_END
};

const struct ob_table nvme_slot_table = {
	"nvme-command", sizeof(struct nvme_slot), slot_fields
};
