// SPDX-License-Identifier: BSD-3-Clause
/* Branches: the same drive on another loop, here on a thread of its own. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "block/file.h"
#include "rig.h"

#define SIZE MIB
#define BLOCK 4096u

/* A thread that writes through its branch, flushes, and reads it back. */
struct worker {
	struct rig own;			/* its loop, and the branch as its drive */
	const struct rig *rig;
	uint64_t first;			/* every second block from here */
	pthread_t id;
	bool zeros;			/* ... is what it reads */
	int refused;			/* what a DISCARD was told */
};

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t *buf = page_alloc(BLOCK), *back = page_alloc(BLOCK);
	struct ob_err err = { "" };

	assert_int_equal(ob_loop_create(NULL, &w->own.loop, &err), 0);
	if (ob_drive_branch(w->rig->drive, w->own.loop, BLOCK, &w->own.drive,
			    &err))
		fail_msg("%s", err.msg);
	for (uint64_t at = w->first; at < SIZE; at += 2 * BLOCK) {
		memset(buf, (int)(at / BLOCK) | 1, BLOCK);
		assert_int_equal(io_write(&w->own, at, BLOCK, buf), 0);
	}
	assert_int_equal(io_flush(&w->own), 0);
	for (uint64_t at = w->first; at < SIZE; at += 2 * BLOCK) {
		assert_int_equal(io_read(&w->own, at, BLOCK, back), 0);
		assert_true(all_bytes_are(back, w->zeros ? 0 :
					  (uint8_t)(at / BLOCK | 1), BLOCK));
	}
	assert_int_equal(io_read(&w->own, SIZE, BLOCK, back), -EINVAL);
	w->refused = io_run(&w->own, OB_BLOCK_DISCARD, 0, 0, BLOCK, NULL);
	free(buf);
	free(back);
	return NULL;
}

static void run_worker(struct worker *w)
{
	assert_int_equal(pthread_create(&w->id, NULL, work, w), 0);
	pthread_join(w->id, NULL);
	assert_int_equal(w->refused, -EOPNOTSUPP);
}

static void end_worker(struct worker *w)
{
	ob_drive_close(w->own.drive);
	ob_loop_destroy(w->own.loop);
}

static void share(struct rig *rig, bool zeros)
{
	struct worker even = { .rig = rig, .zeros = zeros };
	struct worker odd = { .rig = rig, .first = BLOCK, .zeros = zeros };
	uint8_t *buf = page_alloc(BLOCK);

	run_worker(&even);
	run_worker(&odd);
	for (uint64_t at = 0; at < SIZE; at += BLOCK) {
		assert_int_equal(io_read(rig, at, BLOCK, buf), 0);
		assert_true(all_bytes_are(buf, zeros ? 0 :
					  (uint8_t)(at / BLOCK | 1), BLOCK));
	}
	assert_int_equal(ob_drive_in_flight(rig->drive), 0);
	end_worker(&even);
	end_worker(&odd);
	free(buf);
}

static void test_null(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "null:1M", false);
	share(&rig, true);
	rig_stop(&rig);
}

static void test_memory(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "mem:1M", false);
	share(&rig, false);
	rig_stop(&rig);
}

static void test_file(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_make_image(&rig, rig_disk(), SIZE);
	rig_open_image(&rig, false);
	share(&rig, false);
	rig_stop(&rig);
}

/* What is one for the drive: activity, size, and whether all is quiet. */
static void test_follows_its_drive(void **state)
{
	struct ob_drive *branch;
	struct io io;
	struct rig rig;
	char buf[512] = { 0 };

	rig_start(&rig, state);
	rig_make_image(&rig, "/dev/shm", SIZE);
	rig_open_image(&rig, false);
	assert_int_equal(ob_drive_branch(rig.drive, rig.loop, BLOCK, &branch,
					 NULL), 0);
	io_start(&(struct rig){ rig.loop, branch, "" }, &io, OB_BLOCK_WRITE, 0, 0,
		 sizeof(buf), buf);
	assert_int_equal(ob_drive_in_flight(rig.drive), 1);
	assert_int_equal(ob_drive_release(rig.drive, NULL), -EBUSY);
	assert_int_equal(io_wait(&rig, &io), 0);
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	assert_false(ob_drive_is_active(branch));
	assert_int_equal(truncate(rig.path, 2 * SIZE), 0);
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	assert_true(ob_drive_is_active(branch));
	assert_int_equal(ob_drive_info(branch)->size, 2 * SIZE);
	ob_drive_close(branch);
	rig_stop(&rig);
}

static void test_refused(void **state)
{
	struct ob_drive *branch;
	struct ob_err err = { "" };
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "delay:1:null:1M", false);
	assert_int_equal(ob_drive_branch(rig.drive, rig.loop, BLOCK, &branch,
					 &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "one thread"));
	rig_close(&rig);
	rig_make_image(&rig, rig_disk(), SIZE);
	rig_open_image(&rig, false);
	if (((struct file_drive *)rig.drive)->offset_align > 1)
		assert_int_equal(ob_drive_branch(rig.drive, rig.loop, 1,
						 &branch, NULL), -EOPNOTSUPP);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_null),
		ON_BOTH_ENGINES(test_memory),
		ON_BOTH_ENGINES(test_file),
		ON_BOTH_ENGINES(test_follows_its_drive),
		ON_BOTH_ENGINES(test_refused),
	};

	return cmocka_run_group_tests_name("branch", tests, NULL, NULL);
}
