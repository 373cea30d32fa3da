// SPDX-License-Identifier: BSD-3-Clause
#include "loop_fixture.h"
#include "loop_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct end {
	struct ob_watch watch;
	struct ob_loop *loop;
	struct ob_watch *victim;	/* removed from inside ready */
	int take;			/* bytes read in each call */
	int calls;
	uint32_t seen;
};

static void on_ready(struct ob_watch *watch, uint32_t events)
{
	struct end *end = (struct end *)watch;
	char bytes[16];

	end->calls++;
	end->seen |= events;
	if (end->take)
		assert_int_equal(read(watch->fd, bytes, (size_t)end->take),
				 end->take);
	if (end->victim)
		ob_watch_remove(end->loop, end->victim);
}

static void make_pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
				    fds), 0);
}

static void close_pair(int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static struct end end_of(struct ob_loop *loop, int fd, uint32_t events)
{
	return (struct end){
		.watch = { .ready = on_ready, .fd = fd, .events = events },
		.loop = loop,
	};
}

static void test_ready_is_called_while_data_is_left(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	end.take = 1;
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	turn_until(loop, &end.calls, 3);
	turn_some(loop);
	assert_int_equal(end.calls, 3);
	ob_watch_remove(loop, &end.watch);
	close_pair(fds);
}

static void on_edge(struct ob_watch *watch, uint32_t events)
{
	struct end *end = (struct end *)watch;
	char c;

	end->seen |= events;
	while (read(watch->fd, &c, 1) == 1)
		end->calls++;
}

/* Each round is news after silence; what counts is that no byte is missed. */
static void test_an_edge_watch_hears_of_everything_new(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	end.watch.ready = on_edge;
	end.watch.edge = true;
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	for (int i = 1; i <= 1000; i++) {
		assert_int_equal(write(fds[1], "xyz", 3), 3);
		turn_until(loop, &end.calls, 3 * i);
	}
	assert_int_equal(write(fds[1], "x", 1), 1);
	ob_watch_remove(loop, &end.watch);
	turn_some(loop);
	assert_int_equal(end.calls, 3000);
	close_pair(fds);
}

static void test_ready_repeats_when_nothing_is_read(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	turn_until(loop, &end.calls, 10);
	ob_watch_remove(loop, &end.watch);
	close_pair(fds);
}

static void test_hangup_is_reported_unasked(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], 0);
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	turn_some(loop);
	assert_int_equal(end.calls, 0);
	close(fds[1]);
	turn_until(loop, &end.calls, 1);
	assert_true(end.seen & POLLHUP);
	ob_watch_remove(loop, &end.watch);
	close(fds[0]);
}

static void test_nothing_after_remove(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	turn_some(loop);
	assert_int_equal(write(fds[1], "x", 1), 1);
	ob_watch_remove(loop, &end.watch);
	ob_watch_remove(loop, &end.watch);
	turn_some(loop);
	assert_int_equal(end.calls, 0);
	close_pair(fds);
}

/* Both are ready in the same turn; whichever runs first removes the other. */
static void test_remove_of_a_watch_whose_event_is_queued(void **state)
{
	struct ob_loop *loop = *state;
	struct end ends[2];
	int a[2], b[2], calls;

	make_pair(a);
	make_pair(b);
	ends[0] = end_of(loop, a[0], POLLIN);
	ends[1] = end_of(loop, b[0], POLLIN);
	ends[0].victim = &ends[1].watch;
	ends[1].victim = &ends[0].watch;
	assert_int_equal(ob_watch_add(loop, &ends[0].watch), 0);
	assert_int_equal(ob_watch_add(loop, &ends[1].watch), 0);
	turn_some(loop);
	ends[0].take = ends[1].take = 1;
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	turn_some(loop);
	calls = ends[0].calls + ends[1].calls;
	assert_int_equal(calls, 1);
	ob_watch_remove(loop, &ends[0].watch);
	ob_watch_remove(loop, &ends[1].watch);
	close_pair(a);
	close_pair(b);
}

