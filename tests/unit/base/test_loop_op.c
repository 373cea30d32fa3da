// SPDX-License-Identifier: BSD-3-Clause
#include "loop_fixture.h"
#include "loop_job.h"

#include <base/fd.h>
#include <base/loop_private.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int wait_for(struct ob_loop *loop, struct job *job)
{
	turn_until(loop, &job->done, 1);
	return job->res;
}

static int make_file(void)
{
	char path[] = "/tmp/outboard-test-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void test_what_is_written_is_read_back(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	struct job wr = { .op.done = on_done }, rd = { .op.done = on_done };
	struct job sync = { .op.done = on_done };
	char in1[5] = "hello", in2[6] = " world", out[16] = "";
	struct iovec from[2] = { { in1, 5 }, { in2, 6 } };
	struct iovec to = { out, sizeof(out) };

	ob_op_writev(loop, &wr.op, fd, from, 2, 100, 0);
	assert_int_equal(wr.done, 0);	/* never from inside */
	assert_int_equal(wait_for(loop, &wr), 11);
	ob_op_fdatasync(loop, &sync.op, fd);
	assert_int_equal(wait_for(loop, &sync), 0);
	/* The file ends after 11 bytes: a short read is a result. */
	ob_op_readv(loop, &rd.op, fd, &to, 1, 100);
	assert_int_equal(wait_for(loop, &rd), 11);
	assert_string_equal(out, "hello world");
}

/* What has ended is unanswered until as many have begun. */
static void test_the_loop_knows_whose_turn_it_is(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	struct job jobs[2] = { { .op.done = on_done }, { .op.done = on_done } };

	ob_op_fdatasync(loop, &jobs[0].op, fd);
	ob_op_fdatasync(loop, &jobs[1].op, fd);
	assert_int_equal(loop->unanswered, 0);
	while (loop->in_flight)
		ob_loop_turn(loop, false);
	assert_int_equal(loop->unanswered, 2);
	jobs[0].done = 0;
	ob_op_fdatasync(loop, &jobs[0].op, fd);
	assert_int_equal(loop->unanswered, 1);
	turn_until(loop, &jobs[0].done, 1);
}

static void test_write_with_flags_reaches_the_file(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	struct job wr = { .op.done = on_done };
	struct iovec from = { (char[]){ "x" }, 1 };
	char c = 0;

	ob_op_writev(loop, &wr.op, fd, &from, 1, 0, RWF_DSYNC);
	assert_int_equal(wait_for(loop, &wr), 1);
	assert_int_equal(pread(fd, &c, 1, 0), 1);
	assert_int_equal(c, 'x');
}

static void test_fallocate_extends_and_punches(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	struct job job = { .op.done = on_done };
	struct stat st;
	char c = 'x';

	ob_op_fallocate(loop, &job.op, fd, 0, 0, 65536);
	assert_int_equal(wait_for(loop, &job), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 65536);
	assert_int_equal(pwrite(fd, &c, 1, 0), 1);
	job.done = 0;
	ob_op_fallocate(loop, &job.op, fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	assert_int_equal(wait_for(loop, &job), 0);
	assert_int_equal(pread(fd, &c, 1, 0), 1);
	assert_int_equal(c, 0);
}

static void test_errors_come_as_results(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct job rd = { .op.done = on_done }, sync = { .op.done = on_done };
	char c;
	struct iovec to = { &c, 1 };

	ob_op_readv(loop, &rd.op, fd, &to, 1, 0);
	assert_int_equal(wait_for(loop, &rd), -EBADF);
	ob_op_fdatasync(loop, &sync.op, 999999);
	assert_int_equal(wait_for(loop, &sync), -EBADF);
}

/* Many more operations than the loop starts at once: none is lost. */
static void test_more_operations_than_the_depth(void **state)
{
	enum { JOBS = 2000 };
	static struct job jobs[JOBS];
	static uint32_t words[JOBS];
	static struct iovec iov[JOBS];
	struct ob_loop *loop = loop_like(*state, 8);
	OB_CLEANUP_FD int fd = make_file();

	for (uint32_t i = 0; i < JOBS; i++)
		assert_int_equal(pwrite(fd, &i, 4, 4 * i), 4);
	all_done = 0;
	for (uint32_t i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ .op.done = on_done };
		words[i] = 0;
		iov[i] = (struct iovec){ &words[i], 4 };
		ob_op_readv(loop, &jobs[i].op, fd, &iov[i], 1, 4 * i);
	}
	turn_until(loop, &all_done, JOBS);
	for (uint32_t i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_int_equal(jobs[i].res, 4);
		assert_int_equal(words[i], i);
	}
	ob_loop_destroy(loop);
}

/*
 * Reads of an empty pipe block for as long as we like.  With a depth of one
 * the first is in flight and the second waits in the loop.
 */
struct blocked {
	struct ob_loop *loop;
	int pipe[2];
	struct job jobs[2];
	char bytes[2];
	struct iovec iov[2];
};

static void block(struct blocked *b, struct ob_loop *like)
{
	memset(b, 0, sizeof(*b));
	b->loop = loop_like(like, 1);
	assert_int_equal(pipe2(b->pipe, O_CLOEXEC), 0);
	for (int i = 0; i < 2; i++) {
		b->jobs[i].op.done = on_done;
		b->iov[i] = (struct iovec){ &b->bytes[i], 1 };
		ob_op_readv(b->loop, &b->jobs[i].op, b->pipe[0], &b->iov[i],
			    1, -1);
	}
	turn_some(b->loop);
	assert_int_equal(b->jobs[0].done + b->jobs[1].done, 0);
}

