/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A keeper for tests: a table of names in the process that has no lives, and
 * workers that are forked from it, inherit the table, and are killed.  What a
 * worker keeps or drops reaches the table through a socket, also after its
 * death.  Its rings are the table's, too, so that what it had in flight can be
 * waited for.
 */
#ifndef TEST_BLOCK_HEIRS_H
#define TEST_BLOCK_HEIRS_H

#include "base/keep.h"
#include "rig.h"

#include "../open_fds.h"

#define HEIRS_NAMES 16

struct heirs {
	struct ob_keep ops;
	struct {
		char name[OB_KEEP_NAME_MAX + 1];
		int fd;
	} kept[HEIRS_NAMES];
	int sock;		/* a worker's end, or the table's */
	enum ob_loop_engine engine;
	struct ob_loop *loop;	/* that waits for the rings of the dead */
	const char *spec;
	unsigned flags;
	unsigned nr_lives;
};

void heirs_start(struct heirs *heirs, struct rig *rig, const char *spec);
/* Forgets all that is kept. */
void heirs_stop(struct heirs *heirs);
unsigned heirs_nr_kept(const struct heirs *heirs);

/* Opens the drive from what is kept. */
int heirs_open(struct heirs *heirs, struct rig *rig, struct ob_err *err);
void heirs_must_open(struct heirs *heirs, struct rig *rig);

/*
 * One life: a process with a loop of its own opens the drive and calls work,
 * which ends with SIGKILL in any case.  Returns when it is dead, all that it
 * kept is in the table, and nothing of it is in flight.
 */
void heirs_live(struct heirs *heirs, void (*work)(struct heirs *heirs,
						  struct rig *rig, void *arg),
		void *arg);
void heirs_die(void) __attribute__((noreturn));
/* Memory that all processes share. */
void *heirs_shared(size_t size);

#endif
