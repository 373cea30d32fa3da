/* SPDX-License-Identifier: BSD-3-Clause */
/* Command-line options as a table: parsing and help come from the same rows. */
#ifndef OB_DAEMON_ARGS_H
#define OB_DAEMON_ARGS_H

#include <stdio.h>

#include <outboard/error.h>

struct ob_arg {
	const char *name;	/* without dashes; NULL ends a table */
	const char *value;	/* what the help calls it; NULL: takes none;
				   "[=...]": may be left out */
	const char *help;	/* half a line, no full stop */
	/* value is NULL when there is none.  0 or -EINVAL. */
	int (*set)(void *into, const char *value, struct ob_err *err);
};

/*
 * set_NAME for the plainest options: one that is there makes a bool true, and a
 * text is borrowed as it is.  type is what into points to.
 */
#define OB_ARG_FLAG(name, type, member)                                       \
static int set_##name(void *into, const char *value, struct ob_err *err)      \
{                                                                             \
	(void)value;                                                          \
	(void)err;                                                            \
	((type *)into)->member = true;                                        \
	return 0;                                                             \
}
#define OB_ARG_TEXT(name, type, member)                                       \
static int set_##name(void *into, const char *value, struct ob_err *err)      \
{                                                                             \
	(void)err;                                                            \
	((type *)into)->member = value;                                       \
	return 0;                                                             \
}

/*
 * Calls set for every option, in order.  Returns the index of the first
 * argument that is no option (argv is permuted), or -EINVAL.  argv[0] is
 * skipped.
 */
int ob_args_parse(const struct ob_arg *table, void *into, int argc,
		  char **argv, struct ob_err *err);
void ob_args_help(const struct ob_arg *table, FILE *out);

#endif
