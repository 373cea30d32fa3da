/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that appears under its name, or replaces the one there, when all of
 * it is on the disk: until then it has another name beside it, and goes when
 * it is dropped.  Its owner alone can read it, since what a guest had in its
 * device may be in it.  A device or a fifo is written to, never replaced;
 * "-" is standard output.
 */
#ifndef TOOLS_OUT_FILE_H
#define TOOLS_OUT_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include <outboard/error.h>

struct out_file {
	const char *path;		/* as it will be called; "-" */
	char temp[PATH_MAX];		/* what it is called now; "": path */
	int fd;
};
#define OUT_FILE_NONE { .fd = -1 }

/* A signal that move.h catches, and a limit of size, are errors from here on. */
int out_file_open(struct out_file *f, const char *path, struct ob_err *err);
int out_file_put(struct out_file *f, const void *bytes, size_t len,
		 struct ob_err *err);
/* On the disk, with its name. */
int out_file_keep(struct out_file *f, struct ob_err *err);
/* After a keep that succeeded, and for OUT_FILE_NONE, it does nothing. */
void out_file_drop(struct out_file *f);
/* It is, or will be, a regular file. */
bool out_file_is_regular(const char *path);

#endif
