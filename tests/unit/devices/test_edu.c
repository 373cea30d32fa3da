// SPDX-License-Identifier: BSD-3-Clause
/* The edu device as its documentation describes it to a driver's author. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/models.h"
#include "fake.h"

enum {
	ID = 0x00, LIVENESS = 0x04, FACTORIAL = 0x08, STATUS = 0x20,
	IRQ_STATUS = 0x24, IRQ_RAISE = 0x60, IRQ_ACK = 0x64,
	DMA_SRC = 0x80, DMA_DST = 0x88, DMA_COUNT = 0x90, DMA_CMD = 0x98,
	BUFFER = 0x40000,
};

static struct ob_device *dev;

static int setup(void **state)
{
	(void)state;
	dev = fake_create(&ob_edu_class, "edu");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_destroy(dev);
	return 0;
}

static void transfer(uint64_t src, uint64_t dst, uint64_t count, uint64_t cmd)
{
	fake_write64(dev, DMA_SRC, src);
	fake_write64(dev, DMA_DST, dst);
	fake_write64(dev, DMA_COUNT, count);
	fake_write64(dev, DMA_CMD, cmd);
}

static void identification_and_liveness(void **state)
{
	(void)state;
	assert_int_equal(fake_read32(dev, ID), 0x010000ed);
	fake_write32(dev, LIVENESS, 0x12345678);
	assert_int_equal(fake_read32(dev, LIVENESS), 0xedcba987);
	fake_write32(dev, ID, 0);
	assert_int_equal(fake_read32(dev, ID), 0x010000ed);
}

static void access_sizes(void **state)
{
	uint8_t byte = 0;
	uint16_t half = 0;

	(void)state;
	dev->cls->region_read(dev, OB_BAR0, ID, &byte, 1);
	dev->cls->region_read(dev, OB_BAR0, ID, &half, 2);
	assert_int_equal(byte, 0xff);
	assert_int_equal(half, 0xffff);
	assert_true(fake_read64(dev, ID) == UINT64_MAX);
	fake_write64(dev, LIVENESS, 0);		/* ignored */
	assert_int_equal(fake_read32(dev, LIVENESS), 0);
	/* Four and eight bytes from 0x80; four clear the upper half. */
	fake_write64(dev, DMA_SRC, 0x1122334455667788);
	assert_true(fake_read64(dev, DMA_SRC) == 0x1122334455667788);
	assert_int_equal(fake_read32(dev, DMA_SRC), 0x55667788);
	fake_write32(dev, DMA_SRC, 5);
	assert_true(fake_read64(dev, DMA_SRC) == 5);
}

static void undefined_registers_read_as_ones(void **state)
{
	(void)state;
	assert_int_equal(fake_read32(dev, 0x0c), UINT32_MAX);
	assert_int_equal(fake_read32(dev, IRQ_RAISE), UINT32_MAX);
	assert_int_equal(fake_read32(dev, BUFFER), UINT32_MAX);
	fake_write32(dev, BUFFER, 1);
	assert_int_equal(fake_read32(dev, 0xffffc), UINT32_MAX);
}

static uint32_t computed(uint32_t n)
{
	fake_write32(dev, FACTORIAL, n);
	assert_int_equal(fake_read32(dev, STATUS) & 1, 1);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, STATUS) & 1, 0);
	return fake_read32(dev, FACTORIAL);
}

static void factorial_is_computed_later(void **state)
{
	(void)state;
	assert_int_equal(computed(0), 1);
	assert_int_equal(computed(1), 1);
	assert_int_equal(computed(5), 120);
	assert_int_equal(computed(12), 479001600);
	assert_int_equal(computed(13), 1932053504);	/* 13! mod 2^32 */
	assert_int_equal(computed(33), 0x80000000);
	assert_int_equal(computed(34), 0);
	assert_int_equal(computed(UINT32_MAX), 0);
	assert_int_equal(dev->raised[0], 0);
}

static void factorial_ignores_writes_while_it_computes(void **state)
{
	(void)state;
	fake_write32(dev, FACTORIAL, 4);
	fake_write32(dev, FACTORIAL, 6);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 24);
}

static void factorial_interrupt(void **state)
{
	(void)state;
	fake_write32(dev, STATUS, 0xff);
	assert_int_equal(fake_read32(dev, STATUS), 0x80);
	assert_int_equal(computed(3), 6);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 1);
	assert_int_equal(dev->raised[0], 1);
	assert_true(dev->level);
	fake_write32(dev, IRQ_ACK, 1);
	assert_false(dev->level);
	fake_write32(dev, STATUS, 0);
	assert_int_equal(computed(3), 6);
	assert_int_equal(dev->raised[0], 1);
}

