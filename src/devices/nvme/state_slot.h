/* SPDX-License-Identifier: BSD-3-Clause */
/* A command in flight, in the hot part of the state. */
#ifndef OB_NVME_STATE_SLOT_H
#define OB_NVME_STATE_SLOT_H

#include <outboard/state.h>

#include "devices/nvme/spec.h"

enum nvme_slot_stage {
	NVME_SLOT_FREE,
	NVME_SLOT_RUNNING,
	NVME_SLOT_DONE,		/* waits for room in its completion queue */
};

/*
 * A command in flight.  Everything else of a slot is written before `stage`
 * leaves FREE; then the submission queue's `fetched` passes the entry.  result
 * and status are written before DONE; `post` is written before the guest can
 * see the entry; then the completion queue's `posted` passes it, and the slot
 * is FREE again.  So a command is at every instant in one place: the guest's
 * submission queue, a slot, or the guest's completion queue.
 *
 *	RUNNING, fetch >= fetched	not taken yet: the guest's queue has it
 *	RUNNING				run from its beginning, in order
 *	DONE, post == 0			is only posted
 *	DONE, post > posted		the guest may see it: posted again, there
 *	DONE, post <= posted		over
 */
struct nvme_slot {
	struct nvme_sqe sqe;
	uint64_t order;		/* of fetching, DONE: of ending; unique */
	uint64_t fetch;		/* its number in the submission queue */
	uint64_t post;		/* ... in the completion queue, plus 1; or 0 */
	uint32_t result;
	uint32_t generation;
	uint16_t sqid;
	uint16_t status;
	uint16_t step;
	uint8_t stage, reserved;
};

extern const struct ob_table nvme_slot_table;

#endif
