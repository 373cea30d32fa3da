// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_price OUTBOARD DRIVE [PAIRS [TURNS]]: what crash safety costs, with little
 * noise.
 *
 * Two servers of such a drive live side by side, one with its keeper and one
 * without, and the same batches of reads go to either in turn, a few
 * milliseconds each: what disturbs one disturbs the other.  Counted is the
 * processor time of the processes that serve, by their clocks, which stand
 * still while others have the CPU.
 *
 *	batches	so many commands behind one doorbell, one interrupt for them;
 *		the server sleeps before and after.  No two batches differ in
 *		size, so what is compared is the same work
 *	stream	32 in flight all the time, the server polls.  Its batches are as
 *		large as chance has it: for the rate, beside the time
 *
 * A ratio is the median over all pairs of turns.  Several pairs of servers, one
 * after the other, since where memory happens to lie is a part of chance.
 *
 * Prints a line for each load, separated by tabs: its name, nanoseconds of
 * processor for a command with a keeper and without; then, of their ratio,
 * quartile, median, quartile; then the same of the ratio of rates, or dashes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <outboard/client.h>

#include "child.h"
#include "folder.h"
#include "nvme_user.h"

#define BLOCK 4096u
#define DRIVE_BLOCKS 16384u	/* 64 MiB */
#define MAX_DEPTH 512u
#define MAX_PAIRS 2000u
#define NAP_NS 80000		/* longer than a server spins */
#define TURN_NS 10000000u	/* of the stream */
#define WARM 4u			/* turns that are not counted */

enum side { KEPT, ALONE, NR_SIDES };

struct load {
	const char *name, *doorbells;
	unsigned depth, batches;	/* per turn; 0: the stream */
	enum nvme_user_doorbells how;
	bool shadow, interrupts;
};

static const struct load loads[] = {
	{ "1, shadow doorbells", "adaptive", 1, 16, NVME_USER_POSTED, true, true },
	{ "1, answered doorbells", "trapped", 1, 16, NVME_USER_ANSWERED, false, true },
	{ "1, posted doorbells", "trapped", 1, 16, NVME_USER_POSTED, false, true },
	{ "32, shadow doorbells", "adaptive", 32, 8, NVME_USER_POSTED, true, true },
	{ "32, answered doorbells", "trapped", 32, 8, NVME_USER_ANSWERED, false, true },
	{ "32, posted doorbells", "trapped", 32, 8, NVME_USER_POSTED, false, true },
	{ "512, shadow doorbells", "adaptive", 512, 4, NVME_USER_POSTED, true, true },
	{ "stream of 32, shadow", "adaptive", 32, 0, NVME_USER_POSTED, true, false },
};
#define NR_LOADS (sizeof(loads) / sizeof(loads[0]))

struct server {
	struct child child;
	clockid_t clock;
	struct ob_client *client;
	struct nvme_user *nvme;
};

/* Of one turn. */
struct sample {
	double cpu_ns, wall_ns;		/* for one command */
};

static uint64_t random_state = 88172645463325252u;

static uint64_t next_block(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % DRIVE_BLOCKS;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fail(const char *what, const struct ob_err *err)
{
	fprintf(stderr, "bench_price: %s: %s\n", what, err->msg);
	exit(1);
}

/* -- servers ----------------------------------------------------------- */

static void start(struct server *server, const char *folder, const char *outboard,
		  const char *drive, const struct load *load, enum side side)
{
	char device[160];
	struct child_options options = {
		.outboard = outboard, .folder = folder,
		.name = side == KEPT ? "kept" : "alone", .device = device,
		.options = { side == KEPT ? NULL : "--no-keeper" },
	};
	struct ob_client_params params = { .timeout_ms = 20000 };
	struct nvme_user_params nvme = {
		.queues = 1, .depth = load->depth, .buffer_size = BLOCK,
		.nsid = 1, .shadow = load->shadow,
		.interrupts = load->interrupts,
	};
	struct ob_err err;
	pid_t pid;

	snprintf(device, sizeof(device), "nvme,doorbells=%s,drive=%s:64M",
		 load->doorbells, drive);
	if (child_start(&server->child, &options, &err) ||
	    ob_client_connect(server->child.path, &params, &server->client,
			      &err) ||
	    nvme_user_open(server->client, &nvme, &server->nvme, &err))
		fail(options.name, &err);
	if (!load->shadow)
		server->nvme->how = load->how;
	pid = side == KEPT ? child_worker(&server->child) : server->child.pid;
	if (clock_getcpuclockid(pid, &server->clock))
		exit(1);
}

static void stop(struct server *server)
{
	nvme_user_close(server->nvme);
	ob_client_destroy(server->client);
	child_stop(&server->child);
}

/* -- turns ------------------------------------------------------------- */

static void submit(struct nvme_user *nvme, unsigned slot)
{
	nvme_user_submit(&nvme->queues[0], slot, NVME_USER_READ,
			 next_block() * (BLOCK / nvme->lba_size),
			 BLOCK / nvme->lba_size);
}

static void ring(struct nvme_user *nvme)
{
	struct ob_err err;

	if (nvme_user_ring(&nvme->queues[0], &err))
		fail("doorbell", &err);
}

static int reap(struct nvme_user *nvme, struct nvme_user_done *done)
{
	struct ob_err err;
	int n = nvme_user_poll(&nvme->queues[0], done, MAX_DEPTH, &err);

	if (n < 0)
		fail("completion", &err);
	return n;
}

static void batch(struct nvme_user *nvme, unsigned count)
{
	static struct nvme_user_done done[MAX_DEPTH];
	unsigned left = count;
	struct ob_err err;
	int n;

	for (unsigned i = 0; i < count; i++)
		submit(nvme, i);
	ring(nvme);
	while (left) {
		n = reap(nvme, done);
		left -= (unsigned)n;
		if (!n && nvme_user_wait(nvme, 20000, &err))
			fail("interrupt", &err);
	}
}

/* Ends with nothing in flight. */
static unsigned stream(struct nvme_user *nvme, unsigned depth)
{
	static struct nvme_user_done done[MAX_DEPTH];
	uint64_t end = clock_ns(CLOCK_MONOTONIC) + TURN_NS;
	unsigned flying = 0, total = 0;

	for (; flying < depth; flying++)
		submit(nvme, flying);
	ring(nvme);
	while (flying) {
		bool more = clock_ns(CLOCK_MONOTONIC) < end;
		int n = reap(nvme, done);

		total += (unsigned)n;
		flying -= more ? 0 : (unsigned)n;
		for (int i = 0; more && i < n; i++)
			submit(nvme, done[i].slot);
		if (more)
			ring(nvme);
	}
	return total;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
}

static struct sample turn(struct server *server, const struct load *load)
{
	uint64_t cpu, wall, ns;
	unsigned total = 0;

	nap();
	cpu = clock_ns(server->clock);
	wall = clock_ns(CLOCK_MONOTONIC);
	if (!load->batches)
		total = stream(server->nvme, load->depth);
	ns = clock_ns(CLOCK_MONOTONIC) - wall;
	for (unsigned i = 0; i < load->batches; i++) {
		batch(server->nvme, load->depth);
		total += load->depth;
		nap();
	}
	return (struct sample){
		(double)(clock_ns(server->clock) - cpu) / total,
		(double)ns / total,
	};
}

/* -- figures ----------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct spread {
	double low, middle, high;	/* quartiles */
};

