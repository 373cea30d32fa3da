// SPDX-License-Identifier: BSD-3-Clause
/* Information and access. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct region {
	uint32_t argsz, flags, index, cap;
	uint64_t size, offset;
};

static const struct region *ask(struct rig *rig, uint32_t index,
				uint32_t argsz)
{
	struct region body = { .argsz = argsz, .index = index };

	assert_int_equal(rig_call(rig, REGION_INFO, &body, sizeof(body)), 0);
	return (const struct region *)rig->reply;
}

static void device_info_counts_regions_and_irqs(void **arg)
{
	uint32_t body[4] = { 16 }, small[4] = { 15 }, *got;
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_call(rig, GET_INFO, body, 16), 0);
	assert_int_equal(rig->len, 16);
	got = (uint32_t *)rig->reply;
	assert_int_equal(got[0], 16);
	assert_int_equal(got[1], 3);
	assert_int_equal(got[2], 9);
	assert_int_equal(got[3], 5);
	assert_int_equal(rig_call(rig, GET_INFO, small, 16), EINVAL);
	rig_end(rig);
}

static void every_region_answers_empty_ones_with_size_0(void **arg)
{
	static const uint64_t sizes[9] = {
		0x4000, 0, 0x8000, 0x40, 0, 0, 0, 4096, 0
	};
	struct rig *rig = rig_ready();
	const struct region *r;
	uint32_t i;

	(void)arg;
	for (i = 0; i < 9; i++) {
		r = ask(rig, i, 32);
		assert_int_equal(r->index, i);
		assert_int_equal(r->size, sizes[i]);
		assert_int_equal(r->flags & 3, sizes[i] ? 3 : 0);
		assert_int_equal(rig->len, 32);
	}
	rig_end(rig);
}

/* QEMU gives a device up that sets flag 8 without the capability. */
static void caps_flag_only_with_the_capabilities(void **arg)
{
	struct rig *rig = rig_ready();
	const struct region *r = ask(rig, 0, 32);
	const uint32_t *cap;
	uint64_t area[2];

	(void)arg;
	assert_int_equal(r->flags, 7);
	assert_int_equal(r->argsz, 64);
	assert_int_equal(r->cap, 0);
	assert_int_equal(rig->len, 32);
	r = ask(rig, 0, 64);
	assert_int_equal(r->flags, 15);
	assert_int_equal(r->argsz, 64);
	assert_int_equal(r->cap, 32);
	assert_int_equal(rig->len, 64);
	cap = (const uint32_t *)(rig->reply + 32);
	assert_int_equal(cap[0], 0x00010001);
	assert_int_equal(cap[1], 0);
	assert_int_equal(cap[2], 1);
	memcpy(area, cap + 4, sizeof(area));
	assert_int_equal(area[0], 0x1000);
	assert_int_equal(area[1], 0x1000);
	rig_end(rig);
}

static void a_mapped_area_is_the_models_memory(void **arg)
{
	struct rig *rig = rig_ready();
	const struct region *r = ask(rig, 0, 4064);
	uint32_t *ours, *theirs;

	(void)arg;
	assert_int_equal(rig->nr_fds, 1);
	theirs = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED,
		      rig->fds[0], (off_t)(r->offset + 0x1000));
	assert_ptr_not_equal(theirs, MAP_FAILED);
	ours = ob_dev_bar_memory(rig->dev, 0);
	theirs[3] = 0x55aa;
	assert_int_equal(ours[0x1000 / 4 + 3], 0x55aa);
	/* Sealed: none of it can be spoilt for us or for the next client. */
	assert_int_equal(ftruncate(rig->fds[0], 0), -1);
	assert_int_equal(ftruncate(rig->fds[0], 1 << 20), -1);
	assert_int_equal(fcntl(rig->fds[0], F_ADD_SEALS, F_SEAL_FUTURE_WRITE),
			 -1);
	munmap(theirs, 0x1000);
	assert_null(ob_dev_bar_memory(rig->dev, 2));
	rig_end(rig);
}

