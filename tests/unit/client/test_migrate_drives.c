// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is on a disk, when the disk moves: content of mem: travels, the lock of
 * file: changes hands, also back, after the destination has had it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <outboard/migrate.h>

#include "devices/models.h"
#include "forked.h"
#include "nvme_user.h"

#define DEPTH 8u
#define BLOCK_SIZE 8192u
#define DISK_SIZE (4u << 20)
#define BLOCKS (DISK_SIZE / BLOCK_SIZE)
#define MOST (DISK_SIZE * 7 / 8)	/* blocks of zeros do not travel */

static struct forked servers[2];
static struct ob_client *clients[2];
static struct ob_migrate_result result;
static struct ob_err err;
static enum ob_migrate_step end_at;

static int see_step(void *arg, enum ob_migrate_step step, unsigned device)
{
	(void)arg;
	(void)device;
	return step == end_at ? -EINTR : 0;
}

static const struct ob_migrate_ops ops = { .step = see_step };

static void begin(const char *here, const char *there)
{
	forked_start(&servers[0], &ob_nvme_class, here);
	forked_start(&servers[1], &ob_nvme_class, there);
	for (unsigned i = 0; i < 2; i++)
		clients[i] = forked_connect(&servers[i], NULL);
}

static void end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		ob_client_destroy(clients[i]);
		forked_stop(&servers[i]);
	}
}

static struct nvme_user *open_disk(unsigned side)
{
	static const struct nvme_user_params params = {
		.queues = 1, .depth = DEPTH, .buffer_size = BLOCK_SIZE,
		.nsid = 1,
	};
	struct nvme_user *disk = NULL;

	if (nvme_user_open(clients[side], &params, &disk, &err))
		fail_msg("%s", err.msg);
	return disk;
}

static void complete(struct nvme_user *disk, unsigned count)
{
	struct nvme_user_done done[DEPTH];

	while (count) {
		int n = nvme_user_poll(&disk->queues[0], done, DEPTH, &err);

		assert_in_range(n, 0, count);
		for (int i = 0; i < n; i++)
			assert_int_equal(done[i].status, 0);
		count -= (unsigned)n;
		assert_true(ob_client_poll(disk->client, 0, &err) >= 0);
	}
}

static void batch(struct nvme_user *disk, uint8_t opcode, unsigned first,
		  uint8_t mark)
{
	struct nvme_user_queue *q = &disk->queues[0];
	uint32_t sectors = BLOCK_SIZE / disk->lba_size;

	for (unsigned i = 0; i < DEPTH; i++) {
		memset(nvme_user_buffer(q, i), opcode == NVME_USER_WRITE
					       ? (uint8_t)(mark + first + i)
					       : 0, BLOCK_SIZE);
		nvme_user_submit(q, i, opcode, (uint64_t)(first + i) * sectors,
				 sectors);
	}
	assert_int_equal(nvme_user_ring(q, NULL), 0);
	complete(disk, DEPTH);
}

static void write_all(unsigned side, uint8_t mark)
{
	struct nvme_user *disk = open_disk(side);

	for (unsigned block = 0; block < BLOCKS; block += DEPTH)
		batch(disk, NVME_USER_WRITE, block, mark);
	nvme_user_close(disk);
}

static void check_all(unsigned side, uint8_t mark)
{
	struct nvme_user *disk = open_disk(side);

	for (unsigned block = 0; block < BLOCKS; block += DEPTH) {
		batch(disk, NVME_USER_READ, block, mark);
		for (unsigned i = 0; i < DEPTH; i++) {
			const uint8_t *at =
				nvme_user_buffer(&disk->queues[0], i);

			assert_int_equal(at[0], (uint8_t)(mark + block + i));
			assert_memory_equal(at, at + 1, BLOCK_SIZE - 1);
		}
	}
	nvme_user_close(disk);
}

static int move(bool precopy, enum ob_migrate_step step)
{
	struct ob_migrate_params params = { .ops = &ops, .precopy = precopy };

	end_at = step;
	memset(&err, 0, sizeof(err));
	return ob_migrate(&clients[0], &clients[1], 1, &params, &result,
			  &err);
}

static void moves(bool precopy)
{
	if (move(precopy, OB_MIGRATE_NR_STEPS))
		fail_msg("%s; %s", err.msg, result.note);
}

/* Ended in a blackout: the source's disk is what it was, and can be used. */
static void stays(bool precopy, enum ob_migrate_step step, uint8_t mark)
{
	assert_int_equal(move(precopy, step), -EINTR);
	if (result.outcome != OB_MIGRATE_STAYED)
		fail_msg("%s; %s", err.msg, result.note);
	check_all(0, mark);
	write_all(0, mark);
}

static void content_travels(void **state)
{
	(void)state;
	begin("nvme,drive=mem:4M,serial=S", "nvme,drive=mem:4M,serial=S");
	write_all(0, 3);
	stays(true, OB_MIGRATE_LOAD, 3);
	stays(false, OB_MIGRATE_START_GUEST, 3);
	write_all(1, 100);
	moves(true);
	assert_true(result.rounds[0].device_bytes >= MOST);
	assert_true(result.last_device_bytes < 65536);
	check_all(1, 3);
	end();
}

static void content_travels_late_without_precopy(void **state)
{
	(void)state;
	begin("nvme,drive=mem:4M,serial=S", "nvme,drive=mem:4M,serial=S");
	write_all(0, 5);
	moves(false);
	assert_true(result.last_device_bytes >= MOST);
	check_all(1, 5);
	end();
}

static void a_lock_changes_hands(void **state)
{
	char path[] = "/tmp/obdisk.XXXXXX", here[128], there[160];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	snprintf(here, sizeof(here), "nvme,drive=file:%s,serial=S", path);
	snprintf(there, sizeof(there), "%s,incoming=on", here);
	begin(here, there);
	write_all(0, 7);
	stays(true, OB_MIGRATE_LOAD, 7);
	stays(true, OB_MIGRATE_RUN, 7);
	/* The destination ran, and had the lock. */
	stays(true, OB_MIGRATE_START_GUEST, 7);
	moves(true);
	check_all(1, 7);
	/* Nobody runs twice. */
	assert_true(ob_client_mig_set(clients[0], OB_CLIENT_RUNNING, &err) <
		    0);
	end();
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_travels),
		cmocka_unit_test(content_travels_late_without_precopy),
		cmocka_unit_test(a_lock_changes_hands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
