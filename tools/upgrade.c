// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard upgrade: a running server goes on in another binary, and the guests
 * do not notice.  --dry-run lets the new binary load and judge the state of
 * every device from a copy, and ends there.
 *
 * That the new one serves is told at once; the outcome is what it is when the
 * server's --grace has passed, since until then the old one may come back.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "control_client.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

struct options {
	const char *to;
	bool dry_run, no_wait, json;
	bool told;			/* that the new one serves */
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

static const char *outcome(const struct options *opt, const json_t *keeper,
			   const char *against)
{
	if (against)
		return "refused";
	if (opt->dry_run)
		return "possible";
	return control_has_switched(keeper) ? "switched" : "done";
}

static json_t *describe(const struct options *opt, json_t *status,
			json_t *inflight, const char *against)
{
	const char *gap = opt->dry_run ? "estimated gap us" : "gap us";
	json_t *keeper = json_object_get(status, "keeper");

	return json_pack("{s:s, s:s, s:O?, s:I, s:I, s:O?, s:O?}",
			 "outcome", outcome(opt, keeper, against),
			 "against", against ? against : "nothing",
			 gap, json_object_get(keeper, gap),
			 "state bytes", state_bytes(status),
			 "oldest command us", oldest_us(inflight),
			 "generation", json_object_get(keeper, "generation"),
			 "worker", json_object_get(keeper, "worker"));
}

/* Called again and again; true: the rest is not waited for. */
static bool look(void *arg, const json_t *keeper)
{
	struct options *opt = arg;

	if (!control_has_switched(keeper))
		return false;
	if (!opt->told && !opt->no_wait && !opt->json)
		fprintf(stderr, "outboard upgrade: worker %d serves after %lld "
			"us, generation %lld; it is watched for a while\n",
			(int)json_integer_value(json_object_get(keeper,
								"worker")),
			json_integer_value(json_object_get(keeper, "gap us")),
			json_integer_value(json_object_get(keeper,
							   "generation")));
	opt->told = true;
	return opt->no_wait;
}

static int find(const char *name, char full[PATH_MAX], struct ob_err *err)
{
	if (!name || realpath(name, full))
		return 0;
	return ob_fail(err, errno, "%s: %s", name, strerror(errno));
}

static int ask(const char *path, struct options *opt, json_t **status,
	       json_t **inflight, struct ob_err *err)
{
	struct control_upgrade up = {
		.dry_run = opt->dry_run, .look = look, .arg = opt,
	};
	char full[PATH_MAX];
	int r = find(opt->to, full, err);

	if (r || (r = control_call(path, "inflight", NULL, inflight, err)))
		return r;
	up.binary = opt->to ? full : NULL;
	return control_upgrade(path, &up, status, err);
}

static int upgrade(const char *path, struct options *opt)
{
	json_t *status = NULL, *inflight = NULL;
	struct ob_err err = { 0 }, why = { 0 };
	int r = ask(path, opt, &status, &inflight, &err);

	if (!r || r == -ECANCELED) {
		json_t *tree = describe(opt, status, inflight,
					r ? err.msg : NULL);
		int printed = report_print(stdout, tree, opt->json, &why);

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
OB_ARG_FLAG(no_wait, struct options, no_wait)
OB_ARG_FLAG(json, struct options, json)

static const struct ob_arg args[] = {
	{ "to", "BINARY", "the new one (what has the old one's name now)",
	  set_to },
	{ "dry-run", NULL, "let it judge the state, and go on with the old",
	  set_dry_run },
	{ "no-wait", NULL, "end as soon as the new one serves", set_no_wait },
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
