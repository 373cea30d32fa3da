// SPDX-License-Identifier: BSD-3-Clause
/* Requests as bytes: right, short by every length, long, contradictory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "proto/proto.h"

/* The smallest right payload of every command, and what goes with it. */
struct sample {
	unsigned cmd;
	size_t len;		/* of the payload below */
	uint8_t bytes[64];
	size_t fixed;		/* shorter than this is always wrong */
	size_t data_len;
	size_t reply;
	bool open;		/* may be longer */
};

#define U32(v) (v) & 0xff, ((v) >> 8) & 0xff, ((v) >> 16) & 0xff, (v) >> 24
#define U64(v) U32(v), U32(0u)

static const struct sample samples[] = {
	{ OB_CMD_VERSION, 4, { 0, 0, 1, 0 }, 4, 0, 4, false },
	{ OB_CMD_VERSION, 7, { 0, 0, 1, 0, '{', '}', 0 }, 4, 0, 4, false },
	{ OB_CMD_DMA_MAP, 32, { U32(32u), U32(3u), U64(0u), U64(4096u),
				U64(8192u) }, 32, 0, 0, true },
	{ OB_CMD_DMA_UNMAP, 24, { U32(24u), U32(0u), U64(4096u), U64(8192u) },
	  24, 0, 24, true },
	{ OB_CMD_DEVICE_GET_INFO, 16, { U32(16u) }, 16, 0, 16, true },
	{ OB_CMD_DEVICE_GET_REGION_INFO, 32, { U32(32u), U32(0u), U32(7u) },
	  32, 0, 32, true },
	{ OB_CMD_DEVICE_GET_REGION_IO_FDS, 16, { U32(16u), U32(0u), U32(1u) },
	  16, 0, 16, true },
	{ OB_CMD_DEVICE_GET_IRQ_INFO, 16, { U32(16u), U32(0u), U32(2u) },
	  16, 0, 16, true },
	{ OB_CMD_DEVICE_SET_IRQS, 20, { U32(20u), U32(0x24u), U32(2u), U32(0u),
					U32(1u) }, 20, 0, 0, true },
	{ OB_CMD_DEVICE_SET_IRQS, 23, { U32(23u), U32(0x22u), U32(2u), U32(0u),
					U32(3u), 1, 0, 1 }, 23, 3, 0, true },
	{ OB_CMD_REGION_READ, 16, { U64(8u), U32(7u), U32(4u) },
	  16, 0, 20, true },
	{ OB_CMD_REGION_WRITE, 20, { U64(8u), U32(0u), U32(4u), 1, 2, 3, 4 },
	  20, 4, 16, false },
	{ OB_CMD_DEVICE_RESET, 0, { 0 }, 0, 0, 0, false },
	{ OB_CMD_REGION_WRITE_MULTI, 8, { U64(0u) }, 8, 0, 8, false },
	{ OB_CMD_REGION_WRITE_MULTI, 56, { U64(2u) }, 56, 48, 8, false },
	{ OB_CMD_DEVICE_FEATURE, 8, { U32(8u), U32(0x10001u) },
	  8, 0, 8, true },
	{ OB_CMD_MIG_DATA_READ, 8, { U32(8u), U32(100u) }, 8, 0, 8, true },
	{ OB_CMD_MIG_DATA_WRITE, 11, { U32(11u), U32(3u), 7, 8, 9 },
	  11, 3, 0, false },
};

#define NR_SAMPLES (sizeof(samples) / sizeof(samples[0]))

/*
 * Decodes from a heap block of exactly that length, so that the address
 * sanitizer sees any read behind it.
 */
static int decode(struct ob_request *req, unsigned cmd, const void *bytes,
		  size_t len, uint8_t **block)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	memset(req, 0xa5, sizeof(*req));
	req->hdr = (struct ob_hdr){ .cmd = cmd, .size = len + OB_HDR_SIZE };
	*block = copy;
	return ob_request_get(req, copy, len);
}

