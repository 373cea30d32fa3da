/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conductor of a VM's migration (docs/live-migration.md): it stands between two
 * QEMUs and the servers of their devices and keeps the order.  The phases are
 * functions that each return 0 or an error; whoever calls them in order has the
 * verbs vm-migrate, vm-save and vm-restore.
 *
 * Nothing is copied here: streams go from server to server, or into files, through
 * descriptors that are handed over.
 */
#ifndef TOOLS_CONDUCT_H
#define TOOLS_CONDUCT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <outboard/error.h>

#include "control_link.h"
#include "vmm/pci.h"
#include "vmm/qmp.h"
#include "vmm/repair.h"

#define CONDUCT_DEVICES 16u
#define CONDUCT_CONTROLS 8u
#define CONDUCT_NAME 65u		/* a device's id and NUL */

enum conduct_side { CONDUCT_FROM, CONDUCT_TO };

struct conduct_params {
	const char *verb;
	const char *qmp[2];		/* NULL: there is no such side */
	const char *controls[2][CONDUCT_CONTROLS];
	unsigned nr_controls[2];
	const char *pairs[CONDUCT_DEVICES];	/* "SOURCE=DESTINATION" */
	unsigned nr_pairs;
	const char *uri;		/* NULL: a socket pair */
	unsigned downtime_ms;		/* 0: as QEMU has it */
	uint64_t bandwidth;		/* bytes per second; 0: as QEMU has it */
	bool json;
};

/* A request that is under way; the answer may take until a stream's end. */
struct conduct_call {
	struct control_link *link;
	const char *method;
	bool due;
	json_t *again;			/* what a worker's successor is asked, or NULL */
	uint64_t end_us;		/* of asking again */
	json_t *result;
};

/* Calls of one device's side that may be under way together. */
enum conduct_slot {
	CONDUCT_STATE, CONDUCT_PAGES, CONDUCT_STEP, CONDUCT_SLOTS
};

/* What a server tells of a device that runs; counts are of its process. */
struct conduct_signs {
	bool known;
	uint64_t intx, msi, msix;	/* signalled */
	uint64_t waiting;		/* due, and cannot leave */
	uint64_t visits, unanswered;	/* of the guest; signals since the last */
	uint64_t in_flight;
};

/* Do interrupts arrive?  conduct_answers has the words. */
enum conduct_answer {
	CONDUCT_UNSEEN, CONDUCT_HEARD, CONDUCT_IDLE, CONDUCT_UNHEARD,
	CONDUCT_LOST, CONDUCT_STUCK
};

/* One side of a device. */
struct conduct_end {
	char qdev[CONDUCT_NAME];	/* QEMU's name of it */
	char path[128];			/* the socket that QEMU uses, or "" */
	char addr[16], bus[128];	/* where it is plugged */
	char id[CONDUCT_NAME], model[32];	/* the server's */
	const char *control;		/* NULL: nobody serves it */
	json_t *options;		/* its server's keys, or NULL */
	json_t *drives;			/* what they are, or NULL */
	bool runs;			/* we let it run */
	bool keeps_pages;		/* on their way, or aside */
	struct conduct_signs signs;
	struct conduct_call calls[CONDUCT_SLOTS];
};

struct conduct_device {
	struct conduct_end ends[2];
	struct ob_repair repair;
	uint64_t bytes, pages, left;	/* for people */
	enum conduct_answer answer;	/* of the guest, at the destination */
	struct conduct_signs first;	/* what is compared with */
	unsigned calm;			/* looks in a row with nothing due */
	/* Streams, by slot, that begin when both ends have let go, and how often
	 * one was broken. */
	bool again[CONDUCT_SLOTS];
	unsigned tries;
};

/* In their order; microseconds since 1970, as QEMU's events have it. */
enum conduct_mark {
	CONDUCT_BEGAN, CONDUCT_STOPPED, CONDUCT_SEEN, CONDUCT_QUIET,
	CONDUCT_TAKEN, CONDUCT_STREAMS, CONDUCT_QEMU, CONDUCT_APPLIED,
	CONDUCT_REPAIRED, CONDUCT_RESUMED, CONDUCT_RAN, CONDUCT_ENDED,
	CONDUCT_NR_MARKS
};

struct conduct_progress {
	const char *phase;
	uint64_t ram_sent, ram_left, ram_total;
	double ram_dirty;		/* bytes per second */
	uint64_t device_sent, device_left, pages;
};

struct conductor {
	struct conduct_params params;
	struct ob_qmp *qmp[2];
	struct conduct_device devices[CONDUCT_DEVICES];
	unsigned nr_devices;
	char version[2][32], machine[2][64];
	int64_t memory[2], cpus[2];

	/* What events told last. */
	char status[2][32];		/* of QEMU's migration */
	bool stopped;
	/* How far we came, for who has to undo it. */
	bool began, stood, migrating, said_cont;
	/*
	 * Begins a stream of a device, also anew when a death broke it; NULL: such
	 * a death is the end.  finishing: as if pages.finish had come.
	 */
	int (*stream)(struct conductor *c, struct conduct_device *d,
		      enum conduct_slot slot, struct ob_err *err);
	bool finishing;
	struct conduct_folder *folder;	/* conduct_file.c */
	json_t *old_caps, *old_params;
	json_t *guard;			/* what was taken away, or NULL */

	uint64_t marks[CONDUCT_NR_MARKS];
	struct conduct_progress now;
	struct conduct_view *view;	/* may be NULL */
	struct ob_err note;		/* what undoing could not do */
};

/* -- conduct.c: the machinery ------------------------------------------- */

/* Connects to the sides that are there. */
int conduct_open(struct conductor *c, const struct conduct_params *params,
		 struct ob_err *err);
