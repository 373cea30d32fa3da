/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * outboard torture: options (torture.c), the load (torture_run.c), who kills
 * (torture_killer.c, a thread of its own, so that a kill meets the server at
 * any instruction), who sees a process end (torture_watch.c), the account
 * (torture_report.c, torture_plot.c).
 */
#ifndef TOOLS_TORTURE_H
#define TOOLS_TORTURE_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "child.h"
#include "guest.h"
#include "guest_move.h"
#include "hist.h"
#include "vm.h"

struct torture_options {
	double every, seconds;
	uint64_t kills;			/* UINT64_MAX: as many as there is time for */
	uint64_t seed, queues, depth, size;
	const char *drive;		/* NULL: a file of its own */
	const char *binary;		/* of the server; NULL: this one */
	const char *other;		/* to upgrade to; NULL: the same */
	const char *device;		/* more keys of the device */
	const char *engine;		/* of the server's I/O; NULL: its own choice */
	const char *threads;		/* of the server; the disk is on the last */
	const char *plot;
	const char *vm;			/* folder of a real guest; NULL: the built-in */
	bool upgrade, no_kills, migrate, standby, interrupts, no_keeper;
	bool json;
};

/* NOTHING: for comparison, what a time without an event costs on this machine. */
enum torture_event { TORTURE_KILL, TORTURE_UPGRADE, TORTURE_NOTHING,
		     TORTURE_NR_EVENTS };

extern const char *const torture_event_names[TORTURE_NR_EVENTS];

/* Of a keeper and its worker, while nothing is being killed. */
struct torture_size {
	unsigned keeper_fds, worker_fds;
	size_t keeper_memory, worker_memory;
};

struct torture {
	struct torture_options opt;
	char folder[64], image[96];
	char binary[256], other[256];
	char controls[2][128];
	struct child servers[2];
	unsigned nr_servers, at;	/* the guest is on servers[at] */
	struct guest *guest;		/* its account, also of a real one */
	struct vm vm;
	uint64_t random;

	/* The killer's; read by the load with atomic loads. */
	pthread_t killer;
	bool killing;
	int stop, failed;
	uint64_t events, kind, kills, upgrades, refused, nothings;
	uint64_t gone_ns, gone_kind;	/* somebody's end, and by which event */
	struct ob_err killer_err;

	/* The load's. */
	uint64_t seen, seen_kind, seen_end_ns, end_ns, end_kind, started_ns,
		 ended_ns, next_line_ns, next_move_ns, moves, cuts, cancels;
	struct hist stalls[TORTURE_NR_EVENTS];
	struct hist gaps[TORTURE_NR_EVENTS];	/* the stall around an end */
	struct hist downtime;
	uint64_t slowest_ns;		/* I/O of a real guest */
	struct torture_size first[2], last[2];
};

/* torture_run.c: serves, loads, kills, looks.  0, or what was impossible. */
int torture_run(struct torture *t, struct ob_err *err);

/*
 * torture_vm.c: the load in a real guest, in the place of the built-in one.
 * Boots it and writes what will be verified; I/O until the time is over or the
 * killer has ended; the last look, and off.
 */
int torture_vm_start(struct torture *t, struct ob_err *err);
int torture_vm_load(struct torture *t, uint64_t ns, struct ob_err *err);
int torture_vm_end(struct torture *t, struct ob_err *err);

/* torture_killer.c */
int torture_killer_start(struct torture *t, struct ob_err *err);
/* It finishes what it has begun, and that can take a while. */
void torture_killer_stop(struct torture *t);
bool torture_killer_ended(const struct torture *t);
/* Waits for it; its error, if it had one. */
int torture_killer_join(struct torture *t, struct ob_err *err);

/* torture_watch.c: a thread that notes in *at when a process has ended. */
struct torture_watch {
	pthread_t thread;
	int process, stop;		/* pidfd; eventfd, or -1: nobody watches */
	uint64_t *at;
};

void torture_watch_start(struct torture_watch *w, pid_t pid, uint64_t *at);
void torture_watch_stop(struct torture_watch *w);

/* torture_report.c */
/* Everything that must be zero is, and nothing has grown; else why not. */
int torture_verdict(const struct torture *t, struct ob_err *err);
void torture_print(const struct torture *t, FILE *f);
json_t *torture_describe(const struct torture *t);
/* The line that is seen meanwhile. */
void torture_line(struct torture *t, bool last);

/* torture_plot.c: the gaps, as SVG */
int torture_plot(FILE *f, const struct hist gaps[TORTURE_NR_EVENTS],
		 const char *title, struct ob_err *err);

#endif
