// SPDX-License-Identifier: BSD-3-Clause
/*
 * The control socket: what is answered to requests, to nonsense, to clients that
 * are slow, many or gone, and who may connect.
 */
#include "control_rig.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 32u		/* for clients */
#define TOO_LONG 16384u		/* for a line */

/* -- methods ----------------------------------------------------------- */

static void the_status_is_the_keepers(void **state)
{
	struct ob_keeper_status status = {
		.generation = 3, .last_gap_us = 900, .ticket = 44,
		.last_upgrade = OB_UPGRADE_SWITCHED, .why = "d\xc3\xa9ja \xc3",
	};
	struct rig rig = start(&kept);
	struct client *c = come(&rig);
	json_t *tree, *keeper, *device;

	(void)state;
	host.id = "\xff\xfe";
	say(c, CALL("status", 1));
	while (!host.asked)
		turn(&rig);
	ob_control_status(rig.control, &status);
	tree = result(c, 1);
	keeper = json_object_get(tree, "keeper");
	device = json_array_get(json_object_get(tree, "devices"), 0);
	assert_int_equal(json_integer_value(json_object_get(keeper, "ticket")),
			 44);
	assert_string_equal(json_string_value(json_object_get(keeper,
							      "upgrade")),
			    "switched");
	assert_string_equal(json_string_value(json_object_get(keeper, "why")),
			    "d??ja ?");
	assert_string_equal(json_string_value(json_object_get(device, "id")),
			    "??");
	json_decref(tree);
	host.rc = -EPIPE;
	say(c, CALL("status", 2));
	is_refused(c, -32000, "cannot be asked");
	go(c);
	finish(&rig);
}

static void without_a_keeper(void **state)
{
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	json_t *tree;

	(void)state;
	say(c, CALL("status", 1));
	tree = result(c, 1);
	assert_true(json_is_null(json_object_get(tree, "keeper")));
	json_decref(tree);
	say(c, CALL("upgrade", 2));
	is_refused(c, -32000, "no keeper");
	go(c);
	finish(&rig);
}

#define UPGRADE(params) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"upgrade\",\"id\":5,\"params\":" \
	params "}"

static void upgrades_are_passed_on(void **state)
{
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	say(c, UPGRADE("{}"));
	json_decref(result(c, 5));
	assert_int_equal(host.upgrades, 1);
	assert_int_equal(host.flags, 0);
	assert_int_equal(host.ticket, 0);
	assert_true(host.has_binary);
	say(c, UPGRADE("{\"binary\":\"/bin/sh\",\"dry_run\":true,"
		       "\"ticket\":2147483647}"));
	json_decref(result(c, 5));
	assert_int_equal(host.flags, OB_UPGRADE_DRY_RUN);
	assert_int_equal(host.ticket, INT32_MAX);
	host.rc = -EMFILE;
	say(c, UPGRADE("{}"));
	is_refused(c, -32000, "the keeper: ");
	go(c);
	finish(&rig);
}

static void wrong_upgrades(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *why;
	} wrong[] = {
		{ UPGRADE("[]"), -32602, "not an object" },
		{ UPGRADE("{\"binary\":1}"), -32602, "binary is text" },
		{ UPGRADE("{\"dry_run\":\"yes\"}"), -32602, "a boolean" },
		{ UPGRADE("{\"ticket\":\"a\"}"), -32602, "31 bits" },
		{ UPGRADE("{\"ticket\":-1}"), -32602, "31 bits" },
		{ UPGRADE("{\"ticket\":2147483648}"), -32602, "31 bits" },
		{ UPGRADE("{\"binary\":\"sh\"}"), -32000, "not a full path" },
		{ UPGRADE("{\"binary\":\"\"}"), -32000, "not a full path" },
		{ UPGRADE("{\"binary\":\"/no/such\"}"), -32000, "/no/such: " },
		{ UPGRADE("{\"binary\":\"/proc/version\"}"), -32000,
		  "Permission denied" },
	};
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		say(c, wrong[i].line);
		is_refused(c, wrong[i].code, wrong[i].why);
	}
	assert_int_equal(host.upgrades, 0);
	go(c);
	finish(&rig);
}

/* -- nonsense ---------------------------------------------------------- */

