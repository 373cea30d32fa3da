// SPDX-License-Identifier: BSD-3-Clause
/*
 * The operator's verbs against a running server, whose worker dies under them:
 * upgrade, torture, inspect --inflight.  Argument: the command.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "command.h"

#define LONG "3600000"			/* a grace that does not end */

static struct child serve(const char *grace)
{
	struct child c = START("serve", "--control", "ctl", "--grace", grace,
			       "--device", "nvme,socket=s,drive=mem:1M");

	wait_for(&c, "outboard: ready: ");
	return c;
}

static void stop(struct child *server)
{
	kill(server->pid, SIGTERM);
	assert_int_equal(end(server), 0);
	assert_int_equal(access("s", F_OK), -1);
	assert_int_equal(access("ctl", F_OK), -1);
}

/* A member of what the command prints as JSON. */
static json_int_t number(struct child c, const char *key)
{
	json_t *tree;
	json_int_t value;

	assert_int_equal(end(&c), 0);
	tree = json_loads(strchr(c.text, '{'), 0, NULL);
	if (!json_is_integer(json_object_get(tree, key)))
		fail_msg("no %s in %s", key, c.text);
	value = json_integer_value(json_object_get(tree, key));
	json_decref(tree);
	return value;
}

static pid_t worker(void)
{
	return (pid_t)number(START("upgrade", "ctl", "--dry-run", "--json"),
			     "worker");
}

/* -- upgrade ----------------------------------------------------------- */

static void upgrade_is_misused(void **state)
{
	(void)state;
	expect(START("upgrade"), 2, "one CONTROL is");
	expect(START("upgrade", "a", "b"), 2, "one CONTROL is");
	expect(START("upgrade", "a", "--fast"), 2, "--fast");
	expect(START("upgrade", "a", "--to"), 2, "--to");
	expect(START("inspect", "--inflight"), 2, "");
}

static void nobody_is_there(void **state)
{
	char longer[200];
	FILE *f;

	(void)state;
	expect(START("upgrade", "no-such"), 1, "no-such: No such file");
	expect(START("inspect", "--inflight", "no-such"), 1, "No such file");
	f = fopen("file", "we");
	fclose(f);
	expect(START("upgrade", "file"), 1, "file: Connection refused");
	unlink("file");
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	expect(START("upgrade", longer), 1, "too long a path");
}

static void commands_in_flight_are_shown(void **state)
{
	struct child server = serve(LONG);

	(void)state;
	expect(START("inspect", "--inflight", "ctl"), 0, "model=nvme");
	expect(START("inspect", "--inflight", "--json", "ctl"), 0,
	       "\"commands\": []");
	stop(&server);
}

static void without_a_keeper(void **state)
{
	struct child server = START("serve", "--no-keeper", "--control", "ctl",
				    "--device", "null,socket=s");

	(void)state;
	wait_for(&server, "outboard: ready: ");
	expect(START("upgrade", "ctl"), 1, "no keeper");
	expect(START("inspect", "--inflight", "ctl"), 0, "null");
	stop(&server);
}

static void an_upgrade_that_goes_well(void **state)
{
	struct child server = serve("100"), c;
	pid_t before = worker(), after;

	(void)state;
	c = START("upgrade", "ctl");
	wait_for(&c, "serves after ");
	expect(c, 0, "outcome: done");
	after = worker();
	assert_int_not_equal(before, after);
	expect(START("upgrade", "ctl", "--dry-run"), 0, "outcome: possible");
	assert_true(number(START("upgrade", "ctl", "--dry-run", "--json"),
			   "estimated gap us") > 0);
	assert_int_equal(worker(), after);
	stop(&server);
}

static void a_binary_that_will_not_do(void **state)
{
	struct child server = serve(LONG);
	pid_t before = worker();

	(void)state;
	expect(START("upgrade", "ctl", "--to", "nothing"), 1, "nothing: No");
	expect(START("upgrade", "ctl", "--to", "/dev/null"), 1, "Permission");
	expect(START("upgrade", "ctl", "--to", "/bin/true"), 1,
	       "refused: the new binary died");
	expect(START("upgrade", "ctl", "--to", "/bin/true", "--dry-run"), 1,
	       "outcome: refused");
	assert_int_equal(worker(), before);
	stop(&server);
}

