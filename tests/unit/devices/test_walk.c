// SPDX-License-Identifier: BSD-3-Clause
/*
 * The PRP and SGL walker against a small fake guest memory: the rules one by
 * one, and random lists against a reference that was written separately, as
 * plain recursion over the same memory, with no thought for speed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "devices/nvme/walk.h"

#define PAGE	4096u
#define BASE	0x40000000ull		/* where the fake memory lies */
#define SIZE	(64 * PAGE)

enum {
	INVALID_FIELD = 0x02, DATA_TRANSFER = 0x04, SGL_SEGMENT_BAD = 0x0d,
	SGL_COUNT_BAD = 0x0e, SGL_LENGTH_BAD = 0x0f, SGL_TYPE_BAD = 0x11,
	PRP_OFFSET_BAD = 0x13,
};

static uint8_t memory[SIZE];
static struct nvme_walk walk;
static unsigned reads;

static void put64(uint64_t addr, uint64_t v)
{
	memcpy(memory + (addr - BASE), &v, 8);
}

static void put_sgl(void *where, uint64_t addr, uint32_t len, uint8_t type)
{
	uint8_t *at = where;

	memset(at, 0, 16);
	memcpy(at, &addr, 8);
	memcpy(at + 8, &len, 4);
	at[15] = type;
}

static void mem_sgl(uint64_t at, uint64_t addr, uint32_t len, uint8_t type)
{
	put_sgl(memory + (at - BASE), addr, len, type);
}

static bool in_memory(uint64_t addr, uint64_t len)
{
	return addr >= BASE && len <= SIZE && addr - BASE <= SIZE - len;
}

/* As a device does it; memory that is not there is a data transfer error. */
static int run(const uint8_t dptr[16], unsigned psdt, uint32_t length,
	       uint32_t page)
{
	int rc;

	memset(&walk, 0xa5, sizeof(walk));
	reads = 0;
	rc = nvme_walk_start(&walk, dptr, psdt, length, page);
	while (rc == -EAGAIN) {
		assert_in_range(walk.need.len, 1, NVME_WALK_LIST);
		assert_in_range(++reads, 1, NVME_WALK_READS);
		if (!in_memory(walk.need.addr, walk.need.len))
			return DATA_TRANSFER;
		memcpy(walk.list, memory + (walk.need.addr - BASE),
		       walk.need.len);
		rc = nvme_walk_next(&walk);
	}
	return rc;
}

static int run_prp(uint64_t prp1, uint64_t prp2, uint32_t length)
{
	uint8_t dptr[16];

	memcpy(dptr, &prp1, 8);
	memcpy(dptr + 8, &prp2, 8);
	return run(dptr, 0, length, PAGE);
}

static int run_sgl(uint64_t addr, uint32_t len, uint8_t type, uint32_t length)
{
	uint8_t dptr[16];

	put_sgl(dptr, addr, len, type);
	return run(dptr, 1, length, PAGE);
}

static void expect_segs(unsigned count, const struct ob_seg *segs)
{
	assert_int_equal(walk.count, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(walk.segs[i].addr, segs[i].addr);
		assert_int_equal(walk.segs[i].len, segs[i].len);
	}
}

#define EXPECT(...) expect_segs(                                              \
	sizeof((struct ob_seg[]){ __VA_ARGS__ }) / sizeof(struct ob_seg),     \
	(struct ob_seg[]){ __VA_ARGS__ })

static void prp_without_list(void **state)
{
	(void)state;
	assert_int_equal(run_prp(0x1000, 0, PAGE), 0);
	EXPECT({ 0x1000, PAGE });
	/* The second entry is not looked at when the first is enough. */
	assert_int_equal(run_prp(0x1004, 1, PAGE - 4), 0);
	EXPECT({ 0x1004, PAGE - 4 });
	assert_int_equal(run_prp(0x1004, 0x8000, PAGE), 0);
	EXPECT({ 0x1004, PAGE - 4 }, { 0x8000, 4 });
	assert_int_equal(run_prp(0x1ffc, 0x8000, PAGE + 4), 0);
	EXPECT({ 0x1ffc, 4 }, { 0x8000, PAGE });
	assert_int_equal(reads, 0);
}

