// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which arcs there are, and which of them lead from here to there.
 *
 * The direct arcs are those of linux/vfio.h with P2P and PRE_COPY.  A request
 * for a state that is further away is a chain of them: the shortest, and
 * without a saving state on the way, since that would begin or end a stream
 * behind the client's back.  Within the saving group the stream is the same
 * one, so there the way may lead through the group.
 *
 * The way is searched afresh for each arc: eight states and fifteen arcs are
 * soon searched, and a table of 64 hops is long to read.
 */
#include <stddef.h>

#include "server/mig_state.h"

#define NR_ARCS (sizeof(arcs) / sizeof(arcs[0]))
#define FAR OB_NR_MIG_STATES

static const struct ob_mig_arc arcs[] = {
	{ OB_MIG_RUNNING, OB_MIG_RUNNING_P2P, OB_DEED_NONE },
	{ OB_MIG_RUNNING_P2P, OB_MIG_RUNNING, OB_DEED_NONE },
	{ OB_MIG_RUNNING_P2P, OB_MIG_STOP, OB_DEED_HALT },
	{ OB_MIG_STOP, OB_MIG_RUNNING_P2P, OB_DEED_RUN },
	{ OB_MIG_STOP, OB_MIG_STOPPED_COPY, OB_DEED_SAVE },
	{ OB_MIG_STOPPED_COPY, OB_MIG_STOP, OB_DEED_SAVED },
	{ OB_MIG_STOP, OB_MIG_RESUMING, OB_DEED_LOAD },
	{ OB_MIG_RESUMING, OB_MIG_STOP, OB_DEED_COMMIT },
	{ OB_MIG_RUNNING, OB_MIG_PRECOPY, OB_DEED_SAVE },
	{ OB_MIG_PRECOPY, OB_MIG_RUNNING, OB_DEED_SAVED },
	{ OB_MIG_RUNNING_P2P, OB_MIG_PRECOPY_P2P, OB_DEED_SAVE },
	{ OB_MIG_PRECOPY_P2P, OB_MIG_RUNNING_P2P, OB_DEED_SAVED },
	{ OB_MIG_PRECOPY, OB_MIG_PRECOPY_P2P, OB_DEED_NONE },
	{ OB_MIG_PRECOPY_P2P, OB_MIG_PRECOPY, OB_DEED_NONE },
	{ OB_MIG_PRECOPY_P2P, OB_MIG_STOPPED_COPY, OB_DEED_HALT },
};

static const char *const names[] = {
	[OB_MIG_ERROR] = "ERROR",
	[OB_MIG_STOP] = "STOP",
	[OB_MIG_RUNNING] = "RUNNING",
	[OB_MIG_STOPPED_COPY] = "STOP_COPY",
	[OB_MIG_RESUMING] = "RESUMING",
	[OB_MIG_RUNNING_P2P] = "RUNNING_P2P",
	[OB_MIG_PRECOPY] = "PRE_COPY",
	[OB_MIG_PRECOPY_P2P] = "PRE_COPY_P2P",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == OB_NR_MIG_STATES,
	       "each state has a name");

const char *ob_mig_state_name(uint32_t state)
{
	return state < OB_NR_MIG_STATES ? names[state] : "?";
}

bool ob_mig_is_saving(enum ob_mig_state state)
{
	return state == OB_MIG_STOPPED_COPY || state == OB_MIG_PRECOPY ||
	       state == OB_MIG_PRECOPY_P2P;
}

/* How far is each state from `to`, by ways that a request may take? */
static void measure(uint32_t to, bool through_saving,
		    unsigned far[OB_NR_MIG_STATES])
{
	const struct ob_mig_arc *arc;
	unsigned round;

	for (round = 0; round < OB_NR_MIG_STATES; round++)
		far[round] = FAR;
	far[to] = 0;
	for (round = 0; round < OB_NR_MIG_STATES; round++)
		for (arc = arcs; arc < arcs + NR_ARCS; arc++)
			if ((arc->to == to || through_saving ||
			     !ob_mig_is_saving(arc->to)) &&
			    far[arc->to] + 1 < far[arc->from])
				far[arc->from] = far[arc->to] + 1;
}

const struct ob_mig_arc *ob_mig_next(enum ob_mig_state from, uint32_t to)
{
	unsigned far[OB_NR_MIG_STATES];
	const struct ob_mig_arc *arc;
	bool within;

	if (to >= OB_NR_MIG_STATES || from == to)
		return NULL;
	within = ob_mig_is_saving(from) && ob_mig_is_saving(to);
	if (within && from == OB_MIG_STOPPED_COPY)
		return NULL;	/* what stands still is not iterated again */
	measure(to, within, far);
	if (far[from] == FAR)
		return NULL;
	for (arc = arcs; arc < arcs + NR_ARCS; arc++)
		if (arc->from == from && far[arc->to] + 1 == far[from] &&
		    (arc->to == to || within || !ob_mig_is_saving(arc->to)))
			return arc;
	return NULL;
}
