// SPDX-License-Identifier: BSD-3-Clause
/* How long the loop spins before it sleeps: by the gaps that it has met. */
#include "unit.h"

#include <base/loop_private.h>

#define US(us) ((us) * UINT64_C(1000))

static void test_nobody_spins_before_a_short_gap(void **state)
{
	struct spin spin = { 0 };

	(void)state;
	assert_int_equal(spin.window, 0);
	ob_spin_slept(&spin, US(1000000));
	assert_int_equal(spin.window, 0);
	ob_spin_slept(&spin, US(50));
	assert_int_equal(spin.window, 0);
}

static void test_the_window_follows_the_gaps_and_is_bounded(void **state)
{
	static const uint64_t gaps[] = { US(2), US(10), US(24), US(3) };
	struct spin spin = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(gaps); i++) {
		ob_spin_slept(&spin, gaps[i]);
		assert_true(spin.window >= gaps[i]);
		assert_true(spin.window <= 2 * gaps[i]);
	}
	ob_spin_slept(&spin, US(49));
	assert_int_equal(spin.window, US(50));
}

/* The load has stopped: one window is all that it costs. */
static void test_a_window_without_work_is_the_last(void **state)
{
	struct spin spin = { 0 };

	(void)state;
	ob_spin_slept(&spin, US(10));
	ob_spin_hit(&spin);
	assert_true(spin.window > 0);
	ob_spin_miss(&spin);
	assert_int_equal(spin.window, 0);
	ob_spin_slept(&spin, US(5000000));
	assert_int_equal(spin.window, 0);
	/* It comes back: so do we. */
	ob_spin_slept(&spin, US(10));
	assert_true(spin.window > 0);
}

/* Spinning on the core that the other side needs never finds anything. */
static void test_vain_windows_become_rare(void **state)
{
	struct spin spin = { 0 };
	unsigned windows = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		ob_spin_slept(&spin, US(5));
		if (!spin.window)
			continue;
		windows++;
		ob_spin_miss(&spin);
	}
	assert_in_range(windows, 1, 120);
	while (!spin.window)
		ob_spin_slept(&spin, US(5));
	ob_spin_hit(&spin);
	/* Found work: the next miss is forgiven at once. */
	ob_spin_miss(&spin);
	ob_spin_slept(&spin, US(5));
	assert_true(spin.window > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_spins_before_a_short_gap),
		cmocka_unit_test(
			test_the_window_follows_the_gaps_and_is_bounded),
		cmocka_unit_test(test_a_window_without_work_is_the_last),
		cmocka_unit_test(test_vain_windows_become_rare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
