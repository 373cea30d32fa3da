// SPDX-License-Identifier: BSD-3-Clause
/* Doorbells, three ways, and interrupts. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct nvme_sqe flush = {
	.opcode = NVME_IO_FLUSH, .nsid = 1,
};

static struct nvme_error_entry newest_error(struct guest *g)
{
	struct nvme_error_entry log[64];

	assert_int_equal(guest_log(g, NVME_LOG_ERROR, log, 4096, false), 0);
	return log[0];
}

/* -- hostile values ---------------------------------------------------- */

static void expect_ignored(struct guest *g, uint64_t offset, uint32_t value)
{
	uint64_t before = newest_error(g).count;

	guest_set_reg(g, offset, value);
	guest_settle(g);
	assert_int_equal(newest_error(g).count, before + 1);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_int_equal(guest_io(g, flush), 0);
}

static void test_R17_bad_doorbells(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	expect_ignored(g, 0x1008, 64);		/* tail beyond the end */
	expect_ignored(g, 0x1008, 0xffffffff);
	expect_ignored(g, 0x100c, 64);		/* head beyond the end */
	expect_ignored(g, 0x100c, g->io[1].head + 1);	/* nothing there */
	expect_ignored(g, 0x1010, 1);		/* no such queue */
	expect_ignored(g, 0x1014, 1);
	expect_ignored(g, 0x1ffc, 1);		/* of no queue that can be */
	/* Less than a doorbell is no doorbell. */
	guest_access(g, true, 0, 0x1008, (uint8_t[]){ 63 }, 1);
	assert_int_equal(guest_io(g, flush), 0);
	/* They cannot be read. */
	assert_int_equal(guest_reg(g, 0x1008), 0);
	guest_end(g);
}

static void test_R17_before_ready(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");

	(void)state;
	guest_set_reg(g, 0x1000, 1);
	guest_set_reg(g, 0x1004, 1);
	guest_set_reg(g, 0x1008, 5);
	guest_settle(g);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), 0);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* What is rung at a deleted queue does not come back with the next one. */
static void test_R17_deleted_queue(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1 };

	(void)state;
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_admin(g, sqe), 0);
	guest_set_reg(g, 0x1008, 3);
	guest_settle(g);
	assert_int_equal(newest_error(g).count, 1);
	sqe.opcode = NVME_ADM_DELETE_CQ;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* -- shadow doorbells -------------------------------------------------- */

static void test_shadow(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t addr = guest_alloc(g, 4096);

	(void)state;
	guest_shadow(g);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, i % 100,
						      8, addr)), 0);
	guest_end(g);
}

/* One command after the other, the device looking by itself all the time. */
static unsigned exits_of(struct guest *g, struct queue *q, unsigned commands)
{
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
				       guest_alloc(g, 4096));
	unsigned before = g->messages;
	struct nvme_cqe cqe;

	for (unsigned i = 0; i < commands; i++) {
		guest_put(g, q, &sqe);
		guest_ring(g, q);
		for (unsigned k = 0; !guest_take(g, q, &cqe); k++) {
			ob_nvme_class.poll(g->dev);
			guest_turn(g);		/* does not sleep */
			assert_true(k < 10);
		}
		assert_int_equal(cqe.status >> 1, 0);
		guest_ring_head(g, q);
	}
	return g->messages - before;
}

/* While the device looks by itself the guest rings nothing, round after round. */
static void test_shadow_without_exits(void **state)
{
	static const unsigned sizes[] = { 2, 3, 5, 64, 4096 };
	struct guest *g = guest_start("drive=mem:1M");

	(void)state;
	guest_msix(g);
	guest_enable(g);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		assert_int_equal(guest_create_queue(g, i + 1, sizes[i]), 0);
	guest_shadow(g);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct queue *q = &g->io[i + 1];

		/* The first of a queue finds the index in front of it. */
		assert_true(exits_of(g, q, 1) <= 2);
		assert_int_equal(exits_of(g, q, 3 * sizes[i]), 0);
		/* As after a sleep. */
		assert_true(ob_nvme_class.sleep(g->dev));
		assert_int_equal(exits_of(g, q, 1), 1);
		assert_int_equal(exits_of(g, q, 3 * sizes[i]), 0);
	}
	guest_end(g);
}

