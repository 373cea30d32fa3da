// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's names with the keeper.
 *
 * A descriptor is put before the state says that it exists, and dropped after
 * the state has stopped saying so; so whatever the state names is there, and
 * what it does not name is nobody's.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <outboard/keep.h>

#include "server/device_impl.h"
#include "server/kept.h"

static int name_of(const struct ob_device *dev, char name[OB_KEEP_NAME_MAX + 1],
		   const char *fmt, va_list ap)
{
	size_t room = OB_KEEP_NAME_MAX + 1;
	int n = snprintf(name, room, "%s/", dev->id), m;

	if (n < 0 || (size_t)n >= room)
		return -ENAMETOOLONG;
	m = vsnprintf(name + n, room - (size_t)n, fmt, ap);
	return m < 0 || (size_t)(n + m) >= room ? -ENAMETOOLONG : 0;
}

int ob_dev_keep(struct ob_device *dev, int fd, const char *fmt, ...)
{
	char name[OB_KEEP_NAME_MAX + 1];
	va_list ap;
	int r;

	if (!dev->kept)
		return 0;
	va_start(ap, fmt);
	r = name_of(dev, name, fmt, ap);
	va_end(ap);
	return r ? r : ob_keep_put(dev->loop, name, fd);
}

int ob_dev_kept(const struct ob_device *dev, const char *fmt, ...)
{
	char name[OB_KEEP_NAME_MAX + 1];
	va_list ap;
	int r;

	if (!ob_keep_is_on(dev->loop))
		return -ENOENT;
	va_start(ap, fmt);
	r = name_of(dev, name, fmt, ap);
	va_end(ap);
	return r ? r : ob_keep_get(dev->loop, name);
}

void ob_dev_unkeep(struct ob_device *dev, const char *fmt, ...)
{
	char name[OB_KEEP_NAME_MAX + 1];
	va_list ap;
	int r;

	if (!dev->kept)
		return;
	va_start(ap, fmt);
	r = name_of(dev, name, fmt, ap);
	va_end(ap);
	if (r == 0)
		ob_keep_drop(dev->loop, name);
}

static int keep_bars(struct ob_device *dev)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < 6 && !r; i++)
		if (dev->bars[i].base)
			r = ob_dev_keep(dev, dev->bars[i].fd, "bar/%u", i);
	return r;
}

int ob_dev_keep_all(struct ob_device *dev, struct ob_err *err)
{
	int r;

	if ((r = keep_bars(dev)) ||
	    (r = ob_dev_keep(dev, dev->wire.fd, "wire")) ||
	    (r = ob_dev_keep(dev, dev->rec.fd, "recorder")) ||
	    (r = ob_dev_keep(dev, dev->mem.fd, "state")))
		return ob_fail(err, -r, "the keeper does not take it: %s",
			       strerror(-r));
	dev->counts = dev->kept;
	return 0;
}

void ob_dev_settle(struct ob_device *dev)
{
	dev->unsettled = false;
	ob_irqs_settle(dev);
	ob_dma_files_settle(dev);
	ob_mig_half_over(dev);
}

void ob_dev_unkeep_client(struct ob_device *dev)
{
	ob_dev_unkeep(dev, "client");
	ob_dev_unkeep(dev, "twin");
	ob_dev_unkeep(dev, "twin-peer");
	ob_dev_unkeep(dev, "held/");
	ob_dev_unkeep(dev, "dma/");
	ob_dev_unkeep(dev, "irq/");
	ob_dev_unkeep(dev, "unmask");
}
