// SPDX-License-Identifier: BSD-3-Clause
/*
 * Transfers that become one request.  How many requests they are is what the
 * kernel says that it has taken; the test can also make it take none for a while.
 */
#include "loop_fixture.h"

#include <base/fd.h>

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 512, JOBS = 256, FILE_SIZE = JOBS * PIECE };

struct job {
	struct ob_op op;
	struct iovec iov;
	int done, res;
};

static struct job jobs[JOBS];
static uint8_t content[FILE_SIZE], area[2 * FILE_SIZE];
static int all_done, taken;
static bool takes_none;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	int r = takes_none ? -EBUSY : __real_io_uring_submit(ring);

	taken += r > 0 ? r : 0;
	return r;
}

static void on_done(struct ob_op *op, int res)
{
	struct job *job = (struct job *)op;

	job->done++;
	job->res = res;
	all_done++;
}

static int make_file(void)
{
	char path[] = "/tmp/outboard-test-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	for (unsigned i = 0; i < FILE_SIZE; i++)
		content[i] = (uint8_t)(i / PIECE * 7 + i);
	assert_int_equal(pwrite(fd, content, FILE_SIZE, 0), FILE_SIZE);
	memset(area, 0, sizeof(area));
	memset(jobs, 0, sizeof(jobs));
	all_done = 0;
	return fd;
}

/* Nothing of the loop's own is to be counted. */
static void count_from_here(struct ob_loop *loop)
{
	turn_some(loop);
	taken = 0;
}

static struct job *prepare(unsigned i, void *at, size_t len)
{
	jobs[i].op.done = on_done;
	jobs[i].iov = (struct iovec){ at, len };
	return &jobs[i];
}

static void read_at(struct ob_loop *loop, unsigned i, int fd, void *at,
		    size_t len, off_t off)
{
	struct job *job = prepare(i, at, len);

	ob_op_readv(loop, &job->op, fd, &job->iov, 1, off);
}

static void write_at(struct ob_loop *loop, unsigned i, int fd, void *at,
		     size_t len, off_t off, int flags)
{
	struct job *job = prepare(i, at, len);

	ob_op_writev(loop, &job->op, fd, &job->iov, 1, off, flags);
}

/* By the call that is counted, not by the one that waits. */
static void finish(struct ob_loop *loop, int count)
{
	ob_loop_turn(loop, false);
	turn_until(loop, &all_done, count);
}

/* Buffers with gaps between them. */
static uint8_t *apart(unsigned i)
{
	return area + (size_t)i * 2 * PIECE;
}

static void must_be_moved(unsigned count)
{
	assert_int_equal(all_done, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(jobs[i].done, 1);
		assert_int_equal(jobs[i].res, PIECE);
	}
}

static void must_be_requests(struct ob_loop *loop, int count)
{
	if (ob_loop_is_uring(loop))
		assert_int_equal(taken, count);
}

static void test_what_follows_is_one_request(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();

	count_from_here(loop);
	for (unsigned i = 0; i < 32; i++)
		read_at(loop, i, fd, apart(i), PIECE, (off_t)i * PIECE);
	finish(loop, 32);
	must_be_moved(32);
	must_be_requests(loop, 1);
	for (unsigned i = 0; i < 32; i++)
		assert_memory_equal(apart(i), content + i * PIECE, PIECE);
}

static void test_writes_that_follow_are_one_request(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	uint8_t back[4 * PIECE];

	for (unsigned i = 0; i < 4; i++)
		memset(apart(i), (int)i + 1, PIECE);
	count_from_here(loop);
	for (unsigned i = 0; i < 4; i++)
		write_at(loop, i, fd, apart(i), PIECE, (off_t)i * PIECE,
			 RWF_DSYNC);
	finish(loop, 4);
	must_be_moved(4);
	must_be_requests(loop, 1);
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
	for (unsigned i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], i / PIECE + 1);
}

/* Gaps in memory are what pieces are for; without, there is no bound but size. */
static void test_a_request_has_bounds(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();

	count_from_here(loop);
	for (unsigned i = 0; i < 40; i++)
		read_at(loop, i, fd, apart(i), PIECE, (off_t)i * PIECE);
	finish(loop, 40);
	must_be_moved(40);
	must_be_requests(loop, 2);

	make_file();
	count_from_here(loop);
	for (unsigned i = 0; i < JOBS; i++)
		read_at(loop, i, fd, area + (size_t)i * PIECE, PIECE,
			(off_t)i * PIECE);
	finish(loop, JOBS);
	must_be_moved(JOBS);
	must_be_requests(loop, 1);
	assert_memory_equal(area, content, FILE_SIZE);
}