void conduct_close(struct conductor *c);
/* Is there still an answer?  If not, connects again. */
int conduct_reach(struct conductor *c, enum conduct_side side,
		  struct ob_err *err);

uint64_t conduct_now(void);
void conduct_mark(struct conductor *c, enum conduct_mark mark);
void conduct_phase(struct conductor *c, const char *phase);

/* A request to one device's server; params is taken, and gets the device's id. */
int conduct_start(struct conduct_end *end,
		  enum conduct_slot slot, const char *method, json_t *params,
		  int fd, struct ob_err *err);
/* The same to all on a side, as a step that may be repeated; waits for all. */
int conduct_step(struct conductor *c, enum conduct_side side,
		 const char *method, json_t *params, struct ob_err *err);
/* Waits until nothing is due in that slot on that side, and for events. */
int conduct_finish(struct conductor *c, enum conduct_side side,
		   enum conduct_slot slot, int timeout_ms, struct ob_err *err);
/* Looks at everything once, waiting up to timeout_ms for something to happen. */
int conduct_turn(struct conductor *c, int timeout_ms, struct ob_err *err);
/* Until QEMU's migration has this status; a failure is an error. */
int conduct_await(struct conductor *c, enum conduct_side side,
		  const char *status, int timeout_ms, struct ob_err *err);
/* Every stream to its end, and QEMU's migration where there is one. */
int conduct_await_all(struct conductor *c, int timeout_ms, struct ob_err *err);
/* Takes the answer of one call that may have come. */
int conduct_look_at_call(struct conduct_end *end, struct conduct_call *call,
			 struct ob_err *err);
/* What a death looks like, or a server that is loading. */
bool conduct_has_died(int r);
/* Gives up what is under way. */
void conduct_drop_calls(struct conductor *c);

/* -- conduct_again.c: streams that a death broke ---------------------------- */

/*
 * A call to one side of a device ended with r, err says why: 0 if that is no end of
 * the migration.
 */
int conduct_broke(struct conductor *c, struct conduct_device *d,
		  enum conduct_side side, enum conduct_slot slot, int r,
		  struct ob_err *err);
/* Begins those, for the first time or anew, that are marked so and may. */
int conduct_begin_again(struct conductor *c, struct ob_err *err);
/* All streams of pages once more, from the beginning; waits for them. */
int conduct_pages_again(struct conductor *c, struct ob_err *err);

/* -- phases -------------------------------------------------------------- */

/* Nothing has begun when it refuses. */
int conduct_preflight(struct conductor *c, struct ob_err *err);
int conduct_live(struct conductor *c, struct ob_err *err);
int conduct_pause(struct conductor *c, struct ob_err *err);
int conduct_repair(struct conductor *c, struct ob_err *err);
int conduct_run(struct conductor *c, struct ob_err *err);
/* It runs, whatever this finds; some seconds at most. */
void conduct_check(struct conductor *c);
/*
 * The source goes on, the destination ends.  Does all it can; what it could not
 * is in c->note.
 */
int conduct_abort(struct conductor *c);
/*
 * The same after another conductor, of which nothing is known; -EBUSY: the
 * destination runs.
 */
int conduct_abort_other(struct conductor *c, struct ob_err *err);

/* Parts of them that saving and restoring use too. */
int conduct_quiet(struct conductor *c, struct ob_err *err);
int conduct_take(struct conductor *c, struct ob_err *err);
int conduct_put(struct conductor *c, struct ob_err *err);
int conduct_set_up_qemu(struct conductor *c, enum conduct_side side,
			bool pause_before_switchover, struct ob_err *err);
void conduct_restore_qemu(struct conductor *c);

/* The destination against what is known of the source. */
int conduct_match(struct conductor *c, struct ob_err *err);
/* One side alone: what there is and who serves it. */
int conduct_look(struct conductor *c, enum conduct_side side,
		 struct ob_err *err);

/* -- conduct_find.c: devices and servers ------------------------------------ */

extern const char *const conduct_sides[];
/* A command, with the side's name before what went wrong. */
int conduct_ask(struct conductor *c, enum conduct_side side,
		const char *command, json_t *args, json_t **result,
		struct ob_err *err);
int conduct_property(struct conductor *c, enum conduct_side side,
		     const char *path, const char *name, char *text,
		     size_t size, struct ob_err *err);
/* The devices of the source and who serves them; those of the destination. */
int conduct_find(struct conductor *c, enum conduct_side side,
		 struct ob_err *err);

/* -- conduct_guard.c ------------------------------------------------------- */

/* A reason why QEMU does not migrate: is it only the guard? */
bool conduct_is_guard(const char *reason);
int conduct_lift_guard(struct conductor *c, struct ob_err *err);
int conduct_put_guard(struct conductor *c, struct ob_err *err);

/* -- conduct_server.c: what a server tells -------------------------------- */

/* Configuration space, and the keys that the device was made with. */
int conduct_config(struct conduct_end *end, uint8_t config[OB_REPAIR_CONFIG],
		   struct ob_err *err);
int conduct_parse_config(const json_t *result, uint8_t config[OB_REPAIR_CONFIG],
			 struct ob_err *err);
/* How far the streams are; unchanged where a server does not answer. */
void conduct_ask_servers(struct conductor *c, enum conduct_side side);

/* -- conduct_check.c ------------------------------------------------------- */

extern const char *const conduct_answers[];
/* What the operator has to know of a VM that runs; for people, on stderr. */
json_t *conduct_warnings(const struct conductor *c);
void conduct_warn(const struct conductor *c);

/* -- what is seen and told ------------------------------------------------- */

void conduct_progress(struct conductor *c);
void conduct_print(const struct conductor *c, FILE *f);
json_t *conduct_describe(const struct conductor *c, const char *outcome);

#endif