static void interrupt_values_accumulate(void **state)
{
	(void)state;
	fake_write32(dev, IRQ_RAISE, 0x10);
	fake_write32(dev, IRQ_RAISE, 0x05);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x15);
	assert_int_equal(dev->raised[0], 2);
	fake_write32(dev, IRQ_ACK, 0x11);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x04);
	assert_true(dev->level);
	fake_write32(dev, IRQ_ACK, 0x04);
	assert_false(dev->level);
	fake_write32(dev, IRQ_RAISE, 0);	/* raises nothing */
	assert_int_equal(dev->raised[0], 2);
	assert_false(dev->level);
}

static void dma_both_ways(void **state)
{
	static const char text[] = "through the device and back";

	(void)state;
	memcpy(dev->guest + 0x100, text, sizeof(text));
	transfer(FAKE_GUEST + 0x100, BUFFER + 7, sizeof(text), 1);
	assert_true(fake_read64(dev, DMA_CMD) == 0);
	transfer(BUFFER + 7, FAKE_GUEST + 0x2000, sizeof(text), 1 | 2 | 4);
	assert_string_equal((char *)dev->guest + 0x2000, text);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x100);
	assert_int_equal(dev->raised[0], 1);
}

static void dma_outside_the_buffer_moves_nothing(void **state)
{
	(void)state;
	transfer(FAKE_GUEST, BUFFER, 4097, 1);
	transfer(FAKE_GUEST, BUFFER + 1, 4096, 1);
	transfer(FAKE_GUEST, BUFFER - 1, 1, 1);
	transfer(FAKE_GUEST, BUFFER + 4097, 0, 1);
	transfer(FAKE_GUEST, BUFFER, UINT64_MAX, 1);
	transfer(FAKE_GUEST, BUFFER + 16, -(uint64_t)8, 1);
	transfer(UINT64_MAX, FAKE_GUEST, 1, 3);
	assert_int_equal(dev->dma_count, 0);
	assert_int_equal(dev->logged, 7);
	assert_true(fake_read64(dev, DMA_CMD) == 2);	/* not running */
	transfer(FAKE_GUEST, BUFFER, 4096, 1);
	assert_int_equal(dev->dma_count, 1);
}

static void dma_to_memory_that_is_not_there_ends(void **state)
{
	(void)state;
	transfer(BUFFER, 0, 16, 1 | 2 | 4);
	assert_true(fake_read64(dev, DMA_CMD) == (2 | 4));
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x100);
	assert_int_equal(dev->logged, 1);
}

static void dma_address_mask(void **state)
{
	(void)state;
	dev->guest[0] = 0x77;
	transfer(0xf0000000 + FAKE_GUEST, BUFFER, 1, 1);
	transfer(BUFFER, FAKE_GUEST + 1, 1, 3);
	assert_int_equal(dev->guest[1], 0x77);
	fake_destroy(dev);
	dev = fake_create(&ob_edu_class, "edu,dma_mask=0xffffffffffffffff");
	transfer(0xf0000000 + FAKE_GUEST, BUFFER, 1, 1);
	assert_int_equal(dev->logged, 1);
}

static void dma_that_takes_its_time(void **state)
{
	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	assert_int_equal(fake_read32(dev, DMA_CMD), 5);
	assert_int_equal(dev->cls->in_flight(dev), 1);
	/* The registers are locked while it runs. */
	fake_write64(dev, DMA_DST, 0);
	assert_int_equal(fake_read32(dev, DMA_DST), BUFFER);
	fake_write64(dev, DMA_CMD, 1);
	assert_int_equal(dev->dma_count, 1);
	fake_dma_end(dev, 0);
	assert_int_equal(fake_read32(dev, DMA_CMD), 4);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x100);
	assert_int_equal(dev->cls->in_flight(dev), 0);
}

