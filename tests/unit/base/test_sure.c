// SPDX-License-Identifier: BSD-3-Clause
/* Sure calls, with a ring and without: the same results. */
#include "unit.h"

#include <base/fd.h>
#include <base/ring.h>
#include <base/sure.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig {
	struct ob_loop *loop;
	struct ob_sure *sure;
	int sock[2];
};

#define GENERATION 3

static void rig_open(struct rig *rig, void **state)
{
	struct ob_rings rings = { -1, -1, -1, GENERATION, 0 };
	int r = *state ? ob_rings_create(GENERATION, &rings) : 0;

	if (r == -ENOSYS || r == -EPERM)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(ob_loop_create_on(NULL, &rings, &rig->loop, NULL), 0);
	rig->sure = ob_loop_sure(rig->loop);
	assert_non_null(rig->sure);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, rig->sock), 0);
}

static void rig_close(struct rig *rig)
{
	ob_fds_close(rig->sock, 2);
	ob_loop_destroy(rig->loop);
}

static void test_calls_run_in_their_order(void **state)
{
	struct rig rig;
	char in[8] = "";
	struct iovec iov[2] = { { (char[]){ "ab" }, 2 }, { (char[]){ "c" }, 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct ob_sure_call calls[OB_SURE_CALLS] = { 0 };

	rig_open(&rig, state);
	/* Each takes what the one before sent, many times round the queue. */
	for (int i = 0; i < 500; i++) {
		for (size_t k = 0; k < COUNT_OF(calls); k++)
			calls[k] = (struct ob_sure_call){
				.tag = ob_sure_tag(rig.sure), .res = 99,
			};
		ob_sure_sendmsg(rig.sure, &calls[0], rig.sock[0], &msg);
		ob_sure_recv(rig.sure, &calls[1], rig.sock[1], in, 8);
		ob_sure_recv(rig.sure, &calls[2], rig.sock[1], in + 4, 4);
		ob_sure_sendmsg(rig.sure, &calls[3], -1, &msg);
		assert_int_equal(calls[0].res, 99);
		ob_sure_go(rig.sure);
		assert_int_equal(calls[0].res, 3);
		assert_int_equal(calls[1].res, 3);
		assert_int_equal(calls[2].res, -EAGAIN);
		assert_int_equal(calls[3].res, -EBADF);
		assert_string_equal(in, "abc");
	}
	ob_sure_go(rig.sure);		/* nothing queued */
	rig_close(&rig);
}

static void test_a_full_or_closed_socket_is_a_result(void **state)
{
	static char data[65536];
	struct rig rig;
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ob_sure_call call = { .res = 1 };
	size_t sent = 0;

	rig_open(&rig, state);
	while (call.res > 0) {
		call.tag = ob_sure_tag(rig.sure);
		ob_sure_sendmsg(rig.sure, &call, rig.sock[0], &msg);
		ob_sure_go(rig.sure);
		sent += call.res > 0 ? (size_t)call.res : 0;
	}
	assert_int_equal(call.res, -EAGAIN);
	assert_true(sent > 0);
	ob_fd_close(&rig.sock[1]);
	call.tag = ob_sure_tag(rig.sure);
	ob_sure_sendmsg(rig.sure, &call, rig.sock[0], &msg);
	ob_sure_go(rig.sure);		/* no SIGPIPE */
	assert_in_range(-call.res, 1, 200);
	rig_close(&rig);
}

static void test_tags_differ_between_generations(void **state)
{
	struct rig rig;
	uint64_t first, second;

	rig_open(&rig, state);
	first = ob_sure_tag(rig.sure);
	second = ob_sure_tag(rig.sure);
	assert_true(first && second && first != second);
	assert_int_equal(first >> 44, GENERATION);
	rig_close(&rig);
}

static struct ob_sure *sure_of(unsigned thread, struct ob_loop **loop)
{
	struct ob_rings rings = { -1, -1, -1, GENERATION, thread };

	assert_int_equal(ob_loop_create_on(NULL, &rings, loop, NULL), 0);
	return ob_loop_sure(*loop);
}

/* A bit for each call and thread, whichever tag that has. */
static void test_tags_differ_between_threads(void **state)
{
	const uint64_t first = (uint64_t)GENERATION << 44;
	bool seen[OB_THREADS * 102] = { false };
	struct ob_loop *loop;

	(void)state;
	for (unsigned thread = 0; thread < OB_THREADS; thread++) {
		struct ob_sure *sure = sure_of(thread, &loop);

		for (int i = 0; i < 100; i++) {
			uint64_t tag = ob_sure_tag(sure);

			assert_in_range(tag, first, first + COUNT_OF(seen) - 1);
			assert_false(seen[tag - first]);
			seen[tag - first] = true;
		}
		ob_loop_destroy(loop);
	}
}

static void recv_along(struct rig *rig, struct ob_sure_call *call, char *in)
{
	call->tag = ob_sure_tag(rig->sure);
	assert_int_equal(write(rig->sock[0], "abc", 3), 3);
	ob_sure_recv_along(rig->sure, call, rig->sock[1], in, 3);
}

static void test_one_goes_along(void **state)
{
	struct ob_sure_call calls[3] = { 0 };
	struct rig rig;
	char in[8] = "";

	rig_open(&rig, state);
	for (int i = 0; i < 500; i++) {
		for (size_t k = 0; k < COUNT_OF(calls); k++)
			recv_along(&rig, &calls[k], in);
		/* Some by the turn's end, some because they are awaited. */
		if (i & 1)
			ob_loop_turn(rig.loop, false);
		if (i & 2)
			ob_loop_turn(rig.loop, false);
		for (size_t k = 0; k < COUNT_OF(calls); k++) {
			ob_sure_await(rig.sure, &calls[k]);
			assert_int_equal(calls[k].res, 3);
		}
		assert_string_equal(in, "abc");
	}
	calls[0].tag = ob_sure_tag(rig.sure);
	ob_sure_recv_along(rig.sure, &calls[0], rig.sock[1], in, 3);
	ob_sure_await(rig.sure, &calls[0]);
	assert_int_equal(calls[0].res, -EAGAIN);
	rig_close(&rig);
}

static void on_timer(struct ob_timer *timer)
{
	timer->fire = NULL;
}

/* It leaves with the call that sleeps, and does not end the sleep. */
static void test_who_goes_along_wakes_nobody(void **state)
{
	struct ob_timer timer = { .fire = on_timer };
	struct ob_sure_call call = { 0 };
	struct rig rig;
	char in[8] = "";

	rig_open(&rig, state);
	ob_timer_arm(rig.loop, &timer, 20000000);
	recv_along(&rig, &call, in);
	ob_loop_turn(rig.loop, true);
	assert_null(timer.fire);
	assert_int_equal(recv(rig.sock[1], in, 1, MSG_DONTWAIT), -1);
	ob_sure_await(rig.sure, &call);
	assert_int_equal(call.res, 3);
	rig_close(&rig);
}

#define BOTH_WAYS(function) \
	{ #function "(ring)", function, NULL, NULL, (void *)1 }, \
	{ #function "(plain)", function, NULL, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_WAYS(test_calls_run_in_their_order),
		BOTH_WAYS(test_a_full_or_closed_socket_is_a_result),
		BOTH_WAYS(test_one_goes_along),
		BOTH_WAYS(test_who_goes_along_wakes_nobody),
		BOTH_WAYS(test_tags_differ_between_generations),
		cmocka_unit_test(test_tags_differ_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