static struct spread spread_of(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return (struct spread){ values[n / 4], values[n / 2], values[3 * n / 4] };
}

struct series {
	unsigned n;
	double cpu[NR_SIDES][MAX_PAIRS], cpu_ratio[MAX_PAIRS], rate_ratio[MAX_PAIRS];
};

static void add_pair(struct series *s, const struct sample pair[NR_SIDES])
{
	s->cpu[KEPT][s->n] = pair[KEPT].cpu_ns;
	s->cpu[ALONE][s->n] = pair[ALONE].cpu_ns;
	s->cpu_ratio[s->n] = pair[KEPT].cpu_ns / pair[ALONE].cpu_ns;
	s->rate_ratio[s->n++] = pair[ALONE].wall_ns / pair[KEPT].wall_ns;
}

static void print_ratio(double *ratios, unsigned n)
{
	struct spread spread = spread_of(ratios, n);

	printf("\t%.3f\t%.3f\t%.3f", spread.low, spread.middle, spread.high);
}

static void print(const struct load *load, struct series *s)
{
	printf("%s\t%.1f\t%.1f", load->name,
	       spread_of(s->cpu[KEPT], s->n).middle,
	       spread_of(s->cpu[ALONE], s->n).middle);
	print_ratio(s->cpu_ratio, s->n);
	if (load->batches)
		printf("\t-\t-\t-");
	else
		print_ratio(s->rate_ratio, s->n);
	printf("\n");
	fflush(stdout);
}

/* -- a run ------------------------------------------------------------- */

static void one_pair(const char *folder, char **argv, const struct load *load,
		     unsigned turns, struct series *s)
{
	struct server servers[NR_SIDES];
	struct sample pair[NR_SIDES];

	for (enum side side = KEPT; side < NR_SIDES; side++)
		start(&servers[side], folder, argv[1], argv[2], load, side);
	for (unsigned i = 0; i < turns + WARM && s->n < MAX_PAIRS; i++) {
		/* Who is first changes, so that neither profits from it. */
		enum side first = i & 1;

		pair[first] = turn(&servers[first], load);
		pair[!first] = turn(&servers[!first], load);
		if (i >= WARM)
			add_pair(s, pair);
	}
	stop(&servers[KEPT]);
	stop(&servers[ALONE]);
}

int main(int argc, char **argv)
{
	static struct series series;
	char folder[FOLDER_ROOM];
	unsigned pairs = argc > 3 ? (unsigned)atoi(argv[3]) : 3;
	unsigned turns = argc > 4 ? (unsigned)atoi(argv[4]) : 100;

	if (argc < 3) {
		fprintf(stderr, "bench_price OUTBOARD DRIVE [PAIRS [TURNS]]\n");
		return 2;
	}
	folder_make(folder, "obprice");
	for (unsigned i = 0; i < NR_LOADS; i++) {
		series.n = 0;
		for (unsigned k = 0; k < pairs; k++)
			one_pair(folder, argv, &loads[i], turns, &series);
		print(&loads[i], &series);
	}
	folder_remove(folder);
	return 0;
}
