// SPDX-License-Identifier: BSD-3-Clause
/*
 * A copy of the tables is made in which one row has become a reserved one, so
 * that writer and reader are of a build that forgot the field.
 */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

#include "sample.h"

#define TABLES_MAX 64

struct copies {
	const struct ob_table *from[TABLES_MAX];
	struct ob_table to[TABLES_MAX];
	struct ob_field *rows[TABLES_MAX];
	unsigned count;
	unsigned next;			/* number of the next row */
	unsigned dropped;		/* the row to be dropped */
	const char *table, *field;	/* its name */
};

static unsigned count_rows(const struct ob_table *table)
{
	unsigned n = 1;

	while (table->fields[n - 1].type != OB_FIELD_END)
		n++;
	return n;
}

static void drop(struct copies *c, const struct ob_table *table,
		 struct ob_field *f)
{
	c->table = table->name;
	c->field = f->name;
	*f = (struct ob_field){
		.type = OB_FIELD_RESERVED, .name = f->name, .since = "",
		.offset = f->offset, .size = 1, .count = f->size * f->count,
	};
}

static const struct ob_table *copy(struct copies *c,
				   const struct ob_table *table)
{
	unsigned i, n = count_rows(table);
	struct ob_field *f;

	for (i = 0; i < c->count; i++)
		if (c->from[i] == table)
			return &c->to[i];
	assert_true(c->count < TABLES_MAX);
	i = c->count++;
	c->from[i] = table;
	c->rows[i] = calloc(n, sizeof(*f));
	memcpy(c->rows[i], table->fields, n * sizeof(*f));
	c->to[i] = (struct ob_table){ table->name, table->size, c->rows[i] };
	for (f = c->rows[i]; f->type != OB_FIELD_END; f++) {
		if (f->type == OB_FIELD_RESERVED)
			continue;
		if (f->sub)
			f->sub = copy(c, f->sub);
		if (c->next++ == c->dropped)
			drop(c, table, f);
	}
	return &c->to[i];
}

static void forget(struct copies *c)
{
	while (c->count)
		free(c->rows[--c->count]);
}

/* Through a stream and back; the caller frees what it returns. */
static void *restore(const struct ob_table *table, void *base)
{
	struct ob_part part = { "part", table, base };
	struct ob_save_plan save = { "model", "id", &part, 1, NULL, 0 };
	struct ob_load_plan load = { "model", &part, 1, NULL, 0 };
	struct sample_bytes stream = { 0 };
	struct ob_err err = { "" };
	struct ob_loader *loader;
	void *got = malloc(table->size);

	sample_save(&save, 1u << 20, 16, &stream);
	assert_int_equal(ob_loader_create(&load, &loader, &err), 0);
	if (sample_load(loader, &stream, 1u << 16, &err))
		fail_msg("%s", err.msg);
	memcpy(got, ob_loader_part(loader, 0), table->size);
	ob_loader_destroy(loader);
	free(stream.data);
	return got;
}

static void note(void *arg, const char *path, const char *a, const char *b)
{
	const char **dropped = arg;

	(void)a;
	(void)b;
	if (*dropped && strstr(path, *dropped))
		*dropped = NULL;
}

/* The restored structure without row number `row`; false: no such row. */
static bool drop_one(const struct ob_table *table, void *base, unsigned row)
{
	struct copies c = { .dropped = row };
	const struct ob_table *without = copy(&c, table);
	struct ob_err err = { "" };
	const char *missing;
	void *got;

	if (c.field) {
		if (ob_table_check(without, &err))
			fail_msg("%s", err.msg);
		got = restore(without, base);
		missing = c.field;
		ob_table_diff(table, base, got, note, &missing);
		if (missing || !memcmp(base, got, table->size))
			fail_msg("%s.%s was forgotten, and nobody noticed",
				 c.table, c.field);
		free(got);
	}
	forget(&c);
	return c.field != NULL;
}

unsigned mutate_every_field(const struct ob_table *table, uint64_t seed)
{
	struct sample_rng rng = { seed };
	void *base = malloc(table->size), *got;
	unsigned row = 0;

	sample_fill(&rng, table, base, 256);
	got = restore(table, base);
	assert_memory_equal(got, base, table->size);
	free(got);
	while (drop_one(table, base, row))
		row++;
	free(base);
	return row;
}
