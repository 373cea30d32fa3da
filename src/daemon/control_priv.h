/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c: sockets and lines; control_rpc.c: what the lines say;
 * control_methods.c: which methods there are; the others: what they do.
 */
#ifndef OB_DAEMON_CONTROL_PRIV_H
#define OB_DAEMON_CONTROL_PRIV_H

#include <jansson.h>

#include "daemon/control.h"
#include "server/operator.h"

#define CONTROL_CLIENTS 32u
#define CONTROL_MAX_LINE 16384u		/* of a request */
#define CONTROL_MAX_DEPTH 8u		/* of its JSON */

struct control_client {
	struct ob_control *control;	/* NULL: the place is free */
	struct ob_watch watch;
	char *line;			/* room for CONTROL_MAX_LINE */
	size_t got;
	/* A descriptor came with the line that begins here; -1: none. */
	int fd;
	size_t fd_at;
	bool too_many;			/* ... with others */
	/* An answer that has not left as a whole. */
	char *out;
	size_t out_len, out_sent;
	json_t *waits;			/* id of the request whose answer is to come, */
	bool asks_keeper;		/* from the keeper, */
	struct ob_operation op;		/* or from a device, whose thread has it */
	const struct control_method *method;	/* that was asked for, */
	size_t number;			/* of this device; */
	bool under_way;			/* until `ended` has come from there */
	struct ob_post ended;
	int r;				/* ... with this */
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

/* Codes of JSON-RPC 2.0, 5.1; the last one is ours. */
enum {
	CONTROL_BAD_JSON = -32700, CONTROL_BAD_REQUEST = -32600,
	CONTROL_NO_METHOD = -32601, CONTROL_BAD_PARAMS = -32602,
	CONTROL_FAILED = -32000,
};

/* control_methods.c */

enum control_type { CONTROL_TEXT, CONTROL_BOOL, CONTROL_NUMBER };

struct control_param {
	const char *name;
	enum control_type type;
	bool required;
	const char *help;
};

/* A request whose parameters are those of its method. */
struct control_call {
	const struct control_method *method;
	const json_t *id, *params;
	int fd;				/* the method's, if it takes one; else -1 */
	/* If it has that parameter; then run is on this device's thread, and the
	 * control channel's waits for it. */
	struct ob_device *dev;
	size_t number;
};

enum control_fd { CONTROL_NO_FD, CONTROL_READS, CONTROL_WRITES };

#define CONTROL_PARAMS 4

struct control_method {
	const char *name, *help;
	enum control_fd fd;		/* what the server does with one */
	struct control_param params[CONTROL_PARAMS];	/* name NULL: no more */
	const char *result;
	void (*run)(struct control_client *c, const struct control_call *call);
	/* For those that end later: what the answer says. */
	json_t *(*tell)(const struct ob_operation *op);
};

const struct control_method *control_method_find(const char *name);
/* "" or what is wrong with them. */
void control_params_check(const struct control_method *method,
			  const json_t *params, struct ob_err *err);
const char *control_text(const struct control_call *call, const char *name);
bool control_flag(const struct control_call *call, const char *name);

/* control.c */

/* Queues the answer (taken) of this client and sends what goes. */
void control_answer(struct control_client *client, json_t *answer);
/* An answer came from elsewhere than its request: go on with what it sent. */
void control_go_on(struct control_client *client);

/* control_rpc.c */

/* One request; answers, or notes in `waits` that it will.  Takes fd. */
void control_request(struct control_client *client, const char *line,
		     size_t len, int fd, bool too_many);
/* The answer to a line that has no end. */
void control_refuse_line(struct control_client *client);
void control_refuse(struct control_client *c, const json_t *id, int code,
		    const char *why);
void control_succeed(struct control_client *c, const json_t *id,
		     json_t *result);
/* The answer comes later. */
void control_wait(struct control_client *c, const json_t *id);
/* Any bytes as JSON's text. */
json_t *control_text_of(const char *bytes);

/* control_status.c */
void control_do_status(struct control_client *c,
		       const struct control_call *call);
void control_do_inflight(struct control_client *c,
			 const struct control_call *call);
/* The answer to a status request. */
void control_tell_status(struct control_client *client,
			 const struct ob_keeper_status *status);

/* control_upgrade.c */
void control_do_upgrade(struct control_client *c,
			const struct control_call *call);

/* control_migration.c */
void control_do_quiesce(struct control_client *c,
			const struct control_call *call);
void control_do_resume(struct control_client *c,
		       const struct control_call *call);
void control_do_save(struct control_client *c,
		     const struct control_call *call);
void control_do_load(struct control_client *c,
		     const struct control_call *call);
void control_do_log(struct control_client *c,
		    const struct control_call *call);
void control_do_pages_out(struct control_client *c,
			  const struct control_call *call);
void control_do_pages_finish(struct control_client *c,
			     const struct control_call *call);
void control_do_pages_in(struct control_client *c,
			 const struct control_call *call);
void control_do_pages_apply(struct control_client *c,
			    const struct control_call *call);
void control_do_config(struct control_client *c,
		       const struct control_call *call);
/* Its client has gone: nobody waits for it any more. */
void control_cancel(struct control_client *c);
json_t *control_tell_nothing(const struct ob_operation *op);
json_t *control_tell_bytes(const struct ob_operation *op);
json_t *control_tell_pages(const struct ob_operation *op);
/* Of that device, for `status`. */
json_t *control_describe_migration(struct ob_device *dev);

#endif
