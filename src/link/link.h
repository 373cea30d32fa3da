/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's end: what the keeper gave, and how to give it something. */
#ifndef OB_LINK_LINK_H
#define OB_LINK_LINK_H

#include <outboard/loop.h>

#include "base/keep.h"
#include "base/ring.h"
#include "keeper/wire.h"

#define OB_LINK_RINGS OB_KEEPER_SETS

/*
 * A link belongs to the first thread, which opens and watches it.  What hangs in
 * the loops of the others (ob_link_keep, ob_link_pulse) is theirs, too; nothing
 * of it is on a command's path.
 */
struct ob_link;

/* NULL in *out: this process has no keeper (OB_KEEPER_ENV is not set). */
int ob_link_open(struct ob_link **out, struct ob_err *err);
void ob_link_close(struct ob_link *link);

/*
 * Waits for START (or REHEARSE, or WARM): what is kept has been given by then.
 * A warm successor waits here, everything slow behind it.  After a rehearsal,
 * say READY or REFUSED and wait again; after WARM, having tried on nothing
 * whatever will have to be quick, just wait again.  Its own rings come with the
 * first of these, those of the dead with START.
 * -EPIPE: the keeper has gone.
 */
struct ob_link_start {
	bool rehearse, warm;
	uint64_t generation;
	unsigned deaths;
	int signal;
	enum ob_start_why why;
	struct ob_rings rings[OB_THREADS];	/* its own, by thread; taken */
	struct ob_rings old[OB_LINK_RINGS];	/* of the dead; taken */
	unsigned nr_old;
};
int ob_link_wait(struct ob_link *link, struct ob_link_start *start,
		 struct ob_err *err);

/* For ob_loop_set_keep. */
struct ob_keep *ob_link_keep(struct ob_link *link);

/*
 * Watches the channel from the loop: clients, COPY, STATUS_IS, STOP; and shows
 * the keeper's watchdog that the loop turns.  stop comes again with `now` when
 * nobody wants to wait any longer.  The keeper's death is ours.
 */
struct ob_link_events {
	/* Takes fd, and is to drop NAME/new/PLACE (base/keep.h). */
	void (*client)(void *arg, const char *name, unsigned place, int fd);
	void (*copy)(void *arg, uint64_t value);
	void (*status)(void *arg, const struct ob_keeper_status *status);
	void (*stop)(void *arg, bool now);
	void *arg;
};
int ob_link_watch(struct ob_link *link, struct ob_loop *loop,
		  const struct ob_link_events *events);

/* Before the loop is destroyed, and when no other thread uses the link any more. */
void ob_link_unwatch(struct ob_link *link);

/*
 * Shows the watchdog that the loop of another thread turns, from 1 on; by that
 * thread, or before it runs.  One that has ended is not to be seen to hang:
 * before its loop is destroyed, when it turns no more.
 */
void ob_link_pulse(struct ob_link *link, unsigned thread, struct ob_loop *loop);
void ob_link_no_pulse(struct ob_link *link, unsigned thread,
		      struct ob_loop *loop);

int ob_link_accept(struct ob_link *link, const char *name, bool on);
int ob_link_ready(struct ob_link *link, const char *text);
/* READY after a rehearsal: the pause that is to be expected, and the rest. */
int ob_link_rehearsed(struct ob_link *link, uint64_t gap_us, const char *text);
int ob_link_refused(struct ob_link *link, const char *why);
int ob_link_ended(struct ob_link *link, int status);
/* Copies of all states have been put, as COPY's value asked for. */
int ob_link_copied(struct ob_link *link, uint64_t value);
/* Of all its threads, and no device may want to know of its sure calls. */
int ob_link_rings_over(struct ob_link *link, uint64_t generation);
/* The binary stays the caller's; the ticket is one of wire.h. */
int ob_link_upgrade(struct ob_link *link, int binary, unsigned flags,
		    int32_t ticket);
int ob_link_ask_status(struct ob_link *link);
/* A line for the service manager. */
int ob_link_has_to_say(struct ob_link *link, const char *text);

#endif
