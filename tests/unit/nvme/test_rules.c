// SPDX-License-Identifier: BSD-3-Clause
/* What must never happen, named after the project's rules. */
#include "guest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct nvme_sqe flush = {
	.opcode = NVME_IO_FLUSH, .nsid = 1,
};

/* -- R7: memory that its owner cuts ------------------------------------ */

static void expect_failed(struct guest *g)
{
	uint64_t end = ob_loop_now(g->loop) + 10000000000ull;

	while (!(guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_CFS))
		assert_true(ob_loop_now(g->loop) < end);
}

/* The data's pages are gone; the queues are not. */
static void check_lost_data(const char *options, uint8_t opcode)
{
	struct guest *g = guest_ready(options);
	uint64_t data = GUEST_BASE + (32u << 20);
	struct nvme_sqe sqe = guest_rw(g, opcode, 0, 8, data);

	assert_int_equal(ftruncate(g->memfd, 32 << 20), 0);
	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	expect_failed(g);
	/* The memory comes back, and with a reset so does the disk. */
	assert_int_equal(ftruncate(g->memfd, GUEST_SIZE), 0);
	guest_unmap_all(g);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0, 3);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, guest_rw(g, opcode, 0, 8, data)), 0);
	guest_end(g);
}

static void test_R7_truncated_data(void **state)
{
	(void)state;
	check_lost_data("drive=mem:1M", NVME_IO_READ);
	check_lost_data("drive=mem:1M", NVME_IO_WRITE);
	check_lost_data("drive=delay:100:mem:1M", NVME_IO_READ);
}

static void test_R7_truncated_queues(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = flush;

	(void)state;
	guest_put(g, &g->io[1], &sqe);
	assert_int_equal(ftruncate(g->memfd, 0), 0);
	guest_set_reg(g, 0x1008, g->io[1].tail);
	expect_failed(g);
	assert_int_equal(ftruncate(g->memfd, GUEST_SIZE), 0);
	guest_end(g);
}

static void test_unmapped_queues(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_unmap_all(g);
	guest_set_reg(g, 0x1008, 1);
	expect_failed(g);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0, 3);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_readonly_completion_queue(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_unmap_all(g);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0, 1);
	guest_set_reg(g, 0x1008, 1);
	expect_failed(g);
	guest_end(g);
}

/* -- R13, R17: memory that changes while it is read -------------------- */

enum ring { TRAPPED, SHADOW, MAPPED };

struct mutator {
	pthread_t thread;
	atomic_bool stop;
	uint32_t *from;			/* queues, lists, shadow and index */
	size_t words;
	uint32_t *doorbells;		/* of one queue pair, or NULL */
};

/*
 * Bits anywhere, and doorbells that are within a queue of 64 as a rule: what is
 * nonsense at once would not get far.
 */
static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint32_t x = 12345;

	while (!atomic_load(&m->stop)) {
		x = x * 1664525u + 1013904223u;
		__atomic_fetch_xor(&m->from[(x >> 8) % m->words],
				   1u << (x & 31), __ATOMIC_RELAXED);
		if (m->doorbells && x >> 28 == 0)
			__atomic_store_n(&m->doorbells[x >> 27 & 1],
					 (x >> 8) % 65, __ATOMIC_RELAXED);
	}
	return NULL;
}

static uint32_t *doorbells_of(struct guest *g, enum ring how)
{
	char *bar;

	if (how == SHADOW)
		return (uint32_t *)guest_ptr(g, g->shadow) + 2;
	if (how == TRAPPED)
		return NULL;
	bar = ob_dev_bar_memory(g->dev, OB_BAR0);
	return (uint32_t *)(bar + NVME_DB_OFFSET) + 2;
}

static void expect_bounds(const struct nvme *n)
{
	assert_true(n->lanes->nr_busy_drive <= NVME_IO_SLOTS);
	assert_true(n->sqs[1].in_flight <= NVME_IO_SLOTS);
	assert_true(n->sqs[1].pos <= n->sqs[1].count);
	assert_true(n->hot->sqs[1].head < 64 && n->hot->sqs[1].tail < 64);
	assert_true(n->hot->cqs[1].head < 64 && n->hot->cqs[1].tail < 64);
}

