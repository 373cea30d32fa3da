// SPDX-License-Identifier: BSD-3-Clause
/*
 * R26 to R29 all at once: a guest that never stops submitting, on a device
 * that is stopped, called off, moved there and back at random moments.
 *
 * The oracle knows each command that is out and what each block must hold.
 * Nobody writes a block that somebody else uses, so every completion can be
 * judged: it comes exactly once; a read or a Compare sees the last write that
 * was told, wherever that was done; and at the end nothing is missing.
 */
#include "lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS		64u		/* of 4 KiB */
#define DEPTH		40u		/* of each queue */
#define QUEUES		2u
#define UNKNOWN		UINT32_MAX	/* an aborted write */

struct command {
	bool out, differs;
	uint8_t opcode;
	unsigned block;
	uint32_t seed;
	uint64_t data;
};

struct storm {
	struct guest *g;
	struct ob_device *other;	/* for moves, or NULL */
	struct command commands[QUEUES + 1][1 << 16];
	unsigned out[QUEUES + 1];
	unsigned writers[BLOCKS], users[BLOCKS];
	uint32_t content[BLOCKS], seed;
	uint64_t buffers[QUEUES + 1][DEPTH];
	bool buffer_used[QUEUES + 1][DEPTH];
	unsigned told, moves;
};

static uint32_t random_state = 1;

static unsigned random_below(unsigned limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % limit;
}

/* -- submitting -------------------------------------------------------- */

static bool writes(uint8_t opcode)
{
	return opcode == NVME_IO_WRITE || opcode == NVME_IO_WRITE_ZEROES;
}

static bool may_use(const struct storm *s, uint8_t opcode, unsigned block)
{
	if (opcode == NVME_IO_FLUSH)
		return true;
	if (opcode == NVME_IO_COMPARE && s->content[block] == UNKNOWN)
		return false;
	return !s->writers[block] && !(writes(opcode) && s->users[block]);
}

static uint64_t take_buffer(struct storm *s, unsigned qid)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (s->buffer_used[qid][i])
			continue;
		s->buffer_used[qid][i] = true;
		return s->buffers[qid][i];
	}
	fail_msg("more out than there are buffers for");
	return 0;
}

static void give_buffer(struct storm *s, unsigned qid, uint64_t data)
{
	for (unsigned i = 0; i < DEPTH; i++)
		if (s->buffers[qid][i] == data)
			s->buffer_used[qid][i] = false;
}

/* The content that seed stands for; 0: zeros. */
static void fill_block(void *buf, uint32_t seed)
{
	if (seed)
		fill(buf, 4096, seed);
	else
		memset(buf, 0, 4096);
}

static void prepare_data(struct storm *s, struct command *c)
{
	void *buf = guest_ptr(s->g, c->data);

	switch (c->opcode) {
	case NVME_IO_WRITE:
		c->seed = ++s->seed;
		fill_block(buf, c->seed);
		break;
	case NVME_IO_COMPARE:
		c->differs = random_below(4) == 0;
		fill_block(buf, s->content[c->block]);
		if (c->differs)
			((uint8_t *)buf)[random_below(4096)] ^= 1;
		break;
	default:
		memset(buf, 0x5a, 4096);
	}
}

static void submit_one(struct storm *s, unsigned qid)
{
	static const uint8_t opcodes[] = {
		NVME_IO_READ, NVME_IO_READ, NVME_IO_WRITE, NVME_IO_WRITE,
		NVME_IO_FLUSH, NVME_IO_COMPARE, NVME_IO_WRITE_ZEROES,
		NVME_IO_VERIFY,
	};
	struct command c = {
		.out = true, .opcode = opcodes[random_below(8)],
		.block = random_below(BLOCKS),
	};
	struct nvme_sqe sqe;

	if (!may_use(s, c.opcode, c.block))
		return;
	c.data = take_buffer(s, qid);
	prepare_data(s, &c);
	sqe = guest_rw(s->g, c.opcode, 8 * c.block, 8, c.data);
	s->users[c.block]++;
	s->writers[c.block] += writes(c.opcode);
	s->out[qid]++;
	s->commands[qid][guest_put(s->g, &s->g->io[qid], &sqe)] = c;
}

static void submit_some(struct storm *s)
{
	unsigned qid = 1 + random_below(QUEUES), count = random_below(12);

	while (count-- && s->out[qid] < DEPTH)
		submit_one(s, qid);
	guest_ring(s->g, &s->g->io[qid]);
}

/* -- judging ----------------------------------------------------------- */

