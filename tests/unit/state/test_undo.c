// SPDX-License-Identifier: BSD-3-Clause
/*
 * A step's changes happen as a whole or not at all, whichever its last
 * instruction was.  The writer runs one instruction at a time; after each its
 * memory is read as a successor reads it.
 */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/field.h"
#include "state/old.h"
#include "stepper.h"

struct two {
	uint64_t a[4], b[4];
};

static const struct ob_field two_rows[] = {
	OB_U64(1, struct two, a, "0.1"),
	OB_U64(2, struct two, b, "0.1"),
	OB_END
};
static const struct ob_table two_table = { "two", sizeof(struct two), two_rows };
static const struct ob_table *const tables[OB_NR_TABLES] = {
	[OB_SECTION_CORE] = &two_table, [OB_SECTION_PLAIN] = &two_table,
};

struct step {
	struct ob_state_mem mem;
	unsigned seen;			/* the committed state that was last */
	unsigned long at[8];		/* how often each was found */
};

static struct two *section(struct step *s, enum ob_section which)
{
	return ob_state_section(&s->mem, which);
}

/* State number v: every value is v. */
static void set(uint64_t *values, uint64_t v)
{
	for (unsigned i = 0; i < 4; i++)
		values[i] = v;
}

static void change(struct step *s, uint64_t v)
{
	struct two *core = section(s, OB_SECTION_CORE);
	struct two *plain = section(s, OB_SECTION_PLAIN);

	ob_undo_add(&s->mem, core, sizeof(*core));
	set(core->a, v);
	ob_undo_add(&s->mem, plain->a, sizeof(plain->a));
	set(plain->a, v);
	/* What was saved already, whole and in part, and something new. */
	ob_undo_add(&s->mem, core->b, sizeof(core->b));
	ob_undo_add(&s->mem, plain, sizeof(*plain));
	set(core->b, v);
	set(plain->b, v);
}

static void three_commits(void *arg)
{
	struct step *s = arg;

	ob_step_begin(&s->mem, OB_STEP_MESSAGE);
	change(s, 1);
	ob_undo_commit(&s->mem);
	change(s, 2);
	ob_step_begin(&s->mem, OB_STEP_WORK);
	ob_step_end(&s->mem);
	ob_step_end(&s->mem);
	ob_step_begin(&s->mem, OB_STEP_WORK);
	change(s, 3);
	ob_step_end(&s->mem);
}

static bool is_whole(const struct ob_old_state *old, unsigned which,
		     uint64_t *value)
{
	uint64_t now[8] = { 0 };
	unsigned i;

	if (ob_old_state_read(old, which, &two_table, now, NULL))
		return false;
	for (i = 1; i < 8; i++)
		if (now[i] != now[0])
			return false;
	*value = now[0];
	return true;
}

/* Both parts of one state, and never one that was before the last. */
static bool finds_a_state(void *arg)
{
	struct ob_old_state *old;
	struct ob_err err = { "" };
	struct step *s = arg;
	uint64_t core = 9, plain = 8;
	bool good;

	if (ob_old_state_open(s->mem.fd, &old, &err)) {
		print_error("%s\n", err.msg);
		return false;
	}
	good = is_whole(old, OB_SECTION_CORE, &core) &&
	       is_whole(old, OB_SECTION_PLAIN, &plain) && core == plain &&
	       core >= s->seen && core <= 3;
	ob_old_state_close(old);
	if (!good)
		return false;
	s->seen = (unsigned)core;
	s->at[core]++;
	return true;
}

static void all_or_nothing_at_every_instruction(void **arg)
{
	struct step s = { 0 };
	unsigned long steps;

	(void)arg;
	assert_int_equal(ob_state_create(&s.mem, "test", tables, NULL), 0);
	steps = stepper_run(three_commits, finds_a_state, &s);
	if (!steps)
		skip();
	/* The last instructions of the child are behind its last commit. */
	if (s.seen != 3 || !s.at[0] || !s.at[1] || !s.at[2])
		fail_msg("after %lu instructions: %u", steps, s.seen);
	assert_int_equal(section(&s, OB_SECTION_PLAIN)->b[3], 3);
	assert_int_equal(ob_state_header(&s.mem)->step, 4);
	ob_state_destroy(&s.mem);
}

/* The longest that is possible, and the most extents. */
static void much_can_be_undone(void **arg)
{
	struct sample_rng rng = { 11 };
	struct sample_hot was, now = { 0 };
	struct ob_state_mem mem;
	struct ob_old_state *old;
	struct sample_hot *live;
	unsigned i;

	(void)arg;
	assert_int_equal(ob_state_create(&mem, "sample",
			 (const struct ob_table *const[OB_NR_TABLES]){
				[OB_SECTION_HOT] = &sample_hot_table }, NULL), 0);
	live = ob_state_section(&mem, OB_SECTION_HOT);
	sample_fill(&rng, &sample_hot_table, live, 200);
	was = *live;
	ob_step_begin(&mem, OB_STEP_ADMIN);
	for (i = 0; i < OB_UNDO_EXTENTS; i++) {
		ob_undo_add(&mem, (uint8_t *)live + i * 31, 50);
		memset((uint8_t *)live + i * 31, (int)i, 50);
	}
	assert_int_equal(ob_old_state_open(mem.fd, &old, NULL), 0);
	assert_int_equal(ob_old_state_header(old)->step, 1);
	assert_int_equal(ob_old_state_header(old)->step_kind, OB_STEP_ADMIN);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_HOT, &sample_hot_table,
					   &now, NULL), 0);
	assert_memory_equal(&now, &was, sizeof(now));
	ob_old_state_close(old);
	ob_step_end(&mem);
	ob_state_destroy(&mem);
}

struct huge {
	uint8_t bytes[OB_UNDO_BYTES];
};

/* A device whose messages and loads could not be undone is none. */
static void what_cannot_be_undone_is_refused(void **arg)
{
	static const struct ob_field rows[] = {
		OB_BYTES(1, struct huge, bytes, "0.1"), OB_END
	};
	static const struct ob_table huge = { "huge", sizeof(struct huge), rows };
	const struct ob_table *some[OB_NR_TABLES] = {
		[OB_SECTION_HOT] = &huge,
	};
	struct ob_err err = { "" };
	struct ob_state_mem mem;

	(void)arg;
	assert_int_equal(ob_state_create(&mem, "huge", some, &err), 0);
	ob_step_begin(&mem, OB_STEP_MESSAGE);
	ob_undo_add(&mem, ob_state_section(&mem, OB_SECTION_HOT), sizeof(struct huge));
	ob_step_end(&mem);
	ob_state_destroy(&mem);
	some[OB_SECTION_CORE] = &two_table;
	assert_int_equal(ob_state_create(&mem, "huge", some, &err), -E2BIG);
	assert_string_equal(err.msg, "the state is too large: with the library's it"
			    " has 196672 bytes, and a step can undo 196608");
	ob_state_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_or_nothing_at_every_instruction),
		cmocka_unit_test(much_can_be_undone),
		cmocka_unit_test(what_cannot_be_undone_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
