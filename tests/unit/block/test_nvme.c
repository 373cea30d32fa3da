// SPDX-License-Identifier: BSD-3-Clause
/*
 * file, of an NVMe namespace.  The device is namespace.c; with OUTBOARD_NVME=/dev/ngXnY
 * in the environment, what is there is overwritten and the same done with it, by the
 * kernel's own means (tests/e2e/test_passthrough.py).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file.h"
#include "heirs.h"
#include "namespace.h"
#include "rig.h"

#define SIZE (4 * MIB)

static struct file_drive *file_of(struct rig *rig)
{
	return (struct file_drive *)rig->drive;
}

static const char *spec_of(const struct rig *rig)
{
	static char spec[sizeof(rig->path) + 8];

	snprintf(spec, sizeof(spec), "file:%s", rig->path);
	return spec;
}

static void begin(struct rig *rig, void **state, unsigned shift)
{
	namespace_reset(shift);
	rig_start(rig, state);
	rig_make_image(rig, rig_disk(), SIZE);
	if (ob_loop_nvme(rig->loop)) {
		rig_stop(rig);
		skip();
	}
}

static void begin_open(struct rig *rig, void **state, unsigned shift)
{
	begin(rig, state, shift);
	rig_open_image(rig, false);
}

/* -- the data -------------------------------------------------------------- */

/* A device may leave what is discarded as it was: the model takes what is there. */
static void discard(struct rig *rig, uint8_t *model, uint64_t at, uint64_t len)
{
	assert_int_equal(io_run(rig, OB_BLOCK_DISCARD, 0, at, len, NULL), 0);
	assert_int_equal(io_read(rig, at, len, model + at), 0);
}

static void random_request(struct rig *rig, uint32_t unit, uint8_t *model,
			   uint8_t *mem)
{
	uint64_t at = rnd() % (SIZE / unit) * unit;
	uint64_t most = SIZE - at < 400 * KIB ? SIZE - at : 400 * KIB;
	uint64_t len = (rnd() % (most / unit) + 1) * unit;
	uint8_t *buf = mem + (rnd() % 3 ? 0 : rnd() % 64);
	uint32_t flags = rnd() % 4;

	if (rnd() % 2 && len > 16 * KIB)
		len = len % (16 * KIB) / unit * unit + unit;
	switch (rnd() % 8) {
	case 0:
	case 1:
	case 2:
		rnd_fill(buf, len);
		memcpy(model + at, buf, len);
		assert_int_equal(io_run(rig, OB_BLOCK_WRITE,
					flags & OB_BLOCK_FUA, at, len, buf), 0);
		break;
	case 3:
		memset(model + at, 0, len);
		assert_int_equal(io_run(rig, OB_BLOCK_WRITE_ZEROES, flags, at,
					len, NULL), 0);
		break;
	case 4:
		discard(rig, model, at, len);
		break;
	case 5:
		assert_int_equal(io_flush(rig), 0);
		break;
	default:
		assert_int_equal(io_read(rig, at, len, buf), 0);
		assert_memory_equal(buf, model + at, len);
	}
}

static void random_requests(struct rig *rig, uint32_t unit, int count)
{
	uint8_t *model = page_alloc(SIZE), *buf = page_alloc(SIZE);

	assert_int_equal(io_run(rig, OB_BLOCK_WRITE_ZEROES, 0, 0, SIZE, NULL),
			 0);
	memset(model, 0, SIZE);
	for (int i = 0; i < count; i++)
		random_request(rig, unit, model, buf);
	assert_int_equal(io_read(rig, 0, SIZE, buf), 0);
	assert_memory_equal(buf, model, SIZE);
	free(model);
	free(buf);
}

static void data_survives(void **state)
{
	static const struct { unsigned shift; uint32_t unit; uint8_t mdts, oncs; }
	ways[] = {
		{ 9, 512, 0, 0x0c }, { 9, 1, 3, 0x0c }, { 12, 512, 1, 0x0c },
		{ 12, 4096, 5, 0x00 }, { 16, 512, 4, 0x08 },
	};
	struct rig rig;

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		begin(&rig, state, ways[i].shift);
		namespace.mdts = ways[i].mdts;
		namespace.oncs = ways[i].oncs;
		rig_open_image(&rig, false);
		random_requests(&rig, ways[i].unit, 300);
		rig_stop(&rig);
	}
}

