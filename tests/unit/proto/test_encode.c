// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is put comes back from get, has the size that proto.h states, and does
 * not fit into one byte less.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "proto/proto.h"

/*
 * Runs put into buffers of every size up to the right one: the short ones are
 * refused and not overrun; leaves the right bytes in buf and rd on them.
 */
#define CHECK_PUT(put, v, size) do {					       \
	struct ob_writer wr_;						       \
	for (size_t n_ = 0; n_ < (size); n_++) {			       \
		memset(buf, 0xee, sizeof(buf));				       \
		ob_writer_init(&wr_, buf, n_);				       \
		assert_int_equal(put(&wr_, v), -ENOSPC);		       \
		assert_int_equal(buf[n_], 0xee);			       \
	}								       \
	ob_writer_init(&wr_, buf, sizeof(buf));				       \
	assert_int_equal(put(&wr_, v), 0);				       \
	assert_int_equal(ob_writer_len(&wr_), size);			       \
	ob_reader_init(&rd, buf, size);					       \
} while (0)

#define CHECK_GET(get, out, size) do {					       \
	struct ob_reader short_;					       \
	for (size_t n_ = 0; n_ < (size); n_++) {			       \
		ob_reader_init(&short_, buf, n_);			       \
		assert_int_equal(get(&short_, out), -EBADMSG);		       \
	}								       \
	assert_int_equal(get(&rd, out), 0);				       \
	assert_int_equal(ob_reader_left(&rd), 0);			       \
} while (0)

