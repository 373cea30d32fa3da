// SPDX-License-Identifier: BSD-3-Clause
/*
 * The control socket, with a host in the test's hands: what is answered to
 * requests, to nonsense, to clients that are slow, many or gone, and who may
 * connect.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "../open_fds.h"
#include "daemon/control.h"
#include "server/operator.h"
#include "server/server.h"

#define TURNS 20000
#define PLACES 32u		/* for clients */
#define TOO_LONG 16384u		/* for a line */

static char dir[] = "/tmp/outboard-control-XXXXXX", path[64];

/* -- what stands behind it --------------------------------------------- */

static struct host {
	unsigned asked, upgrades, flags, inflight;
	int32_t ticket;
	int rc;
	bool has_binary;
	const char *id;
} host;

static char a_device;

void ob_device_status(struct ob_device *dev, struct ob_device_status *out)
{
	(void)dev;
	*out = (struct ob_device_status){
		.id = host.id, .model = "null", .address = "unix:x",
		.step = 7, .state_bytes = 4096,
	};
}

void ob_device_inflight(struct ob_device *dev,
			void (*each)(void *arg,
				     const struct ob_device_inflight *io),
			void *arg)
{
	const struct ob_device_inflight io = {
		.queue = 1, .operation = "read", .phase = "drive",
		.bytes = 4096, .age_us = 17,
	};

	(void)dev;
	for (unsigned i = 0; i < host.inflight; i++)
		each(arg, &io);
}

/* What an operator asks of a device: noted, and ended by the test. */

static struct {
	const char *what;
	struct ob_operation *op;
	int fd, rc;
	bool flag;
} seen = { .fd = -1 };

static int ask(const char *what, struct ob_operation *op, int fd, bool flag)
{
	seen.what = what;
	seen.fd = fd;
	seen.flag = flag;
	if (seen.rc)
		return ob_fail(&op->err, -seen.rc, "no %s today", what);
	seen.op = op;
	op->dev = (struct ob_device *)&a_device;
	return -EINPROGRESS;
}

int ob_operator_quiesce(struct ob_device *dev, struct ob_operation *op)
{
	(void)dev;
	return ask("quiesce", op, -1, false);
}

int ob_operator_resume(struct ob_device *dev, struct ob_operation *op)
{
	(void)dev;
	return ask("resume", op, -1, false);
}

int ob_operator_save(struct ob_device *dev, struct ob_operation *op, int fd,
		     bool live)
{
	(void)dev;
	return ask("save", op, fd, live);
}

int ob_operator_load(struct ob_device *dev, struct ob_operation *op, int fd)
{
	(void)dev;
	return ask("load", op, fd, false);
}

int ob_operator_pages_out(struct ob_device *dev, struct ob_operation *op,
			  int fd)
{
	(void)dev;
	return ask("out", op, fd, false);
}

int ob_operator_pages_in(struct ob_device *dev, struct ob_operation *op, int fd)
{
	(void)dev;
	return ask("in", op, fd, false);
}

int ob_operator_pages_apply(struct ob_device *dev, struct ob_operation *op)
{
	(void)dev;
	return ask("apply", op, -1, false);
}

int ob_operator_log(struct ob_device *dev, bool on, struct ob_err *err)
{
	(void)dev;
	seen.what = "log";
	seen.flag = on;
	return seen.rc ? ob_fail(err, -seen.rc, "no log today") : 0;
}

int ob_operator_pages_finish(struct ob_device *dev, struct ob_err *err)
{
	(void)dev;
	seen.what = "finish";
	return seen.rc ? ob_fail(err, -seen.rc, "no finish today") : 0;
}

void ob_operation_cancel(struct ob_operation *op)
{
	assert_ptr_equal(op, seen.op);
	seen.op = NULL;
	seen.what = "cancelled";
}

void ob_operator_status(struct ob_device *dev, struct ob_operator_status *out)
{
	(void)dev;
	*out = (struct ob_operator_status){
		.state = "RUNNING", .owner = "nobody", .stream = "none",
		.pages = "none",
	};
}

void ob_operator_config(struct ob_device *dev, struct ob_operator_config *out)
{
	(void)dev;
	*out = (struct ob_operator_config){
		.config = { 0x36, 0x1b }, .msix = 0x70, .vectors = 2,
		.bars = { { .size = 16384, .is_64 = true } },
	};
}

void ob_operator_msix_entry(struct ob_device *dev, unsigned i,
			    uint64_t *address, uint32_t *data,
			    uint32_t *control)
{
	(void)dev;
	*address = i ? 0xfee00000 : 0;
	*data = i;
	*control = 1;
}

static const struct ob_device_class a_class = { .name = "null" };

const struct ob_device_class *ob_dev_class(const struct ob_device *dev)
{
	(void)dev;
	return &a_class;
}

const struct ob_option ob_device_common_options[] = {
	{ .name = "id", .type = OB_OPT_STRING }, { .name = NULL }
};

static struct ob_options *options;

const struct ob_options *ob_dev_options(const struct ob_device *dev)
{
	(void)dev;
	return options;
}

static struct ob_device *device_number(void *arg, size_t i)
{
	(void)arg;
	return i ? NULL : (struct ob_device *)&a_device;
}

static int ask_status(void *arg)
{
	(void)arg;
	host.asked++;
	return host.rc;
}

static int upgrade(void *arg, int binary, unsigned flags, int32_t ticket)
{
	(void)arg;
	host.upgrades++;
	host.flags = flags;
	host.ticket = ticket;
	host.has_binary = fcntl(binary, F_GETFL) & O_PATH;
	return host.rc;
}

static const struct ob_control_host kept = {
	.device = device_number, .ask_status = ask_status, .upgrade = upgrade,
};
static const struct ob_control_host alone = { .device = device_number };

