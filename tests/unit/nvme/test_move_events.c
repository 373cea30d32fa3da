// SPDX-License-Identifier: BSD-3-Clause
/* What happens while a controller stands still (R29), and who it is after. */
#include "move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- R29: events in the window ----------------------------------------- */

static void check_doorbell_in_the_window(const char *options, bool shadow,
					 bool bar_stays)
{
	struct guest *g = guest_ready(options);
	bool mapped = strstr(options, "mapped");

	if (shadow)
		guest_shadow(g);
	if (mapped)
		g->page = (uint32_t *)(g->dev->bar + NVME_DB_OFFSET);
	assert_int_equal(guest_io(g, flush), 0);
	g->dev->bar_stays = bar_stays;
	lib_stop(g->dev);
	if (!bar_stays)
		lib_halt(g->dev);
	put(g, flush);
	guest_ring(g, &g->io[1]);
	move(g, options);
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	/* And it looks for more, or asks to be told. */
	guest_settle(g);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_r29_doorbells(void **state)
{
	(void)state;
	static const char mapped[] = "drive=mem:1M,doorbells=mapped";

	check_doorbell_in_the_window("drive=mem:1M,doorbells=trapped", false,
				     false);
	check_doorbell_in_the_window("drive=mem:1M", false, false);
	check_doorbell_in_the_window("drive=mem:1M", true, false);
	/* A page that stays behind: rung before halt, which looks at it. */
	check_doorbell_in_the_window(mapped, false, false);
	check_doorbell_in_the_window(mapped, false, true);
}

/* Heads, too: a queue that looked full has room again. */
static void check_heads_in_the_window(const char *options)
{
	struct guest *g = guest_start(options);
	bool mapped = strstr(options, "mapped");
	struct nvme_cqe cqe;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 4), 0);
	if (mapped)
		g->page = (uint32_t *)(g->dev->bar + NVME_DB_OFFSET);
	else
		guest_shadow(g);
	for (unsigned i = 0; i < 3; i++)
		put(g, flush);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	g->dev->bar_stays = mapped;
	if (mapped)
		lib_stop(g->dev);
	else
		stop_at_once(g);
	for (unsigned i = 0; i < 3; i++)
		assert_true(guest_take(g, &g->io[1], &cqe));
	guest_ring_head(g, &g->io[1]);
	move(g, options);
	guest_msix(g);
	guest_settle(g);
	assert_int_equal(model(g)->hot->cqs[1].head, 3);
	guest_end(g);
}

static void test_r29_heads(void **state)
{
	(void)state;
	check_heads_in_the_window("drive=mem:1M");
	check_heads_in_the_window("drive=mem:1M,doorbells=mapped");
}

/* Posted, and told to a process that is no more. */
static void test_r29_interrupts_are_raised_again(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,queues=8");

	(void)state;
	guest_msix(g);
	assert_int_equal(guest_create_queue(g, 2, 64), 0);
	put(g, flush);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	stop_at_once(g);
	move(g, "drive=mem:1M,queues=8");
	assert_int_equal(guest_irqs(g, 1), 1);
	assert_int_equal(guest_irqs(g, 2), 0);
	guest_wait(g, &g->io[1]);
	stop_at_once(g);
	move(g, "drive=mem:1M,queues=8");
	assert_int_equal(guest_irqs(g, 1), 0);
	guest_end(g);
}

static void test_r29_masked_and_coalesced_interrupts(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_msix(g);
	guest_irqs(g, 1);
	/* 255 entries, 25.5 ms: far away. */
	assert_int_equal(guest_set_feature(g, NVME_FID_COALESCING, 0xffff),
			 0);
	put(g, flush);
	guest_ring(g, &g->io[1]);
	assert_int_equal(guest_irqs(g, 1), 0);
	stop_at_once(g);
	move(g, "drive=mem:1M");
	assert_int_equal(guest_irqs(g, 1), 1);
	stop_at_once(g);
	g->dev->masked[1] = true;
	move(g, "drive=mem:1M");
	assert_int_equal(guest_irqs(g, 1), 0);
	assert_true(g->dev->pending[1]);
	guest_end(g);
}

static void test_r29_intx(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_settle(g);
	assert_false(g->dev->level);
	put(g, flush);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_true(g->dev->level);
	stop_at_once(g);
	move(g, "drive=mem:1M");
	assert_true(g->dev->level);
	guest_wait(g, &g->io[1]);
	guest_settle(g);
	assert_false(g->dev->level);
	guest_end(g);
}

