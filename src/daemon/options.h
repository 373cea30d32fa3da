/* SPDX-License-Identifier: BSD-3-Clause */
/* What `outboard serve` was asked to do, as text: nothing is opened yet. */
#ifndef OB_DAEMON_OPTIONS_H
#define OB_DAEMON_OPTIONS_H

#include <stdio.h>

#include <outboard/loop.h>

#include "base/log.h"

struct ob_serve_options {
	const char **devices;	/* MODEL,KEY=VALUE,... (borrowed from argv) */
	size_t nr_devices;
	const char **loads;	/* files */
	size_t nr_loads;
	struct ob_loop_params loop;
	enum ob_log_level log_level;
	const char *control;	/* path of a socket; NULL: none */
	bool no_keeper, standby;
	unsigned threads;	/* 1 to OB_THREADS (base/ring.h) */
	unsigned watchdog_ms;	/* 0: none */
	unsigned grace_ms;	/* after an upgrade */
	char *const *argv;	/* as given; of a NULL-terminated array */
};

/* -EINVAL: the command line is wrong.  Finish is allowed in every case. */
int ob_serve_options_parse(struct ob_serve_options *opts, int argc,
			   char **argv, struct ob_err *err);
void ob_serve_options_finish(struct ob_serve_options *opts);
void ob_serve_options_help(FILE *out);

#endif
