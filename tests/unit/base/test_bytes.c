// SPDX-License-Identifier: BSD-3-Clause
#include "unit.h"

#include <base/bitmap.h>
#include <base/bytes.h>

#include <errno.h>
#include <string.h>

static void test_what_is_put_is_got_at_any_alignment(void **state)
{
	uint8_t buf[32], zeros[3], text[2];
	struct ob_writer wr;
	struct ob_reader rd;
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;
	uint8_t v8;

	(void)state;
	memset(buf, 0xff, sizeof(buf));
	ob_writer_init(&wr, buf, 20);
	assert_int_equal(ob_put_u8(&wr, 0x12), 0);
	assert_int_equal(ob_put_u64(&wr, 0x1122334455667788), 0);
	assert_int_equal(ob_put_u32(&wr, 0xdeadbeef), 0);
	assert_int_equal(ob_put_u16(&wr, 0xcafe), 0);
	assert_int_equal(ob_put_bytes(&wr, "hi", 2), 0);
	assert_int_equal(ob_put_zeros(&wr, 3), 0);
	assert_int_equal(ob_writer_len(&wr), 20);

	ob_reader_init(&rd, buf, 20);
	assert_int_equal(ob_get_u8(&rd, &v8), 0);
	assert_int_equal(ob_get_u64(&rd, &v64), 0);
	assert_int_equal(ob_get_u32(&rd, &v32), 0);
	assert_int_equal(ob_get_u16(&rd, &v16), 0);
	assert_int_equal(ob_get_bytes(&rd, text, 2), 0);
	assert_int_equal(ob_get_bytes(&rd, zeros, 3), 0);
	assert_int_equal(ob_reader_left(&rd), 0);
	assert_int_equal(v8, 0x12);
	assert_int_equal(v64, 0x1122334455667788);
	assert_int_equal(v32, 0xdeadbeef);
	assert_int_equal(v16, 0xcafe);
	assert_memory_equal(text, "hi", 2);
	assert_memory_equal(zeros, "\0\0\0", 3);
	assert_int_equal(buf[20], 0xff);
}

static void test_a_getter_that_fails_consumes_nothing(void **state)
{
	const uint8_t bytes[3] = { 1, 2, 3 };
	const uint8_t *view = NULL;
	struct ob_reader rd;
	uint8_t out[8];
	uint64_t v64 = 7;
	uint32_t v32 = 7;
	uint16_t v16;

	(void)state;
	ob_reader_init(&rd, bytes, sizeof(bytes));
	assert_int_equal(ob_get_u32(&rd, &v32), -EBADMSG);
	assert_int_equal(ob_get_u64(&rd, &v64), -EBADMSG);
	assert_int_equal(ob_get_bytes(&rd, out, 4), -EBADMSG);
	assert_int_equal(ob_get_view(&rd, &view, SIZE_MAX), -EBADMSG);
	assert_int_equal(ob_skip(&rd, 4), -EBADMSG);
	assert_int_equal(ob_reader_left(&rd), 3);
	assert_int_equal(v32, 7);
	assert_int_equal(v64, 7);
	assert_null(view);

	assert_int_equal(ob_skip(&rd, 1), 0);
	assert_int_equal(ob_get_view(&rd, &view, 1), 0);
	assert_ptr_equal(view, &bytes[1]);
	assert_int_equal(ob_get_u16(&rd, &v16), -EBADMSG);
	assert_int_equal(ob_skip(&rd, 1), 0);
	assert_int_equal(ob_skip(&rd, 0), 0);
	assert_int_equal(ob_skip(&rd, 1), -EBADMSG);
}

static void test_an_empty_reader_and_writer(void **state)
{
	struct ob_reader rd;
	struct ob_writer wr;
	uint8_t v;

	(void)state;
	ob_reader_init(&rd, NULL, 0);
	assert_int_equal(ob_get_bytes(&rd, NULL, 0), 0);
	assert_int_equal(ob_get_u8(&rd, &v), -EBADMSG);
	ob_writer_init(&wr, NULL, 0);
	assert_int_equal(ob_put_bytes(&wr, NULL, 0), 0);
	assert_int_equal(ob_put_zeros(&wr, 0), 0);
	assert_int_equal(ob_put_u8(&wr, 1), -ENOSPC);
}

