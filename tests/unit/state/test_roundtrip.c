// SPDX-License-Identifier: BSD-3-Clause
/* What goes in comes out, however the stream is cut on either side. */
#include "sample.h"

#include <stdlib.h>
#include <string.h>

#include "state/field.h"

#define DRIVE (192u << 10)

static void expect_same(const struct sample *a, struct ob_loader *loader,
			const struct sample_content *drive)
{
	assert_memory_equal(ob_loader_part(loader, 0), &a->plain, sizeof(a->plain));
	assert_memory_equal(ob_loader_part(loader, 1), &a->hot, sizeof(a->hot));
	assert_memory_equal(drive->bytes, a->drive.bytes, a->drive.size);
}

static void load_and_compare(const struct sample *from,
			     const struct sample_bytes *stream, size_t step)
{
	struct ob_err err = { "" };
	struct ob_loader *loader;
	struct sample to;

	sample_init(&to, 0, from->drive.size);
	memset(to.drive.bytes, 0xa5, to.drive.size);
	assert_int_equal(ob_loader_create(&to.load, &loader, &err), 0);
	if (sample_load(loader, stream, step, &err))
		fail_msg("%s", err.msg);
	expect_same(from, loader, &to.drive);
	assert_string_equal((char *)ob_loader_identity(loader)->model, "sample");
	assert_string_equal((char *)ob_loader_identity(loader)->id, "sample0");
	ob_loader_destroy(loader);
	sample_destroy(&to);
}

static void checksum_is_the_usual_one(void **arg)
{
	(void)arg;
	assert_int_equal(ob_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(ob_crc32c(ob_crc32c(0, "1234", 4), "56789", 5),
			 0xe3069283);
	assert_int_equal(ob_crc32c(0, "", 0), 0);
}

static void sample_tables_are_true(void **arg)
{
	struct ob_err err = { "" };

	(void)arg;
	if (ob_table_check(&sample_plain_table, &err) ||
	    ob_table_check(&sample_hot_table, &err) ||
	    ob_table_check(&ob_stream_identity_table, &err))
		fail_msg("%s", err.msg);
}

/* Every fill from all defaults to none. */
static void random_structures_come_back(void **arg)
{
	static uint8_t records[1u << 16], from[4096], to[4096];
	const struct ob_table *const tables[] = {
		&sample_plain_table, &sample_hot_table,
	};
	struct sample_rng rng = { 1 };
	unsigned i;

	(void)arg;
	for (i = 0; i < 2000; i++) {
		const struct ob_table *table = tables[i % 2];
		struct ob_encode_at at = { 0 };
		struct ob_err err = { "" };
		struct ob_writer wr;

		sample_fill(&rng, table, from, i % 257);
		ob_writer_init(&wr, records, sizeof(records));
		assert_int_equal(ob_table_encode(table, from, &at, &wr), 0);
		assert_true(at.done);
		assert_true(ob_writer_len(&wr) <= ob_table_worst(table));
		ob_table_defaults(table, to);
		if (ob_table_decode(table, table, to, records, ob_writer_len(&wr),
				    "part", &err))
			fail_msg("%s", err.msg);
		assert_memory_equal(from, to, table->size);
		assert_int_equal(ob_table_diff(table, from, to, NULL, NULL), 0);
	}
}

/* The encoder goes on where a small writer ended. */
static void encodes_in_pieces_of_any_size(void **arg)
{
	static uint8_t records[1u << 16], from[4096], to[4096];
	struct sample_rng rng = { 2 };
	size_t room;

	(void)arg;
	for (room = 1; room < 400; room++) {
		struct ob_encode_at at = { 0 };
		size_t len = 0;
		int r = 0;

		sample_fill(&rng, &sample_hot_table, from, 120);
		while (!at.done && !r) {
			struct ob_writer wr;

			ob_writer_init(&wr, records + len, room);
			r = ob_table_encode(&sample_hot_table, from, &at, &wr);
			len += ob_writer_len(&wr);
		}
		if (r) {
			assert_true(room < 12 + ob_table_worst(&sample_queue_table));
			continue;
		}
		ob_table_defaults(&sample_hot_table, to);
		assert_int_equal(ob_table_decode(&sample_hot_table, &sample_hot_table,
						 to, records, len, "hot", NULL), 0);
		assert_memory_equal(from, to, sample_hot_table.size);
	}
}

static void whole_devices_come_back(void **arg)
{
	static const size_t rooms[] = { 1u << 20, 1, 2, 3, 17, 4095, 4096, 4137, 65536 };
	static const unsigned pieces[] = { 1, 2, 3, 4, 600 };
	unsigned i, j;

	(void)arg;
	for (i = 0; i < 9; i++) {
		for (j = 0; j < 5; j++) {
			struct sample_bytes stream = { 0 };
			struct sample s;

			sample_init(&s, 7 + i, DRIVE);
			sample_save(&s.save, rooms[i], pieces[j], &stream);
			load_and_compare(&s, &stream, 1u << 20);
			sample_destroy(&s);
			free(stream.data);
		}
	}
}

static void loads_in_pieces_of_any_size(void **arg)
{
	static const size_t steps[] = { 1, 2, 3, 7, 16, 4096, 65537 };
	struct sample_bytes stream = { 0 };
	struct sample s;
	unsigned i;

	(void)arg;
	sample_init(&s, 99, DRIVE);
	sample_save(&s.save, 1u << 20, 64, &stream);
	for (i = 0; i < 7; i++)
		load_and_compare(&s, &stream, steps[i]);
	sample_destroy(&s);
	free(stream.data);
}

/* Where the two writes meet must not matter. */
static void loads_when_cut_at_any_byte(void **arg)
{
	struct sample_bytes stream = { 0 };
	struct sample s;
	size_t cut;

	(void)arg;
	sample_init(&s, 5, 0);
	sample_save(&s.save, 1u << 20, 64, &stream);
	for (cut = 0; cut <= stream.len; cut++) {
		struct sample to;
		struct ob_loader *loader;

		sample_init(&to, 0, 0);
		assert_int_equal(ob_loader_create(&to.load, &loader, NULL), 0);
		assert_int_equal(ob_loader_write(loader, stream.data, cut, NULL), 0);
		assert_int_equal(ob_loader_write(loader, stream.data + cut,
						 stream.len - cut, NULL), 0);
		assert_int_equal(ob_loader_finish(loader, NULL), 0);
		expect_same(&s, loader, &to.drive);
		ob_loader_destroy(loader);
		sample_destroy(&to);
	}
	sample_destroy(&s);
	free(stream.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_is_the_usual_one),
		cmocka_unit_test(sample_tables_are_true),
		cmocka_unit_test(random_structures_come_back),
		cmocka_unit_test(encodes_in_pieces_of_any_size),
		cmocka_unit_test(whole_devices_come_back),
		cmocka_unit_test(loads_in_pieces_of_any_size),
		cmocka_unit_test(loads_when_cut_at_any_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
