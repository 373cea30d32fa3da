/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A gate between a few threads that go in and out all the time (lanes) and one
 * that seldom wants all of them out (its owner).  The lanes take no lock and pay
 * for no fence: where the kernel has membarrier, the owner has it make the fence
 * in all of them, when it shuts the gate.  gate.c says why that is enough.
 */
#ifndef OB_BASE_GATE_H
#define OB_BASE_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define OB_GATE_LANES 16u
#define OB_GATE_LINE 64u

/* A lane's line: it alone writes there. */
struct ob_gate_lane {
	_Alignas(OB_GATE_LINE) uint32_t inside;
	bool has_lock;			/* it went in by the lock */
};

enum ob_gate_state {
	OB_GATE_OPEN, OB_GATE_SHUT,
	OB_GATE_AWAITED,		/* shut, and some lane sleeps */
	OB_GATE_LOCKED,			/* whoever goes in takes the lock */
};

struct ob_gate {
	_Alignas(OB_GATE_LINE) uint32_t state;	/* enum ob_gate_state */
	bool fenced;			/* each side makes its own fences */
	bool locks;			/* the owner's: LOCKED, or was before shut */
	unsigned nr;
	pthread_mutex_t lock;
	struct ob_gate_lane lanes[OB_GATE_LANES];
};

/*
 * Once in a process that is going to have gates, best before it has threads: the
 * kernel is told, which takes it long if there are some.  False: they will be
 * fenced.
 */
bool ob_gate_prepare(void);
/* nr lanes, open by the lock.  fenced: also if that would not be needed. */
void ob_gate_init(struct ob_gate *gate, unsigned nr, bool fenced);
void ob_gate_finish(struct ob_gate *gate);

/* The owner's thread.  Returns when every lane is out, and stays out. */
void ob_gate_close(struct ob_gate *gate);
/*
 * busy: lanes will come often, and without a lock.  Else they are expected not to,
 * and the owner does not pay for what it would take to stop them.
 */
void ob_gate_open(struct ob_gate *gate, bool busy);

/* gate.c: the gate is not open, or was not when we left. */
void ob_gate_wait(struct ob_gate *gate, struct ob_gate_lane *lane);
void ob_gate_left(struct ob_gate *gate, struct ob_gate_lane *lane);

/*
 * A lane's thread.  Not again before it has left, and neither may it wait for
 * anybody inside.
 */
static inline void ob_gate_enter(struct ob_gate *gate, unsigned number)
{
	struct ob_gate_lane *lane = &gate->lanes[number];

	if (__builtin_expect(gate->fenced, 0)) {
		__atomic_exchange_n(&lane->inside, 1, __ATOMIC_SEQ_CST);
	} else {
		__atomic_store_n(&lane->inside, 1, __ATOMIC_RELAXED);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	if (__builtin_expect(__atomic_load_n(&gate->state, gate->fenced ?
			__ATOMIC_SEQ_CST : __ATOMIC_ACQUIRE), 0))
		ob_gate_wait(gate, lane);
}

static inline void ob_gate_leave(struct ob_gate *gate, unsigned number)
{
	struct ob_gate_lane *lane = &gate->lanes[number];

	if (__builtin_expect(gate->fenced, 0)) {
		__atomic_exchange_n(&lane->inside, 0, __ATOMIC_SEQ_CST);
	} else {
		__atomic_store_n(&lane->inside, 0, __ATOMIC_RELEASE);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	if (__builtin_expect(__atomic_load_n(&gate->state, gate->fenced ?
			__ATOMIC_SEQ_CST : __ATOMIC_RELAXED), 0))
		ob_gate_left(gate, lane);
}

#endif
