// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guard.  QEMU lets anybody migrate a VM with one of our devices and loses the
 * device; to us it says nothing.  What a destination with incoming=on sees of it:
 *
 *	RESET		QEMU starts
 *	maps		and nothing else: the stream brings the guest's view of its
 *			first MiB, and QEMU maps memory anew
 *
 * A VM that boots there writes to configuration space soon after it has changed
 * that view, since its firmware looks for devices.  QEMU's own writes after a
 * reset are zeros.  A migration that does not forget us loads a state meanwhile.
 *
 * It is only told: nothing can be done from here.
 */
#include <string.h>

#include "server/device_impl.h"
#include "server/operator.h"

#define SILENCE_NS 10000000000ull	/* firmware on a slow host is not so slow */

static void set_alarm(struct ob_device *dev, const char *alarm)
{
	struct ob_arrival *a = &dev->arrival;

	if (alarm == a->alarm)
		return;
	a->alarm = alarm;
	if (alarm)
		ob_log(&dev->log, OB_LOG_ERROR, "%s", alarm);
	if (a->tell)
		a->tell(a->arg, dev, alarm);
}

static void silence(struct ob_timer *timer)
{
	struct ob_device *dev = container_of(timer, struct ob_device,
					     arrival.timer);

	if (dev->mig.state == OB_MIG_RUNNING && dev->session)
		set_alarm(dev, "its VM seems to have been migrated without this "
			  "device's state: the guest has lost it; stop that VM, "
			  "and move it with outboard vm-migrate");
}

void ob_arrival_init(struct ob_device *dev)
{
	dev->arrival.timer.fire = silence;
	dev->arrival.expected = ob_dev_is_incoming(dev);
}

void ob_arrival_finish(struct ob_device *dev)
{
	ob_timer_cancel(dev->loop, &dev->arrival.timer);
}

static void wait_anew(struct ob_device *dev)
{
	ob_timer_cancel(dev->loop, &dev->arrival.timer);
	dev->arrival.was_reset = false;
	set_alarm(dev, NULL);
}

void ob_arrival_reset(struct ob_device *dev)
{
	if (!dev->arrival.expected)
		return;
	wait_anew(dev);
	dev->arrival.was_reset = true;
}

void ob_arrival_mapped(struct ob_device *dev)
{
	if (dev->arrival.was_reset)
		ob_timer_arm(dev->loop, &dev->arrival.timer, SILENCE_NS);
}

/* After the alarm a driver may try to revive its device: that is no boot. */
void ob_arrival_written(struct ob_device *dev, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	if (!dev->arrival.was_reset || dev->arrival.alarm)
		return;
	for (; len && !*byte; len--)
		byte++;
	if (len)
		wait_anew(dev);
}

void ob_arrival_over(struct ob_device *dev, bool loaded)
{
	if (loaded)
		dev->arrival.expected = false;
	wait_anew(dev);
}

void ob_operator_on_alarm(struct ob_device *dev,
			  void (*tell)(void *arg, struct ob_device *dev,
				       const char *alarm), void *arg)
{
	dev->arrival.tell = tell;
	dev->arrival.arg = arg;
}
