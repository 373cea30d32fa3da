// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client's memory map, from the table that a dead process left.
 *
 * The table has been read into our own state, entry by entry in the same
 * place; here the runtime is built around it.  It may say anything, so all is
 * looked at first.  A file that its owner has cut meanwhile is mapped as far as
 * that goes: the guest had lost that memory before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/keep.h"
#include "server/device_impl.h"

/* By the rules of DMA_MAP. */
static int check_entry(const struct ob_device *dev,
		       const struct ob_dma_entry *entry, uint32_t i,
		       struct ob_err *err)
{
	const struct ob_dma_map map = {
		.argsz = OB_DMA_MAP_SIZE, .flags = entry->flags,
		.offset = entry->offset, .address = entry->address,
		.size = entry->size,
	};
	int r = ob_dma_map_check(dev, &map, entry->file, err);

	if (r)
		ob_err_prefix(err, "dma.entries[%u]", i);
	return r;
}

int ob_adopt_dma_check(const struct ob_device *dev,
		       const struct ob_dma_table *table, struct ob_err *err)
{
	uint32_t i;
	int r = 0;

	for (i = 0; i < table->used && !r; i++)
		if (table->entries[i].size)
			r = check_entry(dev, &table->entries[i], i, err);
	return r;
}

/* Accesses find the end of the file by themselves. */
static void reach(struct ob_device *dev, struct ob_range *range)
{
	int r = ob_dma_attach(range, range->last - range->first + 1);

	if (r)
		ob_log(&dev->log, OB_LOG_WARN, "memory at %#llx: %s",
		       (unsigned long long)range->first, strerror(-r));
}

static int get_file(struct ob_device *dev, uint32_t slot, uint32_t id,
		    struct ob_range *range, struct ob_err *err)
{
	int r = id ? ob_dma_file_adopt(dev, id, &range->file) : 0;

	return r ? ob_fail(err, EINVAL, "dma.entries[%u].file %u: %s", slot, id,
			   strerror(-r)) : 0;
}

static int add(struct ob_device *dev, uint32_t slot,
	       const struct ob_dma_entry *entry, struct ob_err *err)
{
	struct ob_dma *dma = &dev->dma;
	struct ob_range range = {
		.first = entry->address,
		.last = entry->address + (entry->size - 1),
		.offset = entry->offset, .flags = entry->flags, .slot = slot,
	};
	struct ob_place place = ob_dma_place(dma, range.first);
	const struct ob_range *next = ob_dma_at(dma, &place);
	int r;

	if (next && next->first <= range.last)
		return ob_fail(err, EINVAL, "dma.entries[%u]: overlaps another",
			       slot);
	if (ob_dma_make_room(dma))
		return ob_fail(err, ENOMEM, "out of memory");
	if ((r = get_file(dev, slot, entry->file, &range, err)))
		return r;
	reach(dev, &range);
	ob_bit_set(dma->slots, slot);
	ob_dma_add(dma, place, &range);
	return 0;
}

int ob_adopt_dma(struct ob_device *dev, struct ob_err *err)
{
	const struct ob_dma_table *table =
		ob_state_section(&dev->mem, OB_SECTION_DMA);
	uint32_t i;
	int r = 0;

	for (i = 0; i < table->used && !r; i++)
		if (table->entries[i].size)
			r = add(dev, i, &table->entries[i], err);
	return r;
}

/* Files of a step that did not happen, or whose end was not told. */
struct extra {
	struct ob_device *dev;
	uint32_t *ids;
	size_t nr, room;
	size_t prefix;
};

static bool is_known(const struct ob_device *dev, uint32_t id)
{
	const struct ob_dma_file *file = dev->dma.files;

	while (file && file->id != id)
		file = file->next;
	return file;
}

static void collect(void *arg, const char *name)
{
	struct extra *extra = arg;
	uint32_t id = (uint32_t)strtoul(name + extra->prefix, NULL, 10);

	if (extra->nr < extra->room && !is_known(extra->dev, id))
		extra->ids[extra->nr++] = id;
}

void ob_adopt_dma_extra(struct ob_device *dev)
{
	struct ob_keep *keep = ob_loop_keep(dev->loop);
	uint32_t ids[64];
	struct extra extra = { .dev = dev, .ids = ids, .room = 64 };
	char prefix[OB_KEEP_NAME_MAX + 1];
	int n = snprintf(prefix, sizeof(prefix), "%s/dma/", dev->id);

	if (!keep || !keep->each || n < 0 || (size_t)n >= sizeof(prefix))
		return;
	extra.prefix = (size_t)n;
	keep->each(keep, prefix, collect, &extra);
	for (size_t i = 0; i < extra.nr; i++)
		ob_dev_unkeep(dev, "dma/%u", extra.ids[i]);
}
