// SPDX-License-Identifier: BSD-3-Clause
/*
 * How long to spin before sleeping.
 *
 * A sleep that turned out short says that spinning would have been worth it:
 * a window a little longer than that gap is opened.  Work found within the
 * window keeps it open.  A window that closes without work is shut again, at
 * once when the load stops; but also where the other side shares our core and
 * can do nothing while we spin.  There every short sleep promises what no
 * spinning will ever keep, so each miss in a row doubles the number of short
 * sleeps that are ignored, and the cost of trying tends to nothing.
 *
 * The other side and a drive are waited for in turn, and one is quick where the other
 * is not: each has what it has learned for itself.  The penalty is also what keeps
 * the core from being spent on a drive most of whose requests last longer than the
 * longest window.
 */
#include <base/loop_private.h>

#define SPIN_MIN_NS	10000
#define SPIN_MAX_NS	50000
#define MAX_PENALTY	1024

void ob_spin_hit(struct spin *spin)
{
	spin->penalty = 0;
}

void ob_spin_miss(struct spin *spin)
{
	spin->window = 0;
	spin->holdoff = spin->penalty;
	spin->penalty = spin->penalty ? 2 * spin->penalty : 1;
	if (spin->penalty > MAX_PENALTY)
		spin->penalty = MAX_PENALTY;
}

void ob_spin_slept(struct spin *spin, uint64_t idle_ns)
{
	if (idle_ns >= SPIN_MAX_NS)
		return;
	if (spin->holdoff) {
		spin->holdoff--;
		return;
	}
	spin->window = 2 * idle_ns;
	if (spin->window < SPIN_MIN_NS)
		spin->window = SPIN_MIN_NS;
	if (spin->window > SPIN_MAX_NS)
		spin->window = SPIN_MAX_NS;
}
