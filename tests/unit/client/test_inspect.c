// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration space as text: what is named, and that a device which lies
 * about its capabilities can neither hang nor confuse the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pci_decode.h"
#include "report.h"

static uint8_t config[4096];

static int blank(void **state)
{
	(void)state;
	memset(config, 0, sizeof(config));
	return 0;
}

static void put(size_t at, uint64_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		config[at + i] = (uint8_t)(value >> 8 * i);
}

static const char *text_at(json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

static bool flag(json_t *obj, const char *set, const char *name)
{
	json_t *value = json_object_get(json_object_get(obj, set), name);

	assert_non_null(value);
	return json_is_true(value);
}

static void an_nvme_disk(void **state)
{
	json_t *tree, *caps, *cap, *bars;

	(void)state;
	put(0x00, 0x00011b36, 4);
	put(0x04, 0x0406, 2);
	put(0x06, 0x0010, 2);
	put(0x08, 0x01080203, 4);
	put(0x10, 0xfebf0004, 4);
	put(0x14, 0x00000001, 4);
	put(0x34, 0x40, 1);
	put(0x3d, 1, 1);
	put(0x40, 0x5001, 2);
	put(0x42, 0x0003, 2);
	put(0x44, 0x0003, 2);
	put(0x50, 0x6005, 2);
	put(0x52, 0x008b, 2);
	put(0x54, 0xfee00000, 8);
	put(0x5c, 0x4021, 2);
	put(0x60, 0x0011, 2);
	put(0x62, 0x8010, 2);
	put(0x64, 0x2000, 4);
	put(0x68, 0x3001, 4);
	put(0x100, 0x00010003, 4);
	put(0x104, 0x1122334455667788, 8);
	tree = pci_decode(config, sizeof(config));
	assert_string_equal(text_at(tree, "vendor"), "0x1b36");
	assert_string_equal(text_at(tree, "class_name"),
			    "NVM Express controller");
	assert_true(flag(tree, "Control", "BusMaster"));
	assert_true(flag(tree, "Control", "DisINTx"));
	assert_false(flag(tree, "Control", "I/O"));
	bars = json_object_get(tree, "bars");
	assert_int_equal(json_array_size(bars), 1);
	assert_string_equal(text_at(json_array_get(bars, 0), "address"),
			    "0x00000001febf0000");

	caps = json_object_get(tree, "capabilities");
	assert_int_equal(json_array_size(caps), 4);
	cap = json_array_get(caps, 0);
	assert_string_equal(text_at(cap, "name"), "Power Management");
	assert_string_equal(text_at(cap, "state"), "D3");
	cap = json_array_get(caps, 1);
	assert_true(flag(cap, "Control", "Enable"));
	assert_int_equal(json_integer_value(json_object_get(cap, "vectors")),
			 32);
	assert_string_equal(text_at(cap, "data"), "0x4021");
	cap = json_array_get(caps, 2);
	assert_int_equal(json_integer_value(json_object_get(cap, "vectors")),
			 17);
	assert_true(flag(cap, "Control", "Enable"));
	assert_string_equal(text_at(json_object_get(cap, "PBA"), "offset"),
			    "0x00003000");
	cap = json_array_get(caps, 3);
	assert_string_equal(text_at(cap, "serial"), "11-22-33-44-55-66-77-88");
	json_decref(tree);
}

static size_t count_caps(size_t len)
{
	json_t *tree = pci_decode(config, len);
	size_t n = json_array_size(json_object_get(tree, "capabilities"));

	assert_non_null(tree);
	json_decref(tree);
	return n;
}

static void chains_that_lie(void **state)
{
	(void)state;
	put(0x06, 0x0010, 2);
	/* To itself, in a circle, into the header, at the very end. */
	put(0x34, 0x40, 1);
	put(0x40, 0x4009, 2);
	assert_int_equal(count_caps(256), 1);
	put(0x40, 0x5009, 2);
	put(0x50, 0x4009, 2);
	assert_int_equal(count_caps(256), 2);
	put(0x50, 0x1009, 2);
	assert_int_equal(count_caps(256), 2);
	put(0x40, 0xfc09, 2);
	put(0xfc, 0x00ff09, 3);
	assert_int_equal(count_caps(256), 2);
	assert_int_equal(count_caps(64), 1);
	/* No list although there is a pointer. */
	put(0x06, 0, 2);
	assert_int_equal(count_caps(256), 0);
	/* The extended list in a circle, and at the very end. */
	put(0x100, 0x10010001, 4);
	assert_int_equal(count_caps(4096), 1);
	put(0x100, 0xffc10003, 4);
	put(0xffc, 0x00010003, 4);
	assert_int_equal(count_caps(4096), 2);
	put(0x100, 0xffffffff, 4);
	assert_int_equal(count_caps(4096), 0);
	assert_null(pci_decode(config, 63));
}

/* All ones is what a device that has gone reads as. */
static void nothing_there(void **state)
{
	json_t *tree;

	(void)state;
	memset(config, 0xff, sizeof(config));
	tree = pci_decode(config, sizeof(config));
	assert_string_equal(text_at(tree, "vendor"), "0xffff");
	assert_string_equal(text_at(tree, "class_name"), "unknown");
	json_decref(tree);
}

static void printed(json_t *tree, bool as_json, const char *expected)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(report_print(f, tree, as_json, NULL), 0);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void forms(void **state)
{
	const char *json = "{\"a\": \"x\", \"flags\": {\"Mem\": true, "
			   "\"I/O\": false}, \"list\": [{\"name\": \"n\", "
			   "\"size\": 4096, \"deep\": {\"k\": 1}}], "
			   "\"none\": []}";

	(void)state;
	printed(json_loads(json, 0, NULL), false,
		"a: x\n"
		"flags: Mem+ I/O-\n"
		"list:\n"
		"  n: size=4 KiB\n"
		"      deep: k=1\n"
		"none:\n"
		"  none\n");
	printed(json_loads("{\"a\": 1}", 0, NULL), true, "{\n  \"a\": 1\n}\n");
}

static void sizes(void **state)
{
	char buf[REPORT_SIZE_MAX];

	(void)state;
	assert_string_equal(report_size(0, buf), "0 bytes");
	assert_string_equal(report_size(1023, buf), "1023 bytes");
	assert_string_equal(report_size(1536, buf), "1.5 KiB");
	assert_string_equal(report_size(1ull << 40, buf), "1 TiB");
	assert_string_equal(report_size(UINT64_MAX, buf), "16 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_nvme_disk, blank),
		cmocka_unit_test_setup(chains_that_lie, blank),
		cmocka_unit_test_setup(nothing_there, blank),
		cmocka_unit_test(forms),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
