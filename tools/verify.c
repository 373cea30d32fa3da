// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include <zlib.h>

#include "verify.h"

#define MAGIC 0x6b6c42646f42754full	/* "OuBodBlk" */

struct mark {
	uint64_t magic, seed, lba;
	uint32_t version;
	uint32_t crc;			/* of the sector with 0 here */
};

int verify_init(struct verify *v, uint64_t nr_blocks, uint32_t sector_size,
		uint32_t sectors, uint64_t seed, struct ob_err *err)
{
	size_t size;
	void *p;

	*v = (struct verify){
		.seed = seed, .nr_blocks = nr_blocks,
		.sector_size = sector_size, .sectors = sectors,
	};
	if (__builtin_mul_overflow(nr_blocks, sizeof(*v->blocks), &size))
		return ob_fail(err, E2BIG, "too many blocks to verify");
	/* Pages come into being when their blocks are written. */
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return ob_fail(err, errno, "memory to verify %" PRIu64
			       " blocks: %s", nr_blocks, strerror(errno));
	v->blocks = p;
	return 0;
}

void verify_finish(struct verify *v)
{
	if (v->blocks)
		munmap(v->blocks, v->nr_blocks * sizeof(*v->blocks));
	v->blocks = NULL;
}

static uint32_t crc(uint32_t start, const void *data, size_t len)
{
	return (uint32_t)crc32(start, data, (uInt)len);
}

static uint64_t scramble(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static void fill_sector(uint8_t *sector, uint32_t size, uint64_t seed,
			uint64_t lba, uint32_t version)
{
	struct mark mark = {
		.magic = MAGIC, .seed = seed, .lba = lba, .version = version,
	};
	uint64_t x = scramble(seed ^ scramble(lba ^ (uint64_t)version << 40));

	memcpy(sector, &mark, sizeof(mark));
	for (uint32_t at = sizeof(mark); at < size; at += 8) {
		x += 0x9e3779b97f4a7c15ull;
		memcpy(sector + at, &x, 8);
	}
	mark.crc = crc(0, sector, size);
	memcpy(sector, &mark, sizeof(mark));
}

bool verify_may_write(const struct verify *v, uint64_t block)
{
	return !v->blocks[block].writing;
}

void verify_begin_write(struct verify *v, uint64_t block, void *buf)
{
	struct verify_block *b = &v->blocks[block];
	uint8_t *sector = buf;

	b->writing = b->written + 1;
	for (uint32_t i = 0; i < v->sectors; i++, sector += v->sector_size)
		fill_sector(sector, v->sector_size, v->seed,
			    block * v->sectors + i, b->writing);
}

void verify_end_write(struct verify *v, uint64_t block, bool ok)
{
	struct verify_block *b = &v->blocks[block];

	if (!ok)
		return;
	b->written = b->writing;
	b->writing = 0;
}

uint32_t verify_begin_read(const struct verify *v, uint64_t block)
{
	return v->blocks[block].written;
}

static bool crc_is_right(const struct mark *mark, const uint8_t *sector,
			 uint32_t size)
{
	struct mark blank = *mark;

	blank.crc = 0;
	return mark->crc == crc(crc(0, &blank, sizeof(blank)),
				sector + sizeof(blank), size - sizeof(blank));
}

/* Which of the wrongs it is, from what was seen there before. */
static const char *blame(struct verify *v, const struct verify_block *b,
			 uint32_t found, uint32_t at_least)
{
	if (found >= at_least) {
		v->damaged++;
		return "none such was written";
	}
	if (found < b->seen) {
		v->stale++;
		return "an older write came late";
	}
	v->lost++;
	return "a write was lost or came late";
}

static int check_version(struct verify *v, uint64_t lba, uint32_t found,
			 uint32_t at_least, uint32_t at_most,
			 struct ob_err *err)
{
	struct verify_block *b = &v->blocks[lba / v->sectors];

	if (found >= at_least && found <= at_most) {
		if (found > b->seen)
			b->seen = found;
		v->checked++;
		return 0;
	}
	return ob_fail(err, EILSEQ,
		       "lba %" PRIu64 " holds version %u where %u to %u may "
		       "be: %s", lba, found, at_least, at_most,
		       blame(v, b, found, at_least));
}

/* What is not of this run is right until we write there. */
static int check_unknown(struct verify *v, uint64_t lba, uint32_t at_least,
			 const char *what, struct ob_err *err)
{
	v->unknown++;
	if (!at_least)
		return 0;
	v->lost++;
	return ob_fail(err, EILSEQ, "lba %" PRIu64 " holds %s, version %u of "
		       "this run was written", lba, what, at_least);
}

static int check_sector(struct verify *v, uint64_t lba, uint32_t at_least,
			uint32_t at_most, const uint8_t *sector,
			struct ob_err *err)
{
	struct mark mark;

	memcpy(&mark, sector, sizeof(mark));
	if (mark.magic != MAGIC)
		return check_unknown(v, lba, at_least, "none of our data", err);
	if (!crc_is_right(&mark, sector, v->sector_size)) {
		v->damaged++;
		return ob_fail(err, EILSEQ, "lba %" PRIu64 " is damaged", lba);
	}
	if (mark.lba != lba) {
		v->damaged++;
		return ob_fail(err, EILSEQ,
			       "lba %" PRIu64 " holds what was written to lba "
			       "%" PRIu64, lba, mark.lba);
	}
	if (mark.seed == v->seed)
		return check_version(v, lba, mark.version, at_least, at_most,
				     err);
	return check_unknown(v, lba, at_least, "data of an earlier run", err);
}

int verify_check(struct verify *v, uint64_t block, uint32_t at_least,
		 const void *buf, struct ob_err *err)
{
	const struct verify_block *b = &v->blocks[block];
	uint32_t at_most = b->writing ? b->writing : b->written;
	const uint8_t *sector = buf;

	for (uint32_t i = 0; i < v->sectors; i++, sector += v->sector_size) {
		int r = check_sector(v, block * v->sectors + i, at_least,
				     at_most, sector, err);

		if (r)
			return r;
	}
	return 0;
}
