// SPDX-License-Identifier: BSD-3-Clause
/* Configuration space as a driver sees it. */
#include "rig.h"

#include <errno.h>
#include <string.h>

static void header_is_the_models(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_config(rig, 0, 4), 0x12341b36);
	assert_int_equal(rig_config(rig, 8, 4), 0x01080202);
	assert_int_equal(rig_config(rig, 0x2c, 4), 0x11001af4);
	assert_int_equal(rig_config(rig, 0x3d, 1), 1);
	assert_int_equal(rig_config(rig, 6, 2), 0x10);
	assert_int_equal(rig_config(rig, 0x0e, 1), 0);
	rig_end(rig);
}

static void whole_space_reads_in_one_message(void **arg)
{
	uint8_t all[4096];
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_read(rig, CONFIG, 0, all, 4096), 0);
	assert_int_equal(all[0] | all[1] << 8, 0x1b36);
	assert_int_equal(rig_read(rig, CONFIG, 1, all, 4096), EINVAL);
	rig_end(rig);
}

static uint32_t size_bar(struct rig *rig, uint32_t offset)
{
	uint32_t old = rig_config(rig, offset, 4), size;

	rig_set_config(rig, offset, 0xffffffff, 4);
	size = rig_config(rig, offset, 4);
	rig_set_config(rig, offset, old, 4);
	assert_int_equal(rig_config(rig, offset, 4), old);
	return size;
}

static void bars_tell_their_size(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(size_bar(rig, 0x10), 0xffffc004);	/* 64 bits */
	assert_int_equal(size_bar(rig, 0x14), 0xffffffff);
	assert_int_equal(size_bar(rig, 0x18), 0xffff8000);
	assert_int_equal(size_bar(rig, 0x1c), 0xffffffc1);	/* port I/O */
	assert_int_equal(size_bar(rig, 0x20), 0);		/* absent */
	assert_int_equal(size_bar(rig, 0x30), 0);		/* no ROM */
	rig_end(rig);
}

static void bars_are_written_byte_by_byte_too(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	rig_set_config(rig, 0x13, 0xfe, 1);
	rig_set_config(rig, 0x11, 0xff, 1);
	assert_int_equal(rig_config(rig, 0x10, 4), 0xfe00c004);
	rig_end(rig);
}

static void read_only_bits_stay(void **arg)
{
	static const uint8_t ones[4] = { 0xff, 0xff, 0xff, 0xff };
	uint8_t before[64], after[64];
	struct rig *rig = rig_ready();
	uint32_t i;

	(void)arg;
	assert_int_equal(rig_read(rig, CONFIG, 0, before, 64), 0);
	for (i = 0; i < 16; i++)
		if (i == 0 || i == 2 || i == 11 || i == 13)
			assert_int_equal(rig_write(rig, CONFIG, i * 4, ones, 4),
					 0);
	assert_int_equal(rig_read(rig, CONFIG, 0, after, 64), 0);
	assert_memory_equal(before, after, 64);
	/* COMMAND: memory, master, parity, SERR, INTx disable; I/O exists */
	rig_set_config(rig, 4, 0xffff, 2);
	assert_int_equal(rig_config(rig, 4, 2), 0x0547);
	rig_end(rig);
}

static void capabilities_are_where_the_list_says(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t at;

	(void)arg;
	assert_int_not_equal(rig_find_cap(rig, 0x01), 0);
	at = rig_find_cap(rig, 0x05);
	assert_int_equal(rig_config(rig, at + 2, 2), 0x0086);	/* 8, 64 bit */
	at = rig_find_cap(rig, 0x11);
	assert_int_equal(rig_config(rig, at + 2, 2), 69);
	assert_int_equal(rig_config(rig, at + 4, 4), 0x1002);
	assert_int_equal(rig_config(rig, at + 8, 4), 0x2002);
	at = rig_find_cap(rig, 0x10);
	assert_true(rig_config(rig, at + 4, 4) & 1 << 28);	/* FLR */
	at = rig_find_cap(rig, 0x09);
	assert_int_equal(rig_config(rig, at + 2, 1), 8);
	assert_int_equal(rig_config(rig, at + 3, 4), 0x04030201);
	assert_int_equal(rig_config(rig, 0x100, 4), 0x00010003);
	assert_int_equal(rig_config(rig, 0x104, 4), 0x55667788);
	assert_int_equal(rig_config(rig, 0x108, 4), 0x11223344);
	rig_end(rig);
}

static void options_leave_capabilities_out(void **arg)
{
	struct rig *rig = rig_start(",msix=off,msi=off", NULL);
	uint32_t irq[4] = { 16, 0, 2 };

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_find_cap(rig, 0x11), 0);
	assert_int_equal(rig_find_cap(rig, 0x05), 0);
	assert_int_not_equal(rig_find_cap(rig, 0x10), 0);
	assert_int_equal(rig_call(rig, IRQ_INFO, irq, 16), 0);
	assert_int_equal(((uint32_t *)rig->reply)[3], 0);
	rig_end(rig);
}