static void test_what_does_not_follow_is_its_own(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file(), other = make_file();
	struct iovec two[2] = { { apart(7), 100 }, { apart(8), PIECE - 100 } };

	count_from_here(loop);
	read_at(loop, 0, fd, apart(0), PIECE, 0);
	read_at(loop, 1, fd, apart(1), PIECE, 2 * PIECE);	/* a gap */
	read_at(loop, 2, fd, apart(2), PIECE, 2 * PIECE);	/* the same */
	read_at(loop, 3, other, apart(3), PIECE, 3 * PIECE);
	write_at(loop, 4, other, apart(4), PIECE, 4 * PIECE, 0);
	write_at(loop, 5, other, apart(4), PIECE, 5 * PIECE, RWF_DSYNC);
	read_at(loop, 6, fd, apart(6), PIECE, PIECE);		/* before */
	prepare(7, NULL, 0);
	ob_op_readv(loop, &jobs[7].op, fd, two, 2, 2 * PIECE);
	finish(loop, 8);
	must_be_moved(8);
	must_be_requests(loop, 8);
}

/* Sizes, gaps, directions as they come, each range once at a time. */
static void test_any_mixture_moves_what_it_says(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	static uint8_t back[FILE_SIZE];
	unsigned random = 12345;

	for (unsigned round = 0; round < 200; round++) {
		unsigned at = 0, count = 0;

		memset(jobs, 0, sizeof(jobs));
		all_done = 0;
		while (at < FILE_SIZE - 4096 && count < JOBS) {
			unsigned len = (random >> 8) % 3000 + 1;

			random = random * 1664525 + 1013904223;
			if (random >> 31)
				at += (random >> 16) % 64;
			if (random >> 28 & 1) {
				memset(area + at, (int)round, len);
				memset(content + at, (int)round, len);
				write_at(loop, count++, fd, area + at, len,
					 at, 0);
			} else {
				memset(area + at, 0, len);
				read_at(loop, count++, fd, area + at, len, at);
			}
			at += len;
		}
		turn_until(loop, &all_done, (int)count);
		for (unsigned i = 0; i < count; i++) {
			size_t off = (size_t)((uint8_t *)jobs[i].iov.iov_base - area);

			assert_int_equal(jobs[i].res, jobs[i].iov.iov_len);
			assert_memory_equal(area + off, content + off,
					    jobs[i].iov.iov_len);
		}
	}
	assert_int_equal(pread(fd, back, FILE_SIZE, 0), FILE_SIZE);
	assert_memory_equal(back, content, FILE_SIZE);
}

/* Each one is told what it would be told by itself. */
static void test_a_file_that_ends_in_the_middle(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();

	assert_int_equal(ftruncate(fd, 2 * PIECE + 100), 0);
	for (unsigned i = 0; i < 4; i++)
		read_at(loop, i, fd, apart(i), PIECE, (off_t)i * PIECE);
	turn_until(loop, &all_done, 4);
	assert_int_equal(all_done, 4);
	assert_int_equal(jobs[0].res, PIECE);
	assert_int_equal(jobs[1].res, PIECE);
	assert_int_equal(jobs[2].res, 100);
	assert_int_equal(jobs[3].res, 0);
	assert_memory_equal(apart(2), content + 2 * PIECE, 100);
}

static void test_an_error_is_of_one(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	assert_true(nowhere != MAP_FAILED);
	for (unsigned i = 0; i < 8; i++)
		write_at(loop, i, fd, i == 5 ? nowhere : apart(i), PIECE,
			 (off_t)i * PIECE, 0);
	turn_until(loop, &all_done, 8);
	assert_int_equal(all_done, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(jobs[i].res, i == 5 ? -EFAULT : PIECE);
	munmap(nowhere, 4096);
}

/* The ring reads a pipe whatever the place, and waits as long as it is empty. */
static void read_pipe(struct ob_loop *loop, int fds[2], unsigned count)
{
	make_file();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	count_from_here(loop);
	for (unsigned i = 0; i < count; i++)
		read_at(loop, i, fds[0], apart(i), 1, i);
	turn_some(loop);
	assert_int_equal(taken, 1);
	assert_int_equal(all_done, 0);
}

static void test_a_cancellation_is_of_one(void **state)
{
	struct ob_loop *loop = *state;
	int fds[2];

	if (!ob_loop_is_uring(loop))
		skip();
	for (unsigned which = 0; which < 3; which++) {
		read_pipe(loop, fds, 3);
		ob_op_cancel(loop, &jobs[which].op);
		turn_until(loop, &jobs[which].done, 1);
		assert_int_equal(jobs[which].res, -ECANCELED);
		turn_some(loop);
		assert_int_equal(all_done, 1);
		assert_int_equal(write(fds[1], "ab", 2), 2);
		turn_until(loop, &all_done, 3);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(jobs[i].done, 1);
			if (i != which)
				assert_int_equal(jobs[i].res, 1);
		}
		ob_fds_close(fds, 2);
	}
}

