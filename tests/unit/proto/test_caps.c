// SPDX-License-Identifier: BSD-3-Clause
/* The capabilities' JSON, as real clients send it and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "proto/caps.h"

static struct ob_caps caps;
static struct ob_err err;

static int parse(const char *json)
{
	memset(&caps, 0xa5, sizeof(caps));
	err.msg[0] = 0;
	return ob_caps_parse(&caps, json, json ? strlen(json) : 0, &err);
}

/* {"capabilities": {TEXT}} */
static int parse_inner(const char *text)
{
	char json[1024];

	snprintf(json, sizeof(json), "{\"capabilities\": {%s}}", text);
	return parse(json);
}

static void assert_defaults(void)
{
	assert_int_equal(caps.max_msg_fds, 1);
	assert_int_equal(caps.max_data_xfer_size, 1 << 20);
	assert_int_equal(caps.max_dma_maps, 65535);
	assert_int_equal(caps.pgsizes, 4096);
	assert_false(caps.write_multiple);
	assert_false(caps.twin_socket);
	assert_int_equal(caps.twin_fd_index, -1);
}

static void silence_means_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse(NULL), 0);
	assert_defaults();
	assert_int_equal(parse("{}"), 0);
	assert_defaults();
	assert_int_equal(parse_inner(""), 0);
	assert_defaults();
}

static void qemu_text(void **state)
{
	(void)state;
	assert_int_equal(parse_inner(
		"\"pgsizes\": 4096, \"max_msg_fds\": 16, "
		"\"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, "
		"\"migration\": {\"max_bitmap_size\": 268435456, "
		"\"pgsize\": 4096}, \"write_multiple\": true"), 0);
	assert_int_equal(caps.max_msg_fds, 16);
	assert_true(caps.write_multiple);
	assert_false(caps.twin_socket);
}

static void every_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(parse_inner(
		"\"max_msg_fds\":8,\"max_data_xfer_size\":67108864,"
		"\"max_dma_maps\":1,\"pgsizes\":69632,"
		"\"write_multiple\":true,"
		"\"twin_socket\":{\"supported\":true,\"fd_index\":3}"), 0);
	assert_int_equal(caps.max_msg_fds, 8);
	assert_int_equal(caps.max_data_xfer_size, 64 << 20);
	assert_int_equal(caps.max_dma_maps, 1);
	assert_int_equal(caps.pgsizes, 69632);
	assert_true(caps.write_multiple);
	assert_true(caps.twin_socket);
	assert_int_equal(caps.twin_fd_index, 3);
}

static void r3_unknown_keys_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"x\":[1,2],\"capabilities\":"
			       "{\"zap\":null,\"max_msg_fds\":2},\"y\":1e3}"),
			 0);
	assert_int_equal(caps.max_msg_fds, 2);
}

/* An error names the key. */
static void r12_wrong_types_and_ranges(void **state)
{
	static const char *const bad[][2] = {
		{ "max_msg_fds", "\"16\"" }, { "max_msg_fds", "16.0" },
		{ "max_msg_fds", "-1" }, { "max_msg_fds", "4294967296" },
		{ "max_msg_fds", "null" }, { "max_msg_fds", "true" },
		{ "max_data_xfer_size", "0" },
		{ "max_data_xfer_size", "67108865" },
		{ "max_data_xfer_size", "1e6" },
		{ "max_data_xfer_size", "9223372036854775807" },
		{ "max_dma_maps", "[]" }, { "max_dma_maps", "-65535" },
		{ "pgsizes", "0" }, { "pgsizes", "-4096" },
		{ "pgsizes", "{}" },
		{ "write_multiple", "1" }, { "write_multiple", "\"true\"" },
		{ "twin_socket", "true" }, { "twin_socket", "[]" },
		{ "twin_socket", "{\"supported\":1}" },
		{ "twin_socket", "{\"fd_index\":-1}" },
		{ "twin_socket", "{\"fd_index\":2147483648}" },
		{ "twin_socket", "{\"fd_index\":\"0\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[128];

		snprintf(text, sizeof(text), "\"%s\":%s", bad[i][0], bad[i][1]);
		assert_int_equal(parse_inner(text), -EINVAL);
		assert_non_null(strstr(err.msg, bad[i][0]));
	}
}

static void r12_not_json(void **state)
{
	static const char *const bad[] = {
		"", " ", "{", "}", "nonsense", "[]", "1", "null", "\"x\"",
		"{\"capabilities\"}", "{\"capabilities\":}", "{} {}",
		"{\"capabilities\":[]}", "{\"capabilities\":null}",
		"{\"capabilities\":1}", "{'a':1}", "{\"a\":1,}",
		"{\"a\":\"\xff\xfe\"}", "{\"a\":\"\xed\xa0\x80\"}",
		"{\"a\":\"\xc0\x80\"}", "\xef\xbb\xbf{}",
		"{\"a\":\"\\ud800\"}", "{\"a\":1e999}",
		"{\"a\":99999999999999999999999999}", "{\"a\":nan}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i]), -EINVAL);
		assert_true(err.msg[0]);
	}
}

static void r12_bytes_behind_a_nul(void **state)
{
	(void)state;
	assert_int_equal(ob_caps_parse(&caps, "{}\0{}", 5, &err), -EINVAL);
	assert_int_equal(ob_caps_parse(&caps, "{}\0", 3, &err), -EINVAL);
}

static void r12_duplicate_keys(void **state)
{
	(void)state;
	assert_int_equal(parse_inner("\"max_msg_fds\":1,\"max_msg_fds\":9"),
			 -EINVAL);
	assert_int_equal(parse("{\"capabilities\":{},\"capabilities\":{}}"),
			 -EINVAL);
	assert_int_equal(parse("{\"a\":{\"b\":1,\"b\":2}}"), -EINVAL);
}

/* depth brackets in all: root, capabilities, arrays. */
static int parse_nested(size_t depth)
{
	char json[512], *p = json;

	p += sprintf(p, "{\"capabilities\":{\"x\":");
	for (size_t i = 2; i < depth; i++)
		*p++ = '[';
	for (size_t i = 2; i < depth; i++)
		*p++ = ']';
	strcpy(p, depth > 2 ? "}}" : "0}}");
	return parse(json);
}

static void r12_nesting_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(parse_nested(OB_CAPS_MAX_DEPTH), 0);
	assert_int_equal(parse_nested(OB_CAPS_MAX_DEPTH + 1), -EINVAL);
	/* Brackets in a string, and behind an escaped quote, are text. */
	assert_int_equal(parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[\"}"), 0);
	assert_int_equal(parse("{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[\\\\\"}"), 0);
	/* One level at a time, over and over, is not deep. */
	assert_int_equal(parse("{\"a\":[[],[],[],[],[],[],[],[],[],[],[],[],"
			       "[],[],[],[],[],[],[],[]]}"), 0);
}

