// SPDX-License-Identifier: BSD-3-Clause
/* Values as people and tools see them: JSON, differences, bounds. */
#include "sample.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "state/show.h"

static const char *text(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

static void json_shows_what_is_not_the_default(void **arg)
{
	struct sample_plain plain;
	json_t *json, *admin;

	(void)arg;
	ob_table_defaults(&sample_plain_table, &plain);
	json = ob_table_json(&sample_plain_table, &plain, false);
	assert_int_equal(json_object_size(json), 0);
	json_decref(json);

	strcpy((char *)plain.name, "disk");
	plain.big = UINT64_MAX;
	plain.cc = 7;
	plain.bytes[1] = 0xab;
	plain.halves[7] = 3;
	plain.admin.sqid = 12;
	json = ob_table_json(&sample_plain_table, &plain, false);
	assert_int_equal(json_object_size(json), 6);
	assert_string_equal(text(json, "name"), "disk");
	assert_string_equal(text(json, "big"), "0xffffffffffffffff");
	assert_string_equal(text(json, "bytes"), "0x00ab000000");
	assert_int_equal(json_integer_value(json_object_get(json, "cc")), 7);
	assert_int_equal(json_array_size(json_object_get(json, "halves")), 8);
	admin = json_object_get(json, "admin");
	assert_int_equal(json_object_size(admin), 1);
	assert_int_equal(json_integer_value(json_object_get(admin, "sqid")), 12);
	json_decref(json);
}

static void json_shows_everything_when_asked(void **arg)
{
	struct sample_plain plain;
	json_t *json;

	(void)arg;
	ob_table_defaults(&sample_plain_table, &plain);
	json = ob_table_json(&sample_plain_table, &plain, true);
	assert_int_equal(json_object_size(json), 9);
	assert_int_equal(json_integer_value(json_object_get(json, "width")), 9);
	assert_int_equal(json_object_size(json_object_get(json, "admin")), 4);
	json_decref(json);
}

static void json_numbers_the_elements_it_shows(void **arg)
{
	struct sample_hot hot;
	json_t *json, *slots, *slot;

	(void)arg;
	ob_table_defaults(&sample_hot_table, &hot);
	hot.slots[5].base = 4096;
	json = ob_table_json(&sample_hot_table, &hot, false);
	slots = json_object_get(json, "slots");
	assert_int_equal(json_array_size(slots), 1);
	slot = json_array_get(slots, 0);
	assert_int_equal(json_integer_value(json_object_get(slot, "index")), 5);
	assert_int_equal(json_integer_value(json_object_get(slot, "base")), 4096);
	json_decref(json);
	json = ob_table_json(&sample_hot_table, &hot, true);
	assert_int_equal(json_array_size(json_object_get(json, "slots")), 12);
	json_decref(json);
}

/* Text that could be taken for hexadecimal, or that hides something. */
static void bytes_are_text_only_without_doubt(void **arg)
{
	static const struct {
		const char bytes[8];
		bool text;
	} cases[] = {
		{ "disk", true }, { "0x12", false }, { "", false },
		{ "12345678", false }, { "a\0b", false }, { "a\n", false },
		{ "\xc3\xa9", false }, { "1234567", true },
	};
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(cases[i].text, ob_bytes_are_text(
			(const uint8_t *)cases[i].bytes, 8));
}

static void collect(void *arg, const char *path, const char *a, const char *b)
{
	size_t len = strlen(arg);

	snprintf((char *)arg + len, 512 - len, "%s:%s:%s ", path, a, b);
}

static void differences_have_paths(void **arg)
{
	struct sample_hot a, b;
	char seen[512] = "";

	(void)arg;
	ob_table_defaults(&sample_hot_table, &a);
	b = a;
	assert_int_equal(ob_table_diff(&sample_hot_table, &a, &b, collect, seen), 0);
	b.slots[3].limit = 8;
	b.slots[3].reserved = 1;	/* belongs to nobody */
	b.numbers[39] = 5;
	b.opaque[100] = 1;
	b.opaque[102] = 2;
	strcpy((char *)b.tail, "abc");
	assert_int_equal(ob_table_diff(&sample_hot_table, &a, &b, collect, seen), 5);
	assert_string_equal(seen, "slots[3].limit:7:8 numbers[39]:0:5 "
			    "opaque[100]:0x00:0x01 opaque[102]:0x00:0x02 "
			    "tail:0x00000000:abc ");
}

static void values_out_of_bounds_are_named(void **arg)
{
	struct sample_hot hot;
	struct ob_err err = { "" };

	(void)arg;
	ob_table_defaults(&sample_hot_table, &hot);
	assert_int_equal(ob_table_check_values(&sample_hot_table, &hot, "hot", &err), 0);
	hot.slots[11].sqid = 65;
	assert_int_equal(ob_table_check_values(&sample_hot_table, &hot, "hot", &err),
			 -EINVAL);
	assert_string_equal(err.msg, "hot.slots[11].sqid: 65 is more than 64");
}

static int decode(const uint8_t *records, size_t len, struct ob_err *err)
{
	struct sample_plain plain;

	ob_table_defaults(&sample_plain_table, &plain);
	return ob_table_decode(&sample_plain_table, &sample_plain_table, &plain,
			       records, len, "plain", err);
}

/* tag, 0, first, bytes: each lie has a name. */
static void records_that_lie_are_refused(void **arg)
{
	static const struct {
		uint8_t bytes[16];
		size_t len;
		const char *msg;
	} cases[] = {
		{ { 99, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4 }, 16,
		  "plain: a record of a field that its schema does not have" },
		{ { 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4 }, 15,
		  "plain: a record is cut short" },
		{ { 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4 }, 7,
		  "plain: a record is cut short" },
		{ { 3, 0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4 }, 16,
		  "plain: a record's reserved bytes are not 0" },
		{ { 3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3 }, 15,
		  "plain.cc: the record is no number of elements" },
		{ { 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 12,
		  "plain.cc: the record is no number of elements" },
		{ { 3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4 }, 16,
		  "plain.cc: the record leaves the array of its own schema" },
		{ { 5, 0, 0, 0, 255, 255, 255, 255, 4, 0, 0, 0, 1, 2, 3, 4 }, 16,
		  "plain.halves: the record leaves the array of its own schema" },
		{ { 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2 }, 13,
		  "plain.flag: 2 is more than 1" },
		{ { 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0 }, 15,
		  "plain.admin: a record is cut short" },
	};
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ob_err err = { "" };

		assert_int_equal(decode(cases[i].bytes, cases[i].len, &err), -EINVAL);
		assert_string_equal(err.msg, cases[i].msg);
	}
}

/* Little-endian, whatever the host: the bytes are fixed. */
static void records_look_the_same_everywhere(void **arg)
{
	static const uint8_t expected[] = {
		2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		5, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2, 1, 4, 3,
		8, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0,
		2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0,
	};
	struct ob_encode_at at = { 0 };
	struct sample_plain plain;
	struct ob_writer wr;
	uint8_t bytes[256];

	(void)arg;
	ob_table_defaults(&sample_plain_table, &plain);
	plain.big = 0x1122334455667788;
	plain.halves[6] = 0x0102;
	plain.halves[7] = 0x0304;
	plain.admin.sqid = 9;
	ob_writer_init(&wr, bytes, sizeof(bytes));
	assert_int_equal(ob_table_encode(&sample_plain_table, &plain, &at, &wr), 0);
	assert_true(at.done);
	assert_int_equal(ob_writer_len(&wr), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_shows_what_is_not_the_default),
		cmocka_unit_test(json_shows_everything_when_asked),
		cmocka_unit_test(json_numbers_the_elements_it_shows),
		cmocka_unit_test(bytes_are_text_only_without_doubt),
		cmocka_unit_test(differences_have_paths),
		cmocka_unit_test(values_out_of_bounds_are_named),
		cmocka_unit_test(records_that_lie_are_refused),
		cmocka_unit_test(records_look_the_same_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
