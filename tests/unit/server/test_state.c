// SPDX-License-Identifier: BSD-3-Clause
/* Tables that lie are found out; the state memfd is laid out as described. */
#include "rig.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "server/core.h"
#include "state/state_mem.h"

struct sample {
	uint32_t a;
	uint8_t b[3];
	uint8_t pad;
	uint64_t c;
};

/* A row that the macros of state.h would not write. */
#define ROW(type_, name_, offset_, size_, count_, ...)                        \
	{ .tag = 1, .type = OB_FIELD_##type_, .name = name_,                  \
	  .offset = offset_, .size = size_, .count = count_,                  \
	  .since = "0.1", ##__VA_ARGS__ }

static void expect_refused(const struct ob_field *rows, const char *word)
{
	const struct ob_table table = { "sample", sizeof(struct sample), rows };
	struct ob_err err = { "" };

	assert_int_equal(ob_table_check(&table, &err), -EINVAL);
	if (!strstr(err.msg, word))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static void accepts_a_true_table(void **arg)
{
	const struct ob_field rows[] = {
		OB_U32(1, struct sample, a, "0.1"),
		OB_BYTES(2, struct sample, b, "0.1"),
		OB_RESERVED(struct sample, pad),
		OB_U64(3, struct sample, c, "0.1", .max = 9, .def = 9),
		OB_END
	};
	const struct ob_table table = { "sample", sizeof(struct sample), rows };

	(void)arg;
	assert_int_equal(ob_table_check(&table, NULL), 0);
	assert_int_equal(ob_table_check(&ob_core_table, NULL), 0);
	assert_int_equal(ob_table_check(&ob_dma_table_table, NULL), 0);
	assert_int_equal(ob_table_check(&ob_state_header_table, NULL), 0);
}

static void names_a_forgotten_byte(void **arg)
{
	const struct ob_field rows[] = {
		OB_U32(1, struct sample, a, "0.1"),
		OB_BYTES(2, struct sample, b, "0.1"),
		OB_U64(3, struct sample, c, "0.1"),
		OB_END
	};

	(void)arg;
	expect_refused(rows, "byte 7");
}

static void names_a_byte_in_two_rows(void **arg)
{
	const struct ob_field rows[] = {
		OB_U32(1, struct sample, a, "0.1"),
		OB_U16(2, struct sample, a, "0.1"),
		OB_END
	};

	(void)arg;
	expect_refused(rows, "byte 0");
}

static void refuses_bad_tags(void **arg)
{
	const struct ob_field twice[] = {
		OB_U32(1, struct sample, a, "0.1"),
		OB_U64(1, struct sample, c, "0.1"),
		OB_END
	};
	const struct ob_field zero[] = {
		OB_U32(0, struct sample, a, "0.1"), OB_END
	};

	(void)arg;
	expect_refused(twice, "tag 1");
	expect_refused(zero, "no tag");
}

static void refuses_what_does_not_fit(void **arg)
{
	const struct ob_field outside[] = {
		ROW(U64, "c", 12, 8, 1), OB_END
	};
	const struct ob_field size[] = {
		ROW(U32, "a", 0, 2, 2), OB_END
	};
	const struct ob_field huge[] = {
		ROW(U64, "c", 0, 8, 0x20000001), OB_END
	};
	const struct ob_field max[] = {
		OB_BYTES(1, struct sample, b, "0.1", .max = 1), OB_END
	};
	const struct ob_field def[] = {
		OB_U32(1, struct sample, a, "0.1", .max = 3, .def = 4), OB_END
	};
	const struct ob_field bare[] = {
		ROW(STRUCT, "a", 0, 4, 1), OB_END
	};

	(void)arg;
	expect_refused(outside, "leave the structure");
	expect_refused(size, "type");
	expect_refused(huge, "leave the structure");
	expect_refused(max, "maximum");
	expect_refused(def, "default");
	expect_refused(bare, "without a table");
}

/* What a reader of streams would refuse is refused here. */
static void refuses_what_could_not_travel(void **arg)
{
	static const struct ob_field large_rows[] = {
		ROW(BYTES, "bytes", 0, 1, 66000), OB_END
	};
	static const struct ob_table large = { "large", 66000, large_rows };
	static const struct ob_field rows[] = {
		ROW(STRUCT, "nested", 0, 66000, 2, .sub = &large), OB_END
	};
	const struct ob_table table = { "whole", 132000, rows };
	const struct ob_field name[] = {
		ROW(BYTES, "a b", 0, 1, sizeof(struct sample)), OB_END
	};
	struct ob_err err = { "" };

	(void)arg;
	assert_int_equal(ob_table_check(&large, &err), 0);
	assert_int_equal(ob_table_check(&table, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "whole.nested"));
	assert_non_null(strstr(err.msg, "one piece of a stream"));
	expect_refused(name, "not plain");
}

static void looks_into_nested_tables(void **arg)
{
	static const struct ob_field inner_rows[] = {
		ROW(U16, "half", 0, 2, 1), OB_END
	};
	static const struct ob_table inner = { "inner", 4, inner_rows };
	const struct ob_field rows[] = {
		ROW(STRUCT, "a", 0, 4, 1, .sub = &inner),
		OB_END
	};

	(void)arg;
	expect_refused(rows, "inner: byte 2");
}

static void lays_the_state_out(void **arg)
{
	const struct ob_table *const tables[OB_NR_TABLES] = {
		[OB_SECTION_CORE] = &ob_core_table,
		[OB_SECTION_PLAIN] = &test_state_table,
		[OB_SECTION_DMA] = &ob_dma_table_table,
	};
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct ob_state_header on_disk, *hdr;
	struct ob_state_mem mem;
	unsigned i;

	(void)arg;
	assert_int_equal(ob_state_create(&mem, "test", tables, NULL), 0);
	hdr = ob_state_header(&mem);
	assert_true(hdr->magic == OB_STATE_MAGIC);
	assert_string_equal((char *)hdr->model, "test");
	for (i = 0; i < OB_NR_TABLES; i++)
		assert_int_equal(hdr->sections[i].offset % page, 0);
	assert_null(ob_state_section(&mem, OB_SECTION_HOT));
	assert_int_equal(hdr->sections[OB_SECTION_DMA].size,
			 sizeof(struct ob_dma_table));

	/* A step shows in the file while it runs, nested ones do not count. */
	ob_step_begin(&mem, OB_STEP_WORK);
	ob_step_begin(&mem, OB_STEP_WORK);
	assert_int_equal(pread(mem.fd, &on_disk, sizeof(on_disk), 0),
			 sizeof(on_disk));
	assert_int_equal(on_disk.step, 1);
	ob_step_end(&mem);
	assert_int_equal(hdr->step, 1);
	ob_step_end(&mem);
	assert_int_equal(hdr->step, 2);
	ob_state_destroy(&mem);
	ob_state_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_a_true_table),
		cmocka_unit_test(names_a_forgotten_byte),
		cmocka_unit_test(names_a_byte_in_two_rows),
		cmocka_unit_test(refuses_bad_tags),
		cmocka_unit_test(refuses_what_does_not_fit),
		cmocka_unit_test(refuses_what_could_not_travel),
		cmocka_unit_test(looks_into_nested_tables),
		cmocka_unit_test(lays_the_state_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
