// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard migrate: moves a device between two servers, as a VMM would that
 * has no guest.  Both servers must be free: a device has one client, and here
 * we are it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <outboard/option.h>

#include "connect.h"
#include "move.h"
#include "out_file.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

struct options {
	bool precopy, json;
	uint64_t bandwidth;
	unsigned downtime_ms;
	const char *plot;
};

OB_ARG_FLAG(precopy, struct options, precopy)
OB_ARG_FLAG(json, struct options, json)

static int set_bandwidth(void *into, const char *value, struct ob_err *err)
{
	struct options *opt = into;

	if (ob_parse_size(value, &opt->bandwidth, err))
		return -EINVAL;
	if (opt->bandwidth < 4096)
		return ob_fail(err, EINVAL, "at least 4K, not '%s'", value);
	return 0;
}

static int set_downtime(void *into, const char *value, struct ob_err *err)
{
	uint64_t ms;

	if (tool_parse_number(value, &ms, err))
		return -EINVAL;
	if (ms < 1 || ms > 3600000)
		return ob_fail(err, EINVAL, "1 to 3600000 ms, not '%s'",
			       value);
	((struct options *)into)->downtime_ms = (unsigned)ms;
	return 0;
}

OB_ARG_TEXT(plot, struct options, plot)

static const struct ob_arg args[] = {
	{ "precopy", NULL, "send what can go early while the device runs",
	  set_precopy },
	{ "bandwidth", "SIZE", "bytes per second while it runs, e.g. 100M",
	  set_bandwidth },
	{ "downtime-limit", "MS", "aim at this pause (default 300)",
	  set_downtime },
	{ "plot", "FILE.svg", "draw rounds and blackout over time", set_plot },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_migrate_help(FILE *out)
{
	ob_args_help(args, out);
}

static int connect_both(const char *const paths[2],
			struct ob_client *clients[2], struct ob_err *err)
{
	int r = tool_connect(paths[0], &clients[0], err);

	return r ? r : tool_connect(paths[1], &clients[1], err);
}

static int print(const struct options *opt, const char *const paths[2],
		 const struct ob_migrate_result *result, const char *why,
		 struct ob_err *err)
{
	json_t *tree;

	if (!opt->json) {
		move_print(stdout, result);
		return fflush(stdout) || ferror(stdout)
			       ? ob_fail(err, EIO, "cannot write the table")
			       : 0;
	}
	tree = move_describe(result);
	json_object_set_new(tree, "from", json_string(paths[0]));
	json_object_set_new(tree, "to", json_string(paths[1]));
	if (why)
		json_object_set_new(tree, "error", json_string(why));
	return report_print(stdout, tree, true, err);
}

/* What went wrong is told on standard error, and in JSON too. */
static int failed(const struct options *opt, const char *const paths[2],
		  const struct ob_migrate_result *result,
		  const struct ob_err *err)
{
	struct ob_err ignored = { 0 };

	if (opt->json)
		print(opt, paths, result, err->msg, &ignored);
	return move_failed("migrate", result, err);
}

/* Who reads that something failed must not start the source again. */
static int not_told(const struct ob_migrate_result *result,
		    struct ob_err *err)
{
	if (result->outcome == OB_MIGRATE_MOVED)
		ob_err_prefix(err, "the device has moved");
	return tool_failed("migrate", err);
}

static int move(const struct options *opt, const char *const paths[2],
		struct ob_client *const clients[2], struct move_view *view,
		struct ob_migrate_result *result)
{
	struct ob_migrate_params params = {
		.ops = &move_ops, .arg = view, .precopy = opt->precopy,
		.bandwidth = opt->bandwidth, .downtime_ms = opt->downtime_ms,
	};
	struct ob_err err = { 0 };
	int r;

	move_catch_signals();
	r = ob_migrate(&clients[0], &clients[1], 1, &params, result, &err);
	move_view_end(view);
	if (r)
		return failed(opt, paths, result, &err);
	r = print(opt, paths, result, NULL, &err);
	return r ? not_told(result, &err) : TOOL_OK;
}

/* A picture of what did not move may be just what is wanted. */
static int draw(FILE *plot, const char *path,
		const struct ob_migrate_result *result,
		const struct move_view *view, int status)
{
	struct ob_err err = { 0 };
	int r;

	if (!plot)
		return status;
	r = move_plot(plot, result, view, &err);
	if (fclose(plot) && !r)
		r = ob_fail(&err, errno, "cannot write the plot");
	if (!r)
		return status;
	ob_err_prefix(&err, "%s", path);
	if (out_file_is_regular(path))
		unlink(path);
	return not_told(result, &err);
}

static int open_plot(const char *path, FILE **plot, struct ob_err *err)
{
	*plot = path ? fopen(path, "we") : NULL;
	return !path || *plot ? 0 : ob_fail(err, errno, "%s: %s", path,
					    strerror(errno));
}

/* What cannot be opened is known before anything moves. */
static int migrate(const struct options *opt, const char *const paths[2])
{
	static struct ob_migrate_result result;
	static struct move_view view;
	struct ob_client *clients[2] = { NULL, NULL };
	struct ob_err err = { 0 };
	FILE *plot = NULL;
	int r = connect_both(paths, clients, &err);

	if (!r)
		r = open_plot(opt->plot, &plot, &err);
	if (r) {
		r = tool_failed("migrate", &err);
	} else {
		move_view_init(&view, "migrate");
		r = move(opt, paths, clients, &view, &result);
		r = draw(plot, opt->plot, &result, &view, r);
	}
	ob_client_destroy(clients[0]);
	ob_client_destroy(clients[1]);
	return r;
}

int tool_migrate(int argc, char **argv)
{
	struct options opt = { 0 };
	struct ob_err err = { 0 };
	const char *paths[2];

	if (tool_words_args(args, &opt, argc, argv,
			    "SOCKET-FROM and SOCKET-TO are", 2, paths))
		return TOOL_USAGE;
	if (tool_same_socket(paths[0], paths[1])) {
		ob_fail(&err, EINVAL, "%s and %s are the same socket", paths[0],
			paths[1]);
		return tool_misused("migrate", &err);
	}
	return migrate(&opt, paths);
}