/* Small ones as a rule, as the fast path has them; each list is another page. */
static void put_some(struct guest *g, struct queue *q, unsigned round,
		     uint64_t data)
{
	for (unsigned i = 0; i <= round % 32; i++) {
		uint8_t opcode = (round + i) % 3 ? NVME_IO_READ : NVME_IO_WRITE;
		uint64_t next = g->next;
		struct nvme_sqe sqe = guest_rw(g, opcode, (round * 8 + i) % 512,
					       i % 8 ? 8 : 200, data);

		g->next = next;
		guest_put(g, q, &sqe);
	}
}

/*
 * A thread flips bits of the queues and lists, and moves the doorbells, while
 * commands run.  Nothing is said about their results but that the server
 * lives, its cursors and its commands in flight stay bounded, and a reset
 * brings order.
 */
static void check_mutated(const char *options, enum ring how)
{
	struct guest *g = guest_ready(options);
	struct nvme *n = ob_dev_runtime(g->dev);
	uint64_t data = guest_alloc(g, 128 << 10);
	struct queue *q = &g->io[1];
	struct mutator m = {
		.from = guest_ptr(g, q->sq), .words = (1 << 20) / 4,
	};

	if (how == SHADOW)
		guest_shadow(g);
	m.doorbells = doorbells_of(g, how);
	assert_int_equal(pthread_create(&m.thread, NULL, mutate, &m), 0);
	for (unsigned i = 0; i < 1000; i++) {
		put_some(g, q, i, data);
		if (m.doorbells)
			__atomic_store_n(&m.doorbells[0], q->tail,
					 __ATOMIC_RELEASE);
		if (how != MAPPED)
			guest_set_reg(g, 0x1008, q->tail);
		guest_turn(g);
		if (m.doorbells)
			__atomic_store_n(&m.doorbells[1], n->hot->cqs[1].tail,
					 __ATOMIC_RELEASE);
		if (how != MAPPED)
			guest_set_reg(g, 0x100c, n->hot->cqs[1].tail);
		expect_bounds(n);
	}
	atomic_store(&m.stop, true);
	pthread_join(m.thread, NULL);
	assert_true(n->st->counters.reads + n->st->counters.writes > 0);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, data)),
			 0);
	guest_end(g);
}

static void test_R13_mutated_memory(void **state)
{
	(void)state;
	check_mutated("drive=mem:1M", TRAPPED);
	check_mutated("drive=null:1M", TRAPPED);
	check_mutated("drive=delay:10:mem:1M", TRAPPED);
}

static void test_R17_mutated_doorbells(void **state)
{
	(void)state;
	check_mutated("drive=mem:1M", SHADOW);
	check_mutated("drive=null:1M", SHADOW);
	check_mutated("drive=mem:1M,doorbells=mapped", MAPPED);
	check_mutated("drive=null:1M,doorbells=mapped", MAPPED);
	check_mutated("drive=delay:10:mem:1M,doorbells=mapped", MAPPED);
}

/* -- R14: our own registers are not memory ----------------------------- */

static void test_R14_own_bar(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	const uint64_t bar = 0xfe000000;

	(void)state;
	guest_config(g, 0x10, bar, 4);
	guest_config(g, 0x14, 0, 4);
	for (uint64_t at = 0; at < NVME_BAR_SIZE; at += 4096) {
		assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8,
						      bar + at)),
				 NVME_DATA_TRANSFER_ERROR);
		assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 8,
						      bar + at)),
				 NVME_DATA_TRANSFER_ERROR);
	}
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_end(g);
}

/* -- R15: lists that lead nowhere -------------------------------------- */

static void test_R15_list_that_points_to_itself(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t list = guest_alloc(g, 4096), *entries = guest_ptr(g, list);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024, list);
	uint16_t status;

	(void)state;
	for (unsigned i = 0; i < 512; i++)
		entries[i] = list;
	memcpy(sqe.dptr + 8, &list, 8);
	status = guest_io(g, sqe);	/* legal, if odd: it overwrites itself */
	assert_int_equal(status, 0);
	memset(entries, 0, 4096);
	status = guest_io(g, sqe);
	assert_true(status != 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* -- R19: bounded whatever the guest does ------------------------------ */

static void wait_for_busy(struct guest *g, unsigned count)
{
	uint64_t end = ob_loop_now(g->loop) + 30000000000ull;
	struct nvme *n = ob_dev_runtime(g->dev);

	while (n->lanes->nr_busy_drive < count) {
		guest_turn(g);
		assert_true(ob_loop_now(g->loop) < end);
	}
}

static void test_R19_in_flight_is_bounded(void **state)
{
	struct guest *g = guest_start("drive=delay:hang:mem:1M,queues=8");
	struct nvme *n = ob_dev_runtime(g->dev);
	uint64_t data = guest_alloc(g, 4096);
	struct nvme_id_ctrl id;

	(void)state;
	guest_enable(g);
	for (unsigned i = 1; i <= 8; i++) {
		assert_int_equal(guest_create_queue(g, i, 1024), 0);
		for (unsigned k = 0; k < 1023; k++) {
			struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
						       data);

			guest_put(g, &g->io[i], &sqe);
		}
		guest_ring(g, &g->io[i]);
	}
	wait_for_busy(g, NVME_IO_SLOTS);
	guest_settle(g);
	assert_int_equal(n->lanes->nr_busy_drive, NVME_IO_SLOTS);
	/* The admin queue has slots and memory of its own (R21). */
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	guest_end(g);
}

