// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the reader of a saver notices: exact sizes, an end that waits, content
 * that changes while it travels, a bounded amount of memory.
 */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/field.h"
#include "state/wire.h"

#define DRIVE (1u << 20)
#define ROOM (1u << 20)
#define PIECES 64

static struct ob_saver *start(const struct sample *s)
{
	struct ob_saver *saver;

	assert_int_equal(ob_saver_create(&s->save, &saver, NULL), 0);
	return saver;
}

/* Loads into a device like `like` and compares. */
static void expect_loads_as(const struct sample *like,
			    const struct sample_bytes *stream)
{
	struct ob_err err = { "" };
	struct ob_loader *loader;
	struct sample to;

	sample_init(&to, 0, like->drive.size);
	assert_int_equal(ob_loader_create(&to.load, &loader, NULL), 0);
	if (sample_load(loader, stream, 30011, &err))
		fail_msg("%s", err.msg);
	assert_memory_equal(ob_loader_part(loader, 0), &like->plain, sizeof(like->plain));
	assert_memory_equal(ob_loader_part(loader, 1), &like->hot, sizeof(like->hot));
	assert_memory_equal(to.drive.bytes, like->drive.bytes, like->drive.size);
	ob_loader_destroy(loader);
	sample_destroy(&to);
}

static void the_beginning_comes_while_the_device_runs(void **arg)
{
	struct sample_bytes stream = { 0 };
	uint64_t initial, dirty;
	struct ob_saver *saver;
	struct sample s;
	size_t n;

	(void)arg;
	sample_init(&s, 1, 0);
	saver = start(&s);
	ob_saver_precopy_info(saver, &initial, &dirty);
	n = sample_read(saver, ROOM, PIECES, &stream);
	assert_true(n > 0 && n == initial && dirty == 0);
	assert_int_equal(sample_read(saver, ROOM, PIECES, &stream), 0);
	ob_saver_precopy_info(saver, &initial, &dirty);
	assert_true(initial == 0 && dirty == 0);
	ob_saver_destroy(saver);
	sample_destroy(&s);
	free(stream.data);
}

/* END says that the drives are free: it comes when somebody says so. */
static void the_end_waits(void **arg)
{
	struct sample_bytes stream = { 0 };
	struct ob_saver *saver;
	struct sample s;
	size_t n;

	(void)arg;
	sample_init(&s, 2, 0);
	saver = start(&s);
	ob_saver_stopped(saver);
	assert_false(ob_saver_wants_end(saver));
	n = sample_read(saver, ROOM, PIECES, &stream);
	assert_true(n < ROOM);
	assert_true(ob_saver_wants_end(saver));
	assert_false(ob_saver_done(saver));
	assert_int_equal(sample_read(saver, ROOM, PIECES, &stream), 0);
	ob_saver_allow_end(saver);
	assert_false(ob_saver_wants_end(saver));
	assert_int_equal(sample_read(saver, ROOM, PIECES, &stream), 32);
	assert_true(ob_saver_done(saver));
	assert_int_equal(sample_read(saver, ROOM, PIECES, &stream), 0);
	expect_loads_as(&s, &stream);
	ob_saver_destroy(saver);
	sample_destroy(&s);
	free(stream.data);
}

/* sample_save asserts it for every read but the last; here room by room. */
static void reads_are_filled_to_the_byte(void **arg)
{
	static const unsigned pieces[] = { 1, 2, 3, 64, 600 };
	struct sample_rng rng = { 3 };
	unsigned i;

	(void)arg;
	for (i = 0; i < 20; i++) {
		struct sample_bytes stream = { 0 };
		struct ob_saver *saver;
		struct sample s;
		size_t room, n;

		sample_init(&s, 30 + i, DRIVE);
		saver = start(&s);
		ob_saver_stopped(saver);
		ob_saver_allow_end(saver);
		do {
			room = 1 + sample_random(&rng) % (i % 2 ? ROOM : 9000);
			n = sample_read(saver, room, pieces[i % 5], &stream);
			assert_true(n == room || ob_saver_done(saver));
		} while (!ob_saver_done(saver));
		expect_loads_as(&s, &stream);
		ob_saver_destroy(saver);
		sample_destroy(&s);
		free(stream.data);
	}
}

static void scribble(struct sample_rng *rng, struct sample_content *c)
{
	uint64_t block = sample_random(rng) % (c->size / 4096);

	memset(c->bytes + block * 4096, (int)(sample_random(rng) % 3), 4096);
	c->todo[block] = 2;
}

