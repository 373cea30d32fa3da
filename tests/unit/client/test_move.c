// SPDX-License-Identifier: BSD-3-Clause
/* What is to be seen of a move: bar, lines, table, tree, picture. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "move.h"

#define MIB (UINT64_C(1) << 20)
#define MS UINT64_C(1000000)

static struct move_view view;
static struct ob_migrate_result result;
static char *text;
static size_t length;

static void open_text(bool bar)
{
	move_view_init(&view, "migrate");
	view.bar = bar;
	view.to = open_memstream(&text, &length);
	assert_non_null(view.to);
}

static void close_text(void)
{
	fclose(view.to);
	view.to = NULL;
}

static void says(const char *words)
{
	if (!strstr(text, words))
		fail_msg("no '%s' in:\n%s", words, text);
}

static unsigned count(const char *words)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, words)); at++)
		n++;
	return n;
}

static int progress(enum ob_migrate_step step, unsigned round, uint64_t ms,
		    uint64_t sent, uint64_t left)
{
	struct ob_migrate_progress now = {
		.step = step, .round = round, .elapsed_ns = ms * MS,
		.device_bytes = sent, .left = left, .rate = 100.0 * MIB,
		.dirty_rate = round > 1 ? 3.0 * MIB : 0,
	};

	return move_ops.progress(&view, &now);
}

/* Three rounds of a guest that writes, and a blackout. */
static void an_account(void)
{
	result = (struct ob_migrate_result){
		.outcome = OB_MIGRATE_MOVED, .converged = true,
		.total_ns = 1003 * MS, .blackout_ns = 1000 * MS,
		.downtime_ns = 3 * MS, .device_bytes = 701 * MIB,
		.last_device_bytes = MIB, .nr_rounds = 3,
	};
	for (unsigned i = 0; i < 3; i++)
		result.rounds[i] = (struct ob_migrate_round){
			.start_ns = (i * 300 + 10) * MS, .ns = 300 * MS,
			.device_bytes = (400 >> i) * MIB,
			.left = (200 >> i) * MIB, .dirty_rate = 5e8,
		};
	result.steps[OB_MIGRATE_STOP_COPY].total_ns = 2 * MS;
	result.steps[OB_MIGRATE_LAST_DATA].total_ns = 700000;
	result.steps[OB_MIGRATE_LOAD].total_ns = 200000;
	result.steps[OB_MIGRATE_RUN].total_ns = 100000;
}

static void a_bar_on_a_terminal(void **state)
{
	(void)state;
	open_text(true);
	move_ops.step(&view, OB_MIGRATE_CHECK, 0);
	assert_int_equal(progress(OB_MIGRATE_DATA, 1, 1, 25 * MIB, 75 * MIB),
			 0);
	assert_int_equal(progress(OB_MIGRATE_DATA, 1, 50, 30 * MIB, 70 * MIB),
			 0);
	assert_int_equal(progress(OB_MIGRATE_DATA, 2, 150, 50 * MIB,
				  50 * MIB), 0);
	move_view_end(&view);
	close_text();
	says("copy, round 1        [######..................]  25 %  25 MiB, "
	     "75 MiB left  100 MiB/s");
	says("copy, round 2        [############............]  50 %");
	says("dirty 3 MiB/s");
	/* Not more often than eyes can follow, and gone at the end. */
	assert_null(strstr(text, "30 MiB"));
	assert_string_equal(text + length - 4, "\r\033[K");
	free(text);
}

static void lines_elsewhere(void **state)
{
	(void)state;
	open_text(false);
	move_ops.step(&view, OB_MIGRATE_CHECK, 0);
	move_ops.step(&view, OB_MIGRATE_PRE_COPY, 0);
	for (unsigned i = 0; i < 50; i++)
		progress(OB_MIGRATE_DATA, 1 + i / 25, i, i * MIB,
			 (50 - i) * MIB);
	move_ops.step(&view, OB_MIGRATE_STOP_GUEST, 0);
	move_ops.step(&view, OB_MIGRATE_LOAD, 0);
	move_ops.step(&view, OB_MIGRATE_RUN, 0);
	move_ops.step(&view, OB_MIGRATE_GO_BACK, 0);
	move_view_end(&view);
	close_text();
	assert_int_equal(count("\n"), 7);
	says("outboard migrate: copy, round 2 (25 MiB left)\n");
	says("outboard migrate: stop, copy the rest (1 MiB left)\n");
	says("outboard migrate: load\n");
	says("outboard migrate: go back\n");
	assert_null(strchr(text, '\r'));
	free(text);
}

static void a_pipe_has_no_end_and_a_file_has(void **state)
{
	(void)state;
	open_text(true);
	progress(OB_MIGRATE_DATA, 0, 1, 25 * MIB, 0);
	view.expected = 100 * MIB;
	progress(OB_MIGRATE_DATA, 0, 1000, 50 * MIB, 0);
	close_text();
	says("\rcopy                  25 MiB  100 MiB/s");
	says("[############............]  50 %  50 MiB, 50 MiB left");
	free(text);
}

