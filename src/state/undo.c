// SPDX-License-Identifier: BSD-3-Clause
/*
 * The undo of a step.  Whoever reads it is a successor in another process, so
 * what matters is only the order of the stores: bytes and extent first, then
 * the count that makes them valid.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "state/state_mem.h"

static bool is_saved(const struct ob_state_mem *mem, uint64_t offset, size_t len)
{
	const struct ob_state_extent *extents = mem->undo->extents;

	for (uint32_t i = 0; i < mem->saved; i++)
		if (offset >= extents[i].offset &&
		    offset + len <= extents[i].offset + extents[i].size)
			return true;
	return false;
}

void ob_undo_add(struct ob_state_mem *mem, const void *at, size_t len)
{
	struct ob_undo *undo = mem->undo;
	uint64_t offset = (const uint8_t *)at - mem->base;
	struct ob_state_extent *ext;

	if (!len || is_saved(mem, offset, len))
		return;
	if (mem->saved == OB_UNDO_EXTENTS || len > OB_UNDO_BYTES - undo->used)
		abort();
	ext = &undo->extents[mem->saved];
	ext->offset = offset;
	ext->size = len;
	memcpy(undo->bytes + undo->used, at, len);
	undo->used += len;
	atomic_signal_fence(memory_order_seq_cst);
	__atomic_store_n(&undo->count, ++mem->saved, __ATOMIC_RELEASE);
	atomic_signal_fence(memory_order_seq_cst);
}

void ob_undo_commit(struct ob_state_mem *mem)
{
	if (!mem->saved)
		return;
	mem->saved = 0;
	atomic_signal_fence(memory_order_seq_cst);
	__atomic_store_n(&mem->undo->count, 0, __ATOMIC_RELEASE);
	/* What comes next may overwrite the bytes: not before the count. */
	atomic_signal_fence(memory_order_seq_cst);
	mem->undo->used = 0;
}

void ob_step_began(struct ob_state_mem *mem, enum ob_step_kind kind, bool alone)
{
	if (mem->depth & OB_STEPS_OWN)
		mem->ops->begin(mem, kind, alone);
}

void ob_step_ended(struct ob_state_mem *mem)
{
	if (mem->depth & OB_STEPS_OWN)
		mem->ops->end(mem);
}
