/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers that a tool or a test starts and ends itself, and what /proc tells
 * of their processes.
 */
#ifndef TOOLS_CHILD_H
#define TOOLS_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include <outboard/error.h>

#define CHILD_MAX_OPTIONS 8u

struct child_options {
	const char *outboard;		/* the program */
	const char *folder, *name;	/* where its socket and log will be */
	const char *device;		/* MODEL,KEY=VALUE,...; socket is added */
	const char *options[CHILD_MAX_OPTIONS + 1];	/* more, of serve */
};

struct child {
	pid_t pid;			/* the keeper's, when it has one */
	char path[128];			/* of its socket */
	char log[128];
};

/* Waits until it listens.  It is killed when the caller ends. */
int child_start(struct child *child, const struct child_options *options,
		struct ob_err *err);
/* Asks it to end and waits; its status, as of waitpid.  0 if it never ran. */
int child_stop(struct child *child);
/* It runs; else the message says how it ended. */
int child_alive(const struct child *child, struct ob_err *err);
/*
 * The process that serves: the oldest worker among the keeper's children, since
 * any other (a warm successor, a release that is tried) is younger.  0: there
 * is none at present, or there is no keeper.
 */
pid_t child_worker(const struct child *child);

/* 0 when the process is gone. */
unsigned process_fds(pid_t pid);
/* Bytes of private memory: what a leak would add to. */
size_t process_memory(pid_t pid);

#endif
