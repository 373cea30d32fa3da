// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard bench: I/O on a served NVMe disk through the driver in user space,
 * with a summary like fio's and, with --verify, proof that what is read is
 * what was written.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <outboard/option.h>

#include "bench.h"
#include "connect.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

const char *const bench_rw_names[BENCH_NR_RW] = {
	"randread", "randwrite", "read", "write", "randrw",
};

static int set_rw(void *into, const char *value, struct ob_err *err)
{
	struct bench_options *opt = into;

	for (unsigned i = 0; i < BENCH_NR_RW; i++)
		if (!strcmp(value, bench_rw_names[i])) {
			opt->rw = (enum bench_rw)i;
			return 0;
		}
	return ob_fail(err, EINVAL,
		       "randread, randwrite, read, write or randrw, not '%s'",
		       value);
}

static int set_number(uint64_t *into, const char *value, uint64_t min,
		      uint64_t max, struct ob_err *err)
{
	int r = ob_parse_size(value, into, err);

	if (!r && (*into < min || *into > max))
		r = ob_fail(err, EINVAL, "%" PRIu64 " to %" PRIu64
			    ", not '%s'", min, max, value);
	return r ? -EINVAL : 0;
}

static int set_bs(void *into, const char *value, struct ob_err *err)
{
	return set_number(&((struct bench_options *)into)->block_size, value,
			  512, 2 << 20, err);
}

static int set_qd(void *into, const char *value, struct ob_err *err)
{
	return set_number(&((struct bench_options *)into)->depth, value, 1,
			  NVME_USER_MAX_DEPTH, err);
}

static int set_queues(void *into, const char *value, struct ob_err *err)
{
	return set_number(&((struct bench_options *)into)->queues, value, 1,
			  NVME_USER_MAX_QUEUES, err);
}

static int set_nsid(void *into, const char *value, struct ob_err *err)
{
	return set_number(&((struct bench_options *)into)->nsid, value, 1,
			  UINT32_MAX - 1, err);
}

static int set_size(void *into, const char *value, struct ob_err *err)
{
	return set_number(&((struct bench_options *)into)->size, value, 512,
			  INT64_MAX, err);
}

static int set_seed(void *into, const char *value, struct ob_err *err)
{
	struct bench_options *opt = into;
	int r = tool_parse_number(value, &opt->seed, err);

	return r || opt->seed ? r : ob_fail(err, EINVAL, "0 is no seed");
}

static int set_time(void *into, const char *value, struct ob_err *err)
{
	struct bench_options *opt = into;

	return tool_parse_seconds(value, &opt->seconds, err);
}

OB_ARG_FLAG(verify, struct bench_options, verify)
OB_ARG_FLAG(interrupts, struct bench_options, interrupts)
OB_ARG_FLAG(no_shadow, struct bench_options, no_shadow)
OB_ARG_FLAG(json, struct bench_options, json)

