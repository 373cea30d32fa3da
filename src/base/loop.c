// SPDX-License-Identifier: BSD-3-Clause
/*
 * The loop's core: what runs in a turn, and when to sleep.
 *
 * A turn runs deferred callbacks, due timers, completions and pollers.  When
 * a turn found nothing to do the loop sleeps in the engine, with a timeout
 * only if a timer is armed, so that an idle process is never woken.  Requests
 * that callbacks queued travel with that same system call.
 *
 * Pollers watch memory that wakes nobody.  Before the loop sleeps each arms
 * its notification, which makes the other side's next signal an expensive
 * one; and waking on another core takes longer than a message does.  So where it
 * has paid before, the loop spins for a while first; loop_spin.c learns how long.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/relax.h"

#define DEFAULT_DEPTH	256
#define MAX_DEPTH	OB_RING_OPS

uint64_t ob_loop_now(const struct ob_loop *loop)
{
	struct timespec ts;

	(void)loop;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t ob_loop_turn_time(struct ob_loop *loop)
{
	if (!loop->turn_time)
		loop->turn_time = ob_loop_now(loop);
	return loop->turn_time;
}

bool ob_loop_is_uring(const struct ob_loop *loop)
{
	return loop->engine == &ob_engine_uring;
}

bool ob_loop_is_busy(const struct ob_loop *loop)
{
	if (loop->busy_poll)
		return true;
	for (struct ob_poller *p = loop->pollers; p; p = p->next)
		if (p->busy)
			return true;
	return false;
}

bool ob_loop_has_news(const struct ob_loop *loop)
{
	return !loop->in_flight && loop->engine->has_news &&
		loop->engine->has_news(loop);
}

void ob_loop_stop(struct ob_loop *loop)
{
	loop->stop = true;
}

void ob_loop_set_pulse(struct ob_loop *loop, const struct ob_loop_pulse *pulse)
{
	loop->pulse = pulse ? *pulse : (struct ob_loop_pulse){ 0 };
	if (pulse)
		*pulse->turn |= 1;
}

/* Stays odd. */
static void pulse_turn(struct ob_loop *loop)
{
	uint64_t *turn = loop->pulse.turn;

	if (turn)
		__atomic_store_n(turn, (*turn | 1) + 2, __ATOMIC_RELAXED);
}

void ob_loop_progress(struct ob_loop *loop)
{
	pulse_turn(loop);
}

/*
 * The watchdog stores what it saw and looks again; we store and look at what
 * it saw.  With both in one order one of the two notices.
 */
static void pulse_wake(struct ob_loop *loop, uint64_t slept)
{
	const struct ob_loop_pulse *pulse = &loop->pulse;

	__atomic_store_n(pulse->turn, slept + 1, __ATOMIC_SEQ_CST);
	if (pulse->idle_seen && pulse->awake &&
	    __atomic_load_n(pulse->idle_seen, __ATOMIC_SEQ_CST) == slept)
		pulse->awake(pulse->arg);
}

int ob_loop_wait(struct ob_loop *loop, int64_t timeout_ns)
{
	uint64_t *turn = loop->pulse.turn, slept;
	int r;

	if (!turn)
		return loop->engine->wait(loop, timeout_ns);
	slept = (*turn | 1) + 1;
	__atomic_store_n(turn, slept, __ATOMIC_RELEASE);
	r = loop->engine->wait(loop, timeout_ns);
	pulse_wake(loop, slept);
	return r;
}

static int open_engine(struct ob_loop *loop, enum ob_loop_engine which,
		       struct ob_err *err)
{
	int r;

	loop->engine = &ob_engine_uring;
	r = which == OB_LOOP_POOL ? -ENOSYS : loop->engine->open(loop, err);
	if (!r || which == OB_LOOP_URING)
		return r;
	if (which == OB_LOOP_AUTO)
		ob_log(NULL, OB_LOG_WARN, "no io_uring, threads do its work: %s",
		       err->msg);
	loop->engine = &ob_engine_pool;
	return loop->engine->open(loop, err);
}

/* Depends on the engine, which may take its part of the rings. */
static int open_parts(struct ob_loop *loop, enum ob_loop_engine which,
		      struct ob_err *err)
{
	int r = open_engine(loop, which, err);

	if (r)
		return r;
	r = ob_sure_create(loop, &loop->given, &loop->sure);
	if (r) {
		loop->engine->close(loop);
		return ob_fail(err, -r, "sure ring: %s", strerror(-r));
	}
	r = ob_posts_open(loop, err);
	if (r) {
		loop->engine->close(loop);
		ob_sure_destroy(loop->sure);
	}
	return r;
}

static void init(struct ob_loop *loop, const struct ob_loop_params *params)
{
	uint32_t depth = params && params->depth ? params->depth :
		DEFAULT_DEPTH;

	loop->depth = depth < MAX_DEPTH ? depth : MAX_DEPTH;
	loop->busy_poll = params && params->busy_poll;
	loop->deferred_tail = &loop->deferred;
	loop->free_slot = UINT32_MAX;
	ob_op_list_init(&loop->waiting);
	ob_op_list_init(&loop->finished);
}

int ob_loop_create_on(const struct ob_loop_params *params,
		      struct ob_rings *rings, struct ob_loop **out,
		      struct ob_err *err)
{
	struct ob_loop *loop = calloc(1, sizeof(*loop));
	struct ob_rings given = *rings;
	int r;

	*rings = (struct ob_rings){ -1, -1, -1, given.generation, 0 };
	if (!loop) {
		ob_rings_close(&given);
		return ob_fail(err, ENOMEM, "event loop: out of memory");
	}
	loop->given = given;
	init(loop, params);
	r = open_parts(loop, params ? params->engine : OB_LOOP_AUTO, err);
	/* What nobody took. */
	ob_rings_close(&loop->given);
	if (r) {
		free(loop->slots);
		free(loop);
	} else {
		*out = loop;
	}
	return r;
}

