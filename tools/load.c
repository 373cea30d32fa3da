// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard load: a state from a file or a pipe into a served device.  The
 * server judges it, and its words are what is printed when it does not like
 * it.  The device is reset then, and its drive is what it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connect.h"
#include "move.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

static int get(void *arg, unsigned *device, void *buf, size_t room,
	       size_t *got, struct ob_err *err)
{
	const int *fd = arg;
	ssize_t n = move_read(*fd, buf, room);

	(void)device;
	if (n < 0)
		return ob_fail(err, errno, "cannot read: %s", strerror(errno));
	*got = (size_t)n;
	return 0;
}

static int load_all(struct ob_client *client, int fd,
		    const struct ob_migrate_params *params,
		    struct ob_migrate_result *result, struct ob_err *err)
{
	struct ob_incoming *in;
	int r = ob_incoming_begin(&client, 1, params, &in, result, err);

	if (r)
		return r;
	r = ob_incoming_pull(in, get, &fd, err);
	if (!r)
		r = ob_incoming_load(in, err);
	if (!r)
		r = ob_incoming_run(in, err);
	ob_incoming_destroy(in, NULL);
	return r;
}

/* What has become of the device, and what else failed on the way. */
static int failed(const struct ob_migrate_result *result,
		  const struct ob_err *err)
{
	bool reset = result->steps[OB_MIGRATE_RESET].count &&
		     !result->note[0];

	fprintf(stderr, "outboard load: %s%s\n",
		move_interrupted() ? "interrupted" : err->msg,
		reset ? "; the device is reset" : "");
	if (result->note[0])
		fprintf(stderr, "outboard load: then: %s\n", result->note);
	return TOOL_FAILED;
}

static int load_from(int fd, const char *path, struct ob_client *client)
{
	static struct ob_migrate_result result;
	static struct move_view view;
	struct ob_migrate_params params = { .ops = &move_ops, .arg = &view };
	char size[REPORT_SIZE_MAX];
	struct ob_err err = { 0 };
	struct stat st;
	int r;

	move_view_init(&view, "load");
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		view.expected = (uint64_t)st.st_size;
	move_catch_signals();
	r = load_all(client, fd, &params, &result, &err);
	move_view_end(&view);
	if (r) {
		ob_err_prefix(&err, "%.80s", path);
		return failed(&result, &err);
	}
	fprintf(stderr, "outboard load: %s; the device goes on.\n",
		report_size(result.device_bytes, size));
	return TOOL_OK;
}

/* What cannot be read is known before the device is touched. */
static int open_file(const char *path, int *fd, struct ob_err *err)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd >= 0 && !fstat(*fd, &st) && S_ISDIR(st.st_mode))
		return ob_fail(err, EISDIR, "%s: %s", path, strerror(EISDIR));
	return *fd < 0 ? ob_fail(err, errno, "%s: %s", path, strerror(errno))
		       : 0;
}

static int load(const char *path, const char *socket)
{
	bool standard = !strcmp(path, "-");
	const char *name = standard ? "standard input" : path;
	struct ob_client *client = NULL;
	struct ob_err err = { 0 };
	int fd = -1, r;

	r = standard ? 0 : open_file(path, &fd, &err);
	if (!r)
		r = tool_connect(socket, &client, &err);
	r = r ? tool_failed("load", &err)
	      : load_from(standard ? STDIN_FILENO : fd, name, client);
	ob_client_destroy(client);
	if (!standard && fd >= 0)
		close(fd);
	return r;
}

static const struct ob_arg args[] = {
	{ NULL, NULL, NULL, NULL },
};

void tool_load_help(FILE *out)
{
	fputs("  - is standard input.\n", out);
}

int tool_load(int argc, char **argv)
{
	const char *words[2];

	if (tool_words_args(args, NULL, argc, argv, "FILE and SOCKET are", 2,
			    words))
		return TOOL_USAGE;
	return load(words[0], words[1]);
}
