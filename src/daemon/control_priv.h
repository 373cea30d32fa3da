/* SPDX-License-Identifier: BSD-3-Clause */
/* control.c: sockets and lines; control_rpc.c: what the lines say. */
#ifndef OB_DAEMON_CONTROL_PRIV_H
#define OB_DAEMON_CONTROL_PRIV_H

#include <jansson.h>

#include "daemon/control.h"

#define CONTROL_CLIENTS 8u
#define CONTROL_MAX_LINE 16384u		/* of a request */
#define CONTROL_MAX_DEPTH 8u		/* of its JSON */

struct control_client {
	struct ob_control *control;	/* NULL: the place is free */
	struct ob_watch watch;
	char line[CONTROL_MAX_LINE];
	size_t got;
	/* An answer that has not left as a whole. */
	char *out;
	size_t out_len, out_sent;
	json_t *waits;			/* id of the request whose answer is to come */
	bool dead;			/* to be closed when nobody is inside */
};

struct ob_control {
	struct ob_loop *loop;
	struct ob_control_host host;
	struct ob_watch listener;
	bool watched;
	char *path;
	struct control_client clients[CONTROL_CLIENTS];
};

/* Queues the answer (taken) of this client and sends what goes. */
void control_answer(struct control_client *client, json_t *answer);

/* One request; answers, or notes in `waits` that it will. */
void control_request(struct control_client *client, const char *line,
		     size_t len);
/* The answer to a line that has no end. */
void control_refuse_line(struct control_client *client);
/* The answer to a status request. */
void control_tell_status(struct control_client *client,
			 const struct ob_keeper_status *status);

#endif
