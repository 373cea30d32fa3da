/* SPDX-License-Identifier: BSD-3-Clause */
/* Processes that serve a device each, started and ended by the test. */
#ifndef TORTURE_SERVERS_H
#define TORTURE_SERVERS_H

#include <stddef.h>
#include <sys/types.h>

#include <outboard/error.h>

struct server {
	pid_t pid;
	char path[128];			/* of its socket */
};

/* device: MODEL,KEY=VALUE,...; the socket is added.  Waits until it listens. */
int server_start(struct server *s, const char *outboard, const char *folder,
		 const char *name, const char *device, struct ob_err *err);
void server_stop(struct server *s);
/* It runs; else the message says how it ended. */
int server_alive(const struct server *s, struct ob_err *err);
unsigned server_fds(const struct server *s);
/* Bytes of private memory: what a leak would add to. */
size_t server_memory(const struct server *s);

#endif
