// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard bench-mmio: how fast registers answer, and how near that is to
 * what this machine's sockets allow.
 *
 * Each row is measured in rounds that alternate with its floor, so that what
 * disturbs the machine disturbs both.  A row's rate is the median of its
 * rounds; its ratio is the median of the rounds' ratios, each of two
 * neighbours in time.  The floor's other process runs on the CPUs on which
 * the server runs, found through the socket's credentials.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/option.h>

#include "connect.h"
#include "floor.h"
#include "hist.h"
#include "report.h"
#include "server_process.h"
#include "socket_args.h"
#include "tools.h"

#define HEAD 32u		/* header and access header on the wire */
#define BATCH 512u		/* posted writes in one call */
#define MAX_ROUNDS 101u
#define BUSY_SHARE 0.3		/* of a CPU, with nothing to do: it spins */

enum mode { MODE_AUTO, MODE_SPIN, MODE_BLOCK };

struct options {
	double seconds;
	unsigned rounds;
	enum mode mode;
	uint64_t region, offset;
	bool region_set, json;
};

struct bench {
	struct options opt;
	struct ob_client *client;
	uint32_t region;
	uint64_t offset;
	bool spin, has_page;
	uint32_t value;			/* what the register holds */
	struct server_processes server;
	cpu_set_t server_cpus, own_cpus;
	struct ob_client_reg_write writes[BATCH];
	struct ob_err err;
};

/* One kind of access; posted ones have a batch and no reply. */
struct row {
	const char *name;
	size_t request, reply;
	unsigned batch;
	int (*run)(struct bench *bench);
};

struct series {
	double rates[MAX_ROUNDS];
	struct hist hist;
};

static int read_word(struct bench *b)
{
	uint32_t value;

	return ob_client_read(b->client, b->region, b->offset, &value,
			      sizeof(value), &b->err);
}

static int read_page(struct bench *b)
{
	uint8_t page[4096];

	return ob_client_read(b->client, b->region, 0, page, sizeof(page),
			      &b->err);
}

static int write_word(struct bench *b)
{
	return ob_client_write(b->client, b->region, b->offset, &b->value,
			       sizeof(b->value), &b->err);
}

static int post_word(struct bench *b)
{
	return ob_client_post(b->client, b->writes, 1, &b->err);
}

static int post_batch(struct bench *b)
{
	return ob_client_post(b->client, b->writes, BATCH, &b->err);
}

