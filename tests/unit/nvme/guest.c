// SPDX-License-Identifier: BSD-3-Clause
/* The guest's driver, on whatever carries its register accesses: wire.c (the
 * real server) or lib.c (a stand-in for it). */
#include "guest.h"

#include <string.h>

#define PATIENCE_NS 30000000000ull

uint32_t guest_reg(struct guest *g, uint64_t offset)
{
	uint32_t v;

	guest_access(g, false, 0, offset, &v, sizeof(v));
	return v;
}

uint64_t guest_reg64(struct guest *g, uint64_t offset)
{
	uint64_t v;

	guest_access(g, false, 0, offset, &v, sizeof(v));
	return v;
}

void guest_set_reg(struct guest *g, uint64_t offset, uint32_t value)
{
	guest_access(g, true, 0, offset, &value, sizeof(value));
}

void guest_set_reg64(struct guest *g, uint64_t offset, uint64_t value)
{
	guest_access(g, true, 0, offset, &value, sizeof(value));
}

uint64_t guest_alloc(struct guest *g, size_t bytes)
{
	uint64_t addr = g->next;

	g->next += (bytes + 4095) & ~4095ull;
	assert_true(g->next <= GUEST_BASE + GUEST_SIZE);
	memset(guest_ptr(g, addr), 0, bytes);
	return addr;
}

void *guest_ptr(struct guest *g, uint64_t addr)
{
	return g->mem + (addr - GUEST_BASE);
}

struct guest *guest_start(const char *options)
{
	return guest_start_as(options, GUEST_MAPPED);
}

struct guest *guest_ready(const char *options)
{
	struct guest *g = guest_start(options);

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	return g;
}

/* -- the driver -------------------------------------------------------- */

static void init_queue(struct guest *g, struct queue *q, unsigned id,
		       uint32_t entries)
{
	*q = (struct queue){ .id = id, .entries = entries, .phase = 1 };
	q->sq = guest_alloc(g, entries * sizeof(struct nvme_sqe));
	q->cq = guest_alloc(g, entries * sizeof(struct nvme_cqe));
}

void guest_enable(struct guest *g)
{
	init_queue(g, &g->admin, 0, 32);
	guest_set_reg(g, NVME_REG_AQA, 31 << 16 | 31);
	guest_set_reg64(g, NVME_REG_ASQ, g->admin.sq);
	guest_set_reg64(g, NVME_REG_ACQ, g->admin.cq);
	guest_set_reg(g, NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
}

void guest_disable(struct guest *g)
{
	guest_set_reg(g, NVME_REG_CC, 4 << 20 | 6 << 16);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_RDY, 0);
	g->shadow = g->index = 0;
}

uint16_t guest_create_queue(struct guest *g, unsigned id, uint32_t entries)
{
	struct queue *q = &g->io[id];
	struct nvme_sqe sqe;
	uint16_t status;

	init_queue(g, q, id, entries);
	sqe = guest_sqe(g, NVME_ADM_CREATE_CQ, 0, q->cq, 4096);
	sqe.cdw10 = (entries - 1) << 16 | id;
	sqe.cdw11 = id << 16 | 3;
	status = guest_admin(g, sqe);
	if (status)
		return status;
	sqe = guest_sqe(g, NVME_ADM_CREATE_SQ, 0, q->sq, 4096);
	sqe.cdw10 = (entries - 1) << 16 | id;
	sqe.cdw11 = id << 16 | 1;
	return guest_admin(g, sqe);
}

void guest_shadow(struct guest *g)
{
	struct nvme_sqe sqe;
	uint32_t *page;

	g->shadow = guest_alloc(g, 4096);
	g->index = guest_alloc(g, 4096);
	page = guest_ptr(g, g->shadow);
	for (unsigned i = 1; i <= GUEST_QUEUES; i++) {
		page[2 * i] = g->io[i].tail;
		page[2 * i + 1] = g->io[i].head;
	}
	sqe = guest_sqe(g, NVME_ADM_DBBUF_CONFIG, 0, g->shadow, 4096);
	memcpy(sqe.dptr + 8, &g->index, 8);
	assert_int_equal(guest_admin(g, sqe), 0);
}

uint16_t guest_put(struct guest *g, struct queue *q, struct nvme_sqe *sqe)
{
	struct nvme_sqe *sq = guest_ptr(g, q->sq);

	sqe->cid = q->next_cid++;
	sq[q->tail] = *sqe;
	q->tail = (q->tail + 1) % q->entries;
	return sqe->cid;
}

