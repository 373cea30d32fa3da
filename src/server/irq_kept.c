// SPDX-License-Identifier: BSD-3-Clause
/*
 * Eventfds of the client that outlive the process.
 *
 * The state has a bit for each that was given; the keeper has the eventfd
 * under ID/irq/INDEX/VECTOR before the bit is set, and until it is cleared.
 *
 * A signal cannot be taken back or asked about: it is written at the end of a
 * turn, long after the step that raised it.  So a successor raises every
 * vector that a guest listens to; one too many is harmless.
 */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/fd.h"
#include "server/device_impl.h"

/* The bit of a trigger. */
static unsigned bit_of(unsigned index, unsigned vector)
{
	static const uint16_t first[OB_NR_IRQ_INDEXES] = {
		[OB_IRQ_INDEX_INTX] = OB_TRIGGER_INTX,
		[OB_IRQ_INDEX_MSI] = OB_TRIGGER_MSI,
		[OB_IRQ_INDEX_MSIX] = OB_TRIGGER_MSIX,
		[OB_IRQ_INDEX_ERR] = OB_TRIGGER_ERR,
		[OB_IRQ_INDEX_REQ] = OB_TRIGGER_REQ,
	};

	return first[index] + vector;
}

static void note(struct ob_device *dev, unsigned bit, bool given)
{
	if (given) {
		ob_bit_set(dev->ss->triggers, bit);
	} else if (ob_bit_test(dev->ss->triggers, bit)) {
		ob_bit_clear(dev->ss->triggers, bit);
		ob_bit_set(dev->irqs.gone, bit);
		dev->irqs.stale = dev->unsettled = true;
	}
}

int ob_irq_keep(struct ob_device *dev, unsigned index, unsigned vector,
		int fd)
{
	int r = 0;

	if (fd >= 0)
		r = ob_dev_keep(dev, fd, "irq/%u/%u", index, vector);
	if (r == 0)
		note(dev, bit_of(index, vector), fd >= 0);
	return r;
}

int ob_irq_keep_unmask(struct ob_device *dev, int fd)
{
	int r = 0;

	if (fd >= 0)
		r = ob_dev_keep(dev, fd, "unmask");
	if (r == 0)
		note(dev, OB_TRIGGER_UNMASK, fd >= 0);
	return r;
}

/* Calls fn for every trigger there can be. */
static int each(struct ob_device *dev,
		int (*fn)(struct ob_device *dev, unsigned index,
			  unsigned vector, struct ob_err *err),
		struct ob_err *err)
{
	unsigned i, v;
	int r = 0;

	for (i = 0; i < OB_NR_IRQ_INDEXES; i++)
		for (v = 0; v < dev->irqs.count[i] && !r; v++)
			r = fn(dev, i, v, err);
	return r;
}

static int settle_one(struct ob_device *dev, unsigned index, unsigned vector,
		      struct ob_err *err)
{
	unsigned bit = bit_of(index, vector);

	(void)err;
	if (ob_bit_test(dev->irqs.gone, bit) &&
	    !ob_bit_test(dev->ss->triggers, bit))
		ob_dev_unkeep(dev, "irq/%u/%u", index, vector);
	return 0;
}

void ob_irqs_settle(struct ob_device *dev)
{
	if (!dev->irqs.stale)
		return;
	each(dev, settle_one, NULL);
	if (ob_bit_test(dev->irqs.gone, OB_TRIGGER_UNMASK) &&
	    !ob_bit_test(dev->ss->triggers, OB_TRIGGER_UNMASK))
		ob_dev_unkeep(dev, "unmask");
	memset(dev->irqs.gone, 0, sizeof(dev->irqs.gone));
	dev->irqs.stale = false;
}

/* An eventfd that is not there, against all promises, is as one never given. */
static int tie(struct ob_device *dev, unsigned bit, int fd)
{
	if (fd >= 0)
		return fd;
	ob_log(&dev->log, OB_LOG_WARN, "session.triggers: eventfd %u is not kept",
	       bit);
	ob_bit_clear(dev->ss->triggers, bit);
	return -1;
}

static int adopt_one(struct ob_device *dev, unsigned index, unsigned vector,
		     struct ob_err *err)
{
	struct ob_signal **place = &dev->irqs.triggers[index][vector];
	unsigned bit = bit_of(index, vector);
	int fd;

	if (!ob_bit_test(dev->ss->triggers, bit))
		return 0;
	fd = tie(dev, bit, ob_dev_kept(dev, "irq/%u/%u", index, vector));
	if (fd < 0)
		return 0;
	if (ob_irq_tie(place, fd) == 0)
		return 0;
	ob_fd_close(&fd);
	return ob_fail(err, ENOMEM, "out of memory");
}

int ob_irqs_adopt(struct ob_device *dev, struct ob_err *err)
{
	int r = each(dev, adopt_one, err), fd;

	if (r || !ob_bit_test(dev->ss->triggers, OB_TRIGGER_UNMASK))
		return r;
	fd = tie(dev, OB_TRIGGER_UNMASK, ob_dev_kept(dev, "unmask"));
	if (fd < 0)
		return 0;
	r = ob_irq_unmask_watch(dev, fd);
	return r ? ob_fail(err, -r, "unmask: %s", strerror(-r)) : 0;
}

/* Masked ones were not told either, and are remembered as ever. */
static int owe(struct ob_device *dev, unsigned index, unsigned vector,
	       struct ob_err *err)
{
	(void)err;
	if (index == OB_IRQ_INDEX_MSIX)
		ob_msix_owe(dev, vector);
	if (index == OB_IRQ_INDEX_MSI && dev->irqs.mode == OB_IRQ_MSI)
		ob_irq_fire(dev, index, vector);
	return 0;
}

void ob_irqs_owed(struct ob_device *dev)
{
	if (dev->core->intx_masked == OB_INTX_TOLD)
		dev->core->intx_masked = OB_INTX_OPEN;
	ob_irqs_deliver(dev);
	each(dev, owe, NULL);
}
