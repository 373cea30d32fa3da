// SPDX-License-Identifier: BSD-3-Clause
/*
 * Lanes: their steps, and who waits for whom.
 *
 * A control step is everything that happens on the device's own thread, but for
 * hot messages and what lane 0 does there.  It shuts the gate (base/gate.c), so it
 * is alone in the device and may touch every queue of every lane.  When it ends,
 * the lanes' handles get what may have changed.  A lane's step touches what is its
 * own, and reads the rest.
 *
 * Lane 0 is on the device's thread: it has a handle like the others, but does not go
 * through the gate, which its own thread would have to wait for, and its steps are
 * the device's as well.
 *
 * Nobody waits for a thread that waits: a lane's step waits for no one, and a
 * thread that waits to enter a lane, or for lanes to come out, is in no lane's step
 * itself.
 */
#include "server/lane.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/lane_impl.h"

/* Steps of the device itself */

/* In a control step. */
static void tell_spread(struct ob_device *dev)
{
	bool may = ob_dev_may_spread(dev);

	if (may == dev->lanes->spread)
		return;
	dev->lanes->spread = may;
	if (dev->cls->spread_changed)
		dev->cls->spread_changed(dev);
}

static void shut(struct ob_device *dev, unsigned at)
{
	ob_gate_close(&dev->lanes->gate);
	dev->lanes->shut_at = at;
}

static void open_gate(struct ob_device *dev)
{
	for (unsigned i = 0; i < dev->nr_lanes; i++)
		ob_lane_renew(dev->lanes->of[i]);
	dev->lanes->shut_at = 0;
	ob_gate_open(&dev->lanes->gate, dev->lanes->busy);
}

static unsigned depth_of(const struct ob_device *dev)
{
	return dev->mem.depth - OB_STEPS_OWN;
}

static void home_begin(struct ob_state_mem *mem, enum ob_step_kind kind,
		       bool alone)
{
	struct ob_device *dev = container_of(mem, struct ob_device, mem);

	assert(ob_loop_is_here(dev->loop));
	if (alone)
		ob_lanes_alone(dev);
	if (depth_of(dev) == 1)
		ob_step_open(mem, kind);
}

/*
 * A message's step is within the one that commits it: until then what it did may be
 * undone, and nobody else is to have built on that.
 */
static bool goes_on_alone(struct ob_device *dev)
{
	if (!depth_of(dev) || !dev->mem.saved)
		return false;
	dev->lanes->shut_at--;
	ob_lane_renew(dev->lanes->of[0]);
	return true;
}

static void home_end(struct ob_state_mem *mem)
{
	struct ob_device *dev = container_of(mem, struct ob_device, mem);
	bool opens = dev->lanes->shut_at == depth_of(dev) + 1 &&
		     !goes_on_alone(dev);

	if (opens) {
		mem->depth++;
		tell_spread(dev);
		mem->depth--;
	}
	if (!depth_of(dev))
		ob_step_close(mem);
	if (opens)
		open_gate(dev);
}

static const struct ob_step_ops home_steps = { home_begin, home_end };

void ob_lanes_alone(struct ob_device *dev)
{
	if (dev->lanes && !dev->lanes->shut_at)
		shut(dev, depth_of(dev));
}

bool ob_lanes_are_in(const struct ob_device *dev)
{
	return dev->lanes && !dev->lanes->shut_at;
}

bool ob_lanes_shut(struct ob_device *dev)
{
	if (!dev->lanes || dev->lanes->shut_at)
		return false;
	shut(dev, UINT32_MAX);
	return true;
}

void ob_lanes_open(struct ob_device *dev, bool did)
{
	if (!did)
		return;
	if (dev->lanes->spread != ob_dev_may_spread(dev)) {
		ob_step_begin(&dev->mem, OB_STEP_WORK);
		tell_spread(dev);
		ob_dev_step_end(dev);
	}
	open_gate(dev);
}

/* Steps of a lane */

/* One of lane 0 is the device's, too. */
static void lane_begin(struct ob_state_mem *mem, enum ob_step_kind kind,
		       bool alone)
{
	struct ob_lane *lane = container_of(mem, struct ob_lane, dev.mem);

	(void)alone;
	if (mem->depth != OB_STEPS_OWN + 1)
		return;
	assert(ob_loop_is_here(lane->dev.loop));
	if (lane->number) {
		ob_gate_enter(&lane->home->lanes->gate, lane->number);
	} else {
		ob_step_begin_beside(&lane->home->mem, kind);
		if (lane->home->lanes->shut_at)
			ob_lane_renew(lane);
	}
	lane->at->step_kind = kind;
	lane->at->step++;
	atomic_signal_fence(memory_order_seq_cst);
}

static void lane_end(struct ob_state_mem *mem)
{
	struct ob_lane *lane = container_of(mem, struct ob_lane, dev.mem);

	if (mem->depth != OB_STEPS_OWN)
		return;
	atomic_signal_fence(memory_order_seq_cst);
	lane->at->step++;
	if (lane->number)
		ob_gate_leave(&lane->home->lanes->gate, lane->number);
	else
		ob_dev_step_end(lane->home);
}

static const struct ob_step_ops lane_steps = { lane_begin, lane_end };

/* Life */

/* One loop for all, as a rehearsal has it, is allowed. */
static struct ob_lane *lane_new(struct ob_device *dev, unsigned number)
{
	struct ob_lane *lane = aligned_alloc(_Alignof(struct ob_lane),
					     sizeof(*lane));
	struct ob_device *own;

