// SPDX-License-Identifier: BSD-3-Clause
/* What a device is doing, for the operator. */
#include <sys/stat.h>

#include "server/device_impl.h"
#include "server/server.h"
#include "server/session.h"

static void count(void *arg, const struct ob_device_inflight *io)
{
	(void)io;
	++*(unsigned *)arg;
}

void ob_device_status(struct ob_device *dev, struct ob_device_status *out)
{
	struct stat st = { 0 };

	fstat(dev->mem.fd, &st);
	*out = (struct ob_device_status){
		.id = dev->id,
		.model = dev->cls->name,
		.address = ob_device_address(dev),
		.client = dev->session ? dev->session->pid : 0,
		.step = ob_state_header(&dev->mem)->step,
		.state_bytes = (uint64_t)st.st_blocks * 512,
	};
	ob_device_inflight(dev, count, &out->in_flight);
}

void ob_device_inflight(struct ob_device *dev,
			void (*each)(void *arg,
				     const struct ob_device_inflight *io),
			void *arg)
{
	if (dev->inited && dev->cls->inflight)
		dev->cls->inflight(dev, each, arg);
}
