/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The processes at the other end of a client's socket: a keeper and its worker
 * both hold it, and which worker that is changes.
 */
#ifndef TOOLS_SERVER_PROCESS_H
#define TOOLS_SERVER_PROCESS_H

#include <sched.h>
#include <stdint.h>
#include <sys/types.h>

#include <outboard/client.h>

#define SERVER_PROCESSES 8u

struct server_processes {
	pid_t pids[SERVER_PROCESSES];
	unsigned count;			/* 0: the kernel does not tell */
};

/* Who holds it now; a NULL client has none. */
void server_find(const struct ob_client *client, struct server_processes *out);
/* Seconds of CPU that they have used together; 0 when it cannot be told. */
double server_cpu_seconds(const struct server_processes *server);
/* The scheduler's own account of all their threads, which knows nanoseconds. */
struct server_activity {
	uint64_t ns;			/* on a CPU */
	uint64_t turns;			/* times that one got a CPU */
};
void server_activity(const struct server_processes *server,
		     struct server_activity *out);
/* Where they may run; the caller's own CPUs when it cannot be told. */
void server_cpus(const struct server_processes *server, cpu_set_t *cpus);

#endif
