// SPDX-License-Identifier: BSD-3-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

static void run(const struct child_options *options, const char *device,
		int out, const char *log)
{
	const char *argv[8 + CHILD_MAX_OPTIONS], *level;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	unsigned n = 0;

	level = getenv("TORTURE_LOG");
	argv[n++] = "outboard";
	argv[n++] = "serve";
	argv[n++] = "--log-level";
	argv[n++] = level ? level : "warn";
	argv[n++] = "--device";
	argv[n++] = device;
	for (unsigned i = 0; options->options[i]; i++)
		argv[n++] = options->options[i];
	argv[n] = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
	execv(options->outboard, (char *const *)argv);
	_exit(127);
}

/* The ready line comes, or the end of file. */
static int await_ready(int fd)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -ECHILD;
}

int child_start(struct child *child, const struct child_options *options,
		struct ob_err *err)
{
	char device[512];
	int ready[2], r;

	snprintf(child->path, sizeof(child->path), "%s/%s.sock",
		 options->folder, options->name);
	snprintf(child->log, sizeof(child->log), "%s/%s.log",
		 options->folder, options->name);
	if (snprintf(device, sizeof(device), "%s,socket=%s", options->device,
		     child->path) >= (int)sizeof(device))
		return ob_fail(err, ENAMETOOLONG, "too long a device");
	if (pipe2(ready, O_CLOEXEC))
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	child->pid = fork();
	if (child->pid == 0)
		run(options, device, ready[1], child->log);
	close(ready[1]);
	r = child->pid < 0 ? -errno : await_ready(ready[0]);
	close(ready[0]);
	return r ? ob_fail(err, -r, "%s does not start, see %s", device,
			   child->log)
		 : 0;
}

int child_stop(struct child *child)
{
	int status = 0;

	if (child->pid <= 0)
		return 0;
	kill(child->pid, SIGTERM);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	return status;
}

int child_alive(const struct child *child, struct ob_err *err)
{
	int status;

	if (waitpid(child->pid, &status, WNOHANG) == 0)
		return 0;
	return ob_fail(err, ECHILD, "the server at %s ended, status %#x",
		       child->path, status);
}

/* Parent and start time of a process: fields 4 and 22 of stat (proc(5)). */
static int read_stat(const char *pid, int *parent, unsigned long long *start)
{
	char path[64], text[512], *at;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = (int)read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u "
			  "%*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", parent,
			  start) != 2)
		return -ESRCH;
	return at[2] == 'Z' ? -ESRCH : 0;
}

/* What a keeper starts with this word in its environment is a worker. */
static bool is_worker(const char *pid)
{
	static const char word[] = "OUTBOARD_KEEPER=";
	char path[64], text[32768];
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%.20s/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = (int)read(fd, text, sizeof(text));
	close(fd);
	return n > 0 && memmem(text, (size_t)n, word, sizeof(word) - 1);
}

pid_t child_worker(const struct child *child)
{
	unsigned long long start, oldest = 0;
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	pid_t found = 0, pid;
	int parent;

	while (dir && (entry = readdir(dir))) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid <= 0 || read_stat(entry->d_name, &parent, &start) ||
		    parent != child->pid || !is_worker(entry->d_name))
			continue;
		/* Pids tell who is older within one tick of the clock. */
		if (!found || start < oldest ||
		    (start == oldest && pid < found)) {
			found = pid;
			oldest = start;
		}
	}
	if (dir)
		closedir(dir);
	return found;
}

unsigned process_fds(pid_t pid)
{
	unsigned count = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

size_t process_memory(pid_t pid)
{
	unsigned long kib = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (size_t)kib << 10;
}
