// SPDX-License-Identifier: BSD-3-Clause
/*
 * From state to state.
 *
 * A request for a state runs a chain of arcs (mig_state.c); each has a deed,
 * and a deed that fails leaves the device where the last arc that was completed
 * has brought it.  The one exception is a load that was refused: what the state
 * RESUMING stood for is gone, and the device is in ERROR until it is reset,
 * although the guest's bytes are what they were.
 *
 * Time.  Some deeds wait: for commands to end, for a lock.  None of them
 * blocks the loop: the request is held (of a client: session.h; of the
 * operator: operator.c), the deed is tried again by a timer or when the model
 * calls, and its patience ends well within the second that a client may wait for
 * any answer (R8).
 *
 * The model's view is one line: run (stop (halt) run)*.  Whatever ends a
 * standstill, an arc, a reset or a client that goes, ends in go_on below.
 */
#include <errno.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/kept.h"
#include "server/operator_impl.h"
#include "server/session.h"

#define NS_PER_MS 1000000u
#define ACQUIRE_EVERY_MS 10
#define OLD_LIFE_EVERY_MS 1

static void set_state(struct ob_device *dev, enum ob_mig_state state)
{
	struct ob_mig *mig = &dev->mig;

	if (mig->state == state)
		return;
	ob_log(&dev->log, OB_LOG_DEBUG, "migration: %s to %s",
	       ob_mig_state_name(mig->state), ob_mig_state_name(state));
	mig->state = state;
	dev->ss->mig_state = (uint8_t)state;
	if (state == OB_MIG_RUNNING)
		dev->ss->operator &= (uint8_t)~OB_OPERATOR_LOADED;
}

enum ob_mig_party ob_mig_owner(const struct ob_device *dev)
{
	return dev->ss->mig_owner;
}

static void set_owner(struct ob_device *dev, enum ob_mig_party owner)
{
	dev->ss->mig_owner = (uint8_t)owner;
}

void ob_mig_set_given(struct ob_device *dev, bool given)
{
	dev->mig.given = given;
	dev->ss->given = given;
}

bool ob_mig_is_late(struct ob_device *dev, unsigned ms)
{
	uint64_t now = ob_loop_now(dev->loop);

	if (now >= dev->mig.deadline)
		return true;
	dev->mig.wait_ns = (uint64_t)ms * NS_PER_MS;
	if (dev->mig.wait_ns > dev->mig.deadline - now)
		dev->mig.wait_ns = dev->mig.deadline - now;
	return false;
}

bool ob_mig_is_still(enum ob_mig_state state)
{
	return state == OB_MIG_STOP || state == OB_MIG_STOPPED_COPY ||
	       state == OB_MIG_RESUMING || state == OB_MIG_ERROR;
}

/*
 * The end of a standstill, or of an attempt at one.  One that has another
 * reason, which is our predecessor's death, goes on until that ends.
 */
static void go_on(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	if (!mig->stopping && !mig->halted)
		return;
	ob_mig_set_given(dev, false);
	if (dev->adopting || dev->failed)
		return;
	mig->stopping = mig->stopped = mig->halted = false;
	ob_mig_drives_used(dev);
	ob_poll_update(dev);
	/* The model first: what its pin says is as old as the standstill. */
	if (dev->cls->run)
		dev->cls->run(dev);
	ob_irqs_deliver(dev);
}

/* Deeds: 0, -EINPROGRESS, or an error that leaves all as it was. */

static int do_nothing(struct ob_device *dev, struct ob_err *err)
{
	(void)dev;
	(void)err;
	return 0;
}

/* Once; what the model still waits for may call ob_dev_stopped. */
static void begin_stop(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	if (mig->stopping)
		return;
	mig->stopping = true;
	ob_dma_msg_drop(dev, 0, UINT64_MAX, -ECANCELED);
	if (dev->cls->stop && !dev->failed)
		dev->cls->stop(dev);
	else
		mig->stopped = true;
}

