// SPDX-License-Identifier: BSD-3-Clause
/* The control socket's methods that move devices: parameters, descriptors, ends. */
#include "control_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ON_DISK(method, more) \
	"{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"" method "\"," \
	"\"params\":{\"device\":\"disk\"" more "}}"

/* The descriptors go with the line's first byte. */
static void say_with(struct client *c, const char *line, const int *fds,
		     size_t n)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .hdr = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int) * n),
	} };
	struct iovec iov = { (void *)(uintptr_t)line, strlen(line) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n),
	};

	memcpy(CMSG_DATA(&control.hdr), fds, sizeof(int) * n);
	assert_int_equal(sendmsg(c->fd, &msg, MSG_NOSIGNAL), iov.iov_len);
	say_bytes(c, "\n", 1);
}

static void expect_asked(struct rig *rig, const char *what)
{
	for (unsigned i = 0; !seen.what || strcmp(seen.what, what); i++) {
		turn(rig);
		assert_true(i < TURNS);
	}
	seen.what = NULL;
}

/* What was asked for has ended. */
static void ends(int r, const char *why)
{
	struct ob_operation *op = seen.op;

	seen.op = NULL;
	op->dev = NULL;
	op->bytes = 4096;
	op->pages = 3;
	strcpy(op->err.msg, why);
	op->done(op, r);
}

static void what_takes_time_is_answered_later(void **state)
{
	static const char *const methods[] = {
		ON_DISK("device.quiesce", ""), ON_DISK("device.resume", ""),
		ON_DISK("pages.apply", ""),
	};
	static const char *const words[] = { "quiesce", "resume", "apply" };
	struct rig rig = start(&alone);
	struct client *c = come(&rig), *other = come(&rig);

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		say(c, methods[i]);
		expect_asked(&rig, words[i]);
		is_well(other);
		assert_int_equal(take_more(c), -1);
		ends(0, "");
		json_decref(result(c, 6));
		say(c, methods[i]);
		expect_asked(&rig, words[i]);
		ends(-EBUSY, "it is busy");
		is_refused(c, -32000, "it is busy");
		seen.rc = -EINVAL;
		say(c, methods[i]);
		is_refused(c, -32000, words[i]);
		seen.rc = 0;
	}
	go(other);
	go(c);
	finish(&rig);
}

static void what_is_done_at_once(void **state)
{
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	json_t *tree;

	(void)state;
	say(c, ON_DISK("device.log", ",\"on\":true"));
	tree = result(c, 6);
	assert_string_equal(json_string_value(json_object_get(json_object_get(
		tree, "migration"), "state")), "RUNNING");
	json_decref(tree);
	assert_true(seen.flag);
	say(c, ON_DISK("pages.finish", ""));
	json_decref(result(c, 6));
	seen.rc = -ENOENT;
	say(c, ON_DISK("pages.finish", ""));
	is_refused(c, -32000, "no finish today");
	seen.rc = 0;
	go(c);
	finish(&rig);
}

/* It arrives, as what was sent, and the rest of the connection is as ever. */
static void descriptors_come_along(void **state)
{
	static const char *const methods[] = {
		ON_DISK("device.save", ",\"live\":true"),
		ON_DISK("device.load", ""), ON_DISK("pages.out", ""),
		ON_DISK("pages.in", ""),
	};
	static const char *const words[] = { "save", "load", "out", "in" };
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	unsigned files = count_fds();
	struct stat sent, came;
	int pipe_fds[2];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pipe(pipe_fds), 0);
		say_with(c, methods[i], pipe_fds, 1);
		expect_asked(&rig, words[i]);
		assert_int_equal(seen.flag, i == 0);
		fstat(pipe_fds[0], &sent);
		fstat(seen.fd, &came);
		assert_int_equal(sent.st_ino, came.st_ino);
		assert_int_not_equal(fcntl(seen.fd, F_GETFD) & FD_CLOEXEC, 0);
		close(seen.fd);
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		ends(0, "");
		json_decref(result(c, 6));
	}
	assert_int_equal(count_fds(), files);
	go(c);
	finish(&rig);
}

/* Requests before it and behind it do not take it. */
static void a_descriptor_belongs_to_its_line(void **state)
{
	static const char before[] = CALL("inflight", 1) "\n" CALL("inflight", 2)
				     "\n{\"jsonrpc\":";
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	unsigned files = count_fds();
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	say(c, CALL("inflight", 1));
	say(c, CALL("inflight", 2));
	say_with(c, ON_DISK("device.load", ""), fds, 1);
	say(c, CALL("inflight", 3));
	json_decref(result(c, 1));
	json_decref(result(c, 2));
	expect_asked(&rig, "load");
	close(seen.fd);
	ends(0, "");
	json_decref(result(c, 6));
	json_decref(result(c, 3));
	/* Three in one piece: it is the last one's. */
	say_with(c, before, fds, 1);
	json_decref(result(c, 1));
	json_decref(result(c, 2));
	is_refused(c, -32700, "bad JSON");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(count_fds(), files);
	is_well(c);
	go(c);
	finish(&rig);
}