static void no_data_needs_no_pointer(void **state)
{
	uint8_t junk[16];

	(void)state;
	memset(junk, 0xff, 16);
	assert_int_equal(run(junk, 0, 0, PAGE), 0);
	assert_int_equal(walk.count, 0);
	assert_int_equal(run(junk, 1, 0, PAGE), 0);
	assert_int_equal(walk.count, 0);
}

static void touching_pages_are_one_piece(void **state)
{
	(void)state;
	assert_int_equal(run_prp(0x1800, 0x2000, PAGE), 0);
	EXPECT({ 0x1800, PAGE });
	for (unsigned i = 0; i < 16; i++)
		put64(BASE + 8 * i, 0x2000 + i * PAGE);
	put64(BASE + 8 * 7, 0x100000);
	assert_int_equal(run_prp(0x1000, BASE, 10 * PAGE), 0);
	EXPECT({ 0x1000, 8 * PAGE }, { 0x100000, PAGE }, { 0xa000, PAGE });
}

static void prp_offsets_are_checked(void **state)
{
	(void)state;
	assert_int_equal(run_prp(0x1002, 0, 512), PRP_OFFSET_BAD);
	assert_int_equal(run_prp(0x1001, 0, 512), PRP_OFFSET_BAD);
	/* Only the first entry may have an offset ... */
	assert_int_equal(run_prp(0x1000, 0x2004, 2 * PAGE), PRP_OFFSET_BAD);
	put64(BASE, 0x3000);
	put64(BASE + 8, 0x4800);
	assert_int_equal(run_prp(0x1000, BASE, 3 * PAGE), PRP_OFFSET_BAD);
	/* ... and a list begins at a multiple of eight. */
	assert_int_equal(run_prp(0x1000, BASE + 4, 3 * PAGE), PRP_OFFSET_BAD);
}

/* R15: zero is not "the page after the previous one". */
static void test_r15_zero_prp_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(run_prp(0, 0x2000, 512), INVALID_FIELD);
	assert_int_equal(run_prp(0x1000, 0, 2 * PAGE), INVALID_FIELD);
	assert_int_equal(run_prp(0x1000, 0, 3 * PAGE), INVALID_FIELD);
	put64(BASE, 0x3000);
	put64(BASE + 8, 0);
	assert_int_equal(run_prp(0x1000, BASE, 3 * PAGE), INVALID_FIELD);
	put64(BASE + PAGE - 8, 0);
	assert_int_equal(run_prp(0x1000, BASE + PAGE - 8, 3 * PAGE),
			 INVALID_FIELD);
}

static void prp_list_chains_at_the_page_end(void **state)
{
	uint64_t at = BASE + PAGE - 16;

	(void)state;
	/* Two entries fit: with three pages left the second is a pointer. */
	put64(at, 0x10000);
	put64(at + 8, BASE + 2 * PAGE);
	put64(BASE + 2 * PAGE, 0x20000);
	put64(BASE + 2 * PAGE + 8, 0x30000);
	assert_int_equal(run_prp(0x1000, at, 4 * PAGE), 0);
	EXPECT({ 0x1000, PAGE }, { 0x10000, PAGE }, { 0x20000, PAGE },
	       { 0x30000, PAGE });
	assert_int_equal(reads, 2);
	/* With two pages left it is the last page of the data. */
	assert_int_equal(run_prp(0x1000, at, 3 * PAGE), 0);
	EXPECT({ 0x1000, PAGE }, { 0x10000, PAGE },
	       { BASE + 2 * PAGE, PAGE });
	/* No entry is fetched that the data does not need. */
	assert_int_equal(walk.need.len, 16);
	/* A chained list begins at its page's start. */
	put64(at + 8, BASE + 2 * PAGE + 8);
	assert_int_equal(run_prp(0x1000, at, 4 * PAGE), PRP_OFFSET_BAD);
}

/* R15: a list page whose last entry is the page itself. */
static void test_r15_prp_list_that_points_to_itself(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 511; i++)
		put64(BASE + 8 * i, 0x100000 + (uint64_t)i * 2 * PAGE);
	put64(BASE + 8 * 511, BASE);
	assert_int_equal(run_prp(0x1000, BASE, 1024 * PAGE), INVALID_FIELD);
	assert_in_range(reads, 1, NVME_WALK_READS);
	/* All pages touching: one piece for ever, and still bounded. */
	for (unsigned i = 0; i < 511; i++)
		put64(BASE + 8 * i, 0x1000 + i * PAGE);
	assert_int_equal(run_prp(0x1000, BASE, UINT32_MAX), INVALID_FIELD);
	assert_in_range(reads, 1, NVME_WALK_READS);
}

