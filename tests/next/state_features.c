// SPDX-License-Identifier: BSD-3-Clause
/* In the place of src/devices/nvme/state_features.c. */
#include "devices/nvme/nvme.h"

static const struct ob_field feature_fields[] = {
	OB_U64(14, struct nvme_features, timestamp_ns, "0.1"),
	OB_U64(13, struct nvme_features, timestamp_ms, "0.1"),
	OB_U64(12, struct nvme_features, no_coalescing, "0.1"),
	OB_U32(17, struct nvme_features, changes, "9.9",
	       .def = NVME_NOT_COUNTED, .optional = true),
	OB_U32(10, struct nvme_features, temp_over, "0.1"),
	OB_U32(11, struct nvme_features, temp_under, "0.1"),
	OB_U32(9, struct nvme_features, events, "0.1"),
	OB_U32(8, struct nvme_features, atomicity, "0.1", .max = 1),
	OB_U32(7, struct nvme_features, coalescing, "0.1", .max = 0xffff),
	OB_U32(6, struct nvme_features, nr_cqs, "0.1",
	       .max = NVME_MAX_QUEUES),
	OB_U32(5, struct nvme_features, nr_sqs, "0.1",
	       .max = NVME_MAX_QUEUES),
	OB_U32(4, struct nvme_features, write_cache, "0.1", .max = 1),
	OB_U32(3, struct nvme_features, error_recovery, "0.1"),
	OB_U32(2, struct nvme_features, power, "0.1"),
	OB_U32(1, struct nvme_features, arbitration, "0.1"),
	OB_U8(15, struct nvme_features, timestamp_origin, "0.1", .max = 1),
	OB_U8(18, struct nvme_features, burst_of_32, "9.9", .max = 1),
	OB_RESERVED(struct nvme_features, timestamp_live),
	OB_RESERVED(struct nvme_features, reserved),
	OB_END
};

const struct ob_table nvme_features_table = {
	"nvme-features", sizeof(struct nvme_features), feature_fields
};
