// SPDX-License-Identifier: BSD-3-Clause
/*
 * The gate.
 *
 *	lane:	inside = 1			owner:	shut = 1
 *		(fence)					(fence)
 *		if (shut)				until inside == 0: wait
 *			inside = 0, wait		...
 *		...				shut = 0, wake
 *		inside = 0
 *		(fence)
 *		if (shut): wake
 *
 * Each side writes its word and then reads the other's, so with a fence between
 * the two one of them at least sees the other: either the lane does not go in,
 * or the owner waits until it is out again.  At the way out it is the same: the
 * owner sees that it is out, or the lane sees that somebody may be waiting.
 *
 * The lane's fence is made by the owner: membarrier returns after every running
 * thread of the process has made one, and a thread that does not run made one when it
 * was put to sleep.  So wherever the lane was between its two accesses, they are
 * in order now.  Where that call is refused both sides make their own.
 *
 * What a lane did inside is seen by the owner, by the release and the acquire of
 * `inside`; what the owner did is seen by lanes, by those of the state.
 *
 * A gate through which nobody is expected to go has a third state, LOCKED: owner and
 * lanes take a lock, which is cheaper for the owner than that call.  It changes to and
 * from that while it has everybody out.
 */
#include "base/gate.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/relax.h"
#include "base/sanitized.h"

/* Some ten microseconds: steps are shorter.  The test has its own. */
#ifndef SPINS
#define SPINS 300u
#endif

/* ThreadSanitizer knows no membarrier. */
bool ob_gate_prepare(void)
{
	return !OB_THREAD_SANITIZED &&
	       !syscall(SYS_membarrier,
			MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

void ob_gate_init(struct ob_gate *gate, unsigned nr, bool fenced)
{
	assert(nr <= OB_GATE_LANES);
	*gate = (struct ob_gate){
		.nr = nr, .fenced = fenced || !ob_gate_prepare(),
		.state = OB_GATE_LOCKED, .locks = true,
	};
	pthread_mutex_init(&gate->lock, NULL);
}

void ob_gate_finish(struct ob_gate *gate)
{
	pthread_mutex_destroy(&gate->lock);
}

static void sleep_on(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* The lane */

static uint32_t state_of(const struct ob_gate *gate)
{
	return __atomic_load_n(&gate->state, __ATOMIC_SEQ_CST);
}

static bool is_shut(uint32_t state)
{
	return state == OB_GATE_SHUT || state == OB_GATE_AWAITED;
}

void ob_gate_left(struct ob_gate *gate, struct ob_gate_lane *lane)
{
	if (lane->has_lock) {
		lane->has_lock = false;
		pthread_mutex_unlock(&gate->lock);
	} else if (is_shut(state_of(gate))) {
		wake_all(&lane->inside);
	}
}

/* False: it has become another one, so that it is to be looked at again. */
static bool be_awaited(struct ob_gate *gate, uint32_t state)
{
	return state == OB_GATE_AWAITED ||
	       __atomic_compare_exchange_n(&gate->state, &state,
					   OB_GATE_AWAITED, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static uint32_t wait_open(struct ob_gate *gate)
{
	uint32_t state = state_of(gate);

	for (unsigned i = 0; i < SPINS && is_shut(state); i++) {
		ob_relax();
		state = state_of(gate);
	}
	for (; is_shut(state); state = state_of(gate))
		if (be_awaited(gate, state))
			sleep_on(&gate->state, OB_GATE_AWAITED);
	return state;
}

static bool take_lock(struct ob_gate *gate, struct ob_gate_lane *lane)
{
	pthread_mutex_lock(&gate->lock);
	lane->has_lock = state_of(gate) == OB_GATE_LOCKED;
	if (!lane->has_lock)
		pthread_mutex_unlock(&gate->lock);
	return lane->has_lock;
}

/* By its own word it is inside, and the gate was not open a moment ago. */
void ob_gate_wait(struct ob_gate *gate, struct ob_gate_lane *lane)
{
	do {
		__atomic_exchange_n(&lane->inside, 0, __ATOMIC_SEQ_CST);
		ob_gate_left(gate, lane);
		if (wait_open(gate) == OB_GATE_LOCKED && take_lock(gate, lane))
			return;
		__atomic_exchange_n(&lane->inside, 1, __ATOMIC_SEQ_CST);
	} while (state_of(gate) != OB_GATE_OPEN);
}

/* The owner */

static void fence_all(const struct ob_gate *gate)
{
	/* Registered, it cannot fail; without it nothing would hold. */
	if (!gate->fenced &&
	    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		abort();
}

static void wait_out(struct ob_gate_lane *lane)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (!__atomic_load_n(&lane->inside, __ATOMIC_SEQ_CST))
			return;
		ob_relax();
	}
	while (__atomic_load_n(&lane->inside, __ATOMIC_SEQ_CST))
		sleep_on(&lane->inside, 1);
}

void ob_gate_close(struct ob_gate *gate)
{
	if (gate->locks) {
		pthread_mutex_lock(&gate->lock);
		return;
	}
	__atomic_exchange_n(&gate->state, OB_GATE_SHUT, __ATOMIC_SEQ_CST);
	fence_all(gate);
	for (unsigned i = 0; i < gate->nr; i++)
		wait_out(&gate->lanes[i]);
}

void ob_gate_open(struct ob_gate *gate, bool busy)
{
	bool locked = gate->locks;
	uint32_t next = busy ? OB_GATE_OPEN : OB_GATE_LOCKED;

	gate->locks = !busy;
	if (!(locked && gate->locks) &&
	    __atomic_exchange_n(&gate->state, next, __ATOMIC_SEQ_CST) ==
	    OB_GATE_AWAITED)
		wake_all(&gate->state);
	if (locked)
		pthread_mutex_unlock(&gate->lock);
}
