// SPDX-License-Identifier: BSD-3-Clause
/*
 * What of a step happens as a whole.
 *
 * A client's message changes core, plain part and session together with the
 * position in the connection's journal that says it was done, or nothing.
 * Where the access is hot, only the journal is saved before: a successor runs
 * such a message again, which is as once.  It disturbs no other lane either.
 *
 * Of the core only what this device uses is saved: the MSI-X table is last in
 * it.  Until the keeper has the state nothing is: nobody would ever read it.
 */
#include <stddef.h>

#include "server/device_impl.h"
#include "server/kept.h"
#include "server/lane.h"
#include "server/session.h"

#define HOT_BYTES 8u	/* a register; what is longer may cover several */

void ob_step_protect_journal(struct ob_device *dev)
{
	if (!dev->counts)
		return;
	ob_undo_add(&dev->mem, &dev->ss->main, sizeof(dev->ss->main));
	if (dev->ss->has_twin)
		ob_undo_add(&dev->mem, &dev->ss->twin, sizeof(dev->ss->twin));
}

/*
 * Beside other lanes the pending bits are theirs, too.  A bit that one of them sets while
 * the step is open is no part of it: undone with the rest, it would be a lost
 * interrupt (R18), unless the model raises again what may be owed.  So they stay
 * as they are; one that this step set and does again is one message.  Bits are cleared
 * in control steps only, which save all of it: what was cleared and may not have been
 * told is set again.  In pieces then, too, so that nothing is saved twice by a step that
 * was beside others first: check_undo counts it once.
 */
static void protect_core(struct ob_device *dev)
{
	const size_t bits = offsetof(struct ob_core, msix_pending);
	const size_t end = bits + sizeof(dev->core->msix_pending);
	size_t size = offsetof(struct ob_core, msix) +
		      dev->pci.msix_vectors * sizeof(struct ob_msix_entry);

	if (!dev->lanes) {
		ob_undo_add(&dev->mem, dev->core, size);
		return;
	}
	ob_undo_add(&dev->mem, dev->core, bits);
	if (!ob_lanes_are_in(dev))
		ob_undo_add(&dev->mem, dev->core->msix_pending, end - bits);
	ob_undo_add(&dev->mem, (const uint8_t *)dev->core + end, size - end);
}

static void protect_state(struct ob_device *dev)
{
	protect_core(dev);
	if (dev->cls->state)
		ob_undo_add(&dev->mem, dev->plain, dev->cls->state->size);
}

void ob_step_protect(struct ob_device *dev)
{
	ob_lanes_alone(dev);
	if (!dev->counts)
		return;
	dev->whole = true;
	ob_undo_add(&dev->mem, dev->ss, sizeof(*dev->ss));
	protect_state(dev);
}

void ob_step_protect_hot(struct ob_device *dev)
{
	if (dev->counts && dev->cls->hot)
		ob_undo_add(&dev->mem, dev->hot, dev->cls->hot->size);
}

void ob_dev_protect(struct ob_device *dev, const void *hot, size_t len)
{
	struct ob_state_header *hdr = ob_state_header(&dev->mem);

	if (!dev->counts) {
		if (dev->home && !dev->lane)
			ob_dev_protect(dev->home, hot, len);
		return;
	}
	if (hdr->step_kind != OB_STEP_MESSAGE)
		hdr->step_kind = OB_STEP_ADMIN;
	else if (!dev->whole)
		ob_step_protect_journal(dev);	/* done is undone with it */
	protect_state(dev);
	if (hot)
		ob_undo_add(&dev->mem, hot, len);
}

/*
 * In a message that happens as a whole the model's part does not end before the
 * rest.  In a hot one it may: what is done again then is the access.
 */
void ob_dev_commit(struct ob_device *dev)
{
	struct ob_state_header *hdr = ob_state_header(&dev->mem);

	if (!dev->kept || dev->whole) {
		if (dev->home && !dev->lane)
			ob_dev_commit(dev->home);
		return;
	}
	ob_undo_commit(&dev->mem);
	if (hdr->step_kind == OB_STEP_MESSAGE)
		ob_step_protect_journal(dev);
	else if (hdr->step_kind == OB_STEP_ADMIN)
		hdr->step_kind = OB_STEP_WORK;
}

static bool access_is_hot(struct ob_device *dev,
			  const struct ob_region_access *access, bool write)
{
	size_t len = access->count;

	if (!write && (access->region == OB_CONFIG || access->region == OB_ROM))
		return true;
	if (access->region > OB_BAR5 || len > HOT_BYTES ||
	    ob_region_check(dev, access, write))
		return false;
	if (ob_msix_part(dev, access->region, access->offset, &len) !=
	    OB_PART_MODEL)
		return !write;
	return dev->cls->is_hot && len == access->count &&
	       dev->cls->is_hot(dev, access->region, access->offset, write);
}

static bool writes_are_hot(struct ob_device *dev, const struct ob_request *req)
{
	struct ob_reader rd;
	struct ob_write_entry entry;
	uint64_t i;

	ob_reader_init(&rd, req->data, req->data_len);
	for (i = 0; i < req->write_count; i++) {
		if (ob_get_write_entry(&rd, &entry))
			return false;
		if (!access_is_hot(dev, &(struct ob_region_access){
				entry.offset, entry.region, entry.len }, true))
			return false;
	}
	return true;
}

bool ob_request_is_hot(struct ob_device *dev, const struct ob_request *req)
{
	switch (req->hdr.cmd) {
	case OB_CMD_REGION_READ:
		return access_is_hot(dev, &req->access, false);
	case OB_CMD_REGION_WRITE:
		return access_is_hot(dev, &req->access, true);
	case OB_CMD_REGION_WRITE_MULTI:
		return writes_are_hot(dev, req);
	case OB_CMD_DEVICE_GET_INFO:
	case OB_CMD_DEVICE_GET_REGION_INFO:
	case OB_CMD_DEVICE_GET_REGION_IO_FDS:
	case OB_CMD_DEVICE_GET_IRQ_INFO:
		return true;
	default:
		return false;
	}
}
