// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard vm-save: a VM and its devices into a folder; vm-restore: out of it, into
 * a QEMU that waits (docs/live-migration.md).
 */
#include <errno.h>
#include <string.h>

#include "conduct_args.h"
#include "conduct_file.h"
#include "conduct_view.h"
#include "move.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

struct options {
	struct conduct_params params;
	bool go_on;
};

OB_ARG_FLAG(go_on, struct options, go_on)

static const struct ob_arg save_args[] = {
	{ "qmp", "PATH", "QEMU's monitor", conduct_set_from_qmp },
	{ "control", "PATH", "of a server of its devices",
	  conduct_set_from_control },
	{ "continue", NULL, "let the VM go on afterwards", set_go_on },
	{ "json", NULL, "print JSON", conduct_set_json },
	{ NULL, NULL, NULL, NULL },
};

static const struct ob_arg restore_args[] = {
	{ "qmp", "PATH", "the monitor of a QEMU with -incoming defer",
	  conduct_set_to_qmp },
	{ "control", "PATH", "of a server of its devices",
	  conduct_set_to_control },
	{ "device", "OLD=NEW", "QEMU's names of a device, if they differ",
	  conduct_set_device },
	{ "json", NULL, "print JSON", conduct_set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_vm_save_help(FILE *out)
{
	ob_args_help(save_args, out);
}

void tool_vm_restore_help(FILE *out)
{
	ob_args_help(restore_args, out);
}

static int failed(struct conductor *c, const struct ob_err *err)
{
	const char *after = c->params.qmp[CONDUCT_TO] ?
				    "; the destination has ended" :
			    c->note.msg[0] ? "" : "; the VM goes on";

	fprintf(stderr, "outboard %s: %s%s\n", c->params.verb, err->msg,
		c->began ? after : "; nothing has begun");
	if (c->note.msg[0])
		fprintf(stderr, "outboard %s: then: %s\n", c->params.verb,
			c->note.msg);
	return TOOL_FAILED;
}

static int tell(const struct conductor *c, const char *outcome,
		const char *folder)
{
	struct ob_err err = { 0 };
	uint64_t us = c->marks[CONDUCT_ENDED] - c->marks[CONDUCT_BEGAN];
	char time[MOVE_TIME_MAX];
	json_t *tree = json_pack("{s:s, s:s, s:i, s:f}", "outcome", outcome,
				 "folder", folder, "devices", (int)c->nr_devices,
				 "total_ms", (double)us / 1e3);

	if (c->params.qmp[CONDUCT_TO])
		json_object_set_new(tree, "warnings", conduct_warnings(c));
	if (c->params.json)
		return report_print(stdout, tree, true, &err) ?
			tool_failed(c->params.verb, &err) : TOOL_OK;
	json_decref(tree);
	printf("%s %s: %u device%s, %s\n", folder, outcome, c->nr_devices,
	       c->nr_devices == 1 ? "" : "s", move_time(us * 1000, time));
	return TOOL_OK;
}

/* argv's last word is the folder; one monitor and control sockets are needed. */
static int parse(const struct ob_arg *args, struct options *opt,
		 enum conduct_side side, int argc, char **argv,
		 const char **folder)
{
	struct ob_err err = { 0 };

	if (tool_words_args(args, opt, argc, argv, "one DIR is", 1, folder))
		return TOOL_USAGE;
	if (opt->params.qmp[side] && opt->params.nr_controls[side])
		return TOOL_OK;
	ob_fail(&err, EINVAL, "--qmp and --control are needed");
	return tool_misused(argv[0], &err);
}

static void begin(struct conductor *c, struct conduct_view *view)
{
	move_catch_signals();
	conduct_view_init(view);
	c->view = view;
}

int tool_vm_save(int argc, char **argv)
{
	static struct conductor c;
	static struct conduct_view view;
	struct options opt = { .params.verb = "vm-save" };
	struct ob_err err = { 0 };
	const char *folder;
	int r = parse(save_args, &opt, CONDUCT_FROM, argc, argv, &folder);

	if (r)
		return r;
	begin(&c, &view);
	r = conduct_open(&c, &opt.params, &err);
	if (!r)
		r = conduct_save(&c, folder, &err);
	if (!r && opt.go_on && conduct_abort(&c))
		r = ob_fail(&err, EIO, "it is saved, and does not go on");
	conduct_view_end(&view);
	r = r ? failed(&c, &err) : tell(&c, "saved", folder);
	conduct_close(&c);
	return r;
}

int tool_vm_restore(int argc, char **argv)
{
	static struct conductor c;
	static struct conduct_view view;
	struct options opt = { .params.verb = "vm-restore" };
	struct ob_err err = { 0 };
	const char *folder;
	int r = parse(restore_args, &opt, CONDUCT_TO, argc, argv, &folder);

	if (r)
		return r;
	begin(&c, &view);
	r = conduct_open(&c, &opt.params, &err);
	if (!r)
		r = conduct_restore(&c, folder, &err);
	if (!r)
		conduct_check(&c);
	conduct_view_end(&view);
	if (!r)
		conduct_warn(&c);
	r = r ? failed(&c, &err) : tell(&c, "restored", folder);
	conduct_close(&c);
	return r;
}
