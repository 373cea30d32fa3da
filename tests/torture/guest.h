/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest in user space: the NVMe driver of the tools, several queues, and an
 * oracle that knows which version of each block may be read (verify.h).  One
 * thread; it runs when it is given turns, so that a test decides what happens
 * between which two of its I/Os.
 */
#ifndef TORTURE_GUEST_H
#define TORTURE_GUEST_H

#include "nvme_user.h"
#include "ram.h"
#include "verify.h"

#define GUEST_QUEUES 4u
#define GUEST_DEPTH 32u
#define GUEST_BLOCK 4096u

struct guest_io {
	bool busy;
	uint8_t opcode;
	uint64_t block;
	uint32_t at_least;		/* version that a read must find */
};

struct guest_options {
	uint64_t blocks;		/* used of the disk */
	uint64_t seed;
	bool interrupts;		/* else it polls */
	bool shadow;
};

struct guest {
	struct guest_options opts;
	struct nvme_user *disk;
	struct ram ram;
	struct verify verify;
	struct guest_io io[GUEST_QUEUES][GUEST_DEPTH];
	unsigned in_flight;
	uint64_t random, done, reads, writes, flushes;
};

/* Brings the disk up behind client, on side 0. */
int guest_start(struct guest *g, struct ob_client *client,
		const struct guest_options *opts, struct ob_err *err);
/* Waits for what is in flight, reads everything once more, shuts down. */
int guest_end(struct guest *g, struct ob_err *err);
/*
 * A turn: takes what has completed, checks it, submits up to fill new ones
 * (0: none).  Sleeps for an interrupt when it has nothing else to do and
 * wait is true.
 */
int guest_turn(struct guest *g, unsigned fill, bool wait, struct ob_err *err);
/* It talks to its device through this client from now on. */
int guest_attach(struct guest *g, struct ob_client *client,
		 struct ob_err *err);
/* Memory and interrupts of a side for a client, before or after a move. */
int guest_prepare(struct guest *g, struct ob_client *client, unsigned side,
		  struct ob_err *err);

uint64_t guest_random(uint64_t *state);

#endif
