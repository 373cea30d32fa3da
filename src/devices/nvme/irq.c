// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts (7.5).
 *
 * MSI and MSI-X: one message per completion queue and batch, or fewer with
 * coalescing (5.21.1.8): then a vector speaks when enough entries wait or
 * when the time is up.  INTx: the level is up while any interrupting queue
 * holds entries that the guest has not consumed, unless INTMS masks it; with
 * shadow doorbells the guest is then asked to write the register of the head,
 * since a VMM takes an access to the device for the end of the interrupt and
 * would keep the pin up without one.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static bool masked(const struct nvme *n, struct ob_device *dev, unsigned vector)
{
	return ob_irq_mode(dev) != OB_IRQ_MSIX && vector < 32 &&
	       (n->st->intm >> vector & 1);
}

/* dev: in whose step. */
static void raise(struct ob_device *dev, struct nvme_cq *cq)
{
	const struct nvme *n = cq->n;
	unsigned vector = n->st->cqs[cq - n->cqs].vector;

	cq->waiting = 0;
	if (masked(n, dev, vector))
		return;
	/* Fewer MSI vectors granted than asked: the first serves all. */
	if (vector >= ob_irq_vectors(dev))
		vector = 0;
	ob_irq_raise(dev, vector);
}

void nvme_irq_now(struct nvme_cq *cq)
{
	if (cq->waiting)
		raise(cq->n->dev, cq);
}

/* Entries that may wait together, and for how long; 1: no coalescing. */
static unsigned threshold(const struct nvme *n, unsigned cqid)
{
	uint32_t coalescing = n->st->features.coalescing;
	unsigned vector = n->st->cqs[cqid].vector;

	if (cqid == 0 || !(coalescing >> 8 & 0xff) ||
	    (n->st->features.no_coalescing[vector / 64] >> (vector % 64) & 1))
		return 1;
	return (coalescing & 0xff) + 1;
}

static void time_is_up(struct ob_timer *timer)
{
	struct nvme_lane *lane = (struct nvme_lane *)
		((char *)timer - offsetof(struct nvme_lane, coalesce));
	struct nvme *n = lane->n;

	ob_dev_enter(lane->step);
	lane->coalescing = false;
	for (unsigned i = 0; i <= n->max_queues; i++)
		if (n->cqs[i].lane == lane && n->cqs[i].waiting)
			raise(lane->dev, &n->cqs[i]);
	ob_dev_leave(lane->step);
}

void nvme_irq_init(struct nvme_lane *lane)
{
	lane->coalesce.fire = time_is_up;
}

static void raise_or_wait(struct nvme_cq *cq, unsigned entries)
{
	struct nvme *n = cq->n;
	struct nvme_lane *lane = cq->lane;
	uint64_t unit = n->st->features.coalescing >> 8 & 0xff;

	cq->waiting += entries;
	if (cq->waiting >= threshold(n, cq - n->cqs)) {
		raise(lane->dev, cq);
	} else if (!lane->coalescing) {
		lane->coalescing = true;
		ob_timer_arm(lane->loop, &lane->coalesce, unit * 100000);
	}
}

void nvme_irq_posted(struct nvme_cq *cq, unsigned entries)
{
	struct nvme *n = cq->n;

	if (!n->st->cqs[cq - n->cqs].interrupts)
		return;
	if (ob_irq_mode(cq->lane->dev) == OB_IRQ_INTX)
		nvme_irq_update(n);
	else
		raise_or_wait(cq, entries);
}

void nvme_irq_update(struct nvme *n)
{
	bool level = false;

	/* With messages the pin is quiet, and nobody keeps our heads. */
	if (ob_irq_mode(n->dev) != OB_IRQ_INTX) {
		ob_irq_level(n->dev, false);
		return;
	}
	for (unsigned i = 0; i < NVME_QIDS; i++) {
		if (!n->st->cqs[i].interrupts || !nvme_cq_unconsumed(n, i))
			continue;
		nvme_cq_head_arm(n, i);
		level |= nvme_cq_unconsumed(n, i);
	}
	ob_irq_level(n->dev, level && !(n->st->intm & 1));
}

/* INTMC was written: what was held back is told now. */
void nvme_irq_unmasked(struct nvme *n, uint32_t bits)
{
	nvme_irq_update(n);
	if (ob_irq_mode(n->dev) != OB_IRQ_MSI)
		return;
	for (unsigned i = 0; i < NVME_QIDS; i++) {
		const struct nvme_cq_state *cq = &n->st->cqs[i];

		if (cq->interrupts && cq->vector < 32 &&
		    (bits >> cq->vector & 1) && nvme_cq_unconsumed(n, i))
			raise(n->dev, &n->cqs[i]);
	}
}

/* Of others' threads it fires, and finds nothing. */
void nvme_irq_finish(struct nvme *n)
{
	nvme_for_each_lane(n, lane) {
		if (nvme_is_away(lane))
			continue;
		if (lane->coalescing)
			ob_timer_cancel(lane->loop, &lane->coalesce);
		lane->coalescing = false;
	}
}

/*
 * After standing still: an interrupt too many is harmless, one too few hangs
 * the guest (R29), so every queue with something in it speaks.
 */
void nvme_irq_resume(struct nvme *n)
{
	nvme_irq_update(n);
	if (ob_irq_mode(n->dev) == OB_IRQ_INTX)
		return;
	for (unsigned i = 0; i < NVME_QIDS; i++)
		if (n->st->cqs[i].interrupts && nvme_cq_unconsumed(n, i))
			raise(n->dev, &n->cqs[i]);
}

void nvme_irq_reset(struct nvme *n)
{
	nvme_irq_finish(n);
	ob_irq_level(n->dev, false);
}
