// SPDX-License-Identifier: BSD-3-Clause
/*
 * The ranges of the client's memory map, sorted by address.
 *
 * They lie in leaves of up to OB_LEAF each; where the leaves end is an array of
 * its own, 16 KiB for 65,535 ranges, so that the search of a leaf stays in the
 * nearest caches.  What is added or removed moves what is behind it in one leaf,
 * and now and then the leaves behind that one: the cost of a map, of an unmap
 * and of a look-up does hardly depend on how many there are, or in which order
 * they come.
 *
 * A leaf that is full is split in the middle, unless the new one comes at its
 * end or begin: then it begins one of its own, so that maps which come in order
 * fill the leaves.  Neighbours that fit into half of one become one.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/dma_impl.h"

/*
 * A look-up touches as few lines as there can be: keys from the begin of a line,
 * all ones where there is no range, so that `nr` need not be known; a range is one
 * line.
 */
#define LINE 64u
struct ob_leaf {
	_Alignas(LINE) uint64_t last[OB_LEAF];	/* of the ranges */
	struct ob_range ranges[OB_LEAF];
	uint32_t nr;
};
static_assert(sizeof(struct ob_range) == LINE, "a line each");
static_assert(OB_LEAF * sizeof(uint64_t) % LINE == 0, "ranges begin a line");

/*
 * Searches have no branch that depends on addresses, which no processor could guess: it
 * would begin the wrong half each second time.  Each step looks at three places
 * at once, which do not wait for each other, and leaves a quarter.
 */
static inline uint32_t below_of_three(const uint64_t *at, uint32_t part, uint64_t addr)
{
	return (at[part - 1] < addr) + (at[2 * part - 1] < addr) +
	       (at[3 * part - 1] < addr);
}

/* Index of the first leaf that does not end below addr; nr if there is none. */
static inline uint32_t find_leaf(const uint64_t *ends, uint32_t nr, uint64_t addr)
{
	const uint64_t *at = ends;
	uint32_t left = nr;

	if (nr < 2)		/* as a rule, and then known before it is compared */
		return nr && *ends < addr ? 1 : 0;
	for (; left > 3; left -= left / 4 * 3)
		at += left / 4 * below_of_three(at, left / 4, addr);
	for (; left > 1; left--)
		at += *at < addr;
	return (uint32_t)(at - ends) + (*at < addr);
}

static inline uint32_t find_key(const uint64_t last[OB_LEAF], uint64_t addr)
{
	const uint64_t *at = last;

	at += 16 * below_of_three(at, 16, addr);
	at += 4 * below_of_three(at, 4, addr);
	at += below_of_three(at, 1, addr);
	return (uint32_t)(at - last) + (*at < addr);
}
static_assert(OB_LEAF == 64, "three steps of four");

/* They are in several lines, none of which says where to look next. */
static void ask_for_keys(const struct ob_leaf *leaf)
{
	for (unsigned i = 0; i < OB_LEAF; i += LINE / sizeof(leaf->last[0]))
		__builtin_prefetch(&leaf->last[i]);
}

struct ob_place ob_dma_place(const struct ob_dma *dma, uint64_t addr)
{
	struct ob_place place = {
		.leaf = find_leaf(dma->ends, dma->nr_leaves, addr)
	};
	const struct ob_leaf *leaf;

	if (place.leaf < dma->nr_leaves) {
		leaf = dma->leaves[place.leaf];
		ask_for_keys(leaf);
		place.at = find_key(leaf->last, addr);
	}
	return place;
}

struct ob_range *ob_dma_at(const struct ob_dma *dma, struct ob_place *place)
{
	while (place->leaf < dma->nr_leaves) {
		struct ob_leaf *leaf = dma->leaves[place->leaf];

		if (place->at < leaf->nr)
			return &leaf->ranges[place->at];
		place->leaf++;
		place->at = 0;
	}
	return NULL;
}

struct ob_range *ob_dma_search(struct ob_dma *dma, uint64_t addr)
{
	struct ob_place place = ob_dma_place(dma, addr);
	struct ob_range *range;

	if (place.leaf == dma->nr_leaves)
		return NULL;
	range = &dma->leaves[place.leaf]->ranges[place.at];
	if (addr < range->first)
		return NULL;
	dma->hit = range;
	return range;
}

/* Changes */

static int more_leaves(struct ob_dma *dma)
{
	uint32_t room = dma->room ? 2 * dma->room : 4;
	struct ob_leaf **leaves = reallocarray(dma->leaves, room,
					       sizeof(*leaves));
	uint64_t *ends;

	if (!leaves)
		return -ENOMEM;
	dma->leaves = leaves;
	ends = reallocarray(dma->ends, room, sizeof(*ends));
	if (!ends)
		return -ENOMEM;
	dma->ends = ends;
	dma->room = room;
	return 0;
}

int ob_dma_reserve(struct ob_dma *dma)
{
	if (dma->nr_leaves == dma->room && more_leaves(dma))
		return -ENOMEM;
	if (!dma->spare)
		dma->spare = aligned_alloc(LINE, sizeof(*dma->spare));
	return dma->spare ? 0 : -ENOMEM;
}

/* What moved away leaves no key behind. */
static void set_number(struct ob_leaf *leaf, uint32_t nr)
{
	memset(&leaf->last[nr], 0xff, (OB_LEAF - nr) * sizeof(leaf->last[0]));
	leaf->nr = nr;
}

