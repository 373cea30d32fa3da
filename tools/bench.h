/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bench: options (bench.c), the engine that keeps queues full
 * (bench_run.c), the summary (bench_report.c).
 */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <outboard/client.h>

#include "hist.h"
#include "nvme_user.h"
#include "verify.h"

#define BENCH_SAMPLES 10u	/* parts of the run whose rates are told */

enum bench_rw {
	BENCH_RANDREAD, BENCH_RANDWRITE, BENCH_READ, BENCH_WRITE,
	BENCH_RANDRW, BENCH_NR_RW
};
extern const char *const bench_rw_names[BENCH_NR_RW];

struct bench_options {
	enum bench_rw rw;
	uint64_t block_size, size, depth, queues, nsid, seed;
	double seconds;
	bool verify, json, interrupts, no_shadow;
};

struct bench_direction {
	struct hist latency;
	uint64_t errors, first_bad_lba;
	uint16_t first_status;
};

struct bench_slot {
	uint64_t block, start;
	uint32_t at_least;		/* verify */
	uint8_t opcode;
};

struct bench_queue {
	struct nvme_user_queue *nvme;
	struct bench_slot slots[NVME_USER_MAX_DEPTH];
	uint16_t free[NVME_USER_MAX_DEPTH];
	unsigned nr_free;
};

struct bench {
	struct bench_options opt;
	struct ob_client *client;
	struct nvme_user *nvme;
	struct bench_queue *queues;
	uint32_t sectors;		/* per block */
	uint64_t nr_blocks, next_block, random;
	struct verify verify;
	bool reading_back;
	unsigned in_flight;
	struct bench_direction read, write;
	uint64_t completed;
	double elapsed, client_cpu, server_cpu;	/* seconds; CPUs */
	double samples[BENCH_SAMPLES];	/* operations per second */
	unsigned nr_samples;
	struct ob_err err;
};

static inline bool bench_writes(const struct bench *b)
{
	return b->opt.rw != BENCH_RANDREAD && b->opt.rw != BENCH_READ;
}

/* Runs for the time asked for, then, with verify, reads all back. */
int bench_run(struct bench *b);
/* Prints the result; a negative errno when that fails. */
int bench_report(struct bench *b);

#endif