static const struct ob_arg args[] = {
	{ "rw", "KIND", "randread (default), randwrite, read, write, randrw",
	  set_rw },
	{ "bs", "SIZE", "bytes of one I/O (default 4K)", set_bs },
	{ "qd", "N", "commands in flight on each queue (default 32)", set_qd },
	{ "queues", "N", "queue pairs (default 1)", set_queues },
	{ "time", "SECONDS", "how long (default 10)", set_time },
	{ "verify", NULL, "check what is read", set_verify },
	{ "nsid", "N", "namespace (default 1)", set_nsid },
	{ "size", "SIZE", "use only the first bytes of the namespace",
	  set_size },
	{ "interrupts", NULL, "sleep until the device interrupts",
	  set_interrupts },
	{ "no-shadow", NULL, "do not use shadow doorbells", set_no_shadow },
	{ "seed", "N", "for the order of blocks and their contents",
	  set_seed },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_bench_help(FILE *out)
{
	ob_args_help(args, out);
}

static int choose_range(struct bench *b)
{
	const struct nvme_user *nvme = b->nvme;
	uint64_t bytes = nvme->lbas * nvme->lba_size;

	if (b->opt.size && b->opt.size < bytes)
		bytes = b->opt.size;
	if (b->opt.block_size % nvme->lba_size)
		return ob_fail(&b->err, EINVAL,
			       "--bs is no multiple of the namespace's %u-byte "
			       "blocks", nvme->lba_size);
	if (nvme->max_transfer && b->opt.block_size > nvme->max_transfer)
		return ob_fail(&b->err, EINVAL,
			       "the device transfers at most %zu bytes at once",
			       nvme->max_transfer);
	b->sectors = (uint32_t)(b->opt.block_size / nvme->lba_size);
	b->nr_blocks = bytes / b->opt.block_size;
	if (!b->nr_blocks)
		return ob_fail(&b->err, EINVAL,
			       "not one I/O fits into %" PRIu64 " bytes",
			       bytes);
	return 0;
}

static int prepare_queues(struct bench *b)
{
	b->queues = calloc(b->opt.queues, sizeof(*b->queues));
	if (!b->queues)
		return ob_fail(&b->err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < b->opt.queues; i++) {
		struct bench_queue *q = &b->queues[i];

		q->nvme = &b->nvme->queues[i];
		for (unsigned slot = 0; slot < b->opt.depth; slot++)
			q->free[q->nr_free++] = (uint16_t)slot;
	}
	return 0;
}

static int prepare(struct bench *b, const char *path)
{
	struct nvme_user_params params = {
		.queues = (unsigned)b->opt.queues,
		.depth = (unsigned)b->opt.depth,
		.buffer_size = b->opt.block_size,
		.nsid = (uint32_t)b->opt.nsid,
		.shadow = !b->opt.no_shadow,
		.interrupts = b->opt.interrupts,
	};
	int r = tool_connect(path, &b->client, &b->err);

	if (!r)
		r = nvme_user_open(b->client, &params, &b->nvme, &b->err);
	if (!r)
		r = choose_range(b);
	if (!r)
		r = prepare_queues(b);
	if (!r && b->opt.verify)
		r = verify_init(&b->verify, b->nr_blocks, b->nvme->lba_size,
				b->sectors, b->opt.seed, &b->err);
	return r;
}

static void announce(const struct bench *b)
{
	char size[REPORT_SIZE_MAX];

	fprintf(stderr, "%s%s of namespace %" PRIu64 ", disk '%s' (%s)%s\n",
		bench_writes(b) ? "Overwriting the first " : "Reading ",
		report_size(b->nr_blocks * b->opt.block_size, size),
		b->opt.nsid, b->nvme->serial, b->nvme->model,
		b->opt.verify ? ", verifying" : "");
}

static int check_errors(struct bench *b, const struct bench_direction *dir,
			const char *name)
{
	if (!dir->errors)
		return 0;
	return ob_fail(&b->err, EIO,
		       "%" PRIu64 " %ss failed, the first at lba %" PRIu64
		       " with status 0x%03x", dir->errors, name,
		       dir->first_bad_lba, dir->first_status);
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
		r = check_errors(b, &b->read, "read");
	return r ? r : check_errors(b, &b->write, "write");
}

int tool_bench(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	const char *path;
	int r;

	if (!b)
		return tool_failed("bench", &(struct ob_err){ "out of memory" });
	b->opt = (struct bench_options){
		.block_size = 4096, .depth = 32, .queues = 1, .nsid = 1,
		.seconds = 10,
	};
	if (getrandom(&b->opt.seed, sizeof(b->opt.seed), 0) < 0 ||
	    !b->opt.seed)
		b->opt.seed = now_ns();
	r = tool_socket_args(args, &b->opt, argc, argv, &path);
	if (r) {
		free(b);
		return r;
	}
	b->random = b->opt.seed;
	r = run(b, path) ? tool_failed("bench", &b->err) : TOOL_OK;
	nvme_user_close(b->nvme);
	ob_client_destroy(b->client);
	verify_finish(&b->verify);
	free(b->queues);
	free(b);
	return r;
}
