// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "bench.h"
#include "report.h"

static const struct {
	double fraction;
	const char *name;
} percentiles[] = {
	{ 0.5, "p50" }, { 0.9, "p90" }, { 0.99, "p99" }, { 0.999, "p99.9" },
	{ 0.9999, "p99.99" },
};
#define NR_PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

static double micro(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void set_number(json_t *obj, json_t *value, uint64_t name)
{
	char key[24];

	snprintf(key, sizeof(key), "%" PRIu64, name);
	json_object_set_new(obj, key, value);
}

/* The middle of each bucket in nanoseconds, and how many were in it. */
static json_t *describe_bins(const struct hist *h)
{
	json_t *bins = json_object();

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		if (h->buckets[i])
			set_number(bins, json_integer((json_int_t)h->buckets[i]),
				   hist_value(i));
	return bins;
}

static json_t *describe_latency(const struct hist *h)
{
	json_t *latency = json_pack("{s:f, s:f, s:f}",
				    "avg", hist_mean(h) / 1e3, "min",
				    micro(h->min), "max", micro(h->max));

	for (unsigned i = 0; i < NR_PERCENTILES; i++)
		json_object_set_new(latency, percentiles[i].name,
			json_real(micro(hist_percentile(
				h, percentiles[i].fraction))));
	return latency;
}

static json_t *describe_direction(const struct bench *b,
				  const struct bench_direction *dir)
{
	const struct hist *h = &dir->latency;
	json_t *sizes = json_object();

	for (unsigned i = 0; i < b->opt.nr_sizes; i++)
		set_number(sizes, json_integer((json_int_t)dir->by_size[i]),
			   b->opt.sizes[i]);
	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o}",
			 "ios", (json_int_t)h->count, "errors",
			 (json_int_t)dir->errors,
			 "bytes", (json_int_t)dir->bytes,
			 "iops", (double)h->count / b->elapsed,
			 "bytes_per_second", (double)dir->bytes / b->elapsed,
			 "ios_by_size", sizes,
			 "latency_us", describe_latency(h),
			 "latency_bins_ns", describe_bins(h));
}

static json_t *describe_samples(struct bench *b)
{
	double middle = b->nr_samples ? median(b->samples, b->nr_samples) : 0;

	return json_pack("{s:f, s:f, s:f}", "median", middle, "min",
			 b->nr_samples ? b->samples[0] : 0.0, "max",
			 b->nr_samples ? b->samples[b->nr_samples - 1] : 0.0);
}

/* How the device is used, beside the I/O itself. */
static void describe_ways(const struct bench *b, json_t *job)
{
	json_object_set_new(job, "completion", json_string(
		b->opt.interrupts ? "interrupt" : "poll"));
	json_object_set_new(job, "dirty_log", json_boolean(b->opt.dirty_log));
}

static json_t *describe_job(const struct bench *b)
{
	static const char *const how[] = {
		"mapped", "posted", "answered", "called",
	};
	const struct nvme_user *nvme = b->nvme;
	json_t *job;

	job = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:f, s:f, s:f, s:s, s:b}",
			 "rw", bench_rw_names[b->opt.rw], "floor",
			 bench_floor_names[b->opt.floor], "model", nvme->model,
			 "serial", nvme->serial, "bs", b->opt.bs,
			 "read_percent", (json_int_t)b->opt.mix, "depth",
			 (json_int_t)b->opt.depth, "queues",
			 (json_int_t)b->opt.queues, "threads",
			 (json_int_t)b->opt.threads, "nsid",
			 (json_int_t)b->opt.nsid, "size",
			 (json_int_t)(b->nr_units * b->unit),
			 "seconds", b->elapsed, "ramp_seconds", b->opt.ramp,
			 "rate_limit", b->opt.rate, "doorbells",
			 how[nvme->how], "shadow_doorbells", nvme->shadow);
	describe_ways(b, job);
	return job;
}

static uint64_t doorbell_writes(const struct bench *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->opt.queues; i++)
		sum += b->nvme->queues[i].doorbell_writes;
	return sum;
}

static uint64_t total(const struct bench *b)
{
	return b->dirs[BENCH_DIR_READ].latency.count +
	       b->dirs[BENCH_DIR_WRITE].latency.count;
}

/* Looks that found nothing are time that the client had to spare. */
static json_t *describe_client(const struct bench *b)
{
	uint64_t found = b->looks - b->empty_looks;

	return json_pack("{s:I, s:f, s:f}", "looks", (json_int_t)b->looks,
			 "empty_share", b->looks ? (double)b->empty_looks /
						   (double)b->looks : 0.0,
			 "found_per_look", found ? (double)total(b) /
						   (double)found : 0.0);
}

static void add_rest(const struct bench *b, json_t *tree)
{
	static const char *const names[] = { "read", "write" };

	for (unsigned dir = 0; dir < BENCH_NR_DIRS; dir++)
		if (b->dirs[dir].latency.count || b->dirs[dir].errors)
			json_object_set_new(tree, names[dir],
				describe_direction(b, &b->dirs[dir]));
	if (b->opt.verify)
		json_object_set_new(tree, "verify",
			json_pack("{s:I, s:I, s:o}", "sectors_checked",
				  (json_int_t)b->checked,
				  "sectors_of_other_origin",
				  (json_int_t)b->unknown, "seed",
				  json_sprintf("0x%" PRIx64, b->opt.seed)));
	if (b->opt.registers)
		json_object_set_new(tree, "registers",
			json_pack("{s:I, s:o}", "count",
				  (json_int_t)b->registers.count, "latency_us",
				  describe_latency(&b->registers)));
	if (b->opt.idle && b->client)
		json_object_set_new(tree, "idle",
			json_pack("{s:f, s:f, s:I}", "seconds", b->opt.idle,
				  "server_cpus", b->idle_cpu, "server_wakeups",
				  (json_int_t)b->idle_wakeups));
}

