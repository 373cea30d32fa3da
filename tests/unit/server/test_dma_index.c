// SPDX-License-Identifier: BSD-3-Clause
/* The sorted ranges, against a plain array of pages, in every order of changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/dma_impl.h"

#define PAGE 4096ull
#define MAPS OB_DMA_MAPS_MAX

/* Number i may be mapped at page 3 * i, for one or two pages; slot: which. */
static uint8_t mapped[MAPS];		/* pages, 0: not */
static uint32_t order[MAPS];

static struct ob_range range_of(uint32_t i, unsigned pages)
{
	return (struct ob_range){
		.first = 3 * i * PAGE, .last = (3 * i + pages) * PAGE - 1,
		.slot = i,
	};
}

static void map(struct ob_dma *dma, uint32_t i, unsigned pages)
{
	struct ob_range range = range_of(i, pages);
	struct ob_place place = ob_dma_place(dma, range.first);

	assert_int_equal(ob_dma_reserve(dma), 0);
	assert_int_equal(ob_dma_add(dma, place, &range)->slot, i);
	mapped[i] = (uint8_t)pages;
}

static void unmap(struct ob_dma *dma, uint32_t i)
{
	struct ob_place place = ob_dma_place(dma, 3 * i * PAGE);

	assert_int_equal(ob_dma_at(dma, &place)->slot, i);
	ob_dma_remove(dma, place);
	mapped[i] = 0;
}

static void check_one(struct ob_dma *dma, uint32_t i)
{
	for (unsigned page = 0; page < 3; page++) {
		uint64_t addr = (3 * i + page) * PAGE + 17;
		struct ob_range *range = ob_dma_find(dma, addr);

		assert_true(!range == (page >= mapped[i]));
		if (range) {
			assert_int_equal(range->slot, i);
			/* The last hit knows its bounds. */
			assert_ptr_equal(ob_dma_find(dma, range->last), range);
		}
	}
}

/* All that are there, in order, and as few leaves as was promised. */
static void check(struct ob_dma *dma)
{
	struct ob_range *range;
	uint32_t i = 0, n = 0;

	for (struct ob_place p = { 0 }; (range = ob_dma_at(dma, &p)); p.at++) {
		while (!mapped[i])
			i++;
		assert_int_equal(range->slot, i++);
		n++;
	}
	assert_int_equal(n, dma->nr);
	assert_true(dma->nr_leaves <= 4 * dma->nr / OB_LEAF + 2);
	for (i = 0; i < MAPS; i++)
		check_one(dma, i);
}

static void begin(void)
{
	memset(mapped, 0, sizeof(mapped));
	for (uint32_t i = 0; i < MAPS; i++)
		order[i] = i;
}

static void shuffle(unsigned seed)
{
	srand(seed);
	for (uint32_t i = MAPS - 1; i; i--) {
		uint32_t j = (uint32_t)rand() % (i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void reverse(void)
{
	for (uint32_t i = 0; i < MAPS; i++)
		order[i] = MAPS - 1 - i;
}

static void fill_and_empty(uint32_t leaves)
{
	struct ob_dma dma = { 0 };

	for (uint32_t i = 0; i < MAPS; i++)
		map(&dma, order[i], 1 + order[i] % 2);
	check(&dma);
	assert_true(dma.nr_leaves <= leaves);
	for (uint32_t i = 0; i < MAPS; i++) {
		unmap(&dma, order[i]);
		if (i % 16384 == 0)
			check(&dma);
	}
	assert_int_equal(dma.nr, 0);
	assert_int_equal(dma.nr_leaves, 0);
	ob_dma_remove_all(&dma);
}

static void all_of_them_in_any_order(void **state)
{
	(void)state;
	begin();
	fill_and_empty(MAPS / OB_LEAF + 1);
	reverse();
	fill_and_empty(2 * MAPS / OB_LEAF + 2);
	shuffle(1);
	fill_and_empty(2 * MAPS / OB_LEAF + 2);
}

/* Filled, thinned to one of each leaf, filled again: it does not grow. */
static void few_of_many_take_little(void **state)
{
	struct ob_dma dma = { 0 };

	(void)state;
	begin();
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < MAPS; i++)
			if (!mapped[i])
				map(&dma, i, 2);
		check(&dma);
		for (uint32_t i = 0; i < MAPS; i++)
			if (i % OB_LEAF)
				unmap(&dma, i);
		check(&dma);
	}
	ob_dma_remove_all(&dma);
}

static void changes_of_all_kinds(void **state)
{
	struct ob_dma dma = { 0 };

	(void)state;
	begin();
	srand(2);
	for (unsigned n = 0; n < 400000; n++) {
		uint32_t i = (uint32_t)rand() % 3000;

		if (mapped[i])
			unmap(&dma, i);
		else
			map(&dma, i, 1 + i % 3 % 2);
		check_one(&dma, (uint32_t)rand() % 3000);
		if (n % 100000 == 0)
			check(&dma);
	}
	ob_dma_remove_all(&dma);
}

static void the_end_of_the_address_space(void **state)
{
	struct ob_dma dma = { 0 };
	struct ob_range last = { .first = -PAGE, .last = UINT64_MAX, .slot = 7 };
	struct ob_place end = ob_dma_place(&dma, UINT64_MAX);

	(void)state;
	assert_null(ob_dma_at(&dma, &end));
	assert_null(ob_dma_find(&dma, 0));
	assert_int_equal(ob_dma_reserve(&dma), 0);
	ob_dma_add(&dma, end, &last);
	assert_int_equal(ob_dma_find(&dma, UINT64_MAX)->slot, 7);
	assert_null(ob_dma_find(&dma, -PAGE - 1));
	assert_int_equal(ob_dma_find(&dma, -PAGE)->slot, 7);
	ob_dma_remove_all(&dma);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_of_them_in_any_order),
		cmocka_unit_test(few_of_many_take_little),
		cmocka_unit_test(changes_of_all_kinds),
		cmocka_unit_test(the_end_of_the_address_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
