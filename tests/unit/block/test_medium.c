// SPDX-License-Identifier: BSD-3-Clause
/* file: durability, holes, sizes, and media that fail. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image.h"

static void fua_and_flush_reach_the_medium(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	start_with_image(&rig, state);
	assert_true(ob_drive_info(rig.drive)->write_cache);
	memset(buf, 1, 4096);
	assert_int_equal(io_write(&rig, 0, 4096, buf), 0);
	assert_int_equal(seam.dsync_writes, 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, 4096,
				buf), 0);
	assert_int_equal(seam.dsync_writes, 1);
	assert_int_equal(seam.syncs, 0);
	assert_int_equal(io_flush(&rig), 0);
	assert_int_equal(seam.syncs, 1);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_FUA, 0,
				4096, NULL), 0);
	assert_int_equal(seam.syncs, 2);
	/* What is written by halves must be durable as a whole. */
	pretend(&rig, &(struct way){ false, 4096, 512 });
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE, OB_BLOCK_FUA, 512, 512,
				buf), 0);
	assert_int_equal(seam.dsync_writes, 2);
	seam.sync_res = -ENOSPC;
	assert_int_equal(io_flush(&rig), -ENOSPC);
	seam.sync_res = -EHOSTDOWN;
	assert_int_equal(io_flush(&rig), -EIO);
	rig_stop(&rig);
	free(buf);
}

static blkcnt_t blocks(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(stat(rig->path, &st), 0);
	return st.st_blocks;
}

static void fill(struct rig *rig, uint8_t value)
{
	uint8_t *buf = page_alloc(SIZE);

	memset(buf, value, SIZE);
	assert_int_equal(io_write(rig, 0, SIZE, buf), 0);
	assert_int_equal(io_flush(rig), 0);
	free(buf);
}

static void expect_zeros(struct rig *rig, uint64_t from, uint64_t len)
{
	uint8_t *buf = page_alloc(SIZE);

	read_image(rig, buf);
	assert_true(all_bytes_are(buf, 7, from));
	assert_true(all_bytes_are(buf + from, 0, len));
	assert_true(all_bytes_are(buf + from + len, 7, SIZE - from - len));
	free(buf);
}

static void discard_gives_blocks_back(void **state)
{
	struct rig rig;

	start_with_image(&rig, state);
	if (!ob_drive_info(rig.drive)->discard_granularity) {
		rig_stop(&rig);
		skip();
	}
	fill(&rig, 7);
	assert_true(blocks(&rig) >= (blkcnt_t)(SIZE / 512));
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, MIB - 512,
				2 * MIB + 1024, NULL), 0);
	expect_zeros(&rig, MIB, 2 * MIB);
	assert_true(blocks(&rig) <= (blkcnt_t)(SIZE / 512 / 2 + 64));
	/* Too little to free: nothing happens, and that is no error. */
	seam.fallocates = 0;
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 512, 512, NULL),
			 0);
	assert_int_equal(seam.fallocates, 0);
	expect_zeros(&rig, MIB, 2 * MIB);
	rig_stop(&rig);
}

static void write_zeroes_keeps_or_frees_blocks(void **state)
{
	struct rig rig;

	start_with_image(&rig, state);
	fill(&rig, 7);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, MIB,
				2 * MIB, NULL), 0);
	expect_zeros(&rig, MIB, 2 * MIB);
	assert_true(blocks(&rig) >= (blkcnt_t)(SIZE / 512));
	fill(&rig, 7);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP,
				MIB, 2 * MIB, NULL), 0);
	expect_zeros(&rig, MIB, 2 * MIB);
	if (ob_drive_info(rig.drive)->discard_granularity)
		assert_true(blocks(&rig) <=
			    (blkcnt_t)(SIZE / 512 / 2 + 64));
	rig_stop(&rig);
}

