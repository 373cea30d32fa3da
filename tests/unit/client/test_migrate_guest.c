// SPDX-License-Identifier: BSD-3-Clause
/*
 * A guest that does not stop for it: an NVMe driver with commands in flight
 * while its disk moves there and back, with memory of its own on each side,
 * and with moves that end before some step.
 *
 * The guest runs in the callbacks.  What it writes itself it marks as a CPU's
 * log would; completions and data read arrive by the device's log alone.
 * Moving, the other side's memory is mapped at the place of this side's, so
 * that the driver's pointers stay.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <outboard/migrate.h>

#include "devices/models.h"
#include "forked.h"
#include "nvme_user.h"

#define DEPTH 16u
#define BLOCK 4096u
#define BLOCKS 512u
#define PAGE 4096u
#define MOVES 24u

static struct forked servers[2];
static struct ob_client *clients[2];
static struct nvme_user *disk;
static struct ob_migrate_result result;
static struct ob_err err;
static unsigned side;			/* where the guest is */
static int memories[2];
static uint8_t *other;			/* the other side's memory */
static uint64_t *cpu_log;
static bool runs;
static int steps, end_at;
static unsigned seed = 1;
static unsigned long completed, in_blackout;

/* What a block holds, and what each slot is about to do to it. */
static uint8_t versions[BLOCKS];
static struct slot {
	bool busy, write;
	unsigned block;
} slots[DEPTH];
static bool block_busy[BLOCKS];

static size_t pages(void)
{
	return disk->memory_size / PAGE;
}

/* The CPU wrote this. */
static void touched(const void *at, size_t len)
{
	size_t first = (size_t)((const uint8_t *)at - disk->memory) / PAGE;
	size_t last = (size_t)((const uint8_t *)at - disk->memory + len - 1) /
		      PAGE;

	for (size_t i = first; i <= last; i++)
		cpu_log[i / 64] |= UINT64_C(1) << i % 64;
}

static void submit(unsigned slot)
{
	struct nvme_user_queue *q = &disk->queues[0];
	struct slot *s = &slots[slot];
	uint32_t sectors = BLOCK / disk->lba_size;

	do
		s->block = (unsigned)rand_r(&seed) % BLOCKS;
	while (block_busy[s->block]);
	block_busy[s->block] = s->busy = true;
	s->write = rand_r(&seed) % 2;
	if (s->write) {
		memset(nvme_user_buffer(q, slot), ++versions[s->block],
		       BLOCK);
		touched(nvme_user_buffer(q, slot), BLOCK);
	}
	nvme_user_submit(q, slot, s->write ? NVME_USER_WRITE : NVME_USER_READ,
			 (uint64_t)s->block * sectors, sectors);
	touched(q->sq, q->entries * sizeof(*q->sq));
	touched((uint8_t *)q->lists + slot * PAGE, PAGE);
}

static void ended(const struct nvme_user_done *done)
{
	struct slot *s = &slots[done->slot];
	const uint8_t *at = nvme_user_buffer(&disk->queues[0], done->slot);

	assert_true(s->busy);
	assert_int_equal(done->status, 0);
	if (!s->write) {
		assert_int_equal(at[0], versions[s->block]);
		assert_memory_equal(at, at + 1, BLOCK - 1);
	}
	s->busy = block_busy[s->block] = false;
	completed++;
}

static void reap(void)
{
	struct nvme_user_done done[DEPTH];
	int n = nvme_user_poll(&disk->queues[0], done, DEPTH, &err);

	if (n < 0)
		fail_msg("%s", err.msg);
	for (int i = 0; i < n; i++)
		ended(&done[i]);
}

static void work(void)
{
	assert_true(ob_client_poll(clients[side], 0, NULL) >= 0);
	reap();
	for (unsigned i = 0; i < DEPTH; i++)
		if (!slots[i].busy)
			submit(i);
	assert_int_equal(nvme_user_ring(&disk->queues[0], NULL), 0);
}

static int see_step(void *arg, enum ob_migrate_step step, unsigned device)
{
	(void)arg;
	(void)step;
	(void)device;
	if (runs)
		work();
	return steps++ == end_at ? -EINTR : 0;
}

static int see_progress(void *arg, const struct ob_migrate_progress *now)
{
	(void)arg;
	(void)now;
	if (runs)
		work();
	return 0;
}

static int get_dirty(void *arg, unsigned range, uint64_t *bitmap,
		     struct ob_err *why)
{
	(void)arg;
	(void)range;
	(void)why;
	for (size_t i = 0; i < (pages() + 63) / 64; i++) {
		bitmap[i] |= cpu_log[i];
		cpu_log[i] = 0;
	}
	return 0;
}

static int copy_ram(void *arg, const struct ob_migrate_pages *p,
		    struct ob_err *why)
{
	uint64_t base = p->iova - disk->memory_addr;

	(void)arg;
	(void)why;
	for (uint64_t i = 0; i * PAGE < p->length; i++)
		if (p->bitmap[i / 64] >> i % 64 & 1)
			memcpy(other + base + i * PAGE,
			       disk->memory + base + i * PAGE, PAGE);
	return 0;
}

/* With as much in flight as there can be. */
static int stop_guest(void *arg, struct ob_err *why)
{
	(void)arg;
	(void)why;
	work();
	runs = false;
	for (unsigned i = 0; i < DEPTH; i++)
		in_blackout += slots[i].busy;
	return 0;
}