static json_t *describe(struct bench *b)
{
	json_t *tree = json_pack("{s:o, s:o, s:f, s:f, s:f, s:o}",
		"job", describe_job(b), "iops_over_time", describe_samples(b),
		"client_cpus", b->client_cpu, "server_cpus", b->server_cpu,
		"doorbells_per_io", total(b) ? (double)doorbell_writes(b) /
					       (double)total(b) : 0.0,
		"client", describe_client(b));

	add_rest(b, tree);
	return tree;
}

static double number(json_t *obj, const char *key)
{
	return json_number_value(json_object_get(obj, key));
}

/* Where there is a mix of them. */
static void print_sizes(json_t *sizes)
{
	char text[REPORT_SIZE_MAX];
	const char *key;
	json_t *count;

	if (json_object_size(sizes) < 2)
		return;
	printf("        ");
	json_object_foreach(sizes, key, count)
		printf(" %s: %.0f", report_size(strtoull(key, NULL, 10), text),
		       json_number_value(count));
	printf("\n");
}

static void print_latency(json_t *lat)
{
	printf("latency us: avg %.1f, min %.1f", number(lat, "avg"),
	       number(lat, "min"));
	for (unsigned i = 0; i < NR_PERCENTILES; i++)
		printf(", %s %.1f", percentiles[i].name,
		       number(lat, percentiles[i].name));
	printf(", max %.1f\n", number(lat, "max"));
}

static void print_direction(const char *name, json_t *dir)
{
	json_t *lat = json_object_get(dir, "latency_us");

	if (!dir)
		return;
	printf("  %-5s  IOPS %.1fk, %.1f MiB/s, %.0f I/Os, %.0f errors\n",
	       name, number(dir, "iops") / 1e3,
	       number(dir, "bytes_per_second") / (1 << 20),
	       number(dir, "ios"), number(dir, "errors"));
	printf("         ");
	print_latency(lat);
	print_sizes(json_object_get(dir, "ios_by_size"));
}

static void print_head(const struct bench *b)
{
	char size[REPORT_SIZE_MAX];

	printf("%s%s%s: ", bench_floor_names[b->opt.floor],
	       b->opt.floor ? " alone, " : "", bench_rw_names[b->opt.rw]);
	printf("%s blocks in %s of namespace %" PRIu64 ", %" PRIu64
	       " queue(s) of depth %" PRIu64 ", %" PRIu64 " thread(s), %.1f s\n",
	       b->opt.bs, report_size(b->nr_units * b->unit, size), b->opt.nsid,
	       b->opt.queues, b->opt.depth, b->opt.threads, b->elapsed);
}

static void print_rate(const struct bench *b, json_t *tree)
{
	json_t *spread = json_object_get(tree, "iops_over_time");

	printf("  rate   median %.1fk IOPS (%.1fk to %.1fk) over %u part(s) of "
	       "the run\n", number(spread, "median") / 1e3,
	       number(spread, "min") / 1e3, number(spread, "max") / 1e3,
	       b->nr_samples);
}

static void print_device(const struct bench *b, json_t *tree)
{
	json_t *job = json_object_get(tree, "job");
	json_t *client = json_object_get(tree, "client");

	if (b->opt.floor)
		return;
	printf("  cpu    client %.0f %%, server %.0f %%; %s doorbells%s, "
	       "%.2f written per I/O; %s\n",
	       100 * b->client_cpu, 100 * b->server_cpu,
	       json_string_value(json_object_get(job, "doorbells")),
	       b->nvme->shadow ? " with shadow" : "",
	       number(tree, "doorbells_per_io"),
	       b->opt.interrupts ? "interrupts" : "completions polled");
	printf("  client looked %" PRIu64 " times, %.0f %% of them for nothing, "
	       "and found %.1f at once\n", b->looks,
	       100 * number(client, "empty_share"),
	       number(client, "found_per_look"));
	if (b->opt.registers) {
		printf("  registers %" PRIu64 " read, ", b->registers.count);
		print_latency(json_object_get(json_object_get(tree, "registers"),
					      "latency_us"));
	}
	if (b->opt.idle)
		printf("  idle   server %.3f %%, woken %" PRIu64 " times in "
		       "%.1f s\n", 100 * b->idle_cpu, b->idle_wakeups,
		       b->opt.idle);
	if (b->opt.verify)
		printf("  verify %" PRIu64 " sectors as written, %" PRIu64
		       " not ours to judge, seed 0x%" PRIx64 "\n",
		       b->checked, b->unknown, b->opt.seed);
}

static void print_text(const struct bench *b, json_t *tree)
{
	print_head(b);
	print_direction("read", json_object_get(tree, "read"));
	print_direction("write", json_object_get(tree, "write"));
	print_rate(b, tree);
	print_device(b, tree);
}

int bench_report(struct bench *b)
{
	json_t *tree = describe(b);

	if (b->opt.json)
		return report_print(stdout, tree, true, &b->err);
	print_text(b, tree);
	json_decref(tree);
	if (fflush(stdout) || ferror(stdout))
		return ob_fail(&b->err, EIO, "cannot write the report");
	return 0;
}
