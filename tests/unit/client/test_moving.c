// SPDX-License-Identifier: BSD-3-Clause
/* migrate, save and load as a user runs them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "devices/models.h"
#include "forked.h"

#define REG_LIVENESS 4

static const char *command;
static char out[1 << 16];
static struct forked a, b;
static char dir[64];

static int start(void **state)
{
	(void)state;
	forked_start(&a, &ob_edu_class, "edu");
	forked_start(&b, &ob_edu_class, "edu");
	snprintf(dir, sizeof(dir), "/tmp/obmove.XXXXXX");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int stop(void **state)
{
	char line[128];

	(void)state;
	forked_stop(&a);
	forked_stop(&b);
	snprintf(line, sizeof(line), "rm -r %s", dir);
	return system(line);
}

/*
 * A shell line, in which $O is the program, $A and $B the sockets, $D a
 * folder; the exit status.
 */
static int run(const char *line)
{
	size_t len;
	FILE *f;

	setenv("O", command, 1);
	setenv("A", a.path, 1);
	setenv("B", b.path, 1);
	setenv("D", dir, 1);
	f = popen(line, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	return WEXITSTATUS(pclose(f));
}

static void says(const char *words)
{
	if (!strstr(out, words))
		fail_msg("no '%s' in:\n%s", words, out);
}

static void set_mark(const struct forked *server, uint32_t value)
{
	struct ob_client *client = forked_connect(server, NULL);

	assert_int_equal(ob_client_write(client, 0, REG_LIVENESS, &value, 4,
					 NULL), 0);
	ob_client_destroy(client);
}

/* The register gives the complement. */
static uint32_t mark(const struct forked *server)
{
	struct ob_client *client = forked_connect(server, NULL);
	uint32_t value = 0;

	assert_int_equal(ob_client_read(client, 0, REG_LIVENESS, &value, 4,
					NULL), 0);
	ob_client_destroy(client);
	return ~value;
}

static void migrate(void **state)
{
	(void)state;
	set_mark(&a, 0x1111);
	assert_int_equal(run("$O migrate $A $B 2>&1"), 0);
	says("Moved ");
	says("downtime ");
	says("phase");
	says("outboard migrate: run");
	assert_int_equal(mark(&b), 0x1111);

	set_mark(&b, 0x2222);
	assert_int_equal(run("$O migrate $B $A --precopy --bandwidth 100M "
			     "--downtime-limit 50 2>&1"), 0);
	says("round 1");
	assert_int_equal(mark(&a), 0x2222);
}

static void account_for_programs(void **state)
{
	json_t *tree, *phases;

	(void)state;
	assert_int_equal(run("$O migrate $A $B --precopy --json 2>$D/err"),
			 0);
	tree = json_loads(out, 0, NULL);
	assert_non_null(tree);
	assert_string_equal(json_string_value(json_object_get(tree,
							      "outcome")),
			    "moved");
	assert_int_equal(json_array_size(json_object_get(tree, "rounds")), 1);
	assert_true(json_integer_value(json_object_get(tree,
						       "device_bytes")) > 0);
	assert_true(json_real_value(json_object_get(tree,
						    "downtime_ms")) > 0);
	phases = json_object_get(tree, "phases_ms");
	assert_true(json_real_value(json_object_get(phases, "load")) > 0);
	json_decref(tree);
}

static void picture(void **state)
{
	(void)state;
	assert_int_equal(run("$O migrate $A $B --precopy --plot $D/p.svg "
			     "2>&1 && cat $D/p.svg"), 0);
	says("<svg xmlns=");
	says("</svg>");
	says("The blackout alone");
	says("round 1");
	assert_int_equal(run("python3 -c 'import sys; "
			     "from xml.dom.minidom import parse; "
			     "parse(sys.argv[1])' $D/p.svg 2>&1"), 0);
	/* Known before anything moves. */
	set_mark(&b, 3);
	assert_int_equal(run("$O migrate $B $A --plot /nowhere/p.svg 2>&1"),
			 1);
	says("/nowhere/p.svg");
	assert_int_equal(mark(&b), 3);
	assert_int_equal(run("$O migrate $B $A --plot /dev/full 2>&1"), 1);
}

static void save_and_load(void **state)
{
	struct stat st;
	char path[96];

	(void)state;
	set_mark(&a, 0xabcd);
	assert_int_equal(run("$O save $A $D/state 2>&1"), 0);
	says("drives are free");
	says("outboard load");
	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(stat(path, &st), 0);
	/* A guest's secrets may be in it. */
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(run("ls -A $D"), 0);
	assert_string_equal(out, "state\n");
	assert_int_equal(run("$O load $D/state $B 2>&1"), 0);
	says("the device goes on");
	assert_int_equal(mark(&b), 0xabcd);
}

static void through_a_pipe(void **state)
{
	(void)state;
	set_mark(&a, 0x7777);
	assert_int_equal(run("$O save $A - 2>$D/err | $O load - $B 2>&1"), 0);
	assert_int_equal(mark(&b), 0x7777);
	assert_int_equal(run("cat $D/err"), 0);
	says("drives are free");
}

/* The source goes on, and nothing is left of the file. */
static void save_that_fails(void **state)
{
	(void)state;
	set_mark(&a, 5);
	assert_int_equal(run("$O save $A /nowhere/state 2>&1"), 1);
	says("/nowhere/state");
	assert_int_equal(run("$O save $A /dev/full 2>&1"), 1);
	says("No space left");
	says("the source goes on");
	assert_int_equal(run("(trap '' PIPE; sleep 0.3; $O save $A - 2>&1 >&3 "
			     "3>&-; echo status $?) 3>&1 >$D/err | true; "
			     "sleep 0.6; cat $D/err"), 0);
	says("status 1");
	says("the source goes on");
	assert_int_equal(run("ulimit -f 0; trap '' XFSZ; "
			     "$O save $A $D/state 2>&1 | cat; ls -A $D"), 0);
	says("the source goes on");
	assert_null(strstr(out, "state."));
	assert_int_equal(mark(&a), 5);
	/* What was there before stays. */
	assert_int_equal(run("echo old >$D/state; ulimit -f 0; "
			     "trap '' XFSZ; $O save $A $D/state 2>/dev/null; "
			     "cat $D/state"), 0);
	says("old");
}

static void load_that_fails(void **state)
{
	(void)state;
	assert_int_equal(run("$O load $D/nothing $B 2>&1"), 1);
	says("No such file");
	assert_int_equal(run("echo nonsense | $O load - $B 2>&1"), 1);
	says(": destination: cannot");
	assert_int_equal(run("$O save $A $D/state 2>&1 && "
			     "head -c 100 $D/state | $O load - $B 2>&1"), 1);
	says("the server refuses");
	/* It can be tried again. */
	assert_int_equal(run("$O load $D/state $B 2>&1"), 0);
}

static pid_t begin(const char *line)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	return pid;
}

