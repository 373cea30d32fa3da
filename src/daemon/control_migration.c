// SPDX-License-Identifier: BSD-3-Clause
/*
 * The methods of the control channel that move a device (docs/control.md).
 *
 * They run on the device's thread.  What takes time is the client's one
 * operation, which belongs to that thread as well: its end is posted from there,
 * and it is cancelled there when the client's connection ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/option.h>

#include "base/fd.h"
#include "daemon/control_priv.h"
#include "server/server.h"

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

json_t *control_describe_migration(struct ob_device *dev)
{
	struct ob_operator_status s;

	ob_operator_status(dev, &s);
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b, s:s, s:I, s:I, s:I, s:o}",
			 "state", s.state, "owner", s.owner, "stream", s.stream,
			 "bytes", (json_int_t)s.bytes, "left",
			 (json_int_t)s.left, "loaded", s.loaded, "given",
			 s.given, "log", s.log, "pages", s.pages, "page bytes",
			 (json_int_t)s.page_bytes, "pages moved",
			 (json_int_t)s.nr_pages, "pages left",
			 (json_int_t)s.pages_left, "alarm",
			 s.alarm ? control_text_of(s.alarm) : json_null());
}

static json_t *about(struct ob_device *dev)
{
	return json_pack("{s:o}", "migration", control_describe_migration(dev));
}

json_t *control_tell_nothing(const struct ob_operation *op)
{
	(void)op;
	return json_object();
}

json_t *control_tell_bytes(const struct ob_operation *op)
{
	return json_pack("{s:I}", "bytes", (json_int_t)op->bytes);
}

json_t *control_tell_pages(const struct ob_operation *op)
{
	return json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)op->bytes,
			 "pages", (json_int_t)op->pages, "dropped",
			 (json_int_t)op->dropped);
}

static void tell(struct control_client *c, const json_t *id, int r)
{
	if (r)
		control_refuse(c, id, CONTROL_FAILED, c->op.err.msg);
	else
		control_succeed(c, id, c->method->tell(&c->op));
}

static void has_ended(struct ob_post *post)
{
	struct control_client *c = container_of(post, struct control_client,
						ended);
	json_t *id = json_incref(c->waits);

	c->under_way = false;
	tell(c, id, c->r);
	json_decref(id);
	control_go_on(c);
}

/* On the device's thread. */
static void ended(struct ob_operation *op, int r)
{
	struct control_client *c = container_of(op, struct control_client, op);

	c->r = r;
	ob_loop_post(c->control->loop, &c->ended);
}

static struct ob_operation *prepare(struct control_client *c,
				    const struct control_call *call)
{
	c->op = (struct ob_operation){ .done = ended };
	c->ended.run = has_ended;
	c->method = call->method;
	c->number = call->number;
	return &c->op;
}

static void cancel_there(void *arg)
{
	struct control_client *c = arg;

	if (c->op.dev)
		ob_operation_cancel(&c->op);
}

/* Then it has been cancelled, or has ended and has said so. */
void control_cancel(struct control_client *c)
{
	const struct ob_control_host *host = &c->control->host;

	if (!c->under_way)
		return;
	host->call(host->arg, c->number, cancel_there, c);
	ob_post_cancel(c->control->loop, &c->ended);
}

static void begun(struct control_client *c, const struct control_call *call,
		  int r)
{
	c->under_way = r == -EINPROGRESS;
	if (c->under_way)
		control_wait(c, call->id);
	else
		tell(c, call->id, r);
}

/* What is done at once, and shows in the device's status. */
static void tell_state(struct control_client *c,
		       const struct control_call *call, int r,
		       const struct ob_err *err)
{
	if (r)
		control_refuse(c, call->id, CONTROL_FAILED, err->msg);
	else
		control_succeed(c, call->id, about(call->dev));
}

void control_do_quiesce(struct control_client *c,
			const struct control_call *call)
{
	begun(c, call, ob_operator_quiesce(call->dev, prepare(c, call)));
}

void control_do_resume(struct control_client *c,
		       const struct control_call *call)
{
	begun(c, call, ob_operator_resume(call->dev, prepare(c, call)));
}

void control_do_save(struct control_client *c, const struct control_call *call)
{
	begun(c, call, ob_operator_save(call->dev, prepare(c, call), call->fd,
						control_flag(call, "live")));
}

void control_do_load(struct control_client *c, const struct control_call *call)
{
	begun(c, call, ob_operator_load(call->dev, prepare(c, call), call->fd));
}

void control_do_log(struct control_client *c, const struct control_call *call)
{
	struct ob_err err = { "" };

	tell_state(c, call, ob_operator_log(
			call->dev, control_flag(call, "on"), &err), &err);
}

