// SPDX-License-Identifier: BSD-3-Clause
/* A number for each of some pages, against a plain array of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/page_map.h"

#define PAGES 1500u
#define LAST ((UINT64_C(1) << 52) - 1)

static uint32_t dice = 1;

static uint32_t roll(uint32_t sides)
{
	dice = dice * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(dice >> 8) * sides >> 24);
}

/* Those of a few chunks, some of them far away. */
static uint64_t page_of(unsigned i)
{
	static const uint64_t bases[] = {
		0, (1u << 18) - 100, 1u << 20, UINT64_C(1) << 40, LAST - 299,
	};

	return bases[i / 300] + i % 300;
}

static void it_is_like_an_array(void **state)
{
	uint64_t values[PAGES] = { 0 }, page, value, count = 0;
	struct ob_page_map map = { 0 };
	unsigned i, n;

	(void)state;
	for (n = 0; n < 20000; n++) {
		i = roll(PAGES);
		page = page_of(i);
		assert_int_equal(ob_page_map_get(&map, page, &value),
				 values[i] != 0);
		if (values[i])
			assert_int_equal(value, values[i]);
		if (roll(3)) {
			count += !values[i];
			values[i] = n + 1;
			assert_int_equal(ob_page_map_set(&map, page, n + 1), 0);
		} else {
			assert_int_equal(ob_page_map_clear(&map, page),
					 values[i] != 0);
			count -= values[i] != 0;
			values[i] = 0;
		}
		assert_int_equal(map.count, count);
	}
	for (i = 0, page = 0; ob_page_map_next(&map, &page, &value); i++, page++) {
		while (!values[i])
			i++;
		assert_true(i < PAGES);
		assert_int_equal(page, page_of(i));
		assert_int_equal(value, values[i]);
	}
	while (i < PAGES && !values[i])
		i++;
	assert_int_equal(i, PAGES);
	ob_page_map_finish(&map);
	assert_int_equal(map.count, 0);
}

static void an_empty_one(void **state)
{
	struct ob_page_map map = { 0 };
	uint64_t page = 0, value;

	(void)state;
	assert_false(ob_page_map_next(&map, &page, &value));
	assert_false(ob_page_map_get(&map, 7, &value));
	assert_false(ob_page_map_clear(&map, 7));
	ob_page_map_finish(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_like_an_array),
		cmocka_unit_test(an_empty_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
