/* SPDX-License-Identifier: BSD-3-Clause */
/* A real device in a process of its own, served on a socket. */
#ifndef TEST_FORKED_H
#define TEST_FORKED_H

#include <sys/types.h>

#include <outboard/client.h>
#include <outboard/device.h>

struct forked {
	pid_t pid;
	char dir[64], path[96];
};

/* "edu" or "nvme,drive=mem:1M": the socket is added.  Fails the test. */
void forked_start(struct forked *f, const struct ob_device_class *cls,
		  const char *spec);
void forked_stop(struct forked *f);
/* Connects; fails the test if that is impossible. */
struct ob_client *forked_connect(const struct forked *f,
				 const struct ob_client_params *params);

#endif