/* The reader does not read, so that save waits in the middle. */
static void save_that_is_interrupted(void **state)
{
	char path[96], line[512] = "";
	int status, fd;
	pid_t pid;

	(void)state;
	set_mark(&a, 9);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	/* A page is all that fits; the state of edu has its buffer. */
	assert_true(fcntl(fd, F_SETPIPE_SZ, 4096) >= 4096);
	assert_true(write(fd, line, 200) == 200);
	snprintf(line, sizeof(line), "exec %s save %s %s 2>%s/err", command,
		 a.path, path, dir);
	for (int i = 0; i < 19; i++)
		assert_true(write(fd, line, 200) == 200);
	pid = begin(line);
	usleep(300000);
	assert_int_equal(kill(pid, SIGINT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fd);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(run("cat $D/err"), 0);
	says("interrupted");
	says("the source goes on");
	assert_int_equal(mark(&a), 9);
}

static void refusals(void **state)
{
	struct ob_client *client;

	(void)state;
	assert_int_equal(run("$O migrate $A 2>&1"), 2);
	says("SOCKET-FROM and SOCKET-TO");
	assert_int_equal(run("$O migrate $A $B --bandwidth 1 2>&1"), 2);
	assert_int_equal(run("$O migrate $A $B --downtime-limit 0 2>&1"), 2);
	assert_int_equal(run("$O save $A 2>&1"), 2);
	assert_int_equal(run("$O load $A 2>&1"), 2);
	assert_int_equal(run("$O migrate $A /nowhere 2>&1"), 1);
	says("/nowhere");
	client = forked_connect(&b, NULL);
	assert_int_equal(run("$O migrate $A $B 2>&1"), 1);
	says("another client");
	ob_client_destroy(client);
	/* One device is another model. */
	forked_stop(&b);
	forked_start(&b, &ob_null_class, "null");
	set_mark(&a, 77);
	assert_int_equal(run("$O migrate $A $B --json 2>$D/err"), 1);
	says("\"error\":");
	says("\"stayed\"");
	assert_int_equal(run("cat $D/err"), 0);
	says("the source goes on");
	assert_int_equal(mark(&a), 77);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		CASE(migrate), CASE(account_for_programs), CASE(picture),
		CASE(save_and_load), CASE(through_a_pipe),
		CASE(save_that_fails), CASE(load_that_fails),
		CASE(save_that_is_interrupted), CASE(refusals),
	};

	if (argc < 2)
		return 77;
	command = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
