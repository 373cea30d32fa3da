/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop's pulse: memory in which a watchdog, in another process, sees
 * that the loop turns.
 *
 * `turn` is odd while the loop is awake, even while it sleeps, and changes
 * with every turn.  A watchdog that finds it even need not look again: it
 * stores what it saw in `idle_seen`, looks at `turn` once more, and stops
 * looking if that is still the same.  The loop calls `awake` when it wakes
 * from a sleep that was seen, so that an idle process wakes nobody.
 */
#ifndef OB_BASE_PULSE_H
#define OB_BASE_PULSE_H

#include <stdint.h>

#include <outboard/loop.h>

struct ob_loop_pulse {
	uint64_t *turn;			/* the loop's */
	const uint64_t *idle_seen;	/* the watchdog's */
	void (*awake)(void *arg);	/* optional */
	void *arg;
};

/* What it points to outlives the loop; NULL: no pulse, the default. */
void ob_loop_set_pulse(struct ob_loop *loop, const struct ob_loop_pulse *pulse);

#endif
