// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <inttypes.h>

#include "bench.h"
#include "report.h"

static const double fractions[] = { 0.5, 0.99, 0.999 };
static const char *const fraction_names[] = { "p50", "p99", "p99.9" };

static double micro(uint64_t ns)
{
	return (double)ns / 1e3;
}

static json_t *describe_direction(const struct bench *b,
				  const struct bench_direction *dir)
{
	const struct hist *h = &dir->latency;
	double rate = (double)h->count / b->elapsed;
	json_t *latency = json_pack("{s:f, s:f, s:f}",
				    "avg", hist_mean(h) / 1e3, "min",
				    micro(h->min), "max", micro(h->max));

	for (unsigned i = 0; i < 3; i++)
		json_object_set_new(latency, fraction_names[i],
			json_real(micro(hist_percentile(h, fractions[i]))));
	return json_pack("{s:I, s:I, s:f, s:f, s:o}",
			 "ios", (json_int_t)h->count, "errors",
			 (json_int_t)dir->errors, "iops", rate,
			 "bytes_per_second",
			 rate * (double)b->opt.block_size, "latency_us",
			 latency);
}

static json_t *describe_samples(struct bench *b)
{
	double middle = b->nr_samples ? median(b->samples, b->nr_samples) : 0;

	return json_pack("{s:f, s:f, s:f}", "median", middle, "min",
			 b->nr_samples ? b->samples[0] : 0.0, "max",
			 b->nr_samples ? b->samples[b->nr_samples - 1] : 0.0);
}

static json_t *describe_job(const struct bench *b)
{
	static const char *const how[] = { "mapped", "posted", "answered" };
	const struct nvme_user *nvme = b->nvme;

	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:s, "
			 "s:b, s:s}",
			 "rw", bench_rw_names[b->opt.rw], "model", nvme->model,
			 "serial", nvme->serial, "block_size",
			 (json_int_t)b->opt.block_size, "depth",
			 (json_int_t)b->opt.depth, "queues",
			 (json_int_t)b->opt.queues, "nsid",
			 (json_int_t)b->opt.nsid, "size",
			 (json_int_t)(b->nr_blocks * b->opt.block_size),
			 "seconds", b->elapsed, "doorbells", how[nvme->how],
			 "shadow_doorbells", nvme->shadow, "completion",
			 b->opt.interrupts ? "interrupt" : "poll");
}

static json_t *describe(struct bench *b)
{
	json_t *tree = json_pack("{s:o, s:o, s:f, s:f, s:f}",
		"job", describe_job(b), "iops_over_time", describe_samples(b),
		"client_cpus", b->client_cpu, "server_cpus", b->server_cpu,
		"doorbells_per_io", b->completed
			? (double)b->nvme->doorbell_writes /
			  (double)b->completed : 0.0);

	if (b->read.latency.count)
		json_object_set_new(tree, "read",
				    describe_direction(b, &b->read));
	if (b->write.latency.count)
		json_object_set_new(tree, "write",
				    describe_direction(b, &b->write));
	if (b->opt.verify)
		json_object_set_new(tree, "verify",
			json_pack("{s:I, s:I, s:o}", "sectors_checked",
				  (json_int_t)b->verify.checked,
				  "sectors_of_other_origin",
				  (json_int_t)b->verify.unknown, "seed",
				  json_sprintf("0x%" PRIx64, b->opt.seed)));
	return tree;
}

static double number(json_t *obj, const char *key)
{
	return json_number_value(json_object_get(obj, key));
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
	printf("         latency us: avg %.1f, p50 %.1f, p99 %.1f, "
	       "p99.9 %.1f, min %.1f, max %.1f\n",
	       number(lat, "avg"), number(lat, "p50"), number(lat, "p99"),
	       number(lat, "p99.9"), number(lat, "min"), number(lat, "max"));
}

static void print_text(const struct bench *b, json_t *tree)
{
	json_t *spread = json_object_get(tree, "iops_over_time");
	json_t *job = json_object_get(tree, "job");
	char bs[REPORT_SIZE_MAX], size[REPORT_SIZE_MAX];

	printf("%s: %s blocks in %s of namespace %" PRIu64 ", %" PRIu64
	       " queue(s) of depth %" PRIu64 ", %.1f s\n",
	       bench_rw_names[b->opt.rw],
	       report_size(b->opt.block_size, bs),
	       report_size(b->nr_blocks * b->opt.block_size, size),
	       b->opt.nsid, b->opt.queues, b->opt.depth, b->elapsed);
	print_direction("read", json_object_get(tree, "read"));
	print_direction("write", json_object_get(tree, "write"));
	printf("  rate   median %.1fk IOPS (%.1fk to %.1fk) over %u parts of "
	       "the run\n", number(spread, "median") / 1e3,
	       number(spread, "min") / 1e3, number(spread, "max") / 1e3,
	       b->nr_samples);
	printf("  cpu    client %.0f %%, server %.0f %%; %s doorbells%s, "
	       "%.2f written per I/O; %s\n",
	       100 * b->client_cpu, 100 * b->server_cpu,
	       json_string_value(json_object_get(job, "doorbells")),
	       b->nvme->shadow ? " with shadow" : "",
	       number(tree, "doorbells_per_io"),
	       b->opt.interrupts ? "interrupts" : "completions polled");
	if (b->opt.verify)
		printf("  verify %" PRIu64 " sectors as written, %" PRIu64
		       " not ours to judge, seed 0x%" PRIx64 "\n",
		       b->verify.checked, b->verify.unknown, b->opt.seed);
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
