/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of verbs that connect to devices: SOCKET [options]. */
#ifndef TOOLS_SOCKET_ARGS_H
#define TOOLS_SOCKET_ARGS_H

#include <stdint.h>

#include "daemon/args.h"

/*
 * Options, then exactly `count` words; what: how the message calls them.
 * TOOL_OK, or TOOL_USAGE after having said what is wrong.
 */
int tool_words_args(const struct ob_arg *table, void *into, int argc,
		    char **argv, const char *what, int count,
		    const char **words);
/* The same for one SOCKET. */
int tool_socket_args(const struct ob_arg *table, void *into, int argc,
		     char **argv, const char **path);

/* A time above 0; -EINVAL. */
int tool_parse_seconds(const char *value, double *seconds, struct ob_err *err);

/* Decimal, or hexadecimal after 0x; -EINVAL. */
int tool_parse_number(const char *value, uint64_t *number, struct ob_err *err);

#endif
