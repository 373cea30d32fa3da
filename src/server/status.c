// SPDX-License-Identifier: BSD-3-Clause
/* What a device is doing, for the operator. */
#include <stdlib.h>
#include <sys/stat.h>

#include "server/device_impl.h"
#include "server/lane.h"
#include "server/server.h"
#include "server/session.h"
#include "state/inflight.h"

static void count(void *arg, const struct ob_device_inflight *io)
{
	(void)io;
	++*(unsigned *)arg;
}

void ob_device_status(struct ob_device *dev, struct ob_device_status *out)
{
	struct ob_irqs sum = dev->irqs;
	const struct ob_irqs *irqs = &sum;
	bool shut = ob_lanes_shut(dev);
	struct stat st = { 0 };

	ob_lanes_count(dev, &sum);
	fstat(dev->mem.fd, &st);
	*out = (struct ob_device_status){
		.id = dev->id,
		.model = dev->cls->name,
		.address = ob_device_address(dev),
		.client = dev->session ? dev->session->pid : 0,
		.step = ob_state_header(&dev->mem)->step,
		.state_bytes = (uint64_t)st.st_blocks * 512,
		.intx = irqs->fired[OB_IRQ_INDEX_INTX],
		.msi = irqs->fired[OB_IRQ_INDEX_MSI],
		.msix = irqs->fired[OB_IRQ_INDEX_MSIX],
		.waiting = ob_irqs_waiting(dev),
		.visits = irqs->visits, .unanswered = irqs->unanswered,
		.lanes = dev->nr_lanes,
		.spread = dev->lanes && dev->lanes->busy,
	};
	if (dev->inited && dev->cls->inflight)
		dev->cls->inflight(dev, count, &out->in_flight);
	ob_lanes_open(dev, shut);
}

/*
 * How long a command has been in flight.  What a dead process fetched is as old as
 * the recorder knows, and if that has forgotten it, not younger than this life.
 */
struct aging {
	struct ob_device *dev;
	void (*each)(void *arg, const struct ob_device_inflight *io);
	void *arg;
	uint64_t now;
	bool is_read;
	struct ob_inflight_list list;
};

static uint64_t look_up(struct aging *aging, const struct ob_device_inflight *io)
{
	struct ob_recorder_bytes recs[1 + OB_LANES_MAX];

	if (!aging->is_read)
		ob_inflight_read(recs, ob_lanes_recorders(aging->dev, recs),
				 &aging->list);
	aging->is_read = true;
	for (size_t i = 0; i < aging->list.count; i++)
		if (aging->list.rows[i].queue == io->queue &&
		    aging->list.rows[i].id == io->command)
			return aging->list.rows[i].since;
	return aging->dev->created;
}

static void add_age(void *arg, const struct ob_device_inflight *io)
{
	struct aging *aging = arg;
	struct ob_device_inflight aged = *io;

	if (!aged.since)
		aged.since = look_up(aging, io);
	if (aging->now > aged.since)
		aged.age_us = (aging->now - aged.since) / 1000;
	aging->each(aging->arg, &aged);
}

void ob_device_inflight(struct ob_device *dev,
			void (*each)(void *arg,
				     const struct ob_device_inflight *io),
			void *arg)
{
	struct aging aging = {
		.dev = dev, .each = each, .arg = arg,
		.now = ob_loop_now(dev->loop),
	};
	bool shut = ob_lanes_shut(dev);

	if (dev->inited && dev->cls->inflight)
		dev->cls->inflight(dev, add_age, &aging);
	ob_lanes_open(dev, shut);
	free(aging.list.rows);
}
