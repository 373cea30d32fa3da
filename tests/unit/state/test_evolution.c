// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two builds with different tables understand each other, or say why not.
 * Each case is a structure of the writer, one of the reader, and a value.
 */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/schema.h"


#define ROW(tag_, type_, name_, offset_, size_, count_, ...)                  \
	{ .tag = tag_, .type = OB_FIELD_##type_, .name = name_,               \
	  .offset = offset_, .size = size_, .count = count_,                  \
	  .since = "0.9", ##__VA_ARGS__ }
#define TABLE(size_, ...)                                                     \
	(&(const struct ob_table){ "table", size_,                            \
		(const struct ob_field[]){ __VA_ARGS__, OB_END } })

/* The writer's table goes through its bytes, as it does in a stream. */
static int move(const struct ob_table *theirs, const void *from,
		const struct ob_table *ours, void *to, struct ob_err *err)
{
	const struct ob_schema_root root = { "part", theirs };
	static uint8_t bytes[8192], records[65536];
	struct ob_encode_at at = { 0 };
	struct ob_schema *schema;
	struct ob_writer wr;
	int r;

	assert_int_equal(ob_table_check(theirs, err), 0);
	assert_int_equal(ob_table_check(ours, err), 0);
	ob_writer_init(&wr, bytes, sizeof(bytes));
	assert_int_equal(ob_schema_put(&wr, &root, 1), 0);
	assert_int_equal(ob_schema_get(bytes, ob_writer_len(&wr), &schema, err), 0);
	ob_writer_init(&wr, records, sizeof(records));
	assert_int_equal(ob_table_encode(theirs, from, &at, &wr), 0);
	theirs = ob_schema_find(schema, "part");
	r = ob_table_begin(ours, theirs, to, "part", err);
	if (!r)
		r = ob_table_decode(ours, theirs, to, records, ob_writer_len(&wr),
				    "part", err);
	if (!r)
		r = ob_table_check_values(ours, to, "part", err);
	ob_schema_destroy(schema);
	return r;
}

static void expect_moved(const struct ob_table *theirs, const void *from,
			 const struct ob_table *ours, void *to)
{
	struct ob_err err = { "" };

	if (move(theirs, from, ours, to, &err))
		fail_msg("%s", err.msg);
}

static void expect_refused(const struct ob_table *theirs, const void *from,
			   const struct ob_table *ours, int r, const char *msg)
{
	struct ob_err err = { "" };
	uint64_t to[64];

	assert_true(ours->size <= sizeof(to));
	assert_int_equal(move(theirs, from, ours, to, &err), r);
	assert_string_equal(err.msg, msg);
}

static void a_new_field_has_its_default(void **arg)
{
	const uint32_t from[] = { 5 };
	uint32_t to[2];

	(void)arg;
	expect_moved(TABLE(4, ROW(1, U32, "a", 0, 4, 1)), from,
		     TABLE(8, ROW(2, U32, "b", 0, 4, 1, .def = 77),
			   ROW(1, U32, "a", 4, 4, 1)), to);
	assert_int_equal(to[0], 77);
	assert_int_equal(to[1], 5);
}

static void a_field_that_went_is_skipped_or_refused(void **arg)
{
	const struct ob_table *ours = TABLE(4, ROW(1, U32, "a", 0, 4, 1));
	const struct ob_table *must = TABLE(8, ROW(1, U32, "a", 0, 4, 1),
					    ROW(2, U32, "gone", 4, 4, 1));
	const struct ob_table *may =
		TABLE(8, ROW(1, U32, "a", 0, 4, 1),
		      ROW(2, U32, "gone", 4, 4, 1, .optional = true));
	const uint32_t used[] = { 5, 6 }, unused[] = { 5, 0 };
	uint32_t to;

	(void)arg;
	expect_moved(may, used, ours, &to);
	assert_int_equal(to, 5);
	expect_refused(must, used, ours, -ENOTSUP,
		       "part.gone: has to be understood, and is not known here"
		       " (it came with release 0.9)");
	/* What still has its default says nothing that could be lost. */
	expect_moved(must, unused, ours, &to);
	assert_int_equal(to, 5);
}

static void integers_become_wider_and_narrower(void **arg)
{
	const struct ob_table *narrow = TABLE(4, ROW(1, U16, "a", 0, 2, 2));
	const struct ob_table *wide = TABLE(16, ROW(1, U64, "a", 0, 8, 2));
	const uint16_t small[] = { 0xffff, 3 };
	uint64_t big[] = { 0xffff, 3 };
	uint16_t to16[2];
	uint64_t to64[2];

	(void)arg;
	expect_moved(narrow, small, wide, to64);
	assert_memory_equal(to64, big, sizeof(big));
	expect_moved(wide, big, narrow, to16);
	assert_memory_equal(to16, small, sizeof(small));
	big[1] = 0x10000;
	expect_refused(wide, big, narrow, -EINVAL,
		       "part.a[1]: 65536 is more than 65535");
}

static void a_smaller_maximum_is_kept(void **arg)
{
	const struct ob_table *ours = TABLE(4, ROW(1, U32, "a", 0, 4, 1, .max = 64));
	const uint32_t good = 64, bad = 70;
	uint32_t to;

	(void)arg;
	expect_moved(TABLE(4, ROW(1, U32, "a", 0, 4, 1)), &good, ours, &to);
	assert_int_equal(to, 64);
	expect_refused(TABLE(4, ROW(1, U32, "a", 0, 4, 1)), &bad, ours, -EINVAL,
		       "part.a: 70 is more than 64");
}

static void the_message_leads_to_the_element(void **arg)
{
	static const struct ob_field loose_rows[] = {
		OB_U64(1, struct sample_queue, base, "0.1"),
		OB_U16(2, struct sample_queue, sqid, "0.1"),
		OB_U8(3, struct sample_queue, created, "0.1"),
		OB_RESERVED(struct sample_queue, reserved),
		OB_U32(4, struct sample_queue, limit, "0.1", .def = 7),
		OB_END
	};
	static const struct ob_table loose = {
		"loose", sizeof(struct sample_queue), loose_rows
	};
	const struct ob_table *theirs =
		TABLE(64, ROW(1, STRUCT, "slots", 0, 16, 4, .sub = &loose));
	const struct ob_table *ours =
		TABLE(64, ROW(1, STRUCT, "slots", 0, 16, 4, .sub = &sample_queue_table));
	struct sample_queue from[4] = {
		{ .limit = 7 }, { .limit = 7 }, { .limit = 7 },
		{ .limit = 7, .sqid = 70 },
	};

	(void)arg;
	expect_refused(theirs, from, ours, -EINVAL,
		       "part.slots[3].sqid: 70 is more than 64");
}

static void arrays_become_longer_and_shorter(void **arg)
{
	const struct ob_table *longer = TABLE(32, ROW(1, U32, "a", 0, 4, 8, .def = 3));
	const struct ob_table *shorter = TABLE(16, ROW(1, U32, "a", 0, 4, 4, .def = 3));
	uint32_t eight[] = { 1, 2, 9, 4, 3, 3, 3, 3 };
	uint32_t to[8];

	(void)arg;
	expect_moved(longer, eight, shorter, to);
	assert_memory_equal(to, eight, 16);
	memset(to, 0, sizeof(to));
	expect_moved(shorter, eight, longer, to);
	assert_memory_equal(to, eight, 32);
	eight[6] = 5;
	expect_refused(longer, eight, shorter, -EINVAL,
		       "part.a[6]: there are only 4 here");
}

static void rows_of_bytes_too(void **arg)
{
	const struct ob_table *longer = TABLE(16, ROW(1, BYTES, "a", 0, 1, 16));
	const struct ob_table *shorter = TABLE(8, ROW(1, BYTES, "a", 0, 1, 8));
	uint8_t sixteen[16] = "12\0\0\0\0\0008", to[16];

	(void)arg;
	expect_moved(longer, sixteen, shorter, to);
	assert_memory_equal(to, sixteen, 8);
	expect_moved(shorter, sixteen, longer, to);
	assert_memory_equal(to, sixteen, 16);
	sixteen[8] = 9;
	expect_refused(longer, sixteen, shorter, -EINVAL,
		       "part.a[8]: there are only 8 here");
	sixteen[8] = 0;
	sixteen[15] = 9;
	expect_refused(longer, sixteen, shorter, -EINVAL,
		       "part.a[15]: there are only 8 here");
}

static void arrays_of_structures_too(void **arg)
{
	const struct ob_table *four =
		TABLE(64, ROW(1, STRUCT, "q", 0, 16, 4, .sub = &sample_queue_table));
	const struct ob_table *two =
		TABLE(32, ROW(1, STRUCT, "q", 0, 16, 2, .sub = &sample_queue_table));
	struct sample_queue from[4] = {
		{ .limit = 7 }, { .limit = 8, .base = 5 }, { .limit = 7 }, { .limit = 7 },
	};
	struct sample_queue to[4];

	(void)arg;
	expect_moved(four, from, two, to);
	assert_memory_equal(to, from, 32);
	expect_moved(two, from, four, to);
	assert_memory_equal(to, from, 64);
	from[3].sqid = 1;
	expect_refused(four, from, two, -EINVAL, "part.q[3]: there are only 2 here");
}

/* The writer left out what has its default, not ours. */
static void the_writers_default_counts(void **arg)
{
	const uint32_t five = 5;
	uint32_t to = 0;

	(void)arg;
	expect_moved(TABLE(4, ROW(1, U32, "a", 0, 4, 1, .def = 5)), &five,
		     TABLE(4, ROW(1, U32, "a", 0, 4, 1, .def = 6)), &to);
	assert_int_equal(to, 5);
	expect_refused(TABLE(4, ROW(1, U32, "a", 0, 4, 1, .def = 5)), &five,
		       TABLE(4, ROW(1, U32, "a", 0, 4, 1, .max = 4)), -EINVAL,
		       "part.a: 5 is more than 4");
}

static void kinds_do_not_mix(void **arg)
{
	const uint8_t from[4] = { 1, 2, 3, 4 };

	(void)arg;
	expect_refused(TABLE(4, ROW(1, BYTES, "a", 0, 1, 4)), from,
		       TABLE(4, ROW(1, U8, "a", 0, 1, 4)), -EINVAL,
		       "part.a: is of another kind here than in the stream");
}

static void names_and_places_are_free(void **arg)
{
	const uint32_t from[] = { 1, 2 };
	uint32_t to[2];

	(void)arg;
	expect_moved(TABLE(8, ROW(1, U32, "old", 0, 4, 1), ROW(2, U32, "x", 4, 4, 1)),
		     from,
		     TABLE(8, ROW(2, U32, "x", 0, 4, 1), ROW(1, U32, "new", 4, 4, 1)),
		     to);
	assert_int_equal(to[0], 2);
	assert_int_equal(to[1], 1);
}

/* A part that only the writer has: by what is in it. */
static void a_part_that_went_is_skipped_or_refused(void **arg)
{
	const struct ob_table *extra =
		TABLE(8, ROW(1, U32, "may", 0, 4, 1, .optional = true),
		      ROW(2, U32, "must", 4, 4, 1));
	uint32_t values[2] = { 5, 0 };
	struct sample_queue queue = { .base = 4096, .limit = 7 };
	struct ob_part parts[] = {
		{ "extra", extra, values },
		{ "queue", &sample_queue_table, &queue },
	};
	const struct ob_save_plan save = { "model", "id", parts, 2, NULL, 0 };
	const struct ob_load_plan load = { "model", parts + 1, 1, NULL, 0 };
	unsigned i;

	(void)arg;
	for (i = 0; i < 2; i++) {
		struct sample_bytes stream = { 0 };
		struct ob_err err = { "" };
		struct ob_loader *loader;

		values[1] = i;
		sample_save(&save, 4096, 4, &stream);
		assert_int_equal(ob_loader_create(&load, &loader, NULL), 0);
		assert_int_equal(sample_load(loader, &stream, 10, &err),
				 i ? -ENOTSUP : 0);
		if (i)
			assert_non_null(strstr(err.msg, "extra.must: has to be"));
		else
			assert_memory_equal(ob_loader_part(loader, 0), &queue,
					    sizeof(queue));
		ob_loader_destroy(loader);
		free(stream.data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_field_has_its_default),
		cmocka_unit_test(a_field_that_went_is_skipped_or_refused),
		cmocka_unit_test(integers_become_wider_and_narrower),
		cmocka_unit_test(a_smaller_maximum_is_kept),
		cmocka_unit_test(the_message_leads_to_the_element),
		cmocka_unit_test(arrays_become_longer_and_shorter),
		cmocka_unit_test(rows_of_bytes_too),
		cmocka_unit_test(arrays_of_structures_too),
		cmocka_unit_test(the_writers_default_counts),
		cmocka_unit_test(kinds_do_not_mix),
		cmocka_unit_test(names_and_places_are_free),
		cmocka_unit_test(a_part_that_went_is_skipped_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
