// SPDX-License-Identifier: BSD-3-Clause
/*
 * A controller that stands still and goes on, here or elsewhere, one promise
 * at a time: what becomes of commands.  test_move_events.c has the rest,
 * test_move_storm.c all at once.
 */
#include "move.h"

#include <string.h>

/* -- stopping ---------------------------------------------------------- */

static void test_stop_waits_for_the_drive_and_fetches_nothing(void **state)
{
	struct guest *g = guest_ready("drive=delay:20000:mem:1M");
	struct nvme_cqe cqe;

	(void)state;
	put(g, guest_rw(g, NVME_IO_READ, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	lib_stop(g->dev);
	put(g, guest_rw(g, NVME_IO_READ, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_int_equal(g->dev->stopped, 0);
	assert_true(lib_drain(g->dev, 1000000));
	assert_int_equal(model(g)->hot->sqs[1].head, 1);
	assert_true(guest_take(g, &g->io[1], &cqe));
	lib_halt(g->dev);
	lib_run(g->dev);
	guest_wait(g, &g->io[1]);
	guest_end(g);
}

/* Event requests, deletions that wait for the guest, queues that are full. */
static void test_stop_does_not_wait_for_the_guest(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_sqe aer = { .opcode = NVME_ADM_ASYNC_EVENT };

	(void)state;
	guest_put(g, &g->admin, &aer);
	guest_ring(g, &g->admin);
	guest_settle(g);
	lib_stop(g->dev);
	assert_true(lib_drain(g->dev, 100000));
	lib_halt(g->dev);
	lib_run(g->dev);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

static void test_stop_of_a_hung_drive(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M");
	struct nvme_cqe cqe;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		put(g, guest_rw(g, NVME_IO_READ, 8 * i, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	lib_stop(g->dev);
	assert_false(lib_drain(g->dev, 5000));
	lib_halt(g->dev);
	guest_settle(g);
	/* halt has asked them to end, and nobody was told. */
	assert_int_equal(g->dev->cls->in_flight(g->dev), 0);
	assert_false(guest_take(g, &g->io[1], &cqe));
	move(g, "drive=mem:1M");
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

/* -- R26: what is owed, in order, before anything new ------------------- */

/* B is rung while A's first life is cut; A must not overwrite it. */
static void check_owed_before_new(bool move_it)
{
	struct guest *g = guest_ready("drive=delay:8000:mem:1M");
	struct ob_device *old = g->dev;
	uint16_t a, b;

	a = put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	stop_at_once(g);
	b = put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, 2)));
	guest_ring(g, &g->io[1]);
	if (move_it)
		lib_move(g, lib_create(g, "drive=delay:8000:mem:1M"));
	else
		lib_run(g->dev);
	guest_nap(g, 1000);
	assert_int_equal(model(g)->hot->sqs[1].tail, 2);
	assert_int_equal(model(g)->hot->sqs[1].head, 1);
	assert_int_equal(guest_wait(g, &g->io[1]).cid, a);
	assert_int_equal(guest_wait(g, &g->io[1]).cid, b);
	assert_true(holds(g, 0, 2));
	if (move_it)
		lib_destroy(old);
	guest_end(g);
}

static void test_r26_owed_before_new(void **state)
{
	(void)state;
	check_owed_before_new(true);
	check_owed_before_new(false);
}

/* Slots are taken from a stack, so their numbers are no order. */
static void test_r26_order_of_fetching(void **state)
{
	struct guest *g = guest_ready("drive=delay:3000:mem:1M");
	uint16_t cids[20];

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		put(g, guest_rw(g, NVME_IO_READ, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	for (unsigned i = 0; i < 30; i++)
		guest_wait(g, &g->io[1]);
	for (unsigned i = 0; i < 20; i++)
		cids[i] = put(g, guest_rw(g, NVME_IO_READ, 0, 8,
					  filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_int_equal(model(g)->lanes->nr_busy_drive, 20);
	stop_at_once(g);
	move(g, "drive=delay:500:mem:1M");
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).cid, cids[i]);
	guest_end(g);
}

/* More than there are buffers for; those who wait for one move, too. */
static void check_slots_and_buffers(const char *options, bool move_it)
{
	struct guest *g = guest_start(options);
	uint64_t data = guest_alloc(g, 512 << 10);
	bool seen[1500] = { false };
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 2048), 0);
	sqe = guest_rw(g, NVME_IO_READ, 0, 1024, data);
	for (unsigned i = 0; i < 1500; i++)
		put(g, sqe);
	guest_ring(g, &g->io[1]);
	guest_nap(g, 5000);
	assert_false(nvme_list_empty(&model(g)->lanes->pool.waiting));
	stop_at_once(g);
	if (move_it)
		move(g, "drive=delay:10:mem:4M");
	else
		lib_run(g->dev);
	for (unsigned i = 0; i < 1500; i++) {
		cqe = guest_wait(g, &g->io[1]);
		assert_int_equal(cqe.status >> 1, 0);
		assert_false(seen[cqe.cid]);
		seen[cqe.cid] = true;
	}
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(model(g)->nr_owed, 0);
	guest_end(g);
}

static void test_r26_all_slots_and_buffers(void **state)
{
	(void)state;
	check_slots_and_buffers("drive=delay:hang:mem:4M", true);
	check_slots_and_buffers("drive=delay:10000:mem:4M", false);
}

/* A drive that hangs here, too: abort and reset are heard (R21). */
static void test_r26_admin_queue_of_a_hung_drive(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M");
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_ABORT, .cdw10 = 0u << 16 | 1,
	};

	(void)state;
	put(g, guest_rw(g, NVME_IO_READ, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	stop_at_once(g);
	move(g, "drive=delay:hang:mem:1M");
	put(g, flush);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_int_equal(model(g)->hot->sqs[1].head, 1);
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1 & 0x7ff,
			 NVME_ABORT_REQUESTED);
	assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

/* -- R27: what is known is not done again ------------------------------ */

static void test_r27_done_is_only_posted(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_cqe cqe;
	uint16_t cids[6];

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 4), 0);
	for (unsigned i = 0; i < 6; i++) {
		cids[i] = put(g, guest_rw(g, NVME_IO_WRITE, 8 * i, 8,
					  filled(g, i)));
		guest_ring(g, &g->io[1]);
		guest_settle(g);
	}
	assert_int_equal(model(g)->st->counters.writes, 6);
	lib_stop(g->dev);
	assert_true(lib_drain(g->dev, 100000));
	move(g, "drive=mem:1M");
	guest_settle(g);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).cid, cids[i]);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	assert_int_equal(model(g)->st->counters.writes, 6);
	guest_end(g);
}

/* Here a request that ended while the device stood still has ended. */
static void test_r27_ended_here_is_kept(void **state)
{
	struct guest *g = guest_ready("drive=delay:3000:mem:1M");
	struct nvme *n = model(g);

	(void)state;
	put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	lib_stop(g->dev);
	/* As if the drive could not be asked. */
	g->dev->halted = true;
	g->dev->cls->halt(g->dev);
	for (unsigned i = 0; i < NVME_SLOTS; i++)
		assert_true(n->hot->slots[i].stage != NVME_SLOT_DONE);
	guest_nap(g, 6000);
	lib_run(g->dev);
	guest_wait(g, &g->io[1]);
	assert_true(holds(g, 0, 1));
	assert_int_equal(n->st->counters.writes, 1);
	guest_end(g);
}

/* The log is forgotten when the guest has it. */
static void test_r27_log_that_was_not_delivered(void **state)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	uint64_t page = guest_alloc(g, 4096);
	uint16_t *list = guest_ptr(g, page);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_NS_ATTACHMENT, 1, page,
					4096);
	uint32_t *log;

	(void)state;
	guest_enable(g);
	list[0] = 1;
	sqe.cdw10 = 1;
	assert_int_equal(guest_admin(g, sqe), 0);
	memset(list, 0x5a, 4096);
	sqe = guest_sqe(g, NVME_ADM_GET_LOG, NVME_NSID_ALL, page, 4096);
	sqe.cdw10 = 1023 << 16 | NVME_LOG_CHANGED_NS;
	guest_put(g, &g->admin, &sqe);
	guest_ring(g, &g->admin);
	/* Its data waits to be sent. */
	for (unsigned i = 0; !model(g)->admin->pool.used[0]; i++) {
		guest_turn(g);
		assert_true(i < 100);
	}
	stop_at_once(g);
	move(g, "drive=mem:1M");
	assert_int_equal(guest_wait(g, &g->admin).status >> 1, 0);
	log = guest_ptr(g, page);
	assert_int_equal(log[0], 1);
	assert_int_equal(log[1], 0);
	guest_end(g);
}