/* With all slots taken by slow commands the others still get their turn. */
static void test_R18_slots_run_out(void **state)
{
	struct guest *g = guest_start("drive=delay:3000:mem:1M,queues=4");
	uint64_t data = guest_alloc(g, 4096);
	unsigned got = 0;

	(void)state;
	guest_enable(g);
	for (unsigned i = 1; i <= 4; i++) {
		assert_int_equal(guest_create_queue(g, i, 1024), 0);
		for (unsigned k = 0; k < 1000; k++) {
			struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1,
						       data);

			guest_put(g, &g->io[i], &sqe);
		}
		guest_ring(g, &g->io[i]);
	}
	for (unsigned i = 1; i <= 4; i++)
		for (unsigned k = 0; k < 1000; k++)
			got += guest_wait(g, &g->io[i]).status >> 1 == 0;
	assert_int_equal(got, 4000);
	guest_end(g);
}

/* -- R20: exactly once ------------------------------------------------- */

/* Who was sent, who has come back, in one life of the controller. */
struct oracle {
	uint8_t sent[1 << 16];
	unsigned out;
};

static void note_sent(struct oracle *o, uint16_t cid)
{
	assert_int_equal(o->sent[cid], 0);
	o->sent[cid] = 1;
	o->out++;
}

static unsigned collect(struct guest *g, struct oracle *o, struct queue *q)
{
	struct nvme_cqe cqe;
	unsigned got = 0;

	while (guest_take(g, q, &cqe)) {
		assert_int_equal(o->sent[cqe.cid], 1);
		o->sent[cqe.cid] = 0;
		o->out--;
		got++;
	}
	if (got)
		guest_ring_head(g, q);
	return got;
}

static unsigned random_below(unsigned limit)
{
	static uint32_t x = 1;

	x = x * 1664525u + 1013904223u;
	return (x >> 8) % limit;
}

static void send_some(struct guest *g, struct oracle *o, uint64_t data)
{
	struct queue *q = &g->io[1];
	unsigned count = random_below(20);

	while (count-- && o->out < 62) {
		struct nvme_sqe sqe = guest_rw(g, random_below(2)
					       ? NVME_IO_READ : NVME_IO_WRITE,
					       random_below(1000), 8, data);

		note_sent(o, guest_put(g, q, &sqe));
	}
	guest_ring(g, q);
}

static void abort_one(struct guest *g)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_ABORT,
		.cdw10 = 1 | (uint32_t)(uint16_t)(g->io[1].next_cid - 1 -
						  random_below(20)) << 16,
	};

	assert_int_equal(guest_admin(g, sqe), 0);
}

static void drain(struct guest *g, struct oracle *o)
{
	uint64_t end = ob_loop_now(g->loop) + 10000000000ull;

	while (o->out) {
		guest_turn(g);
		collect(g, o, &g->io[1]);
		assert_true(ob_loop_now(g->loop) < end);
	}
}

/* Deletion answers last: by then every command has its completion. */
static void delete_queue(struct guest *g, struct oracle *o)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1 };
	uint32_t head;

	guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	for (;;) {
		struct nvme_cqe cqe;

		guest_turn(g);
		collect(g, o, &g->io[1]);
		if (guest_take(g, &g->admin, &cqe)) {
			assert_int_equal(cqe.status >> 1, 0);
			break;
		}
	}
	guest_ring_head(g, &g->admin);
	collect(g, o, &g->io[1]);
	/* What is still out was never fetched: only entries of the tail. */
	head = o->out;
	assert_in_range(head, 0, 62);
	memset(o, 0, sizeof(*o));
	sqe.opcode = NVME_ADM_DELETE_CQ;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
}

