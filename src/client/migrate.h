/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the order of a migration: what its halves share. */
#ifndef OB_CLIENT_MIGRATE_H
#define OB_CLIENT_MIGRATE_H

#include <outboard/migrate.h>

/*
 * One run: parameters, clock, account.  A step lasts until the next begins.
 * The two halves of ob_migrate share a run.
 */
struct migrate_run {
	const struct ob_migrate_params *params;
	const struct ob_migrate_ops *ops;
	struct ob_migrate_result *result, own;	/* own: nobody asked */
	uint64_t zero_ns;
	enum ob_migrate_step step;
	unsigned device;
	bool in_step, failed;
	uint64_t step_ns;
	uint64_t slept_ns;		/* pauses for the bandwidth limit */
	uint64_t left;			/* for progress */
	double dirty_rate;
	/* The rate of now: of the last window that is over. */
	uint64_t window_ns, window_bytes;
	double window_rate;
};

void migrate_run_init(struct migrate_run *run,
		      const struct ob_migrate_params *params,
		      struct ob_migrate_result *result);
/* Nanoseconds since the beginning. */
uint64_t migrate_now(struct migrate_run *run);
/* Begins a step.  0, or what the callback says, with a message. */
int migrate_step(struct migrate_run *run, enum ob_migrate_step step,
		 unsigned device, struct ob_err *err);
/* Ends the last one; in total_ns is the time until now. */
void migrate_end_step(struct migrate_run *run);
/* Remembers the step as the one that failed, the first time. */
void migrate_failed(struct migrate_run *run);
int migrate_progress(struct migrate_run *run, struct ob_err *err);
/* Sleeps in pieces, with progress between them. */
int migrate_sleep(struct migrate_run *run, uint64_t ns, struct ob_err *err);
/*
 * Reads a device's stream.  A server that cannot free the drives within the
 * second that an answer may take says EBUSY; it is asked again, for 10 s.
 * cancel: progress may end the wait.
 */
int migrate_read(struct migrate_run *run, struct ob_client *client,
		 size_t len, bool cancel, const void **data, size_t *got,
		 struct ob_err *err);
/* Appends to result->note. */
void migrate_note(struct migrate_run *run, const struct ob_err *err);
/* "source device 2: " before the message; one alone has no number. */
void migrate_prefix(struct ob_err *err, const char *side, unsigned device,
		    unsigned count);
/* Fills in what a message of a callback's failure lacks. */
int migrate_callback_failed(int r, const char *what, struct ob_err *err);

/* One device of the source. */
struct out_device {
	struct ob_client *client;
	struct ob_client_mig mig;
	enum ob_client_mig_state before;	/* where it goes back to */
	bool logging;
	bool moved;			/* a state was asked for */
	bool saving;			/* in PRE_COPY or behind it */
	uint64_t known;			/* bytes of this round */
};

struct ob_outgoing {
	struct migrate_run *run;
	bool owns_run;
	struct out_device *devices;
	unsigned count;
	ob_migrate_put put;
	void *put_arg;
	uint64_t **bitmaps;		/* one for each range: still to send */
	uint64_t page;
	uint64_t paced_from_ns, paced_bytes;
	bool guest_stopped;
	bool decided;			/* done or undone */
};

/* migrate_ram.c: all of it is to be sent at first. */
int ram_create(struct ob_outgoing *out, struct ob_err *err);
void ram_destroy(struct ob_outgoing *out);
/* ORs in what the devices and the VMM report. */
int ram_collect(struct ob_outgoing *out, enum ob_migrate_step step,
		struct ob_err *err);
uint64_t ram_left(const struct ob_outgoing *out);
/* Sends what is marked and unmarks it. */
int ram_send(struct ob_outgoing *out, enum ob_migrate_step step,
	     struct ob_err *err);

/* migrate_rounds.c: sends while the guest runs, until it is time to stop. */
int rounds_run(struct ob_outgoing *out, struct ob_err *err);
/* Bytes that would have to go if the guest stopped now. */
int rounds_left(struct ob_outgoing *out, uint64_t *left, struct ob_err *err);

/* migrate_out.c */
enum { OUT_MORE, OUT_DRY };
/* One piece of at most `most` bytes; OUT_DRY: there is no more now. */
int out_send_piece(struct ob_outgoing *out, unsigned i,
		   enum ob_migrate_step step, uint64_t most, uint64_t *sent,
		   struct ob_err *err);
/* Keeps to the bandwidth after bytes more; nothing once the guest stopped. */
int out_pace(struct ob_outgoing *out, uint64_t bytes, struct ob_err *err);
size_t out_piece(const struct ob_outgoing *out, size_t most);

/* Checks before anything is touched; *out is filled for outgoing_send_all. */
int outgoing_create(struct migrate_run *run, struct ob_client *const *from,
		    unsigned count, struct ob_outgoing **out,
		    struct ob_err *err);
int outgoing_send_all(struct ob_outgoing *out, ob_migrate_put put,
		      void *put_arg, struct ob_err *err);

/* migrate_in.c */
int incoming_begin(struct migrate_run *run, struct ob_client *const *to,
		   unsigned count, struct ob_incoming **in,
		   struct ob_err *err);

#endif
