/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream, pushed into fresh structures.  Bytes may be cut anywhere.  Nothing
 * of a device is touched: the parts are the loader's own until somebody takes
 * them, content goes to sinks that stage it.  The first error stays, with a
 * message that names the section or field; further bytes are refused with it.
 */
#ifndef OB_STATE_LOAD_H
#define OB_STATE_LOAD_H

#include "state/stream.h"

struct ob_loader;

/* Where content goes, byte ranges in any order; data NULL: zeros. */
struct ob_content_sink {
	struct ob_content_id id;	/* size: theirs must be the same */
	int (*put)(void *arg, uint64_t offset, const void *data,
		   uint64_t length);
	void *arg;
};

struct ob_load_plan {
	const char *model;		/* refused when theirs is another */
	const struct ob_part *parts;	/* base is not used; borrowed */
	unsigned nr_parts;
	const struct ob_content_sink *sinks;	/* borrowed */
	unsigned nr_sinks;
};

/* Every part begins with its defaults. */
int ob_loader_create(const struct ob_load_plan *plan, struct ob_loader **out,
		     struct ob_err *err);
void ob_loader_destroy(struct ob_loader *loader);

int ob_loader_write(struct ob_loader *loader, const void *bytes, size_t len,
		    struct ob_err *err);
/* 0: complete, END was the last byte, every bound holds. */
int ob_loader_finish(struct ob_loader *loader, struct ob_err *err);
/* Part i of the plan; valid until destroy. */
void *ob_loader_part(struct ob_loader *loader, unsigned i);
/* Who wrote it; NULL before that is known. */
const struct ob_stream_identity *ob_loader_identity(const struct ob_loader *l);

#endif