/* With a model of the bytes on a device that is one. */
static void data_survives_on_a_real_one(void **state)
{
	const char *path = getenv("OUTBOARD_NVME");
	struct rig rig;

	if (!path)
		skip();
	namespace.is_absent = true;
	rig_start(&rig, state);
	rig_open(&rig, path, false);
	assert_true(file_of(&rig)->is_nvme);
	random_requests(&rig, 512, 100);
	rig_close(&rig);
	rig_stop(&rig);
}

/* -- the commands ---------------------------------------------------------- */

static void a_request_is_one_command(void **state)
{
	uint8_t *buf = page_alloc(8192);
	struct rig rig;

	begin_open(&rig, state, 12);
	memset(buf, 0x5a, 8192);
	assert_int_equal(io_write(&rig, 5 * 4096, 8192, buf), 0);
	assert_int_equal(namespace.last.opcode, CMD_WRITE);
	assert_int_equal(namespace.last.cdw10, 5);
	assert_int_equal(namespace.last.cdw11, 0);
	assert_int_equal(namespace.last.cdw12, 1);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE, OB_BLOCK_FUA, 4096, 4096,
				buf), 0);
	assert_int_equal(namespace.last.cdw12, 1u << 30);
	assert_int_equal(io_read(&rig, 5 * 4096, 4096, buf), 0);
	assert_int_equal(namespace.last.opcode, CMD_READ);
	assert_int_equal(namespace.last.cdw12, 0);
	assert_int_equal(io_flush(&rig), 0);
	assert_int_equal(namespace.count[CMD_FLUSH], 1);
	assert_int_equal(namespace.count[CMD_WRITE], 2);
	assert_int_equal(namespace.count[CMD_READ], 1);
	rig_stop(&rig);
	free(buf);
}

/* Each piece of a request that must be on the medium says so. */
static void long_requests_are_cut(void **state)
{
	uint8_t *buf = page_alloc(MIB);
	struct rig rig;

	begin(&rig, state, 9);
	namespace.mdts = 3;
	rig_open_image(&rig, false);
	rnd_fill(buf, MIB);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE, OB_BLOCK_FUA, 512, MIB,
				buf), 0);
	assert_int_equal(namespace.count[CMD_WRITE], 32);
	assert_int_equal(namespace.fua, 32);
	assert_int_equal(namespace.most[CMD_WRITE], 32 * KIB);
	assert_int_equal(io_read(&rig, 0, MIB, buf), 0);
	assert_int_equal(namespace.most[CMD_READ], 32 * KIB);
	rig_stop(&rig);

	begin(&rig, state, 9);
	rig_open_image(&rig, false);
	assert_int_equal(io_read(&rig, 0, MIB, buf), 0);
	assert_int_equal(namespace.most[CMD_READ], 128 * KIB);
	rig_stop(&rig);
	free(buf);
}

static void zeroes_and_discards_are_cut(void **state)
{
	struct rig rig;

	begin(&rig, state, 9);
	namespace.wzsl = 4;
	namespace.dmrsl = 1024;
	rig_open_image(&rig, false);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, MIB, NULL),
			 0);
	assert_int_equal(namespace.count[CMD_ZEROES], 16);
	assert_int_equal(namespace.most[CMD_ZEROES], 64 * KIB);
	assert_int_equal(namespace.deac, 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0,
				MIB, NULL), 0);
	assert_int_equal(namespace.deac, 16);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 100, MIB, NULL), 0);
	assert_int_equal(namespace.count[CMD_DSM], 2);
	assert_int_equal(namespace.most[CMD_DSM], 512 * KIB);
	assert_int_equal(namespace.count[CMD_WRITE], 0);
	rig_stop(&rig);
}