/* However long it takes, and evenly. */
static void samples_are_bounded(void **state)
{
	(void)state;
	open_text(false);
	for (unsigned i = 0; i < 100000; i++)
		progress(OB_MIGRATE_DATA, 1, i, i, 100000 - i);
	close_text();
	free(text);
	assert_in_range(view.nr_samples, MOVE_MAX_SAMPLES / 2,
			MOVE_MAX_SAMPLES);
	for (unsigned i = 1; i < view.nr_samples; i++)
		assert_int_equal(view.samples[i].ns - view.samples[i - 1].ns,
				 view.step * MS);
	assert_in_range(view.samples[view.nr_samples - 1].sent, 99000,
			100000);
}

static void a_table(void **state)
{
	(void)state;
	an_account();
	open_text(false);
	move_print(view.to, &result);
	close_text();
	says("Moved 701 MiB in 1.00 s, downtime 3.0 ms, 3 rounds\n");
	says("round 2     300.0 ms     200 MiB   666.7 MiB/s     100 MiB");
	says("stop          2.0 ms");
	says("rest          700 us       1 MiB");
	says("load          200 us");
	says("run           100 us");
	free(text);

	result.converged = false;
	open_text(false);
	move_print(view.to, &result);
	close_text();
	says("3 rounds, which did not converge");
	free(text);
}

static void a_picture(void **state)
{
	(void)state;
	an_account();
	open_text(false);
	for (unsigned i = 0; i < 90; i++)
		view.samples[view.nr_samples++] = (struct move_sample){
			.ns = (10 + i * 10) * MS, .sent = i * 7 * MIB,
			.left = ((400 >> i / 30) - i % 30 * (6 >> i / 30)) *
				MIB,
		};
	assert_int_equal(move_plot(view.to, &result, &view,
				   &(struct ob_err){ 0 }), 0);
	close_text();
	says("Moved 701 MiB in 1.00 s, downtime 3.0 ms");
	says(">round 3<");
	says("stop 2.0 ms");
	says("rest 700 us, 1 MiB");
	says("since the guest stopped, ms");
	says("512 MiB");
	assert_int_equal(count("<polyline"), 2);
	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "inf"));
	free(text);
}

/* It ended before anything was sent. */
static void a_picture_of_nothing(void **state)
{
	struct ob_err err = { 0 };
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	memset(&result, 0, sizeof(result));
	open_text(false);
	assert_int_equal(move_plot(view.to, &result, &view, &err), 0);
	close_text();
	says("Not moved");
	says("</svg>");
	assert_null(strstr(text, "nan"));
	free(text);
	assert_non_null(full);
	assert_int_equal(move_plot(full, &result, &view, &err), -EIO);
	fclose(full);
}

static void a_tree(void **state)
{
	json_t *tree, *rounds;

	(void)state;
	an_account();
	tree = move_describe(&result);
	assert_string_equal(json_string_value(json_object_get(tree,
							      "outcome")),
			    "moved");
	rounds = json_object_get(tree, "rounds");
	assert_int_equal(json_array_size(rounds), 3);
	assert_int_equal(json_integer_value(json_object_get(
		json_array_get(rounds, 1), "left_bytes")), 100 * MIB);
	assert_null(json_object_get(tree, "note"));
	json_decref(tree);
	result.outcome = OB_MIGRATE_STUCK;
	strcpy(result.note, "source: it is broken");
	tree = move_describe(&result);
	assert_string_equal(json_string_value(json_object_get(tree, "note")),
			    "source: it is broken");
	json_decref(tree);
}

static void times(void **state)
{
	char buf[MOVE_TIME_MAX];

	(void)state;
	assert_string_equal(move_time(1500, buf), "2 us");
	assert_string_equal(move_time(999999, buf), "1000 us");
	assert_string_equal(move_time(1540000, buf), "1.5 ms");
	assert_string_equal(move_time(61 * 1000 * MS, buf), "61.00 s");
}

static void a_signal_ends_it(void **state)
{
	(void)state;
	move_catch_signals();
	assert_false(move_interrupted());
	open_text(false);
	assert_int_equal(move_ops.step(&view, OB_MIGRATE_CHECK, 0), 0);
	assert_int_equal(raise(SIGINT), 0);
	assert_true(move_interrupted());
	assert_int_equal(move_ops.step(&view, OB_MIGRATE_CHECK, 0), -EINTR);
	assert_int_equal(progress(OB_MIGRATE_DATA, 1, 1, 1, 1), -EINTR);
	close_text();
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bar_on_a_terminal),
		cmocka_unit_test(lines_elsewhere),
		cmocka_unit_test(a_pipe_has_no_end_and_a_file_has),
		cmocka_unit_test(samples_are_bounded),
		cmocka_unit_test(a_table),
		cmocka_unit_test(a_picture),
		cmocka_unit_test(a_picture_of_nothing),
		cmocka_unit_test(a_tree),
		cmocka_unit_test(times),
		cmocka_unit_test(a_signal_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