/* A file system that can neither punch nor zero. */
static void zeros_are_written_where_nothing_else_works(void **state)
{
	struct rig rig;

	start_with_image(&rig, state);
	fill(&rig, 7);
	seam.fail_modes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	seam.fail_res = -EOPNOTSUPP;
	seam.fallocates = 0;
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP,
				MIB - 512, MIB + 1024, NULL), 0);
	expect_zeros(&rig, MIB - 512, MIB + 1024);
	assert_int_equal(seam.fallocates, 2);
	/* That is remembered, and discards are dropped now. */
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB, NULL), 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP,
				MIB, MIB, NULL), 0);
	assert_int_equal(seam.fallocates, 2);
	expect_zeros(&rig, MIB - 512, MIB + 1024);
	rig_stop(&rig);
}

static void an_error_of_fallocate_is_passed_on(void **state)
{
	struct rig rig;

	start_with_image(&rig, state);
	seam.fail_modes = ~0;
	seam.fail_res = -ENOSPC;
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, MIB, NULL),
			 -ENOSPC);
	seam.fail_res = -EIO;
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB, NULL),
			 ob_drive_info(rig.drive)->discard_granularity ?
			 -EIO : 0);
	rig_stop(&rig);
}

static void an_interrupted_call_is_made_again(void **state)
{
	struct rig rig;

	start_with_image(&rig, state);
	fill(&rig, 7);
	seam.fail_modes = ~0;
	seam.fail_res = -EINTR;
	seam.fail_times = 3;
	seam.fallocates = 0;
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, MIB, MIB,
				NULL), 0);
	assert_int_equal(seam.fallocates, 4);
	expect_zeros(&rig, MIB, MIB);
	rig_stop(&rig);
}

static void a_file_that_was_cut_gives_errors(void **state)
{
	uint8_t *buf = page_alloc(MIB);
	struct rig rig;

	start_with_image(&rig, state);
	assert_int_equal(truncate(rig.path, MIB), 0);
	assert_int_equal(io_read(&rig, 0, MIB, buf), 0);
	assert_int_equal(io_read(&rig, MIB, MIB, buf), -EIO);
	assert_int_equal(io_read(&rig, MIB - 4096, 8192, buf), -EIO);
	assert_int_equal(io_read(&rig, MIB - 4096, 8192, buf + 1), -EIO);
	rig_stop(&rig);
	free(buf);
}

/* Requests that follow each other are one of the kernel's, and its error is not
 * all of theirs. */
static void an_error_is_of_whom_it_concerns(void **state)
{
	uint8_t *buf = page_alloc(8 * 4096);
	struct io io[8];
	struct rig rig;

	start_with_image(&rig, state);
	memset(buf, 7, 8 * 4096);
	assert_int_equal(io_write(&rig, MIB - 4 * 4096, 4 * 4096, buf), 0);
	assert_int_equal(truncate(rig.path, MIB), 0);
	memset(buf, 0, 8 * 4096);
	for (unsigned i = 0; i < 8; i++)
		io_start(&rig, &io[i], OB_BLOCK_READ, 0,
			 MIB + 4096 * i - 4 * 4096, 4096, buf + 4096 * i);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(io_wait(&rig, &io[i]), i < 4 ? 0 : -EIO);
	assert_true(all_bytes_are(buf, 7, 4 * 4096));
	rig_stop(&rig);
	free(buf);
}

static unsigned resizes;

static void count_resize(void *arg)
{
	resizes++;
	assert_ptr_equal(arg, &resizes);
}

static void a_grown_image_is_noticed(const char *prefix, void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct ob_err err = { 0 };
	char spec[300];
	struct rig rig;

	start(&rig, state);
	rig_make_image(&rig, rig_disk(), SIZE);
	snprintf(spec, sizeof(spec), "%sfile:%s", prefix, rig.path);
	rig_open(&rig, spec, false);
	resizes = 0;
	ob_drive_on_resize(rig.drive, count_resize, &resizes);
	assert_int_equal(ob_drive_refresh(rig.drive, &err), 0);
	assert_int_equal(resizes, 0);
	assert_int_equal(io_read(&rig, SIZE, 4096, buf), -EINVAL);

	assert_int_equal(truncate(rig.path, 2 * SIZE), 0);
	assert_int_equal(ob_drive_refresh(rig.drive, &err), 0);
	assert_int_equal(resizes, 1);
	assert_int_equal(ob_drive_info(rig.drive)->size, 2 * SIZE);
	assert_int_equal(io_read(&rig, SIZE, 4096, buf), 0);

	assert_int_equal(truncate(rig.path, SIZE + 100), 0);
	assert_int_equal(ob_drive_refresh(rig.drive, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "its size, 4194404 bytes, is no multiple of 512"));
	assert_int_equal(ob_drive_info(rig.drive)->size, 2 * SIZE);
	assert_int_equal(resizes, 1);
	rig_stop(&rig);
	free(buf);
}