/* For structures without padding: all bytes come back. */
#define CHECK_BOTH(type, name, size) do {				       \
	struct type in_, out_;						       \
	fill(&in_, sizeof(in_));					       \
	memset(&out_, 0, sizeof(out_));					       \
	CHECK_PUT(ob_put_##name, &in_, size);				       \
	assert_memory_equal(buf, &in_, size);				       \
	CHECK_GET(ob_get_##name, &out_, size);				       \
	assert_memory_equal(&in_, &out_, sizeof(in_));			       \
} while (0)

static uint8_t buf[512];
static struct ob_reader rd;

static void fill(void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = i * 7 + 1;
}

static void structures_come_back(void **state)
{
	(void)state;
	CHECK_BOTH(ob_device_info, device_info, OB_DEVICE_INFO_SIZE);
	CHECK_BOTH(ob_region_info, region_info, OB_REGION_INFO_SIZE);
	CHECK_BOTH(ob_region_io_fds, io_fds, OB_REGION_IO_FDS_SIZE);
	CHECK_BOTH(ob_sub_region, sub_region, OB_SUB_REGION_SIZE);
	CHECK_BOTH(ob_irq_info, irq_info, OB_IRQ_INFO_SIZE);
	CHECK_BOTH(ob_region_access, region_access, OB_REGION_ACCESS_SIZE);
	CHECK_BOTH(ob_dma_access, dma_access, OB_DMA_ACCESS_SIZE);
}

/* What only a client sends goes through the server's decoder. */
static void requests_come_back(void **state)
{
	struct ob_request req = { .hdr = { .cmd = OB_CMD_DMA_MAP } };
	struct ob_dma_map map;
	struct ob_dma_unmap unmap;
	struct ob_set_irqs irqs;
	struct ob_feature feature;
	struct ob_mig_data mig;

	(void)state;
	fill(&map, sizeof(map));
	CHECK_PUT(ob_put_dma_map, &map, OB_DMA_MAP_SIZE);
	assert_int_equal(ob_request_get(&req, buf, OB_DMA_MAP_SIZE), 0);
	assert_memory_equal(&req.map, &map, sizeof(map));

	fill(&unmap, sizeof(unmap));
	CHECK_PUT(ob_put_dma_unmap, &unmap, OB_DMA_UNMAP_SIZE);
	req.hdr.cmd = OB_CMD_DMA_UNMAP;
	assert_int_equal(ob_request_get(&req, buf, OB_DMA_UNMAP_SIZE), 0);
	assert_memory_equal(&req.unmap, &unmap, sizeof(unmap));

	fill(&irqs, sizeof(irqs));
	irqs.flags = OB_IRQ_DATA_NONE | OB_IRQ_ACTION_TRIGGER;
	CHECK_PUT(ob_put_set_irqs, &irqs, OB_SET_IRQS_SIZE);
	req.hdr.cmd = OB_CMD_DEVICE_SET_IRQS;
	assert_int_equal(ob_request_get(&req, buf, OB_SET_IRQS_SIZE), 0);
	assert_memory_equal(&req.set_irqs, &irqs, sizeof(irqs));

	fill(&feature, sizeof(feature));
	CHECK_PUT(ob_put_feature, &feature, OB_FEATURE_SIZE);
	req.hdr.cmd = OB_CMD_DEVICE_FEATURE;
	assert_int_equal(ob_request_get(&req, buf, OB_FEATURE_SIZE), 0);
	assert_memory_equal(&req.feature, &feature, sizeof(feature));

	fill(&mig, sizeof(mig));
	CHECK_PUT(ob_put_mig_data, &mig, OB_MIG_DATA_SIZE);
	req.hdr.cmd = OB_CMD_MIG_DATA_READ;
	assert_int_equal(ob_request_get(&req, buf, OB_MIG_DATA_SIZE), 0);
	assert_memory_equal(&req.mig, &mig, sizeof(mig));
}

static void header_comes_back(void **state)
{
	const struct ob_hdr in = { 0x0102, 9, 36, 0x10, 22 };
	const uint8_t wire[] = {
		2, 1, 9, 0, 36, 0, 0, 0, 0x10, 0, 0, 0, 22, 0, 0, 0
	};
	struct ob_hdr out;

	(void)state;
	CHECK_PUT(ob_hdr_put, &in, OB_HDR_SIZE);
	assert_memory_equal(buf, wire, sizeof(wire));
	CHECK_GET(ob_hdr_get, &out, OB_HDR_SIZE);
	assert_memory_equal(&in, &out, sizeof(in));
}

static void version_comes_back(void **state)
{
	const struct ob_version in = { 0, 1, "{\"a\":1}", 7 };
	const struct ob_version bare = { 1, 2, NULL, 0 };
	struct ob_version out;

	(void)state;
	CHECK_PUT(ob_put_version, &in, 12);
	assert_int_equal(ob_get_version(&rd, &out), 0);
	assert_int_equal(out.minor, 1);
	assert_int_equal(out.json_len, 7);
	assert_memory_equal(out.json, "{\"a\":1}", 8);
	CHECK_PUT(ob_put_version, &bare, 4);
	assert_int_equal(ob_get_version(&rd, &out), 0);
	assert_int_equal(out.major, 1);
	assert_null(out.json);
}

static int put_two_areas(struct ob_writer *wr, const uint64_t (*areas)[2])
{
	return ob_put_sparse_cap(wr, 80, 2, areas);
}

static void sparse_capability_layout(void **state)
{
	const uint64_t areas[2][2] = { { 0x1000, 0x2000 }, { 0x4000, 0x1000 } };
	const uint64_t words[] = {
		80ull << 32 | 1 << 16 | OB_CAP_SPARSE_MMAP, 2,
		0x1000, 0x2000, 0x4000, 0x1000
	};

	(void)state;
	CHECK_PUT(put_two_areas, areas, OB_CAP_SPARSE_SIZE(2));
	assert_memory_equal(buf, words, sizeof(words));
}

static void write_entries_come_back(void **state)
{
	struct ob_write_entry entry;

	(void)state;
	fill(buf, OB_WRITE_ENTRY_SIZE);
	ob_reader_init(&rd, buf, OB_WRITE_ENTRY_SIZE);
	CHECK_GET(ob_get_write_entry, &entry, OB_WRITE_ENTRY_SIZE);
	assert_memory_equal(&entry, buf, OB_WRITE_ENTRY_SIZE);
}

static void commands_have_names(void **state)
{
	(void)state;
	assert_string_equal(ob_cmd_name(OB_CMD_VERSION), "VERSION");
	assert_string_equal(ob_cmd_name(OB_CMD_MIG_DATA_WRITE),
			    "MIG_DATA_WRITE");
	assert_string_equal(ob_cmd_name(0), "unknown");
	assert_string_equal(ob_cmd_name(OB_NR_CMDS), "unknown");
	assert_string_equal(ob_cmd_name(65535), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structures_come_back),
		cmocka_unit_test(requests_come_back),
		cmocka_unit_test(header_comes_back),
		cmocka_unit_test(version_comes_back),
		cmocka_unit_test(sparse_capability_layout),
		cmocka_unit_test(write_entries_come_back),
		cmocka_unit_test(commands_have_names),
	};

	return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
