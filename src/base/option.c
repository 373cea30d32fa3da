// SPDX-License-Identifier: BSD-3-Clause
/*
 * Options as data: a set of (key, text) pairs, checked against tables once.
 *
 * Parsing splits the text and finds each key's row; checking converts every
 * value by its row's type and keeps the number beside the text, so that the
 * getters cannot fail.  Defaults go the same way: a bad one is found by the
 * first test that parses the table.
 */
#include <outboard/option.h>

#include <base/fd.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value {
	const struct ob_option *row;
	char *text;
	uint64_t number;	/* of every type but STRING */
};

struct ob_options {
	char *name;
	struct value *values;
	size_t count;
};

/*
 * Copies the next item up to a single comma; two of them are one that
 * belongs to the text.  Moves *at behind the comma, or to NULL at the end.
 */
static char *next_item(const char **at)
{
	const char *in = *at;
	char *item = malloc(strlen(in) + 1), *out = item;

	if (!item)
		return NULL;
	while (*in && !(in[0] == ',' && in[1] != ',')) {
		in += *in == ',';
		*out++ = *in++;
	}
	*out = '\0';
	*at = *in ? in + 1 : NULL;
	return item;
}

static const struct ob_option *find_row(const struct ob_option *const tables[],
					const char *key)
{
	for (; *tables; tables++)
		for (const struct ob_option *row = *tables; row->name; row++)
			if (!strcmp(row->name, key))
				return row;
	return NULL;
}

/* Whole names only; what does not fit any more is "...". */
static size_t list_name(char *list, size_t size, size_t len, const char *name)
{
	static const char more[] = ", ...";
	const char *comma = len ? ", " : "";

	if (len + strlen(comma) + strlen(name) + sizeof(more) <= size)
		return len + (size_t)sprintf(list + len, "%s%s", comma, name);
	if (len && strcmp(list + len - 3, "..."))
		len += (size_t)sprintf(list + len, "%s", more);
	return len;
}

static int unknown_key(const char *key,
		       const struct ob_option *const tables[],
		       struct ob_err *err)
{
	char known[192];
	size_t len = 0;

	for (; *tables; tables++)
		for (const struct ob_option *row = *tables; row->name; row++)
			len = list_name(known, sizeof(known), len, row->name);
	return ob_fail(err, EINVAL, "unknown key \"%.32s\"; known keys: %s",
		       key, known);
}

/* A maximum of 0 is none. */
static int check_range(const struct ob_option *row, uint64_t n,
		       const char *text, struct ob_err *err)
{
	if (n >= row->min && (!row->max || n <= row->max))
		return 0;
	if (!row->max)
		return ob_fail(err, EINVAL, "%s: %s is below %" PRIu64,
			       row->name, text, row->min);
	return ob_fail(err, EINVAL,
		       "%s: %s is not within %" PRIu64 "..%" PRIu64,
		       row->name, text, row->min, row->max);
}

static int check_string(const struct ob_option *row, const char *text,
			struct ob_err *err)
{
	size_t len = strlen(text);

	if (row->max && (len < row->min || len > row->max))
		return ob_fail(err, EINVAL, "%s: must be %" PRIu64 " to %"
			       PRIu64 " characters long", row->name, row->min,
			       row->max);
	return 0;
}

static int check_uint(const struct ob_option *row, struct value *value,
		      struct ob_err *err)
{
	const char *text = value->text;
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	size_t len = strlen(digits);

	if (!len || len != strspn(digits, hex ? "0123456789abcdefABCDEF" :
				  "0123456789"))
		return ob_fail(err, EINVAL, "%s: \"%s\" is no number",
			       row->name, text);
	errno = 0;
	value->number = strtoull(digits, NULL, hex ? 16 : 10);
	if (errno == ERANGE)
		return ob_fail(err, EINVAL, "%s: %s is too large", row->name,
			       text);
	return check_range(row, value->number, text, err);
}

static int check_size(const struct ob_option *row, struct value *value,
		      struct ob_err *err)
{
	int r = ob_parse_size(value->text, &value->number, err);

	if (r) {
		ob_err_prefix(err, "%s", row->name);
		return -EINVAL;
	}
	return check_range(row, value->number, value->text, err);
}

static int check_bool(const struct ob_option *row, struct value *value,
		      struct ob_err *err)
{
	static const char *const words[] = {
		"off", "on", "no", "yes", "false", "true", "0", "1",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!strcmp(value->text, words[i])) {
			value->number = i & 1;
			return 0;
		}
	}
	return ob_fail(err, EINVAL, "%s: \"%s\" is neither on nor off",
		       row->name, value->text);
}

static int check_choice(const struct ob_option *row, struct value *value,
			struct ob_err *err)
{
	const char *word = row->choices;
	size_t len = strlen(value->text), n;

	for (value->number = 0; ; value->number++) {
		n = strcspn(word, "|");
		if (n == len && !memcmp(word, value->text, n))
			return 0;
		if (!word[n])
			break;
		word += n + 1;
	}
	return ob_fail(err, EINVAL, "%s: \"%s\" is not one of %s", row->name,
		       value->text, row->choices);
}

