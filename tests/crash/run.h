/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run: a server under ptrace, its clients, and when who of it dies.
 */
#ifndef CRASH_RUN_H
#define CRASH_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "folder.h"
#include "mark.h"
#include "session.h"
#include "watch.h"

#define MAX_TASKS 64u
#define MAX_OPS 8192u
#define MAX_CALLS 1000u			/* a step that has more is cut there */

/* What the clients do, and with how many devices. */
enum kind {
	ALONE,				/* one client with all of session.c */
	PAIR,				/* two, each with all of it, in turns */
	TOGETHER,			/* the same two, at the same time */
	ARRIVAL,			/* session_arrival.c */
	NR_KINDS
};

enum mode { COUNT, CALLS, TWICE, STEPS, STORES, CHANCE, NR_MODES };

struct task {
	pid_t pid;			/* 0: free */
	pid_t process;			/* its process's first task */
	bool worker, killed;
	uint64_t op;			/* the step that it was seen in */
	unsigned calls;			/* stops in that step */
	unsigned singles;		/* instructions still to be done */
	bool watched;			/* ... or until the step is over */
	unsigned dies_at;		/* twice: its own call number; 0: lives */
	unsigned all_calls;		/* of the process */
};

struct client {
	pid_t pid;
	bool ended;
	int status;
	struct session *session;
	uint64_t killed_op;		/* together: where it was then */
};

struct run {
	enum kind kind;
	enum mode mode;
	unsigned n;			/* the number of calls, or of the run */
	bool other;			/* not who has so many first */
	bool is_brief;			/* nothing happens after the first steps */
	uint64_t random, seed;
	struct client clients[SESSIONS_MAX];
	unsigned nr_clients;
	char folder[FOLDER_ROOM];
	pid_t server;
	struct task tasks[MAX_TASKS];
	uint64_t killed_op;		/* one kill for a step */
	uint64_t passed_op;		/* other: here the first one has passed */
	pid_t passed;
	struct watch watch;
	struct mark mark;		/* arrival: at the commit */
	uint64_t watched_op;
	unsigned load;			/* arrival: the last one that was hit */
	/* Of the step that is watched: stores, or of an arrival instructions. */
	uint64_t instructions, events, dies_at;
	unsigned chance;		/* calls until the next death */
	unsigned kills, dying;		/* all; those that are not dead yet */
	bool server_ended, stopping;
	int server_status;
	time_t end;
};

/* Of an undisturbed run, by the first thread and by any other. */
extern unsigned calls_of[2][MAX_OPS];

extern const char *outboard;
extern unsigned threads;

uint64_t next_random(uint64_t *state);
/* Of all sessions. */
uint64_t run_op(const struct run *run);
bool run_clients_ended(const struct run *run);

/* place.c */
pid_t place_server(struct run *run);
/* At its exec a successor is told other threads than its predecessor had. */
void place_successor(struct run *run, pid_t pid);
void place_images(const struct run *run);

/* trace.c: until the server and the clients have ended. */
void trace(struct run *run);

#endif