void control_do_pages_out(struct control_client *c,
			  const struct control_call *call)
{
	begun(c, call, ob_operator_pages_out(
			call->dev, prepare(c, call), call->fd,
			control_flag(call, "last")));
}

void control_do_pages_finish(struct control_client *c,
			     const struct control_call *call)
{
	struct ob_err err = { "" };

	tell_state(c, call, ob_operator_pages_finish(call->dev, &err),
			   &err);
}

void control_do_pages_in(struct control_client *c,
			 const struct control_call *call)
{
	begun(c, call, ob_operator_pages_in(call->dev, prepare(c, call),
						    call->fd));
}

void control_do_pages_apply(struct control_client *c,
			    const struct control_call *call)
{
	begun(c, call, ob_operator_pages_apply(call->dev, prepare(c, call)));
}

/* -- configuration ----------------------------------------------------- */

static json_t *hex(const uint8_t *bytes, size_t len)
{
	char text[2 * OB_OPERATOR_CONFIG + 1];

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return json_string(text);
}

/* Only what differs from an entry that nobody has written. */
static json_t *describe_table(struct ob_device *dev, unsigned vectors)
{
	json_t *list = json_array();
	uint32_t data, control;
	uint64_t address;

	for (unsigned i = 0; i < vectors; i++) {
		ob_operator_msix_entry(dev, i, &address, &data, &control);
		if (address || data || control != 1)
			json_array_append_new(list, json_pack(
				"{s:i, s:I, s:I, s:I}", "entry", (int)i,
				"address", (json_int_t)address, "data",
				(json_int_t)data, "control",
				(json_int_t)control));
	}
	return list;
}

static json_t *describe_msix(struct ob_device *dev,
			     const struct ob_operator_config *config)
{
	if (!config->vectors)
		return json_null();
	return json_pack("{s:i, s:i, s:I, s:o}", "vectors",
			 (int)config->vectors, "bar", (int)config->table_bar,
			 "offset", (json_int_t)config->table_offset, "table",
			 describe_table(dev, config->vectors));
}

static json_t *describe_bars(const struct ob_operator_config *config)
{
	json_t *list = json_array();

	for (int i = 0; i < 6; i++) {
		if (!config->bars[i].size)
			continue;
		json_array_append_new(list, json_pack(
			"{s:i, s:I, s:b, s:b, s:b}", "bar", i, "size",
			(json_int_t)config->bars[i].size, "64 bit",
			config->bars[i].is_64, "io", config->bars[i].is_io,
			"prefetch", config->bars[i].prefetch));
	}
	return list;
}

/* Every one that has a value, defaults too. */
static void add_options(json_t *to, const struct ob_options *opts,
			const struct ob_option *table)
{
	for (; table && table->name; table++) {
		json_t *values = json_array();

		for (size_t i = 0; i < ob_options_count(opts, table->name); i++)
			json_array_append_new(values, control_text_of(
				ob_options_nth(opts, table->name, i)));
		if (json_array_size(values))
			json_object_set(to, table->name, values);
		json_decref(values);
	}
}

static json_t *describe_options(struct ob_device *dev)
{
	json_t *to = json_object();

	add_options(to, ob_dev_options(dev), ob_device_common_options);
	add_options(to, ob_dev_options(dev), ob_dev_class(dev)->options);
	return to;
}

static json_t *text_or_null(const char *text)
{
	return *text ? control_text_of(text) : json_null();
}

static json_t *describe_drives(struct ob_device *dev)
{
	json_t *list = json_array();
	struct ob_operator_drive d;

	for (unsigned i = 0; ob_operator_drive(dev, i, &d); i++)
		json_array_append_new(list, json_pack(
			"{s:o, s:I, s:b, s:b, s:o, s:o}", "name",
			control_text_of(d.name), "bytes", (json_int_t)d.size,
			"read only", d.readonly, "travels", d.travels,
			"identity", text_or_null(d.identity), "problem",
			text_or_null(d.problem)));
	return list;
}

void control_do_config(struct control_client *c,
		       const struct control_call *call)
{
	struct ob_device *dev = call->dev;
	struct ob_operator_config config;

	ob_operator_config(dev, &config);
	control_succeed(c, call->id, json_pack(
		"{s:s, s:o, s:{s:i, s:i, s:i, s:i}, s:o, s:o, s:o, s:o}", "model",
		ob_dev_class(dev)->name, "config",
		hex(config.config, OB_OPERATOR_CONFIG), "capabilities", "pm",
		config.pm, "msi", config.msi, "msix", config.msix, "express",
		config.express, "msix", describe_msix(dev, &config), "bars",
		describe_bars(&config), "options", describe_options(dev),
		"drives", describe_drives(dev)));
}
