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

static int by_address(const void *a, const void *b)
{
	const struct ob_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static uint32_t count(const struct ob_dma_table *table)
{
	uint32_t i, n = 0;

	for (i = 0; i < table->used; i++)
		n += table->entries[i].size != 0;
	return n;
}

/* Accesses find the end of the file by themselves. */
static void reach(struct ob_device *dev, struct ob_range *range)
{
	int r = ob_dma_attach(range, range->last - range->first + 1);

	if (r)
		ob_log(&dev->log, OB_LOG_WARN, "memory at %#llx: %s",
		       (unsigned long long)range->first, strerror(-r));
}

static int add(struct ob_device *dev, uint32_t slot, struct ob_err *err)
{
	const struct ob_dma_table *table =
		ob_state_section(&dev->mem, OB_SECTION_DMA);
	const struct ob_dma_entry *entry = &table->entries[slot];
	struct ob_dma *dma = &dev->dma;
	struct ob_range *range = &dma->ranges[dma->nr];
	int r;

	*range = (struct ob_range){
		.first = entry->address,
		.last = entry->address + (entry->size - 1),
		.offset = entry->offset, .flags = entry->flags, .slot = slot,
	};
	if (entry->file) {
		r = ob_dma_file_adopt(dev, entry->file, &range->file);
		if (r)
			return ob_fail(err, EINVAL, "dma.entries[%u].file %u: %s",
				       slot, entry->file, strerror(-r));
	}
	dma->nr++;
	ob_bit_set(dma->slots, slot);
	reach(dev, range);
	return 0;
}

static int check_order(const struct ob_dma *dma, struct ob_err *err)
{
	for (uint32_t i = 1; i < dma->nr; i++)
		if (dma->ranges[i].first <= dma->ranges[i - 1].last)
			return ob_fail(err, EINVAL, "dma.entries[%u]: overlaps "
				       "another", dma->ranges[i].slot);
	return 0;
}

int ob_adopt_dma(struct ob_device *dev, struct ob_err *err)
{
	const struct ob_dma_table *table =
		ob_state_section(&dev->mem, OB_SECTION_DMA);
	struct ob_dma *dma = &dev->dma;
	uint32_t i, n = count(table);
	int r = 0;

	if (n == 0)
		return 0;
	if (ob_dma_room(dma, n))
		return ob_fail(err, ENOMEM, "out of memory");
	for (i = 0; i < table->used && !r; i++)
		if (table->entries[i].size)
			r = add(dev, i, err);
	if (r)
		return r;
	qsort(dma->ranges, dma->nr, sizeof(*dma->ranges), by_address);
	return check_order(dma, err);
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
