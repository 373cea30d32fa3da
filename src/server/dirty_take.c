// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the log tells, and takes out by telling it (vfio-user,
 * DMA_LOGGING_REPORT).
 *
 * The answer may have pages of another size than the log's and begin
 * anywhere.  With pages of the same size and place words are copied, shifted
 * if need be; otherwise each run of pages becomes a run of bits.  Telling too
 * much is allowed, losing is not: a page of the log that sticks out of the
 * range that was asked for is told and stays dirty.
 *
 * The answer's buffer is zeroed by the same scheme as the log: it has a
 * summary of its own, and the next answer clears the words that this one set.
 * So an answer of 2 MiB about an idle 64 GiB touches next to nothing here.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "server/dirty.h"

#define WORDS OB_DIRTY_CHUNK_WORDS
#define LEAST_WORDS 512u

struct take {
	struct ob_dirty *log;
	uint64_t *words, *summary;	/* the answer's */
	uint64_t iova, last;		/* of the query, inclusive */
	unsigned shift;			/* its page size */
	bool aligned;			/* pages are the log's */
	uint64_t touched, touched_end;	/* pages of the log in it, */
	uint64_t inside, inside_end;	/* and those wholly so; ends excluded */
};

int ob_dirty_check(const struct ob_dirty_query *query, size_t *bytes,
		   struct ob_err *err)
{
	uint64_t last, words;

	if (!query->page_size || (query->page_size & (query->page_size - 1)))
		return ob_fail(err, EINVAL, "page size %#llx is no power of two",
			       (unsigned long long)query->page_size);
	if (!query->length || __builtin_add_overflow(query->iova,
						     query->length - 1, &last))
		return ob_fail(err, EINVAL, "%#llx bytes at %#llx: empty, or "
			       "wraps around",
			       (unsigned long long)query->length,
			       (unsigned long long)query->iova);
	words = (query->length - 1) / query->page_size / 64 + 1;
	if (words > OB_DIRTY_BITMAP_MAX / sizeof(uint64_t))
		return ob_fail(err, E2BIG, "%#llx bytes in pages of %#llx: a "
			       "bitmap of more than %u MiB",
			       (unsigned long long)query->length,
			       (unsigned long long)query->page_size,
			       OB_DIRTY_BITMAP_MAX >> 20);
	*bytes = (size_t)words * sizeof(uint64_t);
	return 0;
}

static size_t answer_bytes(size_t room)
{
	return (room + room / 64) * sizeof(uint64_t);
}

void ob_dirty_answer_finish(struct ob_dirty_answer *answer)
{
	if (answer->words)
		munmap(answer->words, answer_bytes(answer->room));
	memset(answer, 0, sizeof(*answer));
}

static void wipe(struct ob_dirty_answer *answer)
{
	for (size_t s = 0; s * 64 < answer->used; s++) {
		uint64_t set = answer->summary[s];

		if (!set)
			continue;
		answer->summary[s] = 0;
		for (; set; set &= set - 1)
			answer->words[s * 64 + (size_t)__builtin_ctzll(set)] = 0;
	}
	answer->used = 0;
}

/* A zeroed buffer of so many words. */
static int prepare(struct ob_dirty_answer *answer, size_t words)
{
	size_t room = LEAST_WORDS;
	void *at;

	wipe(answer);
	while (room < words)
		room *= 2;
	if (room > answer->room) {
		at = mmap(NULL, answer_bytes(room), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at == MAP_FAILED)
			return -ENOMEM;
		madvise(at, answer_bytes(room), MADV_NOHUGEPAGE);
		ob_dirty_answer_finish(answer);
		answer->words = at;
		answer->summary = answer->words + room;
		answer->room = room;
	}
	answer->used = words;
	return 0;
}

static inline void put(struct take *t, size_t word, uint64_t bits)
{
	t->words[word] |= bits;
	t->summary[word / 64] |= UINT64_C(1) << (word % 64);
}

/* Bits from first to last. */
static void put_run(struct take *t, uint64_t first, uint64_t last)
{
	size_t word = first / 64, end = last / 64;
	uint64_t bits = ~UINT64_C(0) << (first % 64);

	for (; word < end; word++, bits = ~UINT64_C(0))
		put(t, word, bits);
	put(t, word, bits & (~UINT64_C(0) >> (63 - last % 64)));
}

/* Addresses, of which some are inside. */
static void tell(struct take *t, uint64_t first, uint64_t last)
{
	if (first < t->iova)
		first = t->iova;
	if (last > t->last)
		last = t->last;
	put_run(t, (first - t->iova) >> t->shift, (last - t->iova) >> t->shift);
}

