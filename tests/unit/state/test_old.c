// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state memory of another process: what it says is read, converted to
 * other tables, or refused by name; whatever is in it.
 */
#include "sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "state/old.h"

#define ROW(tag_, type_, name_, offset_, size_, count_, ...)                  \
	{ .tag = tag_, .type = OB_FIELD_##type_, .name = name_,               \
	  .offset = offset_, .size = size_, .count = count_,                  \
	  .since = "0.9", ##__VA_ARGS__ }
#define TABLE(size_, ...)                                                     \
	(&(const struct ob_table){ "table", size_,                            \
		(const struct ob_field[]){ __VA_ARGS__, OB_END } })

static const struct ob_table *const sample_tables[OB_NR_TABLES] = {
	[OB_SECTION_CORE] = &sample_queue_table,
	[OB_SECTION_PLAIN] = &sample_plain_table,
	[OB_SECTION_HOT] = &sample_hot_table,
};

static void make(struct ob_state_mem *mem,
		 const struct ob_table *const tables[OB_NR_TABLES])
{
	struct ob_err err = { "" };

	if (ob_state_create(mem, "sample", tables, &err))
		fail_msg("%s", err.msg);
}

static void make_sample(struct ob_state_mem *mem, uint64_t seed)
{
	struct sample_rng rng = { seed };
	unsigned i;

	make(mem, sample_tables);
	for (i = 0; i < OB_NR_TABLES; i++)
		if (sample_tables[i])
			sample_fill(&rng, sample_tables[i],
				    ob_state_section(mem, i), 160);
}

static struct ob_old_state *open_old(int fd)
{
	struct ob_old_state *old = NULL;
	struct ob_err err = { "" };

	if (ob_old_state_open(fd, &old, &err))
		fail_msg("%s", err.msg);
	return old;
}

static void refuses(int fd, int r, const char *msg)
{
	struct ob_old_state *old = NULL;
	struct ob_err err = { "" };

	assert_int_equal(ob_old_state_open(fd, &old, &err), r);
	assert_null(old);
	assert_string_equal(err.msg, msg);
}

/* Reading */

static void comes_back_as_it_was(void **arg)
{
	struct ob_state_mem mem;
	struct ob_old_state *old;
	unsigned i;

	(void)arg;
	make_sample(&mem, 3);
	old = open_old(mem.fd);
	assert_string_equal((char *)ob_old_state_header(old)->model, "sample");
	assert_int_equal(ob_schema_count(ob_old_state_schema(old)), 3);
	for (i = 0; i < OB_NR_TABLES; i++) {
		const struct ob_table *table = sample_tables[i];
		void *base;

		if (!table) {
			assert_null(ob_old_state_section(old, i));
			continue;
		}
		base = calloc(1, table->size);
		assert_int_equal(ob_old_state_read(old, i, table, base, NULL), 0);
		assert_memory_equal(base, ob_state_section(&mem, i), table->size);
		free(base);
	}
	ob_old_state_close(old);
	ob_state_destroy(&mem);
}

static void is_a_copy(void **arg)
{
	struct sample_plain plain = { 0 }, was;
	struct ob_state_mem mem;
	struct ob_old_state *old;
	void *live;

	(void)arg;
	make_sample(&mem, 4);
	old = open_old(mem.fd);
	live = ob_state_section(&mem, OB_SECTION_PLAIN);
	memcpy(&was, live, sizeof(was));
	memset(live, 0xff, sizeof(was));
	ob_state_destroy(&mem);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_PLAIN,
					   &sample_plain_table, &plain, NULL), 0);
	assert_memory_equal(&plain, &was, sizeof(was));
	ob_old_state_close(old);
}

static void a_section_that_is_not_there_is_all_defaults(void **arg)
{
	static const struct ob_table *const tables[OB_NR_TABLES] = {
		[OB_SECTION_CORE] = &sample_queue_table,
	};
	struct sample_plain plain = { 0 }, defaults;
	struct ob_state_mem mem;
	struct ob_old_state *old;

	(void)arg;
	make(&mem, tables);
	old = open_old(mem.fd);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_PLAIN,
					   &sample_plain_table, &plain, NULL), 0);
	ob_table_defaults(&sample_plain_table, &defaults);
	assert_memory_equal(&plain, &defaults, sizeof(plain));
	ob_old_state_close(old);
	ob_state_destroy(&mem);
}

