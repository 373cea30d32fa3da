// SPDX-License-Identifier: BSD-3-Clause
/* R24: a field that a table forgets is noticed when a restore is compared. */
#include "mutate.h"
#include "sample.h"

static void test_r24_every_dropped_field_is_noticed(void **arg)
{
	(void)arg;
	assert_int_equal(mutate_every_field(&sample_queue_table, 1), 4);
	assert_int_equal(mutate_every_field(&sample_plain_table, 2), 13);
	assert_int_equal(mutate_every_field(&sample_hot_table, 3), 8);
	assert_int_equal(mutate_every_field(&ob_stream_identity_table, 4), 3);
}

/* The other half of R24: a byte of the structure that no row names. */
static void test_r24_a_field_without_a_row_is_refused(void **arg)
{
	static const struct ob_field rows[] = {
		OB_U64(1, struct sample_queue, base, "0.1"),
		OB_U16(2, struct sample_queue, sqid, "0.1"),
		OB_U8(3, struct sample_queue, created, "0.1"),
		OB_RESERVED(struct sample_queue, reserved),
		OB_END
	};
	const struct ob_table table = {
		"queue", sizeof(struct sample_queue), rows
	};
	struct ob_err err = { "" };

	(void)arg;
	assert_int_not_equal(ob_table_check(&table, &err), 0);
	assert_string_equal(err.msg, "queue: byte 12 is in no row");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r24_every_dropped_field_is_noticed),
		cmocka_unit_test(test_r24_a_field_without_a_row_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
