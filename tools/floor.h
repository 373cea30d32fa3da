/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor: what two processes reach that exchange messages of the same
 * sizes over a Unix stream socket and do nothing else.  No server can be
 * faster on this machine, so a server's rate is told as a share of it.
 */
#ifndef TOOLS_FLOOR_H
#define TOOLS_FLOOR_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <outboard/error.h>

#define FLOOR_MAX_MESSAGE ((1u << 20) + 64u)

struct floor {
	int fd;
	pid_t pid;
	bool spin;
	size_t request, reply;
};

/*
 * Starts the other process on the CPUs in `cpus`.  With reply 0 it takes
 * posted messages of `request` bytes, as many as one receive gives, and
 * answers only floor_barrier.
 */
int floor_start(struct floor *floor, size_t request, size_t reply, bool spin,
		const cpu_set_t *cpus, struct ob_err *err);
void floor_stop(struct floor *floor);

int floor_exchange(struct floor *floor);
/* count posted messages in one send, at most FLOOR_MAX_BATCH bytes. */
#define FLOOR_MAX_BATCH (32u << 10)
int floor_post(struct floor *floor, unsigned count);
/* Returns when everything posted has been taken. */
int floor_barrier(struct floor *floor);

#endif
