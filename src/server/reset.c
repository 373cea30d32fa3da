// SPDX-License-Identifier: BSD-3-Clause
/*
 * Resets: DEVICE_RESET, function level, D3hot to D0.
 *
 * All bring configuration space, interrupts and the model to their power-on
 * state; none touches what belongs to the client (memory, eventfds), none
 * waits for a drive: the model disowns its operations in flight.  Two in a
 * row are one.
 */
#include <errno.h>

#include "server/device_impl.h"
#include "server/lane.h"

static bool is_powered(const struct ob_device *dev)
{
	uint32_t pm = dev->cfg.pm;

	return !pm || !(ob_config_get(dev, pm + PCI_PM_CSR, 2) & 3);
}

static void get_warm(struct ob_device *dev)
{
	ob_recorder_get_warm(&dev->rec);
	ob_lanes_get_warm(dev);
}

void ob_bus_master_update(struct ob_device *dev)
{
	bool on = is_powered(dev) &&
		  (ob_config_get(dev, PCI_COMMAND, 2) & PCI_CMD_MASTER);

	if (on == dev->bus_master)
		return;
	dev->bus_master = on;
	if (on)
		get_warm(dev);
	else
		ob_dma_msg_drop(dev, 0, UINT64_MAX, -EACCES);
	if (dev->cls->bus_master)
		dev->cls->bus_master(dev, on);
}

void ob_device_reset(struct ob_device *dev, enum ob_reset kind)
{
	bool failed = dev->failed && kind != OB_RESET_INIT;

	if (failed) {
		dev->failed = false;
		dev->ss->half = 0;
	}
	ob_dev_note(dev, OB_EVENT_RESET, (uint16_t)kind, 0, 0);
	ob_dev_poll(dev, false, false);
	ob_config_reset(dev);
	ob_irqs_reset(dev);
	ob_bus_master_update(dev);
	if (dev->cls->reset)
		dev->cls->reset(dev, kind);
	if (failed)
		ob_mig_still_over(dev);
}
