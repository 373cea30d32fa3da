// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard upgrade: a running server goes on in another binary, and the guests
 * do not notice.  --dry-run lets the new binary load and judge the state of
 * every device from a copy, and ends there.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "control_client.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

#define PATIENCE_S 60

struct options {
	const char *to;
	bool dry_run, json;
};

/* The oldest command, since it tells how long a drive takes at worst. */
static json_int_t oldest_us(json_t *inflight)
{
	json_int_t age, oldest = 0;
	json_t *device, *command;
	size_t i, j;

	json_array_foreach(json_object_get(inflight, "devices"), i, device)
		json_array_foreach(json_object_get(device, "commands"), j,
				   command) {
			age = json_integer_value(json_object_get(command,
								 "age us"));
			if (age > oldest)
				oldest = age;
		}
	return oldest;
}

static json_int_t state_bytes(json_t *status)
{
	json_int_t sum = 0;
	json_t *device;
	size_t i;

	json_array_foreach(json_object_get(status, "devices"), i, device)
		sum += json_integer_value(json_object_get(device,
							  "state bytes"));
	return sum;
}

static json_t *describe(const struct options *opt, json_t *status,
			json_t *inflight, const char *against)
{
	json_t *keeper = json_object_get(status, "keeper");

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:O?, s:O?}", "outcome",
			 against ? "refused" : opt->dry_run ? "possible" : "done",
			 "against", against ? against : "nothing",
			 opt->dry_run ? "estimated gap us" : "gap us",
			 json_integer_value(json_object_get(keeper, "gap us")),
			 "state bytes", state_bytes(status),
			 "oldest command us", oldest_us(inflight),
			 "generation", json_object_get(keeper, "generation"),
			 "worker", json_object_get(keeper, "worker"));
}

static int upgrade(const char *path, const struct options *opt)
{
	json_t *status = NULL, *inflight = NULL;
	char full[PATH_MAX], *to = NULL;
	struct ob_err err = { 0 };
	int r = 0, printed;

	if (opt->to && !(to = realpath(opt->to, full)))
		r = ob_fail(&err, errno, "%s: %s", opt->to, strerror(errno));
	if (!r)
		r = control_call(path, "inflight", NULL, false, &inflight,
				 &err);
	if (!r)
		r = control_upgrade(path, to, opt->dry_run, PATIENCE_S,
				    &status, &err);
	if (status) {
		struct ob_err why = { 0 };

		printed = report_print(stdout, describe(opt, status, inflight,
							r ? err.msg : NULL),
				       opt->json, &why);
		if (printed && !r) {
			r = printed;
			err = why;
		}
	}
	json_decref(status);
	json_decref(inflight);
	return r ? tool_failed("upgrade", &err) : TOOL_OK;
}

OB_ARG_TEXT(to, struct options, to)
OB_ARG_FLAG(dry_run, struct options, dry_run)
OB_ARG_FLAG(json, struct options, json)

static const struct ob_arg args[] = {
	{ "to", "BINARY", "the new one (what has the old one's name now)",
	  set_to },
	{ "dry-run", NULL, "let it judge the state, and go on with the old",
	  set_dry_run },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_upgrade_help(FILE *out)
{
	ob_args_help(args, out);
}

int tool_upgrade(int argc, char **argv)
{
	struct options opt = { 0 };
	const char *path;

	if (tool_words_args(args, &opt, argc, argv, "one CONTROL is", 1,
			    &path))
		return TOOL_USAGE;
	return upgrade(path, &opt);
}
