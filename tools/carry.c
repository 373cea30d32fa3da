// SPDX-License-Identifier: BSD-3-Clause
/* Between a file and the pipe that stands for it at a server. */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "carry.h"

#define PIECE 65536

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int carry(int from, int to)
{
	char piece[PIECE];
	ssize_t n;
	int r = 0;

	while (!r && (n = read(from, piece, sizeof(piece)))) {
		if (n > 0)
			r = write_all(to, piece, (size_t)n);
		else if (errno != EINTR)
			r = -errno;
	}
	return r;
}
