// SPDX-License-Identifier: BSD-3-Clause
/*
 * MSI-X for the driver: one vector per queue, vector 0 stays the admin
 * queue's, which is polled.  A VMM keeps the vector table itself; a driver
 * without one unmasks the device's own, so that a device that honours its
 * table signals too.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "nvme_user.h"

#define CAP_MSIX 0x11
#define MAX_CAPS 48

/* Offset of the MSI-X capability in configuration space. */
static int find_msix(struct nvme_user *dev, uint8_t *at, struct ob_err *err)
{
	uint8_t head[2], next = 0;
	int r = ob_client_read(dev->client, OB_CLIENT_CONFIG, 0x34, &next, 1,
			       err);

	for (unsigned n = 0; !r && next >= 0x40 && n < MAX_CAPS; n++) {
		*at = next & ~3u;
		r = ob_client_read(dev->client, OB_CLIENT_CONFIG, *at, head,
				   sizeof(head), err);
		if (!r && head[0] == CAP_MSIX)
			return 0;
		next = head[1];
	}
	return r ? r : ob_fail(err, EOPNOTSUPP, "the device has no MSI-X");
}

static int unmask_vectors(struct nvme_user *dev, uint32_t table,
			  unsigned count, struct ob_err *err)
{
	uint32_t unmasked = 0;
	int r = 0;

	for (unsigned i = 0; i < count && !r; i++)
		r = ob_client_write(dev->client, table & 7,
				    (table & ~7u) + 16 * i + 12, &unmasked, 4,
				    err);
	return r;
}

static int make_eventfds(struct nvme_user *dev, int *fds, struct ob_err *err)
{
	for (unsigned i = 0; i < dev->params.queues; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fds[i] < 0)
			return ob_fail(err, errno, "eventfd: %s",
				       strerror(errno));
		dev->queues[i].eventfd = fds[i];
	}
	return 0;
}

int nvme_user_irq_setup(struct nvme_user *dev, struct ob_err *err)
{
	int fds[NVME_USER_MAX_QUEUES];
	struct ob_client_irq info;
	uint16_t control;
	uint32_t table;
	uint8_t at = 0;
	int r;

	if ((r = ob_client_irq_info(dev->client, OB_CLIENT_MSIX, &info,
				    err)) ||
	    (r = find_msix(dev, &at, err)))
		return r;
	if (info.count < dev->params.queues + 1)
		return ob_fail(err, ERANGE,
			       "the device has %u vectors, %u are needed",
			       info.count, dev->params.queues + 1);
	if ((r = ob_client_read(dev->client, OB_CLIENT_CONFIG, at + 2u,
				&control, 2, err)) ||
	    (r = ob_client_read(dev->client, OB_CLIENT_CONFIG, at + 4u,
				&table, 4, err)))
		return r;
	control |= 0x8000;
	if ((r = ob_client_write(dev->client, OB_CLIENT_CONFIG, at + 2u,
				 &control, 2, err)) ||
	    (r = unmask_vectors(dev, table, dev->params.queues + 1, err)) ||
	    (r = make_eventfds(dev, fds, err)))
		return r;
	return ob_client_irq_attach(dev->client, OB_CLIENT_MSIX, 1, fds,
				    dev->params.queues, err);
}
