// SPDX-License-Identifier: BSD-3-Clause
/*
 * The log itself: its chunks, what is to be logged, marks.
 *
 * Chunks are an array sorted by index.  Which entry it was last is kept by
 * the low bits of the index, so that with up to 256 GiB in a row every look-up
 * is one comparison; otherwise it is a binary search.  An entry of that table
 * is a guess that is compared, hence it never needs to be put right.
 *
 * The bits come from slabs of at least 2 MiB, so that the number of mappings
 * stays small in whatever way memory is mapped.  A page of bits speaks for
 * 128 MiB of address space and becomes memory when one of those is written.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/dirty.h"

#define WORDS OB_DIRTY_CHUNK_WORDS
#define SUMMARY_WORDS (WORDS / 64)
#define CHUNK_BYTES ((WORDS + SUMMARY_WORDS) * sizeof(uint64_t))
#define SLAB_CHUNKS 64u
#define NO_CHUNK UINT64_MAX

struct ob_dirty_slab {
	struct ob_dirty_slab *next;
	uint64_t *at;
	size_t len;
	uint32_t used, room;		/* chunks */
};

static int by_first(const void *a, const void *b)
{
	const struct ob_dirty_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorts them; those that overlap or touch become one. */
static void merge(struct ob_dirty *log)
{
	struct ob_dirty_range *ranges = log->ranges;
	uint32_t n = 0;

	qsort(ranges, log->nr_ranges, sizeof(*ranges), by_first);
	for (uint32_t i = 1; i < log->nr_ranges; i++) {
		if (ranges[n].last == UINT64_MAX ||
		    ranges[i].first <= ranges[n].last + 1) {
			if (ranges[i].last > ranges[n].last)
				ranges[n].last = ranges[i].last;
		} else {
			ranges[++n] = ranges[i];
		}
	}
	log->nr_ranges = n + 1;
}

/* Room for so many chunks; there is always one entry to compare with. */
static int grow(struct ob_dirty *log, uint32_t room)
{
	struct ob_dirty_chunk *chunks;

	if (room <= log->room)
		return 0;
	if (room < 2 * log->room)
		room = 2 * log->room;
	chunks = reallocarray(log->chunks, room, sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	if (!log->room)
		chunks[0].index = NO_CHUNK;
	log->chunks = chunks;
	log->room = room;
	return 0;
}

int ob_dirty_create(const struct ob_dirty_range *ranges, uint32_t count,
		    struct ob_dirty **out)
{
	struct ob_dirty *log = calloc(1, sizeof(*log));

	if (!log || grow(log, 16))
		goto fail;
	if (count) {
		log->ranges = malloc(count * sizeof(*ranges));
		if (!log->ranges)
			goto fail;
		memcpy(log->ranges, ranges, count * sizeof(*ranges));
		log->nr_ranges = count;
		merge(log);
	}
	*out = log;
	return 0;
fail:
	ob_dirty_destroy(log);
	return -ENOMEM;
}

void ob_dirty_destroy(struct ob_dirty *log)
{
	struct ob_dirty_slab *slab;

	if (!log)
		return;
	while ((slab = log->slabs)) {
		log->slabs = slab->next;
		munmap(slab->at, slab->len);
		free(slab);
	}
	ob_dirty_answer_finish(&log->answer);
	free(log->ranges);
	free(log->chunks);
	free(log);
}

/* First range that ends at or after addr; nr_ranges if none does. */
static uint32_t range_from(const struct ob_dirty *log, uint64_t addr)
{
	uint32_t low = 0, high = log->nr_ranges, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (log->ranges[mid].last < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

uint32_t ob_dirty_chunk_from(const struct ob_dirty *log, uint64_t index)
{
	uint32_t low = 0, high = log->nr, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (log->chunks[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int add_slab(struct ob_dirty *log, uint32_t room)
{
	struct ob_dirty_slab *slab = malloc(sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	if (room < SLAB_CHUNKS)
		room = SLAB_CHUNKS;
	slab->len = room * CHUNK_BYTES;
	slab->at = mmap(NULL, slab->len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slab->at == MAP_FAILED) {
		free(slab);
		return -ENOMEM;
	}
	/* One bit is not to cost 2 MiB. */
	madvise(slab->at, slab->len, MADV_NOHUGEPAGE);
	slab->used = 0;
	slab->room = room;
	slab->next = log->slabs;
	log->slabs = slab;
	return 0;
}

/* Words and summaries lie apart, so that words are whole pages. */
static void init_chunk(struct ob_dirty *log, struct ob_dirty_chunk *c,
		       uint64_t index)
{
	uint64_t first = index << OB_DIRTY_CHUNK_SHIFT;
	uint64_t last = first + ((UINT64_C(1) << OB_DIRTY_CHUNK_SHIFT) - 1);
	struct ob_dirty_slab *slab = log->slabs;
	uint32_t n = slab->used++, i = range_from(log, first);

	c->index = index;
	c->words = (_Atomic uint64_t *)(slab->at + (size_t)n * WORDS);
	c->summary = (_Atomic uint64_t *)
		(slab->at + (size_t)slab->room * WORDS +
		 (size_t)n * SUMMARY_WORDS);
	c->whole = !log->nr_ranges ||
		   (i < log->nr_ranges && log->ranges[i].first <= first &&
		    log->ranges[i].last >= last);
}

/* Those of first to last that are missing, put in from the back. */
static int add_chunks(struct ob_dirty *log, uint64_t first, uint64_t last)
{
	uint32_t at = ob_dirty_chunk_from(log, first);
	uint32_t end = ob_dirty_chunk_from(log, last + 1);
	uint32_t old = end - at, missing = (uint32_t)(last - first + 1) - old;
	uint32_t to = end + missing;
	int r;

	if (!missing)
		return 0;
	if (missing > OB_DIRTY_CHUNKS_MAX - log->nr)
		return -E2BIG;
	r = grow(log, log->nr + missing);
	if (!r && (!log->slabs ||
		   log->slabs->room - log->slabs->used < missing))
		r = add_slab(log, missing);
	if (r)
		return r;
	memmove(&log->chunks[to], &log->chunks[end],
		(log->nr - end) * sizeof(*log->chunks));
	log->nr += missing;
	for (uint64_t index = last; to > end; index--) {
		if (end > at && log->chunks[end - 1].index == index)
			log->chunks[--to] = log->chunks[--end];
		else
			init_chunk(log, &log->chunks[--to], index);
	}
	return 0;
}

static int cover(struct ob_dirty *log, uint64_t first, uint64_t last)
{
	first >>= OB_DIRTY_CHUNK_SHIFT;
	last >>= OB_DIRTY_CHUNK_SHIFT;
	if (last - first >= OB_DIRTY_CHUNKS_MAX)
		return -E2BIG;
	return add_chunks(log, first, last);
}

int ob_dirty_cover(struct ob_dirty *log, uint64_t first, uint64_t last)
{
	uint32_t i = range_from(log, first);
	int r = 0;

	if (!log->nr_ranges)
		return cover(log, first, last);
	for (; !r && i < log->nr_ranges && log->ranges[i].first <= last; i++) {
		const struct ob_dirty_range *range = &log->ranges[i];

		r = cover(log, range->first > first ? range->first : first,
			  range->last < last ? range->last : last);
	}
	return r;
}

const char *ob_dirty_why(int r)
{
	return r == -E2BIG ? "more than 128 TiB to log" : strerror(-r);
}

void ob_dirty_blind(struct ob_dirty *log, uint64_t first, uint64_t last)
{
	if (!log->is_blind || first < log->blind.first)
		log->blind.first = first;
	if (!log->is_blind || last > log->blind.last)
		log->blind.last = last;
	log->is_blind = true;
}

static struct ob_dirty_chunk *look_up(struct ob_dirty *log, uint64_t index)
{
	uint32_t i = ob_dirty_chunk_from(log, index);

	if (i == log->nr || log->chunks[i].index != index)
		return NULL;
	__atomic_store_n(&log->hits[index % OB_DIRTY_HITS], i,
			 __ATOMIC_RELAXED);
	return &log->chunks[i];
}

static inline struct ob_dirty_chunk *find(struct ob_dirty *log, uint64_t index)
{
	uint32_t i = __atomic_load_n(&log->hits[index % OB_DIRTY_HITS],
				     __ATOMIC_RELAXED);

	if (__builtin_expect(log->chunks[i].index == index, 1))
		return &log->chunks[i];
	return look_up(log, index);
}

/* Bits from to to of a word. */
static inline uint64_t bits(unsigned from, unsigned to)
{
	return (~UINT64_C(0) >> (63 - (to - from))) << from;
}

/* Of the pages in mask, counted from page, those that are to be logged. */
static uint64_t wanted(const struct ob_dirty *log, uint64_t page,
		       uint64_t mask)
{
	uint64_t first = page << OB_DIRTY_SHIFT, last, ok = 0;
	uint32_t i = range_from(log, first);

	last = first + (64 * OB_DIRTY_PAGE - 1);
	for (; i < log->nr_ranges && log->ranges[i].first <= last; i++) {
		const struct ob_dirty_range *range = &log->ranges[i];
		uint64_t from = range->first > first ? range->first : first;
		uint64_t to = range->last < last ? range->last : last;

		ok |= bits((unsigned)((from - first) >> OB_DIRTY_SHIFT),
			   (unsigned)((to - first) >> OB_DIRTY_SHIFT));
	}
	return mask & ok;
}

/* Pages of one word.  The summary comes second and is looked at first. */
static inline void mark_word(struct ob_dirty *log, uint64_t word, uint64_t mask)
{
	struct ob_dirty_chunk *c = find(log, word / WORDS);
	uint32_t w = (uint32_t)(word % WORDS);

	if (__builtin_expect(!c, 0))
		return;		/* not asked for, or blind */
	if (__builtin_expect(!c->whole, 0))
		mask = wanted(log, word * 64, mask);
	if (!(mask & ~atomic_load_explicit(&c->words[w],
					   memory_order_relaxed)))
		return;
	atomic_fetch_or_explicit(&c->words[w], mask, memory_order_relaxed);
	atomic_fetch_or_explicit(&c->summary[w / 64], UINT64_C(1) << (w % 64),
				 memory_order_release);
}

void ob_dirty_mark(struct ob_dirty *log, uint64_t addr, uint64_t len)
{
	uint64_t page = addr >> OB_DIRTY_SHIFT, last, end;

	if (!len)
		return;
	last = (addr + (len - 1)) >> OB_DIRTY_SHIFT;
	for (; page <= last; page = end + 1) {
		end = page | 63;
		if (end > last)
			end = last;
		mark_word(log, page / 64,
			  bits((unsigned)(page % 64), (unsigned)(end % 64)));
	}
}

static uint64_t count_chunk(const struct ob_dirty_chunk *c)
{
	uint64_t n = 0;

	for (uint32_t s = 0; s < SUMMARY_WORDS; s++)
		for (uint64_t set = c->summary[s]; set; set &= set - 1)
			n += (unsigned)__builtin_popcountll(
				c->words[s * 64 + (uint32_t)__builtin_ctzll(set)]);
	return n;
}

uint64_t ob_dirty_count(const struct ob_dirty *log)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < log->nr; i++)
		n += count_chunk(&log->chunks[i]);
	return n;
}