/* What is deallocated may read as anything: then it is not asked for. */
static void zeroes_are_deallocated_only_if_they_stay_zeroes(void **state)
{
	static const uint8_t ways[] = { 0, 1, 8, 0x0a };
	struct rig rig;

	for (size_t i = 0; i < sizeof(ways); i++) {
		begin(&rig, state, 9);
		namespace.deallocate = ways[i];
		rig_open_image(&rig, false);
		assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES,
					OB_BLOCK_UNMAP, 0, MIB, NULL), 0);
		assert_int_not_equal(namespace.count[CMD_ZEROES], 0);
		assert_int_equal(namespace.deac, 0);
		rig_stop(&rig);
	}
}

static void what_a_device_cannot_is_not_asked(void **state)
{
	struct rig rig;

	begin(&rig, state, 9);
	namespace.oncs = 0;
	namespace.vwc = 0;
	rig_open_image(&rig, false);
	assert_int_equal(ob_drive_info(rig.drive)->discard_granularity, 0);
	assert_false(ob_drive_info(rig.drive)->write_cache);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB, NULL), 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, MIB, NULL),
			 0);
	assert_int_equal(namespace.count[CMD_DSM], 0);
	assert_int_equal(namespace.count[CMD_ZEROES], 0);
	assert_int_equal(namespace.count[CMD_WRITE], 8);
	rig_stop(&rig);
}

static void expect_another_way(void **state, int zeroes, int dsm)
{
	struct rig rig;

	begin_open(&rig, state, 9);
	namespace.status[CMD_ZEROES] = zeroes;
	namespace.status[CMD_DSM] = dsm;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, MIB,
					NULL), 0);
		assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB,
					NULL), 0);
	}
	assert_int_equal(namespace.count[CMD_ZEROES], 1);
	assert_int_equal(namespace.count[CMD_WRITE], 16);
	assert_int_equal(namespace.count[CMD_DSM], 1);
	rig_stop(&rig);
}

/* It cannot, or we may not. */
static void what_it_turns_out_not_to_do_is_done_otherwise(void **state)
{
	expect_another_way(state, 0x4002, 0x4001);
	expect_another_way(state, -EACCES, -EACCES);
}

/* -- errors ---------------------------------------------------------------- */

static void statuses_become_errors(void **state)
{
	static const struct { int status, rc; } cases[] = {
		{ 0x4001, -EIO },	/* invalid opcode */
		{ 0x4020, -EROFS },	/* write protected */
		{ 0x4081, -ENOSPC },	/* capacity exceeded */
		{ 0x4280, -EIO },	/* write fault */
		{ 0x4080, -EIO },	/* out of range */
		{ -EACCES, -EIO }, { -ENODEV, -EIO }, { 0x4370, -EIO },
		{ -ECANCELED, -ECANCELED }, { 0x7fff, -EIO },
	};
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	begin_open(&rig, state, 9);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		namespace.status[CMD_WRITE] = cases[i].status;
		namespace.status[CMD_FLUSH] = cases[i].status;
		namespace.count[CMD_WRITE] = 0;
		assert_int_equal(io_write(&rig, 0, 4096, buf), cases[i].rc);
		assert_int_equal(namespace.count[CMD_WRITE], 1);
		assert_int_equal(io_flush(&rig), cases[i].rc);
	}
	rig_stop(&rig);
	free(buf);
}

static void what_may_be_retried_is(void **state)
{
	static const int ways[] = { 0x0282, 0x0281, -EINTR };
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	begin_open(&rig, state, 9);
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		namespace.count[CMD_READ] = 0;
		namespace.status[CMD_READ] = ways[i];
		namespace.times[CMD_READ] = 2;
		assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
		assert_int_equal(namespace.count[CMD_READ], 3);
		namespace.count[CMD_READ] = 0;
		namespace.status[CMD_READ] = ways[i];
		assert_int_equal(io_read(&rig, 0, 4096, buf), -EIO);
		assert_int_equal(namespace.count[CMD_READ], 6);
		namespace.status[CMD_READ] = 0;
	}
	rig_stop(&rig);
	free(buf);
}

