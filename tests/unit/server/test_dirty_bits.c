// SPDX-License-Identifier: BSD-3-Clause
/* The dirty log alone: chunks, limits, several threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/dirty.h"

#define PAGE OB_DIRTY_PAGE
#define GIB (UINT64_C(1) << 30)
#define TIB (GIB << 10)

static struct ob_dirty *new_log(const struct ob_dirty_range *ranges,
				uint32_t count)
{
	struct ob_dirty *log;

	assert_int_equal(ob_dirty_create(ranges, count, &log), 0);
	return log;
}

static uint64_t take(struct ob_dirty *log, uint64_t iova, uint64_t length,
		     uint64_t page_size, const uint64_t **map)
{
	struct ob_dirty_query query = { iova, length, page_size };
	struct ob_err err = { "" };
	uint64_t n = 0;
	size_t bytes;

	assert_int_equal(ob_dirty_check(&query, &bytes, &err), 0);
	assert_int_equal(ob_dirty_take(log, &query, map), 0);
	for (size_t i = 0; i < bytes / 8; i++)
		n += (uint64_t)__builtin_popcountll((*map)[i]);
	return n;
}

/* Pages of an aligned gibibyte, or of what there is of it. */
static uint64_t count(struct ob_dirty *log, uint64_t iova, uint64_t length)
{
	const uint64_t *map;

	return take(log, iova, length, PAGE, &map);
}

static void what_is_not_covered_is_not_logged(void **arg)
{
	struct ob_dirty *log = new_log(NULL, 0);

	(void)arg;
	ob_dirty_mark(log, 0, PAGE);
	assert_int_equal(ob_dirty_cover(log, GIB, GIB + PAGE - 1), 0);
	ob_dirty_mark(log, GIB - PAGE, 2 * PAGE);
	assert_int_equal(count(log, 0, 2 * GIB), 1);
	ob_dirty_destroy(log);
	ob_dirty_destroy(NULL);
}

/* In an order that puts new ones before, between and around the old. */
static void chunks_may_come_in_any_order(void **arg)
{
	static const struct { uint64_t first, count; } steps[] = {
		{ 700, 3 }, { 5, 1 }, { 2, 2 }, { 3, 6 }, { 699, 5 }, { 0, 1 },
		{ 0, 12 }, { 300, 1 }, { 256, 90 }, { 1 << 20, 1 }, { 701, 1 },
	};
	struct ob_dirty *log = new_log(NULL, 0);
	uint64_t step, i;

	(void)arg;
	for (step = 0; step < sizeof(steps) / sizeof(steps[0]); step++) {
		uint64_t first = steps[step].first * GIB;
		uint64_t len = steps[step].count * GIB;

		assert_int_equal(ob_dirty_cover(log, first, first + len - 1), 0);
		ob_dirty_mark(log, first, len);
	}
	for (i = 1; i < log->nr; i++)
		assert_true(log->chunks[i - 1].index < log->chunks[i].index);
	assert_int_equal(log->nr, 12 + 90 + 5 + 1);
	/* Nothing was lost when chunks moved. */
	for (i = 0; i < 12; i++)
		assert_int_equal(count(log, i * GIB, GIB), GIB / PAGE);
	assert_int_equal(count(log, 256 * GIB, 90 * GIB), 90 * GIB / PAGE);
	assert_int_equal(count(log, 699 * GIB, 5 * GIB), 5 * GIB / PAGE);
	assert_int_equal(count(log, UINT64_C(1) << 50, GIB), GIB / PAGE);
	assert_int_equal(count(log, 0, TIB), 0);
	ob_dirty_destroy(log);
}

/* More chunks than there are hits, and such as share one. */
static void far_addresses_are_kept_apart(void **arg)
{
	struct ob_dirty *log = new_log(NULL, 0);
	uint64_t i;

	(void)arg;
	for (i = 0; i < 1000; i++)
		assert_int_equal(ob_dirty_cover(log, i * 256 * GIB,
						i * 256 * GIB), 0);
	for (i = 0; i < 1000; i++)
		ob_dirty_mark(log, i * 256 * GIB + i * PAGE, 1);
	for (i = 0; i < 1000; i++) {
		const uint64_t *map;

		assert_int_equal(take(log, i * 256 * GIB, GIB, PAGE, &map), 1);
		assert_int_equal(map[i / 64], UINT64_C(1) << (i % 64));
	}
	ob_dirty_destroy(log);
}