static void tell_runs(struct take *t, uint64_t page, uint64_t set)
{
	while (set) {
		unsigned from = (unsigned)__builtin_ctzll(set), n;
		uint64_t rest = ~(set >> from);
		uint64_t first = (page + from) << OB_DIRTY_SHIFT;

		n = rest ? (unsigned)__builtin_ctzll(rest) : 64;
		tell(t, first, first + (n * OB_DIRTY_PAGE - 1));
		set = from + n < 64 ? set & (~UINT64_C(0) << (from + n)) : 0;
	}
}

static void tell_word(struct take *t, uint64_t page, uint64_t set)
{
	uint64_t at = page - t->touched;

	if (page < t->touched) {	/* none set is before that */
		set >>= t->touched - page;
		at = 0;
	}
	put(t, at / 64, set << (at % 64));
	if (at % 64 && set >> (64 - at % 64))
		put(t, at / 64 + 1, set >> (64 - at % 64));
}

/* Of the 64 pages from page, those from first to before end. */
static uint64_t window(uint64_t page, uint64_t first, uint64_t end)
{
	uint64_t mask = ~UINT64_C(0);

	if (end <= page || first >= page + 64 || first >= end)
		return 0;
	if (first > page)
		mask <<= first - page;
	if (end < page + 64)
		mask &= ~UINT64_C(0) >> (page + 64 - end);
	return mask;
}

static void take_word(struct take *t, struct ob_dirty_chunk *c, uint32_t w)
{
	uint64_t page = (c->index * WORDS + w) * 64, bit = UINT64_C(1) << (w % 64);
	uint64_t mine = window(page, t->inside, t->inside_end), set;

	atomic_fetch_and_explicit(&c->summary[w / 64], ~bit,
				  memory_order_acquire);
	set = atomic_fetch_and_explicit(&c->words[w], ~mine,
					memory_order_relaxed);
	if (set & ~mine)
		atomic_fetch_or_explicit(&c->summary[w / 64], bit,
					 memory_order_release);
	set &= window(page, t->touched, t->touched_end);
	if (!set)
		return;
	if (t->aligned)
		tell_word(t, page, set);
	else
		tell_runs(t, page, set);
}

static void take_chunk(struct take *t, struct ob_dirty_chunk *c)
{
	uint64_t base = c->index * WORDS, first = t->touched / 64;
	uint64_t last = (t->touched_end - 1) / 64;
	uint32_t from = first > base ? (uint32_t)(first - base) : 0;
	uint32_t to = last < base + WORDS - 1 ? (uint32_t)(last - base) :
		      WORDS - 1;

	for (uint32_t s = from / 64; s <= to / 64; s++) {
		uint64_t set = atomic_load_explicit(&c->summary[s],
						    memory_order_relaxed);

		set &= window((uint64_t)s * 64, from, (uint64_t)to + 1);
		for (; set; set &= set - 1)
			take_word(t, c, s * 64 + (uint32_t)__builtin_ctzll(set));
	}
}

static void take_all(struct take *t)
{
	uint64_t last = t->last >> OB_DIRTY_CHUNK_SHIFT;
	struct ob_dirty *log = t->log;
	uint32_t i = ob_dirty_chunk_from(log, t->iova >> OB_DIRTY_CHUNK_SHIFT);

	for (; i < log->nr && log->chunks[i].index <= last; i++)
		take_chunk(t, &log->chunks[i]);
	if (log->is_blind && log->blind.first <= t->last &&
	    log->blind.last >= t->iova)
		tell(t, log->blind.first, log->blind.last);
}

int ob_dirty_take(struct ob_dirty *log, const struct ob_dirty_query *query,
		  const uint64_t **bitmap)
{
	uint64_t mask = OB_DIRTY_PAGE - 1;
	struct take t = {
		.log = log, .iova = query->iova,
		.last = query->iova + (query->length - 1),
		.shift = (unsigned)__builtin_ctzll(query->page_size),
		.aligned = query->page_size == OB_DIRTY_PAGE &&
			   !(query->iova & mask),
	};
	int r = prepare(&log->answer,
			(size_t)((query->length - 1) / query->page_size / 64 + 1));

	if (r)
		return r;
	t.words = log->answer.words;
	t.summary = log->answer.summary;
	t.touched = t.iova >> OB_DIRTY_SHIFT;
	t.touched_end = (t.last >> OB_DIRTY_SHIFT) + 1;
	t.inside = t.touched + !!(t.iova & mask);
	t.inside_end = t.touched_end - ((t.last & mask) != mask);
	take_all(&t);
	*bitmap = t.words;
	return 0;
}
