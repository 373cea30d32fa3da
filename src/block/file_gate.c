// SPDX-License-Identifier: BSD-3-Clause
/*
 * Admission.  With direct I/O a write of part of a block is "read the block,
 * change it, write it", and any other write of that block in between would be
 * lost, even one that does not overlap with ours.  So a request that changes
 * parts of blocks runs alone among those that change anything; requests that
 * change whole blocks run together; reads are not concerned, since what they
 * see of a block is old or new in either case.
 *
 * Guests know the block size and hardly ever write less, so that a lock for
 * the whole drive costs nothing and needs no book of ranges.  Admission is in
 * order of arrival, so that nobody starves.  The same queue waits for bounce
 * buffers, and, for a namespace, for what a dead process may have under way
 * (file_fence.c).
 */
#include "block/file.h"

void file_gate_init(struct file_drive *file)
{
	file->free_slots = (1u << FILE_NR_SLOTS) - 1;
	file->wait_tail = &file->wait_head;
}

static bool admissible(const struct file_drive *file,
		       const struct file_request *part)
{
	if (file->fenced || (part->needs_slot && !file->free_slots))
		return false;
	if (part->lane == FILE_LANE_SHARED)
		return !file->exclusive;
	if (part->lane == FILE_LANE_EXCLUSIVE)
		return !file->exclusive && !file->changing;
	return true;
}

static void admit(struct file_drive *file, struct file_request *part)
{
	if (part->needs_slot) {
		part->slot = __builtin_ctz(file->free_slots);
		file->free_slots &= ~(1u << part->slot);
	}
	if (part->lane == FILE_LANE_SHARED)
		file->changing++;
	if (part->lane == FILE_LANE_EXCLUSIVE)
		file->exclusive = true;
}

bool file_gate_enter(struct file_drive *file, struct file_request *part)
{
	bool passed = !file->fenced || file_fence_pass(file);
	bool unconcerned = passed && part->lane == FILE_LANE_FREE &&
		!part->needs_slot;

	part->slot = FILE_NO_SLOT;
	if (unconcerned || (!file->wait_head && admissible(file, part))) {
		admit(file, part);
		return true;
	}
	part->waiting = true;
	part->next = NULL;
	*file->wait_tail = part;
	file->wait_tail = &part->next;
	return false;
}

static void unlink_head(struct file_drive *file)
{
	struct file_request *part = file->wait_head;

	file->wait_head = part->next;
	if (!file->wait_head)
		file->wait_tail = &file->wait_head;
	part->waiting = false;
}

void file_gate_look(struct file_drive *file)
{
	struct file_request *part;

	while ((part = file->wait_head) && admissible(file, part)) {
		unlink_head(file);
		admit(file, part);
		file_io_start(part);
	}
}

void file_gate_leave(struct file_drive *file, struct file_request *part)
{
	if (part->slot != FILE_NO_SLOT)
		file->free_slots |= 1u << part->slot;
	if (part->lane == FILE_LANE_SHARED)
		file->changing--;
	if (part->lane == FILE_LANE_EXCLUSIVE)
		file->exclusive = false;
	file_gate_look(file);
}

void file_gate_remove(struct file_drive *file, struct file_request *part)
{
	struct file_request **at = &file->wait_head;

	while (*at != part)
		at = &(*at)->next;
	*at = part->next;
	if (file->wait_tail == &part->next)
		file->wait_tail = at;
	part->waiting = false;
	file_gate_look(file);	/* it may have been in the way of others */
}
