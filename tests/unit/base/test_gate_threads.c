// SPDX-License-Identifier: BSD-3-Clause
/*
 * The gate on threads: what is not atomic, and is changed inside and by the owner,
 * adds up.  With the fences that the kernel makes and with one's own; under
 * ThreadSanitizer it says so, too, that nothing else is needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/gate.h"

#define LANES 3u
#define ROUNDS 4000u

static struct {
	struct ob_gate gate;
	uint64_t counts[LANES];		/* each a lane's, and the owner's */
	uint64_t turns[LANES];		/* the lane's alone */
	bool end;			/* the owner's */
} shared;

static void *go_through(void *arg)
{
	unsigned lane = (unsigned)(uintptr_t)arg;
	bool end = false;

	while (!end) {
		ob_gate_enter(&shared.gate, lane);
		shared.counts[lane]++;
		end = shared.end;
		ob_gate_leave(&shared.gate, lane);
		shared.turns[lane]++;
	}
	return NULL;
}

/* Everything that lanes have counted, while they count. */
static uint64_t add_one_to_each(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LANES; i++)
		sum += ++shared.counts[i];
	return sum;
}

static void check(bool fenced)
{
	pthread_t threads[LANES];
	uint64_t last = 0, now;

	memset(&shared, 0, sizeof(shared));
	ob_gate_init(&shared.gate, LANES, fenced);
	for (unsigned i = 0; i < LANES; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, go_through,
						(void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		ob_gate_close(&shared.gate);
		now = add_one_to_each();
		assert_true(now >= last + LANES);
		last = add_one_to_each();
		assert_int_equal(last, now + LANES);
		shared.end = i == ROUNDS - 1;
		ob_gate_open(&shared.gate, i % 8 < 6);
	}
	for (unsigned i = 0; i < LANES; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(shared.counts[i],
				 shared.turns[i] + 2 * ROUNDS);
	}
	ob_gate_finish(&shared.gate);
}

static void test_fences_by_the_kernel(void **state)
{
	(void)state;
	check(false);
}

static void test_own_fences(void **state)
{
	(void)state;
	check(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fences_by_the_kernel),
		cmocka_unit_test(test_own_fences),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
