/* SPDX-License-Identifier: BSD-3-Clause */
/* The operator's end of a server's control socket (daemon/control.h). */
#ifndef TOOLS_CONTROL_CLIENT_H
#define TOOLS_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include <outboard/error.h>

/*
 * One request over a connection of its own; params is taken and may be NULL.
 * The answer's result, to be released.  A connection ends with the process that
 * serves; the request is then sent again, to its successor, for some seconds.
 */
int control_call(const char *path, const char *method, json_t *params,
		 json_t **result, struct ob_err *err);

struct control_upgrade {
	const char *binary;		/* NULL: as it is called now */
	bool dry_run;
	/*
	 * Optional: sees the keeper's account, over and over, as long as it is
	 * not over; true: the rest is not waited for.
	 */
	bool (*look)(void *arg, const json_t *keeper);
	void *arg;
};

/*
 * Asks for an upgrade and waits for its outcome, whoever dies meanwhile.
 * *status: the last account, to be released, or NULL.  -ECANCELED: refused or
 * taken back, with the reason; -EBUSY: there is another one.
 */
int control_upgrade(const char *path, const struct control_upgrade *upgrade,
		    json_t **status, struct ob_err *err);
/* The new binary serves; whether it stays is not decided. */
bool control_has_switched(const json_t *keeper);

#endif
