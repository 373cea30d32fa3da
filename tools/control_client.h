/* SPDX-License-Identifier: BSD-3-Clause */
/* The operator's end of a server's control socket (daemon/control.h). */
#ifndef TOOLS_CONTROL_CLIENT_H
#define TOOLS_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include <outboard/error.h>

/*
 * One request over a connection of its own; params is taken and may be NULL.
 * The answer's result, to be released.  While a server's process is being
 * replaced the request is sent again, for some seconds, unless `once`: an
 * upgrade is not asked for twice.
 */
int control_call(const char *path, const char *method, json_t *params,
		 bool once, json_t **result, struct ob_err *err);

/*
 * Asks for an upgrade (binary may be NULL: as it is called now) and waits until
 * it is done or refused, at most seconds.  *status: the keeper's account.
 * -ECANCELED: refused, with the reason.
 */
int control_upgrade(const char *path, const char *binary, bool dry_run,
		    double seconds, json_t **status, struct ob_err *err);

#endif