static void unblock(struct blocked *b)
{
	assert_int_equal(write(b->pipe[1], "ab", 2), 2);
	for (int i = 0; i < 2; i++) {
		turn_until(b->loop, &b->jobs[i].done, 1);
		assert_int_equal(b->jobs[i].done, 1);
	}
	ob_loop_destroy(b->loop);
	ob_fds_close(b->pipe, 2);
}

static void test_cancel_of_one_that_waits_for_room(void **state)
{
	struct blocked b;

	block(&b, *state);
	ob_op_cancel(b.loop, &b.jobs[1].op);
	assert_int_equal(b.jobs[1].done, 0);	/* never from inside */
	ob_op_cancel(b.loop, &b.jobs[1].op);
	turn_until(b.loop, &b.jobs[1].done, 1);
	assert_int_equal(b.jobs[1].res, -ECANCELED);
	assert_int_equal(b.jobs[0].done, 0);
	unblock(&b);
	assert_int_equal(b.jobs[0].res, 1);
}

static void test_cancel_of_one_in_flight_ends_it_once(void **state)
{
	struct blocked b;

	block(&b, *state);
	ob_op_cancel(b.loop, &b.jobs[0].op);
	turn_some(b.loop);
	unblock(&b);
	/*
	 * A thread in a system call cannot be stopped, the ring can.  On a
	 * busy machine no thread may have come so far.
	 */
	if (ob_loop_is_uring(*state) || b.jobs[0].res < 0)
		assert_int_equal(b.jobs[0].res, -ECANCELED);
	else
		assert_int_equal(b.jobs[0].res, 1);
	assert_int_equal(b.jobs[1].res, 1);
}

/* With a worker that has worked before and is free. */
static void test_no_operation_waits_behind_a_blocked_one(void **state)
{
	struct ob_loop *loop = loop_like(*state, 0);
	OB_CLEANUP_FD int fd = make_file();
	struct job first = { .op.done = on_done }, sync = { .op.done = on_done };
	struct job blocked = { .op.done = on_done };
	char c;
	struct iovec to = { &c, 1 };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	ob_op_fdatasync(loop, &first.op, fd);
	assert_int_equal(wait_for(loop, &first), 0);
	turn_some(loop);
	ob_op_readv(loop, &blocked.op, fds[0], &to, 1, -1);
	ob_op_fdatasync(loop, &sync.op, fd);
	assert_int_equal(wait_for(loop, &sync), 0);
	assert_int_equal(blocked.done, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(wait_for(loop, &blocked), 1);
	ob_loop_destroy(loop);
	ob_fds_close(fds, 2);
}

static void test_cancel_of_one_that_is_done_does_nothing(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	struct job job = { .op.done = on_done };

	ob_op_fdatasync(loop, &job.op, fd);
	assert_int_equal(wait_for(loop, &job), 0);
	ob_op_cancel(loop, &job.op);
	turn_some(loop);
	assert_int_equal(job.done, 1);
}

/* Destroying the loop ends what has not started and waits for the rest. */
static void test_destroy_completes_every_operation_once(void **state)
{
	enum { JOBS = 64 };
	static struct job jobs[JOBS];
	static char bytes[JOBS][4096];
	static struct iovec iov[JOBS];
	struct ob_loop *loop = loop_like(*state, 4);
	OB_CLEANUP_FD int fd = make_file();

	assert_int_equal(ftruncate(fd, 4096 * JOBS), 0);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){ .op.done = on_done };
		iov[i] = (struct iovec){ bytes[i], 4096 };
		ob_op_readv(loop, &jobs[i].op, fd, &iov[i], 1, 4096 * i);
	}
	ob_loop_destroy(loop);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_true(jobs[i].res == 4096 || jobs[i].res == -ECANCELED);
	}
}

struct chain {
	struct job job;
	struct ob_loop *loop;
	int fd;
};

static void start_next(struct ob_op *op, int res)
{
	struct chain *chain = (struct chain *)op;

	assert_int_equal(res, 0);
	if (++chain->job.done < 100)
		ob_op_fdatasync(chain->loop, op, chain->fd);
}

static void test_done_may_start_the_operation_again(void **state)
{
	OB_CLEANUP_FD int fd = make_file();
	struct chain chain = {
		.job.op.done = start_next, .loop = *state, .fd = fd,
	};

	ob_op_fdatasync(chain.loop, &chain.job.op, fd);
	turn_until(chain.loop, &chain.job.done, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_what_is_written_is_read_back),
		ON_BOTH_ENGINES(test_the_loop_knows_whose_turn_it_is),
		ON_BOTH_ENGINES(test_write_with_flags_reaches_the_file),
		ON_BOTH_ENGINES(test_fallocate_extends_and_punches),
		ON_BOTH_ENGINES(test_errors_come_as_results),
		ON_BOTH_ENGINES(test_more_operations_than_the_depth),
		ON_BOTH_ENGINES(test_cancel_of_one_that_waits_for_room),
		ON_BOTH_ENGINES(test_cancel_of_one_in_flight_ends_it_once),
		ON_BOTH_ENGINES(test_cancel_of_one_that_is_done_does_nothing),
		ON_BOTH_ENGINES(test_no_operation_waits_behind_a_blocked_one),
		ON_BOTH_ENGINES(test_destroy_completes_every_operation_once),
		ON_BOTH_ENGINES(test_done_may_start_the_operation_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
