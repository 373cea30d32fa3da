// SPDX-License-Identifier: BSD-3-Clause
#include "tools.h"

void tool_print_help(const struct tool_verb *verb, FILE *out)
{
	fprintf(out, "Usage: outboard %s %s\n", verb->name, verb->args);
	fprintf(out, "%s: %s\n", verb->name, verb->summary);
	if (verb->help) {
		fputc('\n', out);
		verb->help(out);
	}
	fprintf(out, "\nThe manual is outboard%s%s(1).\n",
		verb->help ? "-" : "", verb->help ? verb->name : "");
}

void tool_print_verbs(FILE *out)
{
	fprintf(out, "Usage: outboard VERB ... | outboard --version\n\n");
	for (const struct tool_verb *v = tool_verbs; v->name; v++)
		fprintf(out, "  %-12s %s\n", v->name, v->summary);
	fprintf(out, "\n'outboard help VERB' tells more.\n");
}

int tool_help(int argc, char **argv)
{
	const struct tool_verb *verb;

	if (argc < 2) {
		tool_print_verbs(stdout);
		return TOOL_OK;
	}
	verb = tool_find(argv[1]);
	if (!verb) {
		fprintf(stderr, "outboard help: no verb '%s'\n", argv[1]);
		tool_print_verbs(stderr);
		return TOOL_USAGE;
	}
	tool_print_help(verb, stdout);
	return TOOL_OK;
}

int tool_failed(const char *verb, const struct ob_err *err)
{
	fprintf(stderr, "outboard %s: %s\n", verb, err->msg);
	return TOOL_FAILED;
}

int tool_misused(const char *verb, const struct ob_err *err)
{
	fprintf(stderr, "outboard %s: %s\n", verb, err->msg);
	fprintf(stderr, "See 'outboard help %s'.\n", verb);
	return TOOL_USAGE;
}