static void r12_a_megabyte_of_brackets(void **state)
{
	const size_t len = 1 << 20;
	char *json = malloc(len);

	(void)state;
	assert_non_null(json);
	memset(json, '[', len);
	assert_int_equal(ob_caps_parse(&caps, json, len, &err), -EINVAL);
	assert_int_equal(ob_caps_parse(&caps, json, OB_CAPS_MAX_JSON, &err),
			 -EINVAL);
	free(json);
}

static void r12_the_largest_text(void **state)
{
	char *json = malloc(OB_CAPS_MAX_JSON + 1);

	(void)state;
	assert_non_null(json);
	memset(json, ' ', OB_CAPS_MAX_JSON + 1);
	memcpy(json, "{}", 2);
	assert_int_equal(ob_caps_parse(&caps, json, OB_CAPS_MAX_JSON, &err), 0);
	assert_int_equal(ob_caps_parse(&caps, json, OB_CAPS_MAX_JSON + 1,
				       &err), -EINVAL);
	free(json);
}

static void assert_same(const struct ob_caps *a, const struct ob_caps *b)
{
	assert_int_equal(a->max_msg_fds, b->max_msg_fds);
	assert_int_equal(a->max_data_xfer_size, b->max_data_xfer_size);
	assert_int_equal(a->max_dma_maps, b->max_dma_maps);
	assert_int_equal(a->pgsizes, b->pgsizes);
	assert_int_equal(a->write_multiple, b->write_multiple);
	assert_int_equal(a->precopy_info, b->precopy_info);
	assert_int_equal(a->error_text, b->error_text);
	assert_int_equal(a->twin_socket, b->twin_socket);
	assert_int_equal(a->twin_fd_index, b->twin_fd_index);
}

static void what_is_formatted_comes_back(void **state)
{
	const struct ob_caps all[] = {
		{ 1, 1 << 20, 65535, 4096, false, false, false, false, -1 },
		{ 64, OB_MAX_DATA_XFER, UINT32_MAX, INT64_MAX, true, true,
		  true, true, 0 },
		{ 0, 1, 0, 1, true, true, false, true, -1 },
		{ UINT32_MAX, 1, 0, 1, true, false, true, true, INT32_MAX },
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int len = ob_caps_format(&all[i], text, sizeof(text));

		assert_int_equal(len, strlen(text) + 1);
		assert_int_equal(parse(text), 0);
		assert_same(&caps, &all[i]);
		for (int size = 0; size < len; size++)
			assert_int_equal(ob_caps_format(&all[i], text, size),
					 -ENOSPC);
		assert_int_equal(ob_caps_format(&all[i], text, len), len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_means_defaults),
		cmocka_unit_test(qemu_text),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(r3_unknown_keys_are_ignored),
		cmocka_unit_test(r12_wrong_types_and_ranges),
		cmocka_unit_test(r12_not_json),
		cmocka_unit_test(r12_bytes_behind_a_nul),
		cmocka_unit_test(r12_duplicate_keys),
		cmocka_unit_test(r12_nesting_is_bounded),
		cmocka_unit_test(r12_a_megabyte_of_brackets),
		cmocka_unit_test(r12_the_largest_text),
		cmocka_unit_test(what_is_formatted_comes_back),
	};

	return cmocka_run_group_tests_name("caps", tests, NULL, NULL);
}
