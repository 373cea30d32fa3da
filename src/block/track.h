/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An account of blocks that changed.  A bit for each block, at most 2^21 of
 * them whatever the size (blocks are 4 KiB up to 8 GiB), and above them a bit
 * for each word that is not 0, so that finding the next block takes a time
 * that does not grow with what is unchanged.
 */
#ifndef OB_BLOCK_TRACK_H
#define OB_BLOCK_TRACK_H

#include <stdbool.h>
#include <stdint.h>

struct ob_track {
	unsigned shift;			/* log2 of the block size */
	uint64_t blocks, dirty;		/* all of them; set bits */
	uint64_t cursor;		/* where to look for the next */
	uint64_t *words, *summary;
};

/* All clean.  0 or -ENOMEM. */
int ob_track_init(struct ob_track *track, uint64_t size);
void ob_track_finish(struct ob_track *track);
void ob_track_clear(struct ob_track *track);

/* Every block that has a byte in [start, end), which is not empty. */
void ob_track_mark(struct ob_track *track, uint64_t start, uint64_t end);

/*
 * Takes the next up to max neighbours off the account, going round: what is
 * marked again and again waits for its turn.  False: the account is empty.
 */
bool ob_track_pull(struct ob_track *track, uint64_t max, uint64_t *block,
		   uint64_t *count);

#endif