/* All at once: the second finds the request gone, and nobody else suffers. */
static void test_several_cancellations(void **state)
{
	struct ob_loop *loop = *state;
	int fds[2];

	if (!ob_loop_is_uring(loop))
		skip();
	read_pipe(loop, fds, 4);
	ob_op_cancel(loop, &jobs[1].op);
	ob_op_cancel(loop, &jobs[2].op);
	turn_until(loop, &all_done, 2);
	assert_int_equal(jobs[1].res, -ECANCELED);
	assert_int_equal(jobs[2].res, -ECANCELED);
	ob_op_cancel(loop, &jobs[0].op);	/* alone by now */
	turn_until(loop, &all_done, 3);
	assert_int_equal(jobs[0].res, -ECANCELED);
	assert_int_equal(write(fds[1], "a", 1), 1);
	turn_until(loop, &all_done, 4);
	assert_int_equal(jobs[3].res, 1);
	ob_fds_close(fds, 2);
}

static void test_destroy_ends_each_once(void **state)
{
	struct ob_loop *loop = loop_like(*state, 0);
	int fds[2];

	if (ob_loop_is_uring(loop)) {
		read_pipe(loop, fds, 5);
		ob_loop_destroy(loop);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(jobs[i].done, 1);
			assert_int_equal(jobs[i].res, -ECANCELED);
		}
		ob_fds_close(fds, 2);
		return;
	}
	ob_loop_destroy(loop);
	skip();
}

static struct ob_loop *the_loop;
static int the_file;

/* The leader begins anew, and asks for the end of one that it went with. */
static void begin_anew(struct ob_op *op, int res)
{
	struct job *job = (struct job *)op;

	assert_int_equal(res, PIECE);
	job->op.done = on_done;
	ob_op_readv(the_loop, op, the_file, &job->iov, 1, 8 * PIECE);
	ob_op_cancel(the_loop, &jobs[1].op);
}

static void test_done_may_cancel_another(void **state)
{
	OB_CLEANUP_FD int fd = make_file();

	the_loop = *state;
	the_file = fd;
	for (unsigned i = 0; i < 3; i++)
		read_at(the_loop, i, fd, apart(i), PIECE, (off_t)i * PIECE);
	jobs[0].op.done = begin_anew;
	turn_until(the_loop, &all_done, 3);
	assert_int_equal(jobs[0].res, PIECE);
	assert_memory_equal(apart(0), content + 8 * PIECE, PIECE);
	assert_int_equal(jobs[2].res, PIECE);
}

/* More than there are arrays of pieces: what finds none is its own request. */
static void test_a_kernel_that_takes_nothing_for_a_while(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();

	count_from_here(loop);
	takes_none = ob_loop_is_uring(loop);
	for (unsigned i = 0; i < 40; i++)
		read_at(loop, i, fd, apart(i), PIECE,
			(off_t)(i * 2 - i % 2) * PIECE);
	takes_none = false;
	finish(loop, 40);
	must_be_moved(40);
	must_be_requests(loop, 32);	/* 8 pairs, 24 single ones */
	for (unsigned i = 0; i < 40; i++)
		assert_memory_equal(apart(i),
				    content + (i * 2 - i % 2) * PIECE, PIECE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_what_follows_is_one_request),
		ON_BOTH_ENGINES(test_writes_that_follow_are_one_request),
		ON_BOTH_ENGINES(test_a_request_has_bounds),
		ON_BOTH_ENGINES(test_what_does_not_follow_is_its_own),
		ON_BOTH_ENGINES(test_any_mixture_moves_what_it_says),
		ON_BOTH_ENGINES(test_a_file_that_ends_in_the_middle),
		ON_BOTH_ENGINES(test_an_error_is_of_one),
		ON_BOTH_ENGINES(test_a_cancellation_is_of_one),
		ON_BOTH_ENGINES(test_several_cancellations),
		ON_BOTH_ENGINES(test_destroy_ends_each_once),
		ON_BOTH_ENGINES(test_done_may_cancel_another),
		ON_BOTH_ENGINES(test_a_kernel_that_takes_nothing_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