	if (!lane)
		return NULL;
	memset(lane, 0, sizeof(*lane));
	own = &lane->dev;
	lane->home = own->home = dev;
	lane->number = own->lane = number;
	lane->at = &lane->nowhere;
	own->cls = dev->cls;
	own->loop = dev->lane_loops[number] ? dev->lane_loops[number] : dev->loop;
	own->opts = dev->opts;
	own->id = dev->id;
	own->log.who = dev->id;
	own->core = dev->core;
	own->plain = dev->plain;
	own->hot = dev->hot;
	own->runtime = dev->runtime;
	own->nr_lanes = dev->nr_lanes;
	own->rec.fd = -1;
	own->mem = dev->mem;
	own->mem.depth = OB_STEPS_OWN;
	own->mem.ops = &lane_steps;
	ob_lane_prepare(lane);
	return lane;
}

int ob_lanes_create(struct ob_device *dev, struct ob_err *err)
{
	struct ob_lanes *lanes;

	if (dev->nr_lanes == 1)
		return 0;
	lanes = aligned_alloc(OB_GATE_LINE, sizeof(*lanes));
	if (!lanes)
		return ob_fail(err, ENOMEM, "out of memory");
	memset(lanes, 0, sizeof(*lanes));
	ob_gate_init(&lanes->gate, dev->nr_lanes, false);
	dev->lanes = lanes;
	dev->mem.depth = OB_STEPS_OWN;
	dev->mem.ops = &home_steps;
	for (unsigned i = 0; i < dev->nr_lanes; i++) {
		lanes->of[i] = lane_new(dev, i);
		if (lanes->of[i])
			continue;
		ob_lanes_free(dev);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	return 0;
}

static int built(struct ob_lane *lane)
{
	const struct ob_device *dev = lane->home;
	struct ob_irqs *irqs = &lane->dev.irqs;
	const unsigned msix = OB_IRQ_INDEX_MSIX;

	lane->dev.inited = true;
	lane->dev.pci = dev->pci;
	lane->dev.cfg = dev->cfg;
	memcpy(lane->dev.bars, dev->bars, sizeof(dev->bars));
	if (!lane->number) {
		*irqs = dev->irqs;	/* one thread, one set of triggers */
		return 0;
	}
	if (!dev->irqs.count[msix])
		return 0;
	irqs->triggers[msix] = calloc(dev->irqs.count[msix],
				      sizeof(*irqs->triggers[msix]));
	irqs->count[msix] = irqs->triggers[msix] ? dev->irqs.count[msix] : 0;
	return irqs->triggers[msix] ? 0 : -ENOMEM;
}

int ob_lanes_built(struct ob_device *dev, struct ob_err *err)
{
	bool shut = ob_lanes_shut(dev);
	int r = 0;

	for (unsigned i = 0; i < ob_lanes_nr(dev) && !r; i++)
		r = built(dev->lanes->of[i]);
	ob_lanes_open(dev, shut);
	return r ? ob_fail(err, -r, "out of memory") : 0;
}

/* A thread that waits for us meanwhile serves this call (ob_loop_call). */
void ob_lanes_leave(struct ob_device *dev)
{
	for (unsigned i = 0; i < ob_lanes_nr(dev); i++)
		if (dev->lanes->of[i])
			ob_loop_call(dev->lanes->of[i]->dev.loop,
				     ob_lane_leave, dev->lanes->of[i]);
	for (unsigned i = 0; i < ob_lanes_nr(dev); i++)
		if (dev->lanes->of[i])
			ob_post_cancel(dev->loop, &dev->lanes->of[i]->owes);
}

static void lane_free(struct ob_lane *lane)
{
	if (!lane)
		return;
	if (lane->number)
		free(lane->dev.irqs.triggers[OB_IRQ_INDEX_MSIX]);
	ob_recorder_close(&lane->dev.rec);
	free(lane);
}

void ob_lanes_free(struct ob_device *dev)
{
	if (!dev->lanes)
		return;
	for (unsigned i = 0; i < dev->nr_lanes; i++)
		lane_free(dev->lanes->of[i]);
	ob_gate_finish(&dev->lanes->gate);
	free(dev->lanes);
	dev->lanes = NULL;
	dev->mem.depth = 0;
}

/* What the model asks */

unsigned ob_dev_lanes(const struct ob_device *dev)
{
	return dev->nr_lanes;
}

struct ob_device *ob_dev_lane(struct ob_device *dev, unsigned lane)
{
	if (dev->home)
		dev = dev->home;
	if (!dev->lanes)
		return dev;
	assert(lane < dev->nr_lanes);
	return &dev->lanes->of[lane]->dev;
}

static bool content_is_tracked(struct ob_device *dev)
{
	for (unsigned i = 0; i < dev->mig.nr_drives; i++)
		if (ob_drive_is_tracked(ob_mig_drive(dev, i)))
			return true;
	return false;
}

void ob_dev_spread(struct ob_device *dev, bool on)
{
	if (dev->lanes)
		dev->lanes->busy = on;
}

bool ob_dev_may_spread(struct ob_device *dev)
{
	return dev->lanes && dev->session && !dev->mig.halted &&
	       !dev->mig.stopping && !dev->adopting && !dev->failed &&
	       dev->irqs.mode == OB_IRQ_MSIX && !dev->dma.nr_far &&
	       !dev->dma.logging && !content_is_tracked(dev);
}
