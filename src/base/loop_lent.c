// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory that is lent to the loop, so that the kernel can hold its pages.
 *
 * For a transfer the kernel looks up each page of the buffer, and takes a
 * reference that it gives back at the end; with direct I/O of 4 KiB that is a
 * tenth of the processor time.  Of memory that it holds anyway (a registered
 * buffer) it does not.  But such memory is there, whether it is used or not, and
 * counts as locked.  So a range is lent as a whole and held in chunks, each
 * from its Nth use on: what is idle, or was busy for a moment, costs nothing.
 * Where the kernel refuses, the chunk is used like any other memory.
 *
 * The ring has the pages.  When a worker dies, requests of its ring go on in
 * them, and they are free when the keeper closes that ring; nobody else ever
 * sees them, since they are the worker's own.  A successor has its own ring,
 * its own memory, and lends that.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK		(256u << 10)
#define USES		64		/* before a chunk is worth it */
#define REFUSED		UINT16_MAX

struct ob_lent_chunk {
	uint16_t uses;			/* REFUSED: of no use */
	uint16_t slot;			/* in the ring's table, from 1; 0: none */
};

struct ob_lent {
	uintptr_t base;
	size_t size;
	struct ob_lent_chunk *chunks;
};

static size_t count_chunks(size_t size)
{
	return (size + CHUNK - 1) / CHUNK;
}

/* The first range that begins behind addr. */
static unsigned find_behind(const struct lending *lending, uintptr_t addr)
{
	unsigned low = 0, high = lending->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (lending->ranges[mid].base <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ob_lent *find(struct lending *lending, uintptr_t addr)
{
	unsigned behind;

	if (lending->last < lending->count &&
	    addr - lending->ranges[lending->last].base <
	    lending->ranges[lending->last].size)
		return &lending->ranges[lending->last];
	behind = find_behind(lending, addr);
	if (!behind || addr - lending->ranges[behind - 1].base >=
	    lending->ranges[behind - 1].size)
		return NULL;
	lending->last = behind - 1;
	return &lending->ranges[behind - 1];
}

static bool make_slots(struct ob_loop *loop)
{
	struct lending *lending = &loop->lending;

	if (lending->nr_free || lending->has_table)
		return lending->nr_free;
	if (loop->engine->hold_table(loop, OB_LENT_SLOTS))
		return false;
	lending->has_table = true;
	while (lending->nr_free < OB_LENT_SLOTS) {
		lending->free[lending->nr_free] =
			(uint16_t)(OB_LENT_SLOTS - lending->nr_free);
		lending->nr_free++;
	}
	return true;
}

static void hold(struct ob_loop *loop, const struct ob_lent *lent,
		 struct ob_lent_chunk *chunk)
{
	struct lending *lending = &loop->lending;
	size_t at = (size_t)(chunk - lent->chunks) * CHUNK;
	size_t len = lent->size - at < CHUNK ? lent->size - at : CHUNK;
	uint16_t slot;

	if (make_slots(loop)) {
		slot = lending->free[lending->nr_free - 1];
		if (!loop->engine->hold(loop, slot - 1u,
					(void *)(lent->base + at), len)) {
			chunk->slot = slot;
			lending->nr_free--;
			return;
		}
	}
	chunk->uses = REFUSED;
}

int ob_lent_slot(struct ob_loop *loop, const struct iovec *iov)
{
	uintptr_t addr = (uintptr_t)iov->iov_base;
	struct ob_lent *lent = find(&loop->lending, addr);
	struct ob_lent_chunk *chunk;
	size_t at;

	if (!lent)
		return -1;
	at = addr - lent->base;
	chunk = &lent->chunks[at / CHUNK];
	if (iov->iov_len > CHUNK - at % CHUNK || iov->iov_len > lent->size - at)
		return -1;
	if (!chunk->slot && chunk->uses != REFUSED && ++chunk->uses == USES)
		hold(loop, lent, chunk);
	return chunk->slot - 1;
}

int ob_loop_lend(struct ob_loop *loop, void *base, size_t size)
{
	struct lending *lending = &loop->lending;
	unsigned at = find_behind(lending, (uintptr_t)base);
	struct ob_lent *ranges;
	struct ob_lent lent = { (uintptr_t)base, size, NULL };

	if (!loop->engine->hold)
		return 0;
	ranges = realloc(lending->ranges,
			 (lending->count + 1) * sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	lending->ranges = ranges;
	lent.chunks = calloc(count_chunks(size), sizeof(*lent.chunks));
	if (!lent.chunks)
		return -ENOMEM;
	memmove(&ranges[at + 1], &ranges[at],
		(lending->count - at) * sizeof(*ranges));
	ranges[at] = lent;
	lending->count++;
	return 0;
}

static void let_go(struct ob_loop *loop, const struct ob_lent *lent)
{
	struct lending *lending = &loop->lending;

	for (size_t i = 0; i < count_chunks(lent->size); i++) {
		uint16_t slot = lent->chunks[i].slot;

		if (!slot)
			continue;
		loop->engine->hold(loop, slot - 1u, NULL, 0);
		lending->free[lending->nr_free++] = slot;
	}
}

void ob_loop_reclaim(struct ob_loop *loop, void *base)
{
	struct lending *lending = &loop->lending;
	struct ob_lent *lent = find(lending, (uintptr_t)base);
	unsigned at;

	if (!lent || lent->base != (uintptr_t)base)
		return;
	at = (unsigned)(lent - lending->ranges);
	let_go(loop, lent);
	free(lent->chunks);
	memmove(lent, lent + 1,
		(lending->count - at - 1) * sizeof(*lent));
	lending->count--;
}

/* The ring goes, and what it holds with it. */
void ob_lending_finish(struct ob_loop *loop)
{
	for (unsigned i = 0; i < loop->lending.count; i++)
		free(loop->lending.ranges[i].chunks);
	free(loop->lending.ranges);
}
