// SPDX-License-Identifier: BSD-3-Clause
/* Guests that try what drivers do not. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct nvme_sqe flush = {
	.opcode = NVME_IO_FLUSH, .nsid = 1,
};

/* -- registers --------------------------------------------------------- */

/* One read of many registers says what single reads say. */
static void test_large_register_read(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint8_t all[4096], odd[64], zeros[4096] = { 0 };

	(void)state;
	guest_access(g, false, 0, 0, all, sizeof(all));
	for (unsigned at = 0; at < 64; at += 4) {
		uint32_t word = guest_reg(g, at);

		assert_memory_equal(all + at, &word, 4);
	}
	assert_memory_equal(all + 64, zeros, sizeof(all) - 64);
	guest_access(g, false, 0, 0x13, odd, sizeof(odd));
	assert_memory_equal(odd, all + 0x13, sizeof(odd));
	guest_access(g, false, 0, NVME_REG_DBS, all, 4096);
	assert_memory_equal(all, zeros, 4096);
	guest_end(g);
}

/* The doorbell page is memory, and a guest may store before it enables. */
static void test_R17_mapped_before_enable(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,doorbells=mapped");
	uint32_t *page = ob_dev_bar_memory(g->dev, OB_BAR0);
	struct nvme_cqe cqe;
	struct nvme_id_ctrl id;

	(void)state;
	page += NVME_DB_OFFSET / sizeof(*page);
	page[0] = 7;
	page[1] = 3;
	guest_enable(g);
	guest_nap(g, 2000);
	assert_false(guest_take(g, &g->admin, &cqe));
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	guest_end(g);
}

/* CSTS.NSSRO outlives a controller reset; the host clears it (3.1.6). */
static void test_subsystem_reset_is_remembered(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_set_reg(g, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	guest_set_reg(g, NVME_REG_AQA, 31 << 16 | 31);
	guest_set_reg(g, NVME_REG_CC, NVME_CC_EN);
	guest_set_reg(g, NVME_REG_CC, 0);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_NSSRO);
	guest_set_reg(g, NVME_REG_CSTS, NVME_CSTS_NSSRO);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), 0);
	guest_end(g);
}

static void test_smart_counts_compare_and_verify(void **state)
{
	struct guest *g = guest_ready("drive=null:1G");
	uint64_t data = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_COMPARE, 0, 8, data);
	struct nvme_smart smart;

	(void)state;
	assert_int_equal(guest_io(g, sqe), 0);
	memset(guest_ptr(g, data), 1, 4096);
	assert_int_equal(guest_io(g, sqe), NVME_COMPARE_FAILURE);
	sqe = (struct nvme_sqe){
		.opcode = NVME_IO_VERIFY, .nsid = 1, .cdw12 = 3999,
	};
	assert_int_equal(guest_io(g, sqe), 0);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, sizeof(smart),
				   false), 0);
	assert_int_equal(smart.reads[0], 3);
	assert_int_equal(smart.units_read[0], 5);	/* 4,016 blocks */
	guest_end(g);
}

/* Nothing is saved before a hot write, so it changes nothing that is plain. */
static void test_hot_writes_change_nothing_plain(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	struct nvme_plain *before = malloc(sizeof(*before));
	uint64_t ones = UINT64_MAX;
	unsigned hot = 0;

	(void)state;
	*before = *n->st;
	for (uint64_t at = 0; at < NVME_REG_END; at++) {
		if (!nvme_is_hot(g->dev, OB_BAR0, at, true))
			continue;
		hot++;
		for (size_t len = 1; len <= sizeof(ones); len++)
			nvme_region_write(g->dev, OB_BAR0, at, &ones, len);
		assert_memory_equal(before, n->st, sizeof(*before));
	}
	assert_true(hot);
	free(before);
	guest_end(g);
}

/* -- R8: one turn of the loop is bounded in bytes too ------------------ */

