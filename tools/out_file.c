// SPDX-License-Identifier: BSD-3-Clause
#include "out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "move.h"

static bool is_standard(const char *path)
{
	return !strcmp(path, "-");
}

bool out_file_is_regular(const char *path)
{
	struct stat st;

	return !is_standard(path) && (stat(path, &st) || S_ISREG(st.st_mode));
}

static int open_standard(struct out_file *f, struct ob_err *err)
{
	f->fd = STDOUT_FILENO;
	return isatty(f->fd) ? ob_fail(err, EINVAL, "standard output is a "
				       "terminal")
			     : 0;
}

int out_file_open(struct out_file *f, const char *path, struct ob_err *err)
{
	f->path = path;
	f->temp[0] = 0;
	f->fd = -1;
	move_catch_signals();
	if (is_standard(path))
		return open_standard(f, err);
	if (!out_file_is_regular(path))
		f->fd = open(path, O_WRONLY | O_CLOEXEC);
	else if (snprintf(f->temp, sizeof(f->temp), "%s.XXXXXX", path) <
		 (int)sizeof(f->temp))
		f->fd = mkostemp(f->temp, O_CLOEXEC);
	else
		errno = ENAMETOOLONG;
	if (f->fd >= 0)
		return 0;
	f->temp[0] = 0;
	return ob_fail(err, errno, "cannot create %s: %s", path,
		       strerror(errno));
}

/* It may have other owners than us, so it is not made non-blocking. */
static int write_all(int fd, const uint8_t *at, size_t len)
{
	while (len) {
		ssize_t n = move_interrupted() ? (errno = EINTR, -1)
					       : write(fd, at, len);

		if (n < 0 && errno == EINTR && !move_interrupted())
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int out_file_put(struct out_file *f, const void *bytes, size_t len,
		 struct ob_err *err)
{
	int r = write_all(f->fd, bytes, len);

	if (r == -EINTR)
		return ob_fail(err, EINTR, "interrupted");
	return r ? ob_fail(err, -r, "cannot write to %s: %s",
			   is_standard(f->path) ? "standard output" : f->path,
			   strerror(-r))
		 : 0;
}

/* The name is on the disk when its folder is. */
static void sync_folder(const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int fd;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder ? 1 : 0] = 0;
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Some file systems cannot; the file itself is there. */
	(void)fsync(fd);
	close(fd);
}

static void forget(struct out_file *f)
{
	f->temp[0] = 0;
	f->fd = -1;
}

int out_file_keep(struct out_file *f, struct ob_err *err)
{
	int r = 0;

	if (f->temp[0] && (fsync(f->fd) || rename(f->temp, f->path)))
		r = -errno;
	else if (f->temp[0])
		f->temp[0] = 0;
	if (r)
		return ob_fail(err, -r, "cannot write %s: %s", f->path,
			       strerror(-r));
	if (f->fd != STDOUT_FILENO && close(f->fd))
		r = -errno;
	forget(f);
	if (out_file_is_regular(f->path))
		sync_folder(f->path);
	return r ? ob_fail(err, -r, "cannot write %s: %s", f->path,
			   strerror(-r))
		 : 0;
}

void out_file_drop(struct out_file *f)
{
	if (f->temp[0])
		unlink(f->temp);
	if (f->fd >= 0 && f->fd != STDOUT_FILENO)
		close(f->fd);
	forget(f);
}