static void prp_list_that_is_not_there(void **state)
{
	(void)state;
	assert_int_equal(run_prp(0x1000, BASE + SIZE, 3 * PAGE),
			 DATA_TRANSFER);
	assert_int_equal(run_prp(0x1000, ~7ull, 3 * PAGE), DATA_TRANSFER);
}

static void prp_at_the_end_of_the_address_space(void **state)
{
	(void)state;
	assert_int_equal(run_prp(-(uint64_t)PAGE, 0, PAGE), DATA_TRANSFER);
	assert_int_equal(run_prp(-(uint64_t)PAGE, 0, PAGE - 4), 0);
	EXPECT({ -(uint64_t)PAGE, PAGE - 4 });
}

static void larger_pages(void **state)
{
	const uint32_t page = 65536;
	uint64_t prp[2] = { 0x10000 + 4096, BASE + 32768 };

	(void)state;
	/* 640 entries come in two reads, though in one page of 64 KiB. */
	_Static_assert(SIZE >= 32768 + 640 * 8, "fits");
	for (unsigned i = 0; i < 640; i++)
		put64(BASE + 32768 + 8 * i, 0x1000000 + (uint64_t)i * page);
	assert_int_equal(run((uint8_t *)prp, 0, 640 * page, page), 0);
	EXPECT({ 0x11000, page - 4096 }, { 0x1000000, 639 * page + 4096 });
	assert_int_equal(reads, 2);
	prp[1] = BASE + PAGE;
	assert_int_equal(run((uint8_t *)prp, 0, page + 512, page),
			 PRP_OFFSET_BAD);
}

static void sgl_data_block(void **state)
{
	(void)state;
	assert_int_equal(run_sgl(0x1001, 513, 0x00, 513), 0);
	EXPECT({ 0x1001, 513 });
	assert_int_equal(run_sgl(0x1000, 8192, 0x00, 4096), 0);
	EXPECT({ 0x1000, 4096 });
	assert_int_equal(run_sgl(0x1000, 4095, 0x00, 4096), SGL_LENGTH_BAD);
	assert_int_equal(run_sgl(0x1000, 0, 0x00, 4096), SGL_LENGTH_BAD);
	assert_int_equal(run_sgl(-(uint64_t)4096, 4096, 0x00, 512),
			 DATA_TRANSFER);
}

static void sgl_types_that_are_not_claimed(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		if (type == 0x00 || type == 0x20 || type == 0x30)
			continue;
		assert_int_equal(run_sgl(0x1000, 4096, type, 4096),
				 SGL_TYPE_BAD);
	}
}

static void data_transfer_types_that_are_not_claimed(void **state)
{
	uint8_t dptr[16];

	(void)state;
	put_sgl(dptr, 0x1000, 4096, 0x00);
	assert_int_equal(run(dptr, 2, 4096, PAGE), INVALID_FIELD);
	assert_int_equal(run(dptr, 3, 4096, PAGE), INVALID_FIELD);
}

static void sgl_segments(void **state)
{
	(void)state;
	mem_sgl(BASE, 0x1000, 100, 0x00);
	mem_sgl(BASE + 16, 0x1064, 28, 0x00);	/* touches */
	mem_sgl(BASE + 32, 0x9999, 0, 0x00);	/* empty, skipped */
	mem_sgl(BASE + 48, BASE + 256, 32, 0x30);
	mem_sgl(BASE + 256, 0x5003, 300, 0x00);
	mem_sgl(BASE + 272, 0x7000, 84, 0x00);
	assert_int_equal(run_sgl(BASE, 64, 0x20, 512), 0);
	EXPECT({ 0x1000, 128 }, { 0x5003, 300 }, { 0x7000, 84 });
	assert_int_equal(reads, 2);
	/* Described before the chain goes on: the rest is not fetched. */
	assert_int_equal(run_sgl(BASE, 64, 0x20, 128), 0);
	EXPECT({ 0x1000, 128 });
	assert_int_equal(reads, 1);
	assert_int_equal(run_sgl(BASE, 64, 0x20, 513), SGL_LENGTH_BAD);
	assert_int_equal(run_sgl(BASE + 256, 32, 0x30, 384), 0);
	assert_int_equal(run_sgl(BASE + 256, 32, 0x20, 384), 0);
}

