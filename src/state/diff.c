// SPDX-License-Identifier: BSD-3-Clause
/*
 * What differs between two structures of one table.  Bytes are compared in
 * runs of up to RUN; the path says where a run begins.
 */
#include <inttypes.h>
#include <stdio.h>

#include "state/show.h"
#include "state/table_io.h"

#define RUN 32u
#define TEXT 96u

struct diff {
	void (*fn)(void *arg, const char *path, const char *a, const char *b);
	void *arg;
	unsigned count;
};

static void diff_struct(struct diff *d, const struct ob_table *table,
			const void *a, const void *b,
			const struct ob_field_path *up);

static void report(struct diff *d, const struct ob_field_path *path,
		   const char *a, const char *b)
{
	char text[OB_FIELD_PATH_MAX];

	d->count++;
	if (d->fn)
		d->fn(d->arg, ob_field_path(path, text, sizeof(text)), a, b);
}

static void show_bytes(const uint8_t *bytes, uint32_t size, char *text)
{
	if (ob_bytes_are_text(bytes, size))
		snprintf(text, TEXT, "%s", (const char *)bytes);
	else
		ob_bytes_hex(bytes, size, text);
}

static uint32_t run_length(const uint8_t *a, const uint8_t *b, uint32_t most)
{
	uint32_t n = 0;

	while (n < most && n < RUN && a[n] != b[n])
		n++;
	return n;
}

static void diff_bytes(struct diff *d, const struct ob_field *f,
		       const uint8_t *a, const uint8_t *b,
		       struct ob_field_path *path)
{
	char x[TEXT], y[TEXT];
	uint32_t i, n;

	path->array = f->count > RUN;
	for (i = 0; i < f->count; i += n + !n) {
		n = f->count > RUN ? run_length(a + i, b + i, f->count - i) : f->count;
		if (!n)
			continue;
		path->index = i;
		show_bytes(a + i, n, x);
		show_bytes(b + i, n, y);
		report(d, path, x, y);
	}
}

static void diff_element(struct diff *d, const struct ob_field *f,
			 const uint8_t *a, const uint8_t *b,
			 const struct ob_field_path *path)
{
	char x[TEXT], y[TEXT];

	if (f->type == OB_FIELD_STRUCT) {
		diff_struct(d, f->sub, a, b, path);
		return;
	}
	snprintf(x, sizeof(x), "%" PRIu64, ob_int_load(a, f->size));
	snprintf(y, sizeof(y), "%" PRIu64, ob_int_load(b, f->size));
	report(d, path, x, y);
}

static void diff_struct(struct diff *d, const struct ob_table *table,
			const void *a, const void *b,
			const struct ob_field_path *up)
{
	struct ob_field_path path = { .up = up };
	const struct ob_field *f;
	const uint8_t *x, *y;
	uint32_t i;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		x = ob_element(f, a, 0);
		y = ob_element(f, b, 0);
		if (f->type == OB_FIELD_RESERVED ||
		    !memcmp(x, y, (size_t)f->size * f->count))
			continue;
		path.name = f->name;
		path.array = f->count > 1;
		if (f->type == OB_FIELD_BYTES) {
			diff_bytes(d, f, x, y, &path);
			continue;
		}
		for (i = 0; i < f->count; i++, x += f->size, y += f->size) {
			path.index = i;
			if (memcmp(x, y, f->size))
				diff_element(d, f, x, y, &path);
		}
	}
}

unsigned ob_table_diff(const struct ob_table *table, const void *a,
		       const void *b,
		       void (*fn)(void *arg, const char *path, const char *a,
				  const char *b), void *arg)
{
	struct diff d = { .fn = fn, .arg = arg };

	diff_struct(&d, table, a, b, NULL);
	return d.count;
}