static void test_a_putter_that_fails_writes_nothing(void **state)
{
	uint8_t buf[4] = { 9, 9, 9, 9 };
	struct ob_writer wr;

	(void)state;
	ob_writer_init(&wr, buf, 3);
	assert_int_equal(ob_put_u32(&wr, 0), -ENOSPC);
	assert_int_equal(ob_put_zeros(&wr, 4), -ENOSPC);
	assert_int_equal(ob_put_bytes(&wr, buf, SIZE_MAX), -ENOSPC);
	assert_int_equal(ob_writer_len(&wr), 0);
	assert_memory_equal(buf, "\t\t\t\t", 4);
	assert_int_equal(ob_put_u16(&wr, 0), 0);
	assert_int_equal(ob_put_u16(&wr, 0), -ENOSPC);
	assert_int_equal(ob_put_u8(&wr, 0), 0);
	assert_int_equal(buf[3], 9);
}

#define BITS 200

/* Every start and length, against one bit at a time. */
static void test_ranges_set_and_clear_exactly_their_bits(void **state)
{
	uint64_t set[OB_BITMAP_WORDS(BITS)], clear[OB_BITMAP_WORDS(BITS)];

	(void)state;
	for (size_t at = 0; at < BITS; at += 7) {
		for (size_t n = 0; at + n <= BITS; n += 5) {
			memset(set, 0, sizeof(set));
			memset(clear, 0xff, sizeof(clear));
			ob_bits_set(set, at, n);
			ob_bits_clear(clear, at, n);
			for (size_t i = 0; i < BITS; i++) {
				bool inside = i >= at && i < at + n;

				assert_int_equal(ob_bit_test(set, i), inside);
				assert_int_equal(ob_bit_test(clear, i),
						 !inside);
			}
		}
	}
}

static size_t find_slowly(const uint64_t *map, size_t limit, size_t count)
{
	for (size_t at = 0, run = 0; at < limit; at++) {
		run = ob_bit_test(map, at) ? 0 : run + 1;
		if (run >= count)
			return at + 1 - run;
	}
	return limit;
}

static void test_find_clear_agrees_with_a_slow_search(void **state)
{
	uint64_t map[OB_BITMAP_WORDS(BITS)];
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 200; round++) {
		memset(map, 0, sizeof(map));
		for (int i = 0; i < round; i++) {
			seed = seed * 1103515245 + 12345;
			ob_bit_set(map, (seed >> 8) % BITS);
		}
		for (size_t count = 1; count < 80; count += 3)
			for (size_t limit = 0; limit <= BITS; limit += 25)
				assert_int_equal(
					ob_bits_find_clear(map, limit, count),
					find_slowly(map, limit, count));
	}
}

static void test_one_bit_is_cleared_alone(void **state)
{
	uint64_t map[2] = { ~UINT64_C(0), ~UINT64_C(0) };

	(void)state;
	ob_bit_clear(map, 64);
	assert_false(ob_bit_test(map, 64));
	assert_true(map[0] == ~UINT64_C(0) && map[1] == ~UINT64_C(1));
	assert_int_equal(ob_bits_find_clear(map, 128, 1), 64);
	assert_int_equal(ob_bits_find_clear(map, 128, 2), 128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_put_is_got_at_any_alignment),
		cmocka_unit_test(test_a_getter_that_fails_consumes_nothing),
		cmocka_unit_test(test_an_empty_reader_and_writer),
		cmocka_unit_test(test_a_putter_that_fails_writes_nothing),
		cmocka_unit_test(
			test_ranges_set_and_clear_exactly_their_bits),
		cmocka_unit_test(test_find_clear_agrees_with_a_slow_search),
		cmocka_unit_test(test_one_bit_is_cleared_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
