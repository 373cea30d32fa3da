/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log as a list of pages, slow and plain: what the real one is
 * compared with.  The address space is three stretches of pages: one at 0,
 * one around 1 GiB, one at the very end.
 */
#ifndef OB_TESTS_DIRTY_MODEL_H
#define OB_TESTS_DIRTY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_PAGES 200u
#define MODEL_MAPS 12u
#define MODEL_NONE 255u

/* Kinds of map: 0, 1 and 3 are written by us and logged. */
enum { MODEL_READ_ONLY = 2, MODEL_BY_MESSAGE = 4 };

struct query {
	uint64_t iova, length, page_size;
};

struct model {
	uint64_t seed;
	bool on;
	uint8_t map[MODEL_PAGES];	/* number of the map + 1, or 0 */
	uint8_t kind[MODEL_PAGES];
	bool dirty[MODEL_PAGES];
	struct { unsigned first, count; } maps[MODEL_MAPS];
	uint64_t ranges[8][2];		/* address and length */
	unsigned nr_ranges;
	unsigned long bits_told;
};

uint64_t model_random(struct model *m, uint64_t below);
/* Address of a page, and back; MODEL_NONE: none of ours. */
uint64_t model_address(unsigned page);
/* Picks something, does it here, and says what to do there. */
bool model_map(struct model *m, unsigned kind, uint64_t *addr, uint64_t *len);
bool model_unmap(struct model *m, uint64_t *addr, uint64_t *len);
void model_write(struct model *m, uint64_t *addr, uint64_t *len);
void model_start(struct model *m);
void model_query(struct model *m, struct query *query);
/* Fails unless the bitmap is what the list says; takes what it tells. */
void model_check(struct model *m, const struct query *query,
		 const uint8_t *bitmap, size_t len);

#endif