int ob_loop_create(const struct ob_loop_params *params, struct ob_loop **out,
		   struct ob_err *err)
{
	struct ob_rings none = { -1, -1, -1, 0, 0 };

	return ob_loop_create_on(params, &none, out, err);
}

void ob_loop_destroy(struct ob_loop *loop)
{
	if (!loop)
		return;
	ob_posts_close(loop);
	ob_op_drain(loop);
	ob_signals_close(loop);
	loop->engine->close(loop);
	ob_sure_destroy(loop->sure);
	ob_lending_finish(loop);
	free(loop->slots);
	free(loop);
}

void ob_poller_add(struct ob_loop *loop, struct ob_poller *poller)
{
	poller->next = loop->pollers;
	if (poller->next)
		poller->next->pprev = &poller->next;
	poller->pprev = &loop->pollers;
	loop->pollers = poller;
}

void ob_poller_remove(struct ob_loop *loop, struct ob_poller *poller)
{
	if (!poller->pprev)
		return;
	if (loop->poller_next == poller)
		loop->poller_next = poller->next;
	*poller->pprev = poller->next;
	if (poller->next)
		poller->next->pprev = poller->pprev;
	poller->pprev = NULL;
}

/* Pollers may remove themselves and others while the walk goes on. */
static struct ob_poller *walk(struct ob_loop *loop, struct ob_poller *poller)
{
	loop->poller_next = poller ? poller->next : NULL;
	return poller;
}

static bool poll_all(struct ob_loop *loop)
{
	struct ob_poller *poller;
	bool any = false;

	for (poller = walk(loop, loop->pollers); poller;
	     poller = walk(loop, loop->poller_next))
		any |= poller->poll(poller);
	return any;
}

static bool all_asleep(struct ob_loop *loop)
{
	struct ob_poller *poller;

	for (poller = walk(loop, loop->pollers); poller;
	     poller = walk(loop, loop->poller_next))
		if (!poller->sleep(poller))
			return false;
	return true;
}

/* Everything that is ready, without a system call if nothing is. */
static bool run_ready(struct ob_loop *loop)
{
	bool any;

	loop->turn_time = 0;
	any = ob_deferred_run(loop);
	any |= ob_timers_fire(loop);
	any |= ob_op_advance(loop);
	any |= loop->engine->reap(loop);
	any |= poll_all(loop);
	ob_signals_send(loop);
	return any;
}

/* The engine was full, and nothing may be on its way that makes it report. */
static bool was_refused(const struct ob_loop *loop)
{
	return loop->wanted ||
		(loop->waiting.head && loop->in_flight < loop->depth);
}

static bool must_not_sleep(const struct ob_loop *loop)
{
	return loop->stop || loop->deferred || loop->finished.head ||
		was_refused(loop);
}

static int sleep_idle(struct ob_loop *loop)
{
	if (must_not_sleep(loop))
		return 0;
	ob_signals_send(loop);
	return loop->raised ? 0 : ob_loop_wait(loop, ob_timers_left(loop));
}

/*
 * Whose turn is it?  An operation that has ended became an answer, to which the
 * other side may have another one begun; until then it is waited for, not the drive.
 */
static unsigned waits_for(const struct ob_loop *loop)
{
	return loop->unanswered || !loop->in_flight ? WAIT_PEER : WAIT_DRIVE;
}

/* Runs whatever turns up within the window; false if nothing does. */
static bool spin(struct ob_loop *loop, unsigned what, uint64_t start)
{
	struct spin *spin = &loop->spins[what];
	uint64_t window = spin->window;
	uint32_t unanswered = loop->unanswered;

	if (!window)
		return false;
	loop->engine->flush(loop, false);
	do {
		if (run_ready(loop)) {
			/* A drive's end says nothing about the other side. */
			if (what == WAIT_DRIVE || loop->unanswered <= unanswered)
				ob_spin_hit(spin);
			return true;
		}
		ob_relax();
	} while (!loop->stop && ob_loop_now(loop) - start < window);
	ob_spin_miss(spin);
	return false;
}

static int spin_or_sleep(struct ob_loop *loop)
{
	uint64_t start = ob_loop_now(loop);
	unsigned what = waits_for(loop);
	int r = 0;

	if (spin(loop, what, start))
		return 0;
	loop->unanswered = 0;
	if (all_asleep(loop))
		r = sleep_idle(loop);
	ob_spin_slept(&loop->spins[what], ob_loop_now(loop) - start);
	return r;
}

static int idle(struct ob_loop *loop)
{
	if (must_not_sleep(loop))
		return 0;
	if (ob_loop_is_busy(loop)) {
		loop->engine->flush(loop, false);
		return 0;
	}
	return spin_or_sleep(loop);
}

int ob_loop_run(struct ob_loop *loop)
{
	bool worked = false;
	int r = 0;

	while (!loop->stop && !r) {
		pulse_turn(loop);
		if (!run_ready(loop)) {
			r = idle(loop);
			worked = false;
			continue;
		}
		/* The next turn may sleep, and take the requests along. */
		if (worked || loop->pollers)
			loop->engine->flush(loop, false);
		worked = true;
	}
	loop->stop = false;
	loop->engine->flush(loop, true);
	return r;
}

int ob_loop_turn(struct ob_loop *loop, bool wait)
{
	int r = 0;

	pulse_turn(loop);
	if (!run_ready(loop) && wait) {
		r = idle(loop);
		if (!r)
			run_ready(loop);
	}
	loop->stop = false;
	loop->engine->flush(loop, true);
	return r;
}