/* A driver that polls needs no exits for a pin that never speaks for it. */
static void test_pin_without_exits(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct queue *q = &g->io[1];
	struct nvme_sqe sqe;

	(void)state;
	guest_enable(g);
	*q = (struct queue){
		.id = 1, .entries = 8, .phase = 1,
		.sq = guest_alloc(g, 4096), .cq = guest_alloc(g, 4096),
	};
	sqe = guest_sqe(g, NVME_ADM_CREATE_CQ, 0, q->cq, 4096);
	sqe.cdw10 = 7 << 16 | 1;
	sqe.cdw11 = 1;				/* IEN is 0 */
	assert_int_equal(guest_admin(g, sqe), 0);
	sqe = guest_sqe(g, NVME_ADM_CREATE_SQ, 0, q->sq, 4096);
	sqe.cdw10 = 7 << 16 | 1;
	sqe.cdw11 = 1 << 16 | 1;
	assert_int_equal(guest_admin(g, sqe), 0);
	guest_shadow(g);
	exits_of(g, q, 1);
	assert_int_equal(exits_of(g, q, 30), 0);
	guest_end(g);
}

/* Sleeping: armed, so that the next entry rings. */
static void test_R18_armed_before_sleep(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	uint32_t *index;

	(void)state;
	guest_msix(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	guest_shadow(g);
	index = guest_ptr(g, g->index);
	for (unsigned i = 0; i < 200; i++) {
		struct nvme_sqe sqe = flush;
		unsigned before = g->messages;

		assert_true(ob_nvme_class.sleep(g->dev));
		assert_int_equal(index[2], g->io[1].tail);
		guest_put(g, &g->io[1], &sqe);
		guest_ring(g, &g->io[1]);
		assert_int_equal(g->messages, before + 1);
		guest_settle(g);
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	}
	assert_int_equal(n->st->dbbuf, 1);
	guest_end(g);
}

/* It slept while a drive worked: once it has posted it looks again, and nobody rings. */
static void test_index_is_behind_before_a_completion(void **state)
{
	struct guest *g = guest_start("drive=delay:1000:mem:1M");
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
				       guest_alloc(g, 4096));
	struct queue *q = &g->io[1];
	unsigned before = 0;
	struct nvme_cqe cqe;
	bool over;

	(void)state;
	guest_msix(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 5), 0);
	guest_shadow(g);
	for (unsigned i = 0; i < 30; i++) {
		guest_put(g, q, &sqe);
		guest_ring(g, q);
		guest_settle(g);
		before = i ? before : g->messages;
		/* On a busy machine it may be too late to sleep. */
		over = guest_take(g, q, &cqe);
		assert_true(over || ob_nvme_class.sleep(g->dev));
		for (; !over; over = guest_take(g, q, &cqe))
			guest_turn(g);
		assert_int_equal(cqe.status >> 1, 0);
		guest_ring_head(g, q);
	}
	assert_int_equal(g->messages, before);
	guest_end(g);
}

/* An entry that comes between the last look and the arming is found. */
static void test_R18_no_sleep_over_work(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = flush;
	uint32_t *shadow;

	(void)state;
	guest_shadow(g);
	assert_int_equal(guest_io(g, flush), 0);
	shadow = guest_ptr(g, g->shadow);
	guest_put(g, &g->io[1], &sqe);
	shadow[2] = g->io[1].tail;	/* and nobody is told */
	assert_false(ob_nvme_class.sleep(g->dev));
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

static void test_R17_shadow_values(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint32_t *shadow;
	uint64_t before;

	(void)state;
	guest_shadow(g);
	assert_int_equal(guest_io(g, flush), 0);
	before = newest_error(g).count;
	shadow = guest_ptr(g, g->shadow);
	shadow[2] = 64;
	guest_nap(g, 2000);
	shadow[2] = 0x80000000;
	guest_nap(g, 2000);
	/* Told once for each value, however often it is seen. */
	assert_in_range(newest_error(g).count, before + 1, before + 2);
	shadow[2] = g->io[1].tail;
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_end(g);
}

/* The pages may vanish; then the register's value counts. */
static void test_shadow_unmapped(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");

	(void)state;
	g->next = GUEST_BASE;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	g->next = GUEST_BASE + (32u << 20);
	guest_shadow(g);
	assert_int_equal(guest_io(g, flush), 0);
	guest_unmap_all(g);
	guest_map(g, GUEST_BASE, 32u << 20, 0, 3);
	g->shadow = 0;
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_shadow_config(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t good = guest_alloc(g, 8192), bad[2];
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DBBUF_CONFIG };

	(void)state;
	bad[0] = good + 512;
	bad[1] = good + 4096;
	memcpy(sqe.dptr, bad, 16);
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	bad[0] = good;
	bad[1] = good;
	memcpy(sqe.dptr, bad, 16);
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	bad[1] = 0x1000;		/* not mapped */
	memcpy(sqe.dptr, bad, 16);
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* -- mapped doorbells -------------------------------------------------- */

static void map_page(struct guest *g)
{
	char *bar = ob_dev_bar_memory(g->dev, OB_BAR0);

	assert_non_null(bar);
	g->page = (uint32_t *)(bar + NVME_DB_OFFSET);
}

static void test_mapped(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,doorbells=mapped");
	uint64_t addr = guest_alloc(g, 4096);

	(void)state;
	map_page(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, i, 8,
						      addr)), 0);
	assert_int_equal(g->messages, 0);
	/* A message is as good as a store. */
	g->page = NULL;
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(g->messages, 2);
	guest_end(g);
}

