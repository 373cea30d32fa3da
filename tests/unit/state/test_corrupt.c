// SPDX-License-Identifier: BSD-3-Clause
/*
 * Streams that are damaged, cut, shuffled or made with bad intent.  Each is
 * either refused by name, or loads a structure within its bounds.
 */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/wire.h"

#define SECTIONS 64

/* Loads; a refusal names where, an acceptance is within the bounds. */
static int try(const struct sample_bytes *stream, size_t step,
	       struct ob_err *err)
{
	struct ob_loader *loader;
	struct sample to;
	unsigned i;
	int r;

	sample_init(&to, 0, 16384);
	assert_int_equal(ob_loader_create(&to.load, &loader, NULL), 0);
	err->msg[0] = 0;
	r = sample_load(loader, stream, step, err);
	if (r) {
		assert_true(r == -EINVAL || r == -ENOTSUP);
		if (strncmp(err->msg, "section ", 8) && strncmp(err->msg, "head: ", 6) &&
		    strncmp(err->msg, "at byte ", 8))
			fail_msg("\"%s\" does not say where", err->msg);
	}
	for (i = 0; i < 2 && !r; i++)
		assert_int_equal(ob_table_check_values(to.parts[i].table,
						       ob_loader_part(loader, i),
						       "part", NULL), 0);
	ob_loader_destroy(loader);
	sample_destroy(&to);
	return r;
}

static void expect_refused(const struct sample_bytes *stream, const char *words)
{
	struct ob_err err;

	assert_int_not_equal(try(stream, 1u << 20, &err), 0);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	/* However it is cut. */
	assert_int_not_equal(try(stream, 1, &err), 0);
}

static void make_stream(uint64_t seed, struct sample_bytes *stream)
{
	struct sample s;

	*stream = (struct sample_bytes){ 0 };
	sample_init(&s, seed, 16384);
	memset(s.drive.bytes + 4096, 0, 8192);
	memset(s.drive.bytes + 12288, 0, seed % 2 ? 4096 : 0);
	sample_save(&s.save, 700, 64, stream);
	sample_destroy(&s);
}

static void every_flipped_byte(void **arg)
{
	static const uint8_t flips[] = { 0xff, 0x01, 0x80, 0x10 };
	struct sample_bytes stream;
	struct ob_err err;
	unsigned i, accepted = 0;
	size_t at;

	(void)arg;
	make_stream(11, &stream);
	for (at = 0; at < stream.len; at++)
		for (i = 0; i < 4; i++) {
			stream.data[at] ^= flips[i];
			accepted += !try(&stream, stream.len, &err);
			stream.data[at] ^= flips[i];
		}
	/* The minor version is two bytes that nothing else depends on. */
	assert_int_equal(accepted, 8);
	free(stream.data);
}

/* Somebody who computes checksums: what is inside has to hold by itself. */
static void every_flipped_byte_with_a_good_checksum(void **arg)
{
	static const uint8_t flips[] = { 0xff, 0x01 };
	struct sample_section sections[SECTIONS];
	struct sample_bytes stream;
	struct ob_err err;
	unsigned n, i, j, refused = 0;
	size_t at;

	(void)arg;
	make_stream(12, &stream);
	n = sample_sections(&stream, sections, SECTIONS);
	for (i = 0; i < n; i++) {
		uint8_t *section = stream.data + sections[i].at;

		for (at = 0; at < sections[i].len; at++) {
			/* A wrong length would sign bytes that are not there. */
			if (at >= 8 && at < 16)
				continue;
			for (j = 0; j < 2; j++) {
				section[at] ^= flips[j];
				sample_resign(section);
				refused += try(&stream, stream.len, &err) != 0;
				section[at] ^= flips[j];
			}
		}
		sample_resign(section);
	}
	assert_true(refused > 300);
	assert_int_equal(try(&stream, stream.len, &err), 0);
	free(stream.data);
}

