// SPDX-License-Identifier: BSD-3-Clause
/* file: images: data, durability, holes, and media that fail. */
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

#include "block/file.h"
#include "rig.h"
#include "seam.h"

#define SIZE (4 * MIB)

/* How the drive gets to its data, and in what units the guest asks. */
struct way {
	bool buffered;
	uint32_t block;		/* the medium's block, when direct */
	uint32_t unit;
};

static struct file_drive *file_of(struct rig *rig)
{
	return (struct file_drive *)rig->drive;
}

static void start(struct rig *rig, void **state)
{
	seam = (struct seam){ 0 };
	rig_start(rig, state);
}

static void start_with_image(struct rig *rig, void **state)
{
	start(rig, state);
	rig_make_image(rig, rig_disk(), SIZE);
	rig_open_image(rig, false);
}

/* The image as the kernel has it, not through the drive. */
static void read_image(struct rig *rig, void *buf)
{
	int fd = open(rig->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, buf, SIZE, 0), SIZE);
	close(fd);
}

/* Changes how an open drive works; what it has done before stays. */
static void pretend(struct rig *rig, const struct way *way)
{
	struct file_drive *file = file_of(rig);

	if (way->buffered) {
		fcntl(file->fd, F_SETFL, 0);
		file->direct = false;
		file->mem_align = file->offset_align = 1;
	} else if (file->direct && file->offset_align < way->block) {
		/* A medium of larger blocks behaves the same but for this. */
		file->offset_align = way->block;
		file->drive.info.block_size = way->block;
	}
}

/* The model's view of a DISCARD: the whole units inside read as zeros. */
static void model_discard(uint8_t *model, uint32_t unit, uint64_t offset,
			  uint64_t len)
{
	uint64_t from = (offset + unit - 1) / unit * unit;
	uint64_t to = (offset + len) / unit * unit;

	if (from < to)
		memset(model + from, 0, to - from);
}

static void random_request(struct rig *rig, const struct way *way,
			   uint8_t *model, uint8_t *mem)
{
	uint64_t units = SIZE / way->unit;
	uint64_t offset = rnd() % units * way->unit;
	uint64_t most = SIZE - offset < 300 * KIB ? SIZE - offset : 300 * KIB;
	uint64_t len = (rnd() % (most / way->unit) + 1) * way->unit;
	uint8_t *buf = mem + (rnd() % 3 ? 0 : rnd() % 64);
	uint32_t flags = rnd() % 4;

	if (rnd() % 2 && len > 16 * KIB)
		len = len % (16 * KIB / way->unit * way->unit) + way->unit;
	switch (rnd() % 8) {
	case 0:
	case 1:
	case 2:
		rnd_fill(buf, len);
		memcpy(model + offset, buf, len);
		assert_int_equal(io_run(rig, OB_BLOCK_WRITE,
					flags & OB_BLOCK_FUA, offset, len,
					buf), 0);
		break;
	case 3:
		memset(model + offset, 0, len);
		assert_int_equal(io_run(rig, OB_BLOCK_WRITE_ZEROES, flags,
					offset, len, NULL), 0);
		break;
	case 4:
		model_discard(model, ob_drive_info(rig->drive)->
			      discard_granularity, offset, len);
		assert_int_equal(io_run(rig, OB_BLOCK_DISCARD, 0, offset, len,
					NULL), 0);
		break;
	case 5:
		assert_int_equal(io_flush(rig), 0);
		break;
	default:
		assert_int_equal(io_read(rig, offset, len, buf), 0);
		assert_memory_equal(buf, model + offset, len);
	}
}

static void random_requests(void **state, const char *folder,
			    const struct way *way, uint32_t max_transfer)
{
	uint8_t *model = page_alloc(SIZE), *buf = page_alloc(SIZE);
	struct rig rig;

	start(&rig, state);
	seam.max_transfer = max_transfer;
	rig_make_image(&rig, folder, SIZE);
	rig_open_image(&rig, false);
	pretend(&rig, way);
	memset(model, 0, SIZE);
	for (int i = 0; i < 600; i++)
		random_request(&rig, way, model, buf);
	assert_int_equal(io_read(&rig, 0, SIZE, buf), 0);
	assert_memory_equal(buf, model, SIZE);
	rig_close(&rig);
	read_image(&rig, buf);
	assert_memory_equal(buf, model, SIZE);
	rig_stop(&rig);
	free(model);
	free(buf);
}

