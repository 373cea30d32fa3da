// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server takes the next client when it has noticed that the last one has
 * gone, and the kernel may close the socket of a process that was killed a
 * moment after the wait for the process has ended.  Whoever runs one verb
 * after another must not have to know that.
 */
#include <errno.h>
#include <sys/stat.h>
#include <time.h>

#include "connect.h"

#define TRIES 25
#define PAUSE_NS 20000000L

int tool_connect(const char *path, struct ob_client **out, struct ob_err *err)
{
	const struct timespec pause = { 0, PAUSE_NS };
	int r = ob_client_connect(path, NULL, out, err);

	for (int i = 0; i < TRIES && r == -EBUSY; i++) {
		nanosleep(&pause, NULL);
		r = ob_client_connect(path, NULL, out, err);
	}
	return r;
}

bool tool_same_socket(const char *a, const char *b)
{
	struct stat one, other;

	return !stat(a, &one) && !stat(b, &other) &&
	       one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}