static void sgl_segment_longer_than_a_read(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 600; i++)
		mem_sgl(BASE + 16 * i, 0x100000 + i * 16, 16, 0x00);
	assert_int_equal(run_sgl(BASE, 600 * 16, 0x30, 600 * 16), 0);
	EXPECT({ 0x100000, 600 * 16 });
	assert_int_equal(reads, 3);
}

static void sgl_segment_descriptors_are_checked(void **state)
{
	(void)state;
	mem_sgl(BASE, 0x1000, 512, 0x00);
	assert_int_equal(run_sgl(BASE, 0, 0x30, 512), SGL_SEGMENT_BAD);
	assert_int_equal(run_sgl(BASE, 15, 0x30, 512), SGL_SEGMENT_BAD);
	assert_int_equal(run_sgl(BASE, 17, 0x20, 512), SGL_SEGMENT_BAD);
	assert_int_equal(run_sgl(BASE + 4, 16, 0x30, 512), SGL_SEGMENT_BAD);
	assert_int_equal(run_sgl(-(uint64_t)16, 16, 0x30, 512), DATA_TRANSFER);
	assert_int_equal(run_sgl(BASE + SIZE, 16, 0x30, 512), DATA_TRANSFER);
	/* A last segment has no successor. */
	mem_sgl(BASE + 16, BASE + 64, 16, 0x30);
	assert_int_equal(run_sgl(BASE, 32, 0x30, 1024), SGL_SEGMENT_BAD);
	mem_sgl(BASE + 16, BASE + 64, 16, 0x20);
	assert_int_equal(run_sgl(BASE, 32, 0x30, 1024), SGL_SEGMENT_BAD);
	/* A segment descriptor in the middle. */
	mem_sgl(BASE, BASE + 64, 16, 0x30);
	mem_sgl(BASE + 16, 0x1000, 512, 0x00);
	assert_int_equal(run_sgl(BASE, 32, 0x20, 512), SGL_COUNT_BAD);
}

/* R15: chains without an end, with and without data on the way. */
static void test_r15_sgl_that_points_to_itself(void **state)
{
	(void)state;
	mem_sgl(BASE, BASE, 16, 0x20);
	assert_int_equal(run_sgl(BASE, 16, 0x20, 512), SGL_COUNT_BAD);
	assert_int_equal(reads, NVME_WALK_READS);
	mem_sgl(BASE, 0x1000, 0, 0x00);
	mem_sgl(BASE + 16, BASE, 32, 0x20);
	assert_int_equal(run_sgl(BASE, 32, 0x20, 512), SGL_COUNT_BAD);
	/* One byte at a time from one place cannot be merged. */
	mem_sgl(BASE, 0x1000, 1, 0x00);
	assert_int_equal(run_sgl(BASE, 32, 0x20, 4096), SGL_COUNT_BAD);
}

static void test_r15_endless_empty_blocks(void **state)
{
	(void)state;
	memset(memory, 0, SIZE);
	assert_int_equal(run_sgl(BASE, SIZE, 0x30, 512), SGL_COUNT_BAD);
	assert_in_range(reads, 1, NVME_WALK_DESCRIPTORS / 256 + 1);
}

static void too_many_pieces(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < NVME_WALK_SEGS + 1; i++)
		mem_sgl(BASE + 16 * i, 0x100000 + 1024 * i, 512, 0x00);
	assert_int_equal(run_sgl(BASE, 16 * i, 0x30, 512 * (i - 1)), 0);
	assert_int_equal(walk.count, NVME_WALK_SEGS);
	assert_int_equal(run_sgl(BASE, 16 * i, 0x30, 512 * i), SGL_COUNT_BAD);
}

/* The reference. */

struct ref {
	struct ob_seg pieces[4096];	/* not merged */
	unsigned count, descriptors, reads;
	uint32_t left, page;
};

