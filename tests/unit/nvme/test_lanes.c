// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk with two lanes, the second on a thread of its own: lane 0, the guest and the
 * server's messages are on the test's.  ThreadSanitizer says whether what they
 * share is shared in order.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define QUEUES	4u
#define BLOCKS	16u		/* of a command */
#define BYTES	(BLOCKS * 512u)
#define AREA	512u		/* blocks that are a queue's */

/* -- the other thread --------------------------------------------------- */

static struct {
	pthread_t id;
	sem_t made;
	struct ob_post end;
} thread;

static void *live(void *arg)
{
	struct ob_err err = { "" };

	(void)arg;
	if (ob_loop_create(NULL, &guest_lane, &err))
		abort();
	sem_post(&thread.made);
	if (ob_loop_run(guest_lane))
		abort();
	ob_loop_destroy(guest_lane);
	return NULL;
}

static int begin(void **state)
{
	(void)state;
	sem_init(&thread.made, 0, 0);
	if (pthread_create(&thread.id, NULL, live, NULL))
		return -1;
	while (sem_wait(&thread.made))
		;
	return 0;
}

static void stop(struct ob_post *post)
{
	(void)post;
	ob_loop_stop(guest_lane);
}

static int end(void **state)
{
	(void)state;
	thread.end.run = stop;
	ob_loop_post(guest_lane, &thread.end);
	pthread_join(thread.id, NULL);
	guest_lane = NULL;
	sem_destroy(&thread.made);
	return 0;
}

/* -- a guest with queues on both --------------------------------------- */

static uint64_t buffers[QUEUES + 1][8];

static struct nvme *model(struct guest *g)
{
	return ob_dev_runtime(g->dev);
}

static bool is_away(struct guest *g, unsigned qid)
{
	return model(g)->cqs[qid].lane->number;
}

static void create_queues(struct guest *g)
{
	for (unsigned i = 1; i <= QUEUES; i++) {
		assert_int_equal(guest_create_queue(g, i, 64), 0);
		for (unsigned k = 0; k < 8; k++)
			buffers[i][k] = guest_alloc(g, BYTES);
	}
}

static struct guest *start(const char *options)
{
	struct guest *g = guest_start(options);
	unsigned away = 0;

	guest_msix(g);
	guest_enable(g);
	create_queues(g);
	for (unsigned i = 1; i <= QUEUES; i++)
		away += is_away(g, i);
	assert_int_equal(away, QUEUES / 2);
	return g;
}

static unsigned queue_away(struct guest *g)
{
	for (unsigned i = 1; i <= QUEUES; i++)
		if (is_away(g, i))
			return i;
	fail_msg("all queues are lane 0's");
	return 0;
}

static uint64_t lba_of(unsigned qid, unsigned i)
{
	return qid * AREA + i * BLOCKS;
}

/* Eight commands in each queue, side by side. */
static void put_all(struct guest *g, uint8_t opcode, uint32_t seed)
{
	for (unsigned q = 1; q <= QUEUES; q++) {
		for (unsigned i = 0; i < 8; i++) {
			struct nvme_sqe sqe = guest_rw(g, opcode, lba_of(q, i),
						       BLOCKS, buffers[q][i]);

			if (opcode == NVME_IO_WRITE)
				fill(guest_ptr(g, buffers[q][i]), BYTES,
				     seed + 8 * q + i);
			guest_put(g, &g->io[q], &sqe);
		}
		guest_ring(g, &g->io[q]);
	}
}

static void wait_all(struct guest *g)
{
	for (unsigned q = 1; q <= QUEUES; q++)
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(guest_wait(g, &g->io[q]).status >> 1,
					 0);
}

static void expect_all(struct guest *g, uint32_t seed)
{
	for (unsigned q = 1; q <= QUEUES; q++)
		for (unsigned i = 0; i < 8; i++)
			memset(guest_ptr(g, buffers[q][i]), 0, BYTES);
	put_all(g, NVME_IO_READ, 0);
	wait_all(g);
	for (unsigned q = 1; q <= QUEUES; q++)
		for (unsigned i = 0; i < 8; i++)
			assert_true(is_filled(guest_ptr(g, buffers[q][i]),
					      BYTES, seed + 8 * q + i));
}

