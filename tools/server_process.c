// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who serves a socket.
 *
 * The kernel's own answer, SO_PEERCRED, is who made the socket listen, which
 * may have died since: its successor inherited the socket.  So we ask for the
 * inode of the other end (sock_diag(7)) and look who has it open.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server_process.h"

/* -- the other end ----------------------------------------------------- */

struct question {
	struct nlmsghdr head;
	struct unix_diag_req body;
};

static int ask(int netlink, uint32_t inode, void *answer, size_t room)
{
	struct question q = {
		.head = {
			.nlmsg_len = sizeof(q), .nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
		},
		.body = {
			.sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX,
			.udiag_ino = inode, .udiag_show = UDIAG_SHOW_PEER,
			.udiag_cookie = { UINT32_MAX, UINT32_MAX },
		},
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (sendto(netlink, &q, sizeof(q), 0, (struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0)
		return -errno;
	return (int)recv(netlink, answer, room, 0);
}

/* The attribute in an answer; 0: there is none. */
static uint32_t peer_in(const struct nlmsghdr *head, int len)
{
	const size_t skip = NLMSG_SPACE(sizeof(struct unix_diag_msg));
	const struct rtattr *attr = (const struct rtattr *)
		((const char *)head + skip);
	int left = (int)head->nlmsg_len - (int)skip;
	uint32_t inode = 0;

	if (len < (int)skip || head->nlmsg_len > (unsigned)len ||
	    head->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
		if (attr->rta_type == UNIX_DIAG_PEER)
			memcpy(&inode, RTA_DATA(attr), sizeof(inode));
	return inode;
}

static uint32_t peer_inode(int fd)
{
	union {
		struct nlmsghdr head;
		char bytes[1024];
	} answer;
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
			     NETLINK_SOCK_DIAG);
	uint32_t inode = 0;
	struct stat st;
	int len;

	if (netlink < 0)
		return 0;
	if (fstat(fd, &st) == 0) {
		len = ask(netlink, (uint32_t)st.st_ino, &answer,
			  sizeof(answer));
		inode = peer_in(&answer.head, len);
	}
	close(netlink);
	return inode;
}

/* -- who has it open --------------------------------------------------- */

static bool holds(pid_t pid, const char *socket)
{
	char path[300], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t n;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		n = readlinkat(dirfd(dir), entry->d_name, target,
			       sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = 0;
		found = !strcmp(target, socket);
	}
	closedir(dir);
	return found;
}

static void find_holders(uint32_t inode, struct server_processes *out)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char socket[64];
	pid_t pid;

	if (!proc)
		return;
	snprintf(socket, sizeof(socket), "socket:[%u]", inode);
	while (out->count < SERVER_PROCESSES && (entry = readdir(proc))) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0 && holds(pid, socket))
			out->pids[out->count++] = pid;
	}
	closedir(proc);
}

static void who_listened(int fd, struct server_processes *out)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		out->pids[out->count++] = cred.pid;
}

void server_find(const struct ob_client *client, struct server_processes *out)
{
	uint32_t inode;

	out->count = 0;
	if (!client)
		return;
	inode = peer_inode(ob_client_fd(client));
	if (inode)
		find_holders(inode, out);
	/* A kernel that does not answer, or a server of another user's. */
	if (!out->count)
		who_listened(ob_client_fd(client), out);
}

/* -- what they do ------------------------------------------------------ */

static double cpu_seconds(pid_t pid)
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

double server_cpu_seconds(const struct server_processes *server)
{
	double sum = 0;

	for (unsigned i = 0; i < server->count; i++)
		sum += cpu_seconds(server->pids[i]);
	return sum;
}

static void add_thread(const char *path, struct server_activity *sum)
{
	unsigned long long ns = 0, turns = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	/* run time, waiting time, turns (sched-stats) */
	if (fscanf(f, "%llu %*u %llu", &ns, &turns) == 2) {
		sum->ns += ns;
		sum->turns += turns;
	}
	fclose(f);
}

void server_activity(const struct server_processes *server,
		     struct server_activity *out)
{
	char path[300];

	*out = (struct server_activity){ 0 };
	for (unsigned i = 0; i < server->count; i++) {
		struct dirent *entry;
		DIR *tasks;

		snprintf(path, sizeof(path), "/proc/%d/task",
			 (int)server->pids[i]);
		tasks = opendir(path);
		while (tasks && (entry = readdir(tasks))) {
			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat",
				 (int)server->pids[i], entry->d_name);
			add_thread(path, out);
		}
		if (tasks)
			closedir(tasks);
	}
}

void server_cpus(const struct server_processes *server, cpu_set_t *cpus)
{
	cpu_set_t one;
	bool any = false;

	CPU_ZERO(cpus);
	for (unsigned i = 0; i < server->count; i++)
		if (!sched_getaffinity(server->pids[i], sizeof(one), &one)) {
			CPU_OR(cpus, cpus, &one);
			any = true;
		}
	if (!any)
		sched_getaffinity(0, sizeof(*cpus), cpus);
}