static void io_fds_are_none(void **arg)
{
	uint32_t body[4] = { 16, 0, 0, 0 }, bad_index[4] = { 16, 0, 9, 0 };
	uint32_t bad_flags[4] = { 16, 1, 0, 0 }, bad_count[4] = { 16, 0, 0, 1 };
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_call(rig, REGION_IO_FDS, body, 16), 0);
	assert_int_equal(rig->len, 16);
	assert_int_equal(((uint32_t *)rig->reply)[3], 0);
	assert_int_equal(rig_call(rig, REGION_IO_FDS, bad_index, 16), EINVAL);
	assert_int_equal(rig_call(rig, REGION_IO_FDS, bad_flags, 16), EINVAL);
	assert_int_equal(rig_call(rig, REGION_IO_FDS, bad_count, 16), EINVAL);
	rig_end(rig);
}

static void every_width_reaches_the_model_as_it_came(void **arg)
{
	static const uint32_t widths[] = { 1, 2, 4, 8, 16, 256 };
	uint8_t out[256], back[256];
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < 6; i++) {
		memset(out, (int)(0x40 + i), sizeof(out));
		assert_int_equal(rig_write(rig, 0, 0, out, widths[i]), 0);
		assert_int_equal(rig_seen(rig)->last_len, widths[i]);
		assert_int_equal(rig_read(rig, 0, 0, back, widths[i]), 0);
		assert_int_equal(rig_seen(rig)->last_len, widths[i]);
		assert_memory_equal(out, back, widths[i]);
	}
	rig_end(rig);
}

static void r2_bounds_are_checked_without_overflow(void **arg)
{
	static const struct {
		uint64_t offset; uint32_t region, count;
	} bad[] = {
		{ 0x4000, 0, 1 }, { 0x3fff, 0, 2 }, { UINT64_MAX, 0, 1 },
		{ UINT64_MAX - 3, 0, 8 }, { 1ull << 32, 0, 4 },
		{ 0, 1, 4 }, { 0, 8, 4 }, { 0, 9, 4 }, { 0, UINT32_MAX, 4 },
		{ 0, 0, 0x4001 }, { 0, 0, UINT32_MAX }, { 4096, CONFIG, 1 },
	};
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(rig_call(rig, REGION_READ, &bad[i], 16),
				 EINVAL);
	assert_int_equal(rig_seen(rig)->reads, 0);
	rig_end(rig);
}

static void reading_nothing_is_a_bare_success(void **arg)
{
	struct { uint64_t offset; uint32_t region, count; } a = { 0x4000, 0, 0 };
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_call(rig, REGION_READ, &a, 16), 0);
	assert_int_equal(rig->len, 16);
	assert_int_equal(rig_call(rig, REGION_WRITE, &a, 16), 0);
	assert_int_equal(rig_seen(rig)->reads + rig_seen(rig)->writes, 0);
	rig_end(rig);
}

static void a_large_read_comes_whole(void **arg)
{
	static uint8_t buf[0x1000];
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_read(rig, 2, 0, buf, 0x1000), 0);
	assert_int_equal(buf[0xfff], 0xcc);
	rig_end(rig);
}

/* BAR2: model, table at 0x1000 (70 x 16 = 0x460), PBA at 0x2000 (16). */
static void accesses_across_the_msix_table_are_split(void **arg)
{
	uint8_t buf[0x480];
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_read(rig, 2, 0xff8, buf, 16), 0);
	assert_int_equal(rig_seen(rig)->last_len, 8);
	assert_int_equal(buf[7], 0xcc);
	assert_int_equal(buf[8], 0);
	assert_int_equal(rig_read(rig, 2, 0x1000 - 8, buf, 0x480), 0);
	assert_int_equal(buf[8 + 12], 1);		/* masked at power-on */
	assert_int_equal(buf[8 + 0x460 - 4], 1);
	assert_int_equal(buf[8 + 0x460], 0xcc);
	assert_int_equal(rig_seen(rig)->last_offset, 0x1460);
	assert_int_equal(rig_read(rig, 2, 0x200c, buf, 8), 0);
	assert_int_equal(buf[3], 0);
	assert_int_equal(buf[4], 0xcc);
	rig_end(rig);
}

