// SPDX-License-Identifier: BSD-3-Clause
/*
 * Region accesses.  First the check, then an access that cannot fail: an
 * error inside a region would have to be told to a guest that knows no
 * errors, so undefined registers read as zeros and ignore writes.
 *
 * The bytes of a BAR are the model's, apart from the MSI-X table and PBA; an
 * access that straddles their edges is split.  Messages to a mappable area
 * go to the model as well, which owns that memory and decides.
 */
#include <errno.h>
#include <string.h>

#include "proto/proto.h"
#include "server/device_impl.h"

/* What the model sees of an absent callback. */
static void model_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		       void *buf, size_t len)
{
	if (dev->cls->region_read)
		dev->cls->region_read(dev, bar, offset, buf, len);
	else
		memset(buf, 0, len);
}

static void model_write(struct ob_device *dev, unsigned bar, uint64_t offset,
			const void *buf, size_t len)
{
	if (dev->cls->region_write)
		dev->cls->region_write(dev, bar, offset, buf, len);
}

uint64_t ob_region_size(const struct ob_device *dev, unsigned region)
{
	if (region <= OB_BAR5)
		return dev->pci.bars[region].size;
	if (region == OB_ROM)
		return dev->rom_size;
	if (region == OB_CONFIG)
		return dev->cfg.size;
	return 0;
}

int ob_region_check(const struct ob_device *dev,
		    const struct ob_region_access *access, bool write)
{
	uint64_t size;

	if (access->region >= OB_NR_REGIONS)
		return -EINVAL;
	size = ob_region_size(dev, access->region);
	if (size == 0 || access->offset > size ||
	    access->count > size - access->offset)
		return -EINVAL;
	return write && access->region == OB_ROM ? -EINVAL : 0;
}

static void bar_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		     uint8_t *buf, size_t left)
{
	enum ob_msix_part part;
	size_t len;

	for (; left; offset += len, buf += len, left -= len) {
		len = left;
		part = ob_msix_part(dev, bar, offset, &len);
		if (part == OB_PART_MODEL)
			model_read(dev, bar, offset, buf, len);
		else
			ob_msix_read(dev, part, offset, buf, len);
	}
}

static void bar_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		      const uint8_t *buf, size_t left)
{
	enum ob_msix_part part;
	size_t len;

	for (; left; offset += len, buf += len, left -= len) {
		len = left;
		part = ob_msix_part(dev, bar, offset, &len);
		if (part == OB_PART_MODEL)
			model_write(dev, bar, offset, buf, len);
		else
			ob_msix_write(dev, part, offset, buf, len);
	}
}

static void note_visit(struct ob_device *dev,
		       const struct ob_region_access *access)
{
	if (access->region <= OB_BAR5)
		ob_irqs_visited(&dev->irqs);
}

void ob_region_read(struct ob_device *dev,
		    const struct ob_region_access *access, void *buf)
{
	note_visit(dev, access);
	if (access->region == OB_CONFIG)
		ob_config_read(dev, (uint32_t)access->offset, buf,
			       access->count);
	else if (access->region == OB_ROM)
		memcpy(buf, dev->rom + access->offset, access->count);
	else
		bar_read(dev, access->region, access->offset, buf,
			 access->count);
}

void ob_region_write(struct ob_device *dev,
		     const struct ob_region_access *access, const void *buf)
{
	note_visit(dev, access);
	if (access->region == OB_CONFIG) {
		ob_arrival_written(dev, buf, access->count);
		ob_config_write(dev, (uint32_t)access->offset, buf,
				access->count);
	} else {
		bar_write(dev, access->region, access->offset, buf,
			  access->count);
	}
}