static void values_out_of_bounds_are_named(void **arg)
{
	struct sample_hot hot = { 0 }, *live;
	struct ob_err err = { "" };
	struct ob_state_mem mem;
	struct ob_old_state *old;

	(void)arg;
	make_sample(&mem, 5);
	live = ob_state_section(&mem, OB_SECTION_HOT);
	live->slots[7].sqid = 65;
	old = open_old(mem.fd);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_HOT, &sample_hot_table,
					   &hot, &err), -EINVAL);
	assert_string_equal(err.msg, "hot.slots[7].sqid: 65 is more than 64");
	ob_old_state_close(old);
	ob_state_destroy(&mem);
}

/* Other tables */

static int move(const struct ob_table *theirs, const void *from,
		const struct ob_table *ours, void *to, struct ob_err *err)
{
	const struct ob_table *const tables[OB_NR_TABLES] = {
		[OB_SECTION_PLAIN] = theirs,
	};
	struct ob_old_state *old;
	struct ob_state_mem mem;
	uint8_t *plain;
	uint32_t i;
	int r;

	make(&mem, tables);
	plain = ob_state_section(&mem, OB_SECTION_PLAIN);
	for (i = 0; i < theirs->size; i++)
		if (((const uint8_t *)from)[i])
			plain[i] = ((const uint8_t *)from)[i];
	old = open_old(mem.fd);
	r = ob_old_state_read(old, OB_SECTION_PLAIN, ours, to, err);
	ob_old_state_close(old);
	ob_state_destroy(&mem);
	return r;
}

static void expect_moved(const struct ob_table *theirs, const void *from,
			 const struct ob_table *ours, void *to)
{
	struct ob_err err = { "" };

	memset(to, 0, ours->size);
	if (move(theirs, from, ours, to, &err))
		fail_msg("%s", err.msg);
}

static void expect_refused(const struct ob_table *theirs, const void *from,
			   const struct ob_table *ours, int r, const char *msg)
{
	struct ob_err err = { "" };
	uint64_t to[64] = { 0 };

	assert_int_equal(move(theirs, from, ours, ours ? to : NULL, &err), r);
	assert_string_equal(err.msg, msg);
}

/* Up, and down again: 1 is the older build, 2 the newer. */
static void another_layout_is_understood_both_ways(void **arg)
{
	const struct ob_table *one =
		TABLE(16, ROW(1, U32, "a", 0, 4, 1),
		      ROW(2, U16, "narrow", 4, 2, 2),
		      ROW(3, U64, "old", 8, 8, 1, .optional = true));
	const struct ob_table *two =
		TABLE(32, ROW(2, U64, "narrow", 0, 8, 2),
		      ROW(4, U32, "new", 16, 4, 1, .def = 77, .optional = true),
		      ROW(1, U32, "a", 20, 4, 1),
		      ROW(5, U64, "newer", 24, 8, 1));
	const struct { uint32_t a; uint16_t narrow[2]; uint64_t old; } from =
		{ 5, { 6, 7 }, 8 };
	struct { uint64_t narrow[2]; uint32_t new, a; uint64_t newer; } to;
	struct { uint32_t a; uint16_t narrow[2]; uint64_t old; } back;

	(void)arg;
	expect_moved(one, &from, two, &to);
	assert_int_equal(to.a, 5);
	assert_int_equal(to.narrow[0], 6);
	assert_int_equal(to.narrow[1], 7);
	assert_int_equal(to.new, 77);
	to.new = 78;
	expect_moved(two, &to, one, &back);
	assert_int_equal(back.a, 5);
	assert_int_equal(back.narrow[1], 7);
	assert_int_equal(back.old, 0);
	to.newer = 1;
	expect_refused(two, &to, one, -ENOTSUP,
		       "plain.newer: has to be understood, and is not known here"
		       " (it came with release 0.9)");
	to.newer = 0;
	to.narrow[1] = 0x10000;
	expect_refused(two, &to, one, -EINVAL,
		       "plain.narrow[1]: 65536 is more than 65535");
}

static void a_section_that_we_do_not_have_must_say_nothing(void **arg)
{
	const struct ob_table *theirs = TABLE(4, ROW(1, U32, "a", 0, 4, 1));
	const uint32_t nothing = 0, something = 1;

	(void)arg;
	assert_int_equal(move(theirs, &nothing, NULL, NULL, NULL), 0);
	expect_refused(theirs, &something, NULL, -ENOTSUP,
		       "plain.a: has to be understood, and is not known here"
		       " (it came with release 0.9)");
}