static void a_conventional_device_has_256_bytes(void **arg)
{
	struct ob_pci pci = test_pci;
	uint8_t buf[4];
	struct rig *rig;

	(void)arg;
	pci.express = false;
	rig = rig_start("", &pci);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_read(rig, CONFIG, 252, buf, 4), 0);
	assert_int_equal(rig_read(rig, CONFIG, 256, buf, 4), EINVAL);
	rig_end(rig);
}

static void bus_master_is_told_once_for_each_change(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	rig_set_config(rig, 4, 0x4, 2);
	rig_set_config(rig, 4, 0x6, 2);
	assert_int_equal(rig_seen(rig)->masters, 1);
	assert_true(rig_seen(rig)->master_on);
	rig_set_config(rig, 4, 0x2, 2);
	assert_int_equal(rig_seen(rig)->masters, 2);
	assert_false(rig_seen(rig)->master_on);
	rig_end(rig);
}

/* Dirties the device and says what must be gone after a reset. */
static void make_dirty(struct rig *rig)
{
	uint32_t value = 7;

	rig_set_config(rig, 0x10, 0xfe000000, 4);
	rig_set_config(rig, 4, 0x406, 2);
	rig_set_config(rig, 0x3c, 9, 1);
	assert_int_equal(rig_write(rig, 0, 0, &value, 4), 0);
}

static void expect_clean(struct rig *rig, enum ob_reset kind)
{
	assert_int_equal(rig_config(rig, 0x10, 4), 4);
	assert_int_equal(rig_config(rig, 4, 2), 0);
	assert_int_equal(rig_config(rig, 0x3c, 1), 0);
	assert_int_equal(rig_state(rig)->regs[0], 0);
	assert_int_equal(rig_state(rig)->kind, kind);
	assert_false(rig_seen(rig)->master_on);
}

static void flr_is_a_config_write(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t at = rig_find_cap(rig, 0x10) + 8;
	uint32_t resets = rig_state(rig)->resets;

	(void)arg;
	make_dirty(rig);
	rig_set_config(rig, at, rig_config(rig, at, 2) | 0x8000, 2);
	expect_clean(rig, OB_RESET_FLR);
	assert_int_equal(rig_config(rig, at, 2), 0x2810);
	assert_int_equal(rig_state(rig)->resets, resets + 1);
	rig_end(rig);
}

static void d3_to_d0_is_a_reset(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t at = rig_find_cap(rig, 0x01) + 4;
	uint32_t resets = rig_state(rig)->resets;

	(void)arg;
	make_dirty(rig);
	rig_set_config(rig, at, 0, 2);
	assert_int_equal(rig_state(rig)->resets, resets);
	rig_set_config(rig, at, 3, 2);
	assert_int_equal(rig_config(rig, at, 2), 3);
	assert_int_equal(rig_state(rig)->resets, resets);
	rig_set_config(rig, at, 0, 2);
	assert_int_equal(rig_state(rig)->resets, resets + 1);
	expect_clean(rig, OB_RESET_D3);
	rig_end(rig);
}

static void d3_is_without_dma_and_d1_d2_do_not_exist(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t at = rig_find_cap(rig, 0x01) + 4, state;

	(void)arg;
	rig_master(rig, true);
	for (state = 1; state <= 2; state++) {
		rig_set_config(rig, at, state, 2);
		assert_int_equal(rig_config(rig, at, 2), 0);
	}
	assert_true(rig_seen(rig)->master_on);
	rig_set_config(rig, at, 3, 1);
	assert_false(rig_seen(rig)->master_on);
	rig_set_config(rig, at, 1, 1);
	assert_int_equal(rig_config(rig, at, 2), 3);
	/* Asking for it there gives nothing until the power is back. */
	rig_master(rig, false);
	rig_master(rig, true);
	assert_false(rig_seen(rig)->master_on);
	rig_set_config(rig, at, 0, 1);
	rig_master(rig, true);
	assert_true(rig_seen(rig)->master_on);
	rig_end(rig);
}

static void device_reset_twice_in_a_row(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	make_dirty(rig);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	assert_int_equal(rig->len, 0);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	expect_clean(rig, OB_RESET_DEVICE);
	rig_end(rig);
}

static void writing_everything_at_once_does_no_harm(void **arg)
{
	uint8_t ones[4096];
	struct rig *rig = rig_ready();

	(void)arg;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(rig_write(rig, CONFIG, 0, ones, 4096), 0);
	expect_clean(rig, OB_RESET_FLR);
	assert_int_equal(rig_config(rig, 0, 4), 0x12341b36);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_is_the_models),
		cmocka_unit_test(whole_space_reads_in_one_message),
		cmocka_unit_test(bars_tell_their_size),
		cmocka_unit_test(bars_are_written_byte_by_byte_too),
		cmocka_unit_test(read_only_bits_stay),
		cmocka_unit_test(capabilities_are_where_the_list_says),
		cmocka_unit_test(options_leave_capabilities_out),
		cmocka_unit_test(a_conventional_device_has_256_bytes),
		cmocka_unit_test(bus_master_is_told_once_for_each_change),
		cmocka_unit_test(flr_is_a_config_write),
		cmocka_unit_test(d3_to_d0_is_a_reset),
		cmocka_unit_test(d3_is_without_dma_and_d1_d2_do_not_exist),
		cmocka_unit_test(device_reset_twice_in_a_row),
		cmocka_unit_test(writing_everything_at_once_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