static void wrong_descriptors(void **state)
{
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	unsigned files = count_fds();
	int fds[16];

	(void)state;
	for (unsigned i = 0; i < 16; i += 2)
		assert_int_equal(pipe(fds + i), 0);
	say(c, ON_DISK("device.save", ""));
	is_refused(c, -32602, "has to come along");
	say_with(c, CALL("inflight", 1), fds, 1);
	is_refused(c, -32602, "no descriptor");
	for (unsigned n = 2; n <= 16; n++) {
		say_with(c, ON_DISK("device.save", ""), fds, n);
		is_refused(c, -32602, "one descriptor");
	}
	say_with(c, "nonsense", fds, 1);
	is_refused(c, -32700, "bad JSON");
	say_with(c, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"device.load\","
		 "\"params\":{\"device\":\"tape\"}}", fds, 1);
	is_refused(c, -32000, "no such device");
	assert_int_equal(seen.op != NULL, false);
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
	assert_int_equal(count_fds(), files);
	is_well(c);
	go(c);
	finish(&rig);
}

/* One came with the beginning of a line whose end never comes. */
static void one_goes_with_a_descriptor(void **state)
{
	struct rig rig = start(&alone);
	unsigned files = count_fds();
	struct client *c = come(&rig);
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	say_with(c, "{\"jsonrpc\"", fds, 1);
	for (unsigned i = 0; i < 10; i++)
		turn(&rig);
	close(fds[0]);
	close(fds[1]);
	go(c);
	assert_int_equal(count_fds(), files);
	finish(&rig);
}

static void who_goes_cancels(void **state)
{
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	say_with(c, ON_DISK("pages.in", ""), fds, 1);
	expect_asked(&rig, "in");
	close(seen.fd);
	go(c);
	expect_asked(&rig, "cancelled");
	assert_null(seen.op);
	close(fds[0]);
	close(fds[1]);
	finish(&rig);
}

static void wrong_parameters(void **state)
{
	static const struct {
		const char *line;
		const char *why;
	} wrong[] = {
		{ CALL("device.quiesce", 1), "needs device" },
		{ "{\"jsonrpc\":\"2.0\",\"method\":\"device.config\","
		  "\"params\":{\"device\":1}}", "device is text" },
		{ ON_DISK("device.log", ""), "needs on" },
		{ ON_DISK("device.log", ",\"on\":1"), "on is a boolean" },
		{ ON_DISK("device.save", ",\"live\":\"yes\""), "live is a boolean" },
		{ ON_DISK("device.save", ",\"alive\":true"),
		  "no parameter alive" },
		{ ON_DISK("device.resume", ",\"\\u0001\":1"), "no parameter" },
	};
	struct rig rig = start(&alone);
	struct client *c = come(&rig);

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		say(c, wrong[i].line);
		is_refused(c, -32602, wrong[i].why);
	}
	go(c);
	finish(&rig);
}

static void the_configuration_is_told(void **state)
{
	static const struct ob_option *const tables[] = {
		ob_device_common_options, NULL
	};
	struct rig rig = start(&alone);
	struct client *c = come(&rig);
	struct ob_err err = { "" };
	json_t *tree, *table;

	(void)state;
	assert_int_equal(ob_options_parse("null,id=disk", tables, &rig_options,
					  &err), 0);
	say(c, ON_DISK("device.config", ""));
	tree = result(c, 6);
	assert_int_equal(strlen(json_string_value(json_object_get(
		tree, "config"))), 512);
	assert_memory_equal(json_string_value(json_object_get(tree, "config")),
			    "361b00", 6);
	table = json_object_get(json_object_get(tree, "msix"), "table");
	assert_int_equal(json_array_size(table), 1);
	assert_int_equal(json_integer_value(json_object_get(
		json_array_get(table, 0), "entry")), 1);
	assert_string_equal(json_string_value(json_array_get(json_object_get(
		json_object_get(tree, "options"), "id"), 0)), "disk");
	table = json_object_get(tree, "drives");
	assert_int_equal(json_array_size(table), 1);
	table = json_array_get(table, 0);
	assert_int_equal(json_integer_value(json_object_get(table, "bytes")),
			 4096);
	assert_true(json_is_true(json_object_get(table, "read only")));
	assert_string_equal(json_string_value(json_object_get(
		table, "identity")), "inode 8:1:7");
	assert_true(json_is_null(json_object_get(table, "problem")));
	json_decref(tree);
	ob_options_destroy(rig_options);
	go(c);
	finish(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_takes_time_is_answered_later),
		cmocka_unit_test(what_is_done_at_once),
		cmocka_unit_test(descriptors_come_along),
		cmocka_unit_test(a_descriptor_belongs_to_its_line),
		cmocka_unit_test(wrong_descriptors),
		cmocka_unit_test(one_goes_with_a_descriptor),
		cmocka_unit_test(who_goes_cancels),
		cmocka_unit_test(wrong_parameters),
		cmocka_unit_test(the_configuration_is_told),
	};

	return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