static void every_length_that_is_too_short(void **arg)
{
	struct sample_bytes stream;
	struct ob_err err;
	size_t whole;

	(void)arg;
	make_stream(13, &stream);
	whole = stream.len;
	for (stream.len = 0; stream.len < whole; stream.len++) {
		assert_int_equal(try(&stream, whole, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "ends before its END"));
	}
	free(stream.data);
}

static void bytes_behind_the_end(void **arg)
{
	struct sample_bytes stream;

	(void)arg;
	make_stream(14, &stream);
	sample_append(&stream, "x", 1);
	expect_refused(&stream, "behind the end");
	free(stream.data);
}

/* stream, rebuilt from the sections that order names. */
static struct sample_bytes rebuild(const struct sample_bytes *stream,
				   const struct sample_section *sections,
				   const unsigned *order, unsigned count)
{
	struct sample_bytes out = { 0 };
	unsigned i;

	sample_append(&out, stream->data, OB_STREAM_HEAD);
	for (i = 0; i < count; i++)
		sample_append(&out, stream->data + sections[order[i]].at,
			      sections[order[i]].len);
	return out;
}

static void renumber(struct sample_bytes *stream)
{
	struct sample_section sections[SECTIONS];
	unsigned i, n = sample_sections(stream, sections, SECTIONS);

	for (i = 0; i < n; i++) {
		uint8_t *section = stream->data + sections[i].at;

		ob_le_store(section + 4, i, 4);
		if (sections[i].type == OB_STREAM_END) {
			ob_le_store(section + 16, i, 8);
			ob_le_store(section + 24, sections[i].at, 8);
		}
		sample_resign(section);
	}
}

static void sections_dropped_repeated_and_swapped(void **arg)
{
	struct sample_section sections[SECTIONS];
	unsigned order[SECTIONS + 1], n, i, j, k;
	struct sample_bytes stream, other;

	(void)arg;
	make_stream(15, &stream);
	n = sample_sections(&stream, sections, SECTIONS);
	assert_true(n > 6);
	for (k = 0; k < 3; k++)
		for (i = 0; i + (k != 1) < n; i++) {
			unsigned count = 0;

			for (j = 0; j < n; j++) {
				if (k == 0 && j == i)
					continue;		/* dropped */
				order[count++] = k == 2 && j == i ? i + 1 :
					k == 2 && j == i + 1 ? i : j;
				if (k == 1 && j == i)
					order[count++] = j;	/* repeated */
			}
			other = rebuild(&stream, sections, order, count);
			expect_refused(&other, k == 1 && i == n - 1 ?
				       "behind the end" : "out of order");
			free(other.data);
		}
	free(stream.data);
}

/* With numbers made to fit, the first three are still once and in order. */
static void the_first_three_have_their_order(void **arg)
{
	static const struct {
		unsigned order[6], count;
		const char *words;
	} cases[] = {
		{ { 1, 0, 2 }, 3, "section 0 (IDENTITY) at byte 16: comes before SCHEMA" },
		{ { 0, 2, 1 }, 3, "(OBJECTS)" },
		{ { 0, 1, 3 }, 3, "comes before OBJECTS" },
		{ { 0, 0, 1, 2 }, 4, "section 1 (SCHEMA)" },
		{ { 0, 1, 1, 2 }, 4, "(IDENTITY)" },
		{ { 0, 1, 2, 2 }, 4, "a second one" },
	};
	struct sample_section sections[SECTIONS];
	struct sample_bytes stream, other;
	unsigned i;

	(void)arg;
	make_stream(16, &stream);
	sample_sections(&stream, sections, SECTIONS);
	for (i = 0; i < 6; i++) {
		other = rebuild(&stream, sections, cases[i].order, cases[i].count);
		renumber(&other);
		expect_refused(&other, cases[i].words);
		free(other.data);
	}
	free(stream.data);
}

static void a_part_that_never_came(void **arg)
{
	struct sample_section sections[SECTIONS];
	unsigned order[SECTIONS], count = 0, n, i;
	struct sample_bytes stream, other;

	(void)arg;
	make_stream(0, &stream);
	n = sample_sections(&stream, sections, SECTIONS);
	for (i = 0; i < n; i++)
		if (sections[i].type != OB_STREAM_PART ||
		    stream.data[sections[i].at + OB_STREAM_SECTION] != 2)
			order[count++] = i;
	other = rebuild(&stream, sections, order, count);
	renumber(&other);
	expect_refused(&other, "no PART of hot came");
	free(other.data);
	free(stream.data);
}