static void every_command_decodes(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR_SAMPLES; i++) {
		const struct sample *s = &samples[i];
		struct ob_request req;
		uint8_t *block;

		assert_int_equal(decode(&req, s->cmd, s->bytes, s->len,
					&block), 0);
		assert_int_equal(req.data_len, s->data_len);
		if (s->data_len)
			assert_ptr_equal(req.data,
					 block + s->len - s->data_len);
		assert_int_equal(ob_reply_payload_size(&req), s->reply);
		free(block);
	}
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR_SAMPLES; i++) {
		for (size_t len = 0; len < samples[i].fixed; len++) {
			struct ob_request req;
			uint8_t *block;

			assert_int_equal(decode(&req, samples[i].cmd,
						samples[i].bytes, len,
						&block), -EINVAL);
			assert_null(req.data);
			assert_int_equal(req.data_len, 0);
			free(block);
		}
	}
}

static void longer_payloads_only_where_the_format_is_open(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR_SAMPLES; i++) {
		const struct sample *s = &samples[i];
		uint8_t bytes[4064] = { 0 }, *block;
		struct ob_request req;

		if (s->cmd == OB_CMD_VERSION)
			continue;
		memcpy(bytes, s->bytes, s->len);
		assert_int_equal(decode(&req, s->cmd, bytes, s->len + 1,
					&block), s->open ? 0 : -EINVAL);
		free(block);
		assert_int_equal(decode(&req, s->cmd, bytes, sizeof(bytes),
					&block), s->open ? 0 : -EINVAL);
		free(block);
	}
}

/* The size of an error reply follows from what could be decoded (R37). */
static void r37_truncated_requests_have_a_reply_size(void **state)
{
	const uint8_t read[15] = { 0 };
	const uint8_t write[19] = { U64(0u), U32(0u), U32(4u), 1, 2, 3 };
	struct ob_request req;
	uint8_t *block;

	(void)state;
	assert_int_equal(decode(&req, OB_CMD_REGION_READ, read, sizeof(read),
				&block), -EINVAL);
	assert_int_equal(ob_reply_payload_size(&req), 16);
	free(block);
	assert_int_equal(decode(&req, OB_CMD_REGION_WRITE, write,
				sizeof(write), &block), -EINVAL);
	assert_int_equal(ob_reply_payload_size(&req), 16);
	assert_int_equal(req.access.count, 4);
	free(block);
}

static void r3_commands_that_no_client_sends(void **state)
{
	const unsigned cmds[] = {
		0, OB_CMD_DMA_READ, OB_CMD_DMA_WRITE, OB_CMD_DIRTY_PAGES_V1,
		OB_NR_CMDS, 255, 0x8000, 0xffff,
	};
	const uint8_t bytes[64] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++) {
		struct ob_request req;
		uint8_t *block;

		assert_int_equal(decode(&req, cmds[i], bytes, sizeof(bytes),
					&block), -ENOSYS);
		assert_int_equal(ob_reply_payload_size(&req), 0);
		free(block);
	}
}

/* Counts at the edges of their type never reach past the payload (R2). */
static void r2_counts_that_contradict_the_length(void **state)
{
	const uint32_t counts[] = {
		0, 1, 3, 5, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint8_t write[20] = { U64(0u), U32(0u) };
		uint8_t mig[12] = { 0 };
		uint8_t irqs[24] = { U32(24u), U32(0x22u) };
		struct ob_request req;
		uint8_t *block;

		memcpy(write + 12, &counts[i], 4);
		assert_int_equal(decode(&req, OB_CMD_REGION_WRITE, write, 20,
					&block), -EINVAL);
		free(block);
		memcpy(mig + 4, &counts[i], 4);
		assert_int_equal(decode(&req, OB_CMD_MIG_DATA_WRITE, mig, 12,
					&block), -EINVAL);
		free(block);
		memcpy(irqs + 16, &counts[i], 4);
		assert_int_equal(decode(&req, OB_CMD_DEVICE_SET_IRQS, irqs, 24,
					&block), counts[i] <= 4 ? 0 : -EINVAL);
		free(block);
	}
}

