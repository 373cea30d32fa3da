// SPDX-License-Identifier: BSD-3-Clause
/* Lines of the control channel as requests and answers (docs/control.md). */
#include <stdlib.h>
#include <string.h>

#include <outboard/device.h>

#include "base/fd.h"
#include "daemon/control_priv.h"

static json_t *id_of(const json_t *id)
{
	return id ? json_incref((json_t *)(uintptr_t)id) : json_null();
}

/* Names and reasons may be any bytes, and cut in the middle of a character. */
json_t *control_text_of(const char *bytes)
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

void control_refuse(struct control_client *c, const json_t *id, int code,
		    const char *why)
{
	control_answer(c, json_pack("{s:s, s:o, s:{s:i, s:o}}", "jsonrpc",
				    "2.0", "id", id_of(id), "error", "code",
				    code, "message", control_text_of(why)));
}

void control_succeed(struct control_client *c, const json_t *id, json_t *result)
{
	control_answer(c, json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id",
				    id_of(id), "result", result));
}

void control_wait(struct control_client *c, const json_t *id)
{
	c->waits = id_of(id);
}

/* The device that the request names. */
static bool find_device(const struct control_client *c,
			struct control_call *call, const char *id)
{
	const struct ob_control_host *host = &c->control->host;

	for (; (call->dev = host->device(host->arg, call->number));
	     call->number++)
		if (!strcmp(ob_dev_id(call->dev), id))
			return true;
	return false;
}

struct errand {
	struct control_client *c;
	struct control_call *call;
};

static void run_there(void *arg)
{
	const struct errand *e = arg;

	e->call->method->run(e->c, e->call);
}

static void run_method(struct control_client *c, struct control_call *call)
{
	const struct ob_control_host *host = &c->control->host;
	struct errand errand = { c, call };

	if (call->dev)
		host->call(host->arg, call->number, run_there, &errand);
	else
		call->method->run(c, call);
}

/* What came along and is not taken is closed by whoever calls. */
static void run(struct control_client *c, struct control_call *call, int *fd,
		bool too_many)
{
	struct ob_err err = { "" };
	const char *id;

	control_params_check(call->method, call->params, &err);
	id = control_text(call, "device");
	if (err.msg[0])
		control_refuse(c, call->id, CONTROL_BAD_PARAMS, err.msg);
	else if (too_many)
		control_refuse(c, call->id, CONTROL_BAD_PARAMS,
			       "one descriptor at most");
	else if (call->method->fd && *fd < 0)
		control_refuse(c, call->id, CONTROL_BAD_PARAMS,
			       "a pipe or a socket has to come along");
	else if (!call->method->fd && *fd >= 0)
		control_refuse(c, call->id, CONTROL_BAD_PARAMS,
			       "it takes no descriptor");
	else if (id && !find_device(c, call, id))
		control_refuse(c, call->id, CONTROL_FAILED, "no such device");
	else {
		call->fd = ob_fd_take(fd);
		run_method(c, call);
	}
}

static void dispatch(struct control_client *c, const json_t *root, int *fd,
		     bool too_many)
{
	const char *version = json_string_value(json_object_get(root,
								"jsonrpc"));
	const char *name = json_string_value(json_object_get(root, "method"));
	struct control_call call = {
		.id = json_object_get(root, "id"),
		.params = json_object_get(root, "params"), .fd = -1,
	};

	if (!version || strcmp(version, "2.0") || !name ||
	    (call.id && !json_is_string(call.id) && !json_is_integer(call.id))) {
		control_refuse(c, NULL, CONTROL_BAD_REQUEST,
			       "not a request of JSON-RPC 2.0");
		return;
	}
	call.method = control_method_find(name);
	if (!call.method)
		control_refuse(c, call.id, CONTROL_NO_METHOD,
			       "no such method: see outboard ctl --schema");
	else
		run(c, &call, fd, too_many);
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
	control_refuse(c, NULL, CONTROL_BAD_JSON, "too long a line");
}

void control_request(struct control_client *c, const char *line, size_t len,
		     int fd, bool too_many)
{
	OB_CLEANUP_FD int own = fd;
	json_error_t why;
	json_t *root = NULL;

	if (nesting(line, len) <= CONTROL_MAX_DEPTH)
		root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		control_refuse(c, NULL, CONTROL_BAD_JSON,
			       "bad JSON, or nested too deeply");
	else
		dispatch(c, root, &own, too_many);
	json_decref(root);
}