/* Everything changes between any two reads; what arrives is the last of it. */
static void content_that_changes_while_it_travels(void **arg)
{
	static const size_t rooms[] = { 100, 4096, 5000, 70000, ROOM };
	struct sample_rng rng = { 4 };
	unsigned i, round;

	(void)arg;
	for (i = 0; i < 5; i++) {
		struct sample_bytes stream = { 0 };
		struct ob_saver *saver;
		struct sample s;

		sample_init(&s, 40 + i, DRIVE);
		saver = start(&s);
		for (round = 0; round < 500; round++) {
			sample_read(saver, rooms[i], PIECES, &stream);
			scribble(&rng, &s.drive);
		}
		ob_saver_stopped(saver);
		ob_saver_allow_end(saver);
		while (sample_read(saver, rooms[i], PIECES, &stream) == rooms[i])
			;
		assert_true(ob_saver_done(saver));
		expect_loads_as(&s, &stream);
		ob_saver_destroy(saver);
		sample_destroy(&s);
		free(stream.data);
	}
}

static void content_that_is_not_live_waits_for_the_stop(void **arg)
{
	struct sample_bytes stream = { 0 };
	uint64_t initial, dirty;
	struct ob_saver *saver;
	struct sample s;

	(void)arg;
	sample_init(&s, 5, DRIVE);
	s.source.live = false;
	saver = start(&s);
	assert_true(sample_read(saver, ROOM, PIECES, &stream) < 4096);
	assert_int_equal(s.drive.takes, 0);
	ob_saver_precopy_info(saver, &initial, &dirty);
	assert_true(initial == 0 && dirty == 0);
	assert_true(ob_saver_left(saver) > DRIVE);
	ob_saver_stopped(saver);
	ob_saver_allow_end(saver);
	while (sample_read(saver, ROOM, PIECES, &stream) == ROOM)
		;
	expect_loads_as(&s, &stream);
	ob_saver_destroy(saver);
	sample_destroy(&s);
	free(stream.data);
}

static void precopy_info_tells_what_is_left(void **arg)
{
	struct sample_bytes stream = { 0 };
	uint64_t initial, dirty, before;
	struct sample_rng rng = { 6 };
	struct ob_saver *saver;
	struct sample s;

	(void)arg;
	sample_init(&s, 6, DRIVE);
	saver = start(&s);
	ob_saver_precopy_info(saver, &before, &dirty);
	assert_true(before > DRIVE && dirty == 0);
	sample_read(saver, 300000, PIECES, &stream);
	ob_saver_precopy_info(saver, &initial, &dirty);
	assert_true(initial < before && before - initial >= 299000);
	while (sample_read(saver, 300000, PIECES, &stream))
		;
	scribble(&rng, &s.drive);
	ob_saver_precopy_info(saver, &initial, &dirty);
	assert_true(initial == 0 && dirty == 4096);
	ob_saver_destroy(saver);
	sample_destroy(&s);
	free(stream.data);
}

/* Pages of zeros, however many, are one header. */
static void zeros_cost_a_header(void **arg)
{
	struct sample_bytes stream = { 0 }, none = { 0 };
	struct sample s;

	(void)arg;
	sample_init(&s, 0, 64u << 20);
	sample_save(&s.save, ROOM, PIECES, &stream);
	expect_loads_as(&s, &stream);
	sample_destroy(&s);
	sample_init(&s, 0, 0);
	sample_save(&s.save, ROOM, PIECES, &none);
	sample_destroy(&s);
	/* The object's own entry is 16 bytes. */
	assert_int_equal(stream.len - none.len, 16 + 40);
	free(stream.data);
	free(none.data);
}

/* While the device runs a call looks at so many zeros and no more. */
static void a_call_does_not_search_for_ever(void **arg)
{
	struct sample_bytes stream = { 0 };
	struct ob_saver *saver;
	struct sample s;
	unsigned calls = 0;

	(void)arg;
	sample_init(&s, 0, 160u << 20);
	saver = start(&s);
	while (sample_read(saver, ROOM, PIECES, &stream))
		calls++;
	assert_true(calls >= 3);
	ob_saver_stopped(saver);
	ob_saver_allow_end(saver);
	sample_read(saver, ROOM, PIECES, &stream);
	expect_loads_as(&s, &stream);
	ob_saver_destroy(saver);
	sample_destroy(&s);
	free(stream.data);
}

/* What is told beforehand is enough, and not absurd. */
static void the_estimate_is_not_low(void **arg)
{
	static const size_t rooms[] = { 1, 50, 4096, 100000, ROOM };
	unsigned i;

	(void)arg;
	for (i = 0; i < 25; i++) {
		struct sample_bytes stream = { 0 };
		uint64_t told, told_before;
		struct ob_saver *saver;
		struct sample s;

		sample_init(&s, i, i % 2 ? DRIVE / 4 : 0);
		told_before = ob_save_size(&s.save);
		saver = start(&s);
		told = ob_saver_left(saver);
		assert_int_equal(told, told_before);
		ob_saver_stopped(saver);
		ob_saver_allow_end(saver);
		while (sample_read(saver, rooms[i % 5], PIECES, &stream) == rooms[i % 5]) {
			uint64_t left;

			if (rooms[i % 5] == 1 && stream.len % 97)
				continue;
			left = ob_saver_left(saver);
			if (stream.len + left > told + 64)
				fail_msg("%zu read, %llu left of %llu", stream.len,
					 (unsigned long long)left,
					 (unsigned long long)told);
		}
		assert_true(stream.len <= told);
		assert_true(told <= stream.len + 1024 + s.drive.size);
		ob_saver_destroy(saver);
		sample_destroy(&s);
		free(stream.data);
	}
}