/*
 * Completions that travel by message, stopped at every turn of their way:
 * before they are sent, sent, written, answered.
 */
static void check_completions_by_message(unsigned turns, bool move_it,
					 bool late)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	struct ob_device *old = g->dev;
	struct nvme_cqe cqe;
	unsigned seen = 0;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 16), 0);
	for (unsigned i = 0; i < 5; i++)
		put(g, flush);
	guest_ring(g, &g->io[1]);
	for (unsigned i = 0; i < turns; i++)
		guest_turn(g);
	g->dev->hold_answers = late;
	stop_at_once(g);
	if (!late)
		guest_settle(g);
	if (move_it) {
		g->dev->hold_answers = false;
		lib_move(g, lib_create(g, "drive=mem:1M"));
	} else {
		lib_run(g->dev);
		guest_settle(g);
		g->dev->hold_answers = false;
	}
	while (seen < 5) {
		cqe = guest_wait(g, &g->io[1]);
		assert_int_equal(cqe.cid, seen++);
	}
	assert_int_equal(guest_io(g, flush), 0);
	if (move_it)
		lib_destroy(old);
	guest_end(g);
}

static void test_r27_completions_by_message(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < 16; turns++)
		for (unsigned how = 0; how < 4; how++)
			check_completions_by_message(turns, how & 1, how & 2);
}