static void growth_is_noticed(void **state)
{
	a_grown_image_is_noticed("", state);
}

static void growth_is_noticed_through_wrappers(void **state)
{
	a_grown_image_is_noticed("delay:0:fault:write=EIO:", state);
}

static void bad_images_are_refused(void **state)
{
	struct ob_err err = { 0 };
	struct rig rig;

	start(&rig, state);
	rig_make_image(&rig, rig_disk(), 1000);
	assert_non_null(strstr(rig_open_fails(&rig, rig.path, false, EINVAL),
			       ": its size, 1000 bytes, is no multiple of 512"));
	assert_int_equal(truncate(rig.path, 0), 0);
	assert_non_null(strstr(rig_open_fails(&rig, rig.path, false, EINVAL),
			       ": the image is empty"));
	assert_int_equal(truncate(rig.path, MIB), 0);
	assert_int_equal(chmod(rig.path, 0), 0);
	if (geteuid())
		assert_non_null(strstr(rig_open_fails(&rig, rig.path, false,
						      EACCES),
				       ": Permission denied"));
	assert_int_equal(chmod(rig.path, 0400), 0);
	assert_int_equal(ob_drive_open(rig.loop, rig.path, OB_DRIVE_READONLY,
				       &rig.drive, &err), 0);
	rig_stop(&rig);
}

static void a_read_only_image_is_never_written(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	start(&rig, state);
	rig_make_image(&rig, rig_disk(), SIZE);
	rig_open_image(&rig, true);
	assert_int_equal(fcntl(file_of(&rig)->fd, F_GETFL) & O_ACCMODE,
			 O_RDONLY);
	assert_int_equal(io_write(&rig, 0, 4096, buf), -EROFS);
	assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
	assert_true(all_bytes_are(buf, 0, 4096));
	assert_int_equal(io_flush(&rig), 0);
	rig_stop(&rig);
	free(buf);
}

/* The limit stands for a full disk: the kernel writes up to it, no further. */
static void a_write_beyond_the_limit_is_enospc(void **state)
{
	struct rlimit limit, old;
	uint8_t *buf = page_alloc(MIB);
	struct rig rig;

	start_with_image(&rig, state);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(io_write(&rig, 0, MIB, buf), 0);
	assert_int_equal(io_write(&rig, 2 * MIB, 4096, buf), -ENOSPC);
	assert_int_equal(io_write(&rig, MIB - 4096, 8192, buf), -ENOSPC);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(io_write(&rig, 2 * MIB, 4096, buf), 0);
	rig_stop(&rig);
	free(buf);
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text);
}

/* Becomes root of a name space of its own, where mounting is allowed. */
static bool enter_name_space(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	return !unshare(CLONE_NEWUSER | CLONE_NEWNS) &&
	       write_text("/proc/self/uid_map", users) &&
	       write_text("/proc/self/setgroups", "deny") &&
	       write_text("/proc/self/gid_map", groups) &&
	       !mount("none", "/mnt", "tmpfs", 0, "size=1m");
}

