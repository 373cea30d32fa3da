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

static const char bare[] =
	"its VM seems to have been migrated without this device's state: the guest "
	"has lost it; stop that VM, and move it with outboard vm-migrate";

static bool has(const struct ob_device *dev, uint8_t bit)
{
	return dev->ss->operator & bit;
}

static void note(struct ob_device *dev, uint8_t bits, bool on)
{
	uint8_t now = dev->ss->operator;
	uint8_t then = (uint8_t)(on ? now | bits : now & ~bits);

	if (then == now)
		return;
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	dev->ss->operator = then;
	ob_dev_step_end(dev);
}

static void set_alarm(struct ob_device *dev, const char *alarm)
{
	struct ob_arrival *a = &dev->arrival;

	if (alarm == a->alarm)
		return;
	a->alarm = alarm;
	note(dev, OB_ARRIVAL_ALARM, alarm != NULL);
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
		set_alarm(dev, bare);
}

void ob_arrival_init(struct ob_device *dev)
{
	dev->arrival.timer.fire = silence;
}

void ob_arrival_finish(struct ob_device *dev)
{
	ob_timer_cancel(dev->loop, &dev->arrival.timer);
}

/* The log has the alarm already, and whoever is told of alarms was. */
void ob_arrival_adopt(struct ob_device *dev)
{
	if (has(dev, OB_ARRIVAL_ALARM))
		dev->arrival.alarm = bare;
	else if (has(dev, OB_ARRIVAL_MAPPED))
		ob_timer_arm(dev->loop, &dev->arrival.timer, SILENCE_NS);
}

static void wait_anew(struct ob_device *dev)
{
	ob_timer_cancel(dev->loop, &dev->arrival.timer);
	note(dev, OB_ARRIVAL_RESET | OB_ARRIVAL_MAPPED, false);
	set_alarm(dev, NULL);
}

void ob_arrival_reset(struct ob_device *dev)
{
	if (!ob_dev_is_incoming(dev) || has(dev, OB_ARRIVAL_OVER))
		return;
	wait_anew(dev);
	note(dev, OB_ARRIVAL_RESET, true);
}

void ob_arrival_mapped(struct ob_device *dev)
{
	if (!has(dev, OB_ARRIVAL_RESET))
		return;
	note(dev, OB_ARRIVAL_MAPPED, true);
	ob_timer_arm(dev->loop, &dev->arrival.timer, SILENCE_NS);
}

/* After the alarm a driver may try to revive its device: that is no boot. */
void ob_arrival_written(struct ob_device *dev, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	if (!has(dev, OB_ARRIVAL_RESET) || dev->arrival.alarm)
		return;
	for (; len && !*byte; len--)
		byte++;
	if (len)
		wait_anew(dev);
}

void ob_arrival_over(struct ob_device *dev, bool loaded)
{
	if (loaded)
		note(dev, OB_ARRIVAL_OVER, true);
	wait_anew(dev);
}

void ob_operator_on_alarm(struct ob_device *dev,
			  void (*tell)(void *arg, struct ob_device *dev,
				       const char *alarm), void *arg)
{
	dev->arrival.tell = tell;
	dev->arrival.arg = arg;
}
