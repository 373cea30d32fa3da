// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>

#include "socket_args.h"
#include "tools.h"

int tool_words_args(const struct ob_arg *table, void *into, int argc,
		    char **argv, const char *what, int count,
		    const char **words)
{
	struct ob_err err = { 0 };
	int first = ob_args_parse(table, into, argc, argv, &err);

	if (first >= 0 && argc - first != count)
		first = ob_fail(&err, EINVAL, "exactly %s needed", what);
	if (first < 0)
		return tool_misused(argv[0], &err);
	for (int i = 0; i < count; i++)
		words[i] = argv[first + i];
	return TOOL_OK;
}

int tool_socket_args(const struct ob_arg *table, void *into, int argc,
		     char **argv, const char **path)
{
	return tool_words_args(table, into, argc, argv, "one SOCKET is", 1,
			       path);
}

int tool_parse_seconds(const char *value, double *seconds, struct ob_err *err)
{
	char *end;

	*seconds = strtod(value, &end);
	if (*end || end == value || !(*seconds > 0 && *seconds < 1e6))
		return ob_fail(err, EINVAL, "'%s' is no time in seconds",
			       value);
	return 0;
}

int tool_parse_number(const char *value, uint64_t *number, struct ob_err *err)
{
	char *end;

	errno = 0;
	*number = strtoull(value, &end, 0);
	if (errno || *end || *value < '0' || *value > '9')
		return ob_fail(err, EINVAL, "'%s' is no number", value);
	return 0;
}