static void test_a_watch_may_remove_itself(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	end.victim = &end.watch;
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	turn_until(loop, &end.calls, 1);
	turn_some(loop);
	assert_int_equal(end.calls, 1);
	close_pair(fds);
}

/* The slot of the first is used again; its late event is not the second's. */
static void test_a_new_watch_gets_no_event_of_an_old_one(void **state)
{
	struct ob_loop *loop = *state;
	struct end old, fresh;
	int a[2], b[2];

	make_pair(a);
	make_pair(b);
	old = end_of(loop, a[0], POLLIN);
	fresh = end_of(loop, b[0], POLLIN);
	assert_int_equal(ob_watch_add(loop, &old.watch), 0);
	turn_some(loop);
	assert_int_equal(write(a[1], "x", 1), 1);
	ob_watch_remove(loop, &old.watch);
	assert_int_equal(ob_watch_add(loop, &fresh.watch), 0);
	turn_some(loop);
	assert_int_equal(fresh.calls, 0);
	ob_watch_remove(loop, &fresh.watch);
	close_pair(a);
	close_pair(b);
}

static void test_modify_changes_what_is_reported(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	turn_some(loop);
	assert_int_equal(end.calls, 0);
	assert_int_equal(ob_watch_modify(loop, &end.watch, POLLOUT), 0);
	turn_until(loop, &end.calls, 1);
	assert_int_equal(end.seen, POLLOUT);
	assert_int_equal(ob_watch_modify(loop, &end.watch, POLLIN), 0);
	end.calls = 0;
	turn_some(loop);
	assert_int_equal(end.calls, 0);
	ob_watch_remove(loop, &end.watch);
	close_pair(fds);
}

static void modify_to_none(struct ob_watch *watch, uint32_t events)
{
	struct end *end = (struct end *)watch;

	end->calls++;
	end->seen |= events;
	assert_int_equal(ob_watch_modify(end->loop, watch, 0), 0);
}

static void test_modify_inside_ready(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLOUT);
	end.watch.ready = modify_to_none;
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	turn_until(loop, &end.calls, 1);
	turn_some(loop);
	assert_int_equal(end.calls, 1);
	ob_watch_remove(loop, &end.watch);
	close_pair(fds);
}


static void test_more_watches_than_the_queue_has_entries(void **state)
{
	enum { PAIRS = 450 };
	static struct end ends[PAIRS];
	static int fds[PAIRS][2];
	struct ob_loop *loop = *state;

	for (int i = 0; i < PAIRS; i++) {
		make_pair(fds[i]);
		ends[i] = end_of(loop, fds[i][0], POLLIN);
		ends[i].take = 1;
		assert_int_equal(ob_watch_add(loop, &ends[i].watch), 0);
	}
	for (int i = 0; i < PAIRS; i++)
		assert_int_equal(write(fds[i][1], "x", 1), 1);
	for (int i = 0; i < PAIRS; i++)
		turn_until(loop, &ends[i].calls, 1);
	for (int i = 0; i < PAIRS; i++) {
		assert_int_equal(ends[i].calls, 1);
		ob_watch_remove(loop, &ends[i].watch);
		close_pair(fds[i]);
	}
}

/* Writes until nobody holds the other end any more. */
static void *flood(void *arg)
{
	char bytes[64] = { 0 };
	int fd = *(int *)arg;

	while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

/* An event on its way must not keep the file of a removed watch open. */
static void test_nothing_holds_the_file_after_remove(void **state)
{
	struct ob_loop *loop = *state;

	for (int i = 0; i < 100; i++) {
		struct timespec soon;
		struct end end;
		pthread_t writer;
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		end = end_of(loop, fds[0], POLLIN);
		end.watch.edge = true;
		end.take = 16;
		assert_int_equal(ob_watch_add(loop, &end.watch), 0);
		assert_int_equal(pthread_create(&writer, NULL, flood, &fds[1]),
				 0);
		turn_until(loop, &end.calls, 1);
		ob_watch_remove(loop, &end.watch);
		close(fds[0]);
		turn_some(loop);
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_sec += 20;
		assert_int_equal(pthread_timedjoin_np(writer, NULL, &soon), 0);
		close(fds[1]);
	}
}

struct io_uring;
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
static bool refuse_submit;

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return refuse_submit ? -EAGAIN : __real_io_uring_submit(ring);
}