/* A controller that is being reset: nothing fails, and nothing counts as impossible. */
static void without_a_way_requests_wait(void **state)
{
	static const int ways[] = { -EINVAL, -EAGAIN, 0x0370, 0x0303 };
	static const unsigned ops[] = { CMD_FLUSH, CMD_WRITE, CMD_READ,
					CMD_ZEROES, CMD_DSM };
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	begin_open(&rig, state, 9);
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		for (size_t j = 0; j < sizeof(ops) / sizeof(*ops); j++) {
			namespace.count[ops[j]] = 0;
			namespace.status[ops[j]] = ways[i];
			namespace.times[ops[j]] = 2;
		}
		assert_int_equal(io_write(&rig, 0, 4096, buf), 0);
		assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
		assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, 4096,
					NULL), 0);
		assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, 4096,
					NULL), 0);
		assert_int_equal(io_flush(&rig), 0);
		for (size_t j = 0; j < sizeof(ops) / sizeof(*ops); j++)
			assert_int_equal(namespace.count[ops[j]], 3);
	}
	rig_stop(&rig);
	free(buf);
}

static void who_waits_for_a_way_can_be_cancelled(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;
	struct io io;

	begin_open(&rig, state, 9);
	namespace.status[CMD_WRITE] = -EINVAL;
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 0, 4096, buf);
	while (!namespace.count[CMD_WRITE])
		assert_int_equal(ob_loop_turn(rig.loop, true), 0);
	ob_drive_cancel(rig.drive, io.req);
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	assert_int_equal(namespace.count[CMD_WRITE], 1);
	rig_stop(&rig);
	free(buf);
}

/* What is with the device ends there; the rest is not begun. */
static void a_cancelled_request_goes_no_further(void **state)
{
	uint8_t *buf = page_alloc(MIB);
	struct rig rig;
	struct io io;

	begin_open(&rig, state, 9);
	namespace.is_holding = true;
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 0, MIB, buf);
	ob_drive_cancel(rig.drive, io.req);
	namespace_release();
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	assert_int_equal(namespace.count[CMD_WRITE], 1);
	rig_stop(&rig);
	free(buf);
}

/* -- what it is ------------------------------------------------------------ */

static void expect_refusal(struct rig *rig, int errnum, const char *what)
{
	const char *msg = rig_open_fails(rig, spec_of(rig), false, errnum);

	if (!strstr(msg, what))
		fail_msg("\"%s\" is not in \"%s\"", what, msg);
	namespace_reset(9);
}

static void what_cannot_be_served_is_named(void **state)
{
	struct rig rig;

	begin(&rig, state, 9);
	namespace.metadata = 8;
	expect_refusal(&rig, EOPNOTSUPP, "8 bytes of metadata (format 0)");
	namespace.shift = 8;
	expect_refusal(&rig, EOPNOTSUPP, "blocks are of 2^8 bytes");
	namespace.shift = 17;
	expect_refusal(&rig, EOPNOTSUPP, "blocks are of 2^17 bytes");
	namespace.shift = 255;
	namespace.blocks = 1;
	expect_refusal(&rig, EOPNOTSUPP, "blocks are of 2^255 bytes");
	namespace.protection = 2;
	expect_refusal(&rig, EOPNOTSUPP, "protection information of type 2");
	namespace.set = 2;
	expect_refusal(&rig, EOPNOTSUPP, "a namespace of zones");
	namespace.set = 1;
	expect_refusal(&rig, EOPNOTSUPP, "a namespace of keys and values");
	namespace.format = 3;
	namespace.formats = 2;
	expect_refusal(&rig, EINVAL, "it has format 3 of 3");
	namespace.blocks = UINT64_MAX;
	expect_refusal(&rig, EFBIG, "18446744073709551615 blocks");
	namespace.number = -ENOTTY;
	expect_refusal(&rig, ENOTTY, "cannot tell the namespace's number");
	namespace.number = 0;
	expect_refusal(&rig, ENODEV, "cannot tell the namespace's number");
	namespace.identify[0] = -EACCES;
	expect_refusal(&rig, EACCES, "cannot identify the namespace");
	namespace.may_read = -EACCES;
	expect_refusal(&rig, EACCES, "the kernel wants CAP_SYS_ADMIN");
	namespace.identify[1] = 0x4002;
	expect_refusal(&rig, EIO, "cannot identify the controller: the device said 0x4002");
	namespace.may_read = -EFAULT;
	rig_open_image(&rig, false);
	rig_stop(&rig);
}