/* Zeros that are no defaults, in memory that was never written. */
static void unwritten_zeros_are_values(void **arg)
{
	const struct ob_table *theirs =
		TABLE(12000, ROW(1, U32, "a", 0, 4, 2000, .def = 7),
		      ROW(2, U32, "b", 8000, 4, 1000));
	const struct ob_table *ours =
		TABLE(12000, ROW(1, U32, "a", 0, 4, 2000, .def = 9),
		      ROW(2, U32, "b", 8000, 4, 1000, .def = 5));
	uint32_t *from = calloc(1, 12000), *to = calloc(1, 12000);
	unsigned i;

	(void)arg;
	expect_moved(theirs, from, ours, to);
	for (i = 0; i < 3000; i++)
		assert_int_equal(to[i], 0);
	from[3] = 7;
	from[1999] = 1;
	from[2999] = 2;
	expect_moved(theirs, from, ours, to);
	assert_memory_equal(from, to, 12000);
	free(from);
	free(to);
}

struct big {
	struct sample_queue queues[60000];
};

static void a_large_table_costs_what_was_written(void **arg)
{
	static const struct ob_field queue_rows[] = {
		OB_U64(1, struct sample_queue, base, "0.1"),
		OB_U16(2, struct sample_queue, sqid, "0.1", .max = 64),
		OB_U8(3, struct sample_queue, created, "0.1", .max = 1),
		OB_RESERVED(struct sample_queue, reserved),
		OB_U32(4, struct sample_queue, limit, "0.1"),
		OB_END
	};
	static const struct ob_table queue = {
		"queue", sizeof(struct sample_queue), queue_rows
	};
	static const struct ob_field rows[] = {
		OB_STRUCTS(1, struct big, queues, struct sample_queue, &queue, "0.1"),
		OB_END
	};
	static const struct ob_table table = { "big", sizeof(struct big), rows };
	static const struct ob_table *const tables[OB_NR_TABLES] = {
		[OB_SECTION_DMA] = &table,
	};
	struct ob_state_mem mem, ours;
	struct ob_old_state *old;
	struct stat before, after;
	struct big *live;

	(void)arg;
	make(&mem, tables);
	make(&ours, tables);
	live = ob_state_section(&mem, OB_SECTION_DMA);
	live->queues[2].base = 22;
	live->queues[5].sqid = 64;
	assert_int_equal(fstat(ours.fd, &before), 0);
	old = open_old(mem.fd);
	live = ob_state_section(&ours, OB_SECTION_DMA);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_DMA, &table, live,
					   NULL), 0);
	assert_int_equal(fstat(ours.fd, &after), 0);
	assert_in_range(after.st_blocks - before.st_blocks, 0, 8);
	assert_int_equal(live->queues[2].base, 22);
	assert_int_equal(live->queues[5].sqid, 64);
	ob_old_state_close(old);
	ob_state_destroy(&mem);
	ob_state_destroy(&ours);
}

/* Damage */

static void says_what_does_not_fit(void **arg)
{
	struct ob_state_header good, *hdr;
	struct ob_state_mem mem;
	struct ob_undo *undo;
	uint8_t *schema;

	(void)arg;
	make_sample(&mem, 6);
	hdr = ob_state_header(&mem);
	undo = ob_state_section(&mem, OB_SECTION_UNDO);
	schema = ob_state_section(&mem, OB_SECTION_SCHEMA);
	good = *hdr;
	hdr->magic++;
	refuses(mem.fd, -EINVAL, "magic: this is no state memory");
	*hdr = good;
	hdr->layout = 1;
	refuses(mem.fd, -EINVAL,
		"layout: 1 with 7 sections; known here is 2 with 7");
	*hdr = good;
	memset(hdr->release, 'x', sizeof(hdr->release));
	refuses(mem.fd, -EINVAL, "release: is not plain text");
	*hdr = good;
	hdr->model[0] = 0;
	refuses(mem.fd, -EINVAL, "model: is not plain text");
	*hdr = good;
	hdr->sections[OB_SECTION_PLAIN].offset = 0;
	refuses(mem.fd, -EINVAL, "section plain: cannot begin at 0");
	*hdr = good;
	hdr->sections[OB_SECTION_PLAIN].offset = UINT64_MAX & ~4095ull;
	refuses(mem.fd, -EINVAL, "section plain: 96 bytes at 0xfffffffffffff000"
		" leave the file of 221184");
	*hdr = good;
	hdr->sections[OB_SECTION_HOT].offset = hdr->sections[OB_SECTION_PLAIN].offset;
	refuses(mem.fd, -EINVAL, "section hot: lies over section plain");
	*hdr = good;
	hdr->sections[OB_SECTION_CORE].size = 0;
	refuses(mem.fd, -EINVAL, "section core: 0 bytes, its table says 16");
	*hdr = good;
	hdr->sections[OB_SECTION_DMA].offset = UINT64_MAX & ~4095ull;
	refuses(mem.fd, -EINVAL, "section dma: 0 bytes at 0xfffffffffffff000"
		" leave the file of 221184");
	*hdr = good;
	hdr->sections[OB_SECTION_UNDO].size = 8;
	refuses(mem.fd, -EINVAL, "section undo: 8 bytes, not 196872");
	*hdr = good;
	hdr->sections[OB_SECTION_SCHEMA].size = 0;
	refuses(mem.fd, -EINVAL, "section schema: is missing");
	*hdr = good;
	schema[1] = 0xff;
	refuses(mem.fd, -EINVAL,
		"section schema: 65283 tables and 3 parts are too many");
	schema[1] = 0;
	undo->count = 17;
	refuses(mem.fd, -EINVAL, "undo: 17 extents of 0 bytes are not possible");
	undo->count = 1;
	undo->extents[0] = good.sections[OB_SECTION_UNDO];
	refuses(mem.fd, -EINVAL, "undo: extent 0 is in no section");
	undo->extents[0] = good.sections[OB_SECTION_PLAIN];
	refuses(mem.fd, -EINVAL, "undo: extent 0 has no bytes");
	undo->extents[0].size++;
	refuses(mem.fd, -EINVAL, "undo: extent 0 is in no section");
	undo->count = 0;
	ob_old_state_close(open_old(mem.fd));
	ob_state_destroy(&mem);
}