/* between is called while the writes are under way; their buffers are reused. */
static void rounds(struct guest *g, unsigned count,
		   void (*between)(struct guest *g, unsigned round))
{
	uint64_t next = g->next;

	for (unsigned i = 0; i < count; i++) {
		g->next = next;
		put_all(g, NVME_IO_WRITE, 100 * i);
		between(g, i);
		wait_all(g);
		expect_all(g, 100 * i);
	}
}

static void nothing(struct guest *g, unsigned round)
{
	(void)g;
	(void)round;
}

static void check_data(const char *options, bool shadow)
{
	struct guest *g = start(options);

	if (shadow)
		guest_shadow(g);
	rounds(g, 30, nothing);
	for (unsigned i = 1; i <= QUEUES; i++)
		assert_true(guest_irqs(g, i) > 0);
	guest_end(g);
}

static void test_trapped_doorbells(void **state)
{
	(void)state;
	check_data("drive=mem:4M,lanes=2", false);
}

static void test_shadow_doorbells(void **state)
{
	(void)state;
	check_data("drive=mem:4M,lanes=2", true);
}

static void test_file(void **state)
{
	char path[] = "/tmp/ob-lanes-XXXXXX", options[64];
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(ftruncate(fd, 4 << 20), 0);
	snprintf(options, sizeof(options), "drive=file:%s,lanes=2", path);
	check_data(options, true);
	close(fd);
	unlink(path);
}

/* -- sleep --------------------------------------------------------------- */

static bool is_armed(struct guest *g, unsigned qid)
{
	const uint32_t *index = guest_ptr(g, g->index);

	return __atomic_load_n(&index[2 * qid], __ATOMIC_ACQUIRE) ==
	       g->io[qid].tail;
}

static void wait_until_armed(struct guest *g, unsigned qid)
{
	uint64_t end = ob_loop_now(g->loop) + 30000000000ull;

	while (!is_armed(g, qid)) {
		guest_turn(g);
		assert_true(ob_loop_now(g->loop) < end);
	}
}

/* A lane sleeps without the pages; who maps them wakes it, since nobody else can. */
static void test_R18_doorbells_that_come_back(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned qid = queue_away(g);
	uint32_t *index;

	(void)state;
	guest_shadow(g);
	wait_until_armed(g, qid);
	guest_unmap_all(g);
	guest_nap(g, 20000);
	index = guest_ptr(g, g->index);
	__atomic_store_n(&index[2 * qid], g->io[qid].entries - 1,
			 __ATOMIC_RELEASE);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0, 3);
	wait_until_armed(g, qid);
	rounds(g, 4, nothing);
	guest_end(g);
}

/* -- what only lane 0 can do -------------------------------------------- */

static void test_rare_commands(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	struct queue *q = &g->io[queue_away(g)];
	struct nvme_sqe flush = { .opcode = NVME_IO_FLUSH, .nsid = 1 };
	uint64_t data = guest_alloc(g, 4096);

	(void)state;
	fill(guest_ptr(g, data), 4096, 5);
	assert_int_equal(guest_do(g, q, guest_rw(g, NVME_IO_WRITE, 0, 8, data)),
			 0);
	assert_int_equal(guest_do(g, q, flush), 0);
	assert_int_equal(guest_do(g, q, guest_rw(g, NVME_IO_COMPARE, 0, 8,
						 data)), 0);
	fill(guest_ptr(g, data), 4096, 6);
	assert_int_equal(guest_do(g, q, guest_rw(g, NVME_IO_COMPARE, 0, 8,
						 data)),
			 NVME_COMPARE_FAILURE);
	assert_int_equal(guest_do(g, q, guest_rw(g, NVME_IO_WRITE_ZEROES, 0, 8,
						 data)), 0);
	assert_int_equal(guest_do(g, q, guest_rw(g, 0x70, 0, 8, data)),
			 NVME_INVALID_OPCODE);
	guest_end(g);
}