/* More than 16 formats: the number of the one in use has two parts. */
static void any_format_can_be_the_one(void **state)
{
	struct rig rig;

	begin(&rig, state, 12);
	namespace.formats = 63;
	namespace.format = 0x65;	/* 53 */
	rig_open_image(&rig, false);
	assert_int_equal(ob_drive_info(rig.drive)->block_size, 4096);
	assert_int_equal(ob_drive_info(rig.drive)->size, SIZE);
	rig_stop(&rig);
}

/* Limits that make no sense are not taken for what they say. */
static void limits_that_are_nonsense_do_no_harm(void **state)
{
	struct rig rig;

	begin(&rig, state, 16);
	namespace.mdts = 1;		/* less than a block */
	namespace.wzsl = 255;
	namespace.dmrsl = UINT32_MAX;
	rig_open_image(&rig, false);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, SIZE, NULL),
			 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, SIZE, NULL), 0);
	random_requests(&rig, 512, 20);
	rig_stop(&rig);
}

static void a_mad_device_harms_nobody(void **state)
{
	struct ob_drive *drive;
	struct ob_err err;
	struct rig rig;

	begin(&rig, state, 9);
	for (int i = 0; i < 3000; i++) {
		namespace.is_mad = true;
		if (ob_drive_open(rig.loop, spec_of(&rig), 0, &drive, &err))
			continue;
		assert_true(ob_drive_info(drive)->size <= INT64_MAX);
		ob_drive_close(drive);
	}
	rig_stop(&rig);
}

static void a_new_size_is_seen_and_a_new_format_is_refused(void **state)
{
	struct ob_err err = { 0 };
	struct rig rig;

	begin_open(&rig, state, 9);
	assert_int_equal(truncate(rig.path, 2 * SIZE), 0);
	assert_int_equal(ob_drive_refresh(rig.drive, NULL), 0);
	assert_int_equal(ob_drive_info(rig.drive)->size, 2 * SIZE);
	namespace.shift = 12;
	assert_int_equal(ob_drive_refresh(rig.drive, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "it was formatted"));
	assert_int_equal(ob_drive_info(rig.drive)->size, 2 * SIZE);
	rig_stop(&rig);
}

static void read_only_is_read_only(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;

	begin(&rig, state, 9);
	rig_open_image(&rig, true);
	assert_int_equal(fcntl(file_of(&rig)->io_fd, F_GETFL) & O_ACCMODE,
			 O_RDONLY);
	assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
	assert_int_equal(io_write(&rig, 0, 4096, buf), -EROFS);
	assert_int_equal(io_flush(&rig), 0);
	rig_stop(&rig);
	free(buf);
}

/* -- the fence ------------------------------------------------------------- */

/* As the kernel holds the file of a dead process's commands: its lock, too. */
static int leave_behind(const struct rig *rig)
{
	struct flock fl = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = 300, .l_len = 1,
	};
	int fd = open(rig->path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	return fd;
}

static void nothing_begins_before_the_dead_are_through(void **state)
{
	uint8_t *buf = page_alloc(8192);
	struct io ios[4];
	struct rig rig;
	int fd;

	begin_open(&rig, state, 12);
	fd = leave_behind(&rig);
	io_start(&rig, &ios[0], OB_BLOCK_WRITE, 0, 0, 8192, buf);
	io_start(&rig, &ios[1], OB_BLOCK_FLUSH, 0, 0, 0, NULL);
	io_start(&rig, &ios[2], OB_BLOCK_READ, 0, 512, 512, buf);
	io_start(&rig, &ios[3], OB_BLOCK_WRITE, 0, 4096, 4096, buf);
	ob_drive_cancel(rig.drive, ios[3].req);
	assert_int_equal(io_wait(&rig, &ios[3]), -ECANCELED);
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		assert_int_equal(ob_loop_turn(rig.loop, false), 0);
	}
	assert_int_equal(namespace.count[CMD_WRITE], 0);
	assert_int_equal(namespace.count[CMD_FLUSH], 0);
	assert_int_equal(namespace.count[CMD_READ], 0);
	close(fd);
	for (int i = 0; i < 3; i++)
		assert_int_equal(io_wait(&rig, &ios[i]), 0);
	assert_int_equal(namespace.count[CMD_WRITE], 1);
	rig_stop(&rig);
	free(buf);
}

