// SPDX-License-Identifier: BSD-3-Clause
/*
 * SET_IRQS.  The flags name one kind of data (none, a bool each, an eventfd
 * each) and one action (mask, unmask, trigger); start and count name vectors.
 *
 *	            none                bool                   eventfd
 *	trigger     fire each;          fire where true        assign one each;
 *	            count 0: all off                           no fd: take away
 *	mask        each                where true             refused
 *	unmask      each                where true             INTx: by this one;
 *	                                                       no fd: no more
 *
 * To a client of VFIO an eventfd on an MSI-X vector means that the vector is
 * live: such clients keep the guest's table to themselves and write nothing
 * to ours.  So assigning one unmasks the vector in our table, and taking it
 * away masks it, as the kernel's vfio-pci does to the physical table.
 *
 * "Fire" is the client's loopback test: it pulls the trigger whatever the
 * guest masked.  It is no interrupt that a successor owes, so it is sent before
 * the message counts as done: a death leads to another one and never to none.
 */
#include <errno.h>

#include "base/signals.h"
#include "server/device_impl.h"

static bool one_bit(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* As ob_do_irq_info says. */
static bool can_mask(uint32_t index)
{
	return index == OB_IRQ_INDEX_INTX || index == OB_IRQ_INDEX_MSIX;
}

static int check(const struct ob_device *dev, const struct ob_set_irqs *req,
		 size_t nr_fds)
{
	uint32_t data = req->flags & OB_IRQ_DATA_MASK;
	uint32_t action = req->flags & OB_IRQ_ACTIONS;
	uint32_t end;

	if (!one_bit(data) || !one_bit(action) ||
	    (req->flags & ~(uint32_t)(OB_IRQ_DATA_MASK | OB_IRQ_ACTIONS)))
		return -EINVAL;
	if (req->argsz < OB_SET_IRQS_SIZE || req->index >= OB_NR_IRQ_INDEXES)
		return -EINVAL;
	if (__builtin_add_overflow(req->start, req->count, &end) ||
	    end > dev->irqs.count[req->index])
		return -EINVAL;
	if (action != OB_IRQ_ACTION_TRIGGER && !can_mask(req->index))
		return -EINVAL;
	if (req->count == 0 && !(data == OB_IRQ_DATA_NONE &&
				 action == OB_IRQ_ACTION_TRIGGER))
		return -EINVAL;
	if (data != OB_IRQ_DATA_EVENTFD)
		return nr_fds ? -EINVAL : 0;
	if (action != OB_IRQ_ACTION_TRIGGER &&
	    !(action == OB_IRQ_ACTION_UNMASK &&
	      req->index == OB_IRQ_INDEX_INTX))
		return -EINVAL;
	return nr_fds && nr_fds != req->count ? -EINVAL : 0;
}

/* Assigns fd, or takes the vector's trigger away. */
static int assign(struct ob_device *dev, unsigned index, unsigned vector,
		  int *fd)
{
	int r = ob_irq_assign(dev, index, vector, fd);

	if (r)
		return r;
	if (index == OB_IRQ_INDEX_INTX)
		dev->core->intx_masked = OB_INTX_OPEN;
	if (index == OB_IRQ_INDEX_MSIX)
		ob_msix_mask(dev, vector, !fd);
	return 0;
}

static int assign_all(struct ob_device *dev, const struct ob_set_irqs *req,
		      int *fds, size_t nr_fds)
{
	uint32_t i;
	int r;

	for (i = 0; i < req->count; i++) {
		r = assign(dev, req->index, req->start + i,
			   nr_fds ? &fds[i] : NULL);
		if (r)
			return r;
	}
	return 0;
}

static void disable(struct ob_device *dev, unsigned index)
{
	unsigned v;

	for (v = 0; v < dev->irqs.count[index]; v++)
		assign(dev, index, v, NULL);
	if (index == OB_IRQ_INDEX_INTX)
		ob_irq_unmask_by(dev, NULL);
}

static void mask(struct ob_device *dev, unsigned index, unsigned vector,
		 bool masked)
{
	if (index == OB_IRQ_INDEX_INTX)
		ob_intx_mask(dev, masked);
	else if (index == OB_IRQ_INDEX_MSIX)
		ob_msix_mask(dev, vector, masked);
}

static void act(struct ob_device *dev, const struct ob_set_irqs *req,
		unsigned vector)
{
	if (req->flags & OB_IRQ_ACTION_TRIGGER)
		ob_irq_fire(dev, req->index, vector);
	else
		mask(dev, req->index, vector, req->flags & OB_IRQ_ACTION_MASK);
}

static void act_all(struct ob_device *dev, const struct ob_set_irqs *req,
		    const uint8_t *bools)
{
	uint32_t i;

	if (req->count == 0)
		disable(dev, req->index);
	for (i = 0; i < req->count; i++)
		if (!(req->flags & OB_IRQ_DATA_BOOL) || bools[i])
			act(dev, req, req->start + i);
	if (req->flags & OB_IRQ_ACTION_TRIGGER)
		ob_signals_send(dev->loop);
}

int ob_irqs_set(struct ob_device *dev, const struct ob_set_irqs *req,
		const uint8_t *bools, int *fds, size_t nr_fds)
{
	int r = check(dev, req, nr_fds);

	if (r)
		return r;
	if (!(req->flags & OB_IRQ_DATA_EVENTFD))
		act_all(dev, req, bools);
	else if (req->flags & OB_IRQ_ACTION_UNMASK)
		r = ob_irq_unmask_by(dev, nr_fds ? fds : NULL);
	else
		r = assign_all(dev, req, fds, nr_fds);
	ob_irqs_deliver(dev);
	ob_irq_changed(dev);
	return r;
}
