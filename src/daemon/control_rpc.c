// SPDX-License-Identifier: BSD-3-Clause
/* The methods of the control channel (docs/control.md). */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/control_priv.h"
#include "ob_config.h"
#include "server/server.h"

/* Codes of JSON-RPC 2.0, 5.1; the last one is ours. */
enum {
	BAD_JSON = -32700, BAD_REQUEST = -32600, NO_METHOD = -32601,
	BAD_PARAMS = -32602, FAILED = -32000,
};

static json_t *id_of(const json_t *id)
{
	return id ? json_incref((json_t *)(uintptr_t)id) : json_null();
}

/* Names and reasons may be any bytes, and cut in the middle of a character. */
static json_t *text_of(const char *bytes)
{
	json_t *text = json_string(bytes);
	char *copy = text ? NULL : strdup(bytes);

	for (char *at = copy; at && *at; at++)
		if (*at & 0x80)
			*at = '?';
	if (copy)
		text = json_string(copy);
	free(copy);
	return text;
}

static void refuse(struct control_client *c, const json_t *id, int code,
		   const char *why)
{
	control_answer(c, json_pack("{s:s, s:o, s:{s:i, s:o}}", "jsonrpc",
				    "2.0", "id", id_of(id), "error", "code",
				    code, "message", text_of(why)));
}

static void succeed(struct control_client *c, const json_t *id, json_t *result)
{
	control_answer(c, json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id",
				    id_of(id), "result", result));
}

/* -- status ------------------------------------------------------------ */

static json_t *describe_device(struct ob_device *dev)
{
	struct ob_device_status status;

	ob_device_status(dev, &status);
	return json_pack("{s:o, s:s, s:o, s:i, s:I, s:I, s:I}", "id",
			 text_of(status.id), "model", status.model, "address",
			 text_of(status.address),
			 "client", (int)status.client, "step",
			 (json_int_t)status.step, "in flight",
			 (json_int_t)status.in_flight, "state bytes",
			 (json_int_t)status.state_bytes);
}

static json_t *describe_devices(const struct ob_control *control)
{
	json_t *list = json_array();
	struct ob_device *dev;

	for (size_t i = 0;
	     (dev = control->host.device(control->host.arg, i)); i++)
		json_array_append_new(list, describe_device(dev));
	return list;
}

static const char *upgrade_word(int state)
{
	static const char *const words[] = {
		"none", "under way", "done", "refused", "rehearsed", "switched",
	};

	return state >= 0 && state < 6 ? words[state] : "unknown";
}

static json_t *describe_keeper(const struct ob_keeper_status *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:s, s:o}",
			 "generation", (json_int_t)s->generation, "deaths",
			 (json_int_t)s->deaths, "upgrades",
			 (json_int_t)s->upgrades, "rollbacks",
			 (json_int_t)s->rollbacks, "gap us",
			 (json_int_t)s->last_gap_us, "estimated gap us",
			 (json_int_t)s->estimated_gap_us, "worker", s->worker_pid,
			 "signal", s->last_signal, "ticket", s->ticket,
			 "upgrade", upgrade_word(s->last_upgrade), "why",
			 text_of(s->why));
}

static json_t *describe(const struct ob_control *control, json_t *keeper)
{
	return json_pack("{s:s, s:i, s:o, s:o}", "version", OB_VERSION, "pid",
			 (int)getpid(), "keeper", keeper, "devices",
			 describe_devices(control));
}

void control_tell_status(struct control_client *c,
			 const struct ob_keeper_status *status)
{
	json_t *id = json_incref(c->waits);

	succeed(c, id, describe(c->control, describe_keeper(status)));
	json_decref(id);
}

static void do_status(struct control_client *c, const json_t *id,
		      const json_t *params)
{
	const struct ob_control_host *host = &c->control->host;

	(void)params;
	if (!host->ask_status)
		succeed(c, id, describe(c->control, json_null()));
	else if (host->ask_status(host->arg))
		refuse(c, id, FAILED, "the keeper cannot be asked");
	else
		c->waits = id_of(id);
}

/* -- upgrade ----------------------------------------------------------- */

/* By its name: another release is under the same one now. */
static int own_binary(char path[PATH_MAX])
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	size_t len = (size_t)n, tail = sizeof(gone) - 1;

	if (n < 0)
		return -errno;
	path[len] = 0;
	if (len > tail && !strcmp(path + len - tail, gone))
		path[len - tail] = 0;
	return 0;
}

static int open_binary(const char *name, int *fd, struct ob_err *err)
{
	char own[PATH_MAX];
	int r = name ? 0 : own_binary(own);

	if (r)
		return ob_fail(err, -r, "this binary has no name");
	if (!name)
		name = own;
	if (name[0] != '/')
		return ob_fail(err, EINVAL, "binary: not a full path");
	if (access(name, X_OK))
		return ob_fail(err, errno, "%s: %s", name, strerror(errno));
	*fd = open(name, O_PATH | O_CLOEXEC);
	return *fd < 0 ? ob_fail(err, errno, "%s: %s", name, strerror(errno))
		       : 0;
}

