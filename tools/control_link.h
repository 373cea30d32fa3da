/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection to a server's control socket that stays open (docs/control.md):
 * for methods that take a descriptor and answer when its stream has ended.
 *
 * One request is under way at a time.  The connection ends with the process that
 * serves; nothing is sent again.
 */
#ifndef TOOLS_CONTROL_LINK_H
#define TOOLS_CONTROL_LINK_H

#include <jansson.h>

#include <outboard/error.h>

struct control_link;

int control_open(const char *path, struct control_link **out,
		 struct ob_err *err);
/* Accepts NULL.  A request whose answer is due is given up with it. */
void control_close(struct control_link *link);
/* Readable: control_receive has something, maybe not all of it. */
int control_fd(const struct control_link *link);

/*
 * params is taken and may be NULL.  fd is not taken; -1: none goes along.
 * -EBUSY: the answer to the last request has not been received.
 */
int control_send(struct control_link *link, const char *method, json_t *params,
		 int fd, struct ob_err *err);
/*
 * The answer's result, to be released.  timeout_ms as poll(2) has it, 0 looks
 * only: -ETIMEDOUT, and what came of it stays.  -ECONNRESET: the process has
 * gone.  -EREMOTEIO: it answers with an error, whose message is in err.
 */
int control_receive(struct control_link *link, int timeout_ms, json_t **result,
		    struct ob_err *err);

#endif
