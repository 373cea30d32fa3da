/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mark at the begin of a function of a process that is traced: who comes there
 * stops once, before its first instruction.
 */
#ifndef CRASH_MARK_H
#define CRASH_MARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct mark {
	pid_t process;			/* 0: none is set */
	uint64_t at;
	uint8_t was[4];
};

/* False: no such function, or no such machine. */
bool mark_set(struct mark *mark, pid_t process, const char *program,
	      const char *function);
/* The task has stopped at it; then it goes on as if there were none. */
bool mark_reached(struct mark *mark, pid_t task);
void mark_remove(struct mark *mark);

#endif