static void is_no_state_memory(void **arg)
{
	int fd = ob_memfd_create("empty", 0);

	(void)arg;
	refuses(fd, -EINVAL, "magic: this is no state memory");
	ob_fd_close(&fd);
	fd = ob_memfd_create("zeros", 1 << 20);
	refuses(fd, -EINVAL, "magic: this is no state memory");
	ob_fd_close(&fd);
}

/* What may be said of any bytes: refused with a reason, or good values. */
static bool is_sound(int fd)
{
	struct ob_old_state *old = NULL;
	struct ob_err err = { "" };
	bool good = true;
	unsigned i;

	if (ob_old_state_open(fd, &old, &err)) {
		assert_true(err.msg[0]);
		return false;
	}
	for (i = 0; i < OB_NR_TABLES; i++) {
		const struct ob_table *table = sample_tables[i];
		void *base = table ? calloc(1, table->size) : NULL;

		if (ob_old_state_read(old, i, table, base, &err)) {
			assert_true(err.msg[0]);
			good = false;
		} else if (table) {
			assert_int_equal(ob_table_check_values(table, base, "part",
							       NULL), 0);
		}
		free(base);
	}
	ob_old_state_close(old);
	return good;
}

static void every_bit_may_flip(void **arg)
{
	unsigned accepted = 0, refused = 0, bit;
	struct ob_state_mem mem;
	size_t at;

	(void)arg;
	make_sample(&mem, 7);
	ob_undo_add(&mem, ob_state_section(&mem, OB_SECTION_CORE), 16);
	ob_undo_add(&mem, ob_state_section(&mem, OB_SECTION_PLAIN), 40);
	for (at = 0; at < mem.size; at++) {
		/* Of what is zero, a few are enough. */
		if (!mem.base[at] && at % 61)
			continue;
		for (bit = 0; bit < 8; bit++) {
			mem.base[at] ^= (uint8_t)(1u << bit);
			*(is_sound(mem.fd) ? &accepted : &refused) += 1;
			mem.base[at] ^= (uint8_t)(1u << bit);
		}
	}
	assert_true(accepted > 1000);
	assert_true(refused > 1000);
	assert_true(is_sound(mem.fd));
	ob_state_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_as_it_was),
		cmocka_unit_test(is_a_copy),
		cmocka_unit_test(a_section_that_is_not_there_is_all_defaults),
		cmocka_unit_test(values_out_of_bounds_are_named),
		cmocka_unit_test(another_layout_is_understood_both_ways),
		cmocka_unit_test(a_section_that_we_do_not_have_must_say_nothing),
		cmocka_unit_test(unwritten_zeros_are_values),
		cmocka_unit_test(a_large_table_costs_what_was_written),
		cmocka_unit_test(says_what_does_not_fit),
		cmocka_unit_test(is_no_state_memory),
		cmocka_unit_test(every_bit_may_flip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
