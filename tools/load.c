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
	ssize_t n;

	(void)device;
	do
		n = read(*fd, buf, room);
	while (n < 0 && errno == EINTR && !move_interrupted());
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

static int load_from(int fd, struct ob_client *client)
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
		fprintf(stderr, "outboard load: %s; the device is reset\n",
			move_interrupted() ? "interrupted" : err.msg);
		if (result.note[0])
			fprintf(stderr, "outboard load: then: %s\n",
				result.note);
		return TOOL_FAILED;
	}
	fprintf(stderr, "outboard load: %s; the device goes on.\n",
		report_size(result.device_bytes, size));
	return TOOL_OK;
}

static int load(const char *path, const char *socket)
{
	bool standard = !strcmp(path, "-");
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct ob_client *client = NULL;
	struct ob_err err = { 0 };
	int r = 0;

	if (fd < 0)
		r = ob_fail(&err, errno, "%s: %s", path, strerror(errno));
	if (!r)
		r = tool_connect(socket, &client, &err);
	r = r ? tool_failed("load", &err) : load_from(fd, client);
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