/* What the specification asks of a driver (B.5). */
static bool must_write(struct guest *g, unsigned index, uint32_t value)
{
	uint32_t *shadow, *event, old;

	if (g->page) {
		__atomic_store_n(&g->page[index], value, __ATOMIC_RELEASE);
		return false;
	}
	if (!g->shadow || index < 2)
		return true;
	shadow = guest_ptr(g, g->shadow);
	event = guest_ptr(g, g->index);
	old = shadow[index];
	__atomic_store_n(&shadow[index], value, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return (uint16_t)(value - event[index] - 1) < (uint16_t)(value - old);
}

static void doorbell(struct guest *g, unsigned index, uint32_t value)
{
	if (!must_write(g, index, value))
		return;
	g->messages++;
	guest_set_reg(g, NVME_REG_DBS + 4 * index, value);
}

void guest_ring(struct guest *g, struct queue *q)
{
	doorbell(g, 2 * q->id, q->tail);
}

void guest_ring_head(struct guest *g, struct queue *q)
{
	doorbell(g, 2 * q->id + 1, q->head);
}

static bool has_come(struct guest *g, struct queue *q)
{
	struct nvme_cqe *cq = guest_ptr(g, q->cq);
	uint16_t status = __atomic_load_n(&cq[q->head].status,
					  __ATOMIC_ACQUIRE);

	return (status & 1) == q->phase;
}

bool guest_take(struct guest *g, struct queue *q, struct nvme_cqe *cqe)
{
	struct nvme_cqe *cq = guest_ptr(g, q->cq);

	if (!has_come(g, q))
		return false;
	*cqe = cq[q->head];
	if (++q->head == q->entries) {
		q->head = 0;
		q->phase ^= 1;
	}
	return true;
}

void guest_wait_for(struct guest *g, struct queue *q)
{
	uint64_t end = ob_loop_now(g->loop) + PATIENCE_NS;

	while (!has_come(g, q)) {
		guest_turn(g);
		assert_true(ob_loop_now(g->loop) < end);
	}
}

struct nvme_cqe guest_wait(struct guest *g, struct queue *q)
{
	struct nvme_cqe cqe;

	while (!guest_take(g, q, &cqe))
		guest_wait_for(g, q);
	guest_ring_head(g, q);
	return cqe;
}

uint16_t guest_do(struct guest *g, struct queue *q, struct nvme_sqe sqe)
{
	uint16_t cid = guest_put(g, q, &sqe);
	struct nvme_cqe cqe;

	guest_ring(g, q);
	cqe = guest_wait(g, q);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.sq_id, q->id);
	assert_int_equal(cqe.sq_head, q->tail);
	g->result = cqe.result;
	return cqe.status >> 1 & 0x7ff;
}

uint16_t guest_admin(struct guest *g, struct nvme_sqe sqe)
{
	return guest_do(g, &g->admin, sqe);
}

uint16_t guest_io(struct guest *g, struct nvme_sqe sqe)
{
	return guest_do(g, &g->io[1], sqe);
}

struct nvme_sqe guest_sqe(struct guest *g, uint8_t opcode, uint32_t nsid,
			  uint64_t addr, uint32_t len)
{
	struct nvme_sqe sqe = { .opcode = opcode, .nsid = nsid };
	uint64_t second = len > 4096 ? addr + 4096 : 0;

	if (len > 8192) {
		second = guest_alloc(g, 4096);
		for (uint32_t i = 1; i < (len + 4095) / 4096; i++)
			((uint64_t *)guest_ptr(g, second))[i - 1] =
				addr + 4096ull * i;
	}
	memcpy(sqe.dptr, &addr, 8);
	memcpy(sqe.dptr + 8, &second, 8);
	return sqe;
}

struct nvme_sqe guest_rw(struct guest *g, uint8_t opcode, uint64_t lba,
			 uint32_t blocks, uint64_t addr)
{
	struct nvme_sqe sqe = guest_sqe(g, opcode, 1, addr, blocks * 512);

	sqe.cdw10 = lba;
	sqe.cdw11 = lba >> 32;
	sqe.cdw12 = blocks - 1;
	return sqe;
}

uint16_t guest_identify(struct guest *g, uint32_t cns, uint32_t nsid,
			void *page)
{
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_IDENTIFY, nsid, addr,
					4096);
	uint16_t status;

	memset(guest_ptr(g, addr), 0x5a, 4096);
	sqe.cdw10 = cns;
	status = guest_admin(g, sqe);
	memcpy(page, guest_ptr(g, addr), 4096);
	return status;
}

uint16_t guest_log(struct guest *g, uint8_t lid, void *buf, uint32_t len,
		   bool retain)
{
	uint64_t addr = guest_alloc(g, len);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_GET_LOG, NVME_NSID_ALL,
					addr, len);
	uint16_t status;

	memset(guest_ptr(g, addr), 0x5a, len);
	sqe.cdw10 = (len / 4 - 1) << 16 | (uint32_t)retain << 15 | lid;
	sqe.cdw11 = (len / 4 - 1) >> 16;
	status = guest_admin(g, sqe);
	memcpy(buf, guest_ptr(g, addr), len);
	return status;
}

uint16_t guest_set_feature(struct guest *g, uint8_t fid, uint32_t value)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_SET_FEATURES, .cdw10 = fid, .cdw11 = value,
	};

	return guest_admin(g, sqe);
}

uint16_t guest_get_feature(struct guest *g, uint8_t fid)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_GET_FEATURES, .cdw10 = fid,
	};

	return guest_admin(g, sqe);
}

void fill(void *buf, size_t len, uint32_t seed)
{
	uint32_t *at = buf;

	for (size_t i = 0; i < len / 4; i++)
		at[i] = seed * 2654435761u + (uint32_t)i * 40503u;
}

bool is_filled(const void *buf, size_t len, uint32_t seed)
{
	const uint32_t *at = buf;

	for (size_t i = 0; i < len / 4; i++)
		if (at[i] != seed * 2654435761u + (uint32_t)i * 40503u)
			return false;
	return true;
}

void guest_settle(struct guest *g)
{
	for (int i = 0; i < 100; i++)
		guest_turn(g);
}

void guest_nap(struct guest *g, unsigned us)
{
	uint64_t end = ob_loop_now(g->loop) + us * 1000ull;

	do
		guest_turn(g);
	while (ob_loop_now(g->loop) < end);
}
