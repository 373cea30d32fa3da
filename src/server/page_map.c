// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/page_map.h"

#define CHUNK_SHIFT 18u			/* pages of 1 GiB */
#define CHUNK_PAGES (UINT64_C(1) << CHUNK_SHIFT)
#define CHUNK_WORDS (CHUNK_PAGES / 64)
#define CHUNK_BYTES ((CHUNK_PAGES + CHUNK_WORDS) * sizeof(uint64_t))

struct ob_page_chunk {
	uint64_t index;
	uint64_t *bits, *values;
};

void ob_page_map_finish(struct ob_page_map *map)
{
	for (uint32_t i = 0; i < map->nr; i++)
		munmap(map->chunks[i].values, CHUNK_BYTES);
	free(map->chunks);
	memset(map, 0, sizeof(*map));
}

/* Index of the first chunk at or after this one. */
static uint32_t chunk_from(const struct ob_page_map *map, uint64_t index)
{
	uint32_t low = 0, high = map->nr, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (map->chunks[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ob_page_chunk *find(struct ob_page_map *map, uint64_t page)
{
	uint64_t index = page >> CHUNK_SHIFT;
	uint32_t i = map->hit;

	if (i >= map->nr || map->chunks[i].index != index)
		i = chunk_from(map, index);
	if (i == map->nr || map->chunks[i].index != index)
		return NULL;
	map->hit = i;
	return &map->chunks[i];
}

static int make_room(struct ob_page_map *map)
{
	uint32_t room = map->room ? 2 * map->room : 16;
	struct ob_page_chunk *chunks;

	if (map->nr < map->room)
		return 0;
	chunks = reallocarray(map->chunks, room, sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	map->chunks = chunks;
	map->room = room;
	return 0;
}

static int add(struct ob_page_map *map, uint64_t index)
{
	uint32_t at = chunk_from(map, index);
	struct ob_page_chunk *c;
	void *memory;

	if (make_room(map))
		return -ENOMEM;
	memory = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		      MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	madvise(memory, CHUNK_BYTES, MADV_NOHUGEPAGE);
	c = &map->chunks[at];
	memmove(c + 1, c, (map->nr++ - at) * sizeof(*c));
	*c = (struct ob_page_chunk){
		.index = index, .values = memory,
		.bits = (uint64_t *)memory + CHUNK_PAGES,
	};
	return 0;
}

static bool is_set(const struct ob_page_chunk *c, uint64_t n)
{
	return c->bits[n / 64] >> (n % 64) & 1;
}

int ob_page_map_set(struct ob_page_map *map, uint64_t page, uint64_t value)
{
	uint64_t n = page & (CHUNK_PAGES - 1);
	struct ob_page_chunk *c = find(map, page);

	if (!c && add(map, page >> CHUNK_SHIFT))
		return -ENOMEM;
	if (!c)
		c = find(map, page);
	map->count += !is_set(c, n);
	c->bits[n / 64] |= UINT64_C(1) << (n % 64);
	c->values[n] = value;
	return 0;
}

bool ob_page_map_get(struct ob_page_map *map, uint64_t page, uint64_t *value)
{
	uint64_t n = page & (CHUNK_PAGES - 1);
	struct ob_page_chunk *c = find(map, page);

	if (!c || !is_set(c, n))
		return false;
	*value = c->values[n];
	return true;
}

bool ob_page_map_clear(struct ob_page_map *map, uint64_t page)
{
	uint64_t n = page & (CHUNK_PAGES - 1);
	struct ob_page_chunk *c = find(map, page);

	if (!c || !is_set(c, n))
		return false;
	c->bits[n / 64] &= ~(UINT64_C(1) << (n % 64));
	map->count--;
	return true;
}

/* The first that is set from n on; CHUNK_PAGES: none. */
static uint64_t next_set(const struct ob_page_chunk *c, uint64_t n)
{
	uint64_t word = n / 64;
	uint64_t set = c->bits[word] & (~UINT64_C(0) << (n % 64));

	while (!set && ++word < CHUNK_WORDS)
		set = c->bits[word];
	return set ? word * 64 + (uint64_t)__builtin_ctzll(set) : CHUNK_PAGES;
}

bool ob_page_map_next(struct ob_page_map *map, uint64_t *page, uint64_t *value)
{
	uint32_t i = chunk_from(map, *page >> CHUNK_SHIFT);

	for (; i < map->nr; i++) {
		const struct ob_page_chunk *c = &map->chunks[i];
		uint64_t first = c->index << CHUNK_SHIFT;
		uint64_t n = next_set(c, *page > first ? *page - first : 0);

		if (n < CHUNK_PAGES) {
			*page = first + n;
			*value = c->values[n];
			return true;
		}
	}
	return false;
}
