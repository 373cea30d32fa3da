/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper's own files only.  There is one keeper in a process and
 * everything is in this structure, so that nothing is allocated later.
 *
 *	keeper.c	the process: signals, deadlines, what is waited for
 *	midwife.c	the other processes, which fork
 *	spawn.c		a worker is born: its place, its rings
 *	worker.c	what workers say, and what is given to them
 *	accept.c	sockets at which the keeper accepts
 *	life.c		who serves: death, succession, the standby
 *	upgrade.c	another binary takes over, or does not
 *	watchdog.c	workers that hang or were stopped
 *	confine.c	what the process gives up
 */
#ifndef OB_KEEPER_IMPL_H
#define OB_KEEPER_IMPL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/log.h"
#include "base/ring.h"
#include "base/sanitized.h"
#include "keeper/held.h"
#include "keeper/keeper.h"
#include "keeper/msg.h"

#define OB_RINGS_HELD 16u	/* generations whose rings are held */
/* The same of one, a set for each thread. */
struct ob_sets {
	uint64_t generation;
	unsigned count;			/* 0: not made */
	struct ob_rings set[OB_THREADS];
};

#define OB_WORKERS 8u	/* one serves; others wait, or are dying */

enum ob_worker_state {
	OB_WORKER_NONE,		/* the place is free */
	OB_WORKER_WAITS,	/* in ob_link_wait: a standby, or not started yet */
	OB_WORKER_REHEARSES,	/* the new binary, before an upgrade */
	OB_WORKER_LOADS,	/* was told to START */
	OB_WORKER_SERVES,	/* said READY */
	OB_WORKER_DYING,	/* killed while it waited or rehearsed */
};

struct ob_worker {
	enum ob_worker_state state;
	pid_t pid;
	int pidfd, channel;
	uint64_t generation;
	struct ob_sets rings;		/* until it starts; then the keeper's */
	int pulse_fd;			/* the place's own, as is the page */
	struct ob_pulse *pulses;

	bool giving;			/* GIVEs are left, then the begin */
	struct ob_held_entry *give;	/* the next */
	enum ob_start_why why;		/* of the START that ends it */

	bool stopped;			/* by SIGSTOP */
	bool hung;			/* the watchdog killed it */
	uint64_t kill_at, push_at;	/* deadlines; 0: none */
	uint64_t ready_at;
};

/* midwife.c: they and the keeper share all descriptors. */
#define OB_MIDWIVES 2u
#define OB_OOM_SCORE 16u	/* as text; "": as it is */
struct ob_midwife {
	int orders, end;	/* the keeper's, hers; for good, whoever she is */
	int pidfd;		/* -1: she died */
	bool dying;		/* killed */
};

struct ob_birth {
	int error;		/* 0 or -errno; then there is nothing else */
	pid_t pid;
	int fd;			/* its pidfd, or the binary at the path */
	int channel;
	struct ob_sets rings;
};

enum ob_upgrade_state {
	OB_UPGRADE_OFF,
	OB_UPGRADE_COPIES,	/* the old worker was asked for copies */
	OB_UPGRADE_REHEARSAL,	/* the new one loads them */
	OB_UPGRADE_SWITCH,	/* the old one was killed, its death is awaited */
	OB_UPGRADE_GRACE,	/* the new one serves, the old binary is kept */
};

struct ob_upgrade {
	enum ob_upgrade_state state;
	int binary;		/* the new one */
	bool dry;
	uint64_t token;		/* of COPY */
	uint64_t until;		/* rehearsal or grace; 0: not under way */
};

struct ob_keeper {
	const struct ob_keeper_options *opts;
	char **env, env_link[64];
	sigset_t mask;			/* as it was found, for workers */
	pid_t pid;
	char oom_midwife[OB_OOM_SCORE], oom_worker[OB_OOM_SCORE];
	int binary, epoll, signals, spare;
	struct ob_midwife midwives[OB_MIDWIVES];
	int other;		/* taken back, until the old one serves; -1 */

	struct ob_held held;
	unsigned nr_new;		/* clients among them */
	unsigned threads;		/* of a worker */
	struct ob_sets rings[OB_RINGS_HELD];	/* oldest first */
	unsigned nr_rings, rings_room;
	uint64_t born;			/* generations so far */
	uint64_t served;		/* the last one that was ready */

	struct ob_worker workers[OB_WORKERS];
	struct ob_worker *active, *standby, *next;
	struct ob_upgrade upgrade;

	bool was_ready;			/* some generation was */
	uint64_t line_of;		/* who has begun a ready line; 0: nobody */
	unsigned deaths;		/* in a row */
	unsigned failures, crashes;	/* ... without READY, soon after it */
	int last_signal, last_pid;
	enum ob_start_why why;		/* of the next START */
	uint64_t died_us;		/* 0: no gap is being measured */
	uint64_t retry_at, standby_at, watch_at, alive_at, midwife_at;
	struct {
		uint64_t turn, at;
	} seen[OB_THREADS];		/* watchdog */
	struct ob_keeper_status status;

	bool stopping, ended, failed, done;
	uint64_t stop_at;
	int exit_status;
};

extern struct ob_log ob_keeper_log;
#define SAY(level, ...) ob_log(&ob_keeper_log, OB_LOG_##level, __VA_ARGS__)

/* CLOCK_MONOTONIC */
uint64_t ob_keeper_us(void);
uint64_t ob_keeper_ms(void);
int ob_keeper_tell(struct ob_keeper *k, enum ob_keeper_event event,
		   const char *text);
/* Asks for the end; again: at once. */
void ob_keeper_stop(struct ob_keeper *k, const char *why);

