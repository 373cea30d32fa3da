// SPDX-License-Identifier: BSD-3-Clause
/* The user-space NVMe driver against a served disk, in every doorbell mode. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/models.h"
#include "forked.h"
#include "nvme_user.h"

#define DEPTH 8u
#define BLOCKS 64u		/* of 8 KiB */
#define BLOCK_SIZE 8192u
#define SPEC "nvme,drive=mem:1M,serial=TEST1"

static struct forked server;

static struct nvme_user *open_disk(struct ob_client *client,
				   struct nvme_user_params params)
{
	struct nvme_user *disk = NULL;
	struct ob_err err = { 0 };

	if (!params.queues)
		params.queues = 1;
	params.depth = DEPTH;
	params.buffer_size = BLOCK_SIZE;
	params.nsid = 1;
	if (nvme_user_open(client, &params, &disk, &err))
		fail_msg("%s", err.msg);
	return disk;
}

/* Until `count` have completed, all of them well. */
static void complete(struct nvme_user *disk, struct nvme_user_queue *q,
		     unsigned count)
{
	struct nvme_user_done done[DEPTH];
	struct ob_err err = { 0 };

	while (count) {
		int n = nvme_user_poll(q, done, DEPTH, &err);

		assert_in_range(n, 0, count);
		for (int i = 0; i < n; i++)
			assert_int_equal(done[i].status, 0);
		count -= (unsigned)n;
		if (n)
			continue;
		if (disk->params.interrupts)
			assert_int_equal(nvme_user_wait(disk, 10000, &err), 0);
		else
			assert_true(ob_client_poll(disk->client, 0, &err) >=
				    0);
	}
}

static void transfer(struct nvme_user *disk, uint8_t opcode, uint8_t mark)
{
	uint32_t sectors = BLOCK_SIZE / disk->lba_size;

	for (unsigned block = 0; block < BLOCKS; block += DEPTH) {
		struct nvme_user_queue *q =
			&disk->queues[block / DEPTH % disk->nr_queues];

		for (unsigned i = 0; i < DEPTH; i++) {
			memset(nvme_user_buffer(q, i),
			       opcode == NVME_USER_WRITE
				       ? (int)(mark + block + i) : 0,
			       BLOCK_SIZE);
			nvme_user_submit(q, i, opcode,
					 (uint64_t)(block + i) * sectors,
					 sectors);
		}
		assert_int_equal(nvme_user_ring(q, NULL), 0);
		complete(disk, q, DEPTH);
		for (unsigned i = 0; i < DEPTH; i++) {
			const uint8_t *buf = nvme_user_buffer(q, i);

			assert_int_equal(buf[0], (uint8_t)(mark + block + i));
			assert_int_equal(buf[BLOCK_SIZE - 1],
					 (uint8_t)(mark + block + i));
		}
	}
}

static void use_disk(const char *spec, struct nvme_user_params params,
		     enum nvme_user_doorbells how)
{
	struct nvme_user *disk;
	struct ob_client *client;

	forked_start(&server, &ob_nvme_class, spec);
	client = forked_connect(&server, NULL);
	/* Twice: a closed controller comes up again, the data stays. */
	for (uint8_t mark = 1; mark < 100; mark += 50) {
		disk = open_disk(client, params);
		assert_int_equal(disk->how, how);
		assert_string_equal(disk->serial, "TEST1");
		assert_int_equal(disk->lbas * disk->lba_size, 1 << 20);
		transfer(disk, NVME_USER_WRITE, mark);
		nvme_user_close(disk);
		disk = open_disk(client, params);
		transfer(disk, NVME_USER_READ, mark);
		nvme_user_close(disk);
	}
	ob_client_destroy(client);
	forked_stop(&server);
}

static void adaptive(void **state)
{
	(void)state;
	use_disk(SPEC, (struct nvme_user_params){ .shadow = true },
		 NVME_USER_POSTED);
	use_disk(SPEC, (struct nvme_user_params){ .shadow = true,
						  .interrupts = true },
		 NVME_USER_POSTED);
	use_disk(SPEC, (struct nvme_user_params){ .queues = 4 },
		 NVME_USER_POSTED);
}

static void trapped(void **state)
{
	(void)state;
	use_disk(SPEC ",doorbells=trapped", (struct nvme_user_params){ 0 },
		 NVME_USER_POSTED);
	use_disk(SPEC ",doorbells=trapped",
		 (struct nvme_user_params){ .shadow = true, .queues = 3,
					    .interrupts = true },
		 NVME_USER_POSTED);
}

static void mapped(void **state)
{
	(void)state;
	use_disk(SPEC ",doorbells=mapped", (struct nvme_user_params){ 0 },
		 NVME_USER_MAPPED);
	use_disk(SPEC ",doorbells=mapped",
		 (struct nvme_user_params){ .queues = 2, .interrupts = true },
		 NVME_USER_MAPPED);
}

static void refuse(struct ob_client *client, struct nvme_user_params params,
		   int expected, const char *words)
{
	struct nvme_user *disk;
	struct ob_err err = { 0 };

	assert_int_equal(nvme_user_open(client, &params, &disk, &err),
			 expected);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void refusals(void **state)
{
	const struct nvme_user_params good = {
		.queues = 1, .depth = 4, .nsid = 1,
	};
	struct nvme_user_params p;
	struct ob_client *client;

	(void)state;
	forked_start(&server, &ob_nvme_class, SPEC ",queues=2");
	client = forked_connect(&server, NULL);
	p = good;
	p.nsid = 7;
	refuse(client, p, -EIO, "status 0x00b");
	p = good;
	p.queues = 3;
	refuse(client, p, -ERANGE, "2 submission");
	p = good;
	p.depth = 5000;
	refuse(client, p, -EINVAL, "depth");
	p = good;
	p.buffer_size = 4 << 20;
	refuse(client, p, -EINVAL, "2 MiB");
	ob_client_destroy(client);
	forked_stop(&server);

	forked_start(&server, &ob_edu_class, "edu");
	client = forked_connect(&server, NULL);
	refuse(client, good, -ENODEV, "no NVMe controller");
	ob_client_destroy(client);
	forked_stop(&server);
}

static void failed_command(void **state)
{
	struct nvme_user_done done;
	struct nvme_user *disk;
	struct ob_client *client;
	int n;

	(void)state;
	forked_start(&server, &ob_nvme_class, SPEC);
	client = forked_connect(&server, NULL);
	disk = open_disk(client, (struct nvme_user_params){ 0 });
	nvme_user_submit(&disk->queues[0], 5, NVME_USER_READ, disk->lbas, 1);
	assert_int_equal(nvme_user_ring(&disk->queues[0], NULL), 0);
	while (!(n = nvme_user_poll(&disk->queues[0], &done, 1, NULL)))
		ob_client_poll(client, 0, NULL);
	assert_int_equal(n, 1);
	assert_int_equal(done.slot, 5);
	assert_int_equal(done.status, 0x080);	/* LBA out of range */
	nvme_user_close(disk);
	ob_client_destroy(client);
	forked_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adaptive),
		cmocka_unit_test(trapped),
		cmocka_unit_test(mapped),
		cmocka_unit_test(refusals),
		cmocka_unit_test(failed_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