static void swap_memory(void)
{
	void *at = mmap(disk->memory, disk->memory_size,
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			memories[!side], 0);

	assert_ptr_equal(at, disk->memory);
	at = mmap(other, disk->memory_size, PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_FIXED, memories[side], 0);
	assert_ptr_equal(at, other);
}

static int start_guest(void *arg, struct ob_err *why)
{
	(void)arg;
	(void)why;
	swap_memory();
	side = !side;
	disk->client = clients[side];
	runs = true;
	return 0;
}

static void continue_guest(void *arg)
{
	(void)arg;
	runs = true;
}

static const struct ob_migrate_ops ops = {
	.step = see_step, .progress = see_progress, .ram_dirty = get_dirty,
	.ram_copy = copy_ram, .stop_guest = stop_guest,
	.start_guest = start_guest, .continue_guest = continue_guest,
};

static void map_memory(unsigned where)
{
	const struct ob_client_dma map = {
		.addr = disk->memory_addr, .size = disk->memory_size,
		.readable = true, .writable = true, .fd = memories[where],
	};

	assert_int_equal(ob_client_dma_map(clients[where], &map, &err), 0);
}

static void begin(const char *here, const char *there)
{
	static const struct nvme_user_params params = {
		.queues = 1, .depth = DEPTH, .buffer_size = BLOCK, .nsid = 1,
	};

	forked_start(&servers[0], &ob_nvme_class, here);
	forked_start(&servers[1], &ob_nvme_class, there);
	for (unsigned i = 0; i < 2; i++)
		clients[i] = forked_connect(&servers[i], NULL);
	side = 0;
	if (nvme_user_open(clients[0], &params, &disk, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(disk->how, NVME_USER_POSTED);
	memories[0] = disk->memory_fd;
	memories[1] = memfd_create("other", MFD_CLOEXEC);
	assert_true(memories[1] >= 0);
	assert_int_equal(ftruncate(memories[1], (off_t)disk->memory_size), 0);
	other = mmap(NULL, disk->memory_size, PROT_READ | PROT_WRITE,
		     MAP_SHARED, memories[1], 0);
	assert_true(other != MAP_FAILED);
	map_memory(1);
	cpu_log = calloc(pages() / 64 + 1, sizeof(*cpu_log));
	memset(versions, 0, sizeof(versions));
	memset(slots, 0, sizeof(slots));
	memset(block_busy, 0, sizeof(block_busy));
	runs = true;
}

static void end(void)
{
	munmap(other, disk->memory_size);
	close(memories[1]);
	nvme_user_close(disk);
	free(cpu_log);
	for (unsigned i = 0; i < 2; i++) {
		ob_client_destroy(clients[i]);
		forked_stop(&servers[i]);
	}
}

static int move(bool precopy, int step)
{
	struct ob_client_range ram = { disk->memory_addr, disk->memory_size };
	struct ob_migrate_params params = {
		.ops = &ops, .precopy = precopy, .ram = &ram, .nr_ram = 1,
		.downtime_ms = 5,
	};

	steps = 0;
	end_at = step;
	memset(&err, 0, sizeof(err));
	return ob_migrate(&clients[side], &clients[!side], 1, &params,
			  &result, &err);
}

/* Everything comes back in the end. */
static void drain(void)
{
	struct nvme_user_queue *q = &disk->queues[0];

	for (unsigned i = 0; i < DEPTH; i++)
		for (unsigned long tries = 0; slots[i].busy; tries++) {
			assert_true(ob_client_poll(clients[side], 1, NULL) >=
				    0);
			reap();
			if (tries == 5000)
				fail_msg("slot %u, a %s, never completed, "
					 "queue at %u", i, slots[i].write
					 ? "write" : "read", q->head);
		}
}

static void moves_there_and_back(const char *here, const char *there)
{
	unsigned moved = 0, stayed = 0;

	begin(here, there);
	completed = in_blackout = 0;
	for (unsigned i = 0; i < MOVES; i++) {
		unsigned before = side;
		int r = move(i % 2, i % 3 == 2 ? (int)(i + 3) : -1);

		if (r && (r != -EINTR ||
			  result.outcome != OB_MIGRATE_STAYED))
			fail_msg("move %u: %s; %s", i, err.msg, result.note);
		assert_int_equal(side == before, r != 0);
		assert_true(runs);
		moved += !r;
		stayed += !!r;
		for (unsigned n = 0; n < 50; n++)
			work();
		drain();
	}
	assert_true(moved >= MOVES / 2);
	assert_true(stayed >= 3);
	assert_true(completed > MOVES * DEPTH);
	assert_true(in_blackout >= moved);
	end();
}

static void a_disk_in_memory(void **state)
{
	static const char spec[] = "nvme,drive=mem:2M,serial=S";

	(void)state;
	moves_there_and_back(spec, spec);
}

static void a_slow_disk(void **state)
{
	static const char spec[] =
		"nvme,drive=delay:2000:mem:2M,serial=S,drain=1";

	(void)state;
	moves_there_and_back(spec, spec);
}

/* One file, two servers, one lock. */
static void a_shared_file(void **state)
{
	char path[] = "/tmp/obdisk.XXXXXX", here[128], there[160];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BLOCKS * BLOCK), 0);
	close(fd);
	snprintf(here, sizeof(here), "nvme,drive=file:%s,serial=S", path);
	snprintf(there, sizeof(there), "%s,incoming=on", here);
	moves_there_and_back(here, there);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_in_memory),
		cmocka_unit_test(a_slow_disk),
		cmocka_unit_test(a_shared_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