static void set_end(struct ob_dma *dma, uint32_t i)
{
	dma->ends[i] = dma->leaves[i]->last[dma->leaves[i]->nr - 1];
}

/* The reserved one, empty, as number i. */
static struct ob_leaf *add_leaf(struct ob_dma *dma, uint32_t i)
{
	uint32_t behind = dma->nr_leaves - i;

	memmove(&dma->leaves[i + 1], &dma->leaves[i],
		behind * sizeof(*dma->leaves));
	memmove(&dma->ends[i + 1], &dma->ends[i], behind * sizeof(*dma->ends));
	dma->leaves[i] = dma->spare;
	set_number(dma->leaves[i], 0);
	dma->spare = NULL;
	dma->nr_leaves++;
	return dma->leaves[i];
}

static void remove_leaf(struct ob_dma *dma, uint32_t i)
{
	uint32_t behind = --dma->nr_leaves - i;

	if (dma->spare)
		free(dma->leaves[i]);
	else
		dma->spare = dma->leaves[i];
	memmove(&dma->leaves[i], &dma->leaves[i + 1],
		behind * sizeof(*dma->leaves));
	memmove(&dma->ends[i], &dma->ends[i + 1], behind * sizeof(*dma->ends));
}

/* count ranges from number at of `from`, to the end of `to`. */
static void copy_ranges(struct ob_leaf *to, const struct ob_leaf *from,
			uint32_t at, uint32_t count)
{
	memcpy(&to->ranges[to->nr], &from->ranges[at],
	       count * sizeof(to->ranges[0]));
	memcpy(&to->last[to->nr], &from->last[at], count * sizeof(to->last[0]));
	to->nr += count;
}

static void split(struct ob_dma *dma, struct ob_place *place)
{
	struct ob_leaf *leaf = dma->leaves[place->leaf];
	struct ob_leaf *next = add_leaf(dma, place->leaf + 1);

	copy_ranges(next, leaf, OB_LEAF / 2, OB_LEAF - OB_LEAF / 2);
	set_number(leaf, OB_LEAF / 2);
	set_end(dma, place->leaf);
	set_end(dma, place->leaf + 1);
	if (place->at > leaf->nr) {
		place->at -= leaf->nr;
		place->leaf++;
	}
}

static bool is_full(const struct ob_dma *dma, uint32_t i)
{
	return dma->leaves[i]->nr == OB_LEAF;
}

/* A leaf with room for a range that comes at that place. */
static void make_place(struct ob_dma *dma, struct ob_place *place)
{
	bool is_end = place->leaf == dma->nr_leaves;

	if (is_end || (place->at == 0 && is_full(dma, place->leaf))) {
		if (!place->leaf || is_full(dma, place->leaf - 1)) {
			add_leaf(dma, place->leaf);
			return;
		}
		place->leaf--;
		place->at = dma->leaves[place->leaf]->nr;
	} else if (is_full(dma, place->leaf)) {
		split(dma, place);
	}
}

struct ob_range *ob_dma_add(struct ob_dma *dma, struct ob_place place,
			    const struct ob_range *range)
{
	struct ob_leaf *leaf;
	uint32_t behind;

	make_place(dma, &place);
	leaf = dma->leaves[place.leaf];
	behind = leaf->nr++ - place.at;
	memmove(&leaf->ranges[place.at + 1], &leaf->ranges[place.at],
		behind * sizeof(*range));
	memmove(&leaf->last[place.at + 1], &leaf->last[place.at],
		behind * sizeof(leaf->last[0]));
	leaf->ranges[place.at] = *range;
	leaf->last[place.at] = range->last;
	set_end(dma, place.leaf);
	dma->nr++;
	dma->nr_far += !range->host;
	dma->hit = NULL;
	return &leaf->ranges[place.at];
}

/* With the one behind it, if both are half of a leaf or less. */
static void unite(struct ob_dma *dma, uint32_t i)
{
	struct ob_leaf *leaf = dma->leaves[i], *next;

	if (i + 1 >= dma->nr_leaves)
		return;
	next = dma->leaves[i + 1];
	if (leaf->nr + next->nr > OB_LEAF / 2)
		return;
	copy_ranges(leaf, next, 0, next->nr);
	remove_leaf(dma, i + 1);
	set_end(dma, i);
}

void ob_dma_remove(struct ob_dma *dma, struct ob_place place)
{
	struct ob_leaf *leaf = dma->leaves[place.leaf];
	uint32_t behind = leaf->nr - 1 - place.at;

	dma->nr_far -= !leaf->ranges[place.at].host;
	memmove(&leaf->ranges[place.at], &leaf->ranges[place.at + 1],
		behind * sizeof(leaf->ranges[0]));
	memmove(&leaf->last[place.at], &leaf->last[place.at + 1],
		behind * sizeof(leaf->last[0]));
	set_number(leaf, leaf->nr - 1);
	dma->nr--;
	dma->hit = NULL;
	if (!leaf->nr) {
		remove_leaf(dma, place.leaf);
		return;
	}
	set_end(dma, place.leaf);
	unite(dma, place.leaf);
	if (place.leaf)
		unite(dma, place.leaf - 1);
}

void ob_dma_remove_all(struct ob_dma *dma)
{
	while (dma->nr_leaves)
		free(dma->leaves[--dma->nr_leaves]);
	free(dma->leaves);
	free(dma->ends);
	free(dma->spare);
	dma->leaves = NULL;
	dma->ends = NULL;
	dma->spare = NULL;
	dma->room = dma->nr = dma->nr_far = 0;
	dma->hit = NULL;
}
