/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file with the state of a device, whatever its form, as a native stream
 * that is pulled.  A native file is read as it comes; one in the QEMU profile
 * is mapped (a pipe is collected first), read by this build's tables, and
 * written again in the native form.
 */
#ifndef TOOLS_STATE_SOURCE_H
#define TOOLS_STATE_SOURCE_H

#include <stdbool.h>

#include "daemon/check.h"
#include "state/stream.h"

struct state_source;

/* path "-": standard input.  models: borrowed. */
int state_source_open(const char *path, const struct ob_models *models,
		      struct state_source **out, struct ob_err *err);
void state_source_close(struct state_source *src);
/* Bytes, 0 at the end, -errno; the signature is the server's. */
int state_source_read(void *src, void *buf, size_t len);
/* The name of the file, for messages. */
const char *state_source_name(const struct state_source *src);
/* Its writer when it is in the QEMU profile; else NULL. */
const struct ob_stream_identity *
state_source_qemu(const struct state_source *src);
/* Its first bytes are those of the native form. */
bool state_source_is_native(const struct state_source *src);

#endif