static void data_survives_direct(void **state)
{
	random_requests(state, rig_disk(), &(struct way){ false, 512, 512 },
			0);
}

static void data_survives_bytes_on_direct(void **state)
{
	random_requests(state, rig_disk(), &(struct way){ false, 512, 1 }, 0);
}

static void data_survives_sectors_on_large_blocks(void **state)
{
	random_requests(state, rig_disk(), &(struct way){ false, 4096, 512 },
			0);
}

static void data_survives_buffered(void **state)
{
	random_requests(state, rig_disk(), &(struct way){ true, 0, 1 }, 0);
}

static void data_survives_on_tmpfs(void **state)
{
	random_requests(state, "/dev/shm", &(struct way){ false, 512, 512 },
			0);
}

static void data_survives_short_transfers(void **state)
{
	random_requests(state, rig_disk(), &(struct way){ false, 4096, 512 },
			8192);
	random_requests(state, rig_disk(), &(struct way){ true, 0, 1 }, 5000);
}

/*
 * Writes to neighbouring sectors, all in flight at once: each reads, changes
 * and writes blocks that others change too, and none may be lost.
 */
static void neighbours_do_not_undo_each_other(void **state)
{
	enum { DEPTH = 64, ROUNDS = 60 };
	uint8_t *model = page_alloc(SIZE), *buf = page_alloc(SIZE);
	struct io ios[DEPTH];
	struct rig rig;

	start_with_image(&rig, state);
	pretend(&rig, &(struct way){ false, 4096, 512 });
	memset(model, 0, SIZE);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t at = rnd() % 64 * 512;

		for (int i = 0; i < DEPTH; i++) {
			uint64_t len = (rnd() % 3 ? rnd() % 4 + 1 : 8) * 512;
			bool zero = !(rnd() % 6);

			if (len == 4096)
				at = (at + 4095) / 4096 * 4096;
			if (zero)
				memset(model + at, 0, len);
			else
				rnd_fill(model + at, len);
			memcpy(buf + at, model + at, len);
			io_start(&rig, &ios[i], zero ? OB_BLOCK_WRITE_ZEROES :
				 OB_BLOCK_WRITE, 0, at, len, buf + at);
			at += len;
		}
		for (int i = 0; i < DEPTH; i++)
			assert_int_equal(io_wait(&rig, &ios[i]), 0);
	}
	assert_int_equal(io_read(&rig, 0, SIZE, buf), 0);
	assert_memory_equal(buf, model, SIZE);
	rig_stop(&rig);
	free(model);
	free(buf);
}

/*
 * One request covers a block, another a part of it.  The order is nobody's
 * business, but what only the first covers must be the first's.
 */
static void a_part_does_not_undo_the_whole(void **state)
{
	enum { BLOCKS = 32 };
	uint8_t *whole = page_alloc(BLOCKS * 4096), *part = page_alloc(4096);
	struct io wholes[BLOCKS], parts[BLOCKS];
	struct rig rig;

	start_with_image(&rig, state);
	pretend(&rig, &(struct way){ false, 4096, 512 });
	memset(part, 9, 4096);
	for (int round = 1; round <= 8; round++) {
		memset(whole, round, BLOCKS * 4096);
		for (int i = 0; i < BLOCKS; i++) {
			bool part_first = (i + round) % 2;

			if (part_first)
				io_start(&rig, &parts[i], OB_BLOCK_WRITE, 0,
					 i * 4096 + 512, 512, part);
			io_start(&rig, &wholes[i], OB_BLOCK_WRITE, 0,
				 i * 4096, 4096, whole + i * 4096);
			if (!part_first)
				io_start(&rig, &parts[i], OB_BLOCK_WRITE, 0,
					 i * 4096 + 512, 512, part);
		}
		for (int i = 0; i < BLOCKS; i++) {
			assert_int_equal(io_wait(&rig, &wholes[i]), 0);
			assert_int_equal(io_wait(&rig, &parts[i]), 0);
		}
		assert_int_equal(io_read(&rig, 0, BLOCKS * 4096, whole), 0);
		for (int i = 0; i < BLOCKS; i++) {
			uint8_t *block = whole + i * 4096;

			assert_true(all_bytes_are(block, round, 512));
			assert_true(all_bytes_are(block + 1024, round, 3072));
		}
	}
	rig_stop(&rig);
	free(whole);
	free(part);
}