static void judge_data(struct storm *s, const struct command *c)
{
	uint8_t *expected = malloc(4096);

	assert_non_null(expected);
	fill_block(expected, s->content[c->block]);
	if (c->opcode == NVME_IO_READ && s->content[c->block] != UNKNOWN)
		assert_memory_equal(guest_ptr(s->g, c->data), expected, 4096);
	free(expected);
}

static void judge(struct storm *s, const struct command *c, uint16_t status)
{
	if (status == NVME_ABORT_REQUESTED) {
		if (writes(c->opcode))
			s->content[c->block] = UNKNOWN;
		return;
	}
	assert_int_equal(status, c->differs ? NVME_COMPARE_FAILURE : NVME_OK);
	if (writes(c->opcode))
		s->content[c->block] = c->seed;
	else
		judge_data(s, c);
}

static void collect(struct storm *s)
{
	for (unsigned qid = 1; qid <= QUEUES; qid++) {
		struct nvme_cqe cqe;
		bool any = false;

		while (guest_take(s->g, &s->g->io[qid], &cqe)) {
			struct command *c = &s->commands[qid][cqe.cid];

			assert_true(c->out);
			judge(s, c, cqe.status >> 1 & 0x7ff);
			c->out = false;
			s->out[qid]--;
			s->users[c->block]--;
			s->writers[c->block] -= writes(c->opcode);
			give_buffer(s, qid, c->data);
			s->told++;
			any = true;
		}
		/* A lazy guest: sometimes the queue runs full. */
		if (any && random_below(3))
			guest_ring_head(s->g, &s->g->io[qid]);
	}
}

static void wait_for_all(struct storm *s)
{
	uint64_t end = ob_loop_now(s->g->loop) + 20000000000ull;

	while (s->out[1] || s->out[2]) {
		guest_turn(s->g);
		collect(s);
		guest_ring_head(s->g, &s->g->io[1]);
		guest_ring_head(s->g, &s->g->io[2]);
		assert_true(ob_loop_now(s->g->loop) < end);
	}
}

/* -- moving ------------------------------------------------------------ */

/* Between halt and run: the guest rings, consumes, reads registers. */
static void live_on(struct storm *s)
{
	bool rings = !s->g->page || !s->g->dev->bar_stays;

	if (random_below(2) && rings)
		submit_some(s);
	if (random_below(2) && rings)
		collect(s);
	assert_true(guest_reg(s->g, NVME_REG_CSTS) & NVME_CSTS_RDY);
	guest_nap(s->g, random_below(300));
}

static void call_off(struct storm *s)
{
	lib_stop(s->g->dev);
	if (random_below(2))
		lib_drain(s->g->dev, random_below(1000));
	if (random_below(3)) {
		lib_halt(s->g->dev);
		live_on(s);
	}
	lib_run(s->g->dev);
}

static void move(struct storm *s)
{
	struct ob_device *old = s->g->dev;

	lib_stop(old);
	if (random_below(2))
		lib_drain(old, random_below(1000));
	old->hold_answers = random_below(2);
	old->bar_stays = random_below(2);
	lib_halt(old);
	live_on(s);
	old->hold_answers = false;
	lib_move(s->g, s->other);
	s->other = old;
	s->moves++;
}

static void abort_one(struct storm *s)
{
	unsigned qid = 1 + random_below(QUEUES);
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_ABORT,
		.cdw10 = qid | (uint32_t)(uint16_t)
			(s->g->io[qid].next_cid - 1 - random_below(20)) << 16,
	};

	assert_int_equal(guest_admin(s->g, sqe), 0);
}

static void something_else(struct storm *s)
{
	struct nvme_id_ctrl id;
	uint8_t log[512];

	switch (random_below(4)) {
	case 0:
		abort_one(s);
		break;
	case 1:
		assert_int_equal(guest_identify(s->g, NVME_CNS_CTRL, 0, &id),
				 0);
		break;
	case 2:
		assert_int_equal(guest_log(s->g, NVME_LOG_SMART, log,
					   sizeof(log), false), 0);
		break;
	case 3:
		guest_set_feature(s->g, NVME_FID_COALESCING,
				  random_below(2) ? 0x0103 : 0);
		break;
	}
	s->g->next = s->buffers[QUEUES][DEPTH - 1] + 4096;
}

/* -- the storm --------------------------------------------------------- */

static struct storm *begin(const char *options, const char *there,
			   enum guest_memory memory, bool shadow)
{
	struct storm *s = calloc(1, sizeof(*s));
	struct guest *g;

