// SPDX-License-Identifier: BSD-3-Clause
/* What the bench can be asked for, with fio's words where fio has one. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/option.h>

#include "bench.h"
#include "socket_args.h"

#define MAX_BLOCK (2u << 20)

const char *const bench_rw_names[BENCH_NR_RW] = {
	"randread", "randwrite", "read", "write", "randrw", "rw",
};

const char *const bench_floor_names[BENCH_NR_FLOORS] = {
	"", "client", "memcpy", "memcpy-huge",
};

/* The index of a word; -EINVAL. */
static int find_word(const char *const *words, unsigned count,
		     const char *value)
{
	for (unsigned i = 0; i < count; i++)
		if (*words[i] && !strcmp(value, words[i]))
			return (int)i;
	return -EINVAL;
}

static int set_rw(void *into, const char *value, struct ob_err *err)
{
	int found = find_word(bench_rw_names, BENCH_NR_RW, value);

	if (found < 0)
		return ob_fail(err, EINVAL, "randread, randwrite, read, write, "
			       "randrw or rw, not '%s'", value);
	((struct bench_options *)into)->rw = (enum bench_rw)found;
	return 0;
}

static int set_floor(void *into, const char *value, struct ob_err *err)
{
	int found = find_word(bench_floor_names, BENCH_NR_FLOORS, value);

	if (found < 0)
		return ob_fail(err, EINVAL, "client, memcpy or memcpy-huge, "
			       "not '%s'", value);
	((struct bench_options *)into)->floor = (enum bench_floor)found;
	return 0;
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

#define NUMBER(member, min, max) \
static int set_##member(void *into, const char *value, struct ob_err *err) \
{ \
	return set_number(&((struct bench_options *)into)->member, value, \
			  min, max, err); \
}
NUMBER(depth, 1, NVME_USER_MAX_DEPTH)
NUMBER(queues, 1, NVME_USER_MAX_QUEUES)
NUMBER(spare, 0, NVME_USER_MAX_QUEUES - 1)
NUMBER(threads, 1, NVME_USER_MAX_QUEUES)
NUMBER(nsid, 1, UINT32_MAX - 1)
NUMBER(size, 512, INT64_MAX)
NUMBER(mix, 0, 100)

/* 50k, 2.5M: of things, so in thousands. */
static int parse_count(const char *value, double *count, struct ob_err *err)
{
	static const char units[] = "kMG";
	const char *unit;
	char *end;

	*count = strtod(value, &end);
	unit = *end ? strchr(units, *end == 'm' ? 'M' : *end == 'K' ? 'k' : *end)
		    : NULL;
	for (const char *u = units; unit && u <= unit; u++)
		*count *= 1000;
	if (end == value || (*end && (!unit || end[1])) || !(*count >= 0.001) ||
	    *count > 1e15)
		return ob_fail(err, EINVAL, "'%s' is no number of I/Os", value);
	return 0;
}

static int set_rate(void *into, const char *value, struct ob_err *err)
{
	return parse_count(value, &((struct bench_options *)into)->rate, err);
}

static int set_registers(void *into, const char *value, struct ob_err *err)
{
	return parse_count(value, &((struct bench_options *)into)->registers,
			   err);
}

static int set_ios(void *into, const char *value, struct ob_err *err)
{
	double count;
	int r = parse_count(value, &count, err);

	if (!r && count != floor(count))
		r = ob_fail(err, EINVAL, "'%s' is no whole number", value);
	if (!r)
		((struct bench_options *)into)->ios = (uint64_t)count;
	return r;
}

static int set_seed(void *into, const char *value, struct ob_err *err)
{
	struct bench_options *opt = into;
	int r = tool_parse_number(value, &opt->seed, err);

	return r || opt->seed ? r : ob_fail(err, EINVAL, "0 is no seed");
}

/* With or without an s. */
static int parse_time(const char *value, double *seconds, struct ob_err *err)
{
	size_t len = strlen(value);
	char text[32];

	if (len < 2 || len >= sizeof(text) || value[len - 1] != 's')
		return tool_parse_seconds(value, seconds, err);
	memcpy(text, value, len - 1);
	text[len - 1] = 0;
	return tool_parse_seconds(text, seconds, err);
}

#define SECONDS(name, member) \
static int set_##name(void *into, const char *value, struct ob_err *err) \
{ \
	return parse_time(value, &((struct bench_options *)into)->member, \
			  err); \
}
SECONDS(time, seconds)
SECONDS(ramp, ramp)
SECONDS(idle, idle)

/* -- sizes ------------------------------------------------------------- */

/* One SIZE[/PERCENT]; percent stays -1 when there is none. */
static int parse_share(char *word, uint32_t *bytes, int *percent,
		       struct ob_err *err)
{
	char *slash = strchr(word, '/');
	uint64_t size, share;
	int r;

	*percent = -1;
	if (slash)
		*slash++ = 0;
	r = set_number(&size, word, 512, MAX_BLOCK, err);
	if (r)
		return r;
	*bytes = (uint32_t)size;
	if (!slash || !*slash)
		return 0;
	r = set_number(&share, slash, 0, 100, err);
	*percent = r ? -1 : (int)share;
	return r;
}

/* Those without a percentage share what the others leave. */
static int spread_shares(int *percent, unsigned count, struct ob_err *err)
{
	unsigned open = 0;
	int left = 100;

	for (unsigned i = 0; i < count; i++) {
		open += percent[i] < 0;
		left -= percent[i] < 0 ? 0 : percent[i];
	}
	if (left < 0 || (left > 0 && !open))
		return ob_fail(err, EINVAL, "the percentages make %d, not 100",
			       100 - left);
	for (unsigned i = 0; i < count; i++) {
		if (percent[i] >= 0)
			continue;
		percent[i] = left / (int)open--;
		left -= percent[i];
	}
	return 0;
}

/* SIZE[/PERCENT][:SIZE[/PERCENT]]..., as fio's bssplit. */
static int set_bs(void *into, const char *value, struct ob_err *err)
{
	struct bench_options *opt = into;
	int percent[BENCH_MAX_SIZES], r = 0;
	char text[256], *at = text, *word;
	unsigned n = 0, next = 0;

	if (strlen(value) >= sizeof(text))
		return ob_fail(err, EINVAL, "too many sizes");
	strcpy(text, value);
	while (!r && (word = strsep(&at, ":"))) {
		if (n == BENCH_MAX_SIZES)
			return ob_fail(err, EINVAL, "more than %u sizes",
				       BENCH_MAX_SIZES);
		r = parse_share(word, &opt->sizes[n], &percent[n], err);
		n++;
	}
	if (r || (r = spread_shares(percent, n, err)))
		return r;
	for (unsigned i = 0; i < n; i++)
		for (int p = 0; p < percent[i]; p++)
			opt->by_percent[next++] = (uint8_t)i;
	opt->nr_sizes = n;
	opt->bs = value;
	return 0;
}

OB_ARG_FLAG(verify, struct bench_options, verify)
OB_ARG_FLAG(interrupts, struct bench_options, interrupts)
OB_ARG_FLAG(no_shadow, struct bench_options, no_shadow)
OB_ARG_FLAG(dirty_log, struct bench_options, dirty_log)
OB_ARG_FLAG(json, struct bench_options, json)

const struct ob_arg bench_args[] = {
	{ "rw", "KIND", "randread (default), randwrite, read, write, randrw, "
	  "rw", set_rw },
	{ "mix", "PERCENT", "how many of randrw and rw are reads (default 50)",
	  set_mix },
	{ "bs", "SIZE", "bytes of one I/O (default 4K), or a mix of sizes: "
	  "4k/70:64k/30", set_bs },
	{ "qd", "N", "commands in flight on each queue (default 32)",
	  set_depth },
	{ "queues", "N", "queue pairs (default: one for each thread)",
	  set_queues },
	{ "spare", "N", "queue pairs between them, in which nothing happens",
	  set_spare },
	{ "threads", "N", "threads, which own their queues (default 1)",
	  set_threads },
	{ "rate", "IOPS", "not more than so many a second, all together",
	  set_rate },
	{ "time", "SECONDS", "how long (default 10, unless --ios ends it)",
	  set_time },
	{ "ios", "N", "how many, all together", set_ios },
	{ "ramp", "SECONDS", "before that, not counted", set_ramp },
	{ "idle", "SECONDS", "after that, to see what the server does when "
	  "there is nothing to do", set_idle },
	{ "registers", "RATE", "read a register so many times a second "
	  "meanwhile", set_registers },
	{ "dirty-log", NULL, "with the dirty log on", set_dirty_log },
	{ "verify", NULL, "check what is read", set_verify },
	{ "nsid", "N", "namespace (default 1)", set_nsid },
	{ "size", "SIZE", "use only the first bytes of the namespace",
	  set_size },
	{ "interrupts", NULL, "sleep until the device interrupts",
	  set_interrupts },
	{ "no-shadow", NULL, "do not use shadow doorbells", set_no_shadow },
	{ "seed", "N", "for the order of blocks and their contents",
	  set_seed },
	{ "floor", "WHAT", "without a SOCKET: client, memcpy or memcpy-huge "
	  "alone", set_floor },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void bench_defaults(struct bench_options *opt)
{
	*opt = (struct bench_options){
		.bs = "4K", .sizes = { 4096 }, .nr_sizes = 1, .depth = 32,
		.threads = 1, .nsid = 1, .mix = 50,
	};
}

static int check_floor(const struct bench_options *opt, struct ob_err *err)
{
	if (opt->floor && (opt->verify || opt->interrupts || opt->registers ||
			   opt->dirty_log || opt->idle))
		return ob_fail(err, EINVAL, "there is no device that --floor "
			       "could ask that of");
	if (opt->floor > BENCH_FLOOR_CLIENT && opt->rate)
		return ob_fail(err, EINVAL, "memcpy has no --rate");
	return 0;
}

int bench_args_check(struct bench_options *opt, struct ob_err *err)
{
	if (!opt->queues)
		opt->queues = opt->threads;
	if (opt->queues < opt->threads)
		return ob_fail(err, EINVAL, "each of %" PRIu64 " threads needs "
			       "a queue of its own", opt->threads);
	if (opt->queues + opt->spare > NVME_USER_MAX_QUEUES)
		return ob_fail(err, EINVAL, "more than %u queues",
			       NVME_USER_MAX_QUEUES);
	if (opt->ios && opt->ios < opt->threads)
		return ob_fail(err, EINVAL, "not one I/O for each thread");
	if (!opt->seconds && !opt->ios)
		opt->seconds = 10;
	if (opt->rw == BENCH_RANDREAD || opt->rw == BENCH_READ)
		opt->mix = 100;
	else if (opt->rw == BENCH_RANDWRITE || opt->rw == BENCH_WRITE)
		opt->mix = 0;
	return check_floor(opt, err);
}
