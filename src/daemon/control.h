/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: an operator asks a running server (docs/control.md).
 *
 * JSON-RPC 2.0, one request a line, one answer a line.  The socket is its
 * owner's (0600), and whoever connects has to be the same user or root.
 */
#ifndef OB_DAEMON_CONTROL_H
#define OB_DAEMON_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <outboard/loop.h>

#include "keeper/wire.h"

#define OB_CONTROL_NAME "control/listen"	/* with the keeper */

struct ob_control;
struct ob_device;

/*
 * Whom it asks.  The members behind `call` are NULL without a keeper.
 * arg is passed to each.
 */
struct ob_control_host {
	/* Device number i, for its id; NULL behind the last. */
	struct ob_device *(*device)(void *arg, size_t i);
	/* Runs fn on the thread of device number i, and waits: whatever else there
	 * is to do with it. */
	void (*call)(void *arg, size_t i, void (*fn)(void *fn_arg),
		     void *fn_arg);
	/* fn for every device, each on its thread, and waits. */
	void (*each)(void *arg, void (*fn)(void *fn_arg, size_t i,
					   struct ob_device *dev),
		     void *fn_arg);
	/* Asks for the keeper's status; ob_control_status has the answer. */
	int (*ask_status)(void *arg);
	/* Asks for an upgrade to the binary (not taken; O_PATH). */
	int (*upgrade)(void *arg, int binary, unsigned flags, int32_t ticket);
	/* The keeper accepts clients of the socket, see ob_control_client. */
	int (*accept)(void *arg);
	void *arg;
};

/* Listens at path, or goes on with the socket that was kept. */
int ob_control_create(struct ob_loop *loop, const char *path,
		      const struct ob_control_host *host,
		      struct ob_control **out, struct ob_err *err);
/* Accepts NULL.  last: the server ends, so its socket's name goes too. */
void ob_control_destroy(struct ob_control *control, bool last);

/* What there is to ask, as an OpenRPC document, to be released. */
json_t *ob_control_schema(void);
/*
 * A parameter's value from a command line, to be released; NULL: it is no text.
 * One that is not known here is a boolean or a number if it looks like it.
 */
json_t *ob_control_value(const char *method, const char *name,
			 const char *text);
/* 1: the method reads a descriptor, 2: it writes one; 0; -1: it is unknown. */
int ob_control_takes(const char *method);

/* A client that the keeper accepted, and has in that place; takes fd. */
void ob_control_client(struct ob_control *control, unsigned place, int fd);
/* The keeper has answered. */
void ob_control_status(struct ob_control *control,
		       const struct ob_keeper_status *status);

#endif