static void what_can_be_logged_has_a_limit(void **arg)
{
	static const struct ob_dirty_range two[] = {
		{ 0, GIB - 1 }, { 300 * TIB, 300 * TIB + GIB - 1 },
	};
	struct ob_dirty *log = new_log(NULL, 0);

	(void)arg;
	assert_int_equal(ob_dirty_cover(log, 0, UINT64_MAX), -E2BIG);
	assert_int_equal(ob_dirty_cover(log, 0, 128 * TIB), -E2BIG);
	assert_int_equal(ob_dirty_cover(log, 0, 128 * TIB - 1), 0);
	assert_int_equal(ob_dirty_cover(log, GIB, 2 * GIB), 0);
	assert_int_equal(ob_dirty_cover(log, 200 * TIB, 200 * TIB), -E2BIG);
	ob_dirty_mark(log, 128 * TIB - 1, 1);
	assert_int_equal(count(log, 127 * TIB, TIB), 1);
	ob_dirty_destroy(log);
	/* Only what is asked for counts. */
	log = new_log(two, 2);
	assert_int_equal(ob_dirty_cover(log, 0, UINT64_MAX), 0);
	assert_int_equal(log->nr, 2);
	ob_dirty_destroy(log);
}

static void where_there_is_no_room_all_is_dirty(void **arg)
{
	struct ob_dirty *log = new_log(NULL, 0);
	const uint64_t *map;

	(void)arg;
	ob_dirty_blind(log, 8 * PAGE, 16 * PAGE - 1);
	ob_dirty_mark(log, 0, GIB);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take(log, 0, 64 * PAGE, PAGE, &map), 8);
		assert_int_equal(map[0], 0xff00);
	}
	ob_dirty_blind(log, 32 * PAGE, UINT64_MAX);
	assert_int_equal(count(log, 0, 64 * PAGE), 56);
	assert_int_equal(count(log, 0, 8 * PAGE), 0);
	ob_dirty_destroy(log);
}

/* A large answer leaves nothing behind in the small ones that follow. */
static void answers_are_fresh(void **arg)
{
	struct ob_dirty *log = new_log(NULL, 0);
	const uint64_t *map;

	(void)arg;
	assert_int_equal(ob_dirty_cover(log, 0, 64 * GIB - 1), 0);
	ob_dirty_mark(log, 0, 64 * GIB);
	assert_int_equal(take(log, 0, 64 * GIB, PAGE, &map), 64 * GIB / PAGE);
	assert_int_equal(take(log, 0, 64 * GIB, PAGE, &map), 0);
	ob_dirty_mark(log, 5 * PAGE, 1);
	assert_int_equal(take(log, 4 * PAGE, 2 * PAGE, PAGE, &map), 1);
	assert_int_equal(map[0], 2);
	assert_int_equal(take(log, 0, 64 * GIB, 512, &map), 0);
	ob_dirty_destroy(log);
}

static void ranges_become_one_where_they_meet(void **arg)
{
	static const struct ob_dirty_range ranges[] = {
		{ 9 * PAGE, UINT64_MAX }, { 2 * PAGE, 3 * PAGE - 1 },
		{ 3 * PAGE, 5 * PAGE - 1 }, { 2 * PAGE, 4 * PAGE - 1 },
		{ GIB, 2 * GIB - 1 }, { 0, PAGE - 1 },
	};
	struct ob_dirty *log = new_log(ranges, 6);
	const uint64_t *map;

	(void)arg;
	assert_int_equal(log->nr_ranges, 3);
	assert_int_equal(ob_dirty_cover(log, 0, 2 * GIB - 1), 0);
	ob_dirty_mark(log, 0, 2 * GIB);
	assert_int_equal(count(log, GIB, GIB), GIB / PAGE);
	assert_int_equal(take(log, 0, 64 * PAGE, PAGE, &map), 59);
	assert_int_equal(map[0], ~UINT64_C(0x1e2));
	ob_dirty_destroy(log);
}

struct marker {
	pthread_t thread;
	struct ob_dirty *log;
	unsigned number;
};

/* Each the fourth page of every word. */
static void *mark_some(void *arg)
{
	struct marker *m = arg;

	for (uint64_t page = m->number; page < GIB / PAGE; page += 4)
		ob_dirty_mark(m->log, page * PAGE, 1);
	return NULL;
}

static void threads_may_mark_at_a_time(void **arg)
{
	struct ob_dirty *log = new_log(NULL, 0);
	struct marker markers[4];
	unsigned i;

	(void)arg;
	assert_int_equal(ob_dirty_cover(log, 0, GIB - 1), 0);
	for (i = 0; i < 4; i++) {
		markers[i] = (struct marker){ .log = log, .number = i };
		assert_int_equal(pthread_create(&markers[i].thread, NULL,
						mark_some, &markers[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(markers[i].thread, NULL);
	assert_int_equal(count(log, 0, GIB), GIB / PAGE);
	ob_dirty_destroy(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_covered_is_not_logged),
		cmocka_unit_test(chunks_may_come_in_any_order),
		cmocka_unit_test(far_addresses_are_kept_apart),
		cmocka_unit_test(what_can_be_logged_has_a_limit),
		cmocka_unit_test(where_there_is_no_room_all_is_dirty),
		cmocka_unit_test(answers_are_fresh),
		cmocka_unit_test(ranges_become_one_where_they_meet),
		cmocka_unit_test(threads_may_mark_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