/* R20: a transfer that ends after a reset changes nothing. */
static void test_r20_reset_disowns_dma_and_factorial(void **state)
{
	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	fake_write32(dev, STATUS, 0x80);
	fake_write32(dev, FACTORIAL, 5);
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	dev->cls->reset(dev, OB_RESET_FLR);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 0);
	/* The next transfer waits for the forgotten one, then runs. */
	dev->guest[1] = 0x66;
	transfer(FAKE_GUEST + 1, BUFFER + 1, 1, 1);
	assert_int_equal(dev->dma_count, 1);
	fake_dma_end(dev, 0);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0);
	assert_int_equal(fake_read32(dev, DMA_CMD), 1);
	fake_dma_end(dev, 0);
	assert_int_equal(fake_read32(dev, DMA_CMD), 0);
	dev->dma_later = false;
	transfer(BUFFER, FAKE_GUEST + 8, 2, 3);
	assert_int_equal(dev->guest[8], 0);
	assert_int_equal(dev->guest[9], 0x66);
	assert_int_equal(dev->raised[0], 0);
}

static void reset_brings_power_on_values(void **state)
{
	(void)state;
	fake_write32(dev, LIVENESS, 1);
	fake_write32(dev, IRQ_RAISE, 1);
	fake_write64(dev, DMA_SRC, 1);
	dev->cls->reset(dev, OB_RESET_DEVICE);
	assert_int_equal(fake_read32(dev, LIVENESS), 0);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0);
	assert_true(fake_read64(dev, DMA_SRC) == 0);
	assert_false(dev->level);
}

static void work_that_was_owed_goes_on_in_a_new_life(void **state)
{
	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	fake_write32(dev, FACTORIAL, 5);
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	dev->dma_later = false;
	fake_rebuild(dev);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 120);
	assert_int_equal(fake_read32(dev, IRQ_STATUS), 0x100);
	assert_int_equal(fake_read32(dev, DMA_CMD), 4);
}

/* -- moving ------------------------------------------------------------ */

/* A second device with the state of dev, which stands still. */
static struct ob_device *loaded(void)
{
	struct ob_device *to = fake_create(&ob_edu_class, "edu");
	struct ob_err err = { 0 };

	fake_stop(to);
	if (fake_load(to, dev, &err))
		fail_msg("%s", err.msg);
	memcpy(to->guest, dev->guest, FAKE_GUEST_SIZE);
	return to;
}

/* It has taken dev's place; dev stays as it was. */
static struct ob_device *moved(void)
{
	struct ob_device *to;

	dev->stopped = 0;
	fake_stop(dev);
	assert_int_equal(dev->stopped, 1);
	to = loaded();
	fake_run(to);
	return to;
}

static void swap_to(struct ob_device *to)
{
	fake_destroy(dev);
	dev = to;
}

/* R24: every field arrives. */
static void test_r24_all_of_the_state_moves(void **state)
{
	const struct ob_field *f;
	struct ob_device *to;
	uint8_t *bytes;

	(void)state;
	fake_stop(dev);
	bytes = dev->state;
	for (f = dev->cls->state->fields; f->type != OB_FIELD_END; f++)
		memset(bytes + f->offset, f->tag, f->size * f->count);
	/* Bits with a meaning: no work is owed. */
	memset(bytes + dev->cls->state->fields[2].offset, 0, 4);
	memset(bytes + dev->cls->state->fields[7].offset, 0, 8);
	to = loaded();
	assert_memory_equal(to->state, dev->state, dev->cls->state->size);
	fake_destroy(to);
}

/* R26: what was owed is done once, there, before anything new. */
static void test_r26_factorial_moves(void **state)
{
	struct ob_device *to;

	(void)state;
	fake_write32(dev, STATUS, 0x80);
	fake_write32(dev, FACTORIAL, 5);
	to = moved();
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 5);
	assert_int_equal(dev->raised[0], 0);
	fake_write32(to, FACTORIAL, 6);		/* ignored: it computes */
	fake_turn(to);
	assert_int_equal(fake_read32(to, FACTORIAL), 120);
	assert_int_equal(fake_read32(to, IRQ_STATUS), 1);
	assert_int_equal(to->raised[0], 1);
	swap_to(to);
}

static void test_r26_transfer_moves(void **state)
{
	struct ob_device *to;

	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	to = moved();
	assert_int_equal(fake_read32(to, DMA_CMD), 4);
	assert_int_equal(to->raised[0], 1);
	/* The old one's end comes late and changes nothing. */
	fake_dma_end(dev, 0);
	assert_int_equal(fake_read32(dev, DMA_CMD), 5);
	assert_int_equal(dev->raised[0], 0);
	assert_int_equal(dev->cls->in_flight(dev), 0);
	swap_to(to);
	transfer(BUFFER, FAKE_GUEST + 8, 1, 3);
	assert_int_equal(dev->guest[8], 0x5a);
}

