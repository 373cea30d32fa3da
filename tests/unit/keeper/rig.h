/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real keeper in a process of its own, with toy workers (toy.c), which really
 * die, hang and talk nonsense.
 */
#ifndef OB_TESTS_KEEPER_RIG_H
#define OB_TESTS_KEEPER_RIG_H

#include <poll.h>
#include <sys/resource.h>

#include "../base/unit.h"
#include "board.h"

#define WAIT_MS 60000
#define GRACE_MS 300u

extern const char *toy, *other;		/* and its copy, another file */
extern struct board *board;
extern pid_t keeper;

struct wish {
	bool standby, faulty;		/* a kernel that fails, see kernel.h */
	bool reaper;			/* inherits orphans, as PID 1 does */
	unsigned watchdog_ms, alive_ms, grace_ms, threads;
	rlim_t files;
	const char *log;		/* its standard error */
	const char *path;		/* of the next binary */
};

#define KEEP(...) keep(&(const struct wish){ __VA_ARGS__ })
void keep(const struct wish *wish);
/* The status with which it ends; 50: it allocated once it was ready. */
int ended(void);
int stop(void);

/* Polls: what happens in other processes cannot be waited for otherwise. */
#define UNTIL(condition) until(#condition, ({ \
	bool ok_ = false; \
	for (int i_ = 0; i_ < WAIT_MS && !(ok_ = (condition)); i_++) \
		poll(NULL, 0, 1); \
	ok_; }))
void until(const char *text, bool ok);

const struct birth *life(unsigned n);
bool lives(unsigned n);
void ring(enum act act);
/* The toy asks over the keeper's own channel. */
const struct ob_keeper_status *status(void);
void outcome_is(enum ob_upgrade_outcome outcome);
/* A client: connected; and one that waits for the end. */
int come(void);
int knock(void);
/* How often it has slept. */
unsigned long switches(pid_t pid);
void succeeded_after(enum act act, int signal);

int rig_clear(void **state);
int rig_prepare(void **state);
int rig_finish(void **state);
#define TEST(name) cmocka_unit_test_setup(name, rig_clear)
/* The toy, and which tests. */
int rig_arguments(int argc, char **argv);

#endif
