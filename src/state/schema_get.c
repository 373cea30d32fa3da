// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bytes of a schema (schema_priv.h) to tables.  They come from anywhere.
 * Parsed, the tables keep everything that code which walks tables relies on:
 * rows lie in their structure, side by side and without a gap, elements have
 * the size of their type, nesting ends.  Names point into the schema's copy
 * of the bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "state/schema_priv.h"
#include "state/wire.h"

struct ob_schema {
	uint8_t *bytes;
	struct ob_table *tables;	/* nr_tables, then their rows */
	struct ob_field *rows;
	uint8_t *depth;			/* of each table; 0: nothing inside */
	unsigned nr_tables, nr_rows, nr_roots;
	struct ob_schema_root roots[OB_SCHEMA_ROOTS_MAX];
};

static int cut_short(struct ob_err *err)
{
	return ob_fail(err, EINVAL, "the schema is cut short");
}

static int get_text(struct ob_reader *rd, const char **text, size_t max,
		    struct ob_err *err)
{
	const uint8_t *at;
	uint64_t len = 0, i;

	if (ob_get_le(rd, &len, 1) || ob_get_view(rd, &at, len + 1))
		return cut_short(err);
	for (i = 0; i < len; i++)
		if (at[i] <= ' ' || at[i] > '~')
			break;
	if (len > max || i < len || at[len])
		return ob_fail(err, EINVAL, "a name in the schema is too long or not plain text");
	*text = (const char *)at;
	return 0;
}

static int get_name(struct ob_reader *rd, const char **name, struct ob_err *err)
{
	int r = get_text(rd, name, OB_TABLE_NAME_MAX, err);

	if (!r && !**name)
		return ob_fail(err, EINVAL, "a name in the schema is empty");
	return r;
}

/* What follows a length; the rest of it is of a later release. */
static int get_item(struct ob_reader *rd, struct ob_reader *item,
		    struct ob_err *err)
{
	const uint8_t *at;
	uint64_t len = 0;

	if (ob_get_le(rd, &len, 2) || ob_get_view(rd, &at, len))
		return cut_short(err);
	ob_reader_init(item, at, len);
	return 0;
}

struct wire_row {
	uint64_t tag, type, flags, offset, size, count, max, def, sub;
};

static int get_row(struct ob_reader *rd, struct wire_row *row,
		   struct ob_field *f, struct ob_err *err)
{
	struct ob_reader item;
	int r = get_item(rd, &item, err);

	if (r)
		return r;
	if (ob_get_le(&item, &row->tag, 2) || ob_get_le(&item, &row->type, 1) ||
	    ob_get_le(&item, &row->flags, 1) ||
	    ob_get_le(&item, &row->offset, 4) ||
	    ob_get_le(&item, &row->size, 4) || ob_get_le(&item, &row->count, 4) ||
	    ob_get_le(&item, &row->max, 8) || ob_get_le(&item, &row->def, 8) ||
	    ob_get_le(&item, &row->sub, 2))
		return cut_short(err);
	if ((r = get_name(&item, &f->name, err)))
		return r;
	return get_text(&item, &f->since, OB_TABLE_SINCE_MAX, err);
}

static uint32_t size_of_type(uint64_t type)
{
	static const uint8_t sizes[] = {
		[OB_FIELD_U8] = 1, [OB_FIELD_U16] = 2, [OB_FIELD_U32] = 4,
		[OB_FIELD_U64] = 8, [OB_FIELD_BYTES] = 1,
		[OB_FIELD_RESERVED] = 1,
	};

	return type < sizeof(sizes) ? sizes[type] : 0;
}

/* Nesting: the table must be one of those before, and of the right size. */
static int check_sub(const struct ob_schema *s, const struct wire_row *row,
		     unsigned table, struct ob_err *err)
{
	if (row->sub >= table)
		return ob_fail(err, EINVAL, "its elements are of a table that "
			       "does not come before it");
	if (s->tables[row->sub].size != row->size)
		return ob_fail(err, EINVAL, "its elements have %u bytes, their table says %u",
			       (unsigned)row->size, s->tables[row->sub].size);
	if (s->depth[row->sub] + 1u > OB_TABLE_DEPTH)
		return ob_fail(err, EINVAL, "tables nest deeper than %d",
			       OB_TABLE_DEPTH);
	if (s->depth[table] < s->depth[row->sub] + 1u)
		s->depth[table] = s->depth[row->sub] + 1;
	return 0;
}

