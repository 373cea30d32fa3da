// SPDX-License-Identifier: BSD-3-Clause
#include "loop_fixture.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_signalled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/* What the peer does: reads, when something is there. */
static uint64_t take(int fd)
{
	eventfd_t value = 0;

	if (is_signalled(fd))
		assert_int_equal(eventfd_read(fd, &value), 0);
	return value;
}

static void turn_until_signalled(struct ob_loop *loop, int fd)
{
	for (int i = 0; i < 20000 && !is_signalled(fd); i++) {
		assert_int_equal(ob_loop_turn(loop, false), 0);
		usleep(i < 100 ? 0 : 1000);
	}
	assert_true(is_signalled(fd));
}

/* Filled, and blocking, which its other owner may make it at any time. */
static int make_stuck_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	return fd;
}

/* A call that the kernel refuses. */
static long refused_call = -1;
static int refused_errno, calls;

long __real_syscall(long nr, long a, long b, long c, long d, long e);
long __wrap_syscall(long nr, long a, long b, long c, long d, long e);

long __wrap_syscall(long nr, long a, long b, long c, long d, long e)
{
	if (nr != refused_call)
		return __real_syscall(nr, a, b, c, d, e);
	calls++;
	errno = refused_errno;
	return -1;
}

static void check_signal(struct ob_loop *loop)
{
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	OB_CLEANUP_FD int stuck = make_stuck_eventfd();
	struct ob_signal signal = { .fd = fd }, bad = { .fd = stuck };

	for (int round = 0; round < 3; round++) {
		ob_signal_raise(loop, &bad);
		ob_signal_raise(loop, &signal);
		turn_until_signalled(loop, fd);
		assert_int_equal(take(fd), 1);
	}
	ob_signal_close(loop, &bad);
	ob_signal_close(loop, &signal);
}

static void test_a_kernel_without_aio_signals_too(void **state)
{
	struct ob_loop *loop;

	loop = loop_like(*state, 0);
	refused_call = SYS_io_setup;
	refused_errno = ENOSYS;
	check_signal(loop);
	refused_call = -1;
	ob_loop_destroy(loop);
}

/* Rings for signals cannot be had; AIO signals, also what is tied later. */
static void test_without_a_ring_of_its_own_a_signal_arrives(void **state)
{
	refused_call = SYS_io_uring_setup;
	refused_errno = EMFILE;
	check_signal(*state);
	refused_call = -1;
	check_signal(*state);
}

static void test_a_kernel_short_of_memory_signals_too(void **state)
{
	struct ob_loop *loop = loop_like(*state, 0);

	refused_call = SYS_io_submit;
	refused_errno = EAGAIN;
	check_signal(loop);
	refused_call = -1;
	check_signal(loop);
	ob_loop_destroy(loop);
}

/* More than a queue of completions that nobody reads holds. */
static void test_a_signal_works_for_ever(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal signal = { .fd = fd };

	for (int i = 0; i < 2000; i++) {
		ob_signal_raise(loop, &signal);
		turn_until_signalled(loop, fd);
		assert_int_equal(take(fd), 1);
	}
	ob_signal_close(loop, &signal);
}

static void test_what_is_withdrawn_does_not_arrive(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal signal = { .fd = fd };

	ob_signal_raise(loop, &signal);
	ob_signal_withdraw(loop, &signal);
	turn_some(loop);
	assert_false(is_signalled(fd));
	ob_signal_raise(loop, &signal);
	turn_until_signalled(loop, fd);
	ob_signal_close(loop, &signal);
}

/*
 * Whoever was signalled this way is gone at once when killed, so its successor
 * need not wait: it has no AIO context, for which the kernel would.
 */
static void test_the_ring_does_without_aio(void **state)
{
	struct ob_loop *loop = loop_like(*state, 0);

	if (!ob_loop_is_uring(loop)) {
		ob_loop_destroy(loop);
		skip();
	}
	refused_call = SYS_io_setup;
	refused_errno = ENOSYS;
	calls = 0;
	check_signal(loop);
	refused_call = -1;
	assert_int_equal(calls, 0);
	ob_loop_destroy(loop);
}