static void reset(struct guest *g, struct oracle *o)
{
	guest_disable(g);
	memset(o, 0, sizeof(*o));
	g->next = GUEST_BASE + (1 << 20);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
}

static void check_storm(const char *options)
{
	struct guest *g = guest_start(options);
	struct oracle *o = calloc(1, sizeof(*o));
	uint64_t data = guest_alloc(g, 1 << 20);

	reset(g, o);
	for (unsigned i = 0; i < 600; i++) {
		send_some(g, o, data);
		guest_nap(g, random_below(100));
		collect(g, o, &g->io[1]);
		switch (random_below(12)) {
		case 0:
			reset(g, o);
			break;
		case 1:
			delete_queue(g, o);
			break;
		case 2:
		case 3:
			abort_one(g);
			break;
		case 4:
			drain(g, o);
			break;
		}
		if (g->next > GUEST_BASE + (48 << 20))
			reset(g, o);
	}
	drain(g, o);
	free(o);
	guest_end(g);
}

static void test_R20_storm(void **state)
{
	(void)state;
	check_storm("drive=mem:1M");
	check_storm("drive=delay:50:mem:1M");
	check_storm("drive=delay:500:mem:1M,doorbells=trapped");
}

/* Nothing of the old life reaches the guest in the new one. */
static void test_R20_reset_disowns(void **state)
{
	struct guest *g = guest_ready("drive=delay:20000:mem:1M");
	uint64_t data = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8, data);
	struct nvme_cqe cqe;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	guest_disable(g);
	memset(guest_ptr(g, data), 0x77, 4096);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	guest_nap(g, 40000);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(*(uint8_t *)guest_ptr(g, data), 0x77);
	guest_end(g);
}

/*
 * A write that a reset left behind may be slow, but it must not overwrite
 * what the next life writes to the same place (R26's reason, without a
 * takeover).
 */
static void test_R20_old_write_does_not_overtake(void **state)
{
	struct guest *g = guest_ready("drive=delay:10000:mem:1M");
	uint64_t data = guest_alloc(g, 8192);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE, 0, 8, data);

	(void)state;
	for (unsigned round = 1; round <= 5; round++) {
		fill(guest_ptr(g, data), 4096, 2 * round);
		sqe = guest_rw(g, NVME_IO_WRITE, 0, 8, data);
		guest_put(g, &g->io[1], &sqe);
		guest_ring(g, &g->io[1]);
		guest_settle(g);
		guest_disable(g);
		g->next = data + 8192;
		guest_enable(g);
		assert_int_equal(guest_create_queue(g, 1, 64), 0);
		fill(guest_ptr(g, data), 4096, 2 * round + 1);
		assert_int_equal(guest_io(g, sqe), 0);
		guest_nap(g, 15000);
		sqe.opcode = NVME_IO_READ;
		assert_int_equal(guest_io(g, sqe), 0);
		assert_true(is_filled(guest_ptr(g, data), 4096,
				      2 * round + 1));
	}
	guest_end(g);
}

/* Some are at the drive, which hangs, and some wait for memory. */
static void test_R20_delete_queue_of_a_hung_drive(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M");
	uint64_t data = guest_alloc(g, 512 << 10);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024, data);
	struct nvme_sqe delete = {
		.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1
	};
	struct nvme_cqe cqe;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(guest_admin(g, delete), 0);
	for (unsigned i = 0; i < 40; i++) {
		assert_true(guest_take(g, &g->io[1], &cqe));
		assert_in_range(cqe.status >> 1 & 0x7ff, NVME_ABORT_REQUESTED,
				NVME_ABORT_SQ_DELETED);
	}
	assert_false(guest_take(g, &g->io[1], &cqe));
	guest_end(g);
}

static void test_R20_abort(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M");
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
				       guest_alloc(g, 4096));
	uint16_t cid = guest_put(g, &g->io[1], &sqe);
	struct nvme_cqe cqe;

	(void)state;
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	sqe = (struct nvme_sqe){
		.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)cid << 16 | 1,
	};
	assert_int_equal(guest_admin(g, sqe), 0);
	cqe = guest_wait(g, &g->io[1]);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status >> 1 & 0x7ff, NVME_ABORT_REQUESTED);
	/* One that is not there. */
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(g->result & 1, 1);
	guest_end(g);
}

