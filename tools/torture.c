// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard torture: the promise of docs/crash-safety.md, tried out.  A disk is
 * served, a guest in user space does verified I/O, and the process that serves
 * is killed, replaced by another release, or moved away from, at random.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "socket_args.h"
#include "tools.h"
#include "torture.h"

/* "50ms", "2s", "1m"; without a unit: seconds. */
static int parse_time(const char *value, double *seconds, struct ob_err *err)
{
	static const struct {
		const char *unit;
		double factor;
	} units[] = {
		{ "", 1 }, { "s", 1 }, { "ms", 1e-3 }, { "us", 1e-6 },
		{ "m", 60 }, { "h", 3600 },
	};
	char *end;
	double number = strtod(value, &end);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (end == value || strcmp(end, units[i].unit) ||
		    !(number >= 0) || number > 1e6)
			continue;
		*seconds = number * units[i].factor;
		return 0;
	}
	return ob_fail(err, EINVAL, "'%s' is no time such as 50ms or 2s",
		       value);
}

static int set_every(void *into, const char *value, struct ob_err *err)
{
	return parse_time(value, &((struct torture_options *)into)->every,
			  err);
}

static int set_for(void *into, const char *value, struct ob_err *err)
{
	return parse_time(value, &((struct torture_options *)into)->seconds,
			  err);
}

#define NUMBER(member) \
static int set_##member(void *into, const char *value, struct ob_err *err) \
{ \
	return tool_parse_number( \
		value, &((struct torture_options *)into)->member, err); \
}
NUMBER(kills)
NUMBER(seed)
NUMBER(queues)
NUMBER(depth)

OB_ARG_TEXT(drive, struct torture_options, drive)
OB_ARG_TEXT(binary, struct torture_options, binary)
OB_ARG_TEXT(device, struct torture_options, device)
OB_ARG_TEXT(engine, struct torture_options, engine)
OB_ARG_TEXT(threads, struct torture_options, threads)
OB_ARG_TEXT(plot, struct torture_options, plot)
OB_ARG_TEXT(vm, struct torture_options, vm)

OB_ARG_FLAG(no_kills, struct torture_options, no_kills)
OB_ARG_FLAG(migrate, struct torture_options, migrate)
OB_ARG_FLAG(standby, struct torture_options, standby)
OB_ARG_FLAG(interrupts, struct torture_options, interrupts)
OB_ARG_FLAG(no_keeper, struct torture_options, no_keeper)
OB_ARG_FLAG(json, struct torture_options, json)

static int set_upgrade(void *into, const char *value, struct ob_err *err)
{
	struct torture_options *opt = into;

	(void)err;
	opt->upgrade = true;
	opt->other = value;
	return 0;
}

static const struct ob_arg args[] = {
	{ "every", "TIME", "between two events, on average (50ms)", set_every },
	{ "for", "TIME", "how long at most (60s)", set_for },
	{ "kills", "N", "how many events at most; 0: none", set_kills },
	{ "seed", "N", "of everything that is random (the time)", set_seed },
	{ "queues", "N", "pairs of queues (4)", set_queues },
	{ "depth", "N", "I/Os in flight in each (32)", set_depth },
	{ "drive", "SPEC", "what to serve (a file of 64 MiB)", set_drive },
	{ "device", "KEY=VALUE,...", "more keys of the device", set_device },
	{ "io-engine", "ENGINE", "of the server, as serve has it", set_engine },
	{ "threads", "N", "of the server; the disk is on the last one",
	  set_threads },
	{ "server", "BINARY", "the command that serves (this one)",
	  set_binary },
	{ "upgrade", "[=BINARY]", "some events are upgrades, there and back",
	  set_upgrade },
	{ "no-kills", NULL, "all events are upgrades, or nothing", set_no_kills },
	{ "migrate", NULL, "between two servers, now and then", set_migrate },
	{ "standby", NULL, "keep a warm successor", set_standby },
	{ "vm", "FOLDER", "a Linux guest, of scripts/prepare-vm --print",
	  set_vm },
	{ "interrupts", NULL, "sleep for interrupts instead of polling",
	  set_interrupts },
	{ "no-keeper", NULL, "one process: for comparison, with --kills 0",
	  set_no_keeper },
	{ "json", NULL, "print JSON", set_json },
	{ "plot", "FILE", "the gaps as SVG", set_plot },
	{ NULL, NULL, NULL, NULL },
};

