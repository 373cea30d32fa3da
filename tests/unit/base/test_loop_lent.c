// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory that is lent.  Whether the kernel has its pages shows when they are
 * exchanged under it: what it holds does not notice.
 */
#include "loop_fixture.h"

#include <base/fd.h>

#include <errno.h>
#include <errno.h>
#include <linux/types.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE	(1u << 20)
#define BLOCK	4096u
#define OFTEN	100		/* uses after which it is held, if ever */

struct job {
	struct ob_op op;
	int done, res;
};

static bool refuses;

/* The linker's --wrap: a kernel that has no room for locked memory. */
struct io_uring;
int __real_io_uring_register_buffers_update_tag(struct io_uring *ring,
						unsigned off,
						const struct iovec *iovecs,
						const __u64 *tags, unsigned nr);
int __wrap_io_uring_register_buffers_update_tag(struct io_uring *ring,
						unsigned off,
						const struct iovec *iovecs,
						const __u64 *tags, unsigned nr);
int __wrap_io_uring_register_buffers_update_tag(struct io_uring *ring,
						unsigned off,
						const struct iovec *iovecs,
						const __u64 *tags, unsigned nr)
{
	if (refuses)
		return -ENOMEM;
	return __real_io_uring_register_buffers_update_tag(ring, off, iovecs,
							   tags, nr);
}

static void on_done(struct ob_op *op, int res)
{
	struct job *job = (struct job *)op;

	job->done++;
	job->res = res;
}

static int make_file(void)
{
	char path[] = "/tmp/outboard-test-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, 2 * SIZE), 0);
	return fd;
}

static uint8_t *map_at(void *where)
{
	void *at = mmap(where, SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED : 0),
			-1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void transfer(struct ob_loop *loop, int fd, bool writes, void *at,
		     size_t len)
{
	struct job job = { .op.done = on_done };
	struct iovec iov = { at, len };

	if (writes)
		ob_op_writev(loop, &job.op, fd, &iov, 1, 0, RWF_DSYNC);
	else
		ob_op_readv(loop, &job.op, fd, &iov, 1, 0);
	turn_until(loop, &job.done, 1);
	assert_int_equal(job.res, len);
}

/* Whatever lies where, and how often: it comes back from the file. */
static void check_transfers(struct ob_loop *loop, int fd, uint8_t *at,
			    unsigned times)
{
	static uint8_t seen[SIZE];

	for (unsigned i = 0; i < times; i++) {
		size_t len = 1 + (size_t)rand() % (i % 8 ? 2 * BLOCK : SIZE / 2);
		size_t from = (size_t)rand() % (SIZE - len);
		size_t to = (size_t)rand() % (SIZE - len);

		memset(at + from, (int)i, len);
		at[from] = (uint8_t)(i >> 8);
		transfer(loop, fd, true, at + from, len);
		assert_int_equal(pread(fd, seen, len, 0), len);
		assert_memory_equal(seen, at + from, len);
		memset(at + to, 0xee, len);
		transfer(loop, fd, false, at + to, len);
		assert_memory_equal(seen, at + to, len);
	}
}

/* Does a read reach the pages that were there before? */
static bool is_held(struct ob_loop *loop, int fd, uint8_t *at)
{
	assert_int_equal(pwrite(fd, "there", 5, 0), 5);
	assert_int_equal(madvise(at, BLOCK, MADV_DONTNEED), 0);
	transfer(loop, fd, false, at, BLOCK);
	return memcmp(at, "there", 5) != 0;
}

static void use(struct ob_loop *loop, int fd, uint8_t *at)
{
	for (unsigned i = 0; i < OFTEN; i++)
		transfer(loop, fd, false, at, BLOCK);
}

static void test_lent_memory_is_like_other_memory(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	uint8_t *at = map_at(NULL), *other = map_at(NULL);

	assert_int_equal(ob_loop_lend(loop, at, SIZE), 0);
	assert_int_equal(ob_loop_lend(loop, other, SIZE), 0);
	check_transfers(loop, fd, at, 400);
	check_transfers(loop, fd, other, 400);
	ob_loop_reclaim(loop, at);
	check_transfers(loop, fd, at, 100);
	check_transfers(loop, fd, other, 100);
	ob_loop_reclaim(loop, at);	/* is not lent */
	ob_loop_reclaim(loop, other);
	munmap(at, SIZE);
	munmap(other, SIZE);
}

static void test_what_is_used_often_is_held(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	uint8_t *at = map_at(NULL);

	assert_int_equal(ob_loop_lend(loop, at, SIZE), 0);
	transfer(loop, fd, false, at, BLOCK);
	assert_false(is_held(loop, fd, at));
	use(loop, fd, at);
	assert_int_equal(is_held(loop, fd, at), ob_loop_is_uring(loop));
	/* What lies elsewhere was not used. */
	transfer(loop, fd, false, at + SIZE / 2, BLOCK);
	assert_false(is_held(loop, fd, at + SIZE / 2));
	ob_loop_reclaim(loop, at);
	munmap(at, SIZE);
}

/* The address is the same, the memory is not. */
static void test_what_was_reclaimed_is_forgotten(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	uint8_t *at = map_at(NULL);

	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(ob_loop_lend(loop, at, SIZE), 0);
		use(loop, fd, at);
		ob_loop_reclaim(loop, at);
		map_at(at);
		check_transfers(loop, fd, at, 10);
		assert_false(is_held(loop, fd, at));
		if (i % 2)
			use(loop, fd, at);
	}
	munmap(at, SIZE);
}

static void test_a_kernel_that_refuses_is_not_asked_for_ever(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = make_file();
	uint8_t *at = map_at(NULL);

	assert_int_equal(ob_loop_lend(loop, at, SIZE), 0);
	refuses = true;
	use(loop, fd, at);
	refuses = false;
	use(loop, fd, at);
	assert_false(is_held(loop, fd, at));
	use(loop, fd, at + SIZE / 2);
	assert_int_equal(is_held(loop, fd, at + SIZE / 2),
			 ob_loop_is_uring(loop));
	munmap(at, SIZE);		/* the loop's end is an end as well */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_lent_memory_is_like_other_memory),
		ON_BOTH_ENGINES(test_what_is_used_often_is_held),
		ON_BOTH_ENGINES(test_what_was_reclaimed_is_forgotten),
		ON_BOTH_ENGINES(test_a_kernel_that_refuses_is_not_asked_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