static void test_R20_abort_event_request(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = { .opcode = NVME_ADM_ASYNC_EVENT };
	uint16_t aer = guest_put(g, &g->admin, &sqe), cid;
	bool seen_aer = false;

	(void)state;
	guest_ring(g, &g->admin);
	guest_settle(g);
	sqe = (struct nvme_sqe){
		.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)aer << 16,
	};
	cid = guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_cqe cqe = guest_wait(g, &g->admin);

		if (cqe.cid == aer) {
			assert_int_equal(cqe.status >> 1 & 0x7ff,
					 NVME_ABORT_REQUESTED);
			seen_aer = true;
		} else {
			assert_int_equal(cqe.cid, cid);
			assert_int_equal(cqe.result & 1, 0);
		}
	}
	assert_true(seen_aer);
	guest_end(g);
}

/* -- R21: a drive that hangs ------------------------------------------- */

static void test_R21_hung_drive(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M,"
				      "drive=mem:1M");
	uint64_t data = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE, 0, 8, data);
	struct nvme_id_ctrl id;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	/* Registers, the admin queue and the other drive go on. */
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	sqe.nsid = 2;
	assert_int_equal(guest_io(g, sqe), 0);
	guest_unmap_all(g);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0, 3);
	guest_reset(g);
	guest_master(g, true);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	sqe = guest_rw(g, NVME_IO_READ, 0, 8, data);
	sqe.nsid = 2;
	assert_int_equal(guest_io(g, sqe), 0);
	guest_end(g);
}

/* -- clients that go and come ------------------------------------------ */

/* The device keeps its state; what was under way is told to the next. */
static void test_client_comes_back(void **state)
{
	struct guest *g = guest_ready("drive=delay:5000:mem:1M");
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
				       guest_alloc(g, 4096));
	struct nvme_cqe cqe;
	unsigned got = 0;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	guest_hang_up(g);
	/* On a busy machine some were done before. */
	while (guest_take(g, &g->io[1], &cqe))
		got++;
	guest_nap(g, 10000);
	assert_false(guest_take(g, &g->io[1], &cqe));
	guest_connect(g);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	for (; got < 5; got++)
		guest_wait(g, &g->io[1]);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* The same with queues in memory that is reached by messages. */
static void test_client_goes_during_messages(void **state)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	struct nvme_sqe sqe = flush;

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	g->hold_dma = true;
	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	guest_hang_up(g);
	g->hold_dma = false;
	guest_connect(g);
	guest_reset(g);
	guest_master(g, true);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* A reset while a list, data or a completion is on its way by message. */
static void test_R20_reset_during_messages(void **state)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	uint64_t data = guest_alloc(g, 512 << 10);

	(void)state;
	for (unsigned turns = 0; turns < 40; turns++) {
		struct nvme_sqe sqe;

		g->next = data + (512 << 10);
		guest_enable(g);
		assert_int_equal(guest_create_queue(g, 1, 64), 0);
		sqe = guest_rw(g, NVME_IO_READ, 0, 1024, data);
		guest_put(g, &g->io[1], &sqe);
		guest_ring(g, &g->io[1]);
		for (unsigned i = 0; i < turns; i++)
			guest_turn(g);
		guest_disable(g);
	}
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* Bus mastering off: nothing moves; on: nothing was lost (R18). */
static void test_R18_bus_master(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = flush;
	struct nvme_cqe cqe;

	(void)state;
	guest_master(g, false);
	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_master(g, true);
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R7_truncated_data),
		cmocka_unit_test(test_R7_truncated_queues),
		cmocka_unit_test(test_unmapped_queues),
		cmocka_unit_test(test_readonly_completion_queue),
		cmocka_unit_test(test_R13_mutated_memory),
		cmocka_unit_test(test_R17_mutated_doorbells),
		cmocka_unit_test(test_R14_own_bar),
		cmocka_unit_test(test_R15_list_that_points_to_itself),
		cmocka_unit_test(test_R19_in_flight_is_bounded),
		cmocka_unit_test(test_R18_slots_run_out),
		cmocka_unit_test(test_R20_storm),
		cmocka_unit_test(test_R20_reset_disowns),
		cmocka_unit_test(test_R20_old_write_does_not_overtake),
		cmocka_unit_test(test_R20_delete_queue_of_a_hung_drive),
		cmocka_unit_test(test_R20_abort),
		cmocka_unit_test(test_R20_abort_event_request),
		cmocka_unit_test(test_R21_hung_drive),
		cmocka_unit_test(test_client_comes_back),
		cmocka_unit_test(test_client_goes_during_messages),
		cmocka_unit_test(test_R20_reset_during_messages),
		cmocka_unit_test(test_R18_bus_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
