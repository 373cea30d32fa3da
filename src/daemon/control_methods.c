// SPDX-License-Identifier: BSD-3-Clause
/*
 * The methods of the control channel: one table, of which requests are checked,
 * docs/control.json is made, and `outboard ctl` knows what to send.
 */
#include <errno.h>
#include <string.h>

#include "daemon/control_priv.h"

#define DEVICE { "device", CONTROL_TEXT, true, "the device's id" }

static const struct control_method methods[] = {
	{ .name = "status", .run = control_do_status,
	  .help = "the server, its keeper, its devices",
	  .result = "version, pid, keeper, devices" },
	{ .name = "inflight", .run = control_do_inflight,
	  .help = "commands in flight",
	  .result = "devices, each with its commands" },
	{ .name = "upgrade", .run = control_do_upgrade,
	  .help = "asks the keeper to go on with another binary",
	  .params = {
		{ "binary", CONTROL_TEXT, false, "full path; default: its own" },
		{ "dry_run", CONTROL_BOOL, false, "only say whether it would do" },
		{ "ticket", CONTROL_NUMBER, false, "what status will show" },
	  },
	  .result = "accepted" },
	{ .name = "device.config", .run = control_do_config,
	  .help = "configuration space and what a VMM has of it",
	  .params = { DEVICE },
	  .result = "config, capabilities, msix, bars, model, options, drives" },
	{ .name = "device.quiesce", .run = control_do_quiesce,
	  .tell = control_tell_nothing,
	  .help = "to a standstill: STOP, or from PRE_COPY STOP_COPY",
	  .params = { DEVICE }, .result = "migration" },
	{ .name = "device.resume", .run = control_do_resume,
	  .tell = control_tell_nothing,
	  .help = "to RUNNING, with its drives; what was saved is given up",
	  .params = { DEVICE }, .result = "migration" },
	{ .name = "device.save", .run = control_do_save, .fd = CONTROL_WRITES,
	  .tell = control_tell_bytes, .help = "writes its state",
	  .params = { DEVICE,
		{ "live", CONTROL_BOOL, false,
		  "it runs on until device.quiesce comes" },
	  },
	  .result = "bytes" },
	{ .name = "device.load", .run = control_do_load, .fd = CONTROL_READS,
	  .tell = control_tell_bytes,
	  .help = "reads a state, judges it, and becomes it",
	  .params = { DEVICE }, .result = "bytes" },
	{ .name = "device.log", .run = control_do_log,
	  .help = "the operator's log of pages that the device writes",
	  .params = { DEVICE,
		{ "on", CONTROL_BOOL, true, "on (anew) or off" },
	  },
	  .result = "migration" },
	{ .name = "pages.out", .run = control_do_pages_out,
	  .fd = CONTROL_WRITES, .tell = control_tell_pages,
	  .help = "writes pages of the log, until pages.finish",
	  .params = {
		DEVICE,
		{ "last", CONTROL_BOOL, false,
		  "the VM and its devices stand still: as after pages.finish" },
	  },
	  .result = "bytes, pages, dropped" },
	{ .name = "pages.finish", .run = control_do_pages_finish,
	  .help = "the VM and all of its devices stand still: the last round",
	  .params = { DEVICE }, .result = "migration" },
	{ .name = "pages.in", .run = control_do_pages_in, .fd = CONTROL_READS,
	  .tell = control_tell_pages, .help = "reads pages into memory aside",
	  .params = { DEVICE }, .result = "bytes, pages, dropped" },
	{ .name = "pages.apply", .run = control_do_pages_apply,
	  .tell = control_tell_pages,
	  .help = "puts what was read into guest memory",
	  .params = { DEVICE }, .result = "bytes, pages, dropped" },
};
#define NR_METHODS (sizeof(methods) / sizeof(methods[0]))

const struct control_method *control_method_find(const char *name)
{
	for (size_t i = 0; i < NR_METHODS; i++)
		if (!strcmp(methods[i].name, name))
			return &methods[i];
	return NULL;
}

/* -- parameters -------------------------------------------------------- */

static const struct {
	const char *what, *schema;
} types[] = {
	[CONTROL_TEXT] = { "text", "string" },
	[CONTROL_BOOL] = { "a boolean", "boolean" },
	[CONTROL_NUMBER] = { "a number of 31 bits", "integer" },
};

