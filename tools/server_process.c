// SPDX-License-Identifier: BSD-3-Clause
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server_process.h"

pid_t server_pid(const struct ob_client *client)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(ob_client_fd(client), SOL_SOCKET, SO_PEERCRED, &cred,
		       &len))
		return 0;
	return cred.pid;
}

double process_cpu_seconds(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	/* utime and stime, the 14th and 15th (proc(5)) */
	if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u "
		      "%*u %lu %lu", &user, &system) != 2)
		user = system = 0;
	fclose(f);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

void process_cpus(pid_t pid, cpu_set_t *cpus)
{
	if (pid <= 0 || sched_getaffinity(pid, sizeof(*cpus), cpus))
		sched_getaffinity(0, sizeof(*cpus), cpus);
}
