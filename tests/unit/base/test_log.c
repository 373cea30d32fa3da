// SPDX-License-Identifier: BSD-3-Clause
#include "unit.h"

#include <base/fd.h>
#include <base/log.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int real_stderr = -1, captured = -1;
static char text[65536];

static int capture(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	ob_log_set_level(OB_LOG_INFO);
	real_stderr = dup(STDERR_FILENO);
	captured = memfd_create("log", MFD_CLOEXEC);
	return dup2(captured, STDERR_FILENO) < 0;
}

static int release(void **state)
{
	(void)state;
	if (real_stderr >= 0)
		dup2(real_stderr, STDERR_FILENO);
	ob_fd_close(&real_stderr);
	ob_fd_close(&captured);
	return 0;
}

/* What was logged since the last call. */
static const char *logged(void)
{
	ssize_t n = pread(captured, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(captured, 0), 0);
	lseek(captured, 0, SEEK_SET);
	return text;
}

static unsigned count_lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void test_a_line_names_level_and_device(void **state)
{
	struct ob_log log = { .who = "disk0" };

	(void)state;
	ob_log(&log, OB_LOG_WARN, "queue %d is odd", 3);
	assert_string_equal(logged(), "warn disk0: queue 3 is odd\n");
	ob_log(NULL, OB_LOG_ERROR, "no");
	assert_string_equal(logged(), "error outboard: no\n");
}

static void test_the_journal_gets_priorities(void **state)
{
	struct ob_log log = { .who = "disk0" };

	(void)state;
	setenv("JOURNAL_STREAM", "8:1", 1);
	ob_log(&log, OB_LOG_ERROR, "a");
	ob_log(&log, OB_LOG_INFO, "b");
	assert_string_equal(logged(), "<3>error disk0: a\n<6>info disk0: b\n");
}

static void test_lines_above_the_level_are_not_printed(void **state)
{
	enum ob_log_level level;

	(void)state;
	ob_log(NULL, OB_LOG_DEBUG, "x");
	assert_string_equal(logged(), "");
	assert_int_equal(ob_log_parse_level("debug", &level), 0);
	ob_log_set_level(level);
	ob_log(NULL, OB_LOG_DEBUG, "x");
	assert_string_equal(logged(), "debug outboard: x\n");
	assert_int_equal(ob_log_parse_level("error", &level), 0);
	ob_log_set_level(level);
	ob_log(NULL, OB_LOG_WARN, "x");
	ob_log(NULL, OB_LOG_GUEST, "x");
	assert_string_equal(logged(), "");
	assert_int_equal(ob_log_parse_level("loud", &level), -EINVAL);
	assert_int_equal(ob_log_parse_level("guest", &level), -EINVAL);
}

static void test_r19_a_guest_cannot_flood_the_log(void **state)
{
	struct ob_log noisy = { .who = "noisy" }, quiet = { .who = "quiet" };
	unsigned lines;

	(void)state;
	for (int i = 0; i < 10000; i++)
		ob_log(&noisy, OB_LOG_GUEST, "bad doorbell");
	lines = count_lines(logged());
	/* The burst, and what came back while we wrote, on a slow machine. */
	assert_in_range(lines, 20, 5000);
	assert_true(noisy.held_back > 5000);
	/* Others have a bucket of their own, and our own lines none. */
	ob_log(&quiet, OB_LOG_GUEST, "bad doorbell");
	ob_log(&noisy, OB_LOG_ERROR, "own line");
	assert_string_equal(logged(), "guest quiet: bad doorbell\n"
			    "error noisy: own line\n");
}

static void test_r19_what_was_held_back_is_told(void **state)
{
	struct ob_log log = { .who = "disk0" };

	(void)state;
	while (log.held_back < 3)
		ob_log(&log, OB_LOG_GUEST, "again and again");
	logged();
	log.refill_ns -= UINT64_C(1000000000);	/* a second goes by */
	ob_log(&log, OB_LOG_GUEST, "now");
	assert_string_equal(logged(), "guest disk0: 3 lines held back\n"
			    "guest disk0: now\n");
	ob_log(&log, OB_LOG_GUEST, "then");
	assert_string_equal(logged(), "guest disk0: then\n");
}

static void test_a_peers_text_cannot_forge_a_line(void **state)
{
	(void)state;
	ob_log(NULL, OB_LOG_GUEST, "id \"%s\"", "a\nerror disk1: \x1b[2J");
	assert_string_equal(logged(),
			    "guest outboard: id \"a?error disk1: ?[2J\"\n");
}

static void test_a_long_line_is_cut_and_still_a_line(void **state)
{
	char longer[3000];
	const char *line;

	(void)state;
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	ob_log(NULL, OB_LOG_INFO, "%s", longer);
	line = logged();
	assert_int_equal(count_lines(line), 1);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_true(strlen(line) > 900);
}

static void test_errno_survives(void **state)
{
	(void)state;
	errno = EXDEV;
	ob_log(NULL, OB_LOG_INFO, "x");
	assert_int_equal(errno, EXDEV);
}

#define TEST(function) \
	cmocka_unit_test_setup_teardown(function, capture, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_line_names_level_and_device),
		TEST(test_the_journal_gets_priorities),
		TEST(test_lines_above_the_level_are_not_printed),
		TEST(test_r19_a_guest_cannot_flood_the_log),
		TEST(test_r19_what_was_held_back_is_told),
		TEST(test_a_peers_text_cannot_forge_a_line),
		TEST(test_a_long_line_is_cut_and_still_a_line),
		TEST(test_errno_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
