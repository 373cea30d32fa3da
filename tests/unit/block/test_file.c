// SPDX-License-Identifier: BSD-3-Clause
/* file: what is written is read again, whatever the requests look like. */
#include <errno.h>

#include "image.h"
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

/* Cancelled while it reads the block around it: the write never starts. */
static void a_part_cancelled_while_it_reads_is_not_written(void **state)
{
	uint8_t *buf = page_alloc(4096);
	struct rig rig;
	struct io io;

	start_with_image(&rig, state);
	pretend(&rig, &(struct way){ false, 4096, 512 });
	memset(buf, 1, 512);
	seam.writes = 0;
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 512, 512, buf);
	ob_drive_cancel(rig.drive, io.req);
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	assert_int_equal(seam.writes, 0);
	rig_stop(&rig);
	free(buf);
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
		ON_BOTH_ENGINES(
			a_part_cancelled_while_it_reads_is_not_written),
	};

	return cmocka_run_group_tests_name("block file", tests, NULL, NULL);
}