/* -- memory ------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *p);

/* Sizes before the blocks; only these functions see them. */
#define BEFORE 16
static size_t held, most;

static void account(size_t more, size_t less)
{
	held += more - less;
	if (held > most)
		most = held;
}

void *__wrap_malloc(size_t size)
{
	uint8_t *p = __real_malloc(size + BEFORE);

	if (!p)
		return NULL;
	account(size, 0);
	memcpy(p, &size, sizeof(size));
	return p + BEFORE;
}

void *__wrap_calloc(size_t n, size_t size)
{
	void *p = __wrap_malloc(n * size);

	return p ? memset(p, 0, n * size) : NULL;
}

void __wrap_free(void *p)
{
	size_t size;

	if (!p)
		return;
	memcpy(&size, (uint8_t *)p - BEFORE, sizeof(size));
	account(0, size);
	__real_free((uint8_t *)p - BEFORE);
}

/* Large blocks grow by moving pages, so only the difference counts. */
void *__wrap_realloc(void *old, size_t size)
{
	uint8_t *p = old;
	size_t was;

	if (!old)
		return __wrap_malloc(size);
	memcpy(&was, p - BEFORE, sizeof(was));
	p = __real_realloc(p - BEFORE, size + BEFORE);
	if (!p)
		return NULL;
	account(size, was);
	memcpy(p, &size, sizeof(size));
	return p + BEFORE;
}

/* A part that is larger than anything that may be held. */
static const struct ob_field large_rows[] = {
	{ .tag = 1, .type = OB_FIELD_BYTES, .name = "bytes", .size = 1,
	  .count = 4u << 20, .since = "0.1" },
	OB_END
};
static const struct ob_table large_table = { "large", 4u << 20, large_rows };

static void pump(struct ob_saver *saver, struct ob_loader *loader,
		 size_t room, unsigned pieces)
{
	struct iovec iov[PIECES];
	unsigned i, count;
	size_t n;

	do {
		count = pieces;
		n = ob_saver_read(saver, room, iov, &count);
		assert_true(n == room || ob_saver_done(saver));
		for (i = 0; i < count; i++)
			assert_int_equal(ob_loader_write(loader, iov[i].iov_base,
							 iov[i].iov_len, NULL), 0);
	} while (n == room);
	assert_int_equal(ob_loader_finish(loader, NULL), 0);
}

static void both_ends_hold_little(void **arg)
{
	static const unsigned pieces[] = { 1, PIECES };
	static uint8_t bytes[4u << 20];
	struct ob_part part = { "large", &large_table, bytes };
	struct sample from, to;
	unsigned i;

	(void)arg;
	memset(bytes, 0x5a, sizeof(bytes));
	sample_init(&from, 8, 32u << 20);
	sample_init(&to, 0, 32u << 20);
	from.save.parts = to.load.parts = &part;
	from.save.nr_parts = to.load.nr_parts = 1;
	for (i = 0; i < 2; i++) {
		size_t before = held, own;
		struct ob_saver *saver;
		struct ob_loader *loader;

		memset(from.drive.todo, 1, from.drive.size / 4096);
		most = held;
		saver = start(&from);
		ob_saver_stopped(saver);
		ob_saver_allow_end(saver);
		assert_int_equal(ob_loader_create(&to.load, &loader, NULL), 0);
		own = held;
		pump(saver, loader, ROOM, pieces[i]);
		/* A MiB and a PART: the loader's structure is in own. */
		assert_true(most - own <= (1u << 20) + (128u << 10));
		assert_memory_equal(ob_loader_part(loader, 0), bytes, sizeof(bytes));
		ob_saver_destroy(saver);
		ob_loader_destroy(loader);
		assert_int_equal(held, before);
	}
	assert_memory_equal(from.drive.bytes, to.drive.bytes, from.drive.size);
	sample_destroy(&from);
	sample_destroy(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_beginning_comes_while_the_device_runs),
		cmocka_unit_test(the_end_waits),
		cmocka_unit_test(reads_are_filled_to_the_byte),
		cmocka_unit_test(content_that_changes_while_it_travels),
		cmocka_unit_test(content_that_is_not_live_waits_for_the_stop),
		cmocka_unit_test(precopy_info_tells_what_is_left),
		cmocka_unit_test(zeros_cost_a_header),
		cmocka_unit_test(a_call_does_not_search_for_ever),
		cmocka_unit_test(the_estimate_is_not_low),
		cmocka_unit_test(both_ends_hold_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
