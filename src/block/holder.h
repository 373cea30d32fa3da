/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_BLOCK_HOLDER_H
#define OB_BLOCK_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

struct ob_holder {
	pid_t pid;
	bool self;		/* this process, by another descriptor */
	char name[32];
};

/* Who else holds a lock on that byte of fd's file; false: cannot tell. */
bool ob_holder_find(int fd, off_t byte, struct ob_holder *holder);

#endif