static void test_a_signal_arrives(void **state)
{
	static const int flags[] = { EFD_NONBLOCK, 0 };
	struct ob_loop *loop = *state;

	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		OB_CLEANUP_FD int fd = eventfd(0, flags[i] | EFD_CLOEXEC);
		struct ob_signal signal = { .fd = fd };

		for (int round = 0; round < 3; round++) {
			ob_signal_raise(loop, &signal);
			turn_until_signalled(loop, fd);
			assert_int_equal(take(fd), 1);
		}
		ob_signal_close(loop, &signal);
	}
}

static void test_none_of_many_signals_is_lost(void **state)
{
	enum { SIGNALS = 600 };
	struct ob_loop *loop = *state;
	struct ob_signal signals[SIGNALS];
	int fds[SIGNALS];

	for (int i = 0; i < SIGNALS; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		signals[i] = (struct ob_signal){ .fd = fds[i] };
		ob_signal_raise(loop, &signals[i]);
	}
	for (int i = 0; i < SIGNALS; i++) {
		turn_until_signalled(loop, fds[i]);
		ob_signal_close(loop, &signals[i]);
	}
	ob_fds_close(fds, SIGNALS);
}

static void test_signals_on_the_way_are_one(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal signal = { .fd = fd };
	uint64_t count = 0;

	for (int i = 0; i < 100; i++)
		ob_signal_raise(loop, &signal);
	for (int i = 0; i < 10; i++) {
		turn_some(loop);
		count += take(fd);
	}
	assert_int_equal(count, 1);
	ob_signal_close(loop, &signal);
}

static void test_r6_full_blocking_eventfd_stops_nothing(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int stuck = make_stuck_eventfd();
	OB_CLEANUP_FD int good = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal bad = { .fd = stuck }, other = { .fd = good };

	for (int round = 0; round < 3; round++) {
		ob_signal_raise(loop, &bad);
		ob_signal_raise(loop, &other);
		turn_until_signalled(loop, good);
		take(good);
		turn_some(loop);
	}
	/* The peer wakes up, and signals work for it again. */
	assert_true(take(stuck) >= UINT64_MAX - 1);
	ob_signal_raise(loop, &bad);
	turn_until_signalled(loop, stuck);
	ob_signal_close(loop, &bad);
	ob_signal_close(loop, &other);
}

static void test_r6_many_stuck_signals_leave_room_for_others(void **state)
{
	enum { STUCK = 64 };
	struct ob_loop *loop = *state;
	struct ob_signal bad[STUCK];
	int fds[STUCK];
	OB_CLEANUP_FD int good = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal other = { .fd = good };

	for (int i = 0; i < STUCK; i++) {
		fds[i] = make_stuck_eventfd();
		bad[i] = (struct ob_signal){ .fd = fds[i] };
		ob_signal_raise(loop, &bad[i]);
	}
	turn_some(loop);
	ob_signal_raise(loop, &other);
	turn_until_signalled(loop, good);
	for (int i = 0; i < STUCK; i++)
		ob_signal_close(loop, &bad[i]);
	ob_signal_close(loop, &other);
	ob_fds_close(fds, STUCK);
}

/* The owner goes away at once, and its fd number is used for another file. */
static void test_r6_close_while_stuck_frees_the_owner(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int next = -1;
	int stuck = make_stuck_eventfd();
	struct ob_signal signal = { .fd = stuck };

	ob_signal_raise(loop, &signal);
	ob_signal_raise(loop, &signal);
	ob_signal_close(loop, &signal);
	memset(&signal, 0xff, sizeof(signal));
	close(stuck);
	next = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(next, stuck);
	turn_some(loop);
	assert_false(is_signalled(next));
}