/* Each is answered, and the next request is as good as ever. */
static void nonsense_is_answered(void **state)
{
	static const struct {
		const char *line;
		int code;
	} wrong[] = {
		{ "", -32700 }, { "{", -32700 }, { "status", -32700 },
		{ "GET / HTTP/1.1\r", -32700 }, { "{\"a\":1,\"a\":2}", -32700 },
		{ "\xff\xfe\xfd", -32700 }, { "{\"jsonrpc\":\"\xc3\"}", -32700 },
		{ "{\"jsonrpc\":\"2.0\\u0000\"}", -32700 },
		{ "{\"jsonrpc\":\"2.0\"} {}", -32700 },
		{ "[[[[[[[[[]]]]]]]]]", -32700 }, { "1e999", -32700 },
		{ "[]", -32600 }, { "{}", -32600 },
		{ "{\"jsonrpc\":2.0,\"method\":\"status\"}", -32600 },
		{ "{\"jsonrpc\":\"1.0\",\"method\":\"status\"}", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"method\":7}", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"id\":{}}",
		  -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"id\":1.5}",
		  -32600 },
		{ CALL("", 1), -32601 }, { CALL("stop", 1), -32601 },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"params\":0}",
		  -32602 },
	};
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		say(c, wrong[i].line);
		is_refused(c, wrong[i].code, "");
		is_well(c);
	}
	say_bytes(c, "\0\0\n", 3);
	is_refused(c, -32700, "bad JSON");
	is_well(c);
	assert_int_equal(host.asked, 0);
	go(c);
	finish(&rig);
}

static void deep_nesting_is_refused(void **state)
{
	struct rig rig = start(&kept);
	struct client *c = come(&rig);
	char line[TOO_LONG];

	(void)state;
	memset(line, '[', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	line[sizeof(line) - 2] = '\0';
	say(c, line);
	is_refused(c, -32700, "nested too deeply");
	is_well(c);
	go(c);
	finish(&rig);
}

static void a_line_without_end_ends_the_connection(void **state)
{
	struct rig rig = start(&kept);
	struct client *c = come(&rig), *other = come(&rig);
	char line[TOO_LONG];

	(void)state;
	memset(line, ' ', sizeof(line));
	say_bytes(c, line, sizeof(line) - 1);
	say_bytes(c, " ", 1);
	is_refused(c, -32700, "too long");
	is_let_go(c);
	is_well(other);
	go(c);
	go(other);
	finish(&rig);
}

/* Random bytes in lines of any length: an answer for each, or the end. */
static void noise(void **state)
{
	struct rig rig = start(&kept);
	uint32_t dice = 1;

	(void)state;
	for (unsigned n = 0; n < 300; n++) {
		struct client *c = come(&rig);
		char bytes[512];

		for (unsigned i = 0; i < sizeof(bytes); i++) {
			dice = dice * 1664525u + 1013904223u;
			bytes[i] = "{}[]\":,\\u02.e-tn\n \xc3"[dice >> 24 & 15];
			if (dice >> 28 == 7)
				bytes[i] = (char)(dice >> 16);
		}
		say_bytes(c, bytes, sizeof(bytes));
		for (unsigned i = 0; i < 50 && take_more(c); i++)
			turn(&rig);
		go(c);
	}
	assert_int_equal(host.upgrades, 0);
	finish(&rig);
}

/* -- clients ----------------------------------------------------------- */

static void requests_come_in_any_pieces(void **state)
{
	static const char two[] = CALL("inflight", 1) "\n" CALL("inflight", 2)
				  "\n" CALL("status", 3) "\n"
				  CALL("inflight", 4) "\n";
	const struct ob_keeper_status status = { .generation = 1 };
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	for (const char *at = two; *at; at++) {
		say_bytes(c, at, 1);
		turn(&rig);
	}
	json_decref(result(c, 1));
	json_decref(result(c, 2));
	/* One at a time: the fourth waits for the third. */
	while (!host.asked)
		turn(&rig);
	turn(&rig);
	assert_int_equal(take_more(c), -1);
	ob_control_status(rig.control, &status);
	json_decref(result(c, 3));
	json_decref(result(c, 4));
	go(c);
	finish(&rig);
}

/* It asks and asks and does not read; what it asked is answered in the end. */
static void a_slow_reader_is_waited_for(void **state)
{
	struct rig rig = start(&alone);
	struct client *c = come(&rig), *other = come(&rig);
	unsigned asked = 0;

	(void)state;
	host.inflight = 600;	/* some 60 KiB each */
	for (unsigned i = 0; i < 4000; i++) {
		static const char line[] = CALL("inflight", 9) "\n";
		ssize_t n = send(c->fd, line, sizeof(line) - 1,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			break;
		assert_int_equal(n, sizeof(line) - 1);
		asked++;
		turn(&rig);
	}
	assert_true(asked > 10);
	is_well(other);
	for (unsigned i = 0; i < asked; i++)
		json_decref(result(c, 9));
	go(c);
	go(other);
	finish(&rig);
}

static void one_may_go_while_its_answer_is_due(void **state)
{
	const struct ob_keeper_status status = { .generation = 1 };
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	say(c, CALL("status", 1));
	while (!host.asked)
		turn(&rig);
	go(c);
	ob_control_status(rig.control, &status);
	c = come(&rig);
	is_well(c);
	go(c);
	finish(&rig);
}

static void one_may_stop_to_speak_and_go_on_to_hear(void **state)
{
	const struct ob_keeper_status status = { .generation = 1 };
	struct rig rig = start(&kept);
	struct client *c = come(&rig);

	(void)state;
	say(c, CALL("status", 1));
	shutdown(c->fd, SHUT_WR);
	while (!host.asked)
		turn(&rig);
	turn(&rig);
	ob_control_status(rig.control, &status);
	json_decref(result(c, 1));
	is_let_go(c);
	go(c);
	finish(&rig);
}

static void there_is_room_for_some(void **state)
{
	struct rig rig = start(&kept);
	struct client *all[PLACES], *more;
	unsigned files;

	(void)state;
	for (unsigned i = 0; i < PLACES; i++)
		all[i] = come(&rig);
	files = count_fds();
	for (unsigned i = 0; i < 500; i++) {
		more = come(&rig);
		is_let_go(more);
		go(more);
	}
	assert_int_equal(count_fds(), files);
	for (unsigned i = 0; i < PLACES; i++)
		is_well(all[i]);
	go(all[3]);
	more = come(&rig);
	is_well(more);
	all[3] = more;
	for (unsigned i = 0; i < PLACES; i++)
		go(all[i]);
	finish(&rig);
}

static void clients_come_and_go(void **state)
{
	struct rig rig = start(&kept);
	unsigned files = count_fds();

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct client *c = come(&rig);

		if (i % 3)
			is_well(c);
		go(c);
	}
	assert_int_equal(count_fds(), files);
	finish(&rig);
}

/* -- the socket -------------------------------------------------------- */

static int refusal(const char *at)
{
	struct ob_control *control = NULL;
	struct ob_err err = { "" };
	struct ob_loop *loop;
	int r;

	assert_int_equal(ob_loop_create(NULL, &loop, &err), 0);
	r = ob_control_create(loop, at, &alone, &control, &err);
	assert_true(r < 0);
	assert_non_null(strstr(err.msg, "control"));
	ob_control_destroy(control, false);
	ob_loop_destroy(loop);
	return r;
}

static void what_is_in_the_way_stays(void **state)
{
	struct rig rig = start(&kept);
	char longer[200];
	FILE *f;

	(void)state;
	assert_int_equal(refusal(rig_path), -EADDRINUSE);
	finish(&rig);
	f = fopen(rig_path, "we");
	fclose(f);
	assert_int_equal(refusal(rig_path), -EADDRINUSE);
	assert_int_equal(access(rig_path, F_OK), 0);
	unlink(rig_path);
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(refusal(longer), -EINVAL);
	assert_int_equal(refusal(""), -EINVAL);
	assert_int_equal(refusal("/no/such/folder/x"), -ENOENT);
}

static void a_dead_ones_socket_is_replaced(void **state)
{
	struct rig rig = start(&kept);
	struct client *c;

	(void)state;
	ob_control_destroy(rig.control, false);
	ob_loop_destroy(rig.loop);
	assert_int_equal(access(rig_path, F_OK), 0);
	assert_int_equal(dial(), -ECONNREFUSED);
	rig = start(&kept);
	c = come(&rig);
	is_well(c);
	go(c);
	finish(&rig);
}

/* R33.  As another user: what connecting says, and whether it is let go. */
static int as_nobody(struct rig *rig)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct pollfd p = { .events = POLLIN };

		if (setgid(65534) || setuid(65534))
			_exit(100);
		p.fd = dial();
		if (p.fd < 0)
			_exit(-p.fd);
		_exit(poll(&p, 1, 20000) == 1 && (p.revents & POLLHUP) ? 0 :
		      101);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		turn(rig);
	return WEXITSTATUS(status);
}

