/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bench: options (bench_args.c), the verb (bench.c), threads and clocks
 * (bench_run.c), what each thread does: keeping its queues full
 * (bench_engine.c) or copying memory (bench_floor.c); the summary
 * (bench_report.c).
 */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <outboard/client.h>

#include "daemon/args.h"
#include "hist.h"
#include "nvme_user.h"
#include "verify.h"

#define BENCH_SAMPLES 10u	/* parts of the run whose rates are told */
#define BENCH_MAX_SIZES 16u

enum bench_rw {
	BENCH_RANDREAD, BENCH_RANDWRITE, BENCH_READ, BENCH_WRITE,
	BENCH_RANDRW, BENCH_RW, BENCH_NR_RW
};
extern const char *const bench_rw_names[BENCH_NR_RW];

/* What is measured instead of a device. */
enum bench_floor {
	BENCH_FLOOR_NONE,
	BENCH_FLOOR_CLIENT,		/* the driver, which completes itself */
	BENCH_FLOOR_MEMCPY,
	BENCH_FLOOR_MEMCPY_HUGE,	/* from huge pages */
	BENCH_NR_FLOORS
};
extern const char *const bench_floor_names[BENCH_NR_FLOORS];

struct bench_options {
	enum bench_rw rw;
	enum bench_floor floor;
	const char *bs;				/* as it was given */
	uint32_t sizes[BENCH_MAX_SIZES];	/* bytes */
	unsigned nr_sizes;
	uint8_t by_percent[100];		/* which of the sizes */
	uint64_t size, depth, queues, spare, threads, nsid, seed, mix;
	uint64_t ios;				/* 0: no limit */
	double seconds;				/* 0: no limit */
	double ramp, idle;
	double rate;				/* 0: no limit */
	double registers;			/* reads a second, meanwhile */
	bool verify, json, interrupts, no_shadow, dirty_log;
};

/* Spare queues lie between the others; what cannot be divided is at the end. */
static inline unsigned bench_stride(const struct bench_options *opt)
{
	return (unsigned)(1 + opt->spare / opt->queues);
}

struct bench_direction {
	struct hist latency;
	uint64_t bytes, errors, first_bad_lba;
	uint16_t first_status;
	uint64_t by_size[BENCH_MAX_SIZES];	/* I/Os */
};

enum bench_dir { BENCH_DIR_READ, BENCH_DIR_WRITE, BENCH_NR_DIRS };

/* One I/O; places are counted in units, the size that divides all. */
struct bench_slot {
	uint64_t unit, start;		/* start 0: not in flight */
	uint32_t *at_least;		/* verify: of each unit */
	uint8_t dir, size;
};

struct bench_queue {
	struct nvme_user_queue *nvme;
	struct bench_slot slots[NVME_USER_MAX_DEPTH];
	uint16_t free[NVME_USER_MAX_DEPTH];
	unsigned nr_free;
	uint8_t apart[128];		/* from the next, another thread's */
};

/* What may start, by the clock. */
struct bench_pace {
	double rate;			/* a second; 0: whatever */
	uint64_t from, count;
};

struct bench;

/*
 * Owns the queues index, index + threads, ... and its own part of the disk, so
 * threads share nothing while they run.
 */
struct bench_thread {
	struct bench *bench;
	pthread_t id;
	unsigned index;
	int result;
	struct ob_err err;

	uint64_t random, first, end, next;	/* units */
	uint64_t now, left;			/* I/Os to be counted */
	struct bench_pace pace;
	unsigned in_flight, idle_looks;
	bool reading_back;
	struct verify verify;
	struct bench_direction dirs[BENCH_NR_DIRS];
	uint64_t completed;		/* counted ones; read by the main thread */
	uint64_t looks, empty_looks;
	struct hist registers;
	uint64_t next_register;		/* ns */
};

struct bench {
	struct bench_options opt;
	struct ob_client *client;
	struct nvme_user *nvme;
	struct bench_queue *queues;
	struct bench_thread **threads;
	uint8_t *memory;		/* of BENCH_FLOOR_MEMCPY */
	uint32_t *at_least;
	uint32_t unit, unit_sectors;	/* bytes; sectors */
	uint32_t units[BENCH_MAX_SIZES];	/* of each size */
	uint32_t max_units;
	uint64_t nr_units;
	uint64_t start, count_from, until;	/* ns; ends with UINT64_MAX: no limit */
	int stop;			/* a thread has failed */
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* of the next two */
	bool go;
	unsigned nr_running;
	unsigned nr_threads;		/* that were started */

	struct bench_direction dirs[BENCH_NR_DIRS];	/* of all threads */
	uint64_t checked, unknown, looks, empty_looks;
	struct hist registers;
	double elapsed, client_cpu, server_cpu;	/* seconds; CPUs */
	double idle_cpu;		/* the server's CPUs in opt.idle */
	uint64_t idle_wakeups;
	double samples[BENCH_SAMPLES];	/* operations per second */
	unsigned nr_samples;
	struct ob_err err;
};

static inline bool bench_reads_only(const struct bench *b)
{
	return b->opt.mix == 100;
}

/* bench_args.c: the defaults; the options; fits them to one another. */
extern const struct ob_arg bench_args[];
void bench_defaults(struct bench_options *opt);
int bench_args_check(struct bench_options *opt, struct ob_err *err);

/* bench_run.c: all threads, then, with verify, reads all back; then idles. */
int bench_run(struct bench *b);

/* bench_engine.c: what a thread does. */
int bench_engine(struct bench_thread *t);
/* The next I/O of the run; false: none can start now. */
bool bench_pick(struct bench_thread *t, struct bench_slot *slot);
void bench_count(struct bench_thread *t, const struct bench_slot *slot,
		 uint64_t ns, uint64_t count);

/* bench_floor.c */
int bench_memcpy_prepare(struct bench *b);
int bench_memcpy(struct bench_thread *t);
void bench_memcpy_finish(struct bench *b);

/* Prints the result; a negative errno when that fails. */
int bench_report(struct bench *b);

#endif