static int fill_small_disk(void **state)
{
	uint8_t *buf = page_alloc(SIZE);
	struct rig rig;
	int rc, again, fd;

	start(&rig, state);
	snprintf(rig.path, sizeof(rig.path), "/mnt/disk");
	fd = open(rig.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (ftruncate(fd, SIZE))
		return 2;
	close(fd);
	rig_open_image(&rig, false);
	memset(buf, 1, SIZE);
	rc = io_write(&rig, 0, SIZE, buf);
	/* A discard makes room, and the drive works as before. */
	io_run(&rig, OB_BLOCK_DISCARD, 0, 0, SIZE, NULL);
	again = io_write(&rig, 2 * MIB, 64 * KIB, buf);
	rig_stop(&rig);
	free(buf);
	return rc == -ENOSPC && !again ? 0 : 1;
}

static void a_full_disk_is_enospc_and_no_more(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(enter_name_space() ? fill_small_disk(state) : 77);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The last block of such an image cannot be written directly. */
static void direct_is_only_for_whole_blocks(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;
	struct stat st;

	start(&rig, state);
	seam.dio_align = 4096;
	rig_make_image(&rig, rig_disk(), SIZE + 512);
	rig_open_image(&rig, false);
	assert_false(file_of(&rig)->direct);
	assert_false(fcntl(file_of(&rig)->fd, F_GETFL) & O_DIRECT);
	memset(buf, 1, 512);
	assert_int_equal(io_write(&rig, SIZE, 512, buf), 0);
	assert_int_equal(io_read(&rig, SIZE - 512, 1024, buf), 0);
	assert_true(all_bytes_are(buf, 0, 512));
	assert_true(all_bytes_are(buf + 512, 1, 512));
	assert_int_equal(stat(rig.path, &st), 0);
	assert_int_equal(st.st_size, SIZE + 512);
	rig_stop(&rig);
	free(buf);
}

static void the_block_size_is_what_the_medium_wants(void **state)
{
	struct rig rig;

	start(&rig, state);
	rig_make_image(&rig, rig_disk(), SIZE);
	seam.dio_align = 4096;
	rig_open_image(&rig, false);
	assert_int_equal(ob_drive_info(rig.drive)->block_size, 4096);
	rig_close(&rig);
	/* More than a bounce buffer holds: then rather not. */
	seam.dio_align = 1024 * 1024;
	rig_open_image(&rig, false);
	assert_false(file_of(&rig)->direct);
	assert_int_equal(ob_drive_info(rig.drive)->block_size, 512);
	rig_stop(&rig);
}

/* As before Linux 6.1: only an attempt tells what is possible. */
static void alignment_is_found_by_trying(void **state)
{
	bool direct;
	struct rig rig;

	start(&rig, state);
	rig_make_image(&rig, rig_disk(), SIZE);
	rig_open_image(&rig, false);
	direct = file_of(&rig)->direct;
	rig_close(&rig);
	seam.no_dio_info = true;
	rig_open_image(&rig, false);
	assert_int_equal(file_of(&rig)->direct, direct);
	if (direct)
		assert_true(file_of(&rig)->offset_align == 512 ||
			    file_of(&rig)->offset_align == 4096);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(fua_and_flush_reach_the_medium),
		ON_BOTH_ENGINES(discard_gives_blocks_back),
		ON_BOTH_ENGINES(write_zeroes_keeps_or_frees_blocks),
		ON_BOTH_ENGINES(zeros_are_written_where_nothing_else_works),
		ON_BOTH_ENGINES(an_error_of_fallocate_is_passed_on),
		ON_BOTH_ENGINES(an_interrupted_call_is_made_again),
		ON_BOTH_ENGINES(a_file_that_was_cut_gives_errors),
		ON_BOTH_ENGINES(an_error_is_of_whom_it_concerns),
		ON_BOTH_ENGINES(growth_is_noticed),
		ON_BOTH_ENGINES(growth_is_noticed_through_wrappers),
		ON_BOTH_ENGINES(bad_images_are_refused),
		ON_BOTH_ENGINES(a_read_only_image_is_never_written),
		ON_BOTH_ENGINES(a_write_beyond_the_limit_is_enospc),
		ON_BOTH_ENGINES(a_full_disk_is_enospc_and_no_more),
		ON_BOTH_ENGINES(direct_is_only_for_whole_blocks),
		ON_BOTH_ENGINES(the_block_size_is_what_the_medium_wants),
		ON_BOTH_ENGINES(alignment_is_found_by_trying),
	};

	return cmocka_run_group_tests_name("block medium", tests, NULL, NULL);
}
