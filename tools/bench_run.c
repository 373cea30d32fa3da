// SPDX-License-Identifier: BSD-3-Clause
/*
 * The run around the threads: their common beginning, the clock's readings at
 * the end of the ramp and ten times after it, CPU time, the sum.
 *
 *	start           count_from                       until   elapsed
 *	  | ramp           | what is counted               |  drain  |   idle
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bench.h"
#include "server_process.h"

#define SETTLE_NS 2500000000ull	/* the watchdog looks once a second, twice */

/* -- threads ----------------------------------------------------------- */

static void set_go(struct bench *b)
{
	pthread_mutex_lock(&b->lock);
	b->go = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

static void wait_go(struct bench *b)
{
	pthread_mutex_lock(&b->lock);
	while (!b->go)
		pthread_cond_wait(&b->changed, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

static void set_ended(struct bench *b)
{
	pthread_mutex_lock(&b->lock);
	b->nr_running--;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

/* One that fails ends the run. */
static void *run_thread(void *arg)
{
	struct bench_thread *t = arg;
	struct bench *b = t->bench;

	wait_go(b);
	t->result = b->opt.floor > BENCH_FLOOR_CLIENT ? bench_memcpy(t)
						      : bench_engine(t);
	if (t->result)
		__atomic_store_n(&b->stop, 1, __ATOMIC_RELAXED);
	set_ended(b);
	return NULL;
}

static void set_times(struct bench *b)
{
	b->start = now_ns();
	b->count_from = b->start + (uint64_t)(b->opt.ramp * 1e9);
	b->until = UINT64_MAX;
	if (b->opt.seconds)
		b->until = b->count_from + (uint64_t)(b->opt.seconds * 1e9);
}

/* All of them, or those that there are stop again. */
static int start_threads(struct bench *b)
{
	int r = 0;

	while (!r && b->nr_running < b->opt.threads) {
		struct bench_thread *t = b->threads[b->nr_running];

		r = pthread_create(&t->id, NULL, run_thread, t);
		if (!r)
			b->nr_running++;
	}
	b->nr_threads = b->nr_running;
	b->stop = r != 0;
	set_times(b);
	set_go(b);
	return r;
}

static int join_threads(struct bench *b)
{
	int r = 0;

	for (unsigned i = 0; i < b->nr_threads; i++) {
		struct bench_thread *t = b->threads[i];

		pthread_join(t->id, NULL);
		if (t->result && !r) {
			r = t->result;
			b->err = t->err;
		}
	}
	return r;
}

/* True when all have ended before that. */
static bool wait_until(struct bench *b, uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};
	bool ended;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	while (b->nr_running && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&b->changed, &b->lock, &ts);
	ended = !b->nr_running;
	pthread_mutex_unlock(&b->lock);
	return ended;
}

static uint64_t completed(const struct bench *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->opt.threads; i++)
		sum += __atomic_load_n(&b->threads[i]->completed,
				       __ATOMIC_RELAXED);
	return sum;
}

/*
 * The rate of each part of the run, when the part is over; of several at once
 * if the machine took the CPU away for so long.
 */
static void sample(struct bench *b)
{
	uint64_t part = (b->until - b->count_from) / BENCH_SAMPLES, now, sum;
	uint64_t since = b->count_from, next = since + part, count = 0;
	bool ended = !part;

	while (!ended && b->nr_samples < BENCH_SAMPLES) {
		ended = wait_until(b, next);
		now = now_ns();
		sum = completed(b);
		if (now - since < part / 2)
			break;		/* what --ios has cut off */
		b->samples[b->nr_samples++] = (double)(sum - count) * 1e9 /
					      (double)(now - since);
		since = now;
		count = sum;
		while (next <= now)
			next += part;
	}
}

/* -- the run ----------------------------------------------------------- */

static double own_cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static int timed_run(struct bench *b)
{
	struct server_processes server;
	double own, other;
	int r;

	server_find(b->client, &server);
	r = start_threads(b);
	if (r) {
		join_threads(b);
		return ob_fail(&b->err, r, "a thread: %s", strerror(r));
	}
	if (b->opt.ramp)
		wait_until(b, b->count_from);
	own = own_cpu_seconds();
	other = server_cpu_seconds(&server);
	if (b->opt.seconds)
		sample(b);
	wait_until(b, INT64_MAX);
	b->elapsed = (double)(int64_t)(now_ns() - b->count_from) / 1e9;
	b->client_cpu = (own_cpu_seconds() - own) / b->elapsed;
	b->server_cpu = (server_cpu_seconds(&server) - other) / b->elapsed;
	r = join_threads(b);
	if (!b->nr_samples)
		b->samples[b->nr_samples++] = (double)completed(b) / b->elapsed;
	return r;
}

static void add_direction(const struct bench *b, struct bench_direction *into,
			  const struct bench_direction *from)
{
	if (from->errors && !into->errors) {
		into->first_bad_lba = from->first_bad_lba;
		into->first_status = from->first_status;
	}
	into->errors += from->errors;
	hist_merge(&into->latency, &from->latency);
	for (unsigned i = 0; i < b->opt.nr_sizes; i++) {
		into->by_size[i] += from->by_size[i];
		into->bytes += from->by_size[i] * b->opt.sizes[i];
	}
}

static void add_up(struct bench *b)
{
	for (unsigned i = 0; i < b->opt.threads; i++) {
		const struct bench_thread *t = b->threads[i];

		for (unsigned dir = 0; dir < BENCH_NR_DIRS; dir++)
			add_direction(b, &b->dirs[dir], &t->dirs[dir]);
		b->checked += t->verify.checked;
		b->unknown += t->verify.unknown;
		hist_merge(&b->registers, &t->registers);
		b->looks += t->looks;
		b->empty_looks += t->empty_looks;
	}
}

/* Every thread's part, by one thread after the other. */
static int read_back(struct bench *b)
{
	int r = 0;

	for (unsigned i = 0; !r && i < b->opt.threads; i++) {
		struct bench_thread *t = b->threads[i];

		t->reading_back = true;
		t->next = t->first;
		t->left = UINT64_MAX;
		r = bench_engine(t);
		if (r)
			b->err = t->err;
	}
	return r;
}

/* The client answers, should it be asked, and nothing else. */
static int do_nothing(struct bench *b, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	int r = 0;

	for (uint64_t now = end - ns; !r && now < end; now = now_ns()) {
		r = ob_client_poll(b->client, (int)((end - now) / 1000000) + 1,
				   &b->err);
		r = r < 0 ? r : 0;
	}
	return r;
}

/* It falls asleep first, and is seen to: that is no rest yet. */
static int stay_idle(struct bench *b)
{
	struct server_activity before, after;
	struct server_processes server;
	uint64_t start;
	int r = do_nothing(b, SETTLE_NS);

	if (r)
		return r;
	server_find(b->client, &server);
	server_activity(&server, &before);
	start = now_ns();
	r = do_nothing(b, (uint64_t)(b->opt.idle * 1e9));
	server_activity(&server, &after);
	b->idle_cpu = (double)(after.ns - before.ns) / (double)(now_ns() - start);
	b->idle_wakeups = after.turns - before.turns;
	return r;
}

int bench_run(struct bench *b)
{
	pthread_condattr_t attr;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->changed, &attr);
	pthread_mutex_init(&b->lock, NULL);
	r = timed_run(b);
	if (!r && b->opt.verify && !bench_reads_only(b))
		r = read_back(b);
	add_up(b);
	if (!r && b->opt.idle && b->client)
		r = stay_idle(b);
	return r;
}