static const struct row rows[] = {
	{ "read 4 B", HEAD, HEAD + 4, 0, read_word },
	{ "read 4 KiB", HEAD, HEAD + 4096, 0, read_page },
	{ "write 4 B", HEAD + 4, HEAD, 0, write_word },
	{ "posted write", HEAD + 4, 0, 1, post_word },
	{ "posted, batched", HEAD + 4, 0, BATCH, post_batch },
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

/* What is measured, as seen by the loops below: the server or the floor. */
struct subject {
	int (*step)(void *arg);		/* one exchange, or one batch */
	int (*barrier)(void *arg);
	void *arg;
};

struct server_arg {
	struct bench *bench;
	const struct row *row;
};

static int server_step(void *arg)
{
	struct server_arg *server = arg;

	return server->row->run(server->bench);
}

static int server_barrier(void *arg)
{
	return read_word(((struct server_arg *)arg)->bench);
}

struct floor_arg {
	struct floor *floor;
	unsigned batch;
};

/* A batch goes out in as many sends as the client library makes of it. */
static int floor_step(void *arg)
{
	struct floor_arg *f = arg;
	unsigned left = f->batch;
	unsigned most = (unsigned)(FLOOR_MAX_BATCH / f->floor->request);
	int r = left ? 0 : floor_exchange(f->floor);

	while (!r && left) {
		unsigned n = left < most ? left : most;

		r = floor_post(f->floor, n);
		left -= n;
	}
	return r;
}

static int floor_end(void *arg)
{
	return floor_barrier(((struct floor_arg *)arg)->floor);
}

/* Exchanges for ns; the clock is read once per exchange. */
static int time_exchanges(const struct subject *s, uint64_t ns,
			  struct hist *hist, double *rate)
{
	uint64_t start = now_ns(), last = start, now, count = 0;

	do {
		int r = s->step(s->arg);

		if (r)
			return r;
		now = now_ns();
		hist_add(hist, now - last);
		last = now;
		count++;
	} while (now - start < ns);
	*rate = (double)count * 1e9 / (double)(now - start);
	return 0;
}

/* Posts for ns, then waits until all was taken: that time counts too. */
static int time_posts(const struct subject *s, unsigned batch, uint64_t ns,
		      double *rate)
{
	unsigned per_clock = batch > 64 ? 1 : 64;
	uint64_t start = now_ns(), count = 0;
	int r = 0;

	do {
		for (unsigned i = 0; i < per_clock && !r; i++)
			r = s->step(s->arg);
		count += (uint64_t)per_clock * batch;
	} while (!r && now_ns() - start < ns);
	if (!r)
		r = s->barrier(s->arg);
	*rate = (double)count * 1e9 / (double)(now_ns() - start);
	return r;
}

static int run_slice(const struct subject *s, const struct row *row,
		     uint64_t ns, struct hist *hist, double *rate)
{
	return row->batch ? time_posts(s, row->batch, ns, rate)
			  : time_exchanges(s, ns, hist, rate);
}

static int run_rounds(struct bench *b, const struct row *row,
		      struct floor *floor, struct series *server,
		      struct series *base)
{
	struct server_arg server_arg = { b, row };
	struct floor_arg floor_arg = { floor, row->batch };
	struct subject subjects[] = {
		{ floor_step, floor_end, &floor_arg },
		{ server_step, server_barrier, &server_arg },
	};
	uint64_t ns = (uint64_t)(b->opt.seconds * 1e9 /
				 (double)(2 * NR_ROWS * b->opt.rounds));
	int r = 0;

	for (unsigned i = 0; i < b->opt.rounds && !r; i++) {
		r = run_slice(&subjects[0], row, ns, &base->hist,
			      &base->rates[i]);
		if (r)
			return ob_fail(&b->err, -r, "the floor: %s",
				       strerror(-r));
		r = run_slice(&subjects[1], row, ns, &server->hist,
			      &server->rates[i]);
	}
	return r;
}

/* {median, min, max}; values is sorted. */
static json_t *describe_spread(double *values, unsigned count)
{
	double middle = median(values, count);

	return json_pack("{s:f, s:f, s:f}", "median", middle, "min",
			 values[0], "max", values[count - 1]);
}

static json_t *describe_series(struct series *series, unsigned rounds)
{
	json_t *obj = json_pack("{s:o}", "rate",
				describe_spread(series->rates, rounds));

	if (series->hist.count) {
		json_object_set_new(obj, "p50_ns", json_integer(
			(json_int_t)hist_percentile(&series->hist, 0.5)));
		json_object_set_new(obj, "p99_ns", json_integer(
			(json_int_t)hist_percentile(&series->hist, 0.99)));
	}
	return obj;
}

/* By the typical exchange: what a disturbed machine leaves as it was. */
static double p50_ratio(const struct series *server, const struct series *base)
{
	return (double)hist_percentile(&base->hist, 0.5) /
	       (double)hist_percentile(&server->hist, 0.5);
}

static json_t *describe_row(const struct bench *b, const struct row *row,
			    struct series *server, struct series *base)
{
	double ratios[MAX_ROUNDS];
	json_t *obj;

	for (unsigned i = 0; i < b->opt.rounds; i++)
		ratios[i] = server->rates[i] / base->rates[i];
	obj = json_pack("{s:s, s:o, s:o, s:o}", "name", row->name, "server",
			describe_series(server, b->opt.rounds), "floor",
			describe_series(base, b->opt.rounds), "ratio",
			describe_spread(ratios, b->opt.rounds));
	if (server->hist.count && base->hist.count)
		json_object_set_new(obj, "ratio_p50",
				    json_real(p50_ratio(server, base)));
	return obj;
}

static int measure_row(struct bench *b, const struct row *row, json_t *list)
{
	struct series *server = calloc(2, sizeof(*server)), *base = server + 1;
	struct floor floor;
	int r;

	if (!server)
		return ob_fail(&b->err, ENOMEM, "out of memory");
	r = floor_start(&floor, row->request, row->reply, b->spin,
			&b->server_cpus, &b->err);
	if (!r) {
		r = run_rounds(b, row, &floor, server, base);
		floor_stop(&floor);
	}
	if (!r)
		json_array_append_new(list, describe_row(b, row, server,
							 base));
	free(server);
	return r;
}

/* A server that burns its CPU while nobody asks it anything spins. */
static bool server_spins(const struct server_processes *server)
{
	uint64_t start = now_ns();
	double before = server_cpu_seconds(server);

	usleep(300000);
	return server_cpu_seconds(server) - before >
	       BUSY_SHARE * (double)(now_ns() - start) / 1e9;
}

static int find_region(struct bench *b)
{
	const struct ob_client_region *info = NULL;
	uint32_t first = b->opt.region_set ? (uint32_t)b->opt.region : 0;
	uint32_t last = b->opt.region_set ? first : 5;
	int r;

	for (uint32_t i = first; i <= last; i++) {
		r = ob_client_region_info(b->client, i, &info, &b->err);
		if (r)
			return r;
		if (info->size >= 4 && b->opt.offset <= info->size - 4) {
			b->region = i;
			b->offset = b->opt.offset;
			b->has_page = info->size >= 4096;
			return 0;
		}
	}
	return ob_fail(&b->err, ENXIO,
		       "there is no such register to measure");
}

static int prepare(struct bench *b)
{
	int r = find_region(b);

	if (r)
		return r;
	server_find(b->client, &b->server);
	server_cpus(&b->server, &b->server_cpus);
	sched_getaffinity(0, sizeof(b->own_cpus), &b->own_cpus);
	r = ob_client_read(b->client, b->region, b->offset, &b->value,
			   sizeof(b->value), &b->err);
	if (r)
		return r;
	for (unsigned i = 0; i < BATCH; i++)
		b->writes[i] = (struct ob_client_reg_write){
			.region = b->region, .offset = b->offset, .len = 4,
			.value = b->value,
		};
	b->spin = b->opt.mode == MODE_SPIN ||
		  (b->opt.mode == MODE_AUTO && server_spins(&b->server));
	ob_client_set_spin(b->client, b->spin);
	return 0;
}

static json_t *describe_cpus(const cpu_set_t *cpus)
{
	json_t *list = json_array();

	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, cpus))
			json_array_append_new(list, json_integer(i));
	return list;
}

