/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper (docs/keeper.md): the whole life of the process that never changes. */
#ifndef OB_KEEPER_KEEPER_H
#define OB_KEEPER_KEEPER_H

#include <stdbool.h>

#include <outboard/error.h>

struct ob_keeper_options {
	char *const *argv;	/* of workers; [0] is shown, not searched */
	int binary;		/* open O_PATH | O_CLOEXEC; taken */
	bool standby;		/* a warm successor waits */
	unsigned watchdog_ms;	/* a turn that takes longer is killed; 0: never */
	unsigned grace_ms;	/* an upgrade that dies within it is rolled back */
};

/*
 * Starts a worker and keeps one alive until it says ENDED, or a signal asks
 * for the end.  Returns the server's exit status.  Everything is allocated
 * before the first worker runs.
 */
int ob_keeper_run(const struct ob_keeper_options *options, struct ob_err *err);

#endif
