// SPDX-License-Identifier: BSD-3-Clause
/*
 * Tables of a stranger: what is accepted is true, can be written again, and
 * can be walked by everything that works from tables.
 */
#include <stdlib.h>
#include <string.h>

#include "state/schema.h"
#include "state/table_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define WALK_MAX 65536u

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void walk(const struct ob_table *table)
{
	struct ob_err err = { "" };
	uint8_t *a, *b;

	require(!ob_table_check(table, &err));
	if (table->size > WALK_MAX)
		return;
	a = malloc(table->size);
	b = malloc(table->size);
	require(a && b);
	require(!ob_table_begin(table, table, a, "part", &err));
	ob_table_defaults(table, b);
	require(!ob_table_diff(table, a, b, NULL, NULL));
	require(!ob_table_check_values(table, a, "part", &err));
	json_decref(ob_table_json(table, a, table->size < 512));
	free(a);
	free(b);
}

static void write_again(const struct ob_schema *schema)
{
	const unsigned count = ob_schema_count(schema);
	static uint8_t again[256u << 10];
	struct ob_schema *copy;
	struct ob_writer wr;

	if (!count)
		return;
	ob_writer_init(&wr, again, sizeof(again));
	require(!ob_schema_put(&wr, ob_schema_root(schema, 0), count));
	require(!ob_schema_get(again, ob_writer_len(&wr), &copy, NULL));
	require(ob_schema_count(copy) == count);
	ob_schema_destroy(copy);
	json_decref(ob_schema_json(ob_schema_root(schema, 0), count));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ob_err err = { "" };
	struct ob_schema *schema;
	unsigned i;

	if (ob_schema_get(bytes, len, &schema, &err)) {
		require(err.msg[0] && memchr(err.msg, 0, sizeof(err.msg)));
		return 0;
	}
	for (i = 0; i < ob_schema_count(schema); i++)
		walk(ob_schema_root(schema, i)->table);
	write_again(schema);
	ob_schema_destroy(schema);
	return 0;
}
