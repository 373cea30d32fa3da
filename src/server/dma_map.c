// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client's memory map: DMA_MAP, DMA_UNMAP, look-up.
 *
 * Ranges are sorted by address (dma_index.c).  The table in the state has the
 * same mappings in slots of their own, so that a change there is one entry, and
 * its size field is the store that commits it.
 *
 * R10: an unmapped range is out of the index before the answer goes, and
 * every access is a look-up followed by a copy that ends before the callback
 * does; nothing is on its way in the kernel.  Of messages, those that have
 * not left are dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/device_impl.h"
#include "server/dirty.h"

static struct ob_dma_table *table(const struct ob_device *dev)
{
	return ob_state_section(&dev->mem, OB_SECTION_DMA);
}

void ob_dma_init(struct ob_device *dev)
{
	dev->dma.pgsize = 4096;
	dev->dma.next_file_id = 1;
	ob_dma_queue_init(&dev->dma_queue);
}

static int check_flags(uint32_t flags, bool has_fd, struct ob_err *err)
{
	const uint32_t rights = OB_DMA_READ | OB_DMA_WRITE;
	const uint32_t ways = OB_DMA_MMAP | OB_DMA_FILE_IO;

	if ((flags & ~(rights | ways)) || !(flags & rights) ||
	    (flags & ways) == ways)
		return ob_fail(err, EINVAL, "flags %#x", flags);
	if (!has_fd && (flags & ways))
		return ob_fail(err, EINVAL, "flags %#x need an fd", flags);
	return 0;
}

int ob_dma_map_check(const struct ob_device *dev, const struct ob_dma_map *req,
		     bool has_fd, struct ob_err *err)
{
	uint64_t mask = dev->dma.pgsize - 1, last;

	if (req->argsz < OB_DMA_MAP_SIZE)
		return ob_fail(err, EINVAL, "argsz %u", req->argsz);
	if (req->size == 0 ||
	    __builtin_add_overflow(req->address, req->size - 1, &last))
		return ob_fail(err, EINVAL, "empty, or wraps around");
	if (((req->address | req->size) & mask) ||
	    (has_fd && (req->offset & mask)))
		return ob_fail(err, EINVAL, "not whole pages of %llu bytes",
			       (unsigned long long)mask + 1);
	return check_flags(req->flags, has_fd, err);
}

/* How the bytes are reached: window, file I/O, or (no file) messages. */
int ob_dma_attach(struct ob_range *range, uint64_t size)
{
	int prot = 0, r;

	if (!range->file)
		return 0;
	if (range->flags & OB_DMA_FILE_IO)
		return ob_dma_file_check(range->file, range->offset, size,
					 range->flags & OB_DMA_WRITE);
	if (range->flags & OB_DMA_READ)
		prot |= PROT_READ;
	if (range->flags & OB_DMA_WRITE)
		prot |= PROT_READ | PROT_WRITE;
	r = ob_window_get(range->file, range->offset, size, prot,
			  &range->window);
	if (r)
		return r;
	range->host = (uint8_t *)range->window->guard.addr +
		      (range->offset - range->window->offset);
	return 0;
}

void ob_dma_detach(struct ob_device *dev, struct ob_range *range)
{
	if (range->window)
		ob_window_put(range->window);
	if (range->file)
		ob_dma_file_put(dev, range->file);
}

/* Nothing of this is there as long as nothing is mapped. */
int ob_dma_make_room(struct ob_dma *dma)
{
	if (!dma->slots)
		dma->slots = calloc(OB_BITMAP_WORDS(OB_DMA_MAPS_MAX),
				    sizeof(*dma->slots));
	return dma->slots ? ob_dma_reserve(dma) : -ENOMEM;
}

static void drop_all(struct ob_dma *dma)
{
	ob_dma_remove_all(dma);
	free(dma->slots);
	dma->slots = NULL;
	dma->free_hint = 0;
}

/*
 * Within a message the entry comes and goes with the rest of the step, since
 * to do it again would be another thing.
 */
static struct ob_dma_entry *entry_of(struct ob_device *dev, uint32_t slot)
{
	struct ob_dma_entry *entry = &table(dev)->entries[slot];

	if (dev->whole && !dev->dma.clearing)
		ob_undo_add(&dev->mem, entry, sizeof(*entry));
	return entry;
}

/* There is one: fewer are mapped than there are slots. */
static uint32_t free_slot(const struct ob_dma *dma)
{
	uint32_t word = dma->free_hint / 64;

	while (!~dma->slots[word])
		word++;
	return word * 64 + (uint32_t)__builtin_ctzll(~dma->slots[word]);
}

static void record(struct ob_device *dev, struct ob_range *range)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_dma_entry *entry;

	range->slot = free_slot(dma);
	dma->free_hint = range->slot + 1;
	ob_bit_set(dma->slots, range->slot);
	if (range->slot >= table(dev)->used)
		table(dev)->used = range->slot + 1;
	entry = entry_of(dev, range->slot);
	entry->address = range->first;
	entry->offset = range->offset;
	entry->flags = range->flags;
	entry->file = range->file ? range->file->id : 0;
	entry->size = range->last - range->first + 1;
}

static void forget(struct ob_device *dev, struct ob_range *range)
{
	struct ob_dma *dma = &dev->dma;

	entry_of(dev, range->slot)->size = 0;
	ob_bit_clear(dma->slots, range->slot);
	if (range->slot < dma->free_hint)
		dma->free_hint = range->slot;
	ob_dma_detach(dev, range);
}