static bool is_of(const json_t *value, enum control_type type)
{
	switch (type) {
	case CONTROL_TEXT:
		return json_is_string(value);
	case CONTROL_BOOL:
		return json_is_boolean(value);
	default:
		return json_is_integer(value) && json_integer_value(value) >= 0 &&
		       json_integer_value(value) <= INT32_MAX;
	}
}

static const struct control_param *find_param(const struct control_method *m,
					      const char *name)
{
	for (unsigned i = 0; i < CONTROL_PARAMS && m->params[i].name; i++)
		if (!strcmp(m->params[i].name, name))
			return &m->params[i];
	return NULL;
}

static void check_known(const struct control_method *method,
			const json_t *params, struct ob_err *err)
{
	const struct control_param *p;
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)params, name, value) {
		p = find_param(method, name);
		if (!p)
			ob_fail(err, EINVAL, "%s has no parameter %.64s",
				method->name, name);
		else if (!is_of(value, p->type))
			ob_fail(err, EINVAL, "%s is %s", name,
				types[p->type].what);
	}
}

void control_params_check(const struct control_method *method,
			  const json_t *params, struct ob_err *err)
{
	if (params && !json_is_object(params)) {
		ob_fail(err, EINVAL, "params is not an object");
		return;
	}
	for (unsigned i = 0; i < CONTROL_PARAMS && method->params[i].name; i++)
		if (method->params[i].required &&
		    !json_object_get(params, method->params[i].name))
			ob_fail(err, EINVAL, "%s needs %s", method->name,
				method->params[i].name);
	check_known(method, params, err);
}

const char *control_text(const struct control_call *call, const char *name)
{
	return json_string_value(json_object_get(call->params, name));
}

bool control_flag(const struct control_call *call, const char *name)
{
	return json_is_true(json_object_get(call->params, name));
}

/* -- the schema: OpenRPC 1.3 ------------------------------------------- */

static json_t *describe_param(const struct control_param *p)
{
	json_t *schema = json_pack("{s:s}", "type", types[p->type].schema);

	if (p->type == CONTROL_NUMBER) {
		json_object_set_new(schema, "minimum", json_integer(0));
		json_object_set_new(schema, "maximum", json_integer(INT32_MAX));
	}
	return json_pack("{s:s, s:s, s:b, s:o}", "name", p->name, "summary",
			 p->help, "required", p->required, "schema", schema);
}

static json_t *describe_method(const struct control_method *m)
{
	static const char *const fds[] = { "none", "read", "written" };
	json_t *params = json_array();

	for (unsigned i = 0; i < CONTROL_PARAMS && m->params[i].name; i++)
		json_array_append_new(params, describe_param(&m->params[i]));
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:{s:s, s:s, s:{s:s}}}",
			 "name", m->name, "summary", m->help, "paramStructure",
			 "by-name", "params", params, "x-descriptor",
			 fds[m->fd], "result", "name", "result", "summary",
			 m->result, "schema", "type", "object");
}

json_t *ob_control_schema(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < NR_METHODS; i++)
		json_array_append_new(list, describe_method(&methods[i]));
	return json_pack("{s:s, s:{s:s, s:s}, s:o}", "openrpc", "1.3.2", "info",
			 "title", "outboard serve --control", "version", "1",
			 "methods", list);
}

int ob_control_takes(const char *method)
{
	const struct control_method *m = control_method_find(method);

	return m ? (int)m->fd : -1;
}

/* -- a command line ---------------------------------------------------- */

/* As JSON has it, if that is a number or a boolean. */
static json_t *literal(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	if (json_is_integer(value) || json_is_boolean(value))
		return value;
	json_decref(value);
	return json_string(text);
}

static json_t *boolean(const char *text)
{
	if (!strcmp(text, "on") || !strcmp(text, "true"))
		return json_true();
	if (!strcmp(text, "off") || !strcmp(text, "false"))
		return json_false();
	return json_string(text);
}

json_t *ob_control_value(const char *method, const char *name, const char *text)
{
	const struct control_method *m = control_method_find(method);
	const struct control_param *p = m ? find_param(m, name) : NULL;

	if (!p || p->type == CONTROL_NUMBER)
		return literal(text);
	return p->type == CONTROL_BOOL ? boolean(text) : json_string(text);
}
