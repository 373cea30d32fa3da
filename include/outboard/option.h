/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options as data.  A model lists its keys in a table; parsing, bounds,
 * defaults, "unknown key" messages, `outboard devices` and the manual come
 * from it.  The text form is NAME,KEY=VALUE,KEY=VALUE; a comma inside a value
 * is written twice.
 */
#ifndef OUTBOARD_OPTION_H
#define OUTBOARD_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum ob_option_type {
	OB_OPT_STRING,		/* min..max bound its length when max is not 0 */
	OB_OPT_UINT,		/* decimal or 0x..., within min..max */
	OB_OPT_SIZE,		/* bytes; K M G T suffixes are powers of 1024 */
	OB_OPT_BOOL,		/* on|off|yes|no|true|false|1|0; bare KEY is on */
	OB_OPT_CHOICE,		/* one of the words in `choices` */
};

struct ob_option {
	const char *name;	/* NULL ends a table */
	enum ob_option_type type;
	bool list;		/* may be given more than once, order kept */
	bool required;
	const char *def;	/* default as text; NULL: absent */
	uint64_t min, max;
	const char *choices;	/* "a|b|c" for OB_OPT_CHOICE */
	const char *help;	/* half a line, no full stop */
};

/* A parsed, checked set of values.  Immutable after parsing. */
struct ob_options;

/*
 * Parses "NAME,KEY=VALUE,..." against several tables (tables[] ends with
 * NULL; a key is looked up in each).  The caller owns *out and frees it with
 * ob_options_destroy.  Errors: -EINVAL with a message that names the key and,
 * for an unknown one, lists the known ones.
 */
int ob_options_parse(const char *text, const struct ob_option *const tables[],
		     struct ob_options **out, struct ob_err *err);
void ob_options_destroy(struct ob_options *opts);

/* The word before the first comma. */
const char *ob_options_name(const struct ob_options *opts);

/* How often the key was given (a default counts as once). */
size_t ob_options_count(const struct ob_options *opts, const char *key);

/* Borrowed until the set is destroyed; NULL when absent. */
const char *ob_options_str(const struct ob_options *opts, const char *key);
const char *ob_options_nth(const struct ob_options *opts, const char *key,
			   size_t index);

/* For UINT and SIZE; 0 when absent. */
uint64_t ob_options_u64(const struct ob_options *opts, const char *key);
bool ob_options_bool(const struct ob_options *opts, const char *key);
/* Index of the chosen word in `choices`, counted from 0. */
unsigned ob_options_choice(const struct ob_options *opts, const char *key);

/* "64K", "10G", "4096" to bytes.  -EINVAL, -ERANGE (over 2^63 - 1). */
int ob_parse_size(const char *text, uint64_t *bytes, struct ob_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
