// SPDX-License-Identifier: BSD-3-Clause
/* The table: names, order, room. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/unit.h"
#include "keeper/held.h"

static int some_fd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static void names_are_found_in_order(void **state)
{
	struct ob_held held;
	struct ob_held_entry *e;
	const char *const order[] = { "b", "a", "c/d" };
	unsigned i = 0;

	(void)state;
	assert_int_equal(ob_held_init(&held, 10), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(ob_held_put(&held, order[i], some_fd()), 0);
	/* Put again: the same place. */
	assert_int_equal(ob_held_put(&held, "b", some_fd()), 0);
	i = 0;
	for (e = ob_held_next(&held, NULL); e; e = ob_held_next(&held, e))
		assert_string_equal(e->name, order[i++]);
	assert_int_equal(i, 3);
	assert_null(ob_held_find(&held, "c"));
	ob_held_finish(&held);
}

static void what_is_replaced_or_removed_is_closed(void **state)
{
	struct ob_held held;
	int first = some_fd(), second = some_fd();

	(void)state;
	assert_int_equal(ob_held_init(&held, 10), 0);
	ob_held_put(&held, "x", first);
	ob_held_put(&held, "x", second);
	assert_int_equal(fcntl(first, F_GETFD), -1);
	ob_held_remove(&held, ob_held_find(&held, "x"));
	assert_int_equal(fcntl(second, F_GETFD), -1);
	assert_null(ob_held_next(&held, NULL));
	ob_held_finish(&held);
}

static void a_full_table_says_so(void **state)
{
	struct ob_held held;
	char name[20];

	(void)state;
	assert_int_equal(ob_held_init(&held, 100), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++) {
			snprintf(name, sizeof(name), "n/%d", i);
			assert_int_equal(ob_held_put(&held, name, -1), 0);
		}
		assert_int_equal(ob_held_put(&held, "more", -1), -ENFILE);
		assert_int_equal(ob_held_put(&held, "n/5", -1), 0);
		while (ob_held_next(&held, NULL))
			ob_held_remove(&held, ob_held_next(&held, NULL));
		assert_int_equal(held.count, 0);
	}
	ob_held_finish(&held);
}

static unsigned below(struct ob_held *held, const char *path, const char *first)
{
	struct ob_held_entry *e = ob_held_below(held, path, NULL);
	unsigned n = 0;

	if (first)
		assert_string_equal(e->name, first);
	for (; e; e = ob_held_below(held, path, e))
		n++;
	return n;
}

/* Also where many folders share a bucket. */
static void a_folder_is_found_among_many(void **state)
{
	struct ob_held held;
	struct ob_held_entry *e;
	char name[40];

	(void)state;
	assert_int_equal(ob_held_init(&held, OB_HELD_MAX), 0);
	for (int i = 0; i < 3; i++) {
		for (int dev = 0; dev < 20000; dev++) {
			snprintf(name, sizeof(name), "disk%d/%c/%d", dev,
				 'a' + i % 2, i);
			assert_int_equal(ob_held_put(&held, name, -1), 0);
		}
	}
	for (int dev = 0; dev < 20000; dev++) {
		snprintf(name, sizeof(name), "disk%d/", dev);
		assert_int_equal(below(&held, name, NULL), 3);
	}
	assert_int_equal(below(&held, "disk17/a/", "disk17/a/0"), 2);
	assert_int_equal(below(&held, "disk17/b/", "disk17/b/1"), 1);
	assert_int_equal(below(&held, "disk17/c/", NULL), 0);
	assert_int_equal(below(&held, "disk20000/", NULL), 0);
	while ((e = ob_held_below(&held, "disk17/a/", NULL)))
		ob_held_remove(&held, e);
	assert_int_equal(below(&held, "disk17/", "disk17/b/1"), 1);
	assert_int_equal(ob_held_put(&held, "disk17/a/9", -1), 0);
	assert_int_equal(below(&held, "disk17/", "disk17/b/1"), 2);
	assert_int_equal(held.count, 60000 - 1);
	ob_held_finish(&held);
}

/* As many as there can be, so that every bucket has a chain. */
static void chains_hold(void **state)
{
	struct ob_held held;
	char name[20];

	(void)state;
	assert_int_equal(ob_held_init(&held, OB_HELD_MAX), 0);
	for (unsigned i = 0; i < OB_HELD_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(ob_held_put(&held, name, -1), 0);
	}
	for (unsigned i = 0; i < OB_HELD_MAX; i += 2) {
		snprintf(name, sizeof(name), "%u", i);
		ob_held_remove(&held, ob_held_find(&held, name));
	}
	for (unsigned i = 0; i < OB_HELD_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_true(!ob_held_find(&held, name) == !(i & 1));
	}
	ob_held_finish(&held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_found_in_order),
		cmocka_unit_test(what_is_replaced_or_removed_is_closed),
		cmocka_unit_test(a_full_table_says_so),
		cmocka_unit_test(a_folder_is_found_among_many),
		cmocka_unit_test(chains_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
