// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands to NVMe namespaces, as far as they can be had without one: /dev/null
 * takes any command in a ring (Linux 6.0) and does nothing, a regular file takes
 * none.
 */
#include "loop_fixture.h"
#include "loop_job.h"

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <stdlib.h>
#include <unistd.h>

#define MANY 3000	/* more than the ring holds, and than the depth */

static const struct nvme_uring_cmd flush = { .nsid = 1 };

static void get_ready(struct ob_loop *loop)
{
	int r = ob_loop_nvme(loop);

	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(ob_loop_nvme(loop), 0);	/* once is enough */
	all_done = 0;
}

static int open_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int run(struct ob_loop *loop, int fd)
{
	struct job job = { .op.done = on_done };

	ob_op_nvme(loop, &job.op, fd, &flush);
	assert_int_equal(job.done, 0);		/* never from inside */
	turn_until(loop, &job.done, 1);
	return job.res;
}

static void test_what_takes_no_commands_says_so(void **state)
{
	char path[] = "/tmp/outboard-test-XXXXXX";
	OB_CLEANUP_FD int fd = mkstemp(path);
	int wanted = ob_loop_is_uring(*state) ? -EOPNOTSUPP : -ENOTTY;

	assert_true(fd >= 0);
	unlink(path);
	get_ready(*state);
	assert_int_equal(run(*state, fd), wanted);
	assert_int_equal(run(*state, -1), -EBADF);
}

static void test_many_commands_all_end(void **state)
{
	OB_CLEANUP_FD int fd = open_null();
	struct job *jobs = calloc(MANY, sizeof(*jobs));
	int first;

	get_ready(*state);
	first = run(*state, fd);
	all_done = 0;
	for (int i = 0; i < MANY; i++) {
		jobs[i].op.done = on_done;
		ob_op_nvme(*state, &jobs[i].op, fd, &flush);
	}
	turn_until(*state, &all_done, MANY);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_int_equal(jobs[i].res, first);
	}
	free(jobs);
}

/* In one turn with what goes to the other ring. */
static void test_commands_and_other_operations(void **state)
{
	OB_CLEANUP_FD int fd = open_null();
	struct job jobs[64] = { 0 };
	struct iovec iov = { (char[]){ "x" }, 1 };

	get_ready(*state);
	for (int i = 0; i < 64; i++) {
		jobs[i].op.done = on_done;
		if (i % 2)
			ob_op_nvme(*state, &jobs[i].op, fd, &flush);
		else
			ob_op_writev(*state, &jobs[i].op, fd, &iov, 1, 0, 0);
	}
	turn_until(*state, &all_done, 64);
	for (int i = 0; i < 64; i += 2)
		assert_int_equal(jobs[i].res, 1);
}

static void test_cancelled_ones_end_once(void **state)
{
	OB_CLEANUP_FD int fd = open_null();
	struct job *jobs = calloc(MANY, sizeof(*jobs));

	get_ready(*state);
	for (int i = 0; i < MANY; i++) {
		jobs[i].op.done = on_done;
		ob_op_nvme(*state, &jobs[i].op, fd, &flush);
		if (i % 3)
			ob_op_cancel(*state, &jobs[i].op);
	}
	turn_until(*state, &all_done, MANY);
	turn_some(*state);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(jobs[i].done, 1);
	free(jobs);
}

/* -- a kernel that does not take them ----------------------------------- */

static struct {
	int error;
	unsigned times;		/* still to come */
} refuse;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (!refuse.times || !(ring->flags & IORING_SETUP_SQE128))
		return __real_io_uring_submit(ring);
	refuse.times--;
	return refuse.error;
}

static void begin_many(struct ob_loop *loop, struct job *jobs, int fd)
{
	for (int i = 0; i < MANY; i++) {
		jobs[i] = (struct job){ .op.done = on_done };
		ob_op_nvme(loop, &jobs[i].op, fd, &flush);
	}
}

/* The loop sleeps; nothing but these is to wake it. */
static void test_refused_ones_are_given_again(void **state)
{
	static const int errors[] = { EAGAIN, EBUSY, EINTR, ENOMEM };
	OB_CLEANUP_FD int fd = open_null();
	struct job *jobs = calloc(MANY, sizeof(*jobs));
	unsigned nr = ob_loop_is_uring(*state) ? 4 : 1;

	get_ready(*state);
	for (unsigned i = 0; i < nr; i++) {
		all_done = 0;
		refuse.error = -errors[i];
		refuse.times = 5;
		(void)run(*state, fd);
		all_done = 0;
		refuse.times = 100;
		begin_many(*state, jobs, fd);
		turn_until(*state, &all_done, MANY);
		refuse.times = 0;
		for (int k = 0; k < MANY; k++)
			assert_int_equal(jobs[k].done, 1);
	}
	free(jobs);
}

/* times: so often the kernel does not take them, first. */
static void destroy_ends_all(struct ob_loop *like, int times)
{
	OB_CLEANUP_FD int fd = open_null();
	struct ob_loop *loop = loop_like(like, 32);
	struct job jobs[100] = { 0 };

	if (ob_loop_nvme(loop)) {
		ob_loop_destroy(loop);
		skip();
	}
	refuse.error = -EAGAIN;
	refuse.times = times;
	for (int i = 0; i < 100; i++) {
		jobs[i].op.done = on_done;
		ob_op_nvme(loop, &jobs[i].op, fd, &flush);
	}
	ob_loop_destroy(loop);
	refuse.times = 0;
	for (int i = 0; i < 100; i++)
		assert_int_equal(jobs[i].done, 1);
}

static void test_destroy_ends_every_command(void **state)
{
	destroy_ends_all(*state, 0);
}

static void test_destroy_ends_refused_ones(void **state)
{
	destroy_ends_all(*state, 5);
}

/* As when it cannot wait any more: the process is to end, and has a successor. */
static void test_what_is_refused_for_ever_ends_the_loop(void **state)
{
	OB_CLEANUP_FD int fd = open_null();
	struct job job = { .op.done = on_done };

	get_ready(*state);
	if (!ob_loop_is_uring(*state))
		skip();
	refuse.error = -EBADF;
	refuse.times = 1000;
	ob_op_nvme(*state, &job.op, fd, &flush);
	assert_int_equal(ob_loop_turn(*state, true), -EBADF);
	refuse.times = 0;
	turn_until(*state, &job.done, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_what_takes_no_commands_says_so),
		ON_BOTH_ENGINES(test_many_commands_all_end),
		ON_BOTH_ENGINES(test_commands_and_other_operations),
		ON_BOTH_ENGINES(test_cancelled_ones_end_once),
		ON_BOTH_ENGINES(test_destroy_ends_every_command),
		ON_BOTH_ENGINES(test_refused_ones_are_given_again),
		ON_BOTH_ENGINES(test_destroy_ends_refused_ones),
		ON_BOTH_ENGINES(test_what_is_refused_for_ever_ends_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