static bool can_be_taken(const struct rig *rig)
{
	struct flock fl = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = 300, .l_len = 1,
	};
	int fd = open(rig->path, O_RDWR | O_CLOEXEC);

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
	close(fd);
	return fl.l_type == F_UNLCK;
}

static void who_hands_over_gives_it_up(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;
	struct io io;
	int fd;

	begin_open(&rig, state, 9);
	assert_true(can_be_taken(&rig));	/* nothing was asked yet */
	assert_int_equal(io_write(&rig, 0, 4096, buf), 0);
	assert_false(can_be_taken(&rig));
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	assert_true(can_be_taken(&rig));
	assert_int_equal(io_write(&rig, 0, 4096, buf), -ESHUTDOWN);

	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	fd = leave_behind(&rig);
	io_start(&rig, &io, OB_BLOCK_READ, 0, 0, 4096, buf);
	ob_drive_cancel(rig.drive, io.req);
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	/* A look that was still to come takes nothing any more. */
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	close(fd);
	usleep(5000);
	assert_int_equal(ob_loop_turn(rig.loop, false), 0);
	assert_true(can_be_taken(&rig));
	rig_stop(&rig);
	free(buf);
}

/* -- what is kept ----------------------------------------------------------- */

static void nothing(struct heirs *heirs, struct rig *rig, void *arg)
{
	(void)heirs;
	(void)rig;
	(void)arg;
}

static int kept_as(const struct heirs *heirs, const char *word)
{
	for (unsigned i = 0; i < HEIRS_NAMES; i++)
		if (heirs->kept[i].fd >= 0 && strstr(heirs->kept[i].name, word))
			return heirs->kept[i].fd;
	fail_msg("%s is not kept", word);
	return -1;
}

static void begin_heirs(struct rig *rig, struct heirs *heirs, void **state)
{
	begin(rig, state, 12);
	namespace.mdts = 3;
	namespace.wzsl = 6;
	namespace.dmrsl = 100;
	heirs_start(heirs, rig, spec_of(rig));
	heirs_live(heirs, nothing, NULL);
	namespace.asked = 0;
}

static void end_heirs(struct rig *rig, struct heirs *heirs)
{
	rig_close(rig);
	heirs_stop(heirs);
	rig_stop(rig);
}

static void is_as_it_was(const struct file_drive *file)
{
	const struct ob_drive_info *info = &file->drive.info;

	assert_int_equal(file->nvme.nsid, namespace.number);
	assert_int_equal(info->block_size, 4096);
	assert_int_equal(info->discard_granularity, 4096);
	assert_true(info->write_cache);
	assert_true(file->nvme.deallocates && !file->no_zero_range);
	assert_int_equal(file->nvme.max_transfer, 32 * KIB);
	assert_int_equal(file->nvme.max_zero, 256 * KIB);
	assert_int_equal(file->nvme.max_discard, 100 * 4096);
}

/* Its controller may be in a reset, for which a question would wait. */
static void a_successor_does_not_ask(void **state)
{
	struct heirs heirs;
	struct rig rig;

	begin_heirs(&rig, &heirs, state);
	for (unsigned i = 0; i < 7; i++)
		namespace.identify[i] = -EAGAIN;
	heirs_must_open(&heirs, &rig);
	assert_int_equal(namespace.asked, 0);
	is_as_it_was(file_of(&rig));
	assert_int_equal(ob_drive_refresh(rig.drive, NULL), -EAGAIN);
	end_heirs(&rig, &heirs);
}

static void is_possible(const struct file_drive *file)
{
	uint64_t block = file->drive.info.block_size;

	assert_true(block >= 512 && block <= 64 * KIB);
	assert_true(file->nvme.max_transfer >= block &&
		    file->nvme.max_transfer <= 128 * KIB);
	assert_true(file->nvme.max_zero >= block &&
		    file->nvme.max_zero % block == 0);
	assert_true(file->nvme.max_discard >= block &&
		    file->nvme.max_discard % block == 0);
}

