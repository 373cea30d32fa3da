// SPDX-License-Identifier: BSD-3-Clause
#include "unit.h"

#include <outboard/option.h>

#include <errno.h>
#include <string.h>

static const struct ob_option common[] = {
	{ .name = "socket", .type = OB_OPT_STRING, .required = true,
	  .min = 1, .max = 20 },
	{ .name = "id", .type = OB_OPT_STRING },
	{ 0 }
};

static const struct ob_option disk[] = {
	{ .name = "queues", .type = OB_OPT_UINT, .def = "64", .min = 1,
	  .max = 64 },
	{ .name = "mask", .type = OB_OPT_UINT },
	{ .name = "cache", .type = OB_OPT_SIZE, .min = 4096 },
	{ .name = "readonly", .type = OB_OPT_BOOL },
	{ .name = "doorbells", .type = OB_OPT_CHOICE, .def = "adaptive",
	  .choices = "adaptive|trapped|mapped" },
	{ .name = "drive", .type = OB_OPT_STRING, .list = true },
	{ .name = "wrap", .type = OB_OPT_STRING, .list = true, .def = "none" },
	{ 0 }
};

static const struct ob_option *const tables[] = { common, disk, NULL };

static struct ob_options *parse(const char *text)
{
	struct ob_options *opts = NULL;
	struct ob_err err = { 0 };

	if (ob_options_parse(text, tables, &opts, &err))
		fail_msg("%s", err.msg);
	return opts;
}

static void assert_refused(const char *text, const char *why)
{
	struct ob_options *opts = NULL;
	struct ob_err err = { 0 };

	assert_int_equal(ob_options_parse(text, tables, &opts, &err),
			 -EINVAL);
	assert_null(opts);
	assert_string_equal(err.msg, why);
	/* Nobody has to take the message. */
	assert_int_equal(ob_options_parse(text, tables, &opts, NULL),
			 -EINVAL);
}

static void test_values_are_found_by_key(void **state)
{
	struct ob_options *opts = parse("nvme,socket=/run/a.sock,queues=0x10,"
		"cache=8K,readonly,doorbells=mapped,mask=18446744073709551615");

	(void)state;
	assert_string_equal(ob_options_name(opts), "nvme");
	assert_string_equal(ob_options_str(opts, "socket"), "/run/a.sock");
	assert_int_equal(ob_options_u64(opts, "queues"), 16);
	assert_int_equal(ob_options_u64(opts, "cache"), 8192);
	assert_true(ob_options_u64(opts, "mask") == UINT64_MAX);
	assert_true(ob_options_bool(opts, "readonly"));
	assert_int_equal(ob_options_choice(opts, "doorbells"), 2);
	ob_options_destroy(opts);
}

static void test_defaults_fill_in_and_the_rest_is_absent(void **state)
{
	struct ob_options *opts = parse("nvme,socket=s");

	(void)state;
	assert_int_equal(ob_options_u64(opts, "queues"), 64);
	assert_string_equal(ob_options_str(opts, "queues"), "64");
	assert_int_equal(ob_options_choice(opts, "doorbells"), 0);
	assert_int_equal(ob_options_count(opts, "queues"), 1);
	assert_int_equal(ob_options_count(opts, "wrap"), 1);
	assert_int_equal(ob_options_count(opts, "id"), 0);
	assert_null(ob_options_str(opts, "id"));
	assert_int_equal(ob_options_u64(opts, "cache"), 0);
	assert_false(ob_options_bool(opts, "readonly"));
	assert_null(ob_options_str(opts, "no such key"));
	ob_options_destroy(opts);
}

static void test_lists_keep_their_order_and_replace_the_default(void **state)
{
	struct ob_options *opts = parse("nvme,drive=a,socket=s,drive=b,"
					"wrap=w,drive=c");

	(void)state;
	assert_int_equal(ob_options_count(opts, "drive"), 3);
	assert_string_equal(ob_options_nth(opts, "drive", 0), "a");
	assert_string_equal(ob_options_nth(opts, "drive", 1), "b");
	assert_string_equal(ob_options_nth(opts, "drive", 2), "c");
	assert_null(ob_options_nth(opts, "drive", 3));
	assert_int_equal(ob_options_count(opts, "wrap"), 1);
	assert_string_equal(ob_options_str(opts, "wrap"), "w");
	ob_options_destroy(opts);
}

