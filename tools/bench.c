// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard bench: I/O on a served NVMe disk through the driver in user space,
 * with a summary like fio's and, with --verify, proof that what is read is
 * what was written; or what the same would cost without a device.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bench.h"
#include "connect.h"
#include "report.h"
#include "tools.h"

#define FLOOR_SIZE (1ull << 30)

void tool_bench_help(FILE *out)
{
	ob_args_help(bench_args, out);
}

static uint32_t greatest_divisor(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static int check_sizes(struct bench *b, uint32_t largest)
{
	const struct nvme_user *nvme = b->nvme;

	if (b->unit % nvme->lba_size)
		return ob_fail(&b->err, EINVAL,
			       "--bs is no multiple of the namespace's %u-byte "
			       "blocks", nvme->lba_size);
	if (nvme->max_transfer && largest > nvme->max_transfer)
		return ob_fail(&b->err, EINVAL,
			       "the device transfers at most %zu bytes at once",
			       nvme->max_transfer);
	return 0;
}

static uint32_t largest_size(const struct bench_options *opt)
{
	uint32_t largest = 0;

	for (unsigned i = 0; i < opt->nr_sizes; i++)
		if (opt->sizes[i] > largest)
			largest = opt->sizes[i];
	return largest;
}

/* Addresses are multiples of what divides all sizes. */
static int choose_range(struct bench *b)
{
	uint64_t bytes = b->nvme->lbas * b->nvme->lba_size;
	uint32_t largest = largest_size(&b->opt);
	int r;

	for (unsigned i = 0; i < b->opt.nr_sizes; i++)
		b->unit = greatest_divisor(b->opt.sizes[i], b->unit);
	r = check_sizes(b, largest);
	if (r)
		return r;
	if (b->opt.size && b->opt.size < bytes)
		bytes = b->opt.size;
	b->unit_sectors = b->unit / b->nvme->lba_size;
	for (unsigned i = 0; i < b->opt.nr_sizes; i++)
		b->units[i] = b->opt.sizes[i] / b->unit;
	b->max_units = largest / b->unit;
	b->nr_units = bytes / b->unit;
	if (b->nr_units / b->opt.threads < b->max_units)
		return ob_fail(&b->err, EINVAL,
			       "not one I/O of each thread fits into %" PRIu64
			       " bytes", bytes);
	return 0;
}

static int prepare_queues(struct bench *b)
{
	uint64_t depth = b->opt.depth;

	b->queues = calloc(b->opt.queues, sizeof(*b->queues));
	if (b->opt.verify)
		b->at_least = calloc(b->opt.queues * depth * b->max_units,
				     sizeof(*b->at_least));
	if (!b->queues || (b->opt.verify && !b->at_least))
		return ob_fail(&b->err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < b->opt.queues; i++) {
		struct bench_queue *q = &b->queues[i];

		q->nvme = &b->nvme->queues[i * bench_stride(&b->opt)];
		for (unsigned slot = 0; slot < depth; slot++) {
			q->free[q->nr_free++] = (uint16_t)slot;
			if (b->at_least)
				q->slots[slot].at_least = b->at_least +
					(i * depth + slot) * b->max_units;
		}
	}
	return 0;
}

static int prepare_verify(struct bench *b, struct bench_thread *t)
{
	if (!b->opt.verify)
		return 0;
	return verify_init(&t->verify, b->nr_units, b->nvme->lba_size,
			   b->unit_sectors, b->opt.seed, &b->err);
}

static int prepare_thread(struct bench *b, unsigned index)
{
	struct bench_thread *t = aligned_alloc(128, (sizeof(*t) + 127) &
					       ~(size_t)127);
	uint64_t part = b->nr_units / b->opt.threads, n = b->opt.threads;

	if (!t)
		return ob_fail(&b->err, ENOMEM, "out of memory");
	memset(t, 0, sizeof(*t));
	t->bench = b;
	t->index = index;
	t->random = b->opt.seed + index * 0x9e3779b97f4a7c15ull;
	t->random += !t->random;
	t->first = t->next = index * part;
	t->end = index + 1 == n ? b->nr_units : t->first + part;
	t->left = b->opt.ios ? b->opt.ios / n + (index < b->opt.ios % n)
			     : UINT64_MAX;
	t->pace.rate = b->opt.rate / (double)n;
	b->threads[index] = t;
	return prepare_verify(b, t);
}

static int prepare_threads(struct bench *b)
{
	int r = 0;

	b->threads = calloc(b->opt.threads, sizeof(struct bench_thread *));
	if (!b->threads)
		return ob_fail(&b->err, ENOMEM, "out of memory");
	for (unsigned i = 0; !r && i < b->opt.threads; i++)
		r = prepare_thread(b, i);
	return r;
}

/* path NULL: a floor. */
static int open_device(struct bench *b, const char *path)
{
	struct nvme_user_params params = {
		.queues = (unsigned)(b->opt.queues + b->opt.spare),
		.depth = (unsigned)b->opt.depth,
		.buffer_size = largest_size(&b->opt),
		.nsid = (uint32_t)b->opt.nsid,
		.shadow = !b->opt.no_shadow,
		.interrupts = b->opt.interrupts,
	};
	int r;

	if (!path)
		return nvme_user_open_self(&params,
					   b->opt.size ? b->opt.size
						       : FLOOR_SIZE,
					   &b->nvme, &b->err);
	r = tool_connect(path, &b->client, &b->err);
	return r ? r : nvme_user_open(b->client, &params, &b->nvme, &b->err);
}

static int prepare(struct bench *b, const char *path)
{
	int r = open_device(b, path);

	if (!r)
		r = choose_range(b);
	if (!r)
		r = prepare_queues(b);
	if (!r)
		r = prepare_threads(b);
	if (!r && b->opt.floor > BENCH_FLOOR_CLIENT)
		r = bench_memcpy_prepare(b);
	if (!r && b->opt.dirty_log)
		r = ob_client_log_start(b->client, 4096, NULL, 0, NULL,
					&b->err);
	if (!r && b->opt.registers)
		ob_client_set_spin(b->client, true);
	return r;
}

static void announce(const struct bench *b)
{
	char size[REPORT_SIZE_MAX];

	if (b->opt.floor)
		return;
	fprintf(stderr, "%s%s of namespace %" PRIu64 ", disk '%s' (%s)%s\n",
		bench_reads_only(b) ? "Reading " : "Overwriting the first ",
		report_size(b->nr_units * b->unit, size),
		b->opt.nsid, b->nvme->serial, b->nvme->model,
		b->opt.verify ? ", verifying" : "");
}

static int check_errors(struct bench *b, enum bench_dir dir, const char *name)
{
	const struct bench_direction *d = &b->dirs[dir];

	if (!d->errors)
		return 0;
	return ob_fail(&b->err, EIO,
		       "%" PRIu64 " %ss failed, the first at lba %" PRIu64
		       " with status 0x%03x", d->errors, name,
		       d->first_bad_lba, d->first_status);
}

static int run(struct bench *b, const char *path)
{
	int r = prepare(b, path), told;

	if (r)
		return r;
	if (!b->opt.json)
		announce(b);
	r = bench_run(b);
	told = b->elapsed > 0 ? bench_report(b) : 0;
	if (!r)
		r = told;
	if (!r)
		r = check_errors(b, BENCH_DIR_READ, "read");
	return r ? r : check_errors(b, BENCH_DIR_WRITE, "write");
}

static void destroy(struct bench *b)
{
	bench_memcpy_finish(b);
	if (b->opt.dirty_log && b->client)
		ob_client_log_stop(b->client, NULL);
	nvme_user_close(b->nvme);
	ob_client_destroy(b->client);
	for (unsigned i = 0; b->threads && i < b->opt.threads; i++) {
		if (b->threads[i])
			verify_finish(&b->threads[i]->verify);
		free(b->threads[i]);
	}
	free(b->threads);
	free(b->at_least);
	free(b->queues);
	free(b);
}

/* The SOCKET, which a floor has not; the index of it, or -EINVAL. */
static int parse(struct bench *b, int argc, char **argv)
{
	int first = ob_args_parse(bench_args, &b->opt, argc, argv, &b->err);
	int words = b->opt.floor ? 0 : 1;

	if (first < 0)
		return first;
	if (argc - first != words)
		return ob_fail(&b->err, EINVAL, words ? "exactly one SOCKET is "
			       "needed" : "--floor takes no SOCKET");
	return bench_args_check(&b->opt, &b->err) ? -EINVAL : first;
}

int tool_bench(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	int first, r;

	if (!b)
		return tool_failed("bench", &(struct ob_err){ "out of memory" });
	bench_defaults(&b->opt);
	if (getrandom(&b->opt.seed, sizeof(b->opt.seed), 0) < 0 ||
	    !b->opt.seed)
		b->opt.seed = now_ns();
	first = parse(b, argc, argv);
	if (first < 0)
		r = tool_misused("bench", &b->err);
	else
		r = run(b, b->opt.floor ? NULL : argv[first])
			    ? tool_failed("bench", &b->err) : TOOL_OK;
	destroy(b);
	return r;
}
