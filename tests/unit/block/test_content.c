// SPDX-License-Identifier: BSD-3-Clause
/* Content that travels, on the sending side. */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/stat.h>

#include "block/mem.h"
#include "rig.h"

#define PAGE 4096ull

static void start(struct rig *rig, void **state, const char *spec)
{
	rig_start(rig, state);
	rig_open(rig, spec, false);
}

static uint8_t *bytes_of(struct rig *rig)
{
	return ob_drive_bottom(rig->drive)->info.memory;
}

/* What the drive occupies. */
static uint64_t resident(struct rig *rig)
{
	struct mem_drive *mem =
		(struct mem_drive *)ob_drive_bottom(rig->drive);
	struct stat st;

	assert_int_equal(fstat(mem->fd, &st), 0);
	return st.st_blocks * 512;
}

/* Writes in place, as a model does. */
static void poke(struct rig *rig, uint64_t offset, uint8_t value,
		 uint64_t length)
{
	memset(bytes_of(rig) + offset, value, length);
	ob_drive_wrote(rig->drive, offset, length);
}

static void track(struct rig *rig)
{
	assert_int_equal(ob_drive_track(rig->drive, true), 0);
}

static uint64_t left(struct rig *rig, uint64_t *initial, uint64_t *dirty)
{
	uint64_t a, b;

	ob_drive_left(rig->drive, initial ? initial : &a,
		      dirty ? dirty : &b);
	return (initial ? *initial : a) + (dirty ? *dirty : b);
}

static void nothing_is_left(struct rig *rig)
{
	struct ob_drive_run run;

	assert_false(ob_drive_take(rig->drive, MIB, &run));
	assert_int_equal(left(rig, NULL, NULL), 0);
}

/* The next run is this one. */
static void takes(struct rig *rig, uint64_t max, uint64_t offset,
		  uint64_t length, bool zero)
{
	struct ob_drive_run run;

	assert_true(ob_drive_take(rig->drive, max, &run));
	assert_int_equal(run.offset, offset);
	assert_int_equal(run.length, length);
	if (zero)
		assert_null(run.data);
	else
		assert_ptr_equal(run.data, bytes_of(rig) + offset);
}

static void an_untouched_drive_has_nothing_to_send(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:64G");
	assert_true(ob_drive_has_content(rig.drive));
	nothing_is_left(&rig);
	track(&rig);
	nothing_is_left(&rig);
	assert_int_equal(resident(&rig), 0);
	rig_stop(&rig);
}

static void what_was_never_written_is_neither_sent_nor_read(void **state)
{
	uint64_t initial, dirty;
	struct rig rig;

	start(&rig, state, "mem:64G");
	poke(&rig, 3 * PAGE, 1, PAGE);
	poke(&rig, 40 * 1024 * MIB + 100, 2, 10);
	poke(&rig, 64 * 1024 * MIB - 512, 3, 512);
	track(&rig);
	left(&rig, &initial, &dirty);
	assert_int_equal(initial, 3 * PAGE);
	assert_int_equal(dirty, 0);
	takes(&rig, MIB, 3 * PAGE, PAGE, false);
	left(&rig, &initial, &dirty);
	assert_int_equal(initial, 2 * PAGE);
	takes(&rig, MIB, 40 * 1024 * MIB, PAGE, false);
	takes(&rig, MIB, 64 * 1024 * MIB - PAGE, PAGE, false);
	nothing_is_left(&rig);
	assert_int_equal(resident(&rig), 3 * PAGE);
	rig_stop(&rig);
}

