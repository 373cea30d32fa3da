// SPDX-License-Identifier: BSD-3-Clause
/* The command line of `outboard serve`: what is taken, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/options.h"

static struct ob_serve_options opts;
static struct ob_err err;

/* words ends with NULL. */
static int parse_words(const char *const *words)
{
	static char copies[16][64];
	char *argv[17] = { (char *)"serve" };
	int argc = 1;

	for (; words[argc - 1]; argc++) {
		strncpy(copies[argc - 1], words[argc - 1], 63);
		copies[argc - 1][63] = '\0';
		argv[argc] = copies[argc - 1];
	}
	argv[argc] = NULL;
	err.msg[0] = '\0';
	return ob_serve_options_parse(&opts, argc, argv, &err);
}

#define PARSE(...) parse_words((const char *const[]){ __VA_ARGS__, NULL })

static void expect_refusal(int rc, const char *message)
{
	assert_int_equal(rc, -EINVAL);
	assert_string_equal(err.msg, message);
	ob_serve_options_finish(&opts);
}

static void defaults(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--device", "null,socket=/s"), 0);
	assert_int_equal(opts.nr_devices, 1);
	assert_int_equal(opts.nr_loads, 0);
	assert_int_equal(opts.loop.engine, OB_LOOP_AUTO);
	assert_false(opts.loop.busy_poll);
	assert_int_equal(opts.log_level, OB_LOG_INFO);
	assert_false(opts.no_keeper);
	assert_false(opts.standby);
	assert_int_equal(opts.watchdog_ms, 2000);
	assert_int_equal(opts.grace_ms, 5000);
	assert_int_equal(opts.threads, 1);
	ob_serve_options_finish(&opts);
}

static void threads_are_1_to_16(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--device=b", "--threads", "16"), 0);
	assert_int_equal(opts.threads, 16);
	ob_serve_options_finish(&opts);
	expect_refusal(PARSE("--device=b", "--threads", "0"),
		       "--threads: '0' is no number from 1 to 16");
	expect_refusal(PARSE("--device=b", "--threads=17"),
		       "--threads: '17' is no number from 1 to 16");
	expect_refusal(PARSE("--device=b", "--threads", "two"),
		       "--threads: 'two' is no number from 1 to 16");
}

static void how_it_is_kept(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--device=b", "--standby", "--watchdog", "0",
			       "--grace=300", "--no-keeper"), 0);
	assert_true(opts.no_keeper);
	assert_true(opts.standby);
	assert_int_equal(opts.watchdog_ms, 0);
	assert_int_equal(opts.grace_ms, 300);
	ob_serve_options_finish(&opts);
	expect_refusal(PARSE("--device=b", "--watchdog", "soon"),
		       "--watchdog: 'soon' is no number up to 3600000");
	expect_refusal(PARSE("--device=b", "--watchdog", "-1"),
		       "--watchdog: '-1' is no number up to 3600000");
	expect_refusal(PARSE("--device=b", "--watchdog", "3600001"),
		       "--watchdog: '3600001' is no number up to 3600000");
	expect_refusal(PARSE("--device=b", "--grace", "1s"),
		       "--grace: '1s' is no number up to 3600000");
}

static void everything_given(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--device=b", "--load", "one.so", "--busy-poll",
			       "--io-engine=threads", "--log-level", "debug",
			       "--load=two.so"), 0);
	assert_int_equal(opts.nr_devices, 1);
	assert_int_equal(opts.nr_loads, 2);
	assert_int_equal(opts.loop.engine, OB_LOOP_POOL);
	assert_true(opts.loop.busy_poll);
	assert_int_equal(opts.log_level, OB_LOG_DEBUG);
	ob_serve_options_finish(&opts);
	assert_int_equal(PARSE("--device", "a", "--device", "b",
			       "--io-engine", "uring"), 0);
	assert_int_equal(opts.nr_devices, 2);
	assert_int_equal(opts.loop.engine, OB_LOOP_URING);
	ob_serve_options_finish(&opts);
}

static void refusals_name_the_word(void **state)
{
	(void)state;
	expect_refusal(PARSE("--busy-poll"),
		       "no device: give --device at least once");
	expect_refusal(PARSE("--devise", "x"),
		       "unknown or ambiguous option '--devise'");
	expect_refusal(PARSE("-d", "x"), "unknown option '-d'");
	expect_refusal(PARSE("--device"), "option '--device' needs a value");
	expect_refusal(PARSE("--busy-poll=1"),
		       "option '--busy-poll=1' takes no value");
	expect_refusal(PARSE("--device", "a", "b"), "unexpected argument 'b'");
	expect_refusal(PARSE("--io-engine", "aio"), "--io-engine: 'aio' is "
		       "none of auto, uring, threads");
	expect_refusal(PARSE("--log-level", "loud"), "--log-level: 'loud' is "
		       "none of error, warn, info, debug");
}

/* A second command line in one process is not confused by the first. */
static void parsing_starts_over(void **state)
{
	(void)state;
	expect_refusal(PARSE("--device", "a", "--nope", "--device", "b"),
		       "unknown or ambiguous option '--nope'");
	assert_int_equal(PARSE("--device", "c"), 0);
	assert_int_equal(opts.nr_devices, 1);
	ob_serve_options_finish(&opts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(everything_given),
		cmocka_unit_test(how_it_is_kept),
		cmocka_unit_test(threads_are_1_to_16),
		cmocka_unit_test(refusals_name_the_word),
		cmocka_unit_test(parsing_starts_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