/* Requests for events move; an event of the window finds one. */
static void test_r29_events(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = { .opcode = NVME_ADM_ASYNC_EVENT };
	uint16_t aer[2];
	struct nvme_cqe cqe;

	(void)state;
	aer[0] = guest_put(g, &g->admin, &sqe);
	aer[1] = guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	guest_settle(g);
	stop_at_once(g);
	guest_set_reg(g, NVME_REG_DBS + 8, 999);
	move(g, "drive=mem:1M");
	assert_int_equal(model(g)->nr_owed, 0 + 2);
	cqe = guest_wait(g, &g->admin);
	assert_int_equal(cqe.cid, aer[0]);
	assert_int_equal(cqe.result & 7, NVME_EVENT_ERROR);
	/* The other one waits, and nothing waits for it. */
	assert_int_equal(model(g)->nr_aers, 1);
	assert_int_equal(model(g)->nr_owed, 0);
	assert_int_equal(guest_io(g, flush), 0);
	stop_at_once(g);
	move(g, "drive=mem:1M");
	guest_settle(g);
	assert_int_equal(model(g)->nr_aers, 1);
	sqe = (struct nvme_sqe){
		.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)aer[1] << 16,
	};
	guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	assert_int_equal(guest_wait(g, &g->admin).cid, aer[1]);
	guest_end(g);
}

/* -- what else may be under way ---------------------------------------- */

static char images[2][32];

static void make_images(void)
{
	for (unsigned i = 0; i < 2; i++) {
		int fd;

		strcpy(images[i], "/tmp/ob-nvme-move-XXXXXX");
		fd = mkstemp(images[i]);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		close(fd);
	}
}

static void remove_images(void)
{
	unlink(images[0]);
	unlink(images[1]);
}

static uint32_t shutdown_status(struct guest *g)
{
	return guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK;
}

static void check_shutdown(bool move_it)
{
	char options[2][96];
	struct ob_device *old;
	struct guest *g;

	make_images();
	for (unsigned i = 0; i < 2; i++)
		snprintf(options[i], sizeof(options[i]),
			 "drive=delay:8000:file:%s", images[i]);
	g = guest_ready(options[0]);
	old = g->dev;
	guest_set_reg(g, NVME_REG_CC, guest_reg(g, NVME_REG_CC) | 1 << 14);
	assert_int_equal(shutdown_status(g), NVME_CSTS_SHST_BUSY);
	guest_settle(g);
	stop_at_once(g);
	guest_nap(g, 12000);
	assert_int_equal(shutdown_status(g), NVME_CSTS_SHST_BUSY);
	if (move_it)
		lib_move(g, lib_create(g, options[1]));
	else
		lib_run(g->dev);
	assert_int_equal(shutdown_status(g), NVME_CSTS_SHST_BUSY);
	/* The disk below may be slow. */
	for (unsigned i = 0; shutdown_status(g) != NVME_CSTS_SHST_DONE; i++) {
		guest_nap(g, 10000);
		assert_true(i < 1000);
	}
	if (move_it)
		lib_destroy(old);
	guest_end(g);
	remove_images();
}

static void test_r29_shutdown_under_way(void **state)
{
	(void)state;
	check_shutdown(true);
	check_shutdown(false);
}

/* Deletion waits for a full queue; nothing else waits for the deletion. */
static void test_r29_deletion_under_way(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DELETE_SQ, .cdw10 = 2 };
	struct nvme_cqe cqe;

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_create_queue(g, 2, 4), 0);
	for (unsigned i = 0; i < 5; i++) {
		struct nvme_sqe f = flush;

		guest_put(g, &g->io[2], &f);
		guest_ring(g, &g->io[2]);
		guest_settle(g);
	}
	guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	guest_settle(g);
	lib_stop(g->dev);
	assert_true(lib_drain(g->dev, 100000));
	move(g, "drive=mem:1M");
	assert_int_equal(guest_io(g, flush), 0);
	assert_false(guest_take(g, &g->admin, &cqe));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(guest_wait(g, &g->io[2]).status >> 1, 0);
	assert_int_equal(guest_wait(g, &g->admin).status >> 1, 0);
	guest_end(g);
}

/*
 * Entries that find no room are told in the order in which commands ended:
 * some of a batch that goes by messages may be in guest memory already, and
 * the rest must come behind it, whoever posts it.
 */