void tool_torture_help(FILE *out)
{
	ob_args_help(args, out);
}

/* Full names, since the server is told them. */
static int find_binaries(struct torture *t, struct ob_err *err)
{
	const char *own = t->opt.binary ? t->opt.binary : "/proc/self/exe";
	char full[PATH_MAX];

	if (!realpath(own, full) || strlen(full) >= sizeof(t->binary))
		return ob_fail(err, ENOENT, "%s: cannot be found", own);
	strcpy(t->binary, full);
	strcpy(t->other, full);
	if (!t->opt.other)
		return 0;
	if (!realpath(t->opt.other, full) || strlen(full) >= sizeof(t->other))
		return ob_fail(err, ENOENT, "%s: cannot be found",
			       t->opt.other);
	strcpy(t->other, full);
	return 0;
}

static int write_plot(const struct torture *t, struct ob_err *err)
{
	char title[128];
	FILE *f;
	int r;

	if (!t->opt.plot)
		return 0;
	f = fopen(t->opt.plot, "we");
	if (!f)
		return ob_fail(err, errno, "%s: %s", t->opt.plot,
			       strerror(errno));
	snprintf(title, sizeof(title), "%llu events under %u x %u I/Os%s",
		 (unsigned long long)(t->kills + t->upgrades + t->nothings),
		 (unsigned)t->opt.queues, (unsigned)t->opt.depth,
		 t->opt.standby ? ", warm successor" : "");
	r = torture_plot(f, t->gaps, title, err);
	if (fclose(f) && !r)
		r = ob_fail(err, errno, "%s: %s", t->opt.plot,
			    strerror(errno));
	return r;
}

static int report(struct torture *t, struct ob_err *err)
{
	int r = 0;

	if (t->opt.json)
		r = report_print(stdout, torture_describe(t), true, err);
	else
		torture_print(t, stdout);
	if (!r)
		r = write_plot(t, err);
	return r ? r : torture_verdict(t, err);
}

static int torture(struct torture *t)
{
	struct ob_err err = { 0 };
	int r;

	signal(SIGPIPE, SIG_IGN);
	t->random = t->opt.seed * 0x94d049bb133111ebull | 1;
	r = find_binaries(t, &err);
	if (!r) {
		r = torture_run(t, &err);
		if (r)
			ob_err_prefix(&err, "seed %llu, files in %s",
				      (unsigned long long)t->opt.seed,
				      t->folder);
	}
	if (!r)
		r = report(t, &err);
	else if (t->guest->faults.first.msg[0])
		fprintf(stderr, "outboard torture: first of all: %s\n",
			t->guest->faults.first.msg);
	return r ? tool_failed("torture", &err) : TOOL_OK;
}

static int check(const struct torture_options *opt, struct ob_err *err)
{
	if (opt->queues < 1 || opt->queues > GUEST_MAX_QUEUES)
		return ob_fail(err, EINVAL, "1 to %u queues",
			       GUEST_MAX_QUEUES);
	if (opt->depth < 1 || opt->depth > GUEST_MAX_DEPTH)
		return ob_fail(err, EINVAL, "a depth of 1 to %u",
			       GUEST_MAX_DEPTH);
	if (opt->vm && opt->migrate)
		return ob_fail(err, EINVAL, "a real guest cannot --migrate");
	if (opt->no_keeper && opt->kills)
		return ob_fail(err, EINVAL, "--no-keeper needs --kills 0");
	return 0;
}

int tool_torture(int argc, char **argv)
{
	struct torture *t = calloc(1, sizeof(*t));
	struct guest *guest = calloc(1, sizeof(*guest));
	struct ob_err err = { 0 };
	int first, r = TOOL_FAILED;

	if (t && guest) {
		t->guest = guest;
		t->opt = (struct torture_options){
			.every = 0.05, .seconds = 60, .kills = UINT64_MAX,
			.seed = (uint64_t)time(NULL), .queues = 4,
			.depth = 32, .size = 64 << 20,
		};
		first = ob_args_parse(args, &t->opt, argc, argv, &err);
		if (first >= 0 && first < argc)
			first = ob_fail(&err, EINVAL,
					"unexpected argument '%s'",
					argv[first]);
		if (first >= 0)
			first = check(&t->opt, &err);
		r = first < 0 ? tool_misused("torture", &err) : torture(t);
	}
	free(guest);
	free(t);
	return r;
}