static void runs_are_as_long_as_they_may_be(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:4M");
	poke(&rig, 0, 1, 4 * MIB);
	track(&rig);
	assert_int_equal(left(&rig, NULL, NULL), 4 * MIB);
	takes(&rig, MIB, 0, MIB, false);
	takes(&rig, 5000, MIB, PAGE, false);
	takes(&rig, 1, MIB + PAGE, PAGE, false);
	takes(&rig, 64 * MIB, MIB + 2 * PAGE, 3 * MIB - 2 * PAGE, false);
	nothing_is_left(&rig);

	for (uint64_t at = 0; at < 2 * MIB; at += PAGE)
		ob_drive_wrote(rig.drive, at + 17, 1);
	assert_int_equal(left(&rig, NULL, NULL), 2 * MIB);
	takes(&rig, 3 * MIB, 0, 2 * MIB, false);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void written_zeros_are_left_out_at_first(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1M");
	poke(&rig, 0, 0, 2 * PAGE);
	poke(&rig, 2 * PAGE, 1, PAGE);
	poke(&rig, 3 * PAGE, 0, PAGE);
	poke(&rig, 4 * PAGE + 4095, 1, 1);
	track(&rig);
	takes(&rig, MIB, 2 * PAGE, PAGE, false);
	takes(&rig, MIB, 4 * PAGE, PAGE, false);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

/* One call does not read all of a large drive. */
static void many_written_zeros_are_sent_as_a_number(void **state)
{
	struct ob_drive_run run;
	struct rig rig;
	uint64_t total = 0;

	start(&rig, state, "mem:32M");
	poke(&rig, 0, 0, 32 * MIB);
	track(&rig);
	while (ob_drive_take(rig.drive, MIB, &run)) {
		assert_null(run.data);
		assert_in_range(run.length, PAGE, MIB);
		total += run.length;
	}
	assert_true(total >= 6 * MIB && total <= 8 * MIB);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void a_change_is_sent_again(void **state)
{
	uint64_t initial, dirty;
	uint8_t buf[512];
	struct rig rig;

	start(&rig, state, "fault:flush=EIO:delay:0:mem:1M");
	poke(&rig, 0, 1, 10 * PAGE);
	track(&rig);
	takes(&rig, 4 * PAGE, 0, 4 * PAGE, false);
	/* Behind the first pass, across it, and ahead of it. */
	poke(&rig, PAGE + 5, 2, 1);
	poke(&rig, 3 * PAGE, 2, 2 * PAGE);
	poke(&rig, 7 * PAGE, 2, 1);
	left(&rig, &initial, &dirty);
	assert_int_equal(initial, 6 * PAGE);
	assert_int_equal(dirty, 2 * PAGE);
	takes(&rig, MIB, 4 * PAGE, 6 * PAGE, false);
	takes(&rig, MIB, PAGE, PAGE, false);
	takes(&rig, MIB, 3 * PAGE, PAGE, false);
	nothing_is_left(&rig);

	memset(buf, 9, sizeof(buf));
	assert_int_equal(io_write(&rig, 20 * PAGE - 256, 512, buf), 0);
	takes(&rig, MIB, 19 * PAGE, 2 * PAGE, false);
	assert_int_equal(io_read(&rig, 0, 512, buf), 0);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void what_was_zeroed_is_sent_as_zeros(void **state)
{
	struct ob_drive_run run;
	uint64_t before, total;
	unsigned runs = 0;
	struct rig rig;

	start(&rig, state, "mem:64G");
	poke(&rig, 0, 1, 8 * PAGE);
	track(&rig);
	takes(&rig, MIB, 0, 8 * PAGE, false);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, PAGE, 2 * PAGE,
				NULL), 0);
	before = resident(&rig);
	assert_int_equal(before, 6 * PAGE);
	takes(&rig, MIB, 0, PAGE, false);
	takes(&rig, MIB, PAGE, 2 * PAGE, true);
	takes(&rig, MIB, 3 * PAGE, 5 * PAGE, false);
	assert_int_equal(resident(&rig), before);

	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0,
				1024 * MIB, NULL), 0);
	for (total = 0; ob_drive_take(rig.drive, 256 * MIB, &run);) {
		assert_null(run.data);
		total += run.length;
		runs++;
	}
	assert_int_equal(total, 1024 * MIB);
	assert_in_range(runs, 4, 5);
	nothing_is_left(&rig);
	assert_int_equal(resident(&rig), 0);
	rig_stop(&rig);
}