/* A kernel short of memory when the queue is full; then all is quiet. */
static void test_a_watch_that_found_no_room_is_armed_before_sleep(void **state)
{
	enum { PAIRS = 257 };
	static struct end ends[PAIRS];
	static int fds[PAIRS][2];
	struct ob_loop *loop = *state;

	refuse_submit = true;
	for (int i = 0; i < PAIRS; i++) {
		make_pair(fds[i]);
		ends[i] = end_of(loop, fds[i][0], POLLIN);
		ends[i].take = 1;
		assert_int_equal(ob_watch_add(loop, &ends[i].watch), 0);
	}
	refuse_submit = false;
	assert_int_equal(write(fds[PAIRS - 1][1], "x", 1), 1);
	turn_until(loop, &ends[PAIRS - 1].calls, 1);
	for (int i = 0; i < PAIRS; i++) {
		ob_watch_remove(loop, &ends[i].watch);
		close_pair(fds[i]);
	}
}

/* The pool would have to ask. */
static void test_news_are_seen_before_they_are_told(void **state)
{
	struct ob_loop *loop = *state;
	struct end end;
	int fds[2];

	make_pair(fds);
	end = end_of(loop, fds[0], POLLIN);
	end.take = 1;
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	turn_some(loop);
	assert_false(ob_loop_has_news(loop));
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(ob_loop_has_news(loop), ob_loop_is_uring(loop));
	turn_until(loop, &end.calls, 1);
	turn_some(loop);
	assert_false(ob_loop_has_news(loop));
	ob_watch_remove(loop, &end.watch);
	close_pair(fds);
}

/* A read of an empty pipe takes as long as we like. */
static void test_what_ends_is_no_news(void **state)
{
	struct ob_loop *loop = *state;
	struct job job = { .op.done = on_done };
	struct iovec iov = { &(char){ 0 }, 1 };
	struct end end;
	int fds[2], ends[2];

	if (!ob_loop_is_uring(loop))
		return;
	make_pair(fds);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	end = end_of(loop, fds[0], POLLIN);
	assert_int_equal(ob_watch_add(loop, &end.watch), 0);
	ob_op_readv(loop, &job.op, ends[0], &iov, 1, 0);
	turn_some(loop);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_false(ob_loop_has_news(loop));
	assert_int_equal(write(ends[1], "x", 1), 1);
	turn_until(loop, &job.done, 1);
	ob_watch_remove(loop, &end.watch);
	close_pair(ends);
	close_pair(fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_ready_is_called_while_data_is_left),
		ON_BOTH_ENGINES(test_an_edge_watch_hears_of_everything_new),
		ON_BOTH_ENGINES(test_ready_repeats_when_nothing_is_read),
		ON_BOTH_ENGINES(test_hangup_is_reported_unasked),
		ON_BOTH_ENGINES(test_nothing_after_remove),
		ON_BOTH_ENGINES(test_remove_of_a_watch_whose_event_is_queued),
		ON_BOTH_ENGINES(test_a_watch_may_remove_itself),
		ON_BOTH_ENGINES(test_a_new_watch_gets_no_event_of_an_old_one),
		ON_BOTH_ENGINES(test_modify_changes_what_is_reported),
		ON_BOTH_ENGINES(test_modify_inside_ready),
		ON_BOTH_ENGINES(test_more_watches_than_the_queue_has_entries),
		ON_BOTH_ENGINES(test_nothing_holds_the_file_after_remove),
		ON_BOTH_ENGINES(test_news_are_seen_before_they_are_told),
		ON_BOTH_ENGINES(test_what_ends_is_no_news),
		ON_BOTH_ENGINES(
			test_a_watch_that_found_no_room_is_armed_before_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