static void test_errors_are_logged(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned qid = queue_away(g);
	struct nvme_sqe bad = guest_rw(g, NVME_IO_READ, 0, 8, 0x1000);
	struct nvme_error_entry log[64];

	(void)state;
	assert_int_equal(guest_do(g, &g->io[qid], bad),
			 NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(guest_log(g, NVME_LOG_ERROR, log, sizeof(log), false),
			 0);
	assert_int_equal(log[0].count, 1);
	assert_int_equal(log[0].sqid, qid);
	rounds(g, 1, nothing);
	guest_end(g);
}

static void test_bad_doorbell(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned qid = queue_away(g);
	struct nvme_error_entry log[64];

	(void)state;
	guest_set_reg(g, NVME_REG_DBS + 8 * qid, 64);
	/* The other thread looks when it comes to it. */
	for (unsigned i = 0; i < 1000 && (!i || !log[0].count); i++) {
		guest_nap(g, 10000);
		assert_int_equal(guest_log(g, NVME_LOG_ERROR, log, sizeof(log),
					   false), 0);
	}
	assert_int_equal(log[0].count, 1);
	assert_int_equal(log[0].sqid, qid);
	rounds(g, 1, nothing);
	guest_end(g);
}

static uint64_t errors_logged(struct guest *g)
{
	return model(g)->st->counters.errors;
}

/* A lane has left it to a control step, which has not come when the device stands. */
static void test_bad_doorbell_before_a_standstill(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	struct nvme *n = model(g);
	unsigned qid = queue_away(g);

	(void)state;
	ob_dev_enter(g->dev);
	n->sqs[qid].refused = 64;
	nvme_ask(n, NVME_WANT_REFUSED);
	nvme_move_halt(g->dev);
	assert_int_equal(errors_logged(g), 1);
	ob_dev_leave(g->dev);
	guest_settle(g);
	assert_int_equal(errors_logged(g), 1);
	ob_dev_enter(g->dev);
	nvme_move_run(g->dev);
	ob_dev_leave(g->dev);
	rounds(g, 1, nothing);
	guest_end(g);
}

static void test_counters_are_summed(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	struct nvme_smart smart;

	(void)state;
	rounds(g, 3, nothing);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, sizeof(smart),
				   false), 0);
	assert_int_equal(smart.reads[0], 3 * 8 * QUEUES);
	assert_int_equal(smart.writes[0], 3 * 8 * QUEUES);
	guest_end(g);
}

/* -- one block, two threads --------------------------------------------- */

#define MANY	60u		/* of 64 entries: long enough to meet */

static struct queue *queue_at_home(struct guest *g)
{
	for (unsigned i = 1; i <= QUEUES; i++)
		if (!is_away(g, i))
			return &g->io[i];
	fail_msg("no queue is lane 0's");
	return NULL;
}

static void give(struct guest *g, struct queue *q, uint8_t opcode,
		 const uint64_t *at, unsigned nr)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct nvme_sqe sqe = guest_rw(g, opcode, 7, 1, at[i % nr]);

		guest_put(g, q, &sqe);
	}
	guest_ring(g, q);
}

static void take(struct guest *g, struct queue *q)
{
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(guest_wait(g, q).status >> 1, 0);
}

/* Whoever reads while another writes sees the old or the new. */
static void test_a_block_is_whole(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2,lba=4096");
	struct queue *away = &g->io[queue_away(g)], *home = queue_at_home(g);
	uint64_t from[2] = { guest_alloc(g, 4096), guest_alloc(g, 4096) };
	uint64_t to[MANY];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		memset(guest_ptr(g, from[i]), 0x5a + i, 4096);
	for (unsigned i = 0; i < MANY; i++)
		to[i] = guest_alloc(g, 4096);
	assert_int_equal(guest_do(g, home, guest_rw(g, NVME_IO_WRITE, 7, 1,
						    from[0])), 0);
	for (unsigned round = 0; round < 200; round++) {
		give(g, away, NVME_IO_WRITE, from, 2);
		give(g, home, NVME_IO_READ, to, MANY);
		take(g, home);
		take(g, away);
		for (unsigned i = 0; i < MANY; i++) {
			const uint8_t *at = guest_ptr(g, to[i]);

			assert_memory_equal(at, at + 1, 4095);
		}
	}
	guest_end(g);
}