static int check_numbers(const struct wire_row *row, struct ob_err *err)
{
	uint64_t top = row->size >= 8 ? UINT64_MAX : (1ull << (8 * row->size)) - 1;

	if (row->type < OB_FIELD_U8 || row->type > OB_FIELD_U64)
		top = 0;
	if (row->max > top || row->def > (row->max ? row->max : top))
		return ob_fail(err, EINVAL, "maximum or default does not fit the type");
	return 0;
}

static int check_row(const struct ob_schema *s, const struct wire_row *row,
		     unsigned table, struct ob_err *err)
{
	const uint64_t whole = s->tables[table].size;
	bool is_struct = row->type == OB_FIELD_STRUCT;

	if (!is_struct && (!size_of_type(row->type) ||
			   size_of_type(row->type) != row->size))
		return ob_fail(err, EINVAL, "type %u with elements of %u bytes",
			       (unsigned)row->type, (unsigned)row->size);
	if (!row->count || row->offset > whole ||
	    row->size * row->count > whole - row->offset)
		return ob_fail(err, EINVAL, "leaves its structure");
	if ((row->type == OB_FIELD_RESERVED) != (row->tag == 0))
		return ob_fail(err, EINVAL, "tag %u is not possible",
			       (unsigned)row->tag);
	if (is_struct)
		return check_sub(s, row, table, err);
	if (row->sub != OB_SCHEMA_NO_TABLE)
		return ob_fail(err, EINVAL, "a table of elements that are no structures");
	return check_numbers(row, err);
}

static void set_row(const struct ob_schema *s, struct ob_field *f,
		    const struct wire_row *row)
{
	f->tag = (uint16_t)row->tag;
	f->type = (uint8_t)row->type;
	f->offset = (uint32_t)row->offset;
	f->size = (uint32_t)row->size;
	f->count = (uint32_t)row->count;
	f->max = row->max;
	f->def = row->def;
	f->optional = row->flags & OB_SCHEMA_OPTIONAL;
	f->sub = f->type == OB_FIELD_STRUCT ? &s->tables[row->sub] : NULL;
}

static int by_offset(const void *a, const void *b)
{
	const struct ob_field *const *x = a, *const *y = b;

	return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static int by_tag(const void *a, const void *b)
{
	const struct ob_field *const *x = a, *const *y = b;

	return (int)(*x)->tag - (int)(*y)->tag;
}

/* Every byte in exactly one row, every tag once. */
static int check_whole(const struct ob_table *table, const struct ob_field **rows,
		       unsigned count, struct ob_err *err)
{
	uint64_t end = 0;
	unsigned i;

	qsort(rows, count, sizeof(const struct ob_field *), by_offset);
	for (i = 0; i < count; i++) {
		if (rows[i]->offset != end)
			return ob_fail(err, EINVAL, "%s.%s: does not begin where the field"
				       " before it ends", table->name, rows[i]->name);
		end += (uint64_t)rows[i]->size * rows[i]->count;
	}
	if (end != table->size)
		return ob_fail(err, EINVAL, "%s: no field at its end", table->name);
	qsort(rows, count, sizeof(const struct ob_field *), by_tag);
	for (i = 1; i < count; i++)
		if (rows[i]->tag && rows[i]->tag == rows[i - 1]->tag)
			return ob_fail(err, EINVAL, "%s.%s: tag %u is used twice",
				       table->name, rows[i]->name, rows[i]->tag);
	return 0;
}

static int get_rows(struct ob_schema *s, struct ob_reader *rd, unsigned table,
		    unsigned count, struct ob_err *err)
{
	const struct ob_field *sorted[OB_SCHEMA_ROWS_MAX];
	struct ob_field *rows = s->rows + s->nr_rows;
	struct wire_row row = { 0 };
	unsigned i;
	int r;

	for (i = 0; i < count; i++) {
		sorted[i] = &rows[i];
		if ((r = get_row(rd, &row, &rows[i], err)))
			return r;
		if ((r = check_row(s, &row, table, err))) {
			ob_err_prefix(err, "%s.%s", s->tables[table].name,
				      rows[i].name);
			return r;
		}
		set_row(s, &rows[i], &row);
	}
	s->nr_rows += count + 1;	/* one stays 0: OB_FIELD_END */
	return check_whole(&s->tables[table], sorted, count, err);
}

static int get_table(struct ob_schema *s, struct ob_reader *rd, unsigned table,
		     struct ob_err *err)
{
	const unsigned spent = s->nr_rows - table;
	uint64_t size = 0, count = 0;
	struct ob_reader item;
	int r = get_item(rd, &item, err);

	if (r)
		return r;
	if (ob_get_le(&item, &size, 4) || ob_get_le(&item, &count, 2))
		return cut_short(err);
	if ((r = get_name(&item, &s->tables[table].name, err)))
		return r;
	if (!size || size > OB_TABLE_SIZE_MAX ||
	    count > OB_SCHEMA_ROWS_MAX - spent)
		return ob_fail(err, EINVAL, "%s: %u bytes in %u fields are not possible",
			       s->tables[table].name, (unsigned)size,
			       (unsigned)count);
	s->tables[table].size = (uint32_t)size;
	s->tables[table].fields = s->rows + s->nr_rows;
	return get_rows(s, rd, table, (unsigned)count, err);
}

static int get_root(struct ob_schema *s, struct ob_reader *rd, unsigned i,
		    struct ob_err *err)
{
	struct ob_schema_root *root = &s->roots[i];
	uint64_t table = 0;
	struct ob_reader item;
	int r = get_item(rd, &item, err);

	if (r)
		return r;
	if (ob_get_le(&item, &table, 2))
		return cut_short(err);
	if ((r = get_name(&item, &root->name, err)))
		return r;
	if (table >= s->nr_tables)
		return ob_fail(err, EINVAL, "%s: there is no table %u", root->name,
			       (unsigned)table);
	if (ob_schema_find(s, root->name))
		return ob_fail(err, EINVAL, "%s: twice in the schema", root->name);
	root->table = &s->tables[table];
	s->nr_roots++;
	return 0;
}

static int get_all(struct ob_schema *s, struct ob_reader *rd, unsigned roots,
		   struct ob_err *err)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < s->nr_tables && !r; i++)
		r = get_table(s, rd, i, err);
	for (i = 0; i < roots && !r; i++)
		r = get_root(s, rd, i, err);
	return r;
}

