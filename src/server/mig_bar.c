// SPDX-License-Identifier: BSD-3-Clause
/*
 * The memory behind the mappable areas of a BAR, as content of a stream.
 *
 * The client may write it at any time without telling us, so it is sent once,
 * after the device stood still (and the client its vCPUs), pages of zeros left
 * out.  It arrives in fresh zeros beside the old memory.  The old memory itself
 * stays, because the client has it mapped; a page that need not be touched is
 * not, since touching it would take memory.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "server/device_impl.h"
#include "state/save.h"

#define PAGE 4096u

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* The first offset from `at` on that is in an area; the area's end in *end. */
static bool enter(const struct ob_bar *bar, uint64_t *at, uint64_t *end)
{
	const struct ob_area *area = bar->areas, *best = NULL;

	for (; area < bar->areas + bar->nr_areas; area++)
		if (*at < area->offset + area->size &&
		    (!best || area->offset < best->offset))
			best = area;
	if (!best)
		return false;
	if (*at < best->offset)
		*at = best->offset;
	*end = best->offset + best->size;
	return true;
}

/* Pages that have something, from offset on, as far as max and end allow. */
static uint64_t measure(const struct ob_mig_bar *b, uint64_t offset,
			uint64_t end, uint64_t max)
{
	uint64_t len = 0;

	while (len + PAGE <= max && offset + len < end &&
	       !is_zero(b->base + offset + len))
		len += PAGE;
	return len;
}

bool ob_mig_bar_take(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct ob_mig_bar *b = arg;
	uint64_t end;

	for (; enter(b->bar, &b->at, &end); b->at += PAGE) {
		run->length = measure(b, b->at, end, max);
		if (run->length == 0)
			continue;
		run->offset = b->at;
		run->data = b->base + b->at;
		b->at += run->length;
		return true;
	}
	return false;
}

/* Looking for zeros would cost as much as sending, hence all that is left. */
void ob_mig_bar_left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	const struct ob_mig_bar *b = arg;
	uint64_t at = b->at, end;

	*initial = *dirty = 0;
	for (; enter(b->bar, &at, &end); at = end)
		*initial += end - at;
}

int ob_mig_bar_put(void *arg, uint64_t offset, const void *data,
		   uint64_t length)
{
	struct ob_mig_bar *b = arg;
	uint64_t at = offset, end;

	if (length > b->bar->size || offset > b->bar->size - length)
		return -EINVAL;
	for (; at < offset + length; at = end) {
		uint64_t in = at;

		if (!enter(b->bar, &in, &end) || in != at)
			return -EINVAL;	/* outside the areas */
	}
	if (b->base && data)
		memcpy(b->base + offset, data, length);
	else if (b->base)
		memset(b->base + offset, 0, length);
	return 0;
}

void ob_mig_bar_commit(const struct ob_mig_bar *stage, uint8_t *to)
{
	uint64_t at = 0, end;

	for (; enter(stage->bar, &at, &end); at += PAGE)
		if (memcmp(to + at, stage->base + at, PAGE))
			memcpy(to + at, stage->base + at, PAGE);
}
