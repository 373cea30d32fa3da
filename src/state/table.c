// SPDX-License-Identifier: BSD-3-Clause
/*
 * Does a table tell the truth about its structure?  Every byte must belong to
 * exactly one row: a byte in no row would be lost by everything that works
 * from the table, a byte in two would be saved twice and loaded twice.
 *
 * And can it travel?  Names and sizes stay within what a reader of schemas
 * accepts, and a nested structure goes into one PART however full it is.
 */
#include <errno.h>
#include <string.h>

#include <outboard/state.h>

#include "state/field.h"

static int check_table(const struct ob_table *table, unsigned depth,
		       struct ob_err *err);

static uint32_t element_size(uint8_t type)
{
	switch (type) {
	case OB_FIELD_U8:
	case OB_FIELD_BYTES:
	case OB_FIELD_RESERVED:
		return 1;
	case OB_FIELD_U16:
		return 2;
	case OB_FIELD_U32:
		return 4;
	case OB_FIELD_U64:
		return 8;
	default:
		return 0;
	}
}

static int check_sub(const struct ob_table *table, const struct ob_field *f,
		     unsigned depth, struct ob_err *err)
{
	int r;

	if (!f->sub)
		return ob_fail(err, EINVAL, "%s.%s: a structure without a table",
			       table->name, f->name);
	if (f->sub->size != f->size)
		return ob_fail(err, EINVAL, "%s.%s: %u bytes, but table %s has %u",
			       table->name, f->name, f->size, f->sub->name,
			       f->sub->size);
	if ((r = check_table(f->sub, depth + 1, err)))
		return r;
	if (ob_table_worst(f->sub) > OB_TABLE_NESTED_MAX)
		return ob_fail(err, EINVAL, "%s.%s: an element of %u bytes does not "
			       "fit into one piece of a stream", table->name,
			       f->name, f->size);
	return 0;
}

static int check_values(const struct ob_table *table, const struct ob_field *f,
			struct ob_err *err)
{
	uint64_t top = f->size >= 8 ? UINT64_MAX : (1ull << (8 * f->size)) - 1;

	if (f->type == OB_FIELD_STRUCT || f->type == OB_FIELD_BYTES ||
	    f->type == OB_FIELD_RESERVED)
		top = 0;
	if (f->max > top)
		return ob_fail(err, EINVAL, "%s.%s: maximum does not fit the type",
			       table->name, f->name);
	if (f->def > (f->max ? f->max : top))
		return ob_fail(err, EINVAL, "%s.%s: default is over the maximum",
			       table->name, f->name);
	return 0;
}

static int check_tag(const struct ob_table *table, const struct ob_field *f,
		     struct ob_err *err)
{
	const struct ob_field *other;

	if (f->type == OB_FIELD_RESERVED)
		return f->tag == 0 ? 0 :
			ob_fail(err, EINVAL, "%s.%s: reserved, yet tagged %u",
				table->name, f->name, f->tag);
	if (f->tag == 0)
		return ob_fail(err, EINVAL, "%s.%s: no tag", table->name, f->name);
	for (other = table->fields; other != f; other++)
		if (other->tag == f->tag)
			return ob_fail(err, EINVAL, "%s.%s: tag %u is %s's",
				       table->name, f->name, f->tag, other->name);
	return 0;
}

static bool good_name(const char *name, size_t max)
{
	size_t len = strlen(name);

	for (const char *at = name; *at; at++)
		if (*at <= ' ' || *at > '~')
			return false;
	return len > 0 && len <= max;
}

static int check_row(const struct ob_table *table, const struct ob_field *f,
		     unsigned depth, struct ob_err *err)
{
	uint32_t size = element_size(f->type);
	uint64_t len = (uint64_t)f->size * f->count;
	int r;

	if (!f->name)
		return ob_fail(err, EINVAL, "%s: a row without a name", table->name);
	if (!good_name(f->name, OB_TABLE_NAME_MAX) || !f->since ||
	    (f->since[0] && !good_name(f->since, OB_TABLE_SINCE_MAX)))
		return ob_fail(err, EINVAL, "%s.%s: name or release is too long or not plain",
			       table->name, f->name);
	if (f->type != OB_FIELD_STRUCT && (size == 0 || f->size != size))
		return ob_fail(err, EINVAL, "%s.%s: element of %u bytes is not its type's",
			       table->name, f->name, f->size);
	if (len == 0 || len > table->size || f->offset > table->size - len)
		return ob_fail(err, EINVAL, "%s.%s: %llu bytes at %u leave the structure of %u",
			       table->name, f->name, (unsigned long long)len,
			       f->offset, table->size);
	if ((r = check_tag(table, f, err)) || (r = check_values(table, f, err)))
		return r;
	return f->type == OB_FIELD_STRUCT ? check_sub(table, f, depth, err) : 0;
}

static uint32_t end_of(const struct ob_field *f)
{
	return f->offset + f->size * f->count;
}

static int check_overlap(const struct ob_table *table, const struct ob_field *f,
			 struct ob_err *err)
{
	const struct ob_field *other;

	for (other = table->fields; other != f; other++)
		if (other->offset < end_of(f) && f->offset < end_of(other))
			return ob_fail(err, EINVAL, "%s.%s: byte %u is in an "
				       "earlier row too", table->name, f->name,
				       f->offset > other->offset ?
				       f->offset : other->offset);
	return 0;
}

static const struct ob_field *row_at(const struct ob_table *table,
				     uint32_t offset)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (f->offset == offset)
			return f;
	return NULL;
}

/* None overlaps another, so the next one begins where this one ends. */
static uint32_t find_hole(const struct ob_table *table)
{
	const struct ob_field *f;
	uint32_t at = 0;

	while (at < table->size && (f = row_at(table, at)))
		at = end_of(f);
	return at;
}

static int check_table(const struct ob_table *table, unsigned depth,
		       struct ob_err *err)
{
	const struct ob_field *f;
	uint32_t hole;
	int r;

	if (!table->name || !table->fields || table->size == 0)
		return ob_fail(err, EINVAL, "a table without name, rows or size");
	if (table->size > OB_TABLE_SIZE_MAX || !good_name(table->name, OB_TABLE_NAME_MAX))
		return ob_fail(err, EINVAL, "%s: size or name is too long", table->name);
	if (depth > OB_TABLE_DEPTH)
		return ob_fail(err, EINVAL, "%s: tables nest deeper than %d",
			       table->name, OB_TABLE_DEPTH);
	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if ((r = check_row(table, f, depth, err)) ||
		    (r = check_overlap(table, f, err)))
			return r;
	if (f - table->fields > OB_TABLE_ROWS_MAX)
		return ob_fail(err, EINVAL, "%s: more than %u rows", table->name,
			       OB_TABLE_ROWS_MAX);
	hole = find_hole(table);
	if (hole < table->size)
		return ob_fail(err, EINVAL, "%s: byte %u is in no row",
			       table->name, hole);
	return 0;
}

int ob_table_check(const struct ob_table *table, struct ob_err *err)
{
	return check_table(table, 0, err);
}
