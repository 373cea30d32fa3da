// SPDX-License-Identifier: BSD-3-Clause
/*
 * The option parser: whatever the text, it fails with a message, or every
 * getter answers within the bounds of the key's row.
 */
#include <outboard/option.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ob_option first[] = {
	{ .name = "socket", .type = OB_OPT_STRING, .max = 107, .min = 1 },
	{ .name = "queues", .type = OB_OPT_UINT, .def = "4", .min = 1,
	  .max = 64 },
	{ .name = "cache", .type = OB_OPT_SIZE, .min = 4096 },
	{ 0 }
};

static const struct ob_option second[] = {
	{ .name = "readonly", .type = OB_OPT_BOOL },
	{ .name = "doorbells", .type = OB_OPT_CHOICE, .def = "trapped",
	  .choices = "adaptive|trapped|mapped" },
	{ .name = "drive", .type = OB_OPT_STRING, .list = true },
	{ .name = "need", .type = OB_OPT_BOOL, .required = true },
	{ 0 }
};

static const struct ob_option *const tables[] = { first, second, NULL };

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_row(const struct ob_options *opts,
		      const struct ob_option *row)
{
	size_t count = ob_options_count(opts, row->name);
	uint64_t number = ob_options_u64(opts, row->name);

	require(count <= 1 || row->list);
	require(count >= 1 || (!row->def && !row->required));
	for (size_t i = 0; i < count; i++)
		require(ob_options_nth(opts, row->name, i));
	require(!ob_options_nth(opts, row->name, count));
	require(!ob_options_str(opts, row->name) == !count);
	if (!count)
		return;
	if (row->type == OB_OPT_CHOICE)
		require(ob_options_choice(opts, row->name) < 3);
	if (row->type == OB_OPT_BOOL)
		require(number <= 1);
	if (row->type == OB_OPT_UINT || row->type == OB_OPT_SIZE)
		require(number >= row->min && (!row->max ||
					       number <= row->max));
}

static void check_set(struct ob_options *opts)
{
	require(*ob_options_name(opts));
	for (size_t t = 0; tables[t]; t++)
		for (const struct ob_option *row = tables[t]; row->name; row++)
			check_row(opts, row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct ob_options *opts = NULL;
	struct ob_err err = { 0 };

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (ob_options_parse(text, tables, &opts, &err)) {
		require(!opts && err.msg[0] &&
			memchr(err.msg, 0, sizeof(err.msg)));
	} else {
		check_set(opts);
		ob_options_destroy(opts);
	}
	free(text);
	return 0;
}
