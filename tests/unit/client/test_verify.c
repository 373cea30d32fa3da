// SPDX-License-Identifier: BSD-3-Clause
/* The bench's oracle must find what a bad disk does, and nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hist.h"
#include "verify.h"

#define SECTOR 512u
#define SECTORS 8u
#define SIZE (SECTOR * SECTORS)
#define NR_BLOCKS 16u

static struct verify v;
static uint8_t disk[NR_BLOCKS][SIZE];

static int setup(void **state)
{
	(void)state;
	memset(disk, 0, sizeof(disk));
	return verify_init(&v, NR_BLOCKS, SECTOR, SECTORS, 0x1234, NULL);
}

static int teardown(void **state)
{
	(void)state;
	verify_finish(&v);
	return 0;
}

static void write_block(uint64_t block)
{
	verify_begin_write(&v, block, disk[block]);
	verify_end_write(&v, block, true);
}

static int read_block(uint64_t block, uint32_t at_least, struct ob_err *err)
{
	return verify_check(&v, block, at_least, disk[block], err);
}

static void finds(uint64_t block, const char *words)
{
	struct ob_err err = { 0 };

	assert_int_equal(read_block(block, verify_begin_read(&v, block), &err),
			 -EILSEQ);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void good_disk(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t b = 0; b < NR_BLOCKS; b++)
			write_block(b);
	for (uint64_t b = 0; b < NR_BLOCKS; b++)
		assert_int_equal(read_block(b, verify_begin_read(&v, b),
					    NULL), 0);
	assert_int_equal(v.checked, NR_BLOCKS * SECTORS);
	assert_int_equal(v.unknown, 0);
}

static void what_is_not_ours(void **state)
{
	(void)state;
	assert_int_equal(read_block(3, verify_begin_read(&v, 3), NULL), 0);
	assert_int_equal(v.unknown, SECTORS);
}

static void lost_write(void **state)
{
	uint8_t old[SIZE];

	(void)state;
	write_block(2);
	memcpy(old, disk[2], SIZE);
	write_block(2);
	memcpy(disk[2], old, SIZE);
	finds(2, "holds version 1 where 2 to 2 may be");
	memset(disk[2], 0, SIZE);
	finds(2, "none of our data");
}

static void lost_part_of_a_write(void **state)
{
	uint8_t old[SIZE];

	(void)state;
	write_block(2);
	memcpy(old, disk[2], SIZE);
	write_block(2);
	memcpy(disk[2] + SIZE - SECTOR, old + SIZE - SECTOR, SECTOR);
	finds(2, "lba 23 holds version 1");
}

static void misplaced_write(void **state)
{
	(void)state;
	write_block(4);
	write_block(5);
	memcpy(disk[5], disk[4], SIZE);
	finds(5, "lba 40 holds what was written to lba 32");
	/* Also where nothing of ours should be. */
	memcpy(disk[6], disk[4], SIZE);
	finds(6, "lba 48 holds what was written to lba 32");
}

static void flipped_bit(void **state)
{
	(void)state;
	for (size_t at = 8; at < SECTOR; at += 61) {
		write_block(1);
		disk[1][at] ^= 0x10;
		finds(1, "lba 8");
	}
}

static void reads_beside_a_write(void **state)
{
	uint8_t old[SIZE];
	uint32_t at_least;

	(void)state;
	write_block(7);
	memcpy(old, disk[7], SIZE);
	at_least = verify_begin_read(&v, 7);
	verify_begin_write(&v, 7, disk[7]);
	assert_false(verify_may_write(&v, 7));
	/* New, old, and a mixture of both are right. */
	assert_int_equal(read_block(7, at_least, NULL), 0);
	memcpy(disk[7] + SECTOR, old + SECTOR, 3 * SECTOR);
	assert_int_equal(read_block(7, at_least, NULL), 0);
	memcpy(disk[7], old, SIZE);
	assert_int_equal(read_block(7, at_least, NULL), 0);
	/* A read that begins after the write is not content with the old. */
	verify_end_write(&v, 7, true);
	assert_true(verify_may_write(&v, 7));
	assert_int_equal(read_block(7, at_least, NULL), 0);
	finds(7, "version 1 where 2 to 2");
}

static void failed_write(void **state)
{
	uint8_t old[SIZE];

	(void)state;
	write_block(8);
	memcpy(old, disk[8], SIZE);
	verify_begin_write(&v, 8, disk[8]);
	verify_end_write(&v, 8, false);
	assert_false(verify_may_write(&v, 8));
	assert_int_equal(read_block(8, verify_begin_read(&v, 8), NULL), 0);
	memcpy(disk[8], old, SIZE);
	assert_int_equal(read_block(8, verify_begin_read(&v, 8), NULL), 0);
}

static void earlier_run(void **state)
{
	struct verify other;

	(void)state;
	assert_int_equal(verify_init(&other, NR_BLOCKS, SECTOR, SECTORS,
				     0x9999, NULL), 0);
	verify_begin_write(&other, 9, disk[9]);
	assert_int_equal(read_block(9, 0, NULL), 0);
	assert_int_equal(v.unknown, SECTORS);
	write_block(9);
	verify_end_write(&other, 9, true);
	verify_begin_write(&other, 9, disk[9]);
	finds(9, "earlier run");
	verify_finish(&other);
}

static void percentiles(void **state)
{
	struct hist h = { 0 };

	(void)state;
	assert_int_equal(hist_percentile(&h, 0.5), 0);
	for (uint64_t i = 1; i <= 100000; i++)
		hist_add(&h, i * 100);
	assert_in_range(hist_percentile(&h, 0.5), 4850000, 5150000);
	assert_in_range(hist_percentile(&h, 0.99), 9600000, 10000000);
	assert_int_equal(hist_percentile(&h, 1.0), 10000000);
	assert_int_equal(h.min, 100);
	assert_true(hist_mean(&h) > 5000049 && hist_mean(&h) < 5000051);
	/* The ends of the scale have buckets. */
	hist_add(&h, 0);
	hist_add(&h, UINT64_MAX);
	assert_int_equal(h.max, UINT64_MAX);
	assert_int_equal(hist_percentile(&h, 0.0), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(good_disk), TEST(what_is_not_ours), TEST(lost_write),
		TEST(lost_part_of_a_write), TEST(misplaced_write),
		TEST(flipped_bit), TEST(reads_beside_a_write),
		TEST(failed_write), TEST(earlier_run),
		cmocka_unit_test(percentiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
