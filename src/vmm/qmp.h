/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's monitor, QMP: one JSON object a line.
 *
 * Calls wait, one at a time; events that come meanwhile are kept, in order, for
 * ob_qmp_event.  -EREMOTEIO: QEMU refused, in its own words; -ETIMEDOUT: no answer
 * yet, and one that still comes is thrown away; -ECONNRESET: QEMU has gone, or
 * what speaks there is no QMP.
 */
#ifndef OB_VMM_QMP_H
#define OB_VMM_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include <outboard/error.h>

#define OB_QMP_TIMEOUT_MS 10000

struct ob_qmp;

/* Connects and agrees on capabilities; -EBUSY: somebody else has this monitor. */
int ob_qmp_connect(const char *path, struct ob_qmp **out, struct ob_err *err);
/* The same over a connected socket, which is taken. */
int ob_qmp_open(int fd, struct ob_qmp **out, struct ob_err *err);
/* Accepts NULL. */
void ob_qmp_close(struct ob_qmp *qmp);

/* "11.1.3" */
const char *ob_qmp_version(const struct ob_qmp *qmp);
/* Of each call from now on. */
void ob_qmp_set_timeout(struct ob_qmp *qmp, int timeout_ms);
/* Readable: ob_qmp_event may have something; has_event: it has read it already. */
int ob_qmp_fd(const struct ob_qmp *qmp);
bool ob_qmp_has_event(const struct ob_qmp *qmp);

/* args is taken and may be NULL; *result is to be released; result may be NULL. */
int ob_qmp_call(struct ob_qmp *qmp, const char *command, json_t *args,
		json_t **result, struct ob_err *err);
/* QEMU has a copy of fd under that name, for "fd:NAME" and the like. */
int ob_qmp_give_fd(struct ob_qmp *qmp, const char *name, int fd,
		   struct ob_err *err);
/* A line for people's monitor; *text, what it said, is to be freed. */
int ob_qmp_hmp(struct ob_qmp *qmp, char **text, struct ob_err *err,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * The next event, to be released: 0.  timeout_ms as poll(2) has it; -ETIMEDOUT.
 */
int ob_qmp_event(struct ob_qmp *qmp, int timeout_ms, json_t **event,
		 struct ob_err *err);

#endif
