// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every state, and every state that can be asked for from there: against a
 * table that was written by hand from the rules in linux/vfio.h, first the
 * pure function, then a device.
 */
#include <errno.h>
#include <string.h>

#include "fake_drive.h"
#include "rig_mig.h"
#include "server/mig_state.h"

/*
 * Where the first arc leads: E ERROR, S STOP, R RUNNING, C STOP_COPY,
 * L RESUMING, Q RUNNING_P2P, P PRE_COPY, W PRE_COPY_P2P; '=' nothing to do,
 * '-' refused.  Columns as rows.
 */
static const char letters[] = "ESRCLQPW";
static const char *const hops[NR_S] = {
	[S_ERROR]	= "--------",
	[S_STOP]	= "-=QCLQQQ",
	[S_RUNNING]	= "-Q=QQQPQ",
	[S_COPY]	= "-SS=SS--",
	[S_RESUMING]	= "-SSS=SSS",
	[S_P2P]		= "-SRSS=RW",
	[S_PRE]		= "-RRWRR=W",
	[S_PRE_P2P]	= "-QQCQQP=",
};

/* What happens to a device on one arc: stop and halt, run, check and load. */
static const char *calls_of(char from, char to)
{
	if (to == 'S')
		return from == 'Q' ? "sh" : from == 'L' ? "cl" : "";
	if (from == 'S' && to == 'Q')
		return "r";
	return from == 'W' && to == 'C' ? "sh" : "";
}

static unsigned number(char letter)
{
	return (unsigned)(strchr(letters, letter) - letters);
}

static void the_first_arc_is_the_kernels(void **arg)
{
	const struct ob_mig_arc *arc;
	unsigned from, to;

	(void)arg;
	for (from = 0; from < NR_S; from++)
		for (to = 0; to < NR_S; to++) {
			char hop = hops[from][to];

			arc = ob_mig_next((enum ob_mig_state)from, to);
			if (hop == '-' || hop == '=') {
				assert_null(arc);
				continue;
			}
			assert_non_null(arc);
			assert_int_equal(arc->from, from);
			assert_int_equal(arc->to, number(hop));
		}
}

static void a_number_beyond_the_states_is_refused(void **arg)
{
	(void)arg;
	assert_null(ob_mig_next(OB_MIG_RUNNING, NR_S));
	assert_null(ob_mig_next(OB_MIG_RUNNING, UINT32_MAX));
	assert_string_equal(ob_mig_state_name(S_COPY), "STOP_COPY");
	assert_string_equal(ob_mig_state_name(NR_S), "?");
}

static void every_chain_ends(void **arg)
{
	unsigned from, to, at, steps;

	(void)arg;
	for (from = 0; from < NR_S; from++)
		for (to = 0; to < NR_S; to++) {
			if (hops[from][to] == '-')
				continue;
			for (at = from, steps = 0; at != to; steps++) {
				assert_true(steps < NR_S);
				at = number(hops[at][to]);
			}
		}
}

static struct ob_drive disk;

static struct rig *start(struct stream *stream)
{
	struct rig *rig;

	fake_drive_init(&disk, true);
	rig_drives[0] = &disk;
	rig = rig_mig_start("");
	disk.loop = rig->loop;
	if (stream) {
		rig_save(rig, stream);
		assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	}
	memset(rig_seen(rig)->calls, 0, sizeof(rig_seen(rig)->calls));
	return rig;
}

static void end(struct rig *rig)
{
	rig_end(rig);
	rig_drives[0] = NULL;
}

/* ERROR is where a load that was refused ends. */
static void bring(struct rig *rig, unsigned state,
		  const struct stream *stream)
{
	struct test_seen *seen = rig_seen(rig);

	assert_int_equal(rig_call(rig, RESET, "", 0), 0);
	if (state == S_ERROR) {
		assert_int_equal(rig_mig_set(rig, S_RESUMING), 0);
		assert_int_not_equal(rig_mig_set(rig, S_STOP), 0);
	} else if (state == S_RESUMING) {
		rig_load(rig, stream);
	} else {
		assert_int_equal(rig_mig_set(rig, state), 0);
	}
	assert_int_equal(rig_mig_get(rig), state);
	memset(seen->calls, 0, sizeof(seen->calls));
}

static void expect_calls(struct rig *rig, unsigned from, unsigned to)
{
	char calls[32] = "";
	unsigned at = from;

	while (at != to) {
		strcat(calls, calls_of(letters[at], hops[at][to]));
		at = number(hops[at][to]);
	}
	assert_string_equal(rig_seen(rig)->calls, calls);
}

