/* SPDX-License-Identifier: BSD-3-Clause */
/* serve.c, and worker.c for the part that only a process with a keeper has. */
#ifndef OB_DAEMON_SERVE_IMPL_H
#define OB_DAEMON_SERVE_IMPL_H

#include "daemon/plan.h"
#include "daemon/signals.h"
#include "daemon/threads.h"
#include "link/link.h"
#include "server/server.h"

struct ob_control;
struct serve;

/* A device.  What it tells the first thread comes by its posts. */
struct served {
	struct serve *serve;
	struct ob_thread *thread;
	struct ob_device *dev;		/* touched by its thread alone, but for lanes */
	struct ob_post end, over;	/* to its thread */
	struct ob_post is_gone, alarm;	/* from it */
	bool gone;
};

/* Rings of one that died. */
struct ob_past_rings {
	struct serve *serve;
	struct ob_old_rings *rings;
	uint64_t generation;
};

struct serve {
	const struct ob_serve_options *opts;
	struct ob_thread threads[OB_THREADS];
	struct ob_loop *loop;	/* of the first thread */
	struct ob_plan *plan;
	struct served *devices;
	size_t count;		/* devices that have begun; the plan has more */
	size_t gone;		/* devices without anything in flight */
	struct ob_signals signals;
	struct ob_control *control;	/* NULL: none */
	struct ob_timer patience;
	bool stopping;

	struct ob_link *link;	/* NULL: no keeper */
	struct ob_link_start begin;
	struct ob_past_rings past[OB_LINK_RINGS];
	unsigned nr_past, not_over;
};

/* serve.c */
/*
 * Runs fn on the device's thread and waits for what it returns; the only way in
 * which the first thread touches a device.  err and arg are passed to fn.
 */
int ob_served_call(struct served *d,
		   int (*fn)(struct served *d, void *arg, struct ob_err *err),
		   void *arg, struct ob_err *err);
/* The same for each device that has begun, one call for each thread, until one
 * fails. */
int ob_served_each(struct serve *s,
		   int (*fn)(struct served *d, void *arg, struct ob_err *err),
		   void *arg, struct ob_err *err);
/* Between the device's thread and the first one: at once, if they are the same. */
void ob_served_tell(const struct served *d, struct ob_loop *loop,
		    struct ob_post *post);
/* A loop for each thread, on the keeper's rings if there is one; once. */
int ob_serve_make_loops(struct serve *s, struct ob_err *err);
void ob_serve_stop(struct serve *s);
void ob_serve_give_up(struct serve *s);

/* operate.c: the control socket, and what an operator has to know */
/* On the device's thread, when it has begun. */
void ob_serve_watch_alarm(struct served *d);
int ob_serve_control_open(struct serve *s, struct ob_err *err);
void ob_serve_control_close(struct serve *s);

/* worker.c */
/* Waits until it is this process's turn; answers rehearsals before. */
int ob_worker_wait(struct serve *s, struct ob_err *err);
/* Loops on the keeper's rings, channel, the rings of the dead. */
int ob_worker_loop(struct serve *s, struct ob_err *err);
/* The keeper accepts for our devices. */
int ob_worker_listen(struct serve *s, struct ob_err *err);
void ob_worker_finish(struct serve *s);
/* On the device's thread: it takes over what the dead left; destroyed if that fails. */
int ob_worker_begin(struct served *d, struct ob_err *err);

/* rehearse.c: answers the keeper */
void ob_worker_rehearse(struct serve *s);
/* The same with nothing, for the practice; whether it works will be seen. */
void ob_worker_warm(struct serve *s);

#endif
