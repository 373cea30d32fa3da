// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "daemon/args.h"

#define MAX_ARGS 32

static void fill_longopts(const struct ob_arg *table,
			  struct option longopts[MAX_ARGS + 1])
{
	size_t n;

	for (n = 0; table[n].name && n < MAX_ARGS; n++)
		longopts[n] = (struct option){
			.name = table[n].name,
			.has_arg = table[n].value ? required_argument
						  : no_argument,
			.val = n,
		};
	longopts[n] = (struct option){ 0 };
}

static int refuse(char **argv, int c, struct ob_err *err)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return ob_fail(err, EINVAL, "option '%s' needs a value", word);
	if (optopt && optopt < 256 && word[1] != '-')
		return ob_fail(err, EINVAL, "unknown option '-%c'", optopt);
	return ob_fail(err, EINVAL, "option '%s' is unknown, ambiguous or "
		       "takes no value", word);
}

int ob_args_parse(const struct ob_arg *table, void *into, int argc,
		  char **argv, struct ob_err *err)
{
	struct option longopts[MAX_ARGS + 1];
	int c, index = 0, rc;

	fill_longopts(table, longopts);
	optind = 0;		/* start over; glibc's way to say it */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longopts, &index)) != -1) {
		if (c == '?' || c == ':')
			return refuse(argv, c, err);
		rc = table[index].set(into, optarg, err);
		if (rc) {
			ob_err_prefix(err, "--%s", table[index].name);
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
			 table->value ? " " : "",
			 table->value ? table->value : "");
		fprintf(out, "  %-28s %s\n", head, table->help);
	}
}
