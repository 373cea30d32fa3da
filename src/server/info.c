// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a client may ask about the device before it uses it.
 *
 * argsz is what the client has room for; the reply's says what a full answer
 * needs.  The capabilities flag is set only in an answer that contains them:
 * QEMU gives up on the device otherwise.
 */
#include <errno.h>

#include "server/device_impl.h"
#include "server/kept.h"
#include "server/session.h"

int ob_do_device_info(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg)
{
	struct ob_device_info info = {
		.argsz = OB_DEVICE_INFO_SIZE,
		.flags = OB_DEVICE_RESET_OK | OB_DEVICE_PCI,
		.num_regions = OB_NR_REGIONS,
		.num_irqs = OB_NR_IRQ_INDEXES,
	};

	(void)msg;
	if (req->info.argsz < OB_DEVICE_INFO_SIZE)
		return ob_fail(&s->err, EINVAL, "argsz %u", req->info.argsz);
	return ob_put_device_info(&s->reply.wr, &info);
}

static uint32_t region_flags(const struct ob_device *dev, unsigned region)
{
	if (ob_region_size(dev, region) == 0)
		return 0;
	return region == OB_ROM ? OB_REGION_READ :
				  OB_REGION_READ | OB_REGION_WRITE;
}

/* The areas as pairs; how many there are. */
static uint32_t list_areas(const struct ob_device *dev, unsigned region,
			   uint64_t pairs[OB_MAX_AREAS][2])
{
	const struct ob_bar *bar = &dev->pci.bars[region];
	uint32_t i;

	for (i = 0; i < bar->nr_areas; i++) {
		pairs[i][0] = bar->areas[i].offset;
		pairs[i][1] = bar->areas[i].size;
	}
	return bar->nr_areas;
}

static int put_mappable(struct ob_session *s, struct ob_region_info *info,
			uint32_t room)
{
	uint64_t pairs[OB_MAX_AREAS][2];
	uint32_t n = list_areas(s->dev, info->index, pairs);
	int r;

	info->flags |= OB_REGION_MMAP;
	info->argsz += (uint32_t)OB_CAP_SPARSE_SIZE(n);
	s->reply.fds[0] = s->dev->bars[info->index].fd;
	s->reply.fd_names[0] = (uint8_t)(OB_FD_BAR0 + info->index);
	s->reply.nr_fds = 1;
	if (room < info->argsz)
		return ob_put_region_info(&s->reply.wr, info);
	info->flags |= OB_REGION_CAPS;
	info->cap_offset = OB_REGION_INFO_SIZE;
	r = ob_put_region_info(&s->reply.wr, info);
	return r ? r : ob_put_sparse_cap(&s->reply.wr, 0, n,
					 (const uint64_t (*)[2])pairs);
}

int ob_do_region_info(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg)
{
	const struct ob_region_info *ask = &req->region_info;
	struct ob_region_info info = {
		.argsz = OB_REGION_INFO_SIZE,
		.index = ask->index,
	};

	(void)msg;
	if (ask->argsz < OB_REGION_INFO_SIZE || ask->index >= OB_NR_REGIONS)
		return ob_fail(&s->err, EINVAL, "index %u, argsz %u",
			       ask->index, ask->argsz);
	info.size = ob_region_size(s->dev, ask->index);
	info.flags = region_flags(s->dev, ask->index);
	if (ask->index <= OB_BAR5 && s->dev->pci.bars[ask->index].nr_areas)
		return put_mappable(s, &info, ask->argsz);
	return ob_put_region_info(&s->reply.wr, &info);
}

/* We offer no ioeventfds: an empty list for every region that exists. */
int ob_do_region_io_fds(struct ob_session *s, const struct ob_request *req,
			struct ob_msg *msg)
{
	const struct ob_region_io_fds *ask = &req->io_fds;
	struct ob_region_io_fds reply = {
		.argsz = OB_REGION_IO_FDS_SIZE,
		.index = ask->index,
	};

	(void)msg;
	if (ask->argsz < OB_REGION_IO_FDS_SIZE || ask->flags || ask->count ||
	    ask->index >= OB_NR_REGIONS)
		return ob_fail(&s->err, EINVAL, "index %u, argsz %u, flags %#x, count %u",
			       ask->index, ask->argsz, ask->flags, ask->count);
	return ob_put_io_fds(&s->reply.wr, &reply);
}

int ob_do_irq_info(struct ob_session *s, const struct ob_request *req,
		   struct ob_msg *msg)
{
	const struct ob_irq_info *ask = &req->irq_info;
	struct ob_irq_info info = {
		.argsz = OB_IRQ_INFO_SIZE,
		.flags = OB_IRQ_EVENTFD,
		.index = ask->index,
	};

	(void)msg;
	if (ask->argsz < OB_IRQ_INFO_SIZE || ask->index >= OB_NR_IRQ_INDEXES)
		return ob_fail(&s->err, EINVAL, "index %u, argsz %u",
			       ask->index, ask->argsz);
	info.count = s->dev->irqs.count[ask->index];
	if (ask->index == OB_IRQ_INDEX_INTX)
		info.flags |= OB_IRQ_MASKABLE | OB_IRQ_AUTOMASKED;
	if (ask->index == OB_IRQ_INDEX_MSIX)
		info.flags |= OB_IRQ_MASKABLE;
	return ob_put_irq_info(&s->reply.wr, &info);
}