/* More unaligned reads than there are bounce buffers. */
static void many_unaligned_reads_all_get_their_turn(void **state)
{
	enum { COUNT = 4 * FILE_NR_SLOTS };
	uint8_t *model = page_alloc(SIZE), *buf = page_alloc(SIZE);
	struct io ios[COUNT];
	struct rig rig;

	start_with_image(&rig, state);
	rnd_fill(model, SIZE);
	assert_int_equal(io_write(&rig, 0, SIZE, model), 0);
	for (int i = 0; i < COUNT; i++)
		io_start(&rig, &ios[i], OB_BLOCK_READ, 0, i * 7919 + 1,
			 5000, buf + i * 8192 + 3);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(io_wait(&rig, &ios[i]), 0);
		assert_memory_equal(buf + i * 8192 + 3, model + i * 7919 + 1,
				    5000);
	}
	rig_stop(&rig);
	free(model);
	free(buf);
}

static void a_request_that_waits_can_be_cancelled(void **state)
{
	enum { COUNT = 3 * FILE_NR_SLOTS };
	uint8_t *buf = page_alloc(COUNT * 4096);
	struct io ios[COUNT], late;
	struct rig rig;

	start_with_image(&rig, state);
	pretend(&rig, &(struct way){ false, 4096, 512 });
	memset(buf, 1, COUNT * 4096);
	for (int i = 0; i < COUNT; i++)
		io_start(&rig, &ios[i], OB_BLOCK_WRITE, 0, i * 4096 + 512,
			 512, buf + i * 4096);
	/* The first is on its way, the others wait for it. */
	for (int i = COUNT - 1; i > 0; i -= 2)
		ob_drive_cancel(rig.drive, ios[i].req);
	io_start(&rig, &late, OB_BLOCK_WRITE, 0, MIB + 512, 512, buf);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(io_wait(&rig, &ios[i]),
				 i % 2 ? -ECANCELED : 0);
	assert_int_equal(io_wait(&rig, &late), 0);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(io_read(&rig, i * 4096 + 512, 512, buf), 0);
		assert_true(all_bytes_are(buf, i % 2 ? 0 : 1, 512));
	}
	rig_stop(&rig);
	free(buf);
}

static void a_cancelled_transfer_still_ends_once(void **state)
{
	uint8_t *buf = page_alloc(SIZE);
	struct io ios[16];
	struct rig rig;

	start_with_image(&rig, state);
	for (int i = 0; i < 16; i++) {
		io_start(&rig, &ios[i], i % 2 ? OB_BLOCK_READ :
			 OB_BLOCK_WRITE, 0, i * 256 * KIB, 256 * KIB,
			 buf + i * 256 * KIB);
		ob_drive_cancel(rig.drive, ios[i].req);
	}
	for (int i = 0; i < 16; i++) {
		int rc = io_wait(&rig, &ios[i]);

		assert_true(rc == 0 || rc == -ECANCELED);
	}
	assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
	rig_stop(&rig);
	free(buf);
}

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
	assert_int_equal(ob_drive_open(rig.loop, rig.path, true, &rig.drive,
				       &err), 0);
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
		ON_BOTH_ENGINES(data_survives_direct),
		ON_BOTH_ENGINES(data_survives_bytes_on_direct),
		ON_BOTH_ENGINES(data_survives_sectors_on_large_blocks),
		ON_BOTH_ENGINES(data_survives_buffered),
		ON_BOTH_ENGINES(data_survives_on_tmpfs),
		ON_BOTH_ENGINES(data_survives_short_transfers),
		ON_BOTH_ENGINES(neighbours_do_not_undo_each_other),
		ON_BOTH_ENGINES(a_part_does_not_undo_the_whole),
		ON_BOTH_ENGINES(many_unaligned_reads_all_get_their_turn),
		ON_BOTH_ENGINES(a_request_that_waits_can_be_cancelled),
		ON_BOTH_ENGINES(a_cancelled_transfer_still_ends_once),
		ON_BOTH_ENGINES(fua_and_flush_reach_the_medium),
		ON_BOTH_ENGINES(discard_gives_blocks_back),
		ON_BOTH_ENGINES(write_zeroes_keeps_or_frees_blocks),
		ON_BOTH_ENGINES(zeros_are_written_where_nothing_else_works),
		ON_BOTH_ENGINES(an_error_of_fallocate_is_passed_on),
		ON_BOTH_ENGINES(an_interrupted_call_is_made_again),
		ON_BOTH_ENGINES(a_file_that_was_cut_gives_errors),
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

	return cmocka_run_group_tests_name("block file", tests, NULL, NULL);
}
