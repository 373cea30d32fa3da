// SPDX-License-Identifier: BSD-3-Clause
/* Tables as bytes: what comes back is what went in, and nothing else does. */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/schema.h"
#include "state/schema_priv.h"
#include "state/wire.h"

static const struct ob_schema_root sample_roots[] = {
	{ "identity", &ob_stream_identity_table },
	{ "plain", &sample_plain_table },
	{ "hot", &sample_hot_table },
};

static size_t put(uint8_t *bytes, size_t size)
{
	struct ob_writer wr;

	ob_writer_init(&wr, bytes, size);
	assert_int_equal(ob_schema_put(&wr, sample_roots, 3), 0);
	return ob_writer_len(&wr);
}

static void expect_same_table(const struct ob_table *a, const struct ob_table *b)
{
	const struct ob_field *f, *g;

	assert_string_equal(a->name, b->name);
	assert_int_equal(a->size, b->size);
	for (f = a->fields, g = b->fields; f->type != OB_FIELD_END; f++, g++) {
		assert_string_equal(f->name, g->name);
		assert_string_equal(f->since, g->since);
		assert_int_equal(f->tag, g->tag);
		assert_int_equal(f->type, g->type);
		assert_int_equal(f->offset, g->offset);
		assert_int_equal(f->size, g->size);
		assert_int_equal(f->count, g->count);
		assert_true(f->max == g->max && f->def == g->def);
		assert_int_equal(f->optional, g->optional);
		assert_int_equal(f->sub != NULL, g->sub != NULL);
		if (f->sub)
			expect_same_table(f->sub, g->sub);
	}
	assert_int_equal(g->type, OB_FIELD_END);
}

