/* SPDX-License-Identifier: BSD-3-Clause */
/* What is seen of a VM's migration, and what its blackout is made of. */
#ifndef TOOLS_CONDUCT_VIEW_H
#define TOOLS_CONDUCT_VIEW_H

#include "conduct.h"

#define CONDUCT_SAMPLES 2048u

struct conduct_sample {
	uint64_t us, sent, left;
};

struct conduct_view {
	FILE *to;
	bool bar, drawn;
	const char *phase;
	uint64_t next_us;
	struct conduct_sample samples[CONDUCT_SAMPLES];
	unsigned nr_samples;
};

void conduct_view_init(struct conduct_view *view);
void conduct_view_end(struct conduct_view *view);

/* The parts of the blackout, in their order; the last one has no name. */
struct conduct_part {
	const char *name;
	enum conduct_mark from, to;
	bool qemu;			/* QEMU's, or ours */
	const char *what;
};
extern const struct conduct_part conduct_parts[];
uint64_t conduct_part_us(const struct conductor *c,
			 const struct conduct_part *part);
uint64_t conduct_blackout_us(const struct conductor *c);

/* Draws it, as SVG. */
int conduct_plot(const struct conductor *c, FILE *f, struct ob_err *err);

#endif
