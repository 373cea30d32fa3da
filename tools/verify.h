/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks that say what they are.
 *
 * Every byte of a sector follows from (seed, lba, version), which its first
 * words and a CRC name.  The oracle remembers for each block which version was
 * written last and which may be on its way, so a read is right when each of
 * its sectors is whole, at its place, and of a version that was possible
 * between the read's submission and its completion.  A block has at most one
 * write in flight, whose version is one more than the last.
 *
 * A sector is the unit because a device need not write more than one
 * atomically: a read beside a write may see some old and some new ones.
 */
#ifndef TOOLS_VERIFY_H
#define TOOLS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

struct verify_block {
	uint32_t written;	/* version last completed; 0: not by us */
	uint32_t writing;	/* version in flight; 0: none */
	uint32_t seen;		/* highest version that a read found */
};

struct verify {
	uint64_t seed;
	uint64_t nr_blocks;
	uint32_t sector_size, sectors;	/* sectors per block */
	struct verify_block *blocks;
	uint64_t checked, unknown;	/* sectors: as ours; of other origin */
	/* Wrong ones: what was written never came; an older write came after
	   it; not whole, at another place, from the future. */
	uint64_t lost, stale, damaged;
};

int verify_init(struct verify *v, uint64_t nr_blocks, uint32_t sector_size,
		uint32_t sectors, uint64_t seed, struct ob_err *err);
void verify_finish(struct verify *v);

/* Can a write start?  No: another one of this block is on its way. */
bool verify_may_write(const struct verify *v, uint64_t block);
/* Fills buf for the next version, which is then on its way. */
void verify_begin_write(struct verify *v, uint64_t block, void *buf);
/*
 * After a failed write nobody knows which version is there, so both stay
 * right and the block is not written any more.
 */
void verify_end_write(struct verify *v, uint64_t block, bool ok);

/* What a read that starts now may find at least. */
uint32_t verify_begin_read(const struct verify *v, uint64_t block);
/* 0, or -EILSEQ with a message that says what is wrong with which sector. */
int verify_check(struct verify *v, uint64_t block, uint32_t at_least,
		 const void *buf, struct ob_err *err);

#endif
