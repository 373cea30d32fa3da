// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdbool.h>

#include "daemon/args.h"
#include "daemon/models.h"
#include "tools.h"

#define MAX_LOADS 16

struct devices_options {
	bool json;
	const char *loads[MAX_LOADS];
	size_t nr_loads;
};

static int set_json(void *into, const char *value, struct ob_err *err)
{
	struct devices_options *opts = into;

	(void)value;
	(void)err;
	opts->json = true;
	return 0;
}

static int set_load(void *into, const char *value, struct ob_err *err)
{
	struct devices_options *opts = into;

	if (opts->nr_loads == MAX_LOADS)
		return ob_fail(err, EINVAL, "more than %d files", MAX_LOADS);
	opts->loads[opts->nr_loads++] = value;
	return 0;
}

static const struct ob_arg args[] = {
	{ "json", NULL, "print one JSON object", set_json },
	{ "load", "FILE", "a shared object with a model (repeat)", set_load },
	{ 0 }
};

int tool_devices(int argc, char **argv)
{
	struct devices_options opts = { 0 };
	struct ob_err err = { 0 };
	int rc = ob_args_parse(args, &opts, argc, argv, &err);

	if (rc >= 0 && rc < argc)
		rc = ob_fail(&err, EINVAL, "unexpected argument '%s'",
			     argv[rc]);
	if (rc < 0)
		return tool_misused("devices", &err);
	if (opts.json)
		rc = ob_models_json(stdout, opts.loads, opts.nr_loads, &err);
	else
		rc = ob_models_print(stdout, opts.loads, opts.nr_loads, &err);
	if (!rc && fflush(stdout))
		rc = ob_fail(&err, errno, "cannot write the list");
	return rc ? tool_failed("devices", &err) : TOOL_OK;
}

void tool_devices_help(FILE *out)
{
	ob_args_help(args, out);
}
