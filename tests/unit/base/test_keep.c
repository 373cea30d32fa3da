// SPDX-License-Identifier: BSD-3-Clause
/* What a loop carries for its keeper: the link, and the pulse. */
#include "loop_fixture.h"

#include <base/keep.h>
#include <base/pulse.h>

#include <errno.h>
#include <string.h>

struct fake {
	struct ob_keep keep;
	char put[OB_KEEP_NAME_MAX + 1], dropped[OB_KEEP_NAME_MAX + 1];
};

static int fake_put(struct ob_keep *keep, const char *name, int fd)
{
	strcpy(((struct fake *)keep)->put, name);
	return fd == 7 ? 0 : -ENFILE;
}

static int fake_get(struct ob_keep *keep, const char *name)
{
	(void)keep;
	return strcmp(name, "there") ? -ENOENT : 9;
}

static void fake_drop(struct ob_keep *keep, const char *name)
{
	strcpy(((struct fake *)keep)->dropped, name);
}

static void test_without_a_keeper_nothing_is_kept(void **state)
{
	struct ob_loop *loop = *state;

	assert_false(ob_keep_is_on(loop));
	assert_null(ob_loop_keep(loop));
	assert_int_equal(ob_keep_put(loop, "name", 7), 0);
	assert_int_equal(ob_keep_get(loop, "name"), -ENOENT);
	ob_keep_drop(loop, "name");
}

static void test_a_keeper_is_asked(void **state)
{
	struct ob_loop *loop = *state;
	struct fake fake = {
		.keep = { .put = fake_put, .get = fake_get, .drop = fake_drop },
	};
	char name[OB_KEEP_NAME_MAX + 2];

	ob_loop_set_keep(loop, &fake.keep);
	assert_true(ob_keep_is_on(loop));
	assert_ptr_equal(ob_loop_keep(loop), &fake.keep);
	assert_int_equal(ob_keep_put(loop, "a/b", 7), 0);
	assert_string_equal(fake.put, "a/b");
	assert_int_equal(ob_keep_put(loop, "c", 8), -ENFILE);
	assert_int_equal(ob_keep_get(loop, "there"), 9);
	assert_int_equal(ob_keep_get(loop, "elsewhere"), -ENOENT);
	ob_keep_drop(loop, "a/");
	assert_string_equal(fake.dropped, "a/");
	memset(name, 'x', sizeof(name));
	name[OB_KEEP_NAME_MAX + 1] = '\0';
	assert_int_equal(ob_keep_put(loop, name, 7), -ENAMETOOLONG);
	name[OB_KEEP_NAME_MAX] = '\0';
	assert_int_equal(ob_keep_put(loop, name, 7), 0);
	ob_loop_set_keep(loop, NULL);
}

static void count_awake(void *arg)
{
	(*(int *)arg)++;
}

static void never(struct ob_timer *timer)
{
	(void)timer;
}

static void test_the_pulse_is_odd_and_moves(void **state)
{
	struct ob_loop *loop = *state;
	uint64_t turn = 4, seen = 0, before;
	int awake = 0;
	struct ob_loop_pulse pulse = { &turn, &seen, count_awake, &awake };

	ob_loop_set_pulse(loop, &pulse);
	assert_int_equal(turn, 5);
	for (int i = 0; i < 5; i++) {
		before = turn;
		assert_int_equal(ob_loop_turn(loop, false), 0);
		assert_true(turn > before);
		assert_int_equal(turn % 2, 1);
	}
	/* Also a long turn, if it says so. */
	before = turn;
	ob_loop_progress(loop);
	assert_true(turn > before);
	assert_int_equal(turn % 2, 1);
	assert_int_equal(awake, 0);
	ob_loop_set_pulse(loop, NULL);
	before = turn;
	assert_int_equal(ob_loop_turn(loop, false), 0);
	assert_int_equal(turn, before);
}

/* A sleep that the watchdog saw is told, others are not. */
static void test_the_watchdog_hears_of_a_sleep_that_it_saw(void **state)
{
	struct ob_loop *loop = *state;
	struct ob_timer timer = { .fire = never };
	uint64_t turn = 0, seen = 0;
	int awake = 0;
	struct ob_loop_pulse pulse = { &turn, &seen, count_awake, &awake };

	ob_loop_set_pulse(loop, &pulse);
	ob_timer_arm(loop, &timer, 1000000);
	assert_int_equal(ob_loop_turn(loop, true), 0);
	assert_int_equal(turn % 2, 1);
	assert_int_equal(awake, 0);
	/* The next turn adds two, and its sleep one. */
	seen = turn + 3;
	ob_timer_arm(loop, &timer, 1000000);
	assert_int_equal(ob_loop_turn(loop, true), 0);
	assert_int_equal(awake, 1);
	assert_true(turn > seen);
	ob_timer_cancel(loop, &timer);
	ob_loop_set_pulse(loop, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_without_a_keeper_nothing_is_kept),
		ON_BOTH_ENGINES(test_a_keeper_is_asked),
		ON_BOTH_ENGINES(test_the_pulse_is_odd_and_moves),
		ON_BOTH_ENGINES(test_the_watchdog_hears_of_a_sleep_that_it_saw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