static void test_close_before_the_write_left_spares_the_next_fd(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int next = -1;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal signal = { .fd = fd };

	ob_signal_raise(loop, &signal);
	ob_signal_close(loop, &signal);
	ob_signal_close(loop, &signal);
	close(fd);
	next = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(next, fd);
	turn_some(loop);
	assert_false(is_signalled(next));
}

static void test_r6_destroy_with_a_stuck_signal_ends(void **state)
{
	struct ob_loop *loop = loop_like(*state, 0);
	OB_CLEANUP_FD int stuck = make_stuck_eventfd();
	struct ob_signal signal = { .fd = stuck };

	ob_signal_raise(loop, &signal);
	turn_some(loop);
	ob_signal_close(loop, &signal);
	ob_signal_raise(loop, &signal);
	ob_loop_destroy(loop);
	assert_false(signal.raised);
}

struct flipper {
	pthread_t thread;
	int fd;
	atomic_bool stop;
};

static void *flip(void *arg)
{
	struct flipper *flipper = arg;

	while (!flipper->stop) {
		fcntl(flipper->fd, F_SETFL, O_NONBLOCK);
		fcntl(flipper->fd, F_SETFL, 0);
	}
	return NULL;
}

/*
 * A full counter, and a flag that says one thing when it is looked at and
 * another when it counts.  A loop that is caught never comes back.
 */
static void test_r6_a_flag_that_flips_stops_nothing(void **state)
{
	struct ob_loop *loop = *state;
	struct flipper flipper = { .fd = make_stuck_eventfd() };
	struct ob_signal signal = { .fd = flipper.fd };

	assert_int_equal(pthread_create(&flipper.thread, NULL, flip, &flipper),
			 0);
	for (int i = 0; i < 1000000; i++) {
		ob_signal_raise(loop, &signal);
		assert_int_equal(ob_loop_turn(loop, false), 0);
	}
	ob_signal_close(loop, &signal);
	flipper.stop = true;
	pthread_join(flipper.thread, NULL);
	close(flipper.fd);
}

static void test_r6_a_full_pipe_stops_nothing(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int good = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ob_signal other = { .fd = good }, bad;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fds[1], "x", 1) == 1)
		;
	assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
	bad = (struct ob_signal){ .fd = fds[1] };
	ob_signal_raise(loop, &bad);
	ob_signal_raise(loop, &other);
	turn_until_signalled(loop, good);
	ob_signal_close(loop, &bad);
	ob_signal_close(loop, &other);
	ob_fds_close(fds, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_a_signal_arrives),
		ON_BOTH_ENGINES(test_none_of_many_signals_is_lost),
		ON_BOTH_ENGINES(test_a_kernel_without_aio_signals_too),
		ON_BOTH_ENGINES(
			test_without_a_ring_of_its_own_a_signal_arrives),
		ON_BOTH_ENGINES(test_a_kernel_short_of_memory_signals_too),
		ON_BOTH_ENGINES(test_a_signal_works_for_ever),
		ON_BOTH_ENGINES(test_what_is_withdrawn_does_not_arrive),
		ON_BOTH_ENGINES(test_the_ring_does_without_aio),
		ON_BOTH_ENGINES(test_signals_on_the_way_are_one),
		ON_BOTH_ENGINES(test_r6_full_blocking_eventfd_stops_nothing),
		ON_BOTH_ENGINES(
			test_r6_many_stuck_signals_leave_room_for_others),
		ON_BOTH_ENGINES(test_r6_close_while_stuck_frees_the_owner),
		ON_BOTH_ENGINES(
			test_close_before_the_write_left_spares_the_next_fd),
		ON_BOTH_ENGINES(test_r6_destroy_with_a_stuck_signal_ends),
		ON_BOTH_ENGINES(test_r6_a_flag_that_flips_stops_nothing),
		ON_BOTH_ENGINES(test_r6_a_full_pipe_stops_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
