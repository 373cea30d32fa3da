/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller without a client: its callbacks are called as the server calls
 * them, its guest memory is a memfd of ours.
 *
 * Input: a byte of how many commands follow (at most 63), the commands, 65
 * bytes each, then what guest memory holds.  A command's first byte says how
 * much of it is taken as it is (RAW), and what happens behind it.
 *
 * Whatever the commands are: everything ends within a bounded number of turns,
 * every slot is free again but those of parked event requests, and a reset
 * frees these too.
 */
#ifndef OB_FUZZ_NVME_RIG_H
#define OB_FUZZ_NVME_RIG_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "devices/nvme/nvme.h"
#include "server/device_impl.h"
#include "server/server.h"

#define MEM_BASE	0x100000u
#define MEM_SIZE	(512u << 10)
#define QUEUE_BASE	0x80000000u	/* not where data usually goes */
#define QUEUE_SIZE	(64u << 10)
#define ENTRIES		64u
#define RECORD		65u
#define MAX_TURNS	100000

enum { RAW = 1, RING = 2, TURN = 4, RESET = 8 };

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

struct rig {
	struct ob_loop *loop;
	struct ob_device *dev;
	struct nvme *n;
	uint8_t *mem, *queues;
	uint32_t tail[2];
};

static uint8_t *map_memory(struct rig *rig, uint64_t addr, uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct ob_dma_map map = {
		.argsz = OB_DMA_MAP_SIZE, .address = addr, .size = size,
		.flags = OB_DMA_READ | OB_DMA_WRITE,
	};
	struct ob_err err = { "" };
	uint8_t *mem;

	REQUIRE(fd >= 0 && ftruncate(fd, size) == 0);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(mem != MAP_FAILED);
	REQUIRE(ob_dma_map(rig->dev, &map, &fd, &err) == 0);
	return mem;
}

static struct rig *rig_get(void)
{
	static struct rig rig;
	const struct ob_option *const tables[] = {
		ob_device_common_options, ob_nvme_class.options, NULL
	};
	struct ob_err err = { "" };
	struct ob_options *opts;

	if (rig.dev)
		return &rig;
	ob_log_set_level(OB_LOG_ERROR);
	REQUIRE(ob_loop_create(NULL, &rig.loop, &err) == 0);
	REQUIRE(ob_options_parse("nvme,socket=/nowhere,queues=4,"
				 "drive=mem:256K,"
				 "drive=fault:all=EIO/5:delay:1:mem:256K",
				 tables, &opts, &err) == 0);
	REQUIRE(ob_device_create(rig.loop, &ob_nvme_class, opts, &rig.dev,
				 &err) == 0);
	rig.n = ob_dev_runtime(rig.dev);
	rig.mem = map_memory(&rig, MEM_BASE, MEM_SIZE);
	rig.queues = map_memory(&rig, QUEUE_BASE, QUEUE_SIZE);
	return &rig;
}

static void set_reg(struct rig *rig, uint64_t offset, uint64_t value,
		    size_t len)
{
	ob_nvme_class.region_write(rig->dev, 0, offset, &value, len);
}

/* The guest has seen all completions, and says so where it is looked for. */
static void consume(struct rig *rig, unsigned qid)
{
	struct nvme *n = rig->n;
	uint32_t head = n->hot->cqs[qid].tail, *shadow = NULL;
	uint64_t offset = 8 * qid + 4;

	if (n->st->dbbuf)
		shadow = ob_dma_ptr(rig->dev, n->st->dbs_addr + offset, 4,
				    true);
	if (shadow)
		*shadow = head;
	set_reg(rig, NVME_REG_DBS + offset, head, 4);
}

static void turn(struct rig *rig)
{
	struct nvme *n = rig->n;

	for (unsigned i = 0; i < 2; i++)
		if (n->st->cqs[i].created)
			consume(rig, i);
	if (n->st->dbbuf)
		ob_nvme_class.poll(rig->dev);
	REQUIRE(ob_loop_turn(rig->loop, false) == 0);
	REQUIRE(n->lanes->nr_busy_drive <= NVME_IO_SLOTS);
}

static unsigned slots_taken(const struct nvme *n)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < NVME_SLOTS; i++)
		taken += n->hot->slots[i].stage != NVME_SLOT_FREE;
	return taken;
}

static bool failed(const struct rig *rig)
{
	return rig->n->st->csts & NVME_CSTS_CFS;
}

