// SPDX-License-Identifier: BSD-3-Clause
/*
 * One structure as QEMU writes it: its fields one after the other, integers
 * big-endian, arrays element by element, nested structures in place.  There
 * are no tags, no lengths and no padding, so reader and writer must have the
 * same rows in the same order; the layout's checksum makes sure of that.
 * Reserved bytes are an "unused buffer": zeros out, ignored in.
 *
 * Rows cover every byte of a structure, so what a structure takes on the wire
 * is its size in memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "state/field.h"
#include "state/qemu_impl.h"

/* Writing */

static void put_row(struct qemu_sink *sink, const struct ob_field *f,
		    const uint8_t *at)
{
	uint32_t i;

	if (f->type == OB_FIELD_RESERVED) {
		qemu_put_zeros(sink, f->count);
		return;
	}
	if (f->type == OB_FIELD_BYTES) {
		qemu_put(sink, at, f->count);
		return;
	}
	for (i = 0; i < f->count; i++, at += f->size)
		if (f->type == OB_FIELD_STRUCT)
			qemu_put_table(sink, f->sub, at);
		else
			qemu_put_uint(sink, ob_int_load(at, f->size), f->size);
}

void qemu_put_table(struct qemu_sink *sink, const struct ob_table *table,
		    const void *base)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		put_row(sink, f, (const uint8_t *)base + f->offset);
}

/* Reading */

static int get_table(struct ob_reader *rd, const struct ob_table *table,
		     uint8_t *base, const struct ob_field_path *up,
		     struct ob_err *err);

static int ends_in(const struct ob_field_path *path, struct ob_err *err)
{
	char text[OB_FIELD_PATH_MAX];

	return ob_fail(err, EBADMSG, "%s: the file ends here",
		       ob_field_path(path, text, sizeof(text)));
}

int qemu_get_uint(struct ob_reader *rd, uint64_t *value, unsigned size)
{
	const uint8_t *bytes;
	int r = ob_get_view(rd, &bytes, size);

	if (r)
		return r;
	for (*value = 0; size; size--)
		*value = *value << 8 | *bytes++;
	return 0;
}

static int get_element(struct ob_reader *rd, const struct ob_field *f,
		       uint8_t *at, const struct ob_field_path *here,
		       struct ob_err *err)
{
	uint64_t value;

	if (f->type == OB_FIELD_STRUCT)
		return get_table(rd, f->sub, at, here, err);
	if (qemu_get_uint(rd, &value, f->size))
		return ends_in(here, err);
	ob_int_store(at, value, f->size);
	return 0;
}

static int get_row(struct ob_reader *rd, const struct ob_field *f,
		   uint8_t *at, const struct ob_field_path *up,
		   struct ob_err *err)
{
	struct ob_field_path here = { .up = up, .name = f->name };
	int r;

	if (f->type == OB_FIELD_RESERVED)
		return ob_skip(rd, f->count) ? ends_in(&here, err) : 0;
	if (f->type == OB_FIELD_BYTES)
		return ob_get_bytes(rd, at, f->count) ? ends_in(&here, err) : 0;
	here.array = f->count > 1;
	for (; here.index < f->count; here.index++, at += f->size)
		if ((r = get_element(rd, f, at, &here, err)))
			return r;
	return 0;
}

static int get_table(struct ob_reader *rd, const struct ob_table *table,
		     uint8_t *base, const struct ob_field_path *up,
		     struct ob_err *err)
{
	const struct ob_field *f;
	int r;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if ((r = get_row(rd, f, base + f->offset, up, err)))
			return r;
	return 0;
}

int qemu_get_table(struct ob_reader *rd, const struct ob_table *table,
		   void *base, const char *name, struct ob_err *err)
{
	const struct ob_field_path root = { .name = name };

	return get_table(rd, table, base, &root, err);
}

/* Looking */

bool qemu_is_default(const struct ob_table *table, const void *base)
{
	const struct ob_field *f;
	uint32_t i;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		for (i = 0; i < f->count && f->type != OB_FIELD_RESERVED; i++)
			if (!ob_element_is_default(f, ob_element(f, base, i)))
				return false;
	return true;
}

/* Bounds and defaults may change without harm; what is hashed may not. */
static uint32_t table_layout(const struct ob_table *table, uint32_t crc)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		char text[96];
		int n = snprintf(text, sizeof(text), "%.60s %u %u %u\n",
				 f->name, f->type, f->size, f->count);

		crc = ob_crc32c(crc, text, (size_t)n);
		if (f->type == OB_FIELD_STRUCT)
			crc = table_layout(f->sub, crc);
	}
	return crc;
}

uint32_t qemu_layout(const struct ob_part *parts, unsigned nr_parts)
{
	uint32_t crc = 0;
	unsigned i;

	for (i = 0; i < nr_parts; i++) {
		crc = ob_crc32c(crc, parts[i].name, strlen(parts[i].name) + 1);
		crc = table_layout(parts[i].table, crc);
	}
	return crc;
}

const struct ob_part *qemu_hot(const struct ob_qemu_device *device)
{
	unsigned i;

	for (i = 0; i < device->nr_parts; i++)
		if (!strcmp(device->parts[i].name, QEMU_HOT))
			return &device->parts[i];
	return NULL;
}
