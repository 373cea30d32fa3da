/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a migration, for VMMs: one device or several, from their
 * servers to others, with the guest's memory and its CPUs by callbacks.
 * docs/embedding.md has an example and the reasons.
 *
 *	ob_migrate	both servers can be reached from here
 *	ob_outgoing	the source half: bytes go to a function of yours
 *	ob_incoming	the destination half: you hand the bytes in
 *
 * Everything blocks, in one thread, and calls back from there.  Whatever
 * fails, at any step, or is cancelled by a callback: the source's devices go
 * on as before, the guest with them, and the destination's are reset.
 *
 * The destination has been set up as for a fresh device: memory mapped,
 * interrupts attached, guest not running.  The VMM's own log of what the CPUs
 * write is on before any of this begins.
 */
#ifndef OUTBOARD_MIGRATE_H
#define OUTBOARD_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>
#include <outboard/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define OB_MIGRATE_MAX_DEVICES 256
#define OB_MIGRATE_MAX_ROUNDS 128
#define OB_MIGRATE_DOWNTIME_MS 300	/* the default */

/* In this order; a device at a time where it says so. */
enum ob_migrate_step {
	OB_MIGRATE_CHECK,		/* each: is it able to, in which state */
	OB_MIGRATE_PREPARE,		/* each: destination to RESUMING */
	OB_MIGRATE_LOG_START,		/* each: source's dirty log */
	OB_MIGRATE_PRE_COPY,		/* each: source to PRE_COPY */
	/* a round; the guest runs */
	OB_MIGRATE_RAM,			/* guest memory, a piece */
	OB_MIGRATE_DATA,		/* each: a piece of the device */
	OB_MIGRATE_REPORT,		/* each: what became dirty meanwhile */
	/* the guest stands still */
	OB_MIGRATE_STOP_GUEST,
	OB_MIGRATE_P2P,			/* each, if there are several */
	OB_MIGRATE_STOP_COPY,		/* each: source to STOP_COPY */
	OB_MIGRATE_LAST_REPORT,		/* each */
	OB_MIGRATE_LAST_RAM,		/* a piece */
	OB_MIGRATE_LAST_DATA,		/* each: a piece */
	OB_MIGRATE_LOAD,		/* each: destination judges, to STOP */
	OB_MIGRATE_RESTORE,		/* the VMM's view of the devices */
	OB_MIGRATE_LOG_STOP,		/* each: source */
	OB_MIGRATE_STOP,		/* each: source to STOP */
	OB_MIGRATE_RUN,			/* each: destination to RUNNING */
	OB_MIGRATE_START_GUEST,		/* at the destination */
	OB_MIGRATE_DONE,		/* no way back from here */
	/* after a failure; cannot be cancelled */
	OB_MIGRATE_RESET,		/* each: destination */
	OB_MIGRATE_GO_BACK,		/* each: source to where it was */
	OB_MIGRATE_CONTINUE_GUEST,	/* at the source */
	OB_MIGRATE_NR_STEPS
};
const char *ob_migrate_step_name(enum ob_migrate_step step);

struct ob_migrate_progress {
	enum ob_migrate_step step;
	unsigned device;
	unsigned round;			/* from 1; 0: before the first */
	uint64_t elapsed_ns;
	uint64_t device_bytes, ram_bytes;	/* sent so far */
	uint64_t left;			/* still to send, an estimate */
	double rate, dirty_rate;	/* bytes per second */
};

/* Pages of one range of guest memory, a piece of it at a time. */
struct ob_migrate_pages {
	unsigned range;			/* index in params.ram */
	uint64_t iova, length;		/* of the piece */
	uint64_t page;
	const uint64_t *bitmap;		/* bit n: the page at iova + n * page */
};

/*
 * All optional, except that RAM needs ram_copy.  Results are 0 or -errno, and
 * anything else than 0 ends the migration; err has room for a reason.
 *
 * They are called between two messages, never with one under way: they may
 * use the clients, registers and all, but not change migration's states, and
 * may lend them to another thread until they return.
 */
struct ob_migrate_ops {
	/*
	 * Before every step; device is 0 where a step is not of one.  The
	 * result counts up to OB_MIGRATE_START_GUEST.
	 */
	int (*step)(void *arg, enum ob_migrate_step step, unsigned device);
	/* After every piece of data and of sleep; else as step. */
	int (*progress)(void *arg, const struct ob_migrate_progress *now);
	/*
	 * ORs what the CPUs, and whoever else is not one of the devices, have
	 * written in a range since the last call.  Devices' writes by message
	 * (memory without an fd) are the VMM's own, and belong here.
	 */
	int (*ram_dirty)(void *arg, unsigned range, uint64_t *bitmap,
			 struct ob_err *err);
	/* Copies the pages that are set. */
	int (*ram_copy)(void *arg, const struct ob_migrate_pages *pages,
			struct ob_err *err);
	int (*stop_guest)(void *arg, struct ob_err *err);
	/*
	 * The devices' state is in place at the destination, which stands
	 * still: write BARs and command again, attach interrupts.
	 */
	int (*restore)(void *arg, struct ob_err *err);
	int (*start_guest)(void *arg, struct ob_err *err);
	/* At the source, after a failure behind stop_guest. */
	void (*continue_guest)(void *arg);
	/* Default: clock_nanosleep, CLOCK_MONOTONIC. */
	void (*sleep)(void *arg, uint64_t ns);
	uint64_t (*now)(void *arg);
};

