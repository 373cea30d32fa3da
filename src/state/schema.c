// SPDX-License-Identifier: BSD-3-Clause
/* A schema for people, and for the files that keep its history. */
#include "state/schema_priv.h"

#include "state/show.h"

static const char *const type_names[] = {
	[OB_FIELD_U8] = "u8", [OB_FIELD_U16] = "u16", [OB_FIELD_U32] = "u32",
	[OB_FIELD_U64] = "u64", [OB_FIELD_BYTES] = "bytes",
	[OB_FIELD_STRUCT] = "struct", [OB_FIELD_RESERVED] = "reserved",
};

static json_t *row_json(const struct ob_field *f)
{
	json_t *row = json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", f->name,
				"type", type_names[f->type],
				"offset", (json_int_t)f->offset,
				"size", (json_int_t)f->size,
				"count", (json_int_t)f->count);

	if (!row || f->type == OB_FIELD_RESERVED)
		return row;
	json_object_set_new(row, "tag", json_integer(f->tag));
	json_object_set_new(row, "since", json_string(f->since));
	if (f->max)
		json_object_set_new(row, "max", ob_json_u64(f->max));
	if (f->def)
		json_object_set_new(row, "default", ob_json_u64(f->def));
	if (f->optional)
		json_object_set_new(row, "optional", json_true());
	if (f->sub)
		json_object_set_new(row, "table", json_string(f->sub->name));
	return row;
}

static json_t *table_json(const struct ob_table *table)
{
	const struct ob_field *f;
	json_t *rows = json_array();

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		json_array_append_new(rows, row_json(f));
	return json_pack("{s:s, s:I, s:o}", "name", table->name,
			 "size", (json_int_t)table->size, "fields", rows);
}

json_t *ob_schema_json(const struct ob_schema_root *roots, unsigned count)
{
	json_t *tables = json_array(), *parts = json_array();
	struct ob_table_set set;
	unsigned i;

	if (ob_table_set_fill(&set, roots, count))
		set.count = 0;
	for (i = 0; i < set.count; i++)
		json_array_append_new(tables, table_json(set.tables[i]));
	for (i = 0; i < count; i++)
		json_array_append_new(parts, json_pack("{s:s, s:s}",
						       "name", roots[i].name,
						       "table",
						       roots[i].table->name));
	return json_pack("{s:o, s:o}", "parts", parts, "tables", tables);
}