/* Values of a former life do not ring in the next. */
static void test_mapped_reset(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,doorbells=mapped");

	(void)state;
	map_page(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_disable(g);
	guest_settle(g);
	assert_int_equal(g->page[0], 0);
	assert_int_equal(g->page[2], 0);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_R17_mapped_garbage(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,doorbells=mapped");
	volatile uint32_t *page;

	(void)state;
	map_page(g);
	page = g->page;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	for (unsigned i = 4; i < 1024; i++)
		page[i] = 0xdeadbeef;
	page[2] = 0x10000;
	guest_nap(g, 2000);
	page[2] = g->io[1].tail;
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_end(g);
}

static void test_page_is_offered_only_when_mapped(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");

	(void)state;
	assert_null(ob_dev_bar_memory(g->dev, OB_BAR0));
	guest_end(g);
}

/* -- full queues ------------------------------------------------------- */

/* More commands than the completion queue holds, and a late reader. */
static void check_full(struct guest *g, bool shadow)
{
	struct nvme_sqe sqe;
	struct nvme_cqe cqe;
	unsigned got = 0;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 8), 0);
	/* A second, longer submission queue on the same completion queue. */
	g->io[2] = (struct queue){
		.id = 2, .entries = 64, .sq = guest_alloc(g, 4096),
	};
	sqe = guest_sqe(g, NVME_ADM_CREATE_SQ, 0, g->io[2].sq, 4096);
	sqe.cdw10 = 63 << 16 | 2;
	sqe.cdw11 = 1 << 16 | 1;
	assert_int_equal(guest_admin(g, sqe), 0);
	if (shadow)
		guest_shadow(g);
	for (unsigned i = 0; i < 60; i++) {
		sqe = flush;
		guest_put(g, &g->io[2], &sqe);
	}
	guest_ring(g, &g->io[2]);
	guest_settle(g);
	while (got < 60) {
		unsigned round = 0;

		guest_wait_for(g, &g->io[1]);
		while (guest_take(g, &g->io[1], &cqe)) {
			assert_int_equal(cqe.cid, got++);
			assert_int_equal(cqe.sq_id, 2);
			round++;
		}
		assert_in_range(round, 1, 7);
		guest_ring_head(g, &g->io[1]);
		guest_nap(g, 500);	/* so that there may be as many as fit */
	}
	guest_end(g);
}

static void test_R18_completion_queue_full(void **state)
{
	(void)state;
	check_full(guest_start("drive=mem:1M"), false);
	check_full(guest_start("drive=mem:1M"), true);
	check_full(guest_start("drive=delay:100:mem:1M"), false);
	check_full(guest_start_as("drive=mem:1M", GUEST_MESSAGES), false);
}

/* A driver that believes SQHD: depth is the queue's size. */
static void test_R18_queue_always_full(void **state)
{
	struct guest *g = guest_ready("drive=delay:50:mem:1M");
	struct queue *q = &g->io[1];
	unsigned put = 0, got = 0, free = 63;
	uint32_t head = 0;

	(void)state;
	while (got < 1000) {
		while (free && put < 1000) {
			struct nvme_sqe sqe = flush;

			guest_put(g, q, &sqe);
			free--;
			put++;
		}
		guest_ring(g, q);
		{
			struct nvme_cqe cqe = guest_wait(g, q);

			free += (cqe.sq_head + 64 - head) % 64;
			head = cqe.sq_head;
			assert_true(free <= 63);
			got++;
		}
	}
	guest_end(g);
}

/* -- interrupts -------------------------------------------------------- */

static void test_msix(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe sqe;

	(void)state;
	guest_msix(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_true(guest_irqs(g, 0) > 0);
	assert_int_equal(guest_irqs(g, 1), 0);
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_irqs(g, 1), 1);
	/* One for a batch. */
	for (unsigned i = 0; i < 30; i++) {
		sqe = flush;
		guest_put(g, &g->io[1], &sqe);
	}
	guest_ring(g, &g->io[1]);
	for (unsigned i = 0; i < 30; i++)
		guest_wait(g, &g->io[1]);
	assert_in_range(guest_irqs(g, 1), 1, 2);
	guest_end(g);
}