struct upgrade {
	const char *binary;
	unsigned flags;
	int32_t ticket;
};

static bool parse_upgrade(const json_t *params, struct upgrade *up)
{
	const json_t *dry_run = json_object_get(params, "dry_run");
	const json_t *binary = json_object_get(params, "binary");
	const json_t *ticket = json_object_get(params, "ticket");
	json_int_t number = json_integer_value(ticket);

	if ((binary && !json_is_string(binary)) ||
	    (dry_run && !json_is_boolean(dry_run)) ||
	    (ticket && (!json_is_integer(ticket) || number < 0 ||
			number > INT32_MAX)))
		return false;
	*up = (struct upgrade){
		.binary = json_string_value(binary),
		.flags = json_is_true(dry_run) ? OB_UPGRADE_DRY_RUN : 0,
		.ticket = (int32_t)number,
	};
	return true;
}

static int upgrade(const struct ob_control_host *host,
		   const struct upgrade *up, struct ob_err *err)
{
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (!host->upgrade)
		return ob_fail(err, ENOTSUP, "this server has no keeper");
	r = open_binary(up->binary, &fd, err);
	if (r)
		return r;
	r = host->upgrade(host->arg, fd, up->flags, up->ticket);
	return r ? ob_fail(err, -r, "the keeper: %s", strerror(-r)) : 0;
}

static void do_upgrade(struct control_client *c, const json_t *id,
		       const json_t *params)
{
	struct ob_err err = { 0 };
	struct upgrade up;

	if (!parse_upgrade(params, &up))
		refuse(c, id, BAD_PARAMS, "binary is text, dry_run a boolean, "
		       "ticket a number of 31 bits");
	else if (upgrade(&c->control->host, &up, &err))
		refuse(c, id, FAILED, err.msg);
	else
		succeed(c, id, json_pack("{s:b}", "accepted", 1));
}

/* -- inflight ---------------------------------------------------------- */

static void add_inflight(void *arg, const struct ob_device_inflight *io)
{
	json_array_append_new(arg, json_pack(
		"{s:i, s:i, s:s, s:s, s:I, s:I, s:I}", "queue", io->queue,
		"command", io->command, "operation", io->operation, "phase",
		io->phase, "offset", (json_int_t)io->offset, "bytes",
		(json_int_t)io->bytes, "age us", (json_int_t)io->age_us));
}

static void do_inflight(struct control_client *c, const json_t *id,
			const json_t *params)
{
	const struct ob_control_host *host = &c->control->host;
	json_t *devices = json_array();
	struct ob_device *dev;

	(void)params;
	for (size_t i = 0; (dev = host->device(host->arg, i)); i++) {
		json_t *one = describe_device(dev), *list = json_array();

		ob_device_inflight(dev, add_inflight, list);
		json_object_set_new(one, "commands", list);
		json_array_append_new(devices, one);
	}
	succeed(c, id, json_pack("{s:o}", "devices", devices));
}

/* -- requests ---------------------------------------------------------- */

static const struct method {
	const char *name;
	void (*run)(struct control_client *c, const json_t *id,
		    const json_t *params);
} methods[] = {
	{ "status", do_status },
	{ "upgrade", do_upgrade },
	{ "inflight", do_inflight },
};

static void dispatch(struct control_client *c, const json_t *root)
{
	const json_t *id = json_object_get(root, "id");
	const json_t *params = json_object_get(root, "params");
	const char *version = json_string_value(json_object_get(root,
								"jsonrpc"));
	const char *name = json_string_value(json_object_get(root, "method"));

	if (!version || strcmp(version, "2.0") || !name ||
	    (id && !json_is_string(id) && !json_is_integer(id))) {
		refuse(c, NULL, BAD_REQUEST, "not a request of JSON-RPC 2.0");
		return;
	}
	if (params && !json_is_object(params)) {
		refuse(c, id, BAD_PARAMS, "params is not an object");
		return;
	}
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (!strcmp(methods[i].name, name)) {
			methods[i].run(c, id, params);
			return;
		}
	}
	refuse(c, id, NO_METHOD, "known are status, upgrade, inflight");
}

/* Braces and brackets outside of strings: jansson would recurse. */
static unsigned nesting(const char *text, size_t len)
{
	unsigned depth = 0, deepest = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"')
			quoted = !quoted;
		else if (quoted && text[i] == '\\')
			i++;
		else if (!quoted && (text[i] == '{' || text[i] == '['))
			depth++;
		else if (!quoted && depth &&
			 (text[i] == '}' || text[i] == ']'))
			depth--;
		if (depth > deepest)
			deepest = depth;
	}
	return deepest;
}

void control_refuse_line(struct control_client *c)
{
	refuse(c, NULL, BAD_JSON, "too long a line");
}

void control_request(struct control_client *c, const char *line, size_t len)
{
	json_error_t why;
	json_t *root = NULL;

	if (nesting(line, len) <= CONTROL_MAX_DEPTH)
		root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		refuse(c, NULL, BAD_JSON, "bad JSON, or nested too deeply");
	else
		dispatch(c, root);
	json_decref(root);
}
