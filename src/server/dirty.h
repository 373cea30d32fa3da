/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log: which pages of guest memory the device wrote.
 *
 * One bit for each 4 KiB, in chunks of 1 GiB of address space, and a second
 * bitmap with one bit for each word of the first.  Whoever takes bits looks at
 * the second one and at words that are not 0, so that it costs what was
 * written and not what is mapped.
 *
 * Room is reserved when logging starts and when memory is mapped later, never
 * where a page is marked; room that nobody uses is not memory yet.  It stays
 * until the log ends, and so does the dirt of memory that was unmapped.
 *
 * Marks come after the store they tell of.  They are atomic, so that several
 * threads may mark at a time; none may cover or take meanwhile, because a
 * store and a bit that was found set already are not ordered against a taker.
 */
#ifndef OB_SERVER_DIRTY_H
#define OB_SERVER_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <outboard/error.h>

#define OB_DIRTY_SHIFT 12u
#define OB_DIRTY_PAGE (UINT64_C(1) << OB_DIRTY_SHIFT)

#define OB_DIRTY_CHUNK_SHIFT 30u
#define OB_DIRTY_CHUNK_WORDS (1u << (OB_DIRTY_CHUNK_SHIFT - OB_DIRTY_SHIFT - 6))
#define OB_DIRTY_CHUNKS_MAX (128u << 10)	/* 128 TiB, 4 GiB of bits */
#define OB_DIRTY_HITS 256u			/* a power of two */

#define OB_DIRTY_BITMAP_MAX (64u << 20)		/* bytes of one answer */

struct ob_dirty_range {
	uint64_t first, last;			/* inclusive, whole pages */
};

struct ob_dirty_chunk {
	uint64_t index;				/* address / 1 GiB */
	_Atomic uint64_t *words, *summary;
	bool whole;				/* all of it is to be logged */
};

/* The answer being built; words that are 0 stay so from one to the next. */
struct ob_dirty_answer {
	uint64_t *words, *summary;
	size_t room, used;			/* words */
};

struct ob_dirty {
	struct ob_dirty_chunk *chunks;		/* sorted */
	uint32_t nr, room;
	uint32_t hits[OB_DIRTY_HITS];		/* by index, where it was last */
	struct ob_dirty_range *ranges;		/* sorted, disjoint */
	uint32_t nr_ranges;			/* 0: everything */
	struct ob_dirty_range blind;		/* for which there was no room */
	bool is_blind;
	struct ob_dirty_slab *slabs;		/* the memory of the chunks */
	struct ob_dirty_answer answer;
	struct iovec reply;			/* for whoever sends it */
};

/*
 * ranges (copied) may overlap and be in any order; none: everything that is
 * covered is logged, otherwise only what is in them.
 */
int ob_dirty_create(const struct ob_dirty_range *ranges, uint32_t count,
		    struct ob_dirty **out);
/* NULL is fine. */
void ob_dirty_destroy(struct ob_dirty *log);

/*
 * Reserves room for what may be written from first to last.  -ENOMEM, or
 * -E2BIG: more than OB_DIRTY_CHUNKS_MAX; part of it may be covered then.
 */
int ob_dirty_cover(struct ob_dirty *log, uint64_t first, uint64_t last);
/* In the words of whoever reads that it failed. */
const char *ob_dirty_why(int r);
/* Gives up on it: from now on every answer says that all of it is dirty. */
void ob_dirty_blind(struct ob_dirty *log, uint64_t first, uint64_t last);

/* First chunk at or after this one, nr if there is none. */
uint32_t ob_dirty_chunk_from(const struct ob_dirty *log, uint64_t index);

/* Were written; addr + len does not wrap, as whoever wrote there knows. */
void ob_dirty_mark(struct ob_dirty *log, uint64_t addr, uint64_t len);
/* How many pages it has. */
uint64_t ob_dirty_count(const struct ob_dirty *log);

/* dirty_take.c */

/* Bit n of the answer is the page_size bytes from iova + n * page_size. */
struct ob_dirty_query {
	uint64_t iova, length, page_size;
};

/* Bytes of the answer; -EINVAL, or -E2BIG: more than OB_DIRTY_BITMAP_MAX. */
int ob_dirty_check(const struct ob_dirty_query *query, size_t *bytes,
		   struct ob_err *err);
/*
 * Answers a query that was checked, and takes what it tells out of the log.  A
 * page of the log that is only partly inside is told and stays.  The bitmap is
 * the log's and lasts until the next call.  -ENOMEM: nothing was taken.
 */
int ob_dirty_take(struct ob_dirty *log, const struct ob_dirty_query *query,
		  const uint64_t **bitmap);
void ob_dirty_answer_finish(struct ob_dirty_answer *answer);

#endif