static void test_R8_turn_is_bounded_in_bytes(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024,
				       guest_alloc(g, 512 << 10));
	uint64_t before = n->st->counters.reads;

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		guest_put(g, &g->io[1], &sqe);
	n->hot->sqs[1].tail = g->io[1].tail;
	/* Each is four parts. */
	for (unsigned i = 0; i < 9; i++) {
		nvme_lane_work(n->lanes);
		assert_int_equal(n->lanes->moved, NVME_PART_BYTES);
	}
	assert_in_range(n->st->counters.reads - before, 0, 2);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

/* How many of the commands of a full queue one turn does. */
static unsigned done_in_a_turn(struct guest *g)
{
	struct nvme *n = ob_dev_runtime(g->dev);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
				       guest_alloc(g, 4096));
	uint64_t before = n->st->counters.reads;
	unsigned done;

	for (unsigned i = 0; i < 16; i++)
		guest_put(g, &g->io[1], &sqe);
	n->hot->sqs[1].tail = g->io[1].tail;
	nvme_lane_work(n->lanes);
	done = (unsigned)(n->st->counters.reads - before);
	/* Of the rest nobody says a word. */
	while (n->st->counters.reads - before < 16)
		guest_turn(g);
	return done;
}

/* What has come of it is enough. */
static void test_R8_a_message_ends_a_turn(void **state)
{
	struct guest *g = guest_ready("drive=null:1M");
	unsigned at_rest, asked;

	(void)state;
	guest_settle(g);
	at_rest = done_in_a_turn(g);
	guest_settle(g);
	assert_int_equal(write(g->fd, "", 1), 1);
	asked = done_in_a_turn(g);
	assert_int_equal(at_rest, 16);
	assert_in_range(asked, 1, ob_loop_is_uring(g->loop) ? 8 : 16);
	guest_hang_up(g);
	guest_end(g);
}

#define LARGE_PAGES 128u

/* The pages behind the first in the reverse order, so that none are neighbours. */
static void reverse(struct guest *g, const struct nvme_sqe *sqe, uint64_t addr)
{
	uint64_t list;

	memcpy(&list, sqe->dptr + 8, sizeof(list));
	for (unsigned i = 1; i < LARGE_PAGES; i++)
		((uint64_t *)guest_ptr(g, list))[i - 1] =
			addr + 4096ull * (LARGE_PAGES - i);
}

/* `turns` turns of the command, then `between`, then the rest. */
static void move_large(struct guest *g, struct nvme_sqe sqe, unsigned turns,
		       void (*between)(struct guest *g))
{
	struct nvme *n = ob_dev_runtime(g->dev);

	guest_put(g, &g->io[1], &sqe);
	n->hot->sqs[1].tail = g->io[1].tail;
	for (unsigned turn = 0; turn < turns; turn++)
		nvme_lane_work(n->lanes);
	between(g);
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
}

static void write_and_read_large(struct guest *g, unsigned turns,
				 void (*between)(struct guest *g))
{
	uint64_t from = guest_alloc(g, LARGE_PAGES * 4096);
	uint64_t to = guest_alloc(g, LARGE_PAGES * 4096);
	struct nvme_sqe write = guest_rw(g, NVME_IO_WRITE, 0, 1024, from);
	struct nvme_sqe read = guest_rw(g, NVME_IO_READ, 0, 1024, to);

	reverse(g, &read, to);
	fill(guest_ptr(g, from), LARGE_PAGES * 4096, 7 + turns);
	move_large(g, write, turns, between);
	move_large(g, read, turns, between);
	for (unsigned i = 0; i < LARGE_PAGES; i++)
		assert_memory_equal(guest_ptr(g, from + 4096ull * i),
				    guest_ptr(g, to + 4096ull * (i ? LARGE_PAGES - i : 0)),
				    4096);
}

static void read_register(struct guest *g)
{
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
}

/* Where they are cut does not show in them. */
static void test_R8_large_data_is_whole(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	for (unsigned turns = 1; turns < 9; turns += 2)
		write_and_read_large(g, turns, read_register);
	guest_end(g);
}