static uint64_t ref_u64(uint64_t addr)
{
	uint64_t v;

	memcpy(&v, memory + (addr - BASE), 8);
	return v;
}

static int ref_take(struct ref *r, uint64_t addr, uint32_t max)
{
	uint32_t len = r->left < max ? r->left : max;

	if (UINT64_MAX - addr < len)
		return DATA_TRANSFER;
	assert_in_range(r->count, 0, 4095);
	r->pieces[r->count++] = (struct ob_seg){ addr, len };
	r->left -= len;
	return 0;
}

static int ref_prp_list(struct ref *r, uint64_t at)
{
	do {
		uint64_t entry;
		int rc;

		if (!in_memory(at, 8))
			return DATA_TRANSFER;
		entry = ref_u64(at);
		if (entry == 0)
			return INVALID_FIELD;
		if (entry % r->page)
			return PRP_OFFSET_BAD;
		if ((at + 8) % r->page == 0 && r->left > r->page)
			return ref_prp_list(r, entry);
		rc = ref_take(r, entry, r->page);
		if (rc)
			return rc;
		at += 8;
	} while (r->left);
	return 0;
}

static int ref_prp(struct ref *r, uint64_t prp1, uint64_t prp2)
{
	int rc;

	if (prp1 == 0)
		return INVALID_FIELD;
	if (prp1 % 4)
		return PRP_OFFSET_BAD;
	rc = ref_take(r, prp1, r->page - prp1 % r->page);
	if (rc || !r->left)
		return rc;
	if (prp2 == 0)
		return INVALID_FIELD;
	if (r->left > r->page)
		return prp2 % 8 ? PRP_OFFSET_BAD : ref_prp_list(r, prp2);
	if (prp2 % r->page)
		return PRP_OFFSET_BAD;
	return ref_take(r, prp2, r->page);
}

static int ref_sgl(struct ref *r, const uint8_t *d, unsigned nr, bool last)
{
	for (; nr; nr--, d += 16) {
		uint64_t addr;
		uint32_t len;

		if (r->descriptors++ == NVME_WALK_DESCRIPTORS)
			return SGL_COUNT_BAD;
		memcpy(&addr, d, 8);
		memcpy(&len, d + 8, 4);
		if (d[15] == 0x00) {
			if (UINT64_MAX - addr < len)
				return DATA_TRANSFER;
			if (len)
				ref_take(r, addr, len);
			if (!r->left)
				return 0;
		} else if (d[15] != 0x20 && d[15] != 0x30) {
			return SGL_TYPE_BAD;
		} else if (nr > 1) {
			return SGL_COUNT_BAD;
		} else if (last || !len || len % 16 || addr % 8) {
			return SGL_SEGMENT_BAD;
		} else if (r->reads++ == NVME_WALK_READS) {
			return SGL_COUNT_BAD;
		} else if (!in_memory(addr, len)) {
			return DATA_TRANSFER;
		} else {
			return ref_sgl(r, memory + (addr - BASE), len / 16,
				       d[15] == 0x30);
		}
	}
	return SGL_LENGTH_BAD;
}

static unsigned ref_merge(struct ref *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->count; i++) {
		struct ob_seg *s = &r->pieces[i];

		if (n && r->pieces[n - 1].addr + r->pieces[n - 1].len ==
			 s->addr)
			r->pieces[n - 1].len += s->len;
		else
			r->pieces[n++] = *s;
	}
	return n;
}

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

/* How many random lists were good and took this many reads. */
static unsigned good[3];

static void compare(struct ref *r, const uint8_t dptr[16], unsigned psdt,
		    uint32_t length)
{
	int want, got = run(dptr, psdt, length, r->page);
	uint64_t prp[2];

	memcpy(prp, dptr, 16);
	r->count = r->descriptors = r->reads = 0;
	r->left = length;
	want = psdt ? ref_sgl(r, dptr, 1, false) : ref_prp(r, prp[0], prp[1]);
	assert_int_equal(got, want);
	if (want)
		return;
	expect_segs(ref_merge(r), r->pieces);
	good[reads < 2 ? reads : 2]++;
}

