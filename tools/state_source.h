/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file with the state of a device, whatever its form, as a native stream
 * that is pulled.  A native file is read as it comes; one in the QEMU profile
 * is mapped (a pipe is collected first), read by this build's tables, and
 * written again in the native form.  The state memory of a process (old.h) is
 * written as a stream by its own tables; what such memory says beside, and
 * the memory of a flight recorder, is asked for apart.
 */
#ifndef TOOLS_STATE_SOURCE_H
#define TOOLS_STATE_SOURCE_H

#include <stdbool.h>

#include "daemon/check.h"
#include "state/old.h"
#include "state/stream.h"

struct state_source;

/* path "-": standard input.  models: borrowed. */
int state_source_open(const char *path, const struct ob_models *models,
		      struct state_source **out, struct ob_err *err);
/* A flight recorder, too, which is no stream. */
int state_source_open_any(const char *path, const struct ob_models *models,
			  struct state_source **out, struct ob_err *err);
void state_source_close(struct state_source *src);
/* Bytes, 0 at the end, -errno; the signature is the server's. */
int state_source_read(void *src, void *buf, size_t len);
/* The name of the file, for messages. */
const char *state_source_name(const struct state_source *src);
/* Its writer when it is in the QEMU profile; else NULL. */
const struct ob_stream_identity *
state_source_qemu(const struct state_source *src);
/* The memory, when it is some; the source's. */
const struct ob_old_state *state_source_memory(const struct state_source *src);
/* The bytes of a flight recorder; NULL: it is none. */
const void *state_source_recorder(const struct state_source *src, size_t *size);
/* "native", "qemu", "memory" or "recorder". */
const char *state_source_form(const struct state_source *src);
/* Its first bytes are those of the native form. */
bool state_source_is_native(const struct state_source *src);

#endif
