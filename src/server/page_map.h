/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A number for each of some pages of guest memory: eight bytes a page, in
 * chunks of 1 GiB of address space that become memory where they are used.
 */
#ifndef OB_SERVER_PAGE_MAP_H
#define OB_SERVER_PAGE_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct ob_page_chunk;

/* All zeros: empty.  Pages are addresses / 4096. */
struct ob_page_map {
	struct ob_page_chunk *chunks;	/* sorted */
	uint32_t nr, room, hit;
	uint64_t count;			/* pages that have a number */
};

void ob_page_map_finish(struct ob_page_map *map);
/* -ENOMEM */
int ob_page_map_set(struct ob_page_map *map, uint64_t page, uint64_t value);
bool ob_page_map_get(struct ob_page_map *map, uint64_t page, uint64_t *value);
/* False: it has none. */
bool ob_page_map_clear(struct ob_page_map *map, uint64_t page);
/* The first at or after *page; false: there is none. */
bool ob_page_map_next(struct ob_page_map *map, uint64_t *page,
		      uint64_t *value);

#endif