/* A write that a reset disowned is no command of the state. */
static void test_r27_disowned_commands_stay_behind(void **state)
{
	struct guest *g = guest_ready("drive=delay:8000:mem:1M");
	struct nvme *n;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		put(g, guest_rw(g, NVME_IO_READ, 0, 8, filled(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	guest_disable(g);
	guest_enable(g);
	stop_at_once(g);
	n = model(g);
	for (unsigned i = 0; i < NVME_SLOTS; i++)
		assert_int_equal(n->hot->slots[i].stage, NVME_SLOT_FREE);
	move(g, "drive=mem:1M");
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

/* Data that came by message lies in the drive, however its command ends. */
static void check_account(bool reset)
{
	struct guest *g = guest_start_as("drive=mem:1M", GUEST_MESSAGES);
	uint64_t initial, dirty;
	struct ob_drive *drive;
	struct ob_drive_run run;
	const uint8_t *bytes;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	drive = g->dev->cls->drive(g->dev, 0);
	bytes = ob_drive_info(drive)->memory;
	assert_int_equal(ob_drive_track(drive, true), 0);
	assert_false(ob_drive_take(drive, 1 << 20, &run));
	put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, 7)));
	guest_ring(g, &g->io[1]);
	while (!is_filled(bytes, 4096, 7))
		guest_turn(g);
	if (reset)
		guest_disable(g);
	else
		stop_at_once(g);
	guest_settle(g);
	ob_drive_left(drive, &initial, &dirty);
	assert_int_equal(dirty, 4096);
	guest_end(g);
}

static void test_r27_content_of_a_write_that_did_not_end(void **state)
{
	(void)state;
	check_account(false);
	check_account(true);
}

/* -- R28: called off, there and back ----------------------------------- */

static void test_r28_called_off(void **state)
{
	struct guest *g = guest_ready("drive=delay:2000:mem:1M");

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		put(g, guest_rw(g, NVME_IO_WRITE, 0, 8, filled(g, i)));
		guest_ring(g, &g->io[1]);
		guest_settle(g);
		lib_stop(g->dev);
		if (i % 3)
			lib_drain(g->dev, i % 3 == 1 ? 1000 : 100000);
		if (i % 4)
			lib_halt(g->dev);
		guest_settle(g);
		lib_run(g->dev);
		guest_wait(g, &g->io[1]);
		assert_true(holds(g, 0, i));
	}
	guest_end(g);
}

static void test_r28_there_and_back(void **state)
{
	static const char options[] = "drive=delay:500:mem:1M";
	struct guest *g = guest_ready(options);
	struct ob_device *other = lib_create(g, options);

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		struct ob_device *old = g->dev;

		put(g, guest_rw(g, NVME_IO_WRITE, 8 * i, 8, filled(g, i)));
		guest_ring(g, &g->io[1]);
		guest_settle(g);
		stop_at_once(g);
		lib_move(g, other);
		other = old;
		guest_wait(g, &g->io[1]);
		assert_true(holds(g, 8 * i, i));
	}
	lib_destroy(other);
	guest_end(g);
}

/* A reset while it stands still; what was in flight is nobody's. */
static void test_r28_reset_while_it_stands_still(void **state)
{
	struct guest *g = guest_ready("drive=delay:3000:mem:1M");
	uint64_t data = filled(g, 1);

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 5; i++)
			put(g, guest_rw(g, NVME_IO_READ, 0, 8, data));
		guest_ring(g, &g->io[1]);
		guest_settle(g);
		stop_at_once(g);
		if (round & 1)
			guest_nap(g, 6000);
		guest_reset(g);
		lib_run(g->dev);
		guest_enable(g);
		assert_int_equal(guest_create_queue(g, 1, 64), 0);
		assert_int_equal(guest_io(g, flush), 0);
		assert_true(is_filled(guest_ptr(g, data), 4096, 1));
	}
	guest_end(g);
}

/* Disabled and enabled by registers while it stands still. */
static void test_r28_enabled_while_it_stands_still(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	stop_at_once(g);
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(g->dev->acquired, 1);
	move(g, "drive=mem:1M");
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	assert_int_equal(guest_io(g, flush), 0);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_stop_waits_for_the_drive_and_fetches_nothing),
		cmocka_unit_test(test_stop_does_not_wait_for_the_guest),
		cmocka_unit_test(test_stop_of_a_hung_drive),
		cmocka_unit_test(test_r26_owed_before_new),
		cmocka_unit_test(test_r26_order_of_fetching),
		cmocka_unit_test(test_r26_all_slots_and_buffers),
		cmocka_unit_test(test_r26_admin_queue_of_a_hung_drive),
		cmocka_unit_test(test_r27_done_is_only_posted),
		cmocka_unit_test(test_r27_ended_here_is_kept),
		cmocka_unit_test(test_r27_log_that_was_not_delivered),
		cmocka_unit_test(test_r27_completions_by_message),
		cmocka_unit_test(test_r27_disowned_commands_stay_behind),
		cmocka_unit_test(test_r27_content_of_a_write_that_did_not_end),
		cmocka_unit_test(test_r28_called_off),
		cmocka_unit_test(test_r28_there_and_back),
		cmocka_unit_test(test_r28_reset_while_it_stands_still),
		cmocka_unit_test(test_r28_enabled_while_it_stands_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
