/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of verbs that connect to one device: SOCKET [options]. */
#ifndef TOOLS_SOCKET_ARGS_H
#define TOOLS_SOCKET_ARGS_H

#include "daemon/args.h"

/* TOOL_OK, or TOOL_USAGE after having said what is wrong. */
int tool_socket_args(const struct ob_arg *table, void *into, int argc,
		     char **argv, const char **path);

#endif