static bool same(const struct ob_range *a, const struct ob_range *b)
{
	return a->first == b->first && a->last == b->last &&
	       a->flags == b->flags && a->file == b->file &&
	       a->offset == b->offset;
}

/* 1: the very same mapping is there already, which is no conflict. */
static int find_place(const struct ob_dma *dma, const struct ob_range *range,
		      struct ob_place *place)
{
	const struct ob_range *next;

	*place = ob_dma_place(dma, range->first);
	next = ob_dma_at(dma, place);
	if (next && next->first <= range->last)
		return same(next, range) ? 1 : -EEXIST;
	return dma->nr < OB_DMA_MAPS_MAX ? 0 : -ENOSPC;
}

/* The guest needs its memory more than the log its precision. */
static void log_range(struct ob_device *dev, struct ob_dirty *log,
		      const struct ob_range *range)
{
	int r;

	if (!log || !ob_dma_is_logged(range))
		return;
	r = ob_dirty_cover(log, range->first, range->last);
	if (!r)
		return;
	ob_dirty_blind(log, range->first, range->last);
	ob_log(&dev->log, OB_LOG_GUEST, "writes to %#llx..%#llx are not logged "
	       "but told as dirty: %s", (unsigned long long)range->first,
	       (unsigned long long)range->last, ob_dirty_why(r));
}

static int map_range(struct ob_device *dev, struct ob_range *range,
		     uint64_t size)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_place place;
	int r = find_place(dma, range, &place);

	if (r)
		return r;
	if ((r = ob_dma_make_room(dma)) || (r = ob_dma_attach(range, size)))
		return r;
	record(dev, range);
	ob_dma_add(dma, place, range);
	log_range(dev, dev->dma.log, range);
	log_range(dev, dev->dma.op_log, range);
	return 0;
}

static void changed(struct ob_device *dev)
{
	if (dev->cls->memory_changed)
		dev->cls->memory_changed(dev);
}

static const char *why(int r)
{
	switch (r) {
	case -EEXIST:
		return "overlaps another map";
	case -EINVAL:
		return "the file ends before it";
	default:
		return strerror(-r);
	}
}

int ob_dma_map(struct ob_device *dev, const struct ob_dma_map *req, int *fd,
	       struct ob_err *err)
{
	struct ob_range range = {
		.first = req->address,
		.last = req->address + req->size - 1,
		.flags = req->flags,
		.offset = *fd >= 0 ? req->offset : 0,
	};
	int r = ob_dma_map_check(dev, req, *fd >= 0, err);

	if (r)
		return r;
	if (*fd >= 0 && (r = ob_dma_file_get(dev, fd, &range.file)))
		return ob_fail(err, -r, "the fd is no file of memory: %s",
			       strerror(-r));
	r = map_range(dev, &range, req->size);
	if (r == 0) {
		changed(dev);
		ob_arrival_mapped(dev);
		return 0;
	}
	ob_dma_detach(dev, &range);
	return r > 0 ? 0 : ob_fail(err, -r, "%s", why(r));
}

static int check_unmap(const struct ob_dma_unmap *req)
{
	if (req->argsz < OB_DMA_UNMAP_SIZE ||
	    (req->flags & ~(uint32_t)(OB_UNMAP_BITMAP | OB_UNMAP_ALL)))
		return -EINVAL;
	if ((req->flags & OB_UNMAP_ALL) && (req->address || req->size ||
					    (req->flags & OB_UNMAP_BITMAP)))
		return -EINVAL;
	/* The log keeps what was written there; DMA_LOGGING_REPORT tells. */
	return req->flags & OB_UNMAP_BITMAP ? -ENOTSUP : 0;
}

static int unmap_one(struct ob_device *dev, uint64_t addr, uint64_t size)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_place place = ob_dma_place(dma, addr);
	struct ob_range *range = ob_dma_at(dma, &place);

	if (size == 0)
		return -EINVAL;
	if (!range || range->first != addr || range->last != addr + (size - 1))
		return -ENOENT;
	ob_dma_msg_drop(dev, range->first, range->last, -EFAULT);
	forget(dev, range);
	ob_dma_remove(dma, place);
	return 0;
}

/* Cleared in place: to go on with that is the same as to begin it again. */
static void unmap_all(struct ob_device *dev)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_range *range;

	ob_dma_msg_drop(dev, 0, UINT64_MAX, -EFAULT);
	dma->clearing = true;
	for (struct ob_place p = { 0 }; (range = ob_dma_at(dma, &p)); p.at++)
		forget(dev, range);
	dma->clearing = false;
	table(dev)->used = 0;
	drop_all(dma);
}

int ob_dma_unmap(struct ob_device *dev, const struct ob_dma_unmap *req)
{
	int r = check_unmap(req);

	if (r)
		return r;
	if (req->flags & OB_UNMAP_ALL)
		unmap_all(dev);
	else if ((r = unmap_one(dev, req->address, req->size)))
		return r;
	changed(dev);
	return 0;
}

void ob_dma_clear(struct ob_device *dev)
{
	bool any = dev->dma.nr;

	unmap_all(dev);
	if (any)
		changed(dev);
}

/* The runtime alone. */
void ob_dma_finish(struct ob_device *dev)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_range *range;

	for (struct ob_place p = { 0 }; (range = ob_dma_at(dma, &p)); p.at++)
		ob_dma_detach(dev, range);
	drop_all(dma);
	ob_dirty_destroy(dma->log);
	ob_dirty_destroy(dma->op_log);
	ob_dma_files_free(dma);
}
