/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tools that work on streams need of models: their tables by name,
 * and a device in this process, never served, to judge a stream by.
 */
#ifndef OB_DAEMON_CHECK_H
#define OB_DAEMON_CHECK_H

#include "server/server.h"

struct ob_models;

/* loads are shared objects with further models. */
int ob_models_open(const char *const *loads, size_t nr_loads,
		   struct ob_models **out, struct ob_err *err);
void ob_models_close(struct ob_models *models);
/* Name number i; NULL behind the last. */
const char *ob_models_name(const struct ob_models *models, size_t i);
/* The parts of its state, without bases.  -ENOENT, with the known names. */
int ob_models_parts(const struct ob_models *models, const char *name,
		    struct ob_part parts[OB_PARTS_MAX], unsigned *count,
		    struct ob_err *err);

/*
 * Would the device MODEL,KEY=VALUE,... go on with this stream?  It is created
 * as a destination would be (incoming: nobody's lock is taken), judges, and
 * is destroyed.  read returns bytes, 0 at the end, or -errno.  *usage: the
 * words are wrong, not the stream.
 */
int ob_models_check(const struct ob_models *models, const char *device,
		    int (*read)(void *arg, void *buf, size_t len), void *arg,
		    bool *usage, struct ob_err *err);

#endif