static void no_wait(void **state)
{
	struct child server = serve(LONG);

	(void)state;
	expect(START("upgrade", "ctl", "--no-wait"), 0, "outcome: switched");
	expect(START("upgrade", "ctl"), 1, "another upgrade is under way");
	/* In the time of grace the end is in order, too. */
	stop(&server);
}

static void a_death_in_the_time_of_grace_is_told(void **state)
{
	struct child server = serve(LONG), c;
	char *at;

	(void)state;
	c = START("upgrade", "ctl");
	wait_for(&c, "it is watched");
	at = strstr(c.text, "worker ");
	kill((pid_t)strtol(at + strlen("worker "), NULL, 10), SIGKILL);
	expect(c, 1, "refused: the worker died");
	wait_for(&server, "upgrade taken back");
	expect(START("upgrade", "ctl", "--no-wait"), 0, "outcome: switched");
	stop(&server);
}

/* It took the request, or did not; who comes next answers. */
static void a_death_before_the_answer_is_survived(void **state)
{
	struct child server = serve("100"), c;
	pid_t before;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		before = worker();
		assert_return_code(kill(before, SIGSTOP), errno);
		c = START("upgrade", "ctl");
		usleep(20000 * i);
		kill(before, SIGKILL);
		expect(c, 0, "outcome: done");
	}
	stop(&server);
}

static void the_end_of_the_server_is_told(void **state)
{
	struct child server = serve(LONG), c;

	(void)state;
	c = START("upgrade", "ctl");
	wait_for(&c, "it is watched");
	kill_now(&server);
	expect(c, 1, "nobody tells what became of it");
	unlink("ctl");
	unlink("s");
}

/* -- torture ----------------------------------------------------------- */

static void torture_is_misused(void **state)
{
	static const struct {
		const char *word, *value, *why;
	} wrong[] = {
		{ "--every", "soon", "no time" },
		{ "--every", "-1", "no time" },
		{ "--for", "3 weeks", "no time" },
		{ "--for", "nan", "no time" },
		{ "--kills", "many", "--kills" },
		{ "--queues", "0", "queues" },
		{ "--queues", "17", "queues" },
		{ "--depth", "0", "depth" },
		{ "--depth", "257", "depth" },
		{ "--no-keeper", NULL, "--kills 0" },
		{ "disk", NULL, "unexpected argument 'disk'" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect(START("torture", wrong[i].word, wrong[i].value), 2,
		       wrong[i].why);
}

static void torture_cannot_start(void **state)
{
	(void)state;
	expect(START("torture", "--server", "/no/such"), 1, "/no/such: ");
	expect(START("torture", "--upgrade=/no/such"), 1, "/no/such: ");
	expect(START("torture", "--drive", "file:/no/such"), 1,
	       "does not start");
	expect(START("torture", "--drive", "mem:1M", "--kills", "1"), 1,
	       "the disk is too small");
	expect(START("torture", "--server", "/bin/true"), 1,
	       "does not start");
}

static void torture_tells(void **state)
{
	(void)state;
	expect(START("torture", "--kills", "3", "--every", "5ms", "--for",
		     "60s", "--seed", "9", "--drive", "mem:64M"), 0,
	       "completed twice  0");
	assert_int_equal(number(START("torture", "--kills", "2", "--every",
				      "5ms", "--for", "60s", "--json"),
				"kills"), 2);
	expect(START("torture", "--kills", "100000", "--for", "200ms"), 1,
	       "events happened in time");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		COMMAND_TEST(upgrade_is_misused),
		COMMAND_TEST(nobody_is_there),
		COMMAND_TEST(commands_in_flight_are_shown),
		COMMAND_TEST(without_a_keeper),
		COMMAND_TEST(an_upgrade_that_goes_well),
		COMMAND_TEST(a_binary_that_will_not_do),
		COMMAND_TEST(no_wait),
		COMMAND_TEST(a_death_in_the_time_of_grace_is_told),
		COMMAND_TEST(a_death_before_the_answer_is_survived),
		COMMAND_TEST(the_end_of_the_server_is_told),
		COMMAND_TEST(torture_is_misused),
		COMMAND_TEST(torture_cannot_start),
		COMMAND_TEST(torture_tells),
	};

	if (argc != 2 || !(command = realpath(argv[1], NULL)))
		return 2;
	return cmocka_run_group_tests(tests, command_setup, command_teardown);
}
