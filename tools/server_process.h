/* SPDX-License-Identifier: BSD-3-Clause */
/* The process at the other end of a client's socket. */
#ifndef TOOLS_SERVER_PROCESS_H
#define TOOLS_SERVER_PROCESS_H

#include <sched.h>
#include <sys/types.h>

#include <outboard/client.h>

/* Who made the socket listen; 0 when the kernel does not tell. */
pid_t server_pid(const struct ob_client *client);
/* Seconds of CPU that a process has used; 0 when it cannot be told. */
double process_cpu_seconds(pid_t pid);
/* Where it may run; the caller's own CPUs when it cannot be told. */
void process_cpus(pid_t pid, cpu_set_t *cpus);

#endif