static void each_pair(struct rig *rig, const struct stream *stream,
		      unsigned from, unsigned to)
{
	int r;

	bring(rig, from, stream);
	r = rig_mig_set(rig, to);
	if (hops[from][to] == '-') {
		assert_int_equal(r, EINVAL);
		assert_int_equal(rig_mig_get(rig), from);
		assert_string_equal(rig_seen(rig)->calls, "");
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(rig_mig_get(rig), to);
	expect_calls(rig, from, to);
	assert_int_equal(ob_dev_is_halted(rig->dev),
			 to == S_STOP || to == S_COPY || to == S_RESUMING);
	assert_int_equal(disk.tracked,
			 to == S_COPY || to == S_PRE || to == S_PRE_P2P);
	assert_int_equal(disk.staged, to == S_RESUMING);
}

static void a_device_goes_every_way(void **arg)
{
	struct stream stream = { 0 };
	struct rig *rig = start(&stream);
	unsigned from, to;

	(void)arg;
	for (from = 0; from < NR_S; from++)
		for (to = 0; to < NR_S; to++)
			each_pair(rig, &stream, from, to);
	end(rig);
	stream_free(&stream);
}

/* Hooks that may fail, the arcs that they are on, and where that leaves it. */
static const struct failure {
	int *place;		/* gets the error */
	const char *arcs;	/* pairs of letters */
	bool is_fatal;		/* ERROR; else where the arc began */
} failures[] = {
	{ &disk.fail_track, "SC RP QW", false },
	{ &disk.fail_stage, "SL", false },
	{ &disk.fail_acquire, "SQ SC RP QW", false },
	{ NULL, "LS", true },			/* the model's check */
};

/* The first arc on the way that fails; '-': none does. */
static unsigned fails_at(const struct failure *f, unsigned from, unsigned to)
{
	unsigned at = from;

	while (at != to) {
		char arc[3] = { letters[at], hops[at][to], 0 };

		if (strstr(f->arcs, arc))
			return at;
		at = number(hops[at][to]);
	}
	return NR_S;
}

static void each_failure(struct rig *rig, const struct stream *stream,
			 const struct failure *f, unsigned from, unsigned to)
{
	unsigned at = fails_at(f, from, to);
	int r;

	bring(rig, from, stream);
	if (f->place == &disk.fail_acquire)
		disk.active = false;
	if (f->place)
		*f->place = ENOMEM;
	else
		rig_seen(rig)->refuse = EILSEQ;
	r = rig_mig_set(rig, to);
	if (f->place)
		*f->place = 0;
	rig_seen(rig)->refuse = 0;
	disk.active = true;
	if (at == NR_S) {
		assert_int_equal(r, 0);
		assert_int_equal(rig_mig_get(rig), to);
		return;
	}
	assert_int_equal(r, f->place ? ENOMEM : EILSEQ);
	assert_int_equal(rig_mig_get(rig), f->is_fatal ? S_ERROR : at);
	assert_int_equal(disk.tracked,
			 at == S_COPY || at == S_PRE || at == S_PRE_P2P);
	assert_int_equal(disk.staged, at == S_RESUMING && !f->is_fatal);
}

static void a_failed_arc_leaves_it_where_the_arc_began(void **arg)
{
	struct stream stream = { 0 };
	struct rig *rig = start(&stream);
	unsigned from, to, i;

	(void)arg;
	for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		for (from = 1; from < NR_S; from++)
			for (to = 1; to < NR_S; to++)
				if (hops[from][to] != '-')
					each_failure(rig, &stream, &failures[i],
						     from, to);
	end(rig);
	stream_free(&stream);
}

static void after_a_failure_the_same_way_is_open(void **arg)
{
	struct rig *rig = start(NULL);

	(void)arg;
	disk.fail_track = ENOMEM;
	assert_int_equal(rig_mig_set(rig, S_COPY), ENOMEM);
	assert_non_null(strstr(rig_why(rig), "STOP to STOP_COPY"));
	assert_non_null(strstr(rig_why(rig), "drive fake"));
	assert_int_equal(rig_mig_get(rig), S_STOP);
	disk.fail_track = 0;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_string_equal(rig_seen(rig)->calls, "shr");
	end(rig);
}

static void reset_leads_to_running_from_everywhere(void **arg)
{
	struct stream stream = { 0 };
	struct rig *rig = start(&stream);
	unsigned state, fds = 0;

	(void)arg;
	for (state = 0; state < NR_S; state++) {
		bring(rig, state, &stream);
		if (!fds)
			fds = count_fds();
		rig_state(rig)->regs[1] = 77;
		assert_int_equal(rig_call(rig, RESET, "", 0), 0);
		assert_int_equal(rig_mig_get(rig), S_RUNNING);
		assert_int_equal(rig_state(rig)->regs[1], 0);
		assert_false(ob_dev_is_halted(rig->dev));
		assert_false(disk.tracked);
		assert_false(disk.staged);
		assert_int_equal(count_fds(), fds);
	}
	end(rig);
	stream_free(&stream);
}

static void a_new_client_finds_it_running(void **arg)
{
	struct stream stream = { 0 };
	struct rig *rig = start(&stream);
	unsigned state;

	(void)arg;
	for (state = 0; state < NR_S; state++) {
		bring(rig, state, &stream);
		rig_state(rig)->regs[1] = 77;
		rig_hang_up(rig);
		rig_connect(rig);
		assert_int_equal(rig_version(rig, NULL), 0);
		assert_int_equal(rig_mig_get(rig), S_RUNNING);
		assert_int_equal(rig_state(rig)->regs[1], 77);
		assert_false(ob_dev_is_halted(rig->dev));
		assert_false(disk.tracked);
		assert_false(disk.staged);
	}
	end(rig);
	stream_free(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_arc_is_the_kernels),
		cmocka_unit_test(a_number_beyond_the_states_is_refused),
		cmocka_unit_test(every_chain_ends),
		cmocka_unit_test(a_device_goes_every_way),
		cmocka_unit_test(a_failed_arc_leaves_it_where_the_arc_began),
		cmocka_unit_test(after_a_failure_the_same_way_is_open),
		cmocka_unit_test(reset_leads_to_running_from_everywhere),
		cmocka_unit_test(a_new_client_finds_it_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
