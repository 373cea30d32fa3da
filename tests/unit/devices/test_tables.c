// SPDX-License-Identifier: BSD-3-Clause
/*
 * R24 for the tables that this program really has: the library's own and
 * those of every model.  A field that is taken out of any of them is missed
 * when a restored structure is compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "devices/registry.h"
#include "mutate.h"
#include "server/core.h"
#include "state/stream.h"

static unsigned rows(const struct ob_table *table)
{
	const struct ob_field *f;
	unsigned n = 0;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		n += f->type != OB_FIELD_RESERVED;
	return n;
}

/* As many as the table has, and those of the tables inside it. */
static void check(const struct ob_table *table, uint64_t seed)
{
	if (table)
		assert_true(mutate_every_field(table, seed) >= rows(table));
}

static void test_r24_every_field_of_the_library(void **arg)
{
	(void)arg;
	check(&ob_core_table, 11);
	check(&ob_stream_identity_table, 12);
}

static void test_r24_every_field_of_every_model(void **arg)
{
	struct ob_registry models;
	size_t i;

	(void)arg;
	ob_registry_init(&models);
	assert_true(models.count >= 3);
	for (i = 0; i < models.count; i++) {
		check(models.models[i]->state, 100 + i);
		check(models.models[i]->hot, 200 + i);
	}
}

/* Memory maps do not travel; they outlive the process in the same way. */
static void test_r24_memory_table_has_a_row_for_every_byte(void **arg)
{
	struct ob_err err = { "" };

	(void)arg;
	if (ob_table_check(&ob_dma_table_table, &err))
		fail_msg("%s", err.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r24_every_field_of_the_library),
		cmocka_unit_test(test_r24_every_field_of_every_model),
		cmocka_unit_test(test_r24_memory_table_has_a_row_for_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
