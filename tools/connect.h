/* SPDX-License-Identifier: BSD-3-Clause */
/* How every verb that is a client of a served device gets to it. */
#ifndef TOOLS_CONNECT_H
#define TOOLS_CONNECT_H

#include <stdbool.h>

#include <outboard/client.h>
#include <outboard/error.h>

/*
 * As ob_client_connect with the usual parameters.  A client that ended a
 * moment ago may still be in the way, so one that is told of another client
 * asks again for half a second.
 */
int tool_connect(const char *path, struct ob_client **out,
		 struct ob_err *err);

/* Both names lead to one socket: it would wait for itself. */
bool tool_same_socket(const char *a, const char *b);

#endif