static void the_msix_table_keeps_what_is_written(void **arg)
{
	uint32_t entry[4] = { 0xfee00000, 1, 0x4041, 0xfffffffe }, back[4];
	uint32_t pba = 0xffffffff;
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_write(rig, 2, 0x1010, entry, 16), 0);
	assert_int_equal(rig_read(rig, 2, 0x1010, back, 16), 0);
	assert_memory_equal(back, entry, 12);
	assert_int_equal(back[3], 0);
	assert_int_equal(rig_write(rig, 2, 0x2000, &pba, 4), 0);
	assert_int_equal(rig_read(rig, 2, 0x2000, &pba, 4), 0);
	assert_int_equal(pba, 0);
	assert_int_equal(rig_seen(rig)->writes, 0);
	rig_end(rig);
}

struct entry {
	uint64_t offset;
	uint32_t region, len;
	uint8_t data[8];
};

static void write_multi_does_all_in_order(void **arg)
{
	struct { uint64_t count; struct entry e[3]; } m = { 3, {
		{ 0, 0, 4, { 1 } }, { 4, 0, 8, { 2 } }, { 0, 0, 1, { 3 } },
	} };
	struct rig *rig = rig_start("", NULL);
	uint64_t done;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"write_multiple\":true}}"), 0);
	assert_int_equal(rig_call(rig, WRITE_MULTI, &m, sizeof(m)), 0);
	assert_int_equal(rig->len, 8);
	memcpy(&done, rig->reply, 8);
	assert_int_equal(done, 3);
	assert_int_equal(rig_state(rig)->regs[0], 3);
	assert_int_equal(rig_state(rig)->regs[1], 2);

	m.e[1].len = 9;
	m.e[2].data[0] = 9;
	assert_int_equal(rig_call(rig, WRITE_MULTI, &m, sizeof(m)), 0);
	memcpy(&done, rig->reply, 8);
	assert_int_equal(done, 1);
	assert_int_equal(rig_state(rig)->regs[0], 1);
	m.e[0].region = 44;
	assert_int_equal(rig_call(rig, WRITE_MULTI, &m, sizeof(m)), EINVAL);
	assert_int_equal(rig->len, 8);
	m.count = UINT64_MAX / 24 + 2;
	assert_int_equal(rig_call(rig, WRITE_MULTI, &m, sizeof(m)), EINVAL);
	rig_end(rig);
}

static void write_multi_needs_to_be_agreed(void **arg)
{
	uint64_t none = 0;
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_call(rig, WRITE_MULTI, &none, 8), ENOTSUP);
	rig_end(rig);
}

static void the_rom_is_a_file(void **arg)
{
	uint8_t image[3000], back[3000];
	char name[] = "/tmp/ob-rom-XXXXXX", options[64];
	int fd = mkstemp(name);
	struct rig *rig;
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 7);
	assert_int_equal(write(fd, image, sizeof(image)), sizeof(image));
	close(fd);
	snprintf(options, sizeof(options), ",rom=%s", name);
	rig = rig_start(options, NULL);
	unlink(name);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(ask(rig, ROM, 32)->size, 4096);
	assert_int_equal(((struct region *)rig->reply)->flags, 1);
	rig_set_config(rig, 0x30, 0xfffff800, 4);
	assert_int_equal(rig_config(rig, 0x30, 4), 0xfffff000);
	assert_int_equal(rig_read(rig, ROM, 0, back, sizeof(back)), 0);
	assert_memory_equal(back, image, sizeof(image));
	assert_int_equal(rig_read(rig, ROM, 4092, back, 4), 0);
	assert_int_equal(back[3], 0);
	assert_int_equal(rig_write(rig, ROM, 0, back, 4), EINVAL);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_info_counts_regions_and_irqs),
		cmocka_unit_test(every_region_answers_empty_ones_with_size_0),
		cmocka_unit_test(caps_flag_only_with_the_capabilities),
		cmocka_unit_test(a_mapped_area_is_the_models_memory),
		cmocka_unit_test(io_fds_are_none),
		cmocka_unit_test(every_width_reaches_the_model_as_it_came),
		cmocka_unit_test(r2_bounds_are_checked_without_overflow),
		cmocka_unit_test(reading_nothing_is_a_bare_success),
		cmocka_unit_test(a_large_read_comes_whole),
		cmocka_unit_test(accesses_across_the_msix_table_are_split),
		cmocka_unit_test(the_msix_table_keeps_what_is_written),
		cmocka_unit_test(write_multi_does_all_in_order),
		cmocka_unit_test(write_multi_needs_to_be_agreed),
		cmocka_unit_test(the_rom_is_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