static void test_a_doubled_comma_is_one_in_the_value(void **state)
{
	struct ob_options *opts = parse("nvme,socket=a,,b,drive=,,x=y,,,,z,,");

	(void)state;
	assert_string_equal(ob_options_str(opts, "socket"), "a,b");
	assert_string_equal(ob_options_str(opts, "drive"), ",x=y,,z,");
	ob_options_destroy(opts);
	opts = parse("nvme,drive=a,,,socket=s");
	assert_string_equal(ob_options_str(opts, "drive"), "a,");
	assert_string_equal(ob_options_str(opts, "socket"), "s");
	ob_options_destroy(opts);
}

static void test_words_for_on_and_off(void **state)
{
	static const struct { const char *text; bool on; } words[] = {
		{ "nvme,socket=s,readonly", true },
		{ "nvme,socket=s,readonly=on", true },
		{ "nvme,socket=s,readonly=yes", true },
		{ "nvme,socket=s,readonly=true", true },
		{ "nvme,socket=s,readonly=1", true },
		{ "nvme,socket=s,readonly=off", false },
		{ "nvme,socket=s,readonly=no", false },
		{ "nvme,socket=s,readonly=false", false },
		{ "nvme,socket=s,readonly=0", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		struct ob_options *opts = parse(words[i].text);

		assert_int_equal(ob_options_bool(opts, "readonly"),
				 words[i].on);
		assert_int_equal(ob_options_count(opts, "readonly"), 1);
		ob_options_destroy(opts);
	}
}

static void test_an_unknown_key_is_told_the_known_ones(void **state)
{
	(void)state;
	assert_refused("nvme,socket=s,serail=1",
		"nvme: unknown key \"serail\"; known keys: socket, id, "
		"queues, mask, cache, readonly, doorbells, drive, wrap");
}

static void test_a_long_list_of_known_keys_ends_in_dots(void **state)
{
	static const struct ob_option many[] = {
		{ .name = "a-key-with-a-name-of-forty-characters-01" },
		{ .name = "a-key-with-a-name-of-forty-characters-02" },
		{ .name = "a-key-with-a-name-of-forty-characters-03" },
		{ .name = "a-key-with-a-name-of-forty-characters-04" },
		{ .name = "a-key-with-a-name-of-forty-characters-05" },
		{ .name = "z" },
		{ 0 }
	};
	const struct ob_option *const long_table[] = { many, NULL };
	struct ob_options *opts;
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(ob_options_parse("m,x", long_table, &opts, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "-04, ..."));
	assert_null(strstr(err.msg, "-05"));
}

static void test_wrong_values_are_named(void **state)
{
	static const struct { const char *text, *why; } cases[] = {
		{ "nvme", "nvme: socket: missing" },
		{ "", "a name must come first" },
		{ ",socket=s", "a name must come first" },
		{ "nvme,", "nvme: empty key" },
		{ "nvme,socket=s,", "nvme: empty key" },
		{ "nvme,=x", "nvme: empty key" },
		{ "nvme,socket", "nvme: socket: needs a value" },
		{ "nvme,socket=", "nvme: socket: must be 1 to 20 characters "
		  "long" },
		{ "nvme,socket=012345678901234567890",
		  "nvme: socket: must be 1 to 20 characters long" },
		{ "nvme,socket=s,socket=t", "nvme: socket: given twice" },
		{ "nvme,socket=s,readonly,readonly",
		  "nvme: readonly: given twice" },
		{ "nvme,socket=s,queues=0",
		  "nvme: queues: 0 is not within 1..64" },
		{ "nvme,socket=s,queues=65",
		  "nvme: queues: 65 is not within 1..64" },
		{ "nvme,socket=s,queues=", "nvme: queues: \"\" is no number" },
		{ "nvme,socket=s,queues=-1",
		  "nvme: queues: \"-1\" is no number" },
		{ "nvme,socket=s,queues=0x",
		  "nvme: queues: \"0x\" is no number" },
		{ "nvme,socket=s,queues=4k",
		  "nvme: queues: \"4k\" is no number" },
		{ "nvme,socket=s,mask=18446744073709551616",
		  "nvme: mask: 18446744073709551616 is too large" },
		{ "nvme,socket=s,cache=1", "nvme: cache: 1 is below 4096" },
		{ "nvme,socket=s,cache=x", "nvme: cache: \"x\" is no size" },
		{ "nvme,socket=s,cache=8388608T",
		  "nvme: cache: size 8388608T is over 2^63 - 1" },
		{ "nvme,socket=s,readonly=maybe",
		  "nvme: readonly: \"maybe\" is neither on nor off" },
		{ "nvme,socket=s,doorbells=map", "nvme: doorbells: \"map\" is "
		  "not one of adaptive|trapped|mapped" },
		{ "nvme,socket=s,doorbells=trapped|mapped",
		  "nvme: doorbells: \"trapped|mapped\" is not one of "
		  "adaptive|trapped|mapped" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_refused(cases[i].text, cases[i].why);
}

static void test_an_empty_string_is_a_value(void **state)
{
	struct ob_options *opts = parse("nvme,socket=s,id=");

	(void)state;
	assert_string_equal(ob_options_str(opts, "id"), "");
	assert_int_equal(ob_options_count(opts, "id"), 1);
	ob_options_destroy(opts);
}

static void test_hostile_text_fits_the_message(void **state)
{
	static char text[70000];
	struct ob_options *opts;
	struct ob_err err = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "nvme,", 5);
	assert_int_equal(ob_options_parse(text, tables, &opts, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "known keys: socket"));
}

static void test_sizes(void **state)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "64K", 65536 },
		{ "64k", 65536 }, { "3M", 3 << 20 },
		{ "10G", UINT64_C(10) << 30 }, { "2T", UINT64_C(2) << 40 },
		{ "9223372036854775807", INT64_MAX },
		{ "8388607T", UINT64_C(8388607) << 40 },
	};
	static const struct { const char *text; int error; } bad[] = {
		{ "", -EINVAL }, { "K", -EINVAL }, { "-1", -EINVAL },
		{ "+1", -EINVAL }, { " 1", -EINVAL }, { "1 ", -EINVAL },
		{ "1X", -EINVAL }, { "1KB", -EINVAL }, { "0x10", -EINVAL },
		{ "1.5G", -EINVAL }, { "9223372036854775808", -ERANGE },
		{ "8388608T", -ERANGE }, { "18446744073709551616", -ERANGE },
		{ "99999999999999999999999", -ERANGE },
	};
	struct ob_err err = { 0 };
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(ob_parse_size(good[i].text, &bytes, &err), 0);
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err.msg[0] = '\0';
		assert_int_equal(ob_parse_size(bad[i].text, &bytes, &err),
				 bad[i].error);
		assert_true(err.msg[0]);
	}
}

