// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>

#include "socket_args.h"
#include "tools.h"

int tool_socket_args(const struct ob_arg *table, void *into, int argc,
		     char **argv, const char **path)
{
	struct ob_err err = { 0 };
	int first = ob_args_parse(table, into, argc, argv, &err);

	if (first >= 0 && argc - first != 1)
		first = ob_fail(&err, EINVAL, "exactly one SOCKET is needed");
	if (first < 0)
		return tool_misused(argv[0], &err);
	*path = argv[first];
	return TOOL_OK;
}
