/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest in user space: the NVMe driver of the tools, several queues, and an
 * oracle that knows which version of each block may be read (verify.h).  One
 * thread; it runs when it is given turns, so that whoever drives it decides
 * what happens between which two of its I/Os.
 */
#ifndef TOOLS_GUEST_H
#define TOOLS_GUEST_H

#include "guest_ram.h"
#include "nvme_user.h"
#include "verify.h"

#define GUEST_MAX_QUEUES 16u
#define GUEST_MAX_DEPTH 256u
#define GUEST_BLOCK 4096u
#define GUEST_STALL_NS 100000u		/* from here on it is one */
#define GUEST_STALLS 1024u

struct guest_io {
	bool busy;
	uint8_t opcode;
	uint64_t block;
	uint32_t at_least;		/* version that a read must find */
};

struct guest_options {
	unsigned queues, depth;		/* 0: 4 and 32 */
	uint64_t blocks;		/* used of the disk */
	uint64_t seed;
	bool interrupts;		/* else it polls */
	bool shadow;
	bool tolerant;			/* faults are counted, not returned */
};

/* A time without a completion. */
struct guest_stall {
	uint64_t begin_ns, end_ns;
};

/* What must not be; the first one in words. */
struct guest_faults {
	uint64_t errors;		/* completions that say so */
	uint64_t twice;			/* completions nobody waits for */
	struct ob_err first;
};

struct guest {
	struct guest_options opts;
	struct nvme_user *disk;
	struct guest_ram ram;
	struct verify verify;
	struct guest_io io[GUEST_MAX_QUEUES][GUEST_MAX_DEPTH];
	struct guest_io last;		/* that was chosen */
	unsigned in_flight;
	uint64_t random, done, reads, writes, flushes;
	/* Since the last completion, and the longest such wait until now. */
	uint64_t last_ns, longest_ns;
	struct guest_stall stalls[GUEST_STALLS];	/* the last ones, a ring */
	uint64_t nr_stalls;
	struct guest_faults faults;
};

/* Brings the disk up behind client, on side 0. */
int guest_start(struct guest *g, struct ob_client *client,
		const struct guest_options *opts, struct ob_err *err);
/* Waits for what is in flight, reads everything once more, shuts down. */
int guest_end(struct guest *g, struct ob_err *err);
/*
 * A turn: takes what has completed, checks it, submits up to fill new ones in
 * each queue (0: none).  Sleeps for an interrupt when it has nothing else to
 * do and wait is true.
 */
int guest_turn(struct guest *g, unsigned fill, bool wait, struct ob_err *err);
/* It talks to its device through this client from now on. */
int guest_attach(struct guest *g, struct ob_client *client,
		 struct ob_err *err);
/* Memory and interrupts of a side for a client, before or after a move. */
int guest_prepare(struct guest *g, struct ob_client *client, unsigned side,
		  struct ob_err *err);

/*
 * The longest stall that touches the time between the two, the present one
 * among them; one too short to be kept counts as GUEST_STALL_NS.
 */
uint64_t guest_longest_stall(const struct guest *g, uint64_t from_ns,
			     uint64_t to_ns);

uint64_t guest_random(uint64_t *state);

#endif
