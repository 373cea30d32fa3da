// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard save: a device's state into a file or a pipe.
 *
 * The device stands still only for good when all of it has arrived: a file
 * is on the disk under its name, a pipe has taken the last byte.  Whatever
 * happens before, an interrupt, a full disk, a reader that goes, the device
 * goes on and no file is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connect.h"
#include "move.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

struct target {
	const char *path;		/* as it will be called */
	char temp[PATH_MAX];		/* what it is called now; "": path */
	int fd;
};

/* A device or a fifo is written to, not replaced. */
static bool is_special(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISREG(st.st_mode);
}

static int open_target(struct target *t, const char *path, struct ob_err *err)
{
	t->path = path;
	t->temp[0] = 0;
	t->fd = STDOUT_FILENO;
	if (!strcmp(path, "-"))
		return isatty(STDOUT_FILENO)
			       ? ob_fail(err, EINVAL, "standard output is a "
					 "terminal")
			       : 0;
	if (is_special(path)) {
		t->fd = open(path, O_WRONLY | O_CLOEXEC);
	} else if (snprintf(t->temp, sizeof(t->temp), "%s.XXXXXX", path) >=
		   (int)sizeof(t->temp)) {
		t->temp[0] = 0;
		return ob_fail(err, ENAMETOOLONG, "the name is too long");
	} else {
		t->fd = mkostemp(t->temp, O_CLOEXEC);
	}
	if (t->fd >= 0)
		return 0;
	t->temp[0] = 0;
	return ob_fail(err, errno, "cannot create %s: %s", path,
		       strerror(errno));
}

/* It has other owners than us, so it is not made non-blocking. */
static int write_all(int fd, const uint8_t *at, size_t len)
{
	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR && !move_interrupted())
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int put(void *arg, unsigned device, const void *bytes, size_t len,
	       struct ob_err *err)
{
	struct target *t = arg;
	int r = write_all(t->fd, bytes, len);

	(void)device;
	return r ? ob_fail(err, -r, "cannot write to %s: %s",
			   strcmp(t->path, "-") ? t->path : "standard output",
			   strerror(-r))
		 : 0;
}

/* The name is on the disk when its folder is. */
static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int fd, r;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder ? 1 : 0] = 0;
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fsync(fd) ? -errno : 0;
	close(fd);
	return r;
}

static int keep(struct target *t, struct ob_err *err)
{
	int r = 0;

	if (t->temp[0] && (fsync(t->fd) || rename(t->temp, t->path)))
		r = -errno;
	if (t->fd != STDOUT_FILENO && close(t->fd) && !r)
		r = -errno;
	t->fd = STDOUT_FILENO;
	if (!r && t->temp[0]) {
		t->temp[0] = 0;
		/* Some file systems cannot; the file itself is there. */
		(void)sync_folder(t->path);
	}
	return r ? ob_fail(err, -r, "cannot write %s: %s", t->path,
			   strerror(-r))
		 : 0;
}

static void drop(struct target *t)
{
	if (t->temp[0])
		unlink(t->temp);
	if (t->fd != STDOUT_FILENO && t->fd >= 0)
		close(t->fd);
}

static void tell(const char *socket, const char *path,
		 const struct ob_migrate_result *result)
{
	char size[REPORT_SIZE_MAX];

	fprintf(stderr, "outboard save: %s; the device stands still, its drive "
		"is free.\n", report_size(result->device_bytes, size));
	if (strcmp(path, "-") && !is_special(path))
		fprintf(stderr, "outboard save: to go on: outboard load %s "
			"SOCKET (here: %s)\n", path, socket);
}

static int save_to(struct ob_client *client, struct target *t,
		   struct move_view *view, struct ob_migrate_result *result,
		   struct ob_err *err)
{
	struct ob_migrate_params params = { .ops = &move_ops, .arg = view };
	struct ob_outgoing *out;
	int r = ob_outgoing_send(&client, 1, &params, put, t, &out, result,
				 err);

	if (r)
		return r;
	r = keep(t, err);
	if (!r)
		r = ob_outgoing_done(out, err);
	ob_outgoing_destroy(out);
	return r;
}

static int save(const char *socket, const char *path)
{
	static struct ob_migrate_result result;
	static struct move_view view;
	struct ob_client *client = NULL;
	struct target t = { .fd = -1 };
	struct ob_err err = { 0 };
	int r = tool_connect(socket, &client, &err);

	if (!r)
		r = open_target(&t, path, &err);
	if (r) {
		ob_client_destroy(client);
		return tool_failed("save", &err);
	}
	move_view_init(&view, "save");
	move_catch_signals();
	r = save_to(client, &t, &view, &result, &err);
	move_view_end(&view);
	drop(&t);
	ob_client_destroy(client);
	if (r)
		return move_failed("save", &result, &err);
	tell(socket, path, &result);
	return TOOL_OK;
}

static const struct ob_arg args[] = {
	{ NULL, NULL, NULL, NULL },
};

void tool_save_help(FILE *out)
{
	fputs("  FILE is replaced when all of it is there; - is standard "
	      "output.\n", out);
}

int tool_save(int argc, char **argv)
{
	const char *words[2];

	if (tool_words_args(args, NULL, argc, argv, "SOCKET and FILE are", 2,
			    words))
		return TOOL_USAGE;
	return save(words[0], words[1]);
}
