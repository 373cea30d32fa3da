/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One move of a user-space guest from one server to another, in the order of a
 * VMM, cut into steps so that it can be given up before any of them.
 */
#ifndef TOOLS_GUEST_MOVE_H
#define TOOLS_GUEST_MOVE_H

#include "guest.h"

enum move_step {
	MOVE_CONNECT, MOVE_LOG, MOVE_RESUMING, MOVE_PRE_COPY, MOVE_ROUND,
	MOVE_P2P, MOVE_STOP, MOVE_LAST_PAGES, MOVE_DATA, MOVE_LOADED,
	MOVE_SWITCHED, MOVE_NR_STEPS
};

struct move_plan {
	bool pre_copy, p2p;
	unsigned rounds;		/* of pre-copy */
	enum move_step cancel;		/* before this; MOVE_NR_STEPS: never */
	bool refuse;			/* the destination is expected to */
	bool cut;			/* a server may die: an error of the
					   stream then ends it as by plan */
	size_t chunk;			/* bytes of a data message */
};

enum move_end { MOVE_MOVED, MOVE_CANCELLED, MOVE_REFUSED, MOVE_CUT };

/*
 * After MOVED the guest's client is the new one and the old is gone; else
 * the guest is where it was, and runs.  An error is a failure of the test.
 */
/* to: the socket of the other server. */
int move_guest(struct guest *g, const char *to,
	       const struct move_plan *plan, enum move_end *end,
	       uint64_t *downtime_ns, struct ob_err *err);
const char *move_step_name(enum move_step step);

#endif
