/* SPDX-License-Identifier: BSD-3-Clause */
/* The verbs of `outboard state`: one function each, a row in state.c. */
#ifndef TOOLS_STATE_H
#define TOOLS_STATE_H

#include <stdbool.h>

#include <outboard/device.h>

#include "daemon/check.h"
#include "tools.h"

#define STATE_LOADS_MAX 16
#define STATE_SHOW_MAX (1 + OB_LANES_MAX)	/* recorders of a device */

/* What the options of all verbs together may say. */
struct state_options {
	bool json, all;
	const char *device, *to;
	const char *loads[STATE_LOADS_MAX];
	unsigned nr_loads;
	const struct ob_models *models;
	const char *const *words;	/* files and the like */
	unsigned nr_words;
};

/* An exit code (tools.h); with a message in err unless it was printed. */
int state_show(const struct state_options *opts, struct ob_err *err);
int state_diff(const struct state_options *opts, struct ob_err *err);
int state_check(const struct state_options *opts, struct ob_err *err);
int state_convert(const struct state_options *opts, struct ob_err *err);
int state_schema(const struct state_options *opts, struct ob_err *err);

#endif