	assert_non_null(s);
	s->g = g = guest_start_as(options, memory);
	guest_enable(g);
	for (unsigned i = 1; i <= QUEUES; i++)
		assert_int_equal(guest_create_queue(g, i, i == 1 ? 64 : 48),
				 0);
	if (shadow)
		guest_shadow(g);
	if (strstr(options, "mapped"))
		g->page = (uint32_t *)(g->dev->bar + NVME_DB_OFFSET);
	else if (random_below(2))
		guest_msix(g);
	for (unsigned q = 1; q <= QUEUES; q++)
		for (unsigned i = 0; i < DEPTH; i++)
			s->buffers[q][i] = guest_alloc(g, 4096);
	s->other = lib_create(g, there);
	return s;
}

static void check_all_blocks(struct storm *s)
{
	uint64_t data = s->buffers[1][0];

	for (unsigned i = 0; i < BLOCKS; i++) {
		struct command c = {
			.opcode = NVME_IO_READ, .block = i, .data = data,
		};

		assert_int_equal(guest_io(s->g, guest_rw(s->g, NVME_IO_READ,
							 8 * i, 8, data)), 0);
		judge_data(s, &c);
	}
}

static void storm_between(const char *options, const char *there,
			  enum guest_memory memory, bool shadow,
			  unsigned rounds)
{
	struct storm *s = begin(options, there, memory, shadow);

	for (unsigned i = 0; i < rounds; i++) {
		submit_some(s);
		for (unsigned k = random_below(6); k; k--)
			guest_turn(s->g);
		if (random_below(2))
			guest_nap(s->g, random_below(200));
		collect(s);
		switch (random_below(8)) {
		case 0:
		case 1:
			move(s);
			break;
		case 2:
			call_off(s);
			break;
		case 3:
			something_else(s);
			break;
		case 4:
			if (random_below(4) == 0)
				wait_for_all(s);
			break;
		}
	}
	wait_for_all(s);
	check_all_blocks(s);
	assert_true(s->told > rounds && s->moves > rounds / 10);
	lib_destroy(s->other);
	guest_end(s->g);
	free(s);
}

static void storm(const char *options, enum guest_memory memory, bool shadow,
		  unsigned rounds)
{
	storm_between(options, options, memory, shadow, rounds);
}

static void test_r28_storm_fast_drive(void **state)
{
	(void)state;
	storm("drive=mem:1M", GUEST_MAPPED, false, 400);
	storm("drive=mem:1M", GUEST_FILE_IO, false, 200);
}

static void test_r28_storm_slow_drive(void **state)
{
	(void)state;
	storm("drive=delay:50:mem:1M", GUEST_MAPPED, false, 400);
	storm("drive=delay:1000:mem:1M", GUEST_MAPPED, false, 400);
}

static void test_r28_storm_shadow_doorbells(void **state)
{
	(void)state;
	storm("drive=delay:200:mem:1M", GUEST_MAPPED, true, 400);
	storm("drive=mem:1M", GUEST_MAPPED, true, 300);
}

static void test_r28_storm_mapped_doorbells(void **state)
{
	(void)state;
	storm("drive=delay:200:mem:1M,doorbells=mapped", GUEST_MAPPED, false,
	      300);
}

static void test_r28_storm_memory_by_messages(void **state)
{
	(void)state;
	storm("drive=mem:1M", GUEST_MESSAGES, false, 400);
	storm("drive=delay:200:mem:1M", GUEST_MESSAGES, false, 400);
}

/* Requests in the kernel, which cannot be asked to end. */
static void storm_on_images(enum guest_memory memory)
{
	char images[2][40], options[2][80];

	for (unsigned i = 0; i < 2; i++) {
		int fd;

		strcpy(images[i], "/dev/shm/ob-nvme-storm-XXXXXX");
		fd = mkstemp(images[i]);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		close(fd);
		snprintf(options[i], sizeof(options[i]), "drive=file:%s",
			 images[i]);
	}
	storm_between(options[0], options[1], memory, false, 300);
	unlink(images[0]);
	unlink(images[1]);
}

static void test_r28_storm_images(void **state)
{
	(void)state;
	if (access("/dev/shm", W_OK)) {
		print_message("no /dev/shm\n");
		skip();
	}
	storm_on_images(GUEST_MAPPED);
	storm_on_images(GUEST_MESSAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r28_storm_fast_drive),
		cmocka_unit_test(test_r28_storm_slow_drive),
		cmocka_unit_test(test_r28_storm_shadow_doorbells),
		cmocka_unit_test(test_r28_storm_mapped_doorbells),
		cmocka_unit_test(test_r28_storm_memory_by_messages),
		cmocka_unit_test(test_r28_storm_images),
	};
	const char *seed = getenv("OB_TEST_SEED");

	random_state = seed ? strtoul(seed, NULL, 0) : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
