// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/args.h"

#define MAX_ARGS 32
#define FIRST_VALUE 256	/* no character */

static void fill_longopts(const struct ob_arg *table,
			  struct option longopts[MAX_ARGS + 1])
{
	size_t n;

	for (n = 0; table[n].name && n < MAX_ARGS; n++)
		longopts[n] = (struct option){
			.name = table[n].name,
			.has_arg = !table[n].value ? no_argument :
				   table[n].value[0] == '[' ?
				   optional_argument : required_argument,
			.val = FIRST_VALUE + n,
		};
	longopts[n] = (struct option){ 0 };
}

/* optopt tells them apart: a character, one of our values, or 0. */
static int refuse(char **argv, int c, struct ob_err *err)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return ob_fail(err, EINVAL, "option '%s' needs a value", word);
	if (optopt >= FIRST_VALUE)
		return ob_fail(err, EINVAL, "option '%s' takes no value", word);
	if (optopt)
		return ob_fail(err, EINVAL, "unknown option '-%c'", optopt);
	return ob_fail(err, EINVAL, "unknown or ambiguous option '%s'", word);
}

int ob_args_parse(const struct ob_arg *table, void *into, int argc,
		  char **argv, struct ob_err *err)
{
	struct option longopts[MAX_ARGS + 1];
	const struct ob_arg *arg;
	int c, rc;

	fill_longopts(table, longopts);
	optind = 0;		/* start over; glibc's way to say it */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longopts, NULL)) != -1) {
		if (c == '?' || c == ':')
			return refuse(argv, c, err);
		arg = &table[c - FIRST_VALUE];
		rc = arg->set(into, optarg, err);
		if (rc) {
			ob_err_prefix(err, "--%s", arg->name);
			return rc;
		}
	}
	return optind;
}

void ob_args_help(const struct ob_arg *table, FILE *out)
{
	for (; table->name; table++) {
		char head[64];

		snprintf(head, sizeof(head), "--%s%s%s", table->name,
			 table->value && table->value[0] != '[' ? " " : "",
			 table->value ? table->value : "");
		fprintf(out, "  %-28s %s\n", head, table->help);
	}
}
