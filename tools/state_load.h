/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream loaded as a device of this build would load it, into fresh
 * structures of this build's tables.  Content goes to whoever asks, piece by
 * piece.
 */
#ifndef TOOLS_STATE_LOAD_H
#define TOOLS_STATE_LOAD_H

#include "state/load.h"
#include "state_source.h"

struct state_load;

struct state_load_ops {
	/* Before any content: parts and identity are known, not filled. */
	int (*begin)(struct state_load *load, struct ob_err *err);
	/* 0 or -errno; data NULL: zeros. */
	int (*content)(struct state_load *load, const struct ob_content_id *id,
		       uint64_t offset, const void *data, uint64_t length);
};

struct state_load {
	const struct state_load_ops *ops;	/* may be NULL */
	const struct ob_models *models;
	struct ob_stream_identity identity;
	char model[33], id[65];			/* as text */
	struct ob_content_id *ids;
	unsigned nr_ids;
	struct ob_part parts[OB_PARTS_MAX];	/* bases at the end */
	unsigned nr_parts;
	struct state_load_sink *sinks;
	struct ob_content_sink *to;
	struct ob_loader *loader;
};

/* ops and models are set, all else zero.  Finish in every case. */
int state_load_read(struct state_load *load, struct state_source *src,
		    struct ob_err *err);
void state_load_finish(struct state_load *load);

#endif
