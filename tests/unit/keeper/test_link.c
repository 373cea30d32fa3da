// SPDX-License-Identifier: BSD-3-Clause
/* What a worker makes of the rings that it is told of; the keeper is played. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/unit.h"
#include "../open_fds.h"
#include "base/fd.h"
#include "keeper/msg.h"
#include "link/link.h"

static struct ob_link *worker;
static int channel;		/* the keeper's end */
static unsigned files;

static int begin(void **state)
{
	struct ob_err err = { 0 };
	char env[40];
	int pair[2];

	(void)state;
	files = count_fds();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return -1;
	channel = pair[0];
	snprintf(env, sizeof(env), "%d,%d,100", pair[1],
		 ob_memfd_create("pulse", OB_PULSE_PAGE));
	setenv(OB_KEEPER_ENV, env, 1);
	return ob_link_open(&worker, &err);
}

/* Whatever was told and not taken is closed. */
static int end(void **state)
{
	(void)state;
	ob_link_close(worker);
	close(channel);
	return count_fds() == files ? 0 : -1;
}

static void say(enum ob_keeper_op op, uint64_t value)
{
	struct ob_keeper_msg msg;

	ob_msg_init(&msg, op, NULL);
	msg.value = value;
	assert_int_equal(ob_msg_send(channel, &msg, 0, -1, MSG_DONTWAIT), 0);
}

static int fd(void)
{
	return open("/dev/null", O_RDONLY);
}

static void tell(uint64_t generation, unsigned threads, unsigned from)
{
	for (unsigned i = from; i < from + threads; i++) {
		struct ob_keeper_msg msg;

		ob_msg_init(&msg, OB_KEEPER_RINGS, NULL);
		msg.value = generation;
		msg.number[0] = fd();
		msg.number[1] = fd();
		msg.number[2] = fd();
		msg.number[3] = (int32_t)i;
		assert_int_equal(ob_msg_send(channel, &msg, 0, -1,
					     MSG_DONTWAIT), 0);
	}
}

static struct ob_link_start wait_for_word(void)
{
	struct ob_link_start start;
	struct ob_err err = { 0 };

	if (ob_link_wait(worker, &start, &err))
		fail_msg("%s", err.msg);
	return start;
}

static void expect_own(struct ob_link_start *start, uint64_t generation,
		       unsigned threads)
{
	for (unsigned i = 0; i < OB_THREADS; i++) {
		assert_int_equal(start->rings[i].generation, generation);
		assert_int_equal(start->rings[i].thread, i);
		assert_int_equal(start->rings[i].loop >= 0, i < threads);
		assert_int_equal(start->rings[i].journal >= 0, i < threads);
		ob_rings_close(&start->rings[i]);
	}
}

static void expect_old(struct ob_link_start *start, unsigned at,
		       uint64_t generation, unsigned thread)
{
	assert_true(at < start->nr_old);
	assert_int_equal(start->old[at].generation, generation);
	assert_int_equal(start->old[at].thread, thread);
	ob_rings_close(&start->old[at]);
}

/* Before it knows which generation it is. */
static void own_rings_are_those_of_the_youngest(void **state)
{
	struct ob_link_start start;

	(void)state;
	tell(1, 3, 0);
	tell(2, 2, 0);
	tell(7, 4, 0);
	say(OB_KEEPER_WARM, 0);
	start = wait_for_word();
	assert_true(start.warm);
	assert_int_equal(start.nr_old, 0);
	expect_own(&start, 7, 4);
	say(OB_KEEPER_RINGS_OVER, 1);
	say(OB_KEEPER_START, 7);
	start = wait_for_word();
	expect_own(&start, 7, 0);
	assert_int_equal(start.nr_old, 2);
	expect_old(&start, 0, 2, 0);
	expect_old(&start, 1, 2, 1);
}

static void the_first_has_no_others(void **state)
{
	struct ob_link_start start;

	(void)state;
	tell(1, OB_THREADS, 0);
	say(OB_KEEPER_START, 1);
	start = wait_for_word();
	expect_own(&start, 1, OB_THREADS);
	assert_int_equal(start.nr_old, 0);
}

/* It has told nobody of threads, and of one set for each. */
static void a_keeper_of_one_thread_is_understood(void **state)
{
	struct ob_link_start start;

	(void)state;
	tell(3, 1, 0);
	tell(4, 1, 0);
	tell(5, 1, 0);
	say(OB_KEEPER_START, 5);
	start = wait_for_word();
	expect_own(&start, 5, 1);
	assert_int_equal(start.nr_old, 2);
	expect_old(&start, 0, 3, 0);
	expect_old(&start, 1, 4, 0);
}

static void a_full_list_is_taken(void **state)
{
	const unsigned dead = OB_KEEPER_SETS / OB_THREADS;
	struct ob_link_start start;

	(void)state;
	for (unsigned i = 1; i <= dead + 1; i++)
		tell(i, OB_THREADS, 0);
	say(OB_KEEPER_START, dead + 1);
	start = wait_for_word();
	expect_own(&start, dead + 1, OB_THREADS);
	assert_int_equal(start.nr_old, OB_KEEPER_SETS);
	for (unsigned i = 0; i < start.nr_old; i++)
		expect_old(&start, i, 1 + i / OB_THREADS, i % OB_THREADS);
}

static void refused(void)
{
	struct ob_link_start start;
	struct ob_err err = { 0 };

	assert_int_equal(ob_link_wait(worker, &start, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "waiting for the keeper"));
}

/* It would take some for all.  The descriptors of the last one stay open. */
static void more_than_there_is_room_for_is_refused(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= OB_KEEPER_SETS / OB_THREADS + 1; i++)
		tell(i, OB_THREADS, 0);
	tell(99, 1, 0);
	files += 3;
	refused();
}

/* There is for these, but not beside its own. */
static void more_of_the_dead_than_there_is_room_for_are_refused(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= OB_KEEPER_SETS / OB_THREADS; i++)
		tell(i, OB_THREADS, 0);
	tell(90, 1, 0);
	tell(99, 1, 0);
	say(OB_KEEPER_START, 99);
	files += 3;	/* its own have been handed out */
	refused();
}

static void a_thread_that_cannot_be_is_refused(void **state)
{
	(void)state;
	tell(1, 1, OB_THREADS);
	files += 3;
	refused();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(own_rings_are_those_of_the_youngest),
		TEST(the_first_has_no_others),
		TEST(a_keeper_of_one_thread_is_understood),
		TEST(a_full_list_is_taken),
		TEST(more_than_there_is_room_for_is_refused),
		TEST(more_of_the_dead_than_there_is_room_for_are_refused),
		TEST(a_thread_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