static void test_r27_completions_keep_their_order(void **state)
{
	static const char options[] = "drive=delay:2000:mem:1M,drive=mem:1M";
	struct nvme_sqe quick = { .opcode = NVME_IO_FLUSH, .nsid = 2 };
	struct guest *g = guest_start(options);
	uint16_t ended[2];

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 4), 0);
	for (unsigned i = 0; i < 3; i++)
		put(g, quick);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	ended[1] = put(g, guest_rw(g, NVME_IO_READ, 0, 8,
				   guest_alloc(g, 4096)));
	ended[0] = put(g, quick);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	lib_stop(g->dev);
	assert_true(lib_drain(g->dev, 1000000));
	move(g, options);
	for (unsigned i = 0; i < 3; i++)
		guest_wait(g, &g->io[1]);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).cid, ended[i]);
	guest_end(g);
}

/* Memory that the client brings only after the device runs. */
static void test_r29_memory_comes_later(void **state)
{
	struct guest *g = guest_ready("drive=delay:3000:mem:1M");
	struct ob_device *old = g->dev, *to;
	struct nvme_cqe cqe;

	(void)state;
	put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	stop_at_once(g);
	to = lib_create(g, "drive=delay:1000:mem:1M");
	to->connected = false;
	lib_move(g, to);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_connect(g);
	guest_wait(g, &g->io[1]);
	assert_true(holds(g, 0, 1));
	lib_destroy(old);
	guest_end(g);
}

/* A client that finds the device as another left it, and stops it first. */
static void test_r29_memory_comes_while_it_stands_still(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_hang_up(g);
	stop_at_once(g);
	guest_connect(g);
	lib_run(g->dev);
	assert_int_equal(guest_io(g, flush), 0);
	/* Nor can it be looked at while the device may make no DMA. */
	guest_hang_up(g);
	stop_at_once(g);
	guest_master(g, false);
	guest_connect(g);
	lib_run(g->dev);
	guest_master(g, true);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* -- the same disk ----------------------------------------------------- */

static void test_identity_goes_with_it(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,model=Old disk");
	struct nvme_id_ctrl here, there;
	uint8_t ids[2][4096];

	(void)state;
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &here), 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS_DESCRIPTORS, 1,
					ids[0]), 0);
	stop_at_once(g);
	move(g, "drive=mem:1M,socket=/another/path");
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &there), 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS_DESCRIPTORS, 1,
					ids[1]), 0);
	assert_memory_equal(&here, &there, sizeof(here));
	assert_memory_equal(ids[0], ids[1], 4096);
	guest_end(g);
}

static void test_timestamp_goes_with_it(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t addr = guest_alloc(g, 4096), *at = guest_ptr(g, addr);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_SET_FEATURES, 0, addr, 8);

	(void)state;
	*at = 1000000;
	sqe.cdw10 = NVME_FID_TIMESTAMP;
	assert_int_equal(guest_admin(g, sqe), 0);
	guest_nap(g, 20000);
	stop_at_once(g);
	/* Another host's clock may say anything. */
	model(g)->st->features.timestamp_ns = 1ull << 60;
	move(g, "drive=mem:1M");
	sqe.opcode = NVME_ADM_GET_FEATURES;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_in_range(*at & 0xffffffffffffull, 1000020, 1010000);
	guest_end(g);
}

/* -- R31: the drives are somebody else's ------------------------------- */

static void test_r31_enable_without_the_drives_fails(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_disable(g);
	g->dev->acquire = -EBUSY;
	guest_set_reg(g, NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_CFS);
	assert_non_null(strstr(g->dev->said, "image in use"));
	/* A failed controller moves, too, and a reset is its way out. */
	stop_at_once(g);
	move(g, "drive=mem:1M");
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_CFS);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r29_doorbells),
		cmocka_unit_test(test_r29_heads),
		cmocka_unit_test(test_r29_interrupts_are_raised_again),
		cmocka_unit_test(test_r29_masked_and_coalesced_interrupts),
		cmocka_unit_test(test_r29_intx),
		cmocka_unit_test(test_r29_events),
		cmocka_unit_test(test_r29_shutdown_under_way),
		cmocka_unit_test(test_r29_deletion_under_way),
		cmocka_unit_test(test_r27_completions_keep_their_order),
		cmocka_unit_test(test_r29_memory_comes_later),
		cmocka_unit_test(test_r29_memory_comes_while_it_stands_still),
		cmocka_unit_test(test_identity_goes_with_it),
		cmocka_unit_test(test_timestamp_goes_with_it),
		cmocka_unit_test(test_r31_enable_without_the_drives_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
