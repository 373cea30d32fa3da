// SPDX-License-Identifier: BSD-3-Clause
/* outboard state VERB: what can be done with a device's state in a file. */
#include <errno.h>
#include <string.h>

#include "daemon/args.h"
#include "state.h"

struct verb {
	const char *name, *args, *summary;
	int (*run)(const struct state_options *opts, struct ob_err *err);
	unsigned least, most;		/* words beside options */
	const struct ob_arg *options;
};

OB_ARG_FLAG(json, struct state_options, json)
OB_ARG_FLAG(all, struct state_options, all)
OB_ARG_TEXT(device, struct state_options, device)
OB_ARG_TEXT(to, struct state_options, to)

static int set_load(void *into, const char *value, struct ob_err *err)
{
	struct state_options *opts = into;

	if (opts->nr_loads == STATE_LOADS_MAX)
		return ob_fail(err, EINVAL, "more than %d files",
			       STATE_LOADS_MAX);
	opts->loads[opts->nr_loads++] = value;
	return 0;
}

#define JSON_ROW { "json", NULL, "print JSON, with every value", set_json }
#define LOAD_ROW { "load", "FILE", "a shared object with a model (repeat)", \
		   set_load }

static const struct ob_arg show_options[] = {
	JSON_ROW,
	{ "all", NULL, "also what has its default", set_all },
	LOAD_ROW,
	{ 0 }
};
static const struct ob_arg diff_options[] = { LOAD_ROW, { 0 } };
static const struct ob_arg check_options[] = {
	{ "device", "MODEL,KEY=VALUE,...", "the device that is to go on with it",
	  set_device },
	LOAD_ROW,
	{ 0 }
};
static const struct ob_arg convert_options[] = {
	{ "to", "FORM", "native, qemu, or qemu-bare", set_to },
	LOAD_ROW,
	{ 0 }
};
static const struct ob_arg schema_options[] = { LOAD_ROW, { 0 } };

static const struct verb verbs[] = {
	{ "show", "FILE... [--json] [--all]", "every section and field by name",
	  state_show, 1, STATE_SHOW_MAX, show_options },
	{ "diff", "A B", "the fields that differ; exit code 1 if any do",
	  state_diff, 2, 2, diff_options },
	{ "check", "FILE [--device MODEL,...]",
	  "would this build load it? if not, why", state_check, 1, 1,
	  check_options },
	{ "convert", "--to native|qemu|qemu-bare IN OUT",
	  "the same state in another form", state_convert, 2, 2,
	  convert_options },
	{ "schema", "[MODEL]", "the tables of this build's models, as JSON",
	  state_schema, 0, 1, schema_options },
	{ 0 }
};

void tool_state_help(FILE *out)
{
	const struct verb *v;

	for (v = verbs; v->name; v++) {
		fprintf(out, "outboard state %s %s\n    %s\n", v->name, v->args,
			v->summary);
		ob_args_help(v->options, out);
	}
	fprintf(out, "\nFILE, A, B, IN: a stream, a file in the QEMU profile, or the state "
		"memory of a\nprocess; show also reads a flight recorder, or all of a "
		"device with lanes, by\ntime; '-' is standard input.\n");
}

static const struct verb *find(const char *name, struct ob_err *err)
{
	const struct verb *v;

	for (v = verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	ob_fail(err, EINVAL, "no verb '%.32s' (known: show, diff, check, convert, schema)",
		name);
	return NULL;
}

/* "outboard state VERB: message" and perhaps a hint. */
static int told(const struct verb *v, int code, struct ob_err *err)
{
	if (err->msg[0])
		ob_err_prefix(err, "%s", v->name);
	else
		return code;
	return code == TOOL_USAGE ? tool_misused("state", err)
				  : tool_failed("state", err);
}

/* What was printed has arrived. */
static int printed(int code, struct ob_err *err)
{
	if (code != TOOL_OK || (!fflush(stdout) && !ferror(stdout)))
		return code;
	ob_fail(err, EIO, "cannot write to standard output");
	return TOOL_FAILED;
}

static int run(const struct verb *v, struct state_options *opts,
	       struct ob_err *err)
{
	struct ob_models *models = NULL;
	int r = ob_models_open(opts->loads, opts->nr_loads, &models, err);

	opts->models = models;
	r = r ? TOOL_FAILED : printed(v->run(opts, err), err);
	ob_models_close(models);
	return r;
}

int tool_state(int argc, char **argv)
{
	struct state_options opts = { 0 };
	struct ob_err err = { 0 };
	const struct verb *v;
	int first;

	if (argc < 2) {
		ob_fail(&err, EINVAL, "a verb is needed");
		return tool_misused("state", &err);
	}
	v = find(argv[1], &err);
	if (!v)
		return tool_misused("state", &err);
	if (argc > 2 && !strcmp(argv[2], "--help")) {
		tool_print_help(tool_find("state"), stdout);
		return TOOL_OK;
	}
	first = ob_args_parse(v->options, &opts, argc - 1, argv + 1, &err);
	if (first < 0)
		return told(v, TOOL_USAGE, &err);
	opts.words = (const char *const *)argv + 1 + first;
	opts.nr_words = (unsigned)(argc - 1 - first);
	if (opts.nr_words < v->least || opts.nr_words > v->most) {
		ob_fail(&err, EINVAL, "usage: outboard state %s %s", v->name,
			v->args);
		return tool_misused("state", &err);
	}
	return told(v, run(v, &opts, &err), &err);
}
