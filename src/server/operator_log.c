// SPDX-License-Identifier: BSD-3-Clause
/*
 * The operator's log of pages that the device wrote: another one beside the
 * client's, since whoever asks for bits takes them.  It belongs to the client's
 * memory and goes with it.
 */
#include <errno.h>

#include "server/device_impl.h"
#include "server/dirty.h"
#include "server/operator_impl.h"

static void note(struct ob_device *dev, bool on)
{
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	if (on)
		dev->ss->operator |= OB_OPERATOR_LOG;
	else
		dev->ss->operator &= (uint8_t)~OB_OPERATOR_LOG;
	ob_dev_step_end(dev);
}

/* Anew, also when it was on: what was written before does not count. */
static int start(struct ob_device *dev, struct ob_err *err)
{
	int r = ob_dma_log_start(dev, NULL, 0, &dev->dma.op_log, err);

	if (r == 0)
		note(dev, true);
	return r;
}

void ob_operator_log_end(struct ob_device *dev)
{
	struct ob_err why = { "the log was switched off" };

	if (!dev->dma.op_log)
		return;
	note(dev, false);
	ob_dirty_destroy(dev->dma.op_log);
	dev->dma.op_log = NULL;
	ob_dma_log_changed(dev);
	if (dev->operator)
		ob_pages_out_end(dev->operator, -ECANCELED, &why);
}

int ob_operator_log(struct ob_device *dev, bool on, struct ob_err *err)
{
	if (on && dev->operator && dev->operator->out)
		return ob_fail(err, EBUSY, "its pages are going out");
	ob_operator_log_end(dev);
	return on ? start(dev, err) : 0;
}