#define KNOWN 48	/* bytes */

/* What cannot be, or is of another device, is not believed: then it asks. */
static void a_successor_asks_if_what_is_kept_is_nonsense(void **state)
{
	struct heirs heirs;
	struct rig rig;
	uint8_t was[KNOWN], bad[KNOWN];

	begin_heirs(&rig, &heirs, state);
	assert_int_equal(pread(kept_as(&heirs, "identify"), was, KNOWN, 0),
			 KNOWN);
	for (unsigned i = 0; i < KNOWN; i++) {
		memcpy(bad, was, sizeof(bad));
		bad[i] ^= 0x80;
		assert_int_equal(pwrite(kept_as(&heirs, "identify"), bad, KNOWN, 0),
				 KNOWN);
		namespace.asked = 0;
		heirs_must_open(&heirs, &rig);
		is_possible(file_of(&rig));
		if (namespace.asked)
			is_as_it_was(file_of(&rig));
		else
			assert_true(i >= 8 && i < 40);	/* magic, device */
		rig_close(&rig);
	}
	heirs_must_open(&heirs, &rig);
	end_heirs(&rig, &heirs);
}

static int (*heirs_put)(struct ob_keep *keep, const char *name, int fd);

static int put_no_answers(struct ob_keep *keep, const char *name, int fd)
{
	return strstr(name, "identify") ? -ENFILE : heirs_put(keep, name, fd);
}

/* A life that asked, and could not have it kept, leaves no older answer behind. */
static void what_was_not_kept_is_not_there(void **state)
{
	struct heirs heirs;
	struct rig rig;

	begin_heirs(&rig, &heirs, state);
	heirs.ops.drop(&heirs.ops, "disk0/drive/0/record");
	namespace.mdts = 2;
	heirs_put = heirs.ops.put;
	heirs.ops.put = put_no_answers;
	heirs_live(&heirs, nothing, NULL);
	heirs_must_open(&heirs, &rig);
	assert_true(namespace.asked);
	assert_int_equal(file_of(&rig)->nvme.max_transfer, 16 * KIB);
	end_heirs(&rig, &heirs);
}

/* -- the claim ------------------------------------------------------------- */

static struct rig begin_with_node(struct rig *rig, void **state)
{
	struct rig node;

	begin(rig, state, 9);
	rig_start(&node, state);
	rig_make_image(&node, rig_disk(), SIZE);
	return node;
}

/* As file:/dev/nvmeXnY would. */
static int open_node(struct rig *node, struct ob_err *err)
{
	struct ob_drive *drive;
	int r = ob_drive_open(node->loop, spec_of(node), 0, &drive, err);

	if (!r)
		ob_drive_close(drive);
	return r;
}

static void the_block_device_is_claimed_too(void **state)
{
	struct rig rig, node = begin_with_node(&rig, state);
	struct ob_err err = { 0 };

	namespace.node = node.path;
	rig_open_image(&rig, false);
	namespace.node = NULL;
	assert_int_equal(open_node(&node, &err), -EBUSY);
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	assert_int_equal(open_node(&node, &err), 0);
	namespace.node = node.path;
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	namespace.node = NULL;
	assert_int_equal(open_node(&node, &err), -EBUSY);
	rig_close(&rig);
	assert_int_equal(open_node(&node, &err), 0);
	rig_stop(&node);
	rig_stop(&rig);
}

static void who_has_the_block_device_keeps_us_out(void **state)
{
	struct rig rig, node = begin_with_node(&rig, state);
	struct ob_err err = { 0 };
	const char *msg;

	rig_open_image(&node, false);
	namespace.node = node.path;
	msg = rig_open_fails(&rig, spec_of(&rig), false, EBUSY);
	assert_non_null(strstr(msg, "its block device: in use by another drive"));
	namespace.node_errno = EBUSY;
	msg = rig_open_fails(&rig, spec_of(&rig), false, EBUSY);
	assert_non_null(strstr(msg, "the system uses its block device"));

	/* Who has no right yet asks for none, and gets none in part. */
	namespace.node_errno = 0;
	if (ob_drive_open(rig.loop, spec_of(&rig), OB_DRIVE_INCOMING,
			  &rig.drive, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), -EBUSY);
	assert_false(ob_drive_is_active(rig.drive));
	rig_close(&node);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), 0);
	rig_stop(&node);
	rig_stop(&rig);
}