static int check(struct value *value, struct ob_err *err)
{
	const struct ob_option *row = value->row;

	switch (row->type) {
	case OB_OPT_STRING:
		return check_string(row, value->text, err);
	case OB_OPT_UINT:
		return check_uint(row, value, err);
	case OB_OPT_SIZE:
		return check_size(row, value, err);
	case OB_OPT_BOOL:
		return check_bool(row, value, err);
	case OB_OPT_CHOICE:
		return check_choice(row, value, err);
	}
	return -EINVAL;
}

static const struct value *nth(const struct ob_options *opts, const char *key,
			       size_t index)
{
	for (size_t i = 0; i < opts->count; i++)
		if (!strcmp(opts->values[i].row->name, key) && !index--)
			return &opts->values[i];
	return NULL;
}

/* Takes over text. */
static int add(struct ob_options *opts, const struct ob_option *row,
	       char *text, struct ob_err *err)
{
	struct value *values;

	values = realloc(opts->values, (opts->count + 1) * sizeof(*values));
	if (!values || !text) {
		opts->values = values ? values : opts->values;
		free(text);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	opts->values = values;
	values[opts->count] = (struct value){ .row = row, .text = text };
	return check(&values[opts->count++], err);
}

static int add_item(struct ob_options *opts, char *item,
		    const struct ob_option *const tables[],
		    struct ob_err *err)
{
	char *equals = strchr(item, '=');
	const struct ob_option *row;

	if (equals)
		*equals = '\0';
	if (!*item)
		return ob_fail(err, EINVAL, "empty key");
	row = find_row(tables, item);
	if (!row)
		return unknown_key(item, tables, err);
	if (!equals && row->type != OB_OPT_BOOL)
		return ob_fail(err, EINVAL, "%s: needs a value", row->name);
	if (!row->list && nth(opts, row->name, 0))
		return ob_fail(err, EINVAL, "%s: given twice", row->name);
	return add(opts, row, strdup(equals ? equals + 1 : "on"), err);
}

static int add_defaults(struct ob_options *opts,
			const struct ob_option *const tables[],
			struct ob_err *err)
{
	int r = 0;

	for (; *tables; tables++) {
		for (const struct ob_option *row = *tables; row->name; row++) {
			if (nth(opts, row->name, 0))
				continue;
			if (row->required)
				return ob_fail(err, EINVAL, "%s: missing",
					       row->name);
			if (row->def)
				r = add(opts, row, strdup(row->def), err);
			if (r)
				return r;
		}
	}
	return 0;
}

static int parse_items(struct ob_options *opts, const char *at,
		       const struct ob_option *const tables[],
		       struct ob_err *err)
{
	int r;

	while (at) {
		OB_CLEANUP_FREE char *item = next_item(&at);

		if (!item)
			return ob_fail(err, ENOMEM, "out of memory");
		r = add_item(opts, item, tables, err);
		if (r)
			return r;
	}
	return add_defaults(opts, tables, err);
}

int ob_options_parse(const char *text, const struct ob_option *const tables[],
		     struct ob_options **out, struct ob_err *err)
{
	struct ob_options *opts = calloc(1, sizeof(*opts));
	const char *at = text;
	int r;

	if (opts)
		opts->name = next_item(&at);
	if (!opts || !opts->name) {
		ob_options_destroy(opts);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	if (*opts->name) {
		r = parse_items(opts, at, tables, err);
		if (r)
			ob_err_prefix(err, "%.32s", opts->name);
	} else {
		r = ob_fail(err, EINVAL, "a name must come first");
	}
	if (r) {
		ob_options_destroy(opts);
		return r;
	}
	*out = opts;
	return 0;
}

void ob_options_destroy(struct ob_options *opts)
{
	if (!opts)
		return;
	for (size_t i = 0; i < opts->count; i++)
		free(opts->values[i].text);
	free(opts->values);
	free(opts->name);
	free(opts);
}

const char *ob_options_name(const struct ob_options *opts)
{
	return opts->name;
}

size_t ob_options_count(const struct ob_options *opts, const char *key)
{
	size_t n = 0;

	for (size_t i = 0; i < opts->count; i++)
		n += !strcmp(opts->values[i].row->name, key);
	return n;
}

const char *ob_options_nth(const struct ob_options *opts, const char *key,
			   size_t index)
{
	const struct value *value = nth(opts, key, index);

	return value ? value->text : NULL;
}

const char *ob_options_str(const struct ob_options *opts, const char *key)
{
	return ob_options_nth(opts, key, 0);
}

uint64_t ob_options_u64(const struct ob_options *opts, const char *key)
{
	const struct value *value = nth(opts, key, 0);

	return value ? value->number : 0;
}

bool ob_options_bool(const struct ob_options *opts, const char *key)
{
	return ob_options_u64(opts, key) != 0;
}

unsigned ob_options_choice(const struct ob_options *opts, const char *key)
{
	return (unsigned)ob_options_u64(opts, key);
}
