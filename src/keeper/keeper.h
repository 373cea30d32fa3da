/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper (docs/keeper.md): the whole life of the process that never changes. */
#ifndef OB_KEEPER_KEEPER_H
#define OB_KEEPER_KEEPER_H

#include <stdbool.h>

#include <outboard/error.h>

/* What the world is told: the ready line, the service manager. */
enum ob_keeper_event {
	OB_KEEPER_IS_READY,	/* for the first time; text: the ready line */
	OB_KEEPER_IS_RELOADING,	/* an upgrade begins, or was asked for */
	OB_KEEPER_IS_RELOADED,	/* it has ended, one way or the other */
	OB_KEEPER_IS_STOPPING,
	OB_KEEPER_IS_ALIVE,	/* every alive_ms */
	OB_KEEPER_HAS_TO_SAY,	/* text: the worker's, a line */
	OB_KEEPER_GETS_READY,	/* before IS_READY; text: of its line, what is before */
};

struct ob_keeper_options {
	char *const *argv;	/* of workers; [0] is shown, not searched */
	int binary;		/* open O_PATH | O_CLOEXEC; taken */
	const char *path;	/* where SIGHUP finds the next one */
	/* Optional.  An error ends the server, if it has just got ready. */
	int (*tell)(enum ob_keeper_event event, const char *text);
	bool standby;		/* a warm successor waits */
	unsigned threads;	/* of a worker; 0: 1 */
	unsigned watchdog_ms;	/* a turn that takes longer is killed; 0: never */
	unsigned grace_ms;	/* an upgrade that dies so soon is rolled back */
	unsigned alive_ms;	/* tells that often that it lives; 0: never */
};

/*
 * Starts a worker and keeps one alive until it says ENDED, or a signal asks
 * for the end.  Returns the server's exit status, -errno if it could not begin.
 * Everything is allocated before the first worker runs.  Once in a process,
 * which may do very little from then on (confine.c); `tell`, too.
 */
int ob_keeper_run(const struct ob_keeper_options *options, struct ob_err *err);

#endif
