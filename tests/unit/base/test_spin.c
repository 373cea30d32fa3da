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
	static const uint64_t gaps[] = { US(6), US(10), US(24), US(7) };
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

/* What the loop does about a gap; true if it has spun. */
static bool pass(struct spin *spin, uint64_t gap)
{
	bool spins = spin->window;

	if (spins && gap < spin->window) {
		ob_spin_hit(spin);
		return true;
	}
	if (spins)
		ob_spin_miss(spin);
	ob_spin_slept(spin, gap);
	return spins;
}

/* Out of 10,000 gaps, of which that share is short; the same ones each time. */
static unsigned windows_of(unsigned percent)
{
	struct spin spin = { 0 };
	uint32_t random = 1;
	unsigned windows = 0;

	for (unsigned i = 0; i < 10000; i++) {
		random = random * 1664525 + 1013904223;
		windows += pass(&spin, (random >> 16) % 100 < percent ?
				US(30) : US(200));
	}
	return windows;
}

/* Most requests of a slow drive last longer than anybody would spin. */
static void test_who_is_mostly_slow_is_not_spun_for(void **state)
{
	(void)state;
	assert_in_range(windows_of(0), 0, 0);
	assert_in_range(windows_of(20), 0, 100);
	assert_in_range(windows_of(40), 0, 1000);
	assert_true(windows_of(70) > 5000);
	assert_true(windows_of(95) > 9000);
}

/* Work that came while a poller armed itself came at once. */
static void test_no_window_is_too_short_to_find_anything(void **state)
{
	struct spin spin = { 0 };

	(void)state;
	ob_spin_slept(&spin, 300);
	assert_int_equal(spin.window, US(10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_spins_before_a_short_gap),
		cmocka_unit_test(
			test_the_window_follows_the_gaps_and_is_bounded),
		cmocka_unit_test(test_a_window_without_work_is_the_last),
		cmocka_unit_test(test_vain_windows_become_rare),
		cmocka_unit_test(test_who_is_mostly_slow_is_not_spun_for),
		cmocka_unit_test(test_no_window_is_too_short_to_find_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