static json_t *describe_setup(const struct bench *b)
{
	return json_pack("{s:I, s:I, s:s, s:i, s:f, s:o, s:o}",
			 "region", (json_int_t)b->region, "offset",
			 (json_int_t)b->offset, "mode",
			 b->spin ? "spin" : "block", "rounds",
			 (int)b->opt.rounds, "seconds", b->opt.seconds,
			 "client_cpus", describe_cpus(&b->own_cpus),
			 "server_cpus", describe_cpus(&b->server_cpus));
}

static double number(json_t *obj, const char *key, const char *sub)
{
	json_t *value = json_object_get(obj, key);

	return json_number_value(sub ? json_object_get(value, sub) : value);
}

static void print_latency(json_t *series)
{
	if (json_object_get(series, "p50_ns"))
		printf(" %7.2f %7.2f", number(series, "p50_ns", NULL) / 1e3,
		       number(series, "p99_ns", NULL) / 1e3);
	else
		printf(" %7s %7s", "-", "-");
}

static void print_series(json_t *series)
{
	char spread[40];

	snprintf(spread, sizeof(spread), "(%.0f..%.0f)",
		 number(series, "rate", "min") / 1e3,
		 number(series, "rate", "max") / 1e3);
	printf(" %9.1f %-14s", number(series, "rate", "median") / 1e3, spread);
	print_latency(series);
}

static void print_ratio(json_t *row)
{
	printf("   %4.2f (%.2f..%.2f)", number(row, "ratio", "median"),
	       number(row, "ratio", "min"), number(row, "ratio", "max"));
	if (json_object_get(row, "ratio_p50"))
		printf(" %4.2f by p50", number(row, "ratio_p50", NULL));
	putchar('\n');
}

static void print_cpus(const char *who, const cpu_set_t *cpus)
{
	const char *separator = " ";

	printf("%s on CPU", who);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, cpus)) {
			printf("%s%d", separator, i);
			separator = ",";
		}
}