/* R10: what is unmapped between two parts is not touched by the second. */
static void test_R10_unmap_within_a_read(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	uint64_t to = guest_alloc(g, 512 << 10);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024, to);
	const size_t len = LARGE_PAGES * 4096;
	uint8_t *data = guest_ptr(g, to), *then = malloc(len);

	(void)state;
	memset(data, 0x5a, len);
	guest_put(g, &g->io[1], &sqe);
	n->hot->sqs[1].tail = g->io[1].tail;
	nvme_lane_work(n->lanes);
	guest_unmap_all(g);
	memcpy(then, data, len);
	guest_settle(g);
	assert_memory_equal(data, then, len);
	assert_int_equal(data[len - 1], 0x5a);
	free(then);
	guest_end(g);
}

/* A drive that finishes all reads at once does not make one long turn. */
static void test_R8_completions_take_turns(void **state)
{
	struct guest *g = guest_ready("drive=delay:3000:null:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024,
				       guest_alloc(g, 512 << 10));
	uint64_t before, most = 0;

	(void)state;
	for (unsigned i = 0; i < 15; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	while (n->st->counters.reads < 15) {
		before = n->st->counters.reads;
		guest_turn(g);
		if (n->st->counters.reads - before > most)
			most = n->st->counters.reads - before;
	}
	assert_in_range(most, 1, 2);
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

/* Takes what has ended, and has eight commands under way again. */
static unsigned top_up(struct guest *g, struct queue *q,
		       struct nvme_sqe *sqe, unsigned *under_way)
{
	struct nvme_cqe cqe;
	unsigned ended = 0;

	while (guest_take(g, q, &cqe))
		ended++;
	guest_ring_head(g, q);
	*under_way -= ended;
	for (; *under_way < 8; (*under_way)++)
		guest_put(g, q, sqe);
	guest_ring(g, q);
	return ended;
}

/* Data in parts uses up turns; whose turn it was stays whose it was. */
static void test_R8_large_data_leaves_turns_to_others(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 512,
				       guest_alloc(g, 256 << 10));
	unsigned under_way[3] = { 0 }, ended[3] = { 0 };

	(void)state;
	assert_int_equal(guest_create_queue(g, 2, 64), 0);
	for (unsigned turn = 0; turn < 400; turn++) {
		for (unsigned i = 1; i <= 2; i++)
			ended[i] += top_up(g, &g->io[i], &sqe, &under_way[i]);
		guest_turn(g);
	}
	assert_in_range(ended[1], ended[2] / 2, 2 * ended[2]);
	assert_true(ended[2] > 0);
	guest_end(g);
}

/* Whichever turn it comes in. */
static void test_R8_large_data_leaves_turns_to_the_admin_queue(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024,
				       guest_alloc(g, 512 << 10));
	struct nvme_sqe id = guest_sqe(g, NVME_ADM_IDENTIFY, 0,
				       guest_alloc(g, 4096), 4096);
	unsigned under_way = 0, turns = 0;
	struct nvme_cqe cqe;

	(void)state;
	id.cdw10 = NVME_CNS_CTRL;
	for (unsigned when = 0; when < 8; when++) {
		for (unsigned i = 0; i < 20 + when; i++, guest_turn(g))
			top_up(g, &g->io[1], &sqe, &under_way);
		guest_put(g, &g->admin, &id);
		guest_ring(g, &g->admin);
		for (turns = 0; !guest_take(g, &g->admin, &cqe); turns++) {
			assert_true(turns < 50);
			top_up(g, &g->io[1], &sqe, &under_way);
			guest_turn(g);
		}
		guest_ring_head(g, &g->admin);
	}
	guest_end(g);
}