/* A section of a kind that later releases may have. */
static struct sample_bytes with_stranger(uint16_t flags)
{
	struct sample_section sections[SECTIONS];
	uint8_t section[OB_STREAM_SECTION + 5] = { 0 };
	struct sample_bytes stream, out = { 0 };

	make_stream(17, &stream);
	sample_sections(&stream, sections, SECTIONS);
	ob_le_store(section, 77, 2);
	ob_le_store(section + 2, flags, 2);
	ob_le_store(section + 8, 5, 4);
	sample_resign(section);
	sample_append(&out, stream.data, sections[2].at);
	sample_append(&out, section, sizeof(section));
	sample_append(&out, stream.data + sections[2].at, stream.len - sections[2].at);
	renumber(&out);
	free(stream.data);
	return out;
}

static void unknown_sections_are_skipped_unless_they_must_not(void **arg)
{
	struct sample_bytes stream = with_stranger(0);
	struct ob_err err;

	(void)arg;
	if (try(&stream, 3, &err))
		fail_msg("%s", err.msg);
	free(stream.data);
	stream = with_stranger(OB_STREAM_MUST);
	expect_refused(&stream, "type 77 has to be understood");
	free(stream.data);
}

/* A head of a later minor version may be longer. */
static void longer_heads_are_passed_over(void **arg)
{
	struct sample_bytes stream, longer = { 0 };
	struct sample_section sections[SECTIONS];
	struct ob_err err;
	unsigned n;

	(void)arg;
	make_stream(18, &stream);
	n = sample_sections(&stream, sections, SECTIONS);
	sample_append(&longer, stream.data, OB_STREAM_HEAD);
	sample_append(&longer, "12345678", 8);
	sample_append(&longer, stream.data + OB_STREAM_HEAD, stream.len - OB_STREAM_HEAD);
	ob_le_store(longer.data + 10, 9, 2);
	ob_le_store(longer.data + 12, OB_STREAM_HEAD + 8, 4);
	ob_le_store(longer.data + 8 + sections[n - 1].at + 24, sections[n - 1].at + 8, 8);
	sample_resign(longer.data + 8 + sections[n - 1].at);
	if (try(&longer, 1, &err))
		fail_msg("%s", err.msg);
	ob_le_store(longer.data + 12, 1u << 20, 4);
	expect_refused(&longer, "head: a head of 1048576 bytes");
	free(longer.data);
	free(stream.data);
}

static void versions_and_strangers(void **arg)
{
	struct sample_bytes stream;

	(void)arg;
	make_stream(19, &stream);
	ob_le_store(stream.data + 8, 2, 2);
	expect_refused(&stream, "head: a stream of version 2.0, only version 1 is known");
	ob_le_store(stream.data + 8, 1, 2);
	stream.data[0] ^= 1;
	expect_refused(&stream, "this is no stream");
	free(stream.data);
}

static void refuse_plan(const struct sample_bytes *stream,
			const struct ob_load_plan *plan, int r,
			const char *words)
{
	struct ob_err err = { "" };
	struct ob_loader *loader;

	assert_int_equal(ob_loader_create(plan, &loader, NULL), 0);
	assert_int_equal(sample_load(loader, stream, 100, &err), r);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	/* It stays refused, with the same words. */
	err.msg[0] = 0;
	assert_int_equal(ob_loader_write(loader, "", 1, &err), r);
	assert_non_null(strstr(err.msg, words));
	assert_int_equal(ob_loader_finish(loader, &err), r);
	ob_loader_destroy(loader);
}