static void test_messages_are_prefixed_and_cut(void **state)
{
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(ob_fail(&err, EIO, "no %s", "luck"), -EIO);
	ob_err_prefix(&err, "disk%d", 0);
	ob_err_prefix(&err, "nvme");
	assert_string_equal(err.msg, "nvme: disk0: no luck");
	for (int i = 0; i < 100; i++)
		ob_err_prefix(&err, "layer %d", i);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_memory_equal(err.msg, "layer 99: layer 98: ", 20);
	assert_int_equal(ob_fail(NULL, EIO, "x"), -EIO);
	ob_err_prefix(NULL, "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values_are_found_by_key),
		cmocka_unit_test(test_defaults_fill_in_and_the_rest_is_absent),
		cmocka_unit_test(
			test_lists_keep_their_order_and_replace_the_default),
		cmocka_unit_test(test_a_doubled_comma_is_one_in_the_value),
		cmocka_unit_test(test_words_for_on_and_off),
		cmocka_unit_test(test_an_unknown_key_is_told_the_known_ones),
		cmocka_unit_test(test_a_long_list_of_known_keys_ends_in_dots),
		cmocka_unit_test(test_wrong_values_are_named),
		cmocka_unit_test(test_an_empty_string_is_a_value),
		cmocka_unit_test(test_hostile_text_fits_the_message),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_messages_are_prefixed_and_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