static void be_patient(struct ob_device *dev, uint64_t ms)
{
	struct ob_mig *mig = &dev->mig;

	mig->deadline = ob_loop_now(dev->loop) + ms * NS_PER_MS;
	if (mig->deadline > mig->latest)
		mig->deadline = mig->latest;
}

static int do_halt(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;

	if (dev->adopting)
		return ob_mig_is_late(dev, OLD_LIFE_EVERY_MS) ?
			ob_fail(err, EBUSY, "operations from before a "
				"restart have not ended") : -EINPROGRESS;
	if (!mig->stopping)
		be_patient(dev, ob_options_u64(dev->opts, "drain"));
	begin_stop(dev);
	if (!mig->stopped && !ob_mig_is_late(dev, OB_MIG_DRAIN_MAX_MS))
		return -EINPROGRESS;
	if (dev->cls->halt && !dev->failed)
		dev->cls->halt(dev);
	mig->halted = true;
	ob_poll_update(dev);
	ob_mig_drives_flush(dev);
	if (mig->save)
		ob_mig_save_stopped(dev);
	return 0;
}

/* To name who has a drive takes a search of all processes: once, at the end. */
static int acquire(struct ob_device *dev, struct ob_err *err)
{
	int r = ob_dev_acquire_drives(dev, NULL);

	if (r == -EBUSY && !ob_mig_is_late(dev, ACQUIRE_EVERY_MS))
		return -EINPROGRESS;
	return r ? ob_dev_acquire_drives(dev, err) : 0;
}

/* While a predecessor's requests are in the kernel it only may run (still_over). */
static int do_run(struct ob_device *dev, struct ob_err *err)
{
	int r = acquire(dev, err);

	if (r == 0)
		go_on(dev);
	return r;
}

/*
 * Who has handed its drives over has a state that may be old by now.  Who stands
 * still for a predecessor's sake only is not stopped: it will run again, with
 * its drives.
 */
static int do_save(struct ob_device *dev, struct ob_err *err)
{
	int r = acquire(dev, err);

	if (r || (r = ob_mig_save_begin(dev, err)))
		return r;
	if (ob_mig_is_still(dev->mig.state))
		ob_mig_save_stopped(dev);
	else
		ob_mig_drives_flush(dev);
	return 0;
}

static int do_saved(struct ob_device *dev, struct ob_err *err)
{
	(void)err;
	ob_mig_save_end(dev);
	dev->mig.broken = false;
	return 0;
}

static int do_load(struct ob_device *dev, struct ob_err *err)
{
	return ob_mig_load_begin(dev, err);
}

/* A request in the kernel still reads and writes what it was given. */
static int old_life(struct ob_device *dev, struct ob_err *err)
{
	unsigned n = dev->cls->in_flight ? dev->cls->in_flight(dev) : 0;

	n += ob_mig_drives_in_flight(dev);
	if (n == 0)
		return 0;
	if (!ob_mig_is_late(dev, OLD_LIFE_EVERY_MS))
		return -EINPROGRESS;
	return ob_fail(err, EBUSY, "%u operations from before the load have not ended",
		       n);
}

static int do_commit(struct ob_device *dev, struct ob_err *err)
{
	int r = old_life(dev, err);

	if (r)
		return r;
	r = dev->mig.load ? ob_mig_load_commit(dev, err) :
	    ob_fail(err, EIO, "the process that was loading has died");
	ob_mig_load_end(dev);
	dev->mig.broken = false;
	if (r)
		set_state(dev, OB_MIG_ERROR);
	else
		ob_mig_set_given(dev, false);
	return r;
}

static const struct {
	ob_mig_try run;
	unsigned patience_ms;		/* 0: it does not wait */
} deeds[OB_NR_DEEDS] = {
	[OB_DEED_NONE] = { do_nothing, 0 },
	/* ... for a predecessor's operations; then option drain. */
	[OB_DEED_HALT] = { do_halt, OB_MIG_OLD_LIFE_MS },
	[OB_DEED_RUN] = { do_run, OB_MIG_ACQUIRE_MS },
	[OB_DEED_SAVE] = { do_save, OB_MIG_ACQUIRE_MS },
	[OB_DEED_SAVED] = { do_saved, 0 },
	[OB_DEED_LOAD] = { do_load, 0 },
	[OB_DEED_COMMIT] = { do_commit, OB_MIG_OLD_LIFE_MS },
};