/* What an event of epoll means: kind, and a number. */
enum ob_keeper_source { OB_FROM_SIGNALS, OB_FROM_PID, OB_FROM_CHANNEL,
			OB_FROM_LISTENER, OB_FROM_MIDWIFE };
int ob_keeper_watch(struct ob_keeper *k, int op, int fd, uint32_t events,
		    enum ob_keeper_source source, uint32_t number);

/* midwife.c: while the keeper may still do everything. */
int ob_midwife_start(struct ob_keeper *k);
int ob_midwife_bear(struct ob_keeper *k, int binary, const struct ob_worker *w,
		    struct ob_birth *birth);
/* The binary at the path, or -errno. */
int ob_midwife_open(struct ob_keeper *k);
void ob_midwife_died(struct ob_keeper *k, unsigned place);
/* Those who are missing, by those who are left. */
void ob_midwife_replace(struct ob_keeper *k);
/* The end.  They have all that is held, locks too: nobody is to find these taken
 * when the server has gone. */
void ob_midwife_finish(struct ob_keeper *k);
/* Nobody is left who could start anybody. */
bool ob_midwife_is_none(const struct ob_keeper *k);
extern const struct ob_birth ob_birth_none;

/* spawn.c: a worker that waits; NULL: logged. */
struct ob_worker *ob_worker_spawn(struct ob_keeper *k, int binary);
/* Closes what the keeper has of it; the place is free again. */
void ob_worker_close(struct ob_worker *w);
bool ob_worker_signal(struct ob_worker *w, int signo);
/* Its rings are the keeper's from now on. */
void ob_rings_keep(struct ob_keeper *k, struct ob_worker *w);
void ob_rings_over(struct ob_keeper *k, uint64_t generation);
void ob_sets_close(struct ob_sets *sets);

/* worker.c */
void ob_worker_hear(struct ob_keeper *k, struct ob_worker *w);
/* The same to the end, after a death. */
void ob_worker_drain(struct ob_keeper *k, struct ob_worker *w);
/* Begins to give what it needs; goes on when the channel has room. */
void ob_worker_give(struct ob_keeper *k, struct ob_worker *w);
void ob_worker_push(struct ob_keeper *k, struct ob_worker *w);
bool ob_worker_tell(struct ob_worker *w, enum ob_keeper_op op, uint64_t value,
		    const char *name, int fd);
void ob_held_forget(struct ob_keeper *k, struct ob_held_entry *entry);
bool ob_is_copy(const struct ob_held_entry *entry);

/* accept.c */
void ob_accept_set(struct ob_keeper *k, const char *name, bool on);
void ob_accept_none(struct ob_keeper *k);
void ob_accept_end(struct ob_keeper *k, struct ob_held_entry *entry);
void ob_accept_ready(struct ob_keeper *k, uint32_t number);
/* Tells w of clients that it was not told of.  -errno: of not all of them. */
int ob_accept_tell(struct ob_keeper *k, struct ob_worker *w);
/* A client is not held any more: there is room for another one. */
void ob_accept_taken(struct ob_keeper *k, struct ob_held_entry *client);

/* life.c */
void ob_life_died(struct ob_keeper *k, struct ob_worker *w);
/* As PID 1 of a container the keeper inherits what workers left (base/linger.h). */
void ob_life_reap(struct ob_keeper *k);
void ob_life_start(struct ob_keeper *k, struct ob_worker *w,
		   enum ob_start_why why);
void ob_life_succeed(struct ob_keeper *k);
void ob_life_ready(struct ob_keeper *k, struct ob_worker *w, const char *text);
/* The first part of what READY will say. */
void ob_life_ready_part(struct ob_keeper *k, struct ob_worker *w,
			const char *text);
void ob_life_standby(struct ob_keeper *k);
/* Before the next try, after so many deaths for which it has to wait. */
uint64_t ob_life_delay_ms(unsigned deaths);
/* Time is up: whoever has not ended is killed, and nobody follows. */
void ob_life_end(struct ob_keeper *k);
/* Kills one that nobody will miss; *w becomes NULL. */
void ob_life_dismiss(struct ob_worker **w);

/* upgrade.c */
/* binary: taken; or -errno, why there is none. */
void ob_upgrade_begin(struct ob_keeper *k, int binary, unsigned flags,
		      int32_t ticket);
void ob_upgrade_copied(struct ob_keeper *k, uint64_t token);
void ob_upgrade_answer(struct ob_keeper *k, const struct ob_keeper_msg *msg);
void ob_upgrade_switch(struct ob_keeper *k);
void ob_upgrade_ready(struct ob_keeper *k);	/* the active worker is */
void ob_upgrade_stop(struct ob_keeper *k);
/* It will not happen, or is taken back, depending on how far it was. */
void ob_upgrade_fail(struct ob_keeper *k, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The old binary, to which it was taken back, refuses. */
void ob_upgrade_no_way_back(struct ob_keeper *k, const char *text);
void ob_upgrade_time(struct ob_keeper *k, uint64_t now);

/* watchdog.c */
void ob_watchdog_start(struct ob_keeper *k);
void ob_watchdog_look(struct ob_keeper *k, uint64_t now);
void ob_watchdog_children(struct ob_keeper *k);

/* The sanitizers look at their process by ptrace, and then at files. */
#define OB_SANITIZED (OB_ADDRESS_SANITIZED || OB_THREAD_SANITIZED)

/* confine.c */
void ob_confine_all(void);	/* the workers, too */
void ob_confine_keeper(void);
/* What the process has in memory and will hardly need again. */
void ob_confine_memory(void);

#endif
