/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors of this process, with the one that the counting needs. */
#ifndef TESTS_OPEN_FDS_H
#define TESTS_OPEN_FDS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline unsigned count_fds_of(pid_t pid)
{
	char path[40];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		abort();
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline unsigned count_fds(void)
{
	return count_fds_of(getpid());
}

#endif