static void ring(struct rig *rig, unsigned qid)
{
	set_reg(rig, NVME_REG_DBS + 8 * qid, rig->tail[qid], 4);
}

/* Lets everything end. */
static void drain(struct rig *rig)
{
	struct nvme *n = rig->n;

	for (unsigned i = 0; i < MAX_TURNS; i++) {
		turn(rig);
		if (failed(rig) && !n->lanes->nr_busy_drive)
			return;
		if (slots_taken(n) == n->nr_aers && nvme_lanes_idle(n))
			return;
	}
	abort();	/* something never ends */
}

static void put(struct rig *rig, unsigned qid, const struct nvme_sqe *sqe)
{
	uint8_t *sq = rig->queues + (qid ? 16384 : 0);

	memcpy(sq + rig->tail[qid] * sizeof(*sqe), sqe, sizeof(*sqe));
	rig->tail[qid] = (rig->tail[qid] + 1) % ENTRIES;
}

static void create_io_queues(struct rig *rig)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_CREATE_CQ, .cdw10 = (ENTRIES - 1) << 16 | 1,
		.cdw11 = 1 << 16 | 3,
	};
	uint64_t cq = QUEUE_BASE + 24576, sq = QUEUE_BASE + 16384;

	memcpy(sqe.dptr, &cq, 8);
	put(rig, 0, &sqe);
	sqe.opcode = NVME_ADM_CREATE_SQ;
	sqe.cdw11 = 1 << 16 | 1;
	memcpy(sqe.dptr, &sq, 8);
	put(rig, 0, &sqe);
	ring(rig, 0);
	drain(rig);
	REQUIRE(rig->n->st->sqs[1].created);
}

static void rig_enable(struct rig *rig)
{
	uint16_t command = 6;
	const struct ob_region_access access = { 4, OB_CONFIG, 2 };

	ob_device_reset(rig->dev, OB_RESET_DEVICE);
	ob_region_write(rig->dev, &access, &command);
	memset(rig->queues, 0, QUEUE_SIZE);
	rig->tail[0] = rig->tail[1] = 0;
	set_reg(rig, NVME_REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1), 4);
	set_reg(rig, NVME_REG_ASQ, QUEUE_BASE, 8);
	set_reg(rig, NVME_REG_ACQ, QUEUE_BASE + 8192, 8);
	set_reg(rig, NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN, 4);
	REQUIRE(rig->n->st->csts == NVME_CSTS_RDY);
	create_io_queues(rig);
}

/* Into guest memory, so that commands get beyond their first check. */
static void aim(uint8_t dptr[16])
{
	uint64_t addr[2];

	memcpy(addr, dptr, 16);
	for (unsigned i = 0; i < 2; i++)
		addr[i] = MEM_BASE + (addr[i] % MEM_SIZE & ~3ull);
	addr[1] &= ~4095ull;
	memcpy(dptr, addr, 16);
}

static void run_input(const uint8_t *data, size_t size, unsigned qid,
		      void (*envelope)(struct nvme_sqe *sqe))
{
	struct rig *rig = rig_get();
	unsigned count;

	if (!size)
		return;
	count = *data++ & 63;
	size--;
	if (count * RECORD > size)
		count = size / RECORD;
	memset(rig->mem, 0, MEM_SIZE);
	memcpy(rig->mem, data + count * RECORD,
	       size - count * RECORD < MEM_SIZE ? size - count * RECORD
						: MEM_SIZE);
	rig_enable(rig);
	for (unsigned i = 0; i < count; i++, data += RECORD) {
		struct nvme_sqe sqe;

		memcpy(&sqe, data + 1, sizeof(sqe));
		if (!(*data & RAW))
			envelope(&sqe);
		put(rig, qid, &sqe);
		if (*data & RING)
			ring(rig, qid);
		if (*data & TURN)
			turn(rig);
		if ((*data & 0xf8) == (RESET | 0xf0))
			rig_enable(rig);
	}
	ring(rig, qid);
	drain(rig);
	/* A reset leaves nothing behind. */
	ob_device_reset(rig->dev, OB_RESET_DEVICE);
	for (unsigned i = 0; rig->n->lanes->nr_busy_drive; i++) {
		REQUIRE(i < MAX_TURNS);
		REQUIRE(ob_loop_turn(rig->loop, false) == 0);
	}
	REQUIRE(slots_taken(rig->n) == 0);
}

#endif
