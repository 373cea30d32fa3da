// SPDX-License-Identifier: BSD-3-Clause
/*
 * The memory behind the mappable areas of a BAR, as content of a stream.
 *
 * The client may write it at any time without telling us, so it is sent once,
 * after the device stood still (and the client its vCPUs), pages of zeros left
 * out.  It arrives in a fresh file beside the old memory.  The old memory itself
 * stays, because the client has it mapped.
 *
 * Even reading a page that was never written takes memory, and a BAR may be
 * large; so the file is asked where it has something.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
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

/* Where the file has something, or has nothing (SEEK_DATA, SEEK_HOLE). */
static uint64_t seek(int fd, uint64_t at, uint64_t end, int what)
{
	off_t found = lseek(fd, (off_t)at, what);

	if (found < 0 && errno != ENXIO)
		return at;	/* it cannot tell: then look */
	return found < 0 || (uint64_t)found > end ? end : (uint64_t)found;
}

/* The next stretch from *at on that has something; its end. */
static bool next_data(const struct ob_mig_bar *b, uint64_t *at, uint64_t *end)
{
	uint64_t hole;

	for (; enter(b->bar, at, end); *at = *end) {
		*at = seek(b->fd, *at, *end, SEEK_DATA);
		if (*at == *end)
			continue;
		hole = seek(b->fd, *at, *end, SEEK_HOLE);
		if (hole > *at)
			*end = hole;
		return true;
	}
	return false;
}

/* Pages without being zeros, as far as max and end allow. */
static uint64_t measure(const struct ob_mig_bar *b, uint64_t end, uint64_t max)
{
	uint64_t len = 0;

	while (len + PAGE <= max && b->at + len < end &&
	       !is_zero(b->base + b->at + len))
		len += PAGE;
	return len;
}

bool ob_mig_bar_take(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct ob_mig_bar *b = arg;
	uint64_t end;

	for (; next_data(b, &b->at, &end); b->at += PAGE) {
		run->length = measure(b, end, max);
		if (run->length == 0)
			continue;
		run->offset = b->at;
		run->data = b->base + b->at;
		b->at += run->length;
		return true;
	}
	return false;
}

/* Looking for zeros would cost as much as sending them. */
void ob_mig_bar_left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	const struct ob_mig_bar *b = arg;
	uint64_t at = b->at, end;

	*initial = *dirty = 0;
	for (; next_data(b, &at, &end); at = end)
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

int ob_mig_bar_init(struct ob_mig_bar *stage, const struct ob_bar *bar)
{
	void *base;

	stage->bar = bar;
	stage->fd = ob_memfd_create("outboard-bar-stage", (off_t)bar->size);
	if (stage->fd < 0)
		return stage->fd;
	base = mmap(NULL, bar->size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE, stage->fd, 0);
	if (base == MAP_FAILED) {
		int error = errno;

		ob_fd_close(&stage->fd);
		return -error;
	}
	stage->base = base;
	return 0;
}

void ob_mig_bar_finish(struct ob_mig_bar *stage)
{
	if (!stage->base)
		return;
	munmap(stage->base, stage->bar->size);
	stage->base = NULL;
	ob_fd_close(&stage->fd);
}

/* What both have never written is the same already. */
void ob_mig_bar_commit(const struct ob_mig_bar *stage,
		       const struct ob_mig_bar *to)
{
	uint64_t at = 0, mine, theirs, end;

	while (enter(stage->bar, &at, &end)) {
		theirs = seek(stage->fd, at, end, SEEK_DATA);
		mine = seek(to->fd, at, end, SEEK_DATA);
		at = theirs < mine ? theirs : mine;
		if (at == end)
			continue;
		if (memcmp(to->base + at, stage->base + at, PAGE))
			memcpy(to->base + at, stage->base + at, PAGE);
		at += PAGE;
	}
}
