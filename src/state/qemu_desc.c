// SPDX-License-Identifier: BSD-3-Clause
/*
 * The description of a file in the QEMU profile: JSON that says, field by
 * field, what lies between header and footer of each section, so that a
 * program which knows nothing of us can take the file apart.
 *
 *	{ "page_size", "configuration": {...},
 *	  "devices": [ { "name", "instance_id", "vmsd_name", "version",
 *			 "fields": [ { "name", "type", "size",
 *				       "array_len", "struct" } ],
 *			 "subsections": [ { "vmsd_name", ... } ] } ] }
 *
 * size is of one element; array_len stands for that many entries which are
 * the same.  Text goes out object by object, since there may be many pieces
 * of content.
 */
#include <errno.h>
#include <string.h>

#include "state/qemu_impl.h"

static json_t *describe_table(const struct ob_table *table);

static json_t *field(const char *name, const char *type, uint32_t size)
{
	return json_pack("{s:s, s:s, s:I}", "name", name, "type", type,
			 "size", (json_int_t)size);
}

static json_t *structure(const char *name, const struct ob_table *table)
{
	json_t *obj = field(name, "struct", table->size);

	json_object_set_new(obj, "struct", describe_table(table));
	return obj;
}

static json_t *describe_row(const struct ob_field *f)
{
	static const char *const types[] = {
		[OB_FIELD_U8] = "uint8", [OB_FIELD_U16] = "uint16",
		[OB_FIELD_U32] = "uint32", [OB_FIELD_U64] = "uint64",
	};
	json_t *obj;

	if (f->type == OB_FIELD_BYTES)
		return field(f->name, "buffer", f->count);
	if (f->type == OB_FIELD_RESERVED)
		return field(f->name, "unused_buffer", f->count);
	obj = f->type == OB_FIELD_STRUCT ? structure(f->name, f->sub)
					 : field(f->name, types[f->type], f->size);
	if (f->count > 1)
		json_object_set_new(obj, "array_len", json_integer(f->count));
	return obj;
}

/* A description without fields; takes them. */
static json_t *vmsd(const char *name, json_t *fields)
{
	return json_pack("{s:s, s:i, s:o}", "vmsd_name", name, "version",
			 QEMU_VMSD_VERSION, "fields", fields);
}

static json_t *describe_table(const struct ob_table *table)
{
	const struct ob_field *f;
	json_t *fields = json_array();

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		json_array_append_new(fields, describe_row(f));
	return vmsd(table->name, fields);
}

static json_t *subsection(const char *parent, const char *name, json_t *fields)
{
	char full[QEMU_NAME_MAX + 1];

	snprintf(full, sizeof(full), "%s/%s", parent, name);
	return json_pack("[o]", vmsd(full, fields));
}

/* Adds what only a section has; takes body. */
static json_t *section(const char *name, uint32_t instance, json_t *body)
{
	json_object_set_new(body, "name",
			    json_sprintf("%s%s", QEMU_PREFIX, name));
	json_object_set_new(body, "instance_id", json_integer(instance));
	return body;
}

static json_t *describe_device(const struct qemu_written *written)
{
	const struct ob_qemu_device *device = written->device;
	const struct ob_part *hot = qemu_hot(device), *part;
	json_t *fields = json_array(), *body;

	json_array_append_new(fields, structure("identity",
						&ob_stream_identity_table));
	json_array_append_new(fields, field("layout", "uint32 equal", 4));
	for (part = device->parts; part < device->parts + device->nr_parts; part++)
		if (part != hot)
			json_array_append_new(fields,
				structure(part->name, part->table));
	body = section(device->model, 0, vmsd(device->model, fields));
	if (!written->hot)
		return body;
	fields = json_pack("[o]", structure(hot->name, hot->table));
	json_object_set_new(body, "subsections",
			    subsection(device->model, QEMU_HOT, fields));
	return body;
}

static json_t *describe_piece(uint32_t instance, uint32_t data)
{
	json_t *fields = json_pack("[o, o, o, o, o]",
		field("kind", "uint32", 4), field("index", "uint32", 4),
		field("size", "uint64", 8), field("offset", "uint64", 8),
		field("length", "uint64", 8));
	json_t *body = section(QEMU_CONTENT, instance,
			       vmsd(QEMU_CONTENT, fields));

	if (data)
		json_object_set_new(body, "subsections",
			subsection(QEMU_CONTENT, QEMU_DATA,
				   json_pack("[o]", field("bytes", "buffer", data))));
	return body;
}

static json_t *describe_configuration(void)
{
	return vmsd("configuration", json_pack("[o, o]",
		field("len", "uint32", 4),
		field("name", "buffer", (uint32_t)strlen(QEMU_MACHINE))));
}

struct out {
	int (*put)(void *arg, const char *text, size_t len);
	void *arg;
	int rc;
};

static void put_plain(struct out *out, const char *text)
{
	if (!out->rc)
		out->rc = out->put(out->arg, text, strlen(text));
}

static int put_dumped(const char *text, size_t len, void *arg)
{
	struct out *out = arg;

	out->rc = out->put(out->arg, text, len);
	return out->rc ? -1 : 0;
}

/* Takes obj, which is NULL when there was no memory for it. */
static void put_json(struct out *out, json_t *obj)
{
	if (!out->rc && json_dump_callback(obj, put_dumped, out, JSON_COMPACT) &&
	    !out->rc)
		out->rc = -ENOMEM;
	json_decref(obj);
}

int qemu_describe(const struct qemu_written *written,
		  int (*put)(void *arg, const char *text, size_t len),
		  void *arg)
{
	struct out out = { put, arg, 0 };
	uint32_t i;

	put_plain(&out, "{\"page_size\":4096,\"configuration\":");
	put_json(&out, describe_configuration());
	put_plain(&out, ",\"devices\":[");
	put_json(&out, describe_device(written));
	for (i = 0; i < written->nr_data && !out.rc; i++) {
		put_plain(&out, ",");
		put_json(&out, describe_piece(i, written->data[i]));
	}
	put_plain(&out, "]}");
	return out.rc;
}