/* -- the socket's two ends --------------------------------------------- */

struct rig {
	struct ob_loop *loop;
	struct ob_control *control;
};

struct client {
	struct rig *rig;
	int fd;
	char text[1u << 20];
	size_t got;
};

static struct rig start(const struct ob_control_host *with)
{
	struct ob_err err = { "" };
	struct rig rig;

	host = (struct host){ .id = "disk" };
	assert_int_equal(ob_loop_create(NULL, &rig.loop, &err), 0);
	if (ob_control_create(rig.loop, path, with, &rig.control, &err))
		fail_msg("%s", err.msg);
	return rig;
}

static void finish(struct rig *rig)
{
	ob_control_destroy(rig->control, true);
	ob_loop_destroy(rig->loop);
	assert_int_equal(access(path, F_OK), -1);
}

static void turn(struct rig *rig)
{
	assert_int_equal(ob_loop_turn(rig->loop, false), 0);
}

static int dial(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static struct client *come(struct rig *rig)
{
	struct client *c = calloc(1, sizeof(*c));

	c->rig = rig;
	c->fd = dial();
	assert_true(c->fd >= 0);
	for (unsigned i = 0; i < 10; i++)
		turn(rig);
	return c;
}

static void go(struct client *c)
{
	close(c->fd);
	for (unsigned i = 0; i < 10; i++)
		turn(c->rig);
	free(c);
}

static void say_bytes(struct client *c, const void *bytes, size_t len)
{
	assert_int_equal(send(c->fd, bytes, len, MSG_NOSIGNAL), len);
}

static void say(struct client *c, const char *line)
{
	say_bytes(c, line, strlen(line));
	say_bytes(c, "\n", 1);
}

/* 1: there is more; 0: the end; -1: nothing yet. */
static int take_more(struct client *c)
{
	ssize_t n = recv(c->fd, c->text + c->got, sizeof(c->text) - c->got,
			 MSG_DONTWAIT);

	if (n > 0)
		c->got += (size_t)n;
	return n > 0 ? 1 : n < 0 && errno == EAGAIN ? -1 : 0;
}

/* The next line, to be released. */
static json_t *answer(struct client *c)
{
	json_t *tree;
	char *end;

	for (unsigned i = 0; !(end = memchr(c->text, '\n', c->got)); i++) {
		turn(c->rig);
		if (take_more(c) == 0 || i == TURNS)
			fail_msg("no answer, but: %.*s", (int)c->got, c->text);
	}
	tree = json_loadb(c->text, (size_t)(end - c->text), 0, NULL);
	assert_non_null(tree);
	assert_string_equal(json_string_value(json_object_get(tree,
							      "jsonrpc")),
			    "2.0");
	c->got -= (size_t)(end + 1 - c->text);
	memmove(c->text, end + 1, c->got);
	return tree;
}

static json_t *result(struct client *c, json_int_t id)
{
	json_t *tree = answer(c), *found = json_object_get(tree, "result");

	assert_non_null(found);
	assert_int_equal(json_integer_value(json_object_get(tree, "id")), id);
	json_incref(found);
	json_decref(tree);
	return found;
}

static void is_refused(struct client *c, json_int_t code, const char *why)
{
	json_t *tree = answer(c), *error = json_object_get(tree, "error");
	const char *text = json_string_value(json_object_get(error,
							     "message"));

	if (!text || !strstr(text, why) ||
	    json_integer_value(json_object_get(error, "code")) != code)
		fail_msg("not %lld, %s: %s", (long long)code, why,
			 json_dumps(tree, 0));
	json_decref(tree);
}

static void is_let_go(struct client *c)
{
	for (unsigned i = 0; take_more(c); i++) {
		turn(c->rig);
		assert_true(i < TURNS);
	}
}

#define CALL(method, id) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"id\":" #id "}"

static void is_well(struct client *c)
{
	say(c, CALL("inflight", 77));
	json_decref(result(c, 77));
}

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

/* -- devices that are moved -------------------------------------------- */

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
	assert_int_equal(count_fds(), files - 0);
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
	assert_int_equal(ob_options_parse("null,id=disk", tables, &options,
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
	json_decref(tree);
	ob_options_destroy(options);
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
	assert_int_equal(refusal(path), -EADDRINUSE);
	finish(&rig);
	f = fopen(path, "we");
	fclose(f);
	assert_int_equal(refusal(path), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
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
	assert_int_equal(access(path, F_OK), 0);
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
	assert_return_code(stat(path, &st), errno);
	assert_int_equal(st.st_mode & 07777, 0600);
	if (geteuid() == 0) {
		assert_return_code(chmod(dir, 0755), errno);
		assert_int_equal(as_nobody(&rig), EACCES);
		assert_return_code(chmod(path, 0666), errno);
		assert_int_equal(as_nobody(&rig), 0);
	}
	finish(&rig);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/c", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_status_is_the_keepers),
		cmocka_unit_test(without_a_keeper),
		cmocka_unit_test(upgrades_are_passed_on),
		cmocka_unit_test(wrong_upgrades),
		cmocka_unit_test(what_takes_time_is_answered_later),
		cmocka_unit_test(what_is_done_at_once),
		cmocka_unit_test(descriptors_come_along),
		cmocka_unit_test(a_descriptor_belongs_to_its_line),
		cmocka_unit_test(wrong_descriptors),
		cmocka_unit_test(one_goes_with_a_descriptor),
		cmocka_unit_test(who_goes_cancels),
		cmocka_unit_test(wrong_parameters),
		cmocka_unit_test(the_configuration_is_told),
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

	return cmocka_run_group_tests(tests, setup, teardown);
}
