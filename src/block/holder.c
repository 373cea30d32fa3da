// SPDX-License-Identifier: BSD-3-Clause
/*
 * The kernel does not say who holds an open file description lock, since the
 * description may belong to many processes.  But /proc/PID/fdinfo/FD lists the
 * locks held through a descriptor, one per line:
 *
 *	lock:	1: OFDLCK  ADVISORY  READ -1 fe:00:8211 101 101
 *
 * so the holder is a process that has the same file open and such a line for
 * the byte.  Of other users' processes we see nothing unless we are root.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/holder.h"

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

static bool line_covers(const char *line, long long byte)
{
	long long first, last;
	char end[24];

	if (sscanf(line, "lock: %*s %*s %*s %*s %*s %*s %lld %23s", &first,
		   end) != 2)
		return false;
	last = strcmp(end, "EOF") ? atoll(end) : byte;
	return first <= byte && byte <= last;
}

static bool fdinfo_has_lock(int proc, const char *pid, const char *fd,
			    off_t byte)
{
	__attribute__((cleanup(close_file))) FILE *file = NULL;
	OB_CLEANUP_FD int info = -1;
	char path[600], line[256];

	snprintf(path, sizeof(path), "%s/fdinfo/%s", pid, fd);
	info = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (info < 0 || !(file = fdopen(info, "r")))
		return false;
	ob_fd_take(&info);
	while (fgets(line, sizeof(line), file))
		if (line_covers(line, byte))
			return true;
	return false;
}

/* Whether the process has the file open with that lock, not through own. */
static bool process_holds(int proc, const char *pid, const struct stat *image,
			  int own, off_t byte)
{
	__attribute__((cleanup(close_dir))) DIR *dir = NULL;
	OB_CLEANUP_FD int fds = -1;
	char path[300];
	struct dirent *entry;
	struct stat st;

	snprintf(path, sizeof(path), "%s/fd", pid);
	fds = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fds < 0 || !(dir = fdopendir(fds)))
		return false;
	ob_fd_take(&fds);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == own ||
		    fstatat(dirfd(dir), entry->d_name, &st, 0) ||
		    st.st_dev != image->st_dev || st.st_ino != image->st_ino)
			continue;
		if (fdinfo_has_lock(proc, pid, entry->d_name, byte))
			return true;
	}
	return false;
}

static void read_name(int proc, const char *pid, struct ob_holder *holder)
{
	OB_CLEANUP_FD int fd = -1;
	char path[300];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/comm", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, holder->name, sizeof(holder->name) - 1);
	if (n <= 0)
		n = snprintf(holder->name, sizeof(holder->name), "?");
	holder->name[n] = '\0';
	holder->name[strcspn(holder->name, "\n")] = '\0';
}

bool ob_holder_find(int fd, off_t byte, struct ob_holder *holder)
{
	__attribute__((cleanup(close_dir))) DIR *dir = opendir("/proc");
	struct dirent *entry;
	struct stat image;

	if (!dir || fstat(fd, &image))
		return false;
	while ((entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 ||
		    !process_holds(dirfd(dir), entry->d_name, &image,
				   pid == getpid() ? fd : -1, byte))
			continue;
		holder->pid = pid;
		holder->self = pid == getpid();
		read_name(dirfd(dir), entry->d_name, holder);
		return true;
	}
	return false;
}