/* The generators are worth something: many lists, and chains, are good. */
static void expect_variety(void)
{
	assert_in_range(good[1], 100, UINT32_MAX);
	assert_in_range(good[2], 100, UINT32_MAX);
}

/* An entry that is mostly good, often near another, sometimes wrong. */
static uint64_t random_prp(uint32_t page)
{
	switch (rnd(32)) {
	case 0: return 0;
	case 1: return BASE + rnd(SIZE / 8) * 8ull;
	case 2: return BASE + rnd(SIZE);
	case 3: return -(uint64_t)page;
	default: return BASE + rnd(SIZE / page) * (uint64_t)page;
	}
}

static void random_prp_lists(void **state)
{
	static struct ref r;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t prp[2];

		seed = round;
		r.page = PAGE << rnd(3);
		for (unsigned i = 0; i < 200; i++)
			put64(BASE + rnd(SIZE / 8) * 8ull, random_prp(r.page));
		for (uint64_t at = r.page - 8; at < SIZE && rnd(2);
		     at += r.page)
			put64(BASE + at, random_prp(r.page));
		prp[0] = BASE + rnd(SIZE / 4) * 4ull;
		prp[1] = rnd(2) ? BASE + rnd(SIZE / r.page) * (r.page + 0ull)
				: random_prp(r.page) - 8 * rnd(4);
		compare(&r, (uint8_t *)prp, 0, 1 + rnd(r.page * (1 + rnd(200))));
	}
	expect_variety();
}

static void random_descriptor(void *where)
{
	static const uint8_t types[] = { 0x20, 0x30, 0x20, 0x30, 0x10, 0x01 };
	uint64_t addr = BASE + rnd(SIZE / 16) * 16ull;

	if (rnd(8))
		put_sgl(where, addr, rnd(4) * 16, 0x00);
	else if (rnd(16))
		put_sgl(where, addr, 16 + rnd(40) * 16, types[rnd(4)]);
	else
		put_sgl(where, rnd(2) ? -(uint64_t)rnd(64) : addr + rnd(16),
			rnd(64), types[rnd(6)]);
}

/* A few segments of which each, if it is read that far, leads to the next. */
static void random_chain(uint8_t *at, unsigned segments)
{
	while (segments--) {
		uint32_t nr = 1 + rnd(24);
		uint64_t addr = BASE + rnd(SIZE / 16 - nr) * 16ull;

		put_sgl(at, addr, nr * 16, segments ? 0x20 : 0x30);
		at = memory + (addr - BASE) + 16 * (nr - 1);
	}
}

static void random_sgls(void **state)
{
	static struct ref r = { .page = PAGE };
	uint8_t dptr[16];

	(void)state;
	for (unsigned i = 0; i < SIZE / 16; i++)
		random_descriptor(memory + 16 * i);
	for (unsigned round = 0; round < 20000; round++) {
		seed = round;
		for (unsigned i = 0; i < 50; i++)
			random_descriptor(memory + 16 * rnd(SIZE / 16));
		random_chain(dptr, 1 + rnd(4));
		compare(&r, dptr, 1, 1 + rnd(1 + rnd(4000)));
	}
	expect_variety();
}

static int clear_memory(void **state)
{
	(void)state;
	memset(memory, 0, SIZE);
	memset(good, 0, sizeof(good));
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, clear_memory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(prp_without_list),
		TEST(no_data_needs_no_pointer),
		TEST(touching_pages_are_one_piece),
		TEST(prp_offsets_are_checked),
		TEST(test_r15_zero_prp_is_an_error),
		TEST(prp_list_chains_at_the_page_end),
		TEST(test_r15_prp_list_that_points_to_itself),
		TEST(prp_list_that_is_not_there),
		TEST(prp_at_the_end_of_the_address_space),
		TEST(larger_pages),
		TEST(sgl_data_block),
		TEST(sgl_types_that_are_not_claimed),
		TEST(data_transfer_types_that_are_not_claimed),
		TEST(sgl_segments),
		TEST(sgl_segment_longer_than_a_read),
		TEST(sgl_segment_descriptors_are_checked),
		TEST(test_r15_sgl_that_points_to_itself),
		TEST(test_r15_endless_empty_blocks),
		TEST(too_many_pieces),
		TEST(random_prp_lists),
		TEST(random_sgls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