static void begin_arc(struct ob_device *dev, const struct ob_mig_arc *arc)
{
	dev->mig.arc = arc;
	be_patient(dev, deeds[arc->deed].patience_ms);
}

/* The arc in hand, to its end. */
static int run_arc(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;
	const struct ob_mig_arc *arc = mig->arc;
	int r = deeds[arc->deed].run(dev, err);

	if (r == -EINPROGRESS)
		return r;
	mig->arc = NULL;
	if (r == 0)
		set_state(dev, arc->to);
	else
		ob_err_prefix(err, "%s to %s", ob_mig_state_name(arc->from),
			      ob_mig_state_name(arc->to));
	return r;
}

static int run_arcs(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;
	int r = 0;

	while (r == 0 && mig->state != mig->target) {
		if (!mig->arc)
			begin_arc(dev, ob_mig_next(mig->state, mig->target));
		r = run_arc(dev, err);
	}
	if (r != -EINPROGRESS && mig->state == OB_MIG_RUNNING)
		set_owner(dev, OB_MIG_NOBODY);
	return r;
}

int ob_mig_claim(const struct ob_device *dev, enum ob_mig_party who,
		 struct ob_err *err)
{
	enum ob_mig_party owner = ob_mig_owner(dev);

	if (owner == OB_MIG_NOBODY || owner == who)
		return 0;
	return ob_fail(err, EBUSY, "in %s, where the %s has brought it",
		       ob_mig_state_name(dev->mig.state),
		       owner == OB_MIG_CLIENT ? "client" : "operator");
}

int ob_mig_request(struct ob_device *dev, enum ob_mig_party who,
		   uint32_t state, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;
	int r = ob_mig_claim(dev, who, err);

	if (r || (state == mig->state && state != OB_MIG_ERROR))
		return r;
	if (!ob_mig_next(mig->state, state))
		return ob_fail(err, EINVAL, "no way leads from %s to %s (%u)",
			       ob_mig_state_name(mig->state),
			       ob_mig_state_name(state), state);
	mig->target = state;
	set_owner(dev, who);
	return ob_mig_hold(dev, who, run_arcs, 0, err);
}

/* What takes time */

static int attempt(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;
	int r = mig->held(dev, mig->err);

	if (r == -EINPROGRESS)
		ob_timer_arm(dev->loop, &mig->timer, mig->wait_ns);
	else
		mig->held = NULL;
	return r;
}

/* The client is answered within the step, and its session may end after it. */
static void again(struct ob_device *dev)
{
	bool is_client = dev->mig.holder == OB_MIG_CLIENT;
	int r, sent = 0;

	ob_timer_cancel(dev->loop, &dev->mig.timer);
	ob_defer_cancel(dev->loop, &dev->mig.wake);
	ob_step_begin(&dev->mem, OB_STEP_TIMER);
	ob_step_protect(dev);
	r = attempt(dev);
	if (r != -EINPROGRESS && is_client)
		sent = ob_session_answer(dev->session, r);
	ob_dev_step_end(dev);
	if (r == -EINPROGRESS)
		return;
	if (is_client)
		ob_session_answered(dev->session, sent);
	else
		ob_operator_moved(dev, r);
}

static void timer_fired(struct ob_timer *timer)
{
	again(container_of(timer, struct ob_device, mig.timer));
}

static void woken(struct ob_deferred *deferred)
{
	again(container_of(deferred, struct ob_device, mig.wake));
}