static void what_does_not_fit_the_device(void **arg)
{
	struct ob_part parts[3];
	struct sample_bytes stream;
	struct ob_content_sink sink;
	struct ob_load_plan plan;
	struct sample to;

	(void)arg;
	make_stream(20, &stream);
	sample_init(&to, 0, 16384);
	plan = to.load;
	plan.model = "other";
	refuse_plan(&stream, &plan, -EINVAL,
		    "the device is of model other here, of model sample in the stream");
	memcpy(parts, to.parts, sizeof(to.parts));
	parts[2] = (struct ob_part){ "more", &sample_queue_table, NULL };
	plan = to.load;
	plan.parts = parts;
	plan.nr_parts = 3;
	refuse_plan(&stream, &plan, -EINVAL, "more: the stream does not have this part");
	plan.nr_parts = 1;
	refuse_plan(&stream, &plan, -ENOTSUP, "hot.slots: has to be understood");
	plan = to.load;
	plan.nr_sinks = 0;
	refuse_plan(&stream, &plan, -EINVAL, "drive 0 has content in the stream, not here");
	plan = to.load;
	plan.sinks = &sink;
	sink = to.sink;
	sink.id.size = 64u << 20;
	refuse_plan(&stream, &plan, -EINVAL, "drive 0 has 64 MiB here, 16 KiB in the stream");
	sink.id.index = 1;
	refuse_plan(&stream, &plan, -EINVAL, "drive 0 has content in the stream, not here");
	free(stream.data);
	sample_destroy(&to);
}

static void content_beyond_the_object(void **arg)
{
	struct sample_section sections[SECTIONS];
	struct sample_bytes stream;
	unsigned n, i;

	(void)arg;
	make_stream(21, &stream);
	n = sample_sections(&stream, sections, SECTIONS);
	for (i = 0; i < n && sections[i].type != OB_STREAM_CONTENT_RUN; i++)
		;
	assert_true(i < n);
	ob_le_store(stream.data + sections[i].at + 24, 16384 - 8, 8);
	sample_resign(stream.data + sections[i].at);
	expect_refused(&stream, "it has 16384");
	ob_le_store(stream.data + sections[i].at + 24, UINT64_MAX - 8, 8);
	sample_resign(stream.data + sections[i].at);
	expect_refused(&stream, "it has 16384");
	ob_le_store(stream.data + sections[i].at + 20, 5, 4);
	sample_resign(stream.data + sections[i].at);
	expect_refused(&stream, "drive 5 is not among the objects");
	free(stream.data);
}

static int put_fails(void *arg, uint64_t offset, const void *data,
		     uint64_t length)
{
	(void)arg;
	(void)offset;
	(void)data;
	(void)length;
	return -ENOSPC;
}

static void a_sink_that_fails(void **arg)
{
	struct ob_content_sink sink = {
		{ OB_CONTENT_DRIVE, 0, 16384 }, put_fails, NULL
	};
	struct ob_err err = { "" };
	struct sample_bytes stream;
	struct ob_loader *loader;
	struct sample to;

	(void)arg;
	make_stream(22, &stream);
	sample_init(&to, 0, 16384);
	to.load.sinks = &sink;
	assert_int_equal(ob_loader_create(&to.load, &loader, NULL), 0);
	assert_int_equal(sample_load(loader, &stream, 4096, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "drive 0"));
	assert_non_null(strstr(err.msg, "No space left"));
	ob_loader_destroy(loader);
	sample_destroy(&to);
	free(stream.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flipped_byte),
		cmocka_unit_test(every_flipped_byte_with_a_good_checksum),
		cmocka_unit_test(every_length_that_is_too_short),
		cmocka_unit_test(bytes_behind_the_end),
		cmocka_unit_test(sections_dropped_repeated_and_swapped),
		cmocka_unit_test(the_first_three_have_their_order),
		cmocka_unit_test(a_part_that_never_came),
		cmocka_unit_test(unknown_sections_are_skipped_unless_they_must_not),
		cmocka_unit_test(longer_heads_are_passed_over),
		cmocka_unit_test(versions_and_strangers),
		cmocka_unit_test(what_does_not_fit_the_device),
		cmocka_unit_test(content_beyond_the_object),
		cmocka_unit_test(a_sink_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