/* n * 24 wraps to 0, 8, 24 and 48 for these (R2). */
static void r2_write_multi_count_overflows(void **state)
{
	const uint64_t counts[] = {
		1ull << 61, 1ull << 63, 0x0aaaaaaaaaaaaaabull,
		0x5555555555555556ull, 0x2000000000000001ull, UINT64_MAX,
		UINT64_MAX / 24, UINT64_MAX / 24 + 1,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (size_t len = 8; len <= 56; len++) {
			uint8_t bytes[56] = { 0 }, *block;
			struct ob_request req;

			memcpy(bytes, &counts[i], 8);
			assert_int_equal(decode(&req,
						OB_CMD_REGION_WRITE_MULTI,
						bytes, len, &block), -EINVAL);
			free(block);
		}
	}
}

/* The number is the caller's to bound, the sum must not wrap. */
static void r2_reply_size_of_a_huge_read(void **state)
{
	uint8_t bytes[16] = { 0 }, *block;
	struct ob_request req;

	(void)state;
	memset(bytes + 12, 0xff, 4);
	assert_int_equal(decode(&req, OB_CMD_REGION_READ, bytes, 16, &block),
			 0);
	assert_true(ob_reply_payload_size(&req) == 16 + 0xffffffffull);
	free(block);
}

static void version_text_ends_with_a_nul(void **state)
{
	struct ob_request req;
	uint8_t *block;

	(void)state;
	assert_int_equal(decode(&req, OB_CMD_VERSION, "\0\0\1\0{}", 6,
				&block), -EINVAL);
	free(block);
	assert_int_equal(decode(&req, OB_CMD_VERSION, "\0\0\1\0{}", 7,
				&block), 0);
	assert_int_equal(req.version.major, 0);
	assert_int_equal(req.version.minor, 1);
	assert_int_equal(req.version.json_len, 2);
	assert_memory_equal(req.version.json, "{}", 3);
	free(block);
	assert_int_equal(decode(&req, OB_CMD_VERSION, "\0\0\1\0", 4, &block),
			 0);
	assert_null(req.version.json);
	free(block);
	assert_int_equal(decode(&req, OB_CMD_VERSION, "\0\0\1\0", 5, &block),
			 0);
	assert_null(req.version.json);
	free(block);
}

static void fields_are_where_the_specification_puts_them(void **state)
{
	const uint8_t map[] = {
		U32(0x11u), U32(0x22u), U64(0x33u), U64(0x44u), U64(0x55u)
	};
	const uint8_t irqs[] = {
		U32(0x11u), U32(0x20u), U32(0x33u), U32(0x44u), U32(0x55u)
	};
	struct ob_request req;
	uint8_t *block;

	(void)state;
	decode(&req, OB_CMD_DMA_MAP, map, sizeof(map), &block);
	assert_int_equal(req.map.argsz, 0x11);
	assert_int_equal(req.map.flags, 0x22);
	assert_int_equal(req.map.offset, 0x33);
	assert_int_equal(req.map.address, 0x44);
	assert_int_equal(req.map.size, 0x55);
	free(block);
	decode(&req, OB_CMD_DEVICE_SET_IRQS, irqs, sizeof(irqs), &block);
	assert_int_equal(req.set_irqs.argsz, 0x11);
	assert_int_equal(req.set_irqs.flags, 0x20);
	assert_int_equal(req.set_irqs.index, 0x33);
	assert_int_equal(req.set_irqs.start, 0x44);
	assert_int_equal(req.set_irqs.count, 0x55);
	free(block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_decodes),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(longer_payloads_only_where_the_format_is_open),
		cmocka_unit_test(r37_truncated_requests_have_a_reply_size),
		cmocka_unit_test(r3_commands_that_no_client_sends),
		cmocka_unit_test(r2_counts_that_contradict_the_length),
		cmocka_unit_test(r2_write_multi_count_overflows),
		cmocka_unit_test(r2_reply_size_of_a_huge_read),
		cmocka_unit_test(version_text_ends_with_a_nul),
		cmocka_unit_test(fields_are_where_the_specification_puts_them),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