/* The rows are not counted before they are read: a row has 39 bytes or more. */
static int allocate(struct ob_schema *s, const void *bytes, size_t len,
		    unsigned tables, struct ob_err *err)
{
	size_t rows = len / 39 < OB_SCHEMA_ROWS_MAX ? len / 39 : OB_SCHEMA_ROWS_MAX;

	s->bytes = malloc(len);
	s->tables = calloc(tables + 1u, sizeof(*s->tables));
	s->rows = calloc(rows + tables + 1, sizeof(*s->rows));
	s->depth = calloc(tables + 1u, 1);
	if (!s->bytes || !s->tables || !s->rows || !s->depth)
		return ob_fail(err, ENOMEM, "out of memory for a schema");
	memcpy(s->bytes, bytes, len);
	s->nr_tables = tables;
	return 0;
}

int ob_schema_get(const void *bytes, size_t len, struct ob_schema **out,
		  struct ob_err *err)
{
	uint64_t tables = 0, roots = 0;
	struct ob_reader rd;
	struct ob_schema *s;
	int r;

	ob_reader_init(&rd, bytes, len);
	if (len > OB_SCHEMA_BYTES_MAX)
		return ob_fail(err, EINVAL, "a schema of %zu bytes is too large", len);
	if (ob_get_le(&rd, &tables, 2) || ob_get_le(&rd, &roots, 2))
		return cut_short(err);
	if (tables > OB_SCHEMA_TABLES_MAX || roots > OB_SCHEMA_ROOTS_MAX)
		return ob_fail(err, EINVAL, "%u tables and %u parts are too many",
			       (unsigned)tables, (unsigned)roots);
	s = calloc(1, sizeof(*s));
	r = s ? allocate(s, bytes, len, (unsigned)tables, err) :
		ob_fail(err, ENOMEM, "out of memory for a schema");
	if (!r) {
		ob_reader_init(&rd, s->bytes + 4, len - 4);
		r = get_all(s, &rd, (unsigned)roots, err);
	}
	if (!r && ob_reader_left(&rd))
		r = ob_fail(err, EINVAL, "%zu bytes behind the schema",
			    ob_reader_left(&rd));
	if (r)
		ob_schema_destroy(s);
	else
		*out = s;
	return r;
}

void ob_schema_destroy(struct ob_schema *schema)
{
	if (!schema)
		return;
	free(schema->bytes);
	free(schema->tables);
	free(schema->rows);
	free(schema->depth);
	free(schema);
}

unsigned ob_schema_count(const struct ob_schema *schema)
{
	return schema->nr_roots;
}

const struct ob_schema_root *ob_schema_root(const struct ob_schema *schema,
					    unsigned i)
{
	return i < schema->nr_roots ? &schema->roots[i] : NULL;
}

const struct ob_table *ob_schema_find(const struct ob_schema *schema,
				      const char *name)
{
	unsigned i;

	for (i = 0; i < schema->nr_roots; i++)
		if (!strcmp(schema->roots[i].name, name))
			return schema->roots[i].table;
	return NULL;
}
