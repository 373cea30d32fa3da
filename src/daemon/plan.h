/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line, understood: which model serves each device, with which
 * values.  All that can be wrong with its words is found here, before
 * anything is created.
 */
#ifndef OB_DAEMON_PLAN_H
#define OB_DAEMON_PLAN_H

#include "daemon/options.h"
#include "devices/registry.h"

struct ob_planned {
	const struct ob_device_class *cls;
	struct ob_options *opts;	/* NULL once a device took them */
	unsigned thread;		/* of lane 0; the next ones have the others */
	unsigned lanes;
};

struct ob_plan {
	struct ob_registry registry;
	struct ob_planned *devices;
	size_t count;
};

/* Finish is allowed in every case. */
int ob_plan_make(struct ob_plan *plan, const struct ob_serve_options *opts,
		 struct ob_err *err);
void ob_plan_finish(struct ob_plan *plan);

#endif