/* What the device has to do by itself is no visit of the guest. */
static void silent_guest(const char *options, bool shadow)
{
	struct guest *g = guest_start(options);
	struct ob_device_status before, after;
	struct nvme_sqe sqe;

	guest_enable(g);
	guest_msix(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	if (shadow)
		guest_shadow(g);
	sqe = guest_rw(g, NVME_IO_READ, 0, 8, guest_alloc(g, 4096));
	for (unsigned i = 0; i < 3; i++)
		guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_nap(g, 5000);
	ob_device_status(g->dev, &before);
	do {
		guest_nap(g, 10000);
		ob_device_status(g->dev, &after);
	} while (after.in_flight);
	guest_nap(g, 10000);
	ob_device_status(g->dev, &after);
	assert_int_equal(after.visits, before.visits);
	assert_true(after.unanswered > 0);
	guest_end(g);
}

static void test_work_is_no_visit(void **state)
{
	(void)state;
	silent_guest("drive=delay:100000:mem:1M,doorbells=mapped", false);
	silent_guest("drive=delay:100000:mem:1M", true);
}

/* -- R18: who waits behind an aborted command -------------------------- */

/*
 * A hung drive holds nearly all of the pool; a large command waits for more
 * than is left, and a small one, which would fit, stands behind it.
 */
static void test_R18_abort_of_the_first_that_waits(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M,"
				      "drive=delay:0:null:1M");
	uint64_t data = guest_alloc(g, 512 << 10);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024, data);
	struct nvme_cqe cqe;
	uint16_t large, small;

	(void)state;
	for (unsigned i = 0; i < 15; i++)
		guest_put(g, &g->io[1], &sqe);
	sqe = guest_rw(g, NVME_IO_COMPARE, 0, 1024, data);
	large = guest_put(g, &g->io[1], &sqe);
	sqe = guest_rw(g, NVME_IO_READ, 0, 8, data);
	sqe.nsid = 2;
	small = guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	sqe = (struct nvme_sqe){
		.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)large << 16 | 1,
	};
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(g->result & 1, 0);
	cqe = guest_wait(g, &g->io[1]);
	assert_int_equal(cqe.cid, large);
	cqe = guest_wait(g, &g->io[1]);
	assert_int_equal(cqe.cid, small);
	assert_int_equal(cqe.status >> 1, 0);
	guest_disable(g);
	guest_end(g);
}

/* -- shadow doorbells and queues that are older, or younger ------------ */

static struct guest *start_shadow(void)
{
	struct guest *g = guest_ready("drive=mem:1M");

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(guest_io(g, flush), 0);
	return g;
}

static void expect_nothing_but_what_is_sent(struct guest *g)
{
	struct nvme_smart smart;
	struct nvme_cqe cqe;

	guest_nap(g, 2000);
	assert_false(guest_take(g, &g->io[1], &cqe));
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, sizeof(smart),
				   false), 0);
	assert_int_equal(smart.error_entries[0], 0);
}

/* The host's pages are zeros, and the queue is at 5. */
static void test_R17_shadow_of_a_used_queue(void **state)
{
	struct guest *g = start_shadow();
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DBBUF_CONFIG };
	uint64_t pages[2] = { guest_alloc(g, 4096), guest_alloc(g, 4096) };

	(void)state;
	memcpy(sqe.dptr, pages, sizeof(pages));
	assert_int_equal(guest_admin(g, sqe), 0);
	g->shadow = pages[0];
	g->index = pages[1];
	expect_nothing_but_what_is_sent(g);
	guest_end(g);
}

/* The pages still hold the doorbells of a deleted queue of that number. */
static void test_R17_shadow_of_a_new_queue(void **state)
{
	struct guest *g = start_shadow();
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1 };

	(void)state;
	guest_shadow(g);
	assert_int_equal(guest_io(g, flush), 0);
	assert_int_equal(guest_admin(g, sqe), 0);
	sqe.opcode = NVME_ADM_DELETE_CQ;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	expect_nothing_but_what_is_sent(g);
	guest_end(g);
}

/* -- memory that goes away for a time ---------------------------------- */