/* -- control steps while lanes work ------------------------------------- */

static void admin_between(struct guest *g, unsigned round)
{
	uint8_t page[4096];

	assert_int_equal(guest_set_feature(g, NVME_FID_COALESCING,
					   round % 2 ? 0x0203 : 0), 0);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, page, 512, true), 0);
}

static void test_admin_commands_between(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");

	(void)state;
	guest_shadow(g);
	rounds(g, 20, admin_between);
	guest_end(g);
}

static void set_msix(struct guest *g, bool on)
{
	uint32_t cap = 0;

	guest_access(g, false, 7, 0x34, &cap, 1);
	for (uint32_t at = cap; at; ) {
		uint16_t head;

		guest_access(g, false, 7, at, &head, 2);
		if ((head & 0xff) == 0x11)
			guest_config(g, at + 2, on ? 0x8000 : 0, 2);
		at = head >> 8;
	}
}

/* Off: another mode than MSI-X, so all queues come home; on: they go again. */
static void gather_and_spread(struct guest *g, unsigned round)
{
	set_msix(g, false);
	for (unsigned i = 1; i <= QUEUES; i++)
		assert_false(is_away(g, i));
	if (round % 2)
		guest_settle(g);
	set_msix(g, true);
}

static void check_gathering(const char *options)
{
	struct guest *g = start(options);

	guest_shadow(g);
	rounds(g, 30, gather_and_spread);
	guest_settle(g);
	assert_true(queue_away(g));
	guest_end(g);
}

static void test_gather_under_load(void **state)
{
	(void)state;
	check_gathering("drive=mem:4M,lanes=2");
}

/* Requests of the drive end on the thread that asked for them. */
static void test_gather_with_requests_under_way(void **state)
{
	char path[] = "/tmp/ob-lanes-XXXXXX", options[64];
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(ftruncate(fd, 4 << 20), 0);
	snprintf(options, sizeof(options), "drive=file:%s,lanes=2", path);
	check_gathering(options);
	close(fd);
	unlink(path);
}

static void delete_queue(struct guest *g, uint8_t opcode, unsigned qid)
{
	struct nvme_sqe sqe = { .opcode = opcode, .cdw10 = qid };

	assert_int_equal(guest_admin(g, sqe), 0);
}

/* Whatever was in flight has been told when its queue's deletion has. */
static void test_delete_under_load(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	uint64_t next = g->next;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		g->next = next;
		put_all(g, NVME_IO_READ, 0);
		for (unsigned i = 1; i <= QUEUES; i++) {
			delete_queue(g, NVME_ADM_DELETE_SQ, i);
			delete_queue(g, NVME_ADM_DELETE_CQ, i);
			assert_int_equal(model(g)->sqs[i].in_flight, 0);
		}
		create_queues(g);
	}
	rounds(g, 1, nothing);
	guest_end(g);
}

static void test_reset_under_load(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		g->next = GUEST_BASE + (1 << 20);
		put_all(g, NVME_IO_WRITE, round);
		guest_disable(g);
		guest_enable(g);
		create_queues(g);
	}
	rounds(g, 1, nothing);
	assert_true(queue_away(g));
	guest_end(g);
}

/* -- balance ------------------------------------------------------------ */

#define WINDOW	1900u		/* rounds of load that have lanes compared */

/* The load of a queue, as its lane counts it, or a new time of the next comparison. */
static uint32_t load_of(struct guest *g, unsigned qid)
{
	uint32_t load;

	ob_dev_enter(g->dev);
	load = model(g)->sqs[qid].load;
	ob_dev_leave(g->dev);
	return load;
}

static void compare_after(struct guest *g, uint64_t when)
{
	ob_dev_enter(g->dev);
	model(g)->balance_after = when;
	ob_dev_leave(g->dev);
}

static unsigned next_away(struct guest *g, unsigned qid)
{
	while (!is_away(g, ++qid))
		;
	return qid;
}

