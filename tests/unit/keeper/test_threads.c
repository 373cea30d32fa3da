// SPDX-License-Identifier: BSD-3-Clause
/* Workers of several threads: rings, pulses, the link.  Argument: the toy. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#include "../open_fds.h"
#include "keeper/impl.h"

#define THREADS 4u

static void begin(unsigned threads, const struct wish *wish)
{
	struct wish with_threads = *wish;

	with_threads.threads = threads;
	board->threads = threads;
	keep(&with_threads);
	UNTIL(lives(1));
}
#define BEGIN(threads, ...) begin(threads, &(const struct wish){ __VA_ARGS__ })

/* The toy looks for what each thread of its predecessor had said. */
static void a_successor_is_given_the_rings_of_all(void **state)
{
	unsigned files = 0;

	(void)state;
	BEGIN(THREADS, 0);
	for (unsigned i = 1; i <= 10; i++) {
		kill(life(i)->pid, SIGKILL);
		UNTIL(lives(i + 1));
		assert_int_equal(life(i + 1)->nr_old, THREADS);
		status();
		if (i == 2)
			files = count_fds_of(keeper);
	}
	assert_int_equal(count_fds_of(keeper), files);
	assert_int_equal(stop(), 0);
}

static void a_standby_has_its_own_and_all_others(void **state)
{
	(void)state;
	BEGIN(THREADS, .standby = true);
	for (unsigned i = 1; i <= 10; i++) {
		UNTIL(*(volatile unsigned *)&board->warm >= i);
		ring(ACT_DIE);
		UNTIL(lives(i + 1));
	}
	assert_int_equal(stop(), 0);
}

static void another_binary_has_them_too(void **state)
{
	(void)state;
	BEGIN(THREADS, .standby = true);
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	assert_int_equal(life(2)->why, OB_START_UPGRADE);
	assert_int_equal(life(2)->nr_old, THREADS);
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(stop(), 0);
}

static bool was_given(uint64_t generation)
{
	return board->old >> generation % 64 & 1;
}

/*
 * Nothing is ever over, and most die before they are ready.  What stays is the
 * oldest, the last one that was ready, and the newest.
 */
static void a_storm_loses_what_is_least_missed(void **state)
{
	const unsigned room = OB_KEEPER_SETS / OB_THREADS, dead = room + 1;

	(void)state;
	board->keep_rings = true;
	BEGIN(OB_THREADS, 0);
	ring(ACT_DIE);
	UNTIL(lives(2));
	board->die_early = dead;
	ring(ACT_DIE);
	UNTIL(lives(dead + 3));
	assert_int_equal(life(dead + 3)->nr_old, OB_KEEPER_SETS);
	assert_true(was_given(life(1)->generation));
	assert_true(was_given(life(2)->generation));
	assert_false(was_given(life(3)->generation));
	for (unsigned i = 0; i < room - 2; i++)
		assert_true(was_given(life(dead + 2 - i)->generation));
	assert_int_equal(stop(), 0);
}

/* What the keeper spares for rings is not in the table. */
static void few_files_are_enough_for_many_threads(void **state)
{
	(void)state;
	BEGIN(OB_THREADS, .files = 1024);
	ring(ACT_FILL);
	UNTIL(*(volatile int *)&board->full);
	assert_true(board->filled > 300);
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

/* The watchdog */

static void one_thread_that_spins_is_enough(void **state)
{
	(void)state;
	BEGIN(THREADS, .watchdog_ms = 100);
	for (unsigned i = 1; i <= 3; i++) {
		ring(ACT_SPIN_THREAD);
		UNTIL(lives(i + 1));
		assert_int_equal(life(i + 1)->signal, SIGALRM);
	}
	assert_int_equal(stop(), 0);
}

static void expect_rest(void)
{
	unsigned long before;

	UNTIL(({ before = switches(keeper); poll(NULL, 0, 200);
		 switches(keeper) == before; }));
	poll(NULL, 0, 500);
	assert_int_equal(switches(keeper), before);
}

/* And it wakes again for each of them. */
static void an_idle_server_is_not_woken(void **state)
{
	static const enum act acts[] = { ACT_SPIN, ACT_SPIN_THREAD };

	(void)state;
	BEGIN(THREADS, .watchdog_ms = 40);
	for (unsigned i = 0; i < 2; i++) {
		expect_rest();
		ring(acts[i]);
		UNTIL(lives(i + 2));
		assert_int_equal(life(i + 2)->signal, SIGALRM);
	}
	assert_int_equal(stop(), 0);
}

/* An older binary has one. */
static void threads_that_were_not_started_are_not_watched(void **state)
{
	(void)state;
	board->threads = 1;
	KEEP(.threads = THREADS, .watchdog_ms = 40);
	UNTIL(lives(1));
	expect_rest();
	assert_int_equal(board->births, 1);
	ring(ACT_SPIN);
	UNTIL(lives(2));
	assert_int_equal(life(2)->signal, SIGALRM);
	assert_int_equal(stop(), 0);
}

static void one_that_begins_late_is_watched(void **state)
{
	(void)state;
	board->late_threads = true;
	BEGIN(THREADS, .watchdog_ms = 100);
	expect_rest();
	ring(ACT_SPIN_THREAD);
	UNTIL(lives(2));
	assert_int_equal(life(2)->signal, SIGALRM);
	assert_int_equal(stop(), 0);
}

/* Each puts, asks and drops, while the keeper tells the first one other things. */
static void all_threads_use_the_link(void **state)
{
	unsigned clients = 0;

	(void)state;
	BEGIN(THREADS, 0);
	ring(ACT_HAMMER);
	do {
		assert_int_equal(knock(), 0);
		clients++;
		status();
		ring(ACT_GET);
	} while (__atomic_load_n(&board->hammered, __ATOMIC_SEQ_CST) <
		 THREADS - 1);
	assert_int_equal(board->clients, clients);
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

/* While they put: what was sent counts, and half of it is no harm. */
static void a_death_with_all_in_the_link(void **state)
{
	(void)state;
	BEGIN(THREADS, 0);
	for (unsigned i = 1; i <= 20; i++) {
		ring(ACT_HAMMER);
		usleep(i * 7919 % 9000);
		kill(life(i)->pid, SIGKILL);
		UNTIL(lives(i + 1));
	}
	assert_int_equal(stop(), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_successor_is_given_the_rings_of_all),
		TEST(a_standby_has_its_own_and_all_others),
		TEST(another_binary_has_them_too),
		TEST(a_storm_loses_what_is_least_missed),
		TEST(few_files_are_enough_for_many_threads),
		TEST(one_thread_that_spins_is_enough),
		TEST(an_idle_server_is_not_woken),
		TEST(threads_that_were_not_started_are_not_watched),
		TEST(one_that_begins_late_is_watched),
		TEST(all_threads_use_the_link),
		TEST(a_death_with_all_in_the_link),
	};

	if (rig_arguments(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, rig_prepare, rig_finish);
}