static void tables_come_back(void **arg)
{
	struct ob_err err = { "" };
	struct ob_schema *schema;
	uint8_t bytes[4096];
	size_t len = put(bytes, sizeof(bytes));
	unsigned i;

	(void)arg;
	if (ob_schema_get(bytes, len, &schema, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(ob_schema_count(schema), 3);
	assert_null(ob_schema_root(schema, 3));
	assert_null(ob_schema_find(schema, "cold"));
	for (i = 0; i < 3; i++) {
		const struct ob_schema_root *root = ob_schema_root(schema, i);

		assert_string_equal(root->name, sample_roots[i].name);
		assert_ptr_equal(ob_schema_find(schema, root->name), root->table);
		expect_same_table(sample_roots[i].table, root->table);
		assert_int_equal(ob_table_check(root->table, NULL), 0);
	}
	/* Once, however often it is nested. */
	assert_ptr_equal(ob_schema_find(schema, "plain")->fields[8].sub,
			 ob_schema_find(schema, "hot")->fields[0].sub);
	ob_schema_destroy(schema);
}

static void a_small_writer_is_told(void **arg)
{
	uint8_t bytes[4096], again[4096];
	size_t len = put(bytes, sizeof(bytes)), size;
	struct ob_writer wr;

	(void)arg;
	for (size = 0; size < len; size++) {
		ob_writer_init(&wr, again, size);
		assert_int_equal(ob_schema_put(&wr, sample_roots, 3), -ENOSPC);
	}
	assert_int_equal(put(again, len), len);
}

static void refused(const uint8_t *bytes, size_t len)
{
	/* Exactly as long as that, for the sanitizers. */
	uint8_t *copy = malloc(len + !len);
	struct ob_err err = { "" };
	struct ob_schema *schema;

	memcpy(copy, bytes, len);
	assert_int_equal(ob_schema_get(copy, len, &schema, &err), -EINVAL);
	assert_true(err.msg[0]);
	free(copy);
}

static void every_length_but_the_right_one_is_refused(void **arg)
{
	uint8_t bytes[4096] = { 0 };
	size_t whole = put(bytes, sizeof(bytes)), len;

	(void)arg;
	for (len = 0; len < whole; len++)
		refused(bytes, len);
	refused(bytes, whole + 1);
}

/* Accepted or refused, what was accepted is a true table. */
static void every_flipped_bit(void **arg)
{
	uint8_t bytes[4096];
	size_t len = put(bytes, sizeof(bytes)), i;
	struct ob_schema *schema;
	unsigned bit, j, bad = 0;

	(void)arg;
	for (i = 0; i < len; i++)
		for (bit = 0; bit < 8; bit++) {
			bytes[i] ^= 1u << bit;
			if (ob_schema_get(bytes, len, &schema, NULL)) {
				bad++;
			} else {
				for (j = 0; j < ob_schema_count(schema); j++)
					assert_int_equal(ob_table_check(
						ob_schema_root(schema, j)->table, NULL), 0);
				ob_schema_destroy(schema);
			}
			bytes[i] ^= 1u << bit;
		}
	assert_true(bad > len);
}

/* -- made by hand ------------------------------------------------------- */

struct row {
	unsigned tag, type, offset, size, count, sub;
	uint64_t max, def;
	const char *name;
};

static void put_name(struct ob_writer *wr, const char *name)
{
	ob_put_u8(wr, (uint8_t)strlen(name));
	ob_put_bytes(wr, name, strlen(name) + 1);
}

static void begin(struct ob_writer *wr, uint8_t *bytes, size_t size,
		  unsigned tables, unsigned roots)
{
	ob_writer_init(wr, bytes, size);
	ob_put_le(wr, tables, 2);
	ob_put_le(wr, roots, 2);
}

static void put_table(struct ob_writer *wr, const char *name, unsigned size,
		      unsigned rows)
{
	ob_put_le(wr, 4 + 2 + strlen(name) + 2, 2);
	ob_put_le(wr, size, 4);
	ob_put_le(wr, rows, 2);
	put_name(wr, name);
}

static void put_row(struct ob_writer *wr, const struct row *row)
{
	ob_put_le(wr, 34 + strlen(row->name) + 2 + 2, 2);
	ob_put_le(wr, row->tag, 2);
	ob_put_le(wr, row->type, 1);
	ob_put_le(wr, 0, 1);
	ob_put_le(wr, row->offset, 4);
	ob_put_le(wr, row->size, 4);
	ob_put_le(wr, row->count, 4);
	ob_put_le(wr, row->max, 8);
	ob_put_le(wr, row->def, 8);
	ob_put_le(wr, row->sub, 2);
	put_name(wr, row->name);
	put_name(wr, "");
}

static void put_root(struct ob_writer *wr, unsigned table, const char *name)
{
	ob_put_le(wr, 2 + strlen(name) + 2, 2);
	ob_put_le(wr, table, 2);
	put_name(wr, name);
}

#define NO OB_SCHEMA_NO_TABLE

static void rows_that_lie(void **arg)
{
	static const struct {
		struct row row;
		unsigned size;
		const char *words;
	} cases[] = {
		{ { 1, OB_FIELD_U32, 0, 4, 1, NO, 0, 0, "a" }, 8, "at its end" },
		{ { 1, OB_FIELD_U32, 4, 4, 1, NO, 0, 0, "a" }, 8, "does not begin" },
		{ { 1, OB_FIELD_U32, 0, 2, 4, NO, 0, 0, "a" }, 8, "elements of 2" },
		{ { 1, OB_FIELD_U32, 0, 4, 3, NO, 0, 0, "a" }, 8, "leaves" },
		{ { 1, OB_FIELD_U32, 0, 4, 0, NO, 0, 0, "a" }, 8, "leaves" },
		{ { 1, OB_FIELD_U64, 0, 8, 0x20000001, NO, 0, 0, "a" }, 8, "leaves" },
		{ { 1, OB_FIELD_U64, 0xfffffff8, 8, 1, NO, 0, 0, "a" }, 8, "leaves" },
		{ { 0, OB_FIELD_U64, 0, 8, 1, NO, 0, 0, "a" }, 8, "tag 0" },
		{ { 5, OB_FIELD_RESERVED, 0, 1, 8, NO, 0, 0, "a" }, 8, "tag 5" },
		{ { 1, 99, 0, 8, 1, NO, 0, 0, "a" }, 8, "type 99" },
		{ { 1, OB_FIELD_END, 0, 8, 1, NO, 0, 0, "a" }, 8, "type 0" },
		{ { 1, OB_FIELD_U8, 0, 1, 8, NO, 256, 0, "a" }, 8, "does not fit" },
		{ { 1, OB_FIELD_U8, 0, 1, 8, NO, 3, 4, "a" }, 8, "does not fit" },
		{ { 1, OB_FIELD_BYTES, 0, 1, 8, NO, 0, 1, "a" }, 8, "does not fit" },
		{ { 1, OB_FIELD_U64, 0, 8, 1, 0, 0, 0, "a" }, 8, "no structures" },
		/* A table in itself, or one that comes later. */
		{ { 1, OB_FIELD_STRUCT, 0, 8, 1, 0, 0, 0, "a" }, 8, "before it" },
		{ { 1, OB_FIELD_STRUCT, 0, 8, 1, 1, 0, 0, "a" }, 8, "before it" },
		{ { 1, OB_FIELD_STRUCT, 0, 8, 1, NO, 0, 0, "a" }, 8, "before it" },
		{ { 1, OB_FIELD_U64, 0, 8, 1, NO, 0, 0, "" }, 8, "empty" },
		{ { 1, OB_FIELD_U64, 0, 8, 1, NO, 0, 0, "a\x1b[m" }, 8, "plain text" },
		{ { 1, OB_FIELD_U64, 0, 8, 1, NO, 0, 0, "a b" }, 8, "plain text" },
		{ { 1, OB_FIELD_U8, 0, 1, 0x8000000, NO, 0, 0, "a" }, 0x8000000,
		  "not possible" },
	};
	uint8_t bytes[256];
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ob_err err = { "" };
		struct ob_schema *schema;
		struct ob_writer wr;

		begin(&wr, bytes, sizeof(bytes), 1, 1);
		put_table(&wr, "t", cases[i].size, 1);
		put_row(&wr, &cases[i].row);
		put_root(&wr, 0, "part");
		assert_int_equal(ob_schema_get(bytes, ob_writer_len(&wr), &schema,
					       &err), -EINVAL);
		if (!strstr(err.msg, cases[i].words))
			fail_msg("%u: \"%s\" does not say \"%s\"", i, err.msg,
				 cases[i].words);
	}
}

/* depth tables, each with two of the one before it. */
static int nest(unsigned depth, struct ob_err *err)
{
	static uint8_t bytes[OB_SCHEMA_BYTES_MAX];
	struct ob_schema *schema;
	struct ob_writer wr;
	unsigned i;
	int r;

	begin(&wr, bytes, sizeof(bytes), depth, 1);
	for (i = 0; i < depth; i++) {
		const struct row row = {
			1, i ? OB_FIELD_STRUCT : OB_FIELD_U8, 0,
			i ? 1u << (i - 1) : 1, i ? 2 : 1, i ? i - 1 : NO, 0, 0, "r"
		};

		put_table(&wr, "t", i ? 1u << i : 1, 1);
		put_row(&wr, &row);
	}
	put_root(&wr, depth - 1, "part");
	r = ob_schema_get(bytes, ob_writer_len(&wr), &schema, err);
	if (!r)
		ob_schema_destroy(schema);
	return r;
}

static void nesting_ends(void **arg)
{
	struct ob_err err = { "" };

	(void)arg;
	assert_int_equal(nest(9, &err), 0);
	assert_int_equal(nest(10, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "nest deeper than 8"));
}

static void counts_are_bounded(void **arg)
{
	static uint8_t bytes[OB_SCHEMA_BYTES_MAX + 1];
	struct ob_err err = { "" };
	struct ob_schema *schema;
	struct ob_writer wr;
	unsigned i;

	(void)arg;
	begin(&wr, bytes, sizeof(bytes), OB_SCHEMA_TABLES_MAX + 1, 1);
	assert_int_equal(ob_schema_get(bytes, 4, &schema, &err), -EINVAL);
	begin(&wr, bytes, sizeof(bytes), 1, OB_SCHEMA_ROOTS_MAX + 1);
	assert_int_equal(ob_schema_get(bytes, 4, &schema, &err), -EINVAL);
	assert_int_equal(ob_schema_get(bytes, sizeof(bytes), &schema, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too large"));

	begin(&wr, bytes, sizeof(bytes), 2, 1);
	for (i = 0; i < 2; i++) {
		unsigned j, rows = i ? 97 : 4000;

		put_table(&wr, "t", rows, rows);
		for (j = 0; j < rows; j++)
			put_row(&wr, &(struct row){ j + 1, OB_FIELD_U8, j, 1, 1, NO,
						    0, 0, "r" });
	}
	put_root(&wr, 0, "part");
	assert_int_equal(ob_schema_get(bytes, ob_writer_len(&wr), &schema, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "in 97 fields"));
}

/* Later releases may say more about a table, a row, a root. */
static void what_later_releases_add_is_passed_over(void **arg)
{
	const struct row row = { 1, OB_FIELD_U32, 0, 4, 1, NO, 0, 0, "a" };
	struct ob_err err = { "" };
	struct ob_schema *schema;
	struct ob_writer wr;
	uint8_t bytes[256];
	uint8_t *item;

	(void)arg;
	begin(&wr, bytes, sizeof(bytes), 1, 1);
	put_table(&wr, "t", 4, 1);
	item = wr.at;
	put_row(&wr, &row);
	ob_put_u8(&wr, 0xee);
	ob_le_store(item, ob_le_load(item, 2) + 1, 2);
	item = wr.at;
	put_root(&wr, 0, "part");
	ob_put_u8(&wr, 0xee);
	ob_le_store(item, ob_le_load(item, 2) + 1, 2);
	if (ob_schema_get(bytes, ob_writer_len(&wr), &schema, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(ob_schema_find(schema, "part")->size, 4);
	ob_schema_destroy(schema);
}

static void parts_of_one_name_are_refused(void **arg)
{
	const struct row row = { 1, OB_FIELD_U32, 0, 4, 1, NO, 0, 0, "a" };
	struct ob_err err = { "" };
	struct ob_schema *schema;
	struct ob_writer wr;
	uint8_t bytes[256];

	(void)arg;
	begin(&wr, bytes, sizeof(bytes), 1, 2);
	put_table(&wr, "t", 4, 1);
	put_row(&wr, &row);
	put_root(&wr, 0, "part");
	put_root(&wr, 0, "part");
	assert_int_equal(ob_schema_get(bytes, ob_writer_len(&wr), &schema, &err),
			 -EINVAL);
	assert_string_equal(err.msg, "part: twice in the schema");
}

static void json_names_every_field(void **arg)
{
	json_t *json = ob_schema_json(sample_roots, 3), *tables, *queue, *row;

	(void)arg;
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "parts")), 3);
	tables = json_object_get(json, "tables");
	assert_int_equal(json_array_size(tables), 4);
	/* Those inside others come first; the identity has none. */
	queue = json_array_get(tables, 1);
	assert_string_equal(json_string_value(json_object_get(queue, "name")),
			    "sample-queue");
	row = json_array_get(json_object_get(queue, "fields"), 1);
	assert_string_equal(json_string_value(json_object_get(row, "name")), "sqid");
	assert_string_equal(json_string_value(json_object_get(row, "type")), "u16");
	assert_int_equal(json_integer_value(json_object_get(row, "tag")), 2);
	assert_int_equal(json_integer_value(json_object_get(row, "offset")), 8);
	assert_int_equal(json_integer_value(json_object_get(row, "max")), 64);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_come_back),
		cmocka_unit_test(a_small_writer_is_told),
		cmocka_unit_test(every_length_but_the_right_one_is_refused),
		cmocka_unit_test(every_flipped_bit),
		cmocka_unit_test(rows_that_lie),
		cmocka_unit_test(nesting_ends),
		cmocka_unit_test(counts_are_bounded),
		cmocka_unit_test(what_later_releases_add_is_passed_over),
		cmocka_unit_test(parts_of_one_name_are_refused),
		cmocka_unit_test(json_names_every_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