/* R28: called off; the same device goes on. */
static void test_r28_stop_and_run_again(void **state)
{
	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	fake_write32(dev, FACTORIAL, 5);
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	fake_stop(dev);
	fake_dma_end(dev, -ECANCELED);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, STATUS), 1);
	fake_run(dev);
	assert_int_equal(dev->dma_count, 2);
	fake_dma_end(dev, 0);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 120);
	assert_int_equal(fake_read32(dev, DMA_CMD), 4);
	assert_int_equal(dev->raised[0], 1);
}

/* A cancelled transfer whose end comes when the device runs again. */
static void test_r28_late_cancellation(void **state)
{
	(void)state;
	dev->dma_later = true;
	dev->guest[0] = 0x5a;
	transfer(FAKE_GUEST, BUFFER, 1, 1);
	fake_stop(dev);
	fake_run(dev);
	assert_int_equal(dev->dma_count, 1);
	fake_dma_end(dev, -ECANCELED);
	assert_int_equal(dev->dma_count, 2);
	fake_dma_end(dev, 0);
	assert_int_equal(fake_read32(dev, DMA_CMD), 0);
	assert_int_equal(dev->logged, 0);
}

/* R29: registers answer while it stands still, and what they ask is owed. */
static void test_r29_asked_while_it_stands_still(void **state)
{
	(void)state;
	fake_stop(dev);
	dev->guest[0] = 0x5a;
	fake_write32(dev, FACTORIAL, 5);
	transfer(FAKE_GUEST, BUFFER, 1, 1 | 4);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, STATUS), 1);
	assert_int_equal(fake_read32(dev, DMA_CMD), 5);
	assert_int_equal(dev->dma_count, 0);
	fake_run(dev);
	fake_turn(dev);
	assert_int_equal(fake_read32(dev, FACTORIAL), 120);
	assert_int_equal(fake_read32(dev, DMA_CMD), 4);
	assert_int_equal(dev->logged, 0);
}

static void test_r29_unacknowledged_interrupt_is_told_again(void **state)
{
	struct ob_device *to;

	(void)state;
	fake_write32(dev, IRQ_RAISE, 0x10);
	to = moved();
	assert_true(to->level);
	assert_int_equal(to->raised[0], 1);
	swap_to(to);
	fake_write32(dev, IRQ_ACK, 0x10);
	assert_false(dev->level);
	to = moved();
	assert_false(to->level);
	assert_int_equal(to->raised[0], 0);
	swap_to(to);
}

static void test_r25_unknown_status_is_refused(void **state)
{
	struct ob_device *to = fake_create(&ob_edu_class, "edu");
	struct ob_err err = { 0 };
	uint8_t *bytes = dev->state;

	(void)state;
	fake_write32(to, LIVENESS, 1);
	fake_stop(dev);
	fake_stop(to);
	bytes[dev->cls->state->fields[2].offset] = 0x40;
	assert_int_equal(fake_load(to, dev, &err), -EINVAL);
	assert_string_equal(err.msg, "status: 0x40 has unknown bits");
	assert_int_equal(fake_read32(to, LIVENESS), ~1u);
	fake_destroy(to);
}

static void identity(void **state)
{
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(dev->pci.vendor, 0x1234);
	assert_int_equal(dev->pci.device, 0x11e8);
	assert_int_equal(dev->pci.bars[0].size, 1 << 20);
	assert_int_equal(ob_table_check(dev->cls->state, &err), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identification_and_liveness),
		TEST(access_sizes),
		TEST(undefined_registers_read_as_ones),
		TEST(factorial_is_computed_later),
		TEST(factorial_ignores_writes_while_it_computes),
		TEST(factorial_interrupt),
		TEST(interrupt_values_accumulate),
		TEST(dma_both_ways),
		TEST(dma_outside_the_buffer_moves_nothing),
		TEST(dma_to_memory_that_is_not_there_ends),
		TEST(dma_address_mask),
		TEST(dma_that_takes_its_time),
		TEST(test_r20_reset_disowns_dma_and_factorial),
		TEST(reset_brings_power_on_values),
		TEST(work_that_was_owed_goes_on_in_a_new_life),
		TEST(test_r24_all_of_the_state_moves),
		TEST(test_r25_unknown_status_is_refused),
		TEST(test_r26_factorial_moves),
		TEST(test_r26_transfer_moves),
		TEST(test_r28_stop_and_run_again),
		TEST(test_r28_late_cancellation),
		TEST(test_r29_asked_while_it_stands_still),
		TEST(test_r29_unacknowledged_interrupt_is_told_again),
		TEST(identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
