// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "block/track.h"

#define MIN_SHIFT 12
#define MAX_BLOCKS (UINT64_C(1) << 21)

static uint64_t nr_words(const struct ob_track *track)
{
	return OB_BITMAP_WORDS(track->blocks);
}

int ob_track_init(struct ob_track *track, uint64_t size)
{
	*track = (struct ob_track){ .shift = MIN_SHIFT };
	while ((size - 1) >> track->shift >= MAX_BLOCKS)
		track->shift++;
	track->blocks = ((size - 1) >> track->shift) + 1;
	track->words = calloc(nr_words(track), sizeof(uint64_t));
	track->summary = calloc(OB_BITMAP_WORDS(nr_words(track)),
				sizeof(uint64_t));
	if (track->words && track->summary)
		return 0;
	ob_track_finish(track);
	return -ENOMEM;
}

void ob_track_finish(struct ob_track *track)
{
	free(track->words);
	free(track->summary);
	track->words = track->summary = NULL;
}

void ob_track_clear(struct ob_track *track)
{
	memset(track->words, 0, nr_words(track) * sizeof(uint64_t));
	memset(track->summary, 0,
	       OB_BITMAP_WORDS(nr_words(track)) * sizeof(uint64_t));
	track->dirty = track->cursor = 0;
}

static void mark_word(struct ob_track *track, uint64_t word, uint64_t mask)
{
	uint64_t fresh = mask & ~track->words[word];

	if (!fresh)
		return;
	track->words[word] |= fresh;
	track->dirty += (unsigned)__builtin_popcountll(fresh);
	ob_bit_set(track->summary, word);
}

void ob_track_mark(struct ob_track *track, uint64_t start, uint64_t end)
{
	uint64_t block = start >> track->shift;
	uint64_t last = (end - 1) >> track->shift;
	uint64_t from = ~UINT64_C(0) << block % 64;
	uint64_t to = ~UINT64_C(0) >> (63 - last % 64);

	for (uint64_t word = block / 64; word <= last / 64; word++) {
		mark_word(track, word,
			  from & (word == last / 64 ? to : ~UINT64_C(0)));
		from = ~UINT64_C(0);
	}
}

/* The first set bit at or after bit, or limit. */
static uint64_t next_set(const uint64_t *map, uint64_t bit, uint64_t limit)
{
	uint64_t word = bit / 64;
	uint64_t bits = bit < limit ? map[word] >> bit % 64 << bit % 64 : 0;

	while (!bits && ++word < OB_BITMAP_WORDS(limit))
		bits = map[word];
	return bits ? word * 64 + (unsigned)__builtin_ctzll(bits) : limit;
}

/* The first changed block at or after block, or track->blocks. */
static uint64_t next_block(const struct ob_track *track, uint64_t block)
{
	uint64_t word = block / 64, bits;

	if (block >= track->blocks)
		return track->blocks;
	bits = track->words[word] >> block % 64 << block % 64;
	if (!bits) {
		word = next_set(track->summary, word + 1, nr_words(track));
		if (word == nr_words(track))
			return track->blocks;
		bits = track->words[word];
	}
	return word * 64 + (unsigned)__builtin_ctzll(bits);
}

static void unmark(struct ob_track *track, uint64_t block)
{
	ob_bit_clear(track->words, block);
	if (!track->words[block / 64])
		ob_bit_clear(track->summary, block / 64);
	track->dirty--;
}

bool ob_track_pull(struct ob_track *track, uint64_t max, uint64_t *block,
		   uint64_t *count)
{
	uint64_t at;

	if (!track->dirty)
		return false;
	at = next_block(track, track->cursor);
	if (at == track->blocks)
		at = next_block(track, 0);
	*block = at;
	do
		unmark(track, at++);
	while (at - *block < max && at < track->blocks &&
	       ob_bit_test(track->words, at));
	*count = at - *block;
	track->cursor = at;
	return true;
}
