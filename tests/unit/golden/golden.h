/* SPDX-License-Identifier: BSD-3-Clause */
/* The streams of tests/golden, and devices that they load into. */
#ifndef OB_TESTS_GOLDEN_H
#define OB_TESTS_GOLDEN_H

#include "../server/rig_mig.h"
#include "state/stream.h"

struct golden {
	char name[64];		/* RELEASE/NAME */
	char device[256];	/* MODEL,KEY=VALUE,... */
	struct stream stream;
};

/*
 * Calls what for each stream in the folders of top whose name begins with
 * prefix; there must be one.
 */
void golden_each(const char *top, const char *prefix,
		 void (*what)(const struct golden *golden));

/* A device as the stream wants it, with guest memory of 2 MiB at 0. */
struct golden_device {
	struct rig *rig;
	struct ob_part parts[OB_PARTS_MAX];
	void *before[OB_PARTS_MAX];	/* copies */
	unsigned nr_parts;
};

void golden_start(struct golden_device *d, const struct golden *golden);
void golden_end(struct golden_device *d);
/* Its state is kept, to be compared with. */
void golden_remember(struct golden_device *d);
bool golden_is_unchanged(const struct golden_device *d);

#endif
