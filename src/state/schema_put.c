// SPDX-License-Identifier: BSD-3-Clause
/* Tables to the bytes of a schema (schema_priv.h), and to JSON. */
#include <errno.h>

#include "state/schema_priv.h"
#include "state/wire.h"

unsigned ob_table_set_find(const struct ob_table_set *set,
			   const struct ob_table *table)
{
	unsigned i;

	for (i = 0; table && i < set->count; i++)
		if (set->tables[i] == table)
			return i;
	return OB_SCHEMA_NO_TABLE;
}

static int add_table(struct ob_table_set *set, const struct ob_table *table)
{
	const struct ob_field *f;
	int r = 0;

	if (ob_table_set_find(set, table) != OB_SCHEMA_NO_TABLE)
		return 0;
	for (f = table->fields; f->type != OB_FIELD_END && !r; f++)
		if (f->type == OB_FIELD_STRUCT)
			r = add_table(set, f->sub);
	if (!r && set->count == OB_SCHEMA_TABLES_MAX)
		r = -E2BIG;
	if (!r)
		set->tables[set->count++] = table;
	return r;
}

int ob_table_set_fill(struct ob_table_set *set,
		      const struct ob_schema_root *roots, unsigned count)
{
	unsigned i;
	int r = 0;

	set->count = 0;
	for (i = 0; i < count && !r; i++)
		r = add_table(set, roots[i].table);
	return r;
}

static int put_text(struct ob_writer *wr, const char *text, size_t max)
{
	size_t len = strlen(text);
	int r;

	if (len > max)
		return -E2BIG;
	if ((r = ob_put_u8(wr, (uint8_t)len)))
		return r;
	return ob_put_bytes(wr, text, len + 1);
}

/* A length to be filled in by close_item. */
static int open_item(struct ob_writer *wr, uint8_t **at)
{
	*at = wr->at;
	return ob_put_le(wr, 0, 2);
}

static void close_item(struct ob_writer *wr, uint8_t *at)
{
	ob_le_store(at, (uint64_t)(wr->at - at) - 2, 2);
}

static int put_row(struct ob_writer *wr, const struct ob_table_set *set,
		   const struct ob_field *f)
{
	uint8_t *item;
	int r;

	if ((r = open_item(wr, &item)) || (r = ob_put_le(wr, f->tag, 2)) ||
	    (r = ob_put_le(wr, f->type, 1)) ||
	    (r = ob_put_le(wr, f->optional ? OB_SCHEMA_OPTIONAL : 0, 1)) ||
	    (r = ob_put_le(wr, f->offset, 4)) ||
	    (r = ob_put_le(wr, f->size, 4)) ||
	    (r = ob_put_le(wr, f->count, 4)) || (r = ob_put_le(wr, f->max, 8)) ||
	    (r = ob_put_le(wr, f->def, 8)) ||
	    (r = ob_put_le(wr, ob_table_set_find(set, f->sub), 2)) ||
	    (r = put_text(wr, f->name, OB_TABLE_NAME_MAX)) ||
	    (r = put_text(wr, f->since, OB_TABLE_SINCE_MAX)))
		return r;
	close_item(wr, item);
	return 0;
}

static unsigned count_rows(const struct ob_table *table)
{
	unsigned n = 0;

	while (table->fields[n].type != OB_FIELD_END)
		n++;
	return n;
}

static int put_table(struct ob_writer *wr, const struct ob_table_set *set,
		     const struct ob_table *table)
{
	unsigned i, rows = count_rows(table);
	uint8_t *item;
	int r;

	if (rows > OB_SCHEMA_ROWS_MAX)
		return -E2BIG;
	if ((r = open_item(wr, &item)) || (r = ob_put_le(wr, table->size, 4)) ||
	    (r = ob_put_le(wr, rows, 2)) ||
	    (r = put_text(wr, table->name, OB_TABLE_NAME_MAX)))
		return r;
	close_item(wr, item);
	for (i = 0; i < rows && !r; i++)
		r = put_row(wr, set, &table->fields[i]);
	return r;
}

static int put_root(struct ob_writer *wr, const struct ob_table_set *set,
		    const struct ob_schema_root *root)
{
	uint8_t *item;
	int r;

	if ((r = open_item(wr, &item)) ||
	    (r = ob_put_le(wr, ob_table_set_find(set, root->table), 2)) ||
	    (r = put_text(wr, root->name, OB_TABLE_NAME_MAX)))
		return r;
	close_item(wr, item);
	return 0;
}

int ob_schema_put(struct ob_writer *wr, const struct ob_schema_root *roots,
		  unsigned count)
{
	struct ob_table_set set;
	unsigned i;
	int r = ob_table_set_fill(&set, roots, count);

	if (!r && count > OB_SCHEMA_ROOTS_MAX)
		r = -E2BIG;
	if (r || (r = ob_put_le(wr, set.count, 2)) ||
	    (r = ob_put_le(wr, count, 2)))
		return r;
	for (i = 0; i < set.count && !r; i++)
		r = put_table(wr, &set, set.tables[i]);
	for (i = 0; i < count && !r; i++)
		r = put_root(wr, &set, &roots[i]);
	return r;
}
