// SPDX-License-Identifier: BSD-3-Clause
/*
 * Polling: the model's queues, and the client's socket beside them.
 *
 * While the loop spins anyway and the model has nothing to do, asking the
 * socket directly answers a register access sooner than the ring's event does,
 * and the watch is taken off so that the kernel need not tell us twice.  A
 * receive that finds nothing costs a system call, though, and its time is the
 * time in which a new command is not noticed.  So with work about the watch is
 * on: what it costs while nothing comes is a look at the ring's flags.
 */
#include "server/device_impl.h"
#include "server/lane.h"
#include "server/session.h"

#define WORK_LASTS 4096u	/* turns in which none was found; about 1 ms */

/* Has the model anything to poll for? */
static bool model_polls(const struct ob_device *dev)
{
	return dev->poll_on && !dev->mig.halted;
}

static bool has_work(struct ob_device *dev, bool worked)
{
	if (!model_polls(dev))
		return false;
	if (worked)
		dev->quiet_turns = 0;
	else if (dev->quiet_turns < WORK_LASTS)
		dev->quiet_turns++;
	return dev->quiet_turns < WORK_LASTS;
}

static bool look(struct ob_device *dev, bool worked)
{
	/* Held: nothing to read; the watch hears if it hangs up. */
	bool ask = !dev->session->is_held && !has_work(dev, worked);

	ob_session_spin(dev->session, ask);
	return ask && ob_session_run(dev->session);
}

static bool dev_poll(struct ob_poller *poller)
{
	struct ob_device *dev = container_of(poller, struct ob_device, poller);
	bool worked = false;

	if (model_polls(dev) && dev->cls->poll) {
		ob_step_begin(&dev->mem, OB_STEP_POLL);
		worked = dev->cls->poll(dev);
		if (worked)
			ob_irqs_visited(&dev->irqs);
		ob_dev_step_end(dev);
	}
	if (!dev->session)
		return worked;
	if (ob_loop_is_busy(dev->loop))
		return look(dev, worked) || worked;
	ob_session_spin(dev->session, false);
	return worked;
}

static bool dev_sleep(struct ob_poller *poller)
{
	struct ob_device *dev = container_of(poller, struct ob_device, poller);
	bool may = true;

	if (model_polls(dev) && dev->cls->sleep) {
		ob_step_begin(&dev->mem, OB_STEP_POLL);
		may = dev->cls->sleep(dev);
		ob_dev_step_end(dev);
	}
	if (dev->session)
		ob_session_spin(dev->session, false);
	return may;
}

void ob_poll_update(struct ob_device *dev)
{
	bool want = dev->session &&
		    (model_polls(dev) || ob_loop_is_busy(dev->loop));

	/* Their pollers poll; the socket is watched. */
	if (dev->lanes) {
		ob_lanes_update(dev);
		return;
	}
	dev->poller.poll = dev_poll;
	dev->poller.sleep = dev_sleep;
	dev->poller.busy = model_polls(dev) && dev->poll_busy;
	if (want == dev->poller_added)
		return;
	dev->poller_added = want;
	if (want) {
		ob_poller_add(dev->loop, &dev->poller);
		return;
	}
	ob_poller_remove(dev->loop, &dev->poller);
	if (dev->session)
		ob_session_spin(dev->session, false);
}

void ob_dev_poll(struct ob_device *dev, bool on, bool busy)
{
	if (dev->lanes || dev->home) {
		ob_lanes_poll(dev, on, busy);
		return;
	}
	dev->poll_on = on;
	dev->poll_busy = busy;
	ob_poll_update(dev);
}
