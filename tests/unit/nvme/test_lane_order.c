// SPDX-License-Identifier: BSD-3-Clause
/*
 * Lanes, all on one thread: the test says which of them gets a turn, and so what
 * meets what.
 */
#include "lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LANES 2u

static struct nvme *model(struct guest *g)
{
	return ob_dev_runtime(g->dev);
}

/* Ready, with nr pairs of queues, the first of them on lane 1. */
static struct guest *start(const char *options, unsigned nr)
{
	struct guest *g;

	lib_lanes = LANES;
	g = guest_start(options);
	guest_msix(g);
	guest_enable(g);
	lib_spread(g->dev, true);
	for (unsigned i = 1; i <= nr; i++)
		assert_int_equal(guest_create_queue(g, i, 64), 0);
	assert_true(model(g)->spread);
	assert_int_equal(model(g)->sqs[1].lane->number, 1);
	return g;
}

/* Only it: home is busy with others. */
static void turn_lane(struct guest *g)
{
	for (unsigned i = 0; i < 200; i++)
		lib_turn_lane(g->dev, 1);
}

static void turn_all(struct guest *g)
{
	for (unsigned i = 0; i < 100; i++) {
		lib_turn_lane(g->dev, 1);
		guest_turn(g);
	}
}

static void put_all(struct guest *g, uint8_t opcode, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct nvme_sqe sqe = guest_rw(g, opcode, i, 8,
					       guest_alloc(g, 4096));

		guest_put(g, &g->io[1], &sqe);
	}
	guest_ring(g, &g->io[1]);
}

static void put_reads(struct guest *g, unsigned count)
{
	put_all(g, NVME_IO_READ, count);
}

static unsigned take_all(struct guest *g, struct queue *q)
{
	struct nvme_cqe cqe;
	unsigned count = 0;

	for (; guest_take(g, q, &cqe); count++)
		assert_int_equal(cqe.status >> 1, 0);
	guest_ring_head(g, q);
	return count;
}

/* R18: the lane had been told, and lost the queue before it looked. */
static void test_R18_rung_while_moved(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);

	(void)state;
	put_reads(g, 3);
	lib_spread(g->dev, false);
	turn_all(g);
	assert_int_equal(take_all(g, &g->io[1]), 3);
	guest_end(g);
}

/* ... and does not remember it when it has the queue again. */
static void test_R17_rung_before_moved(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);

	(void)state;
	put_reads(g, 3);
	lib_spread(g->dev, false);
	put_reads(g, 2);
	for (unsigned i = 0; i < 100; i++)
		guest_turn(g);
	lib_spread(g->dev, true);
	turn_all(g);
	assert_int_equal(take_all(g, &g->io[1]), 5);
	assert_int_equal(model(g)->hot->sqs[1].tail, 5);
	assert_int_equal(model(g)->hot->sqs[1].fetched, 5);
	guest_end(g);
}

/* The message was done: who comes after a death knows what it said. */
static void test_death_before_the_lane_looks(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);
	struct ob_device *old = g->dev, *next;
	struct ob_err err = { "" };

	(void)state;
	put_reads(g, 3);
	next = lib_create(g, "drive=mem:1M");
	lib_stop(next);
	lib_halt(next);
	assert_int_equal(lib_load(next, old, &err), 0);
	lib_copy_config(next, old);
	g->dev = next;
	lib_run(next);
	turn_all(g);
	assert_int_equal(take_all(g, &g->io[1]), 3);
	lib_destroy(old);
	guest_end(g);
}

/* Requests that ended on the lane's thread, and are on their way to lane 0. */
static void test_reset_meets_ends(void **state)
{
	char path[] = "/tmp/ob-lanes-XXXXXX", options[64];
	int fd = mkstemp(path);
	struct guest *g;

	(void)state;
	assert_true(fd >= 0 && !ftruncate(fd, 1 << 20));
	close(fd);
	snprintf(options, sizeof(options), "drive=file:%s", path);
	g = start(options, 1);
	assert_true(model(g)->branches);
	/* To the medium, which takes a while. */
	assert_int_equal(guest_set_feature(g, NVME_FID_WRITE_CACHE, 0), 0);
	put_all(g, NVME_IO_WRITE, 8);
	for (unsigned i = 0; !model(g)->lanes[1].nr_busy_drive; i++) {
		lib_turn_lane(g->dev, 1);
		assert_true(i < 100);
	}
	lib_spread(g->dev, false);
	for (unsigned i = 0; i < 100; i++) {
		usleep(500);
		lib_turn_lane(g->dev, 1);
	}
	assert_true(model(g)->lanes[1].nr_busy_drive > 1);
	guest_disable(g);
	turn_all(g);
	assert_int_equal(g->dev->cls->in_flight(g->dev), 0);
	assert_true(nvme_list_empty(&model(g)->lanes[1].cancels));
	guest_end(g);
	unlink(path);
}

/* R7: what was read of memory that had gone is not told as done. */
static void test_R7_lost_memory(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);

	(void)state;
	put_reads(g, 3);
	g->dev->lanes[1]->lost = true;
	turn_lane(g);
	assert_int_equal(take_all(g, &g->io[1]), 0);
	turn_all(g);
	assert_true(guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_CFS);
	assert_int_equal(take_all(g, &g->io[1]), 0);
	guest_end(g);
}

/* ... and a reset in between is the end of it. */
static void test_R7_reset_before_failed(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);

	(void)state;
	put_reads(g, 3);
	g->dev->lanes[1]->lost = true;
	turn_lane(g);
	guest_disable(g);
	guest_enable(g);
	turn_all(g);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	put_reads(g, 1);
	turn_all(g);
	assert_int_equal(take_all(g, &g->io[1]), 1);
	guest_end(g);
}

/* R8: what lanes leave to lane 0 is done a share at a time. */
static void test_R8_what_comes_home_is_bounded(void **state)
{
	struct guest *g = start("drive=mem:1M", 1);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_COMPARE, 0, 256,
				       guest_alloc(g, 256 * 512));

	(void)state;
	for (unsigned i = 0; i < 60; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	turn_lane(g);
	for (unsigned i = 0; !model(g)->st->counters.reads; i++) {
		assert_true(i < 1000);
		guest_turn(g);
	}
	assert_in_range(model(g)->st->counters.reads, 1, 4);
	turn_all(g);
	assert_int_equal(take_all(g, &g->io[1]), 60);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R18_rung_while_moved),
		cmocka_unit_test(test_R17_rung_before_moved),
		cmocka_unit_test(test_death_before_the_lane_looks),
		cmocka_unit_test(test_reset_meets_ends),
		cmocka_unit_test(test_R7_lost_memory),
		cmocka_unit_test(test_R7_reset_before_failed),
		cmocka_unit_test(test_R8_what_comes_home_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
