// SPDX-License-Identifier: BSD-3-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "servers.h"

static void run(const char *outboard, const char *device, int out,
		const char *log)
{
	const char *level = getenv("TORTURE_LOG");
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
	execl(outboard, "outboard", "serve", "--log-level",
	      level ? level : "warn", "--device", device, (char *)NULL);
	_exit(127);
}

int server_start(struct server *s, const char *outboard, const char *folder,
		 const char *name, const char *device, struct ob_err *err)
{
	char full[512], log[160], byte;
	int ready[2];
	ssize_t n;

	snprintf(s->path, sizeof(s->path), "%s/%s.sock", folder, name);
	snprintf(log, sizeof(log), "%s/%s.log", folder, name);
	snprintf(full, sizeof(full), "%s,socket=%s", device, s->path);
	if (pipe2(ready, O_CLOEXEC))
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	s->pid = fork();
	if (s->pid == 0)
		run(outboard, full, ready[1], log);
	close(ready[1]);
	n = read(ready[0], &byte, 1);
	close(ready[0]);
	return n == 1 ? 0 : ob_fail(err, ECHILD, "%s does not start, see %s",
				    full, log);
}

void server_stop(struct server *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGTERM);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

int server_alive(const struct server *s, struct ob_err *err)
{
	int status;

	if (waitpid(s->pid, &status, WNOHANG) == 0)
		return 0;
	return ob_fail(err, ECHILD, "the server at %s ended, status %#x",
		       s->path, status);
}

unsigned server_fds(const struct server *s)
{
	unsigned count = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)s->pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

size_t server_memory(const struct server *s)
{
	unsigned long kib = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)s->pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (size_t)kib << 10;
}