int ob_mig_hold(struct ob_device *dev, enum ob_mig_party holder,
		ob_mig_try what, uint64_t patience_ms, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;

	mig->held = what;
	mig->holder = holder;
	mig->err = err;
	mig->latest = ob_loop_now(dev->loop) +
		      (uint64_t)OB_MIG_ALL_MS * NS_PER_MS;
	be_patient(dev, patience_ms);
	return attempt(dev);
}

/* Nobody waits yet inside of the first try: it sees for itself. */
void ob_mig_wake(struct ob_device *dev)
{
	if (dev->mig.timer.pprev)
		ob_defer(dev->loop, &dev->mig.wake);
}

void ob_dev_stopped(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	if (!mig->stopping || mig->stopped || mig->halted)
		return;
	mig->stopped = true;
	ob_mig_wake(dev);
}

bool ob_dev_is_halted(const struct ob_device *dev)
{
	return dev->mig.halted;
}

bool ob_dev_is_incoming(const struct ob_device *dev)
{
	/* A rehearsal is beside the one who has them. */
	return dev->rehearsal || ob_options_bool(dev->opts, "incoming");
}

/* Ends of another kind */

static void end_sessions(struct ob_device *dev)
{
	ob_mig_save_end(dev);
	ob_mig_load_end(dev);
	dev->mig.broken = false;
}

void ob_mig_reset(struct ob_device *dev)
{
	end_sessions(dev);
	set_state(dev, OB_MIG_RUNNING);
	set_owner(dev, OB_MIG_NOBODY);
	go_on(dev);
}

/* To have no session in a state that implies one is to be `broken`. */
void ob_mig_give_up(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	end_sessions(dev);
	if (mig->state == OB_MIG_RESUMING || mig->state == OB_MIG_ERROR)
		set_state(dev, OB_MIG_STOP);
	mig->broken = ob_mig_is_saving(mig->state);
}

void ob_mig_interrupt(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	ob_timer_cancel(dev->loop, &mig->timer);
	ob_defer_cancel(dev->loop, &mig->wake);
	mig->held = NULL;
	mig->arc = NULL;
}

/*
 * Who has read END may have the device run elsewhere.  A client that then goes
 * without taking it back has moved it, and what is left here is not to go on
 * with queues in the memory of whoever connects next.  Nor is what was loaded
 * and not run: the source may take its drives back.
 */
void ob_mig_disconnected(struct ob_device *dev)
{
	if (dev->mig.given)
		ob_log(&dev->log, OB_LOG_INFO,
		       "it was given away; what is here begins anew");
	if (dev->mig.given || !ob_mig_drives_are_ours(dev))
		ob_device_reset(dev, OB_RESET_DEVICE);
	ob_mig_reset(dev);
}

/*
 * A stream that was being written or read has ended with its process.  The state
 * stays what the client believes it to be.
 */
void ob_mig_adopt(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;

	mig->state = mig->target = dev->ss->mig_state;
	mig->given = dev->ss->given;
	if (mig->state != OB_MIG_RUNNING && !dev->ss->mig_owner)
		dev->ss->mig_owner = OB_MIG_CLIENT;	/* of an older release */
	mig->broken = ob_mig_is_saving(mig->state) ||
		      mig->state == OB_MIG_RESUMING;
	mig->halted = true;
}

void ob_mig_still_over(struct ob_device *dev)
{
	if (dev->adopting || dev->failed || ob_mig_is_still(dev->mig.state))
		return;
	go_on(dev);
}

unsigned ob_mig_in_flight(const struct ob_device *dev)
{
	return ob_mig_drives_in_flight(dev);
}

int ob_mig_init(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;

	mig->state = mig->target = OB_MIG_RUNNING;
	dev->ss->mig_state = OB_MIG_RUNNING;
	dev->ss->mig_owner = OB_MIG_NOBODY;
	mig->timer.fire = timer_fired;
	mig->wake.run = woken;
	return ob_mig_drives_init(dev, err);
}

void ob_mig_finish(struct ob_device *dev)
{
	ob_mig_interrupt(dev);
	end_sessions(dev);
	ob_mig_drives_finish(dev);
}
