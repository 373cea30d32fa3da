// SPDX-License-Identifier: BSD-3-Clause
/* State memory costs what is in use of it: there may be a thousand devices. */
#include "sample.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/state_mem.h"

#define PAGE 4096u
#define PAGES 40u

struct large {
	uint8_t bytes[PAGES * PAGE];
};

static const struct ob_field large_rows[] = {
	OB_BYTES(1, struct large, bytes, "0.1"),
	OB_END
};
static const struct ob_table large_table = {
	"large", sizeof(struct large), large_rows
};
static const struct ob_table *const tables[OB_NR_TABLES] = {
	[OB_SECTION_HOT] = &large_table, [OB_SECTION_DMA] = &large_table,
};

static unsigned pages(const struct ob_state_mem *mem)
{
	struct stat st;

	assert_int_equal(fstat(mem->fd, &st), 0);
	return (unsigned)(st.st_blocks / (PAGE / 512));
}

static uint8_t *create(struct ob_state_mem *mem)
{
	assert_int_equal(ob_state_create(mem, "large", tables, NULL), 0);
	return ob_state_section(mem, OB_SECTION_HOT);
}

static void what_is_written_is_all_that_costs(void **state)
{
	struct ob_state_mem mem;
	uint8_t *hot = create(&mem);
	unsigned few = pages(&mem);

	(void)state;
	ob_step_begin(&mem, OB_STEP_WORK);
	ob_undo_commit(&mem);
	ob_step_end(&mem);
	assert_int_equal(pages(&mem), few);
	assert_int_equal(few, 2);	/* header, schema */
	assert_int_equal(ob_state_written(&mem, OB_SECTION_HOT), 0);
	hot[7 * PAGE + 1] = 1;
	assert_int_equal(ob_state_written(&mem, OB_SECTION_HOT), 8 * PAGE);
	hot[PAGES * PAGE - 1] = 1;
	assert_int_equal(ob_state_written(&mem, OB_SECTION_HOT), PAGES * PAGE);
	assert_int_equal(pages(&mem), few + 2);
	ob_state_destroy(&mem);
}

static void pages_of_zeros_are_given_back(void **state)
{
	struct ob_state_mem mem;
	uint8_t *hot = create(&mem), sum = 0;
	unsigned i;

	(void)state;
	ob_step_begin(&mem, OB_STEP_WORK);
	ob_undo_add(&mem, hot, 5 * PAGE);
	hot[3 * PAGE + 9] = 42;
	ob_step_end(&mem);
	for (i = 0; i < PAGES; i++)
		sum |= ((volatile uint8_t *)hot)[i * PAGE];
	assert_int_equal(sum, 0);
	assert_true(pages(&mem) >= PAGES + 5);
	ob_state_cool(&mem);
	assert_int_equal(pages(&mem), 3);
	assert_int_equal(hot[3 * PAGE + 9], 42);
	assert_int_equal(ob_state_written(&mem, OB_SECTION_HOT), 4 * PAGE);
	ob_state_destroy(&mem);
}

/* What a successor would need is left alone. */
static void an_open_step_is_not_cooled(void **state)
{
	struct ob_state_mem mem;
	uint8_t *hot = create(&mem);
	unsigned before;

	(void)state;
	hot[0] = 1;
	ob_step_begin(&mem, OB_STEP_WORK);
	ob_undo_add(&mem, hot, 5 * PAGE);
	before = pages(&mem);
	ob_state_cool(&mem);
	assert_int_equal(pages(&mem), before);
	assert_int_equal(mem.undo->bytes[0], 1);
	ob_step_end(&mem);
	ob_state_destroy(&mem);
}

static void a_section_becomes_other_bytes(void **state)
{
	static struct large from;
	struct ob_state_mem mem;
	uint8_t *hot = create(&mem);
	unsigned few = pages(&mem);

	(void)state;
	from.bytes[5 * PAGE] = 5;
	from.bytes[sizeof(from) - 1] = 6;
	memset(hot + 20 * PAGE, 0xff, 2 * PAGE);
	ob_state_fill(&mem, OB_SECTION_HOT, &from);
	assert_int_equal(pages(&mem), few + 4);
	assert_memory_equal(hot, &from, sizeof(from));
	memset(hot, 1, PAGE);
	ob_state_clear(&mem, OB_SECTION_HOT);
	assert_int_equal(pages(&mem), few);
	memset(&from, 0, sizeof(from));
	assert_memory_equal(hot, &from, sizeof(from));
	ob_state_destroy(&mem);
}

int main(void)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return 77;	/* skipped */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_all_that_costs),
		cmocka_unit_test(pages_of_zeros_are_given_back),
		cmocka_unit_test(an_open_step_is_not_cooled),
		cmocka_unit_test(a_section_becomes_other_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
