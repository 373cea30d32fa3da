/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel that fails.  Calls of this process, and of those that it forks, fail
 * as the plan says; what they execute is spared.
 */
#ifndef OB_TESTS_KEEPER_KERNEL_H
#define OB_TESTS_KEEPER_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

struct kernel_plan {		/* in shared memory */
	int nr, error;		/* the call, and what it says, 0, too */
	unsigned skip, times;	/* after that many; that often */
	bool steal;		/* and takes a client from the listening socket
				   that the call is about */
	unsigned failed;	/* so far */
	int listener;		/* its own */
};

/*
 * nrs are all calls that a plan may name, 0 at the end; clone means those with
 * CLONE_PARENT, epoll_ctl those that add.  False: this machine cannot.
 */
bool kernel_fails(const int *nrs, struct kernel_plan *plan);

#endif