/* Two queues of one lane work, until one has moved; the rounds that it took. */
static unsigned work_two(struct guest *g, unsigned first, unsigned second,
			 unsigned most)
{
	uint64_t next = g->next, data = guest_alloc(g, 128 << 10);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 256, data);
	unsigned i = 0;

	for (; i < most && is_away(g, first) == is_away(g, second); i++) {
		assert_int_equal(guest_do(g, &g->io[first], sqe), 0);
		assert_int_equal(guest_do(g, &g->io[second], sqe), 0);
	}
	g->next = next;
	return i;
}

/* The other lane's do nothing: one goes there. */
static void test_busy_queue_moves(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned first = queue_away(g), second = next_away(g, first);

	(void)state;
	assert_true(work_two(g, first, second, 10 * WINDOW) < 10 * WINDOW);
	assert_true(model(g)->balance_after > 0);
	rounds(g, 1, nothing);
	guest_end(g);
}

/* Before the time has come again nobody is asked, whatever the load. */
static void test_moves_are_far_between(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned first = queue_away(g), second = next_away(g, first);

	(void)state;
	compare_after(g, UINT64_MAX);
	assert_int_equal(work_two(g, first, second, 2 * WINDOW), 2 * WINDOW);
	assert_true(load_of(g, first) > 2 * WINDOW);	/* nobody compared */
	compare_after(g, 0);
	assert_true(work_two(g, first, second, 10 * WINDOW) < 10 * WINDOW);
	guest_end(g);
}

/* Where it does not mean a length, or one that is refused, it is no load. */
static void test_what_moves_nothing_is_no_load(void **state)
{
	struct guest *g = start("drive=mem:4M,lanes=2");
	unsigned qid = queue_away(g);
	uint64_t data = guest_alloc(g, 4096);
	struct nvme_sqe flush = {
		.opcode = NVME_IO_FLUSH, .nsid = 1, .cdw12 = 0xffff,
	};
	struct nvme_sqe far = guest_rw(g, NVME_IO_READ, UINT32_MAX, 128, data);
	struct nvme_sqe other = guest_rw(g, NVME_IO_READ, 0, 8, data);
	struct nvme_sqe unknown = guest_rw(g, 0x70, 0, 1024, data);
	struct nvme_sqe large = guest_rw(g, NVME_IO_WRITE, 0, 2048, data);
	uint32_t before = load_of(g, qid);

	(void)state;
	other.nsid = 2;
	assert_int_equal(guest_do(g, &g->io[qid], flush), 0);
	assert_int_not_equal(guest_do(g, &g->io[qid], far), 0);
	assert_int_not_equal(guest_do(g, &g->io[qid], other), 0);
	assert_int_not_equal(guest_do(g, &g->io[qid], unknown), 0);
	assert_int_not_equal(guest_do(g, &g->io[qid], large), 0);
	assert_int_equal(load_of(g, qid), before + 5);
	assert_int_equal(guest_do(g, &g->io[qid],
				  guest_rw(g, NVME_IO_READ, 0, 8, data)), 0);
	assert_int_equal(load_of(g, qid), before + 6);
	guest_end(g);
}

#define ON_BOTH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_trapped_doorbells),
		ON_BOTH(test_shadow_doorbells),
		ON_BOTH(test_file),
		ON_BOTH(test_R18_doorbells_that_come_back),
		ON_BOTH(test_rare_commands),
		ON_BOTH(test_errors_are_logged),
		ON_BOTH(test_bad_doorbell),
		ON_BOTH(test_bad_doorbell_before_a_standstill),
		ON_BOTH(test_counters_are_summed),
		ON_BOTH(test_a_block_is_whole),
		ON_BOTH(test_admin_commands_between),
		ON_BOTH(test_gather_under_load),
		ON_BOTH(test_gather_with_requests_under_way),
		ON_BOTH(test_delete_under_load),
		ON_BOTH(test_reset_under_load),
		ON_BOTH(test_busy_queue_moves),
		ON_BOTH(test_moves_are_far_between),
		ON_BOTH(test_what_moves_nothing_is_no_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