/* Zero-initialise; 0 means the default everywhere. */
struct ob_migrate_params {
	const struct ob_migrate_ops *ops;
	void *arg;
	/*
	 * Send while the guest runs, until the rest would go within
	 * downtime_ms at the rate measured.  When three rounds in a row leave
	 * more than nine tenths of what the round before left, it does not
	 * converge: it stops the guest anyway, or gives up (must_converge).
	 */
	bool precopy;
	bool must_converge;
	unsigned downtime_ms;		/* OB_MIGRATE_DOWNTIME_MS */
	unsigned max_rounds;		/* OB_MIGRATE_MAX_ROUNDS */
	uint64_t bandwidth;		/* bytes per second while the guest
					 * runs; 0: as fast as it goes */
	/*
	 * Guest memory that the devices may write; page: the bitmaps' unit,
	 * a power of two, 4096.  Without ranges no log is started.
	 */
	const struct ob_client_range *ram;
	unsigned nr_ram;
	uint64_t page;
	/* Several devices that never reach each other need no P2P states. */
	bool without_p2p;
};

enum ob_migrate_outcome {
	OB_MIGRATE_STAYED,	/* the source goes on as before */
	OB_MIGRATE_SENT,	/* the source half is done, nothing decided */
	OB_MIGRATE_MOVED,	/* the destination goes on */
	OB_MIGRATE_STUCK,	/* neither: note says what a device answered */
};

struct ob_migrate_span {
	unsigned count;
	uint64_t first_ns, total_ns;	/* first: since the beginning */
};

struct ob_migrate_round {
	uint64_t start_ns, ns;
	uint64_t device_bytes, ram_bytes;
	uint64_t left;			/* behind it */
	double dirty_rate;		/* bytes per second during it */
};

/* The account; filled also when it fails.  Zero-initialise. */
struct ob_migrate_result {
	enum ob_migrate_outcome outcome;
	enum ob_migrate_step failed_step;	/* when it failed */
	unsigned failed_device;
	bool converged;			/* or there was nothing to wait for */
	uint64_t total_ns;
	uint64_t blackout_ns;		/* when the guest stopped, and for how */
	uint64_t downtime_ns;		/* long; 0: it did not */
	uint64_t device_bytes, ram_bytes;		/* all */
	uint64_t last_device_bytes, last_ram_bytes;	/* in the blackout */
	double rate;			/* bytes per second, as measured last */
	struct ob_migrate_span steps[OB_MIGRATE_NR_STEPS];
	unsigned nr_rounds;
	struct ob_migrate_round rounds[OB_MIGRATE_MAX_ROUNDS];
	char note[256];			/* what else failed on the way back */
};

/*
 * Moves count devices, from[i] to to[i].  0: the destination runs.  Else the
 * source does, unless result->outcome says that even that failed; the guest
 * was continued only in the first case.  result may be NULL.
 */
int ob_migrate(struct ob_client *const *from, struct ob_client *const *to,
	       unsigned count, const struct ob_migrate_params *params,
	       struct ob_migrate_result *result, struct ob_err *err);

/*
 * The source half.  put takes the devices' streams, len > 0 bytes at a time,
 * each device's in its order.  On success everything has gone out, the
 * devices stand still with their drives free, and *out waits for the
 * destination's word: done, or undo.  params and result must live on until
 * then.  On failure *out is not set and nothing is left to do.
 */
struct ob_outgoing;
typedef int (*ob_migrate_put)(void *arg, unsigned device, const void *bytes,
			      size_t len, struct ob_err *err);
int ob_outgoing_send(struct ob_client *const *from, unsigned count,
		     const struct ob_migrate_params *params,
		     ob_migrate_put put, void *put_arg,
		     struct ob_outgoing **out,
		     struct ob_migrate_result *result, struct ob_err *err);
/* To STOP.  A failure leaves *out as it was: undo is possible. */
int ob_outgoing_done(struct ob_outgoing *out, struct ob_err *err);
/* The source goes on; -errno and a message when it cannot. */
int ob_outgoing_undo(struct ob_outgoing *out, struct ob_err *err);
/* Frees; after a send that was neither done nor undone, undoes.  NULL is ok. */
void ob_outgoing_destroy(struct ob_outgoing *out);

/*
 * The destination half: begin, put..., load, run, destroy.  Of the callbacks
 * it uses step, restore and start_guest.
 */
struct ob_incoming;
int ob_incoming_begin(struct ob_client *const *to, unsigned count,
		      const struct ob_migrate_params *params,
		      struct ob_incoming **in,
		      struct ob_migrate_result *result, struct ob_err *err);
/* in is a struct ob_incoming: it can be an ob_migrate_put. */
int ob_incoming_put(void *in, unsigned device, const void *bytes, size_t len,
		    struct ob_err *err);
/*
 * The same, for who has a function to read from instead: until it gives 0
 * bytes.  get may change *device, which is 0 at first.
 */
typedef int (*ob_migrate_get)(void *arg, unsigned *device, void *buf,
			      size_t room, size_t *got, struct ob_err *err);
int ob_incoming_pull(struct ob_incoming *in, ob_migrate_get get, void *arg,
		     struct ob_err *err);
/* All has been put: the devices judge it.  They stand still with it, or fail. */
int ob_incoming_load(struct ob_incoming *in, struct ob_err *err);
/* Only after the source has said that it stands still for good. */
int ob_incoming_run(struct ob_incoming *in, struct ob_err *err);
/* Frees; devices that do not run are reset.  -errno if that fails.  NULL is ok. */
int ob_incoming_destroy(struct ob_incoming *in, struct ob_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