/* What is said on standard error meanwhile. */
static void open_and_listen(struct rig *rig, char *said, size_t size)
{
	int real = dup(STDERR_FILENO), to = memfd_create("said", MFD_CLOEXEC);
	ssize_t n;

	assert_true(real >= 0 && to >= 0);
	dup2(to, STDERR_FILENO);
	rig_open_image(rig, false);
	dup2(real, STDERR_FILENO);
	n = pread(to, said, size - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	close(real);
	close(to);
}

/* It may be hidden, or not ours to open: then there is no claim, but a warning. */
static void without_a_block_device_there_is_a_warning(void **state)
{
	static const int errors[] = { EACCES, 0 };
	char said[1024];
	struct rig rig;

	for (unsigned i = 0; i < 2; i++) {
		begin(&rig, state, 9);
		namespace.node_errno = errors[i];
		open_and_listen(&rig, said, sizeof(said));
		assert_int_equal(file_of(&rig)->claim, -1);
		assert_non_null(strstr(said, spec_of(&rig)));
		assert_non_null(strstr(said, "not claimed"));
		assert_non_null(strstr(said, errors[i] ? "Permission denied" :
							 "none was found"));
		assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
		assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
		rig_stop(&rig);
	}
}

/* One that is claimed is nothing to talk about. */
static void a_claim_is_taken_in_silence(void **state)
{
	struct rig rig, node = begin_with_node(&rig, state);
	char said[1024];

	namespace.node = node.path;
	open_and_listen(&rig, said, sizeof(said));
	assert_true(file_of(&rig)->claim >= 0);
	assert_null(strstr(said, "claimed"));
	rig_stop(&rig);
	rig_stop(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(data_survives),
		ON_BOTH_ENGINES(data_survives_on_a_real_one),
		ON_BOTH_ENGINES(a_request_is_one_command),
		ON_BOTH_ENGINES(long_requests_are_cut),
		ON_BOTH_ENGINES(zeroes_and_discards_are_cut),
		ON_BOTH_ENGINES(zeroes_are_deallocated_only_if_they_stay_zeroes),
		ON_BOTH_ENGINES(what_a_device_cannot_is_not_asked),
		ON_BOTH_ENGINES(what_it_turns_out_not_to_do_is_done_otherwise),
		ON_BOTH_ENGINES(statuses_become_errors),
		ON_BOTH_ENGINES(what_may_be_retried_is),
		ON_BOTH_ENGINES(without_a_way_requests_wait),
		ON_BOTH_ENGINES(who_waits_for_a_way_can_be_cancelled),
		ON_BOTH_ENGINES(a_cancelled_request_goes_no_further),
		ON_BOTH_ENGINES(what_cannot_be_served_is_named),
		ON_BOTH_ENGINES(any_format_can_be_the_one),
		ON_BOTH_ENGINES(limits_that_are_nonsense_do_no_harm),
		ON_BOTH_ENGINES(a_mad_device_harms_nobody),
		ON_BOTH_ENGINES(a_new_size_is_seen_and_a_new_format_is_refused),
		ON_BOTH_ENGINES(read_only_is_read_only),
		ON_BOTH_ENGINES(nothing_begins_before_the_dead_are_through),
		ON_BOTH_ENGINES(who_hands_over_gives_it_up),
		ON_BOTH_ENGINES(a_successor_does_not_ask),
		ON_BOTH_ENGINES(a_successor_asks_if_what_is_kept_is_nonsense),
		ON_BOTH_ENGINES(what_was_not_kept_is_not_there),
		ON_BOTH_ENGINES(the_block_device_is_claimed_too),
		ON_BOTH_ENGINES(who_has_the_block_device_keeps_us_out),
		ON_BOTH_ENGINES(without_a_block_device_there_is_a_warning),
		ON_BOTH_ENGINES(a_claim_is_taken_in_silence),
	};

	return cmocka_run_group_tests_name("block nvme", tests, NULL, NULL);
}