static void print_table(const struct bench *b, json_t *list)
{
	json_t *row;
	size_t i;

	printf("Register %u:0x%llx, %s, ", b->region,
	       (unsigned long long)b->offset,
	       b->spin ? "both sides spin" : "both sides sleep");
	print_cpus("server", &b->server_cpus);
	print_cpus(", client", &b->own_cpus);
	printf(".\nThousands a second, median (min..max) of %u rounds; "
	       "latency in microseconds.\n\n", b->opt.rounds);
	printf("%-16s %9s %-14s %7s %7s %10s %-14s %7s %7s %6s\n", "",
	       "server", "", "p50", "p99", "floor", "", "p50", "p99",
	       "ratio");
	json_array_foreach(list, i, row) {
		printf("%-16s", json_string_value(json_object_get(row,
								  "name")));
		print_series(json_object_get(row, "server"));
		print_series(json_object_get(row, "floor"));
		print_ratio(row);
	}
}

static int measure(struct bench *b)
{
	json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; i < NR_ROWS && !r; i++)
		if (rows[i].run != read_page || b->has_page)
			r = measure_row(b, &rows[i], list);
	if (!r && b->opt.json) {
		r = report_print(stdout, json_pack("{s:o, s:O}", "setup",
						   describe_setup(b), "rows",
						   list), true, &b->err);
	} else if (!r) {
		print_table(b, list);
		if (fflush(stdout) || ferror(stdout))
			r = ob_fail(&b->err, EIO, "cannot write the report");
	}
	json_decref(list);
	return r;
}

static int set_time(void *into, const char *value, struct ob_err *err)
{
	struct options *opt = into;

	return tool_parse_seconds(value, &opt->seconds, err);
}

static int set_rounds(void *into, const char *value, struct ob_err *err)
{
	struct options *opt = into;
	uint64_t n;

	if (ob_parse_size(value, &n, NULL) || n < 5 || n > MAX_ROUNDS)
		return ob_fail(err, EINVAL, "5 to %u, not '%s'", MAX_ROUNDS,
			       value);
	opt->rounds = (unsigned)n;
	return 0;
}

static int set_mode(void *into, const char *value, struct ob_err *err)
{
	static const char *const names[] = { "auto", "spin", "block" };
	struct options *opt = into;

	for (unsigned i = 0; i < 3; i++)
		if (!strcmp(value, names[i])) {
			opt->mode = (enum mode)i;
			return 0;
		}
	return ob_fail(err, EINVAL, "auto, spin or block, not '%s'", value);
}

static int set_region(void *into, const char *value, struct ob_err *err)
{
	struct options *opt = into;

	opt->region_set = true;
	return tool_parse_number(value, &opt->region, err);
}

static int set_offset(void *into, const char *value, struct ob_err *err)
{
	return tool_parse_number(value, &((struct options *)into)->offset, err);
}

OB_ARG_FLAG(json, struct options, json)

static const struct ob_arg args[] = {
	{ "time", "SECONDS", "how long in all (default 10)", set_time },
	{ "rounds", "N", "rounds of each row, 5 to 101 (default 15)", set_rounds },
	{ "mode", "auto|spin|block",
	  "how to wait (default: as the server does)", set_mode },
	{ "region", "N", "region to use (default: the first BAR)",
	  set_region },
	{ "offset", "OFFSET", "register to use (default 0)", set_offset },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_bench_mmio_help(FILE *out)
{
	ob_args_help(args, out);
}

int tool_bench_mmio(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	const char *path;
	int r;

	if (!b)
		return tool_failed("bench-mmio",
				   &(struct ob_err){ "out of memory" });
	b->opt.seconds = 10;
	b->opt.rounds = 15;
	if (tool_socket_args(args, &b->opt, argc, argv, &path)) {
		free(b);
		return TOOL_USAGE;
	}
	r = tool_connect(path, &b->client, &b->err);
	if (!r)
		r = prepare(b);
	if (!r)
		r = measure(b);
	r = r ? tool_failed("bench-mmio", &b->err) : TOOL_OK;
	ob_client_destroy(b->client);
	free(b);
	return r;
}