static void test_r33_the_socket_is_its_owners(void **state)
{
	struct rig rig = start(&kept);
	struct stat st;

	(void)state;
	assert_return_code(stat(rig_path, &st), errno);
	assert_int_equal(st.st_mode & 07777, 0600);
	if (geteuid() == 0) {
		assert_return_code(chmod(rig_dir, 0755), errno);
		assert_int_equal(as_nobody(&rig), EACCES);
		assert_return_code(chmod(rig_path, 0666), errno);
		assert_int_equal(as_nobody(&rig), 0);
	}
	finish(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_status_is_the_keepers),
		cmocka_unit_test(without_a_keeper),
		cmocka_unit_test(upgrades_are_passed_on),
		cmocka_unit_test(wrong_upgrades),
		cmocka_unit_test(nonsense_is_answered),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(a_line_without_end_ends_the_connection),
		cmocka_unit_test(noise),
		cmocka_unit_test(requests_come_in_any_pieces),
		cmocka_unit_test(a_slow_reader_is_waited_for),
		cmocka_unit_test(one_may_go_while_its_answer_is_due),
		cmocka_unit_test(one_may_stop_to_speak_and_go_on_to_hear),
		cmocka_unit_test(there_is_room_for_some),
		cmocka_unit_test(clients_come_and_go),
		cmocka_unit_test(what_is_in_the_way_stays),
		cmocka_unit_test(a_dead_ones_socket_is_replaced),
		cmocka_unit_test(test_r33_the_socket_is_its_owners),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