/* What a hole is being punched into changes by itself until that is over. */
static void a_range_that_is_being_zeroed_is_not_given_out(void **state)
{
	struct ob_drive_run run;
	struct rig rig;
	struct io io;

	start(&rig, state, "mem:1M");
	poke(&rig, 0, 1, MIB);
	track(&rig);
	io_start(&rig, &io, OB_BLOCK_WRITE_ZEROES, 0, 10 * PAGE - 7,
		 3 * PAGE, NULL);
	takes(&rig, MIB, 0, 10 * PAGE - 7, false);
	takes(&rig, MIB, 13 * PAGE - 7, MIB - 13 * PAGE + 7, false);
	assert_int_equal(io_wait(&rig, &io), 0);
	takes(&rig, MIB, 9 * PAGE, PAGE, false);
	assert_true(ob_drive_take(rig.drive, MIB, &run));
	assert_null(run.data);
	assert_int_equal(run.offset, 10 * PAGE);
	assert_int_equal(run.length, 2 * PAGE);
	takes(&rig, MIB, 12 * PAGE, PAGE, false);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void a_busy_block_does_not_keep_others_from_being_sent(void **state)
{
	struct ob_drive_run run;
	unsigned seen = 0;
	struct rig rig;

	start(&rig, state, "mem:4M");
	track(&rig);
	poke(&rig, 100 * PAGE, 1, PAGE);
	for (uint64_t i = 1; i <= 20; i++)
		poke(&rig, (100 + 40 * i) * PAGE, 1, PAGE);
	for (unsigned i = 0; i < 22; i++) {
		assert_true(ob_drive_take(rig.drive, MIB, &run));
		seen += run.offset != 100 * PAGE;
		poke(&rig, 100 * PAGE, i, PAGE);
	}
	assert_int_equal(seen, 20);
	rig_stop(&rig);
}

/* Of a large drive the account is coarser; nothing of a block gets lost. */
static void a_block_larger_than_a_run_is_sent_in_pieces(void **state)
{
	const uint64_t block = 32 * KIB, at = 1000 * block;
	struct rig rig;

	start(&rig, state, "mem:64G");
	track(&rig);
	memset(bytes_of(&rig) + at, 1, block);
	ob_drive_wrote(rig.drive, at + block / 2, 1);
	assert_int_equal(left(&rig, NULL, NULL), block);
	takes(&rig, 3 * PAGE, at, 3 * PAGE, false);
	assert_int_equal(left(&rig, NULL, NULL), block - 3 * PAGE);
	/* Changed again before the rest has gone. */
	ob_drive_wrote(rig.drive, at + 7 * PAGE, 1);
	takes(&rig, 3 * PAGE, at + 3 * PAGE, 3 * PAGE, false);
	takes(&rig, 3 * PAGE, at + 6 * PAGE, 2 * PAGE, false);
	takes(&rig, MIB, at, block, false);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void the_account_begins_again_when_it_is_asked_to(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1M");
	track(&rig);
	poke(&rig, 5 * PAGE, 1, PAGE);
	takes(&rig, MIB, 5 * PAGE, PAGE, false);
	nothing_is_left(&rig);
	track(&rig);
	takes(&rig, MIB, 5 * PAGE, PAGE, false);
	nothing_is_left(&rig);
	poke(&rig, 6 * PAGE, 1, PAGE);
	assert_int_equal(ob_drive_track(rig.drive, false), 0);
	nothing_is_left(&rig);
	poke(&rig, 6 * PAGE, 1, PAGE);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void a_range_beyond_the_end_is_cut(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1023K");
	track(&rig);
	ob_drive_wrote(rig.drive, 1023 * KIB - 1, UINT64_MAX);
	ob_drive_wrote(rig.drive, UINT64_MAX, UINT64_MAX);
	ob_drive_wrote(rig.drive, 2 * MIB, 1);
	ob_drive_wrote(rig.drive, 0, 0);
	takes(&rig, MIB, 1020 * KIB, 3 * KIB, true);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

static void types_that_keep_their_blocks_elsewhere_have_none(void **state)
{
	struct ob_drive_run run;
	struct rig rig;

	rig_start(&rig, state);
	rig_make_image(&rig, rig_disk(), MIB);
	for (int i = 0; i < 2; i++) {
		if (i)
			rig_open_image(&rig, false);
		else
			rig_open(&rig, "delay:0:null:1M", false);
		assert_false(ob_drive_has_content(rig.drive));
		assert_int_equal(ob_drive_track(rig.drive, true), -EOPNOTSUPP);
		ob_drive_wrote(rig.drive, 0, 512);
		assert_false(ob_drive_take(rig.drive, MIB, &run));
		assert_int_equal(left(&rig, NULL, NULL), 0);
		rig_close(&rig);
	}
	rig_stop(&rig);
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void the_account_of_a_huge_drive_is_small(void **state)
{
	struct rig rig;
	size_t before;

	start(&rig, state, "mem:1T");
	poke(&rig, 1024 * 1024 * MIB - 1, 1, 1);
	before = allocated();
	track(&rig);
	assert_true(allocated() - before <= 512 * KIB);
	takes(&rig, MIB, 1024 * 1024 * MIB - PAGE, PAGE, false);
	nothing_is_left(&rig);
	rig_stop(&rig);
}

/*
 * The property: whatever a guest does while runs are taken, the runs, put down
 * in their order, make a copy.
 */
#define COPIED (3 * MIB + 512)

struct pending {
	struct io io;
	bool started;
	uint8_t *buf;
};

static void apply(uint8_t *copy, const struct ob_drive_run *run)
{
	if (run->data)
		memcpy(copy + run->offset, run->data, run->length);
	else
		memset(copy + run->offset, 0, run->length);
}

static void random_range(uint64_t *offset, uint64_t *length)
{
	*offset = rnd() % COPIED;
	*length = 1 + rnd() % (rnd() % 4 ? 3 * PAGE : 512 * KIB);
	if (*length > COPIED - *offset)
		*length = COPIED - *offset;
}

static void finish(struct rig *rig, struct pending *pending)
{
	if (pending->started)
		assert_int_equal(io_wait(rig, &pending->io), 0);
	pending->started = false;
}

static void random_change(struct rig *rig, struct pending *pending)
{
	static const enum ob_block_op ops[] = {
		OB_BLOCK_WRITE, OB_BLOCK_WRITE, OB_BLOCK_DISCARD,
		OB_BLOCK_WRITE_ZEROES,
	};
	uint64_t offset, length;

	random_range(&offset, &length);
	if (rnd() % 2) {
		poke(rig, offset, rnd() % 3, length);
		return;
	}
	finish(rig, pending);
	memset(pending->buf, rnd() % 3, length);
	io_start(rig, &pending->io, ops[rnd() % 4], 0, offset, length,
		 pending->buf);
	pending->started = true;
}

static void run_randomly(struct rig *rig, uint8_t *copy)
{
	struct pending pending[8] = { 0 };
	struct ob_drive_run run;

	for (size_t i = 0; i < 8; i++)
		pending[i].buf = malloc(512 * KIB);
	for (unsigned i = 0; i < 1500; i++) {
		if (rnd() % 3)
			random_change(rig, &pending[rnd() % 8]);
		else if (ob_drive_take(rig->drive, rnd() % (128 * KIB), &run))
			apply(copy, &run);
		if (rnd() % 4 == 0)
			assert_int_equal(ob_loop_turn(rig->loop, false), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		finish(rig, &pending[i]);
		free(pending[i].buf);
	}
	while (ob_drive_take(rig->drive, 1 + rnd() % MIB, &run))
		apply(copy, &run);
}

static void whatever_happens_the_runs_make_a_copy(void **state)
{
	static const char *const specs[] = {
		"mem:3145K", "delay:50:mem:3145K", "fault:flush=EIO:mem:3145K",
	};
	uint8_t *copy = malloc(COPIED);
	struct rig rig;

	for (unsigned i = 0; i < 9; i++) {
		char spec[80];

		snprintf(spec, sizeof(spec), "%.*s%" PRIu64,
			 (int)strcspn(specs[i % 3], "3"), specs[i % 3],
			 (uint64_t)COPIED);
		start(&rig, state, spec);
		poke(&rig, rnd() % MIB, 1, MIB);
		memset(copy, 0, COPIED);
		track(&rig);
		run_randomly(&rig, copy);
		assert_memory_equal(copy, bytes_of(&rig), COPIED);
		nothing_is_left(&rig);
		rig_stop(&rig);
	}
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(an_untouched_drive_has_nothing_to_send),
		ON_BOTH_ENGINES(what_was_never_written_is_neither_sent_nor_read),
		ON_BOTH_ENGINES(runs_are_as_long_as_they_may_be),
		ON_BOTH_ENGINES(written_zeros_are_left_out_at_first),
		ON_BOTH_ENGINES(many_written_zeros_are_sent_as_a_number),
		ON_BOTH_ENGINES(a_change_is_sent_again),
		ON_BOTH_ENGINES(what_was_zeroed_is_sent_as_zeros),
		ON_BOTH_ENGINES(a_range_that_is_being_zeroed_is_not_given_out),
		ON_BOTH_ENGINES(a_busy_block_does_not_keep_others_from_being_sent),
		ON_BOTH_ENGINES(a_block_larger_than_a_run_is_sent_in_pieces),
		ON_BOTH_ENGINES(the_account_begins_again_when_it_is_asked_to),
		ON_BOTH_ENGINES(a_range_beyond_the_end_is_cut),
		ON_BOTH_ENGINES(types_that_keep_their_blocks_elsewhere_have_none),
		ON_BOTH_ENGINES(the_account_of_a_huge_drive_is_small),
		ON_BOTH_ENGINES(whatever_happens_the_runs_make_a_copy),
	};

	return cmocka_run_group_tests_name("content of drives", tests, NULL,
					   NULL);
}
