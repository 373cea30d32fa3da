// SPDX-License-Identifier: BSD-3-Clause
/*
 * The tables of what must survive the process; two more are in
 * state_features.c and state_slot.c.  Tags never change.
 */
#include "devices/nvme/nvme.h"

static const struct ob_field sq_fields[] = {
	OB_U64(1, struct nvme_sq_state, base, "0.1"),
	OB_U32(2, struct nvme_sq_state, entries, "0.1",
	       .max = NVME_MAX_ENTRIES),
	OB_U16(3, struct nvme_sq_state, cqid, "0.1", .max = NVME_MAX_QUEUES),
	OB_U8(4, struct nvme_sq_state, created, "0.1", .max = 1),
	OB_U8(5, struct nvme_sq_state, priority, "0.1", .max = 3),
	OB_END
};

static const struct ob_table sq_table = {
	"nvme-sq", sizeof(struct nvme_sq_state), sq_fields
};

static const struct ob_field cq_fields[] = {
	OB_U64(1, struct nvme_cq_state, base, "0.1"),
	OB_U32(2, struct nvme_cq_state, entries, "0.1",
	       .max = NVME_MAX_ENTRIES),
	OB_U16(3, struct nvme_cq_state, vector, "0.1", .max = 0xffff),
	OB_U8(4, struct nvme_cq_state, created, "0.1", .max = 1),
	OB_U8(5, struct nvme_cq_state, interrupts, "0.1", .max = 1),
	OB_END
};

static const struct ob_table cq_table = {
	"nvme-cq", sizeof(struct nvme_cq_state), cq_fields
};

static const struct ob_field event_fields[] = {
	OB_U8(1, struct nvme_event, type, "0.1",
	      .max = NVME_NR_EVENT_TYPES - 1),
	OB_U8(2, struct nvme_event, info, "0.1"),
	OB_U8(3, struct nvme_event, log, "0.1"),
	OB_END
};

static const struct ob_table event_table = {
	"nvme-event", sizeof(struct nvme_event), event_fields
};

static const struct ob_field counter_fields[] = {
	OB_U64(1, struct nvme_counters, blocks_read, "0.1"),
	OB_U64(2, struct nvme_counters, blocks_written, "0.1"),
	OB_U64(3, struct nvme_counters, reads, "0.1"),
	OB_U64(4, struct nvme_counters, writes, "0.1"),
	OB_U64(5, struct nvme_counters, media_errors, "0.1"),
	OB_U64(6, struct nvme_counters, errors, "0.1"),
	OB_END
};

static const struct ob_table counter_table = {
	"nvme-counters", sizeof(struct nvme_counters), counter_fields
};

static const struct ob_field shape_fields[] = {
	OB_U64(1, struct nvme_shape, readonly, "0.2"),
	OB_U64(2, struct nvme_shape, write_cache, "0.2"),
	OB_U64(3, struct nvme_shape, blocks, "0.2"),
	OB_U32(4, struct nvme_shape, lba_shift, "0.2", .max = 12),
	OB_U32(5, struct nvme_shape, nr_ns, "0.2", .max = NVME_MAX_NS),
	OB_U32(6, struct nvme_shape, queues, "0.2", .max = NVME_MAX_QUEUES),
	OB_U32(7, struct nvme_shape, doorbells, "0.2",
	       .max = NVME_DB_MAPPED),
	OB_END
};

static const struct ob_table shape_table = {
	"nvme-shape", sizeof(struct nvme_shape), shape_fields
};

