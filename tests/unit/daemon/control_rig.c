// SPDX-License-Identifier: BSD-3-Clause
#include "control_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* -- what stands behind it --------------------------------------------- */

struct host host;

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

struct seen seen = { .fd = -1 };

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
			  int fd, bool last)
{
	(void)dev;
	return ask("out", op, fd, last);
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

bool ob_operator_drive(struct ob_device *dev, unsigned i,
		       struct ob_operator_drive *out)
{
	(void)dev;
	*out = (struct ob_operator_drive){
		.name = "file:x", .size = 4096, .readonly = true,
		.identity = "inode 8:1:7",
	};
	return i == 0;
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

struct ob_options *rig_options;

const struct ob_options *ob_dev_options(const struct ob_device *dev)
{
	(void)dev;
	return rig_options;
}

static struct ob_device *device_number(void *arg, size_t i)
{
	(void)arg;
	return i ? NULL : (struct ob_device *)&a_device;
}

static void call(void *arg, size_t i, void (*fn)(void *fn_arg), void *fn_arg)
{
	(void)arg;
	assert_int_equal(i, 0);
	fn(fn_arg);
}

static void each(void *arg,
		 void (*fn)(void *fn_arg, size_t i, struct ob_device *dev),
		 void *fn_arg)
{
	fn(fn_arg, 0, device_number(arg, 0));
}

const char *ob_dev_id(const struct ob_device *dev)
{
	(void)dev;
	return host.id;
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

const struct ob_control_host kept = {
	.device = device_number, .call = call, .each = each,
	.ask_status = ask_status, .upgrade = upgrade,
};
const struct ob_control_host alone = {
	.device = device_number, .call = call, .each = each,
};

/* -- the socket's two ends --------------------------------------------- */

char rig_dir[] = "/tmp/outboard-control-XXXXXX";
char rig_path[64];

int rig_setup(void **state)
{
	(void)state;
	if (!mkdtemp(rig_dir))
		return -1;
	snprintf(rig_path, sizeof(rig_path), "%s/c", rig_dir);
	return 0;
}

int rig_teardown(void **state)
{
	(void)state;
	return rmdir(rig_dir);
}

struct rig start(const struct ob_control_host *with)
{
	struct ob_err err = { "" };
	struct rig rig;

	host = (struct host){ .id = "disk" };
	assert_int_equal(ob_loop_create(NULL, &rig.loop, &err), 0);
	if (ob_control_create(rig.loop, rig_path, with, &rig.control, &err))
		fail_msg("%s", err.msg);
	return rig;
}

void finish(struct rig *rig)
{
	ob_control_destroy(rig->control, true);
	ob_loop_destroy(rig->loop);
	assert_int_equal(access(rig_path, F_OK), -1);
}

void turn(struct rig *rig)
{
	assert_int_equal(ob_loop_turn(rig->loop, false), 0);
}

int dial(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, rig_path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

struct client *come(struct rig *rig)
{
	struct client *c = calloc(1, sizeof(*c));

	c->rig = rig;
	c->fd = dial();
	assert_true(c->fd >= 0);
	for (unsigned i = 0; i < 10; i++)
		turn(rig);
	return c;
}

void go(struct client *c)
{
	close(c->fd);
	for (unsigned i = 0; i < 10; i++)
		turn(c->rig);
	free(c);
}

void say_bytes(struct client *c, const void *bytes, size_t len)
{
	assert_int_equal(send(c->fd, bytes, len, MSG_NOSIGNAL), len);
}

void say(struct client *c, const char *line)
{
	say_bytes(c, line, strlen(line));
	say_bytes(c, "\n", 1);
}

int take_more(struct client *c)
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

json_t *result(struct client *c, json_int_t id)
{
	json_t *tree = answer(c), *found = json_object_get(tree, "result");

	assert_non_null(found);
	assert_int_equal(json_integer_value(json_object_get(tree, "id")), id);
	json_incref(found);
	json_decref(tree);
	return found;
}

void is_refused(struct client *c, json_int_t code, const char *why)
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

void is_let_go(struct client *c)
{
	for (unsigned i = 0; take_more(c); i++) {
		turn(c->rig);
		assert_true(i < TURNS);
	}
}

void is_well(struct client *c)
{
	say(c, CALL("inflight", 77));
	json_decref(result(c, 77));
}
