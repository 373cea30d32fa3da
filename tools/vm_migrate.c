// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard vm-migrate: a VM and its devices move from one QEMU to another
 * (docs/live-migration.md).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <outboard/option.h>

#include "conduct_args.h"
#include "conduct_view.h"
#include "move.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

struct options {
	struct conduct_params params;
	bool dry_run, abort;
	const char *plot;
};

OB_ARG_TEXT(uri, struct options, params.uri)
OB_ARG_TEXT(plot, struct options, plot)
OB_ARG_FLAG(dry_run, struct options, dry_run)
OB_ARG_FLAG(abort, struct options, abort)

static int set_downtime(void *into, const char *value, struct ob_err *err)
{
	uint64_t ms;

	if (tool_parse_number(value, &ms, err))
		return -EINVAL;
	if (ms < 1 || ms > 2000000)
		return ob_fail(err, EINVAL, "1 to 2000000 ms, not '%s'",
			       value);
	((struct options *)into)->params.downtime_ms = (unsigned)ms;
	return 0;
}

static int set_bandwidth(void *into, const char *value, struct ob_err *err)
{
	return ob_parse_size(value, &((struct options *)into)->params.bandwidth,
			     err);
}

static const struct ob_arg args[] = {
	{ "from-qmp", "PATH", "the source's monitor", conduct_set_from_qmp },
	{ "to-qmp", "PATH", "the destination's", conduct_set_to_qmp },
	{ "from-control", "PATH", "of a server of the source's devices",
	  conduct_set_from_control },
	{ "to-control", "PATH", "of a server of the destination's",
	  conduct_set_to_control },
	{ "device", "SRC=DST", "QEMU's names of a device, if they differ",
	  conduct_set_device },
	{ "uri", "URI", "QEMU's channel (a socket pair)", set_uri },
	{ "downtime-limit", "MS", "what QEMU aims at (what it is set to)",
	  set_downtime },
	{ "bandwidth", "SIZE", "bytes per second of QEMU's (the same)",
	  set_bandwidth },
	{ "dry-run", NULL, "look at everything, begin nothing", set_dry_run },
	{ "abort", NULL, "end the destination, let the source go on",
	  set_abort },
	{ "plot", "FILE.svg", "draw what was sent over time, and the blackout",
	  set_plot },
	{ "json", NULL, "print JSON", conduct_set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_vm_migrate_help(FILE *out)
{
	ob_args_help(args, out);
}

static int all_phases(struct conductor *c, struct ob_err *err)
{
	int r = conduct_live(c, err);

	if (!r)
		r = conduct_pause(c, err);
	if (!r)
		r = conduct_repair(c, err);
	if (!r)
		r = conduct_run(c, err);
	if (!r)
		conduct_check(c);
	return r;
}

static void tell_failure(struct conductor *c, const struct ob_err *err)
{
	int undone = c->began ? conduct_abort(c) : 0;

	conduct_view_end(c->view);
	fprintf(stderr, "outboard vm-migrate: %s%s\n", err->msg,
		!c->began ? "; nothing has begun" :
		!undone ? "; the source goes on" : "");
	if (c->note.msg[0])
		fprintf(stderr, "outboard vm-migrate: then: %s\n",
			c->note.msg);
}

static int print(struct conductor *c, const char *outcome, const char *why,
		 struct ob_err *err)
{
	json_t *tree;

	if (!c->params.json) {
		if (!strcmp(outcome, "moved"))
			conduct_print(c, stdout);
		else if (!why)
			printf("%u device%s can move\n", c->nr_devices,
			       c->nr_devices == 1 ? "" : "s");
		return fflush(stdout) ? ob_fail(err, EIO, "cannot write") : 0;
	}
	tree = conduct_describe(c, outcome);
	if (why)
		json_object_set_new(tree, "error", json_string(why));
	return report_print(stdout, tree, true, err);
}

static const char *what_became(const struct conductor *c)
{
	if (c->said_cont)
		return "unknown";
	return c->note.msg[0] ? "stuck" : "stayed";
}

/* A picture of what did not move may be just what is wanted. */
static int draw(const struct conductor *c, const struct options *opt,
		FILE *plot, struct ob_err *err)
{
	int r = plot && c->began ? conduct_plot(c, plot, err) : 0;

	if (plot && fclose(plot) && !r)
		r = ob_fail(err, errno, "cannot write the plot");
	if (r)
		ob_err_prefix(err, "the VM has moved, but %s", opt->plot);
	return r;
}

/* What cannot be opened is known before anything moves. */
static int begin(struct conductor *c, const struct options *opt, FILE **plot,
		 struct ob_err *err)
{
	int r = conduct_open(c, &opt->params, err);

	if (!r)
		r = conduct_preflight(c, err);
	if (r || !opt->plot || opt->dry_run)
		return r;
	*plot = fopen(opt->plot, "we");
	return *plot ? 0 : ob_fail(err, errno, "%s: %s", opt->plot,
				   strerror(errno));
}

static int migrate(struct conductor *c, const struct options *opt)
{
	struct ob_err err = { 0 }, ignored = { 0 };
	FILE *plot = NULL;
	int r = begin(c, opt, &plot, &err);

	if (!r && !opt->dry_run)
		r = all_phases(c, &err);
	if (r) {
		tell_failure(c, &err);
		print(c, what_became(c), err.msg, &ignored);
		draw(c, opt, plot, &ignored);
		return TOOL_FAILED;
	}
	conduct_view_end(c->view);
	if (!opt->dry_run)
		conduct_warn(c);
	r = print(c, opt->dry_run ? "possible" : "moved", NULL, &err);
	if (draw(c, opt, plot, r ? &ignored : &err) || r)
		return tool_failed("vm-migrate", &err);
	return TOOL_OK;
}

/* What is not named cannot be asked, and need not. */
static int abort_other(struct conductor *c, const struct options *opt)
{
	struct ob_err err = { 0 };
	int r = ob_qmp_connect(opt->params.qmp[CONDUCT_FROM],
			       &c->qmp[CONDUCT_FROM], &err);

	c->params = opt->params;
	if (!r && opt->params.qmp[CONDUCT_TO])
		ob_qmp_connect(opt->params.qmp[CONDUCT_TO],
			       &c->qmp[CONDUCT_TO], NULL);
	if (!r)
		r = conduct_abort_other(c, &err);
	conduct_view_end(c->view);
	if (r)
		return tool_failed("vm-migrate", &err);
	if (!opt->params.json)
		printf("the source runs\n");
	else if (report_print(stdout, json_pack("{s:s}", "outcome", "stayed"),
			      true, &err))
		return tool_failed("vm-migrate", &err);
	return TOOL_OK;
}

static int check(const struct options *opt, struct ob_err *err)
{
	const struct conduct_params *p = &opt->params;

	if (!p->qmp[CONDUCT_FROM] || !p->nr_controls[CONDUCT_FROM])
		return ob_fail(err, EINVAL, "--from-qmp and --from-control are "
			       "needed");
	if (!opt->abort &&
	    (!p->qmp[CONDUCT_TO] || !p->nr_controls[CONDUCT_TO]))
		return ob_fail(err, EINVAL, "--to-qmp and --to-control are "
			       "needed");
	return 0;
}

int tool_vm_migrate(int argc, char **argv)
{
	static struct conductor c;
	static struct conduct_view view;
	struct options opt = { .params.verb = "vm-migrate" };
	struct ob_err err = { 0 };
	int status;

	if (tool_words_args(args, &opt, argc, argv, "no word is", 0, NULL))
		return TOOL_USAGE;
	if (check(&opt, &err))
		return tool_misused("vm-migrate", &err);
	move_catch_signals();
	conduct_view_init(&view);
	c.view = &view;
	status = opt.abort ? abort_other(&c, &opt) : migrate(&c, &opt);
	conduct_close(&c);
	return status;
}