static const struct ob_field plain_fields[] = {
	OB_U32(1, struct nvme_plain, cc, "0.1"),
	OB_U32(2, struct nvme_plain, csts, "0.1"),
	OB_U32(3, struct nvme_plain, aqa, "0.1"),
	OB_U32(4, struct nvme_plain, intm, "0.1"),
	OB_U64(5, struct nvme_plain, asq, "0.1"),
	OB_U64(6, struct nvme_plain, acq, "0.1"),
	OB_U64(7, struct nvme_plain, dbs_addr, "0.1"),
	OB_U64(8, struct nvme_plain, eis_addr, "0.1"),
	OB_U32(9, struct nvme_plain, generation, "0.1"),
	OB_U8(10, struct nvme_plain, dbbuf, "0.1", .max = 1),
	OB_U8(11, struct nvme_plain, nr_events, "0.1",
	      .max = NVME_MAX_EVENTS),
	OB_U16(12, struct nvme_plain, events_masked, "0.1", .max = 7),
	OB_STRUCTS(13, struct nvme_plain, events, struct nvme_event,
		   &event_table, "0.1"),
	OB_STRUCTS(14, struct nvme_plain, features, struct nvme_features,
		   &nvme_features_table, "0.1"),
	OB_STRUCTS(15, struct nvme_plain, counters, struct nvme_counters,
		   &counter_table, "0.1"),
	OB_U64(16, struct nvme_plain, attached, "0.1"),
	OB_U64(17, struct nvme_plain, changed, "0.1"),
	OB_STRUCTS(18, struct nvme_plain, sqs, struct nvme_sq_state,
		   &sq_table, "0.1"),
	OB_STRUCTS(19, struct nvme_plain, cqs, struct nvme_cq_state,
		   &cq_table, "0.1"),
	OB_STRUCTS(21, struct nvme_plain, shape, struct nvme_shape,
		   &shape_table, "0.2"),
	OB_BYTES(22, struct nvme_plain, serial, "0.2"),
	OB_BYTES(23, struct nvme_plain, model, "0.2"),
	OB_RESERVED(struct nvme_plain, reserved2),
	OB_BYTES(20, struct nvme_plain, error_log, "0.1"),
	OB_END
};

const struct ob_table nvme_plain_table = {
	"nvme", sizeof(struct nvme_plain), plain_fields
};

/*
 * Counters are optional: while a device stands still its cursors say the same,
 * and so do the slots' stages and order.
 */
static const struct ob_field sq_hot_fields[] = {
	OB_U64(3, struct nvme_sq_hot, fetched, "0.3", .def = NVME_NO_VALUE,
	       .optional = true),
	OB_U32(1, struct nvme_sq_hot, head, "0.1",
	       .max = NVME_MAX_ENTRIES - 1),
	OB_U32(2, struct nvme_sq_hot, tail, "0.1",
	       .max = NVME_MAX_ENTRIES - 1),
	OB_U32(4, struct nvme_sq_hot, rung, "0.3", .optional = true),
	OB_RESERVED(struct nvme_sq_hot, reserved),
	OB_END
};

static const struct ob_table sq_hot_table = {
	"nvme-sq-cursor", sizeof(struct nvme_sq_hot), sq_hot_fields
};

static const struct ob_field cq_hot_fields[] = {
	OB_U64(4, struct nvme_cq_hot, posted, "0.3", .def = NVME_NO_VALUE,
	       .optional = true),
	OB_U32(1, struct nvme_cq_hot, head, "0.1",
	       .max = NVME_MAX_ENTRIES - 1),
	OB_U32(2, struct nvme_cq_hot, tail, "0.1",
	       .max = NVME_MAX_ENTRIES - 1),
	OB_U32(3, struct nvme_cq_hot, phase, "0.1", .max = 1),
	OB_U32(5, struct nvme_cq_hot, rung, "0.3", .optional = true),
	OB_RESERVED(struct nvme_cq_hot, reserved),
	OB_END
};

static const struct ob_table cq_hot_table = {
	"nvme-cq-cursor", sizeof(struct nvme_cq_hot), cq_hot_fields
};

static const struct ob_field lane_counter_fields[] = {
	OB_STRUCTS(1, struct nvme_lane_counters, counters,
		   struct nvme_counters, &counter_table, "0.3"),
	OB_RESERVED(struct nvme_lane_counters, reserved),
	OB_END
};

static const struct ob_table lane_counter_table = {
	"nvme-lane-counters", sizeof(struct nvme_lane_counters),
	lane_counter_fields
};

static const struct ob_field hot_fields[] = {
	OB_STRUCTS(1, struct nvme_hot, sqs, struct nvme_sq_hot,
		   &sq_hot_table, "0.1"),
	OB_STRUCTS(2, struct nvme_hot, cqs, struct nvme_cq_hot,
		   &cq_hot_table, "0.1"),
	OB_RESERVED(struct nvme_hot, reserved),
	OB_STRUCTS(4, struct nvme_hot, lanes, struct nvme_lane_counters,
		   &lane_counter_table, "0.3", .optional = true),
	OB_STRUCTS(3, struct nvme_hot, slots, struct nvme_slot,
		   &nvme_slot_table, "0.1"),
	OB_END
};

const struct ob_table nvme_hot_table = {
	"nvme-hot", sizeof(struct nvme_hot), hot_fields
};