/* Reads that the drive finished while nobody was there are not errors. */
static void check_comes_back(enum guest_memory memory)
{
	struct guest *g = guest_start_as("drive=delay:3000:null:1M", memory);
	uint64_t data = guest_alloc(g, 8 * 4096);

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	memset(guest_ptr(g, data), 0x5a, 8 * 4096);
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
					       data + i * 4096);

		guest_put(g, &g->io[1], &sqe);
	}
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	guest_hang_up(g);
	guest_nap(g, 6000);
	guest_connect(g);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	for (unsigned i = 0; i < 8 * 4096; i++)
		assert_int_equal(*(uint8_t *)guest_ptr(g, data + i), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_R20_data_for_the_next_client(void **state)
{
	(void)state;
	check_comes_back(GUEST_MAPPED);
	check_comes_back(GUEST_MESSAGES);
}

/*
 * Once RDY has fallen the memory is the guest's again: no transfer by message
 * that was not on its way yet starts.
 */
static void test_R20_no_message_after_reset(void **state)
{
	struct guest *g = guest_start_as("drive=null:1M", GUEST_MESSAGES);
	uint64_t data = guest_alloc(g, 40 * 4096), next = g->next;

	(void)state;
	for (unsigned turns = 0; turns < 24; turns++) {
		g->next = next;
		guest_enable(g);
		assert_int_equal(guest_create_queue(g, 1, 64), 0);
		for (unsigned i = 0; i < 40; i++) {
			struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8,
						       data + i * 4096);

			guest_put(g, &g->io[1], &sqe);
		}
		guest_ring(g, &g->io[1]);
		for (unsigned i = 0; i < turns; i++)
			guest_turn(g);
		guest_disable(g);
		memset(guest_ptr(g, data), 0x5a, 40 * 4096);
		guest_settle(g);
		for (unsigned i = 0; i < 40 * 4096; i++)
			assert_int_equal(*(uint8_t *)guest_ptr(g, data + i),
					 0x5a);
	}
	guest_end(g);
}

/* Bus mastering goes off at any moment of transfers by message. */
static void test_R18_bus_master_during_messages(void **state)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	uint64_t data = guest_alloc(g, 4096);

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	for (unsigned turns = 0; turns < 24; turns++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8, data);

		for (unsigned i = 0; i < 40; i++)
			guest_put(g, &g->io[1], &sqe);
		guest_ring(g, &g->io[1]);
		for (unsigned i = 0; i < turns; i++)
			guest_turn(g);
		guest_master(g, false);
		guest_settle(g);
		assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
		guest_master(g, true);
		for (unsigned i = 0; i < 40; i++)
			guest_wait(g, &g->io[1]);
	}
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_register_read),
		cmocka_unit_test(test_hot_writes_change_nothing_plain),
		cmocka_unit_test(test_R8_turn_is_bounded_in_bytes),
		cmocka_unit_test(test_R8_a_message_ends_a_turn),
		cmocka_unit_test(test_R8_large_data_is_whole),
		cmocka_unit_test(test_R10_unmap_within_a_read),
		cmocka_unit_test(test_R8_completions_take_turns),
		cmocka_unit_test(test_R8_large_data_leaves_turns_to_others),
		cmocka_unit_test(
			test_R8_large_data_leaves_turns_to_the_admin_queue),
		cmocka_unit_test(test_work_is_no_visit),
		cmocka_unit_test(test_R17_mapped_before_enable),
		cmocka_unit_test(test_subsystem_reset_is_remembered),
		cmocka_unit_test(test_smart_counts_compare_and_verify),
		cmocka_unit_test(test_R18_abort_of_the_first_that_waits),
		cmocka_unit_test(test_R17_shadow_of_a_used_queue),
		cmocka_unit_test(test_R17_shadow_of_a_new_queue),
		cmocka_unit_test(test_R20_data_for_the_next_client),
		cmocka_unit_test(test_R20_no_message_after_reset),
		cmocka_unit_test(test_R18_bus_master_during_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