static void test_no_interrupts_wanted(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe sqe;

	(void)state;
	guest_msix(g);
	guest_enable(g);
	g->io[1] = (struct queue){
		.id = 1, .entries = 16, .phase = 1,
		.sq = guest_alloc(g, 4096), .cq = guest_alloc(g, 4096),
	};
	sqe = guest_sqe(g, NVME_ADM_CREATE_CQ, 0, g->io[1].cq, 4096);
	sqe.cdw10 = 15 << 16 | 1;
	sqe.cdw11 = 1 << 16 | 1;		/* IEN is 0 */
	assert_int_equal(guest_admin(g, sqe), 0);
	sqe = guest_sqe(g, NVME_ADM_CREATE_SQ, 0, g->io[1].sq, 4096);
	sqe.cdw10 = 15 << 16 | 1;
	sqe.cdw11 = 1 << 16 | 1;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_irqs(g, 1), 0);
	guest_end(g);
}

static void one_flush(struct guest *g)
{
	struct nvme_sqe sqe = flush;

	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_wait(g, &g->io[1]);
}

static void test_coalescing(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");

	(void)state;
	guest_msix(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	/* Four entries, or 25.5 ms. */
	assert_int_equal(guest_set_feature(g, NVME_FID_COALESCING,
					   255 << 8 | 3), 0);
	guest_irqs(g, 1);
	for (unsigned i = 0; i < 8; i++)
		one_flush(g);
	/* Two full ones; more only if the time was up in between. */
	assert_true(guest_irqs(g, 1) >= 2);
	one_flush(g);
	guest_nap(g, 30000);
	assert_true(guest_irqs(g, 1) >= 1);	/* the time was up */
	/* Not for a vector that is excepted. */
	assert_int_equal(guest_set_feature(g, NVME_FID_VECTOR, 1 << 16 | 1),
			 0);
	one_flush(g);
	assert_int_equal(guest_irqs(g, 1), 1);
	guest_end(g);
}

/* The pin: up while there is something to consume, if not masked. */
static bool pin(struct guest *g)
{
	uint16_t status;

	guest_settle(g);
	guest_access(g, false, 7, 6, &status, 2);
	return status & 8;		/* Interrupt Status */
}

static void test_intx(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = flush;
	struct nvme_cqe cqe;

	(void)state;
	assert_false(pin(g));
	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	assert_true(pin(g));
	guest_set_reg(g, NVME_REG_INTMS, 1);
	assert_false(pin(g));
	guest_set_reg(g, NVME_REG_INTMC, 1);
	assert_true(pin(g));
	assert_true(guest_take(g, &g->io[1], &cqe));
	assert_true(pin(g));
	guest_ring_head(g, &g->io[1]);
	assert_false(pin(g));
	guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	assert_true(pin(g));
	guest_disable(g);
	assert_false(pin(g));
	guest_end(g);
}

/*
 * With shadow doorbells the guest still writes the register when it consumes:
 * a VMM takes that access for the end of the interrupt.
 */
static void test_intx_with_shadow(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = flush;
	struct nvme_cqe cqe;

	(void)state;
	guest_shadow(g);
	for (unsigned i = 0; i < 200; i++) {
		unsigned before;

		guest_put(g, &g->io[1], &sqe);
		guest_put(g, &g->io[1], &sqe);
		guest_ring(g, &g->io[1]);
		assert_true(pin(g));
		assert_true(guest_take(g, &g->io[1], &cqe));
		for (unsigned k = 0; k < 2; k++) {
			before = g->messages;
			guest_ring_head(g, &g->io[1]);
			assert_int_equal(g->messages, before + 1);
			assert_int_equal(pin(g), k == 0);
			assert_int_equal(guest_take(g, &g->io[1], &cqe),
					 k == 0);
		}
	}
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R17_bad_doorbells),
		cmocka_unit_test(test_R17_before_ready),
		cmocka_unit_test(test_R17_deleted_queue),
		cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_shadow_without_exits),
		cmocka_unit_test(test_pin_without_exits),
		cmocka_unit_test(test_R18_armed_before_sleep),
		cmocka_unit_test(test_index_is_behind_before_a_completion),
		cmocka_unit_test(test_R18_no_sleep_over_work),
		cmocka_unit_test(test_R17_shadow_values),
		cmocka_unit_test(test_shadow_unmapped),
		cmocka_unit_test(test_shadow_config),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_mapped_reset),
		cmocka_unit_test(test_R17_mapped_garbage),
		cmocka_unit_test(test_page_is_offered_only_when_mapped),
		cmocka_unit_test(test_R18_completion_queue_full),
		cmocka_unit_test(test_R18_queue_always_full),
		cmocka_unit_test(test_msix),
		cmocka_unit_test(test_no_interrupts_wanted),
		cmocka_unit_test(test_coalescing),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_intx_with_shadow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
