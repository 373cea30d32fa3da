// SPDX-License-Identifier: BSD-3-Clause
#include "proto/proto.h"

#include <errno.h>

int ob_hdr_get(struct ob_reader *rd, struct ob_hdr *hdr)
{
	if (ob_reader_left(rd) < OB_HDR_SIZE)
		return -EBADMSG;
	ob_get_u16(rd, &hdr->id);
	ob_get_u16(rd, &hdr->cmd);
	ob_get_u32(rd, &hdr->size);
	ob_get_u32(rd, &hdr->flags);
	return ob_get_u32(rd, &hdr->error);
}

int ob_hdr_put(struct ob_writer *wr, const struct ob_hdr *hdr)
{
	int r;

	if ((r = ob_put_u16(wr, hdr->id)) ||
	    (r = ob_put_u16(wr, hdr->cmd)) ||
	    (r = ob_put_u32(wr, hdr->size)) ||
	    (r = ob_put_u32(wr, hdr->flags)))
		return r;
	return ob_put_u32(wr, hdr->error);
}

static const char *const names[] = {
	[OB_CMD_VERSION] = "VERSION",
	[OB_CMD_DMA_MAP] = "DMA_MAP",
	[OB_CMD_DMA_UNMAP] = "DMA_UNMAP",
	[OB_CMD_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
	[OB_CMD_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
	[OB_CMD_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
	[OB_CMD_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
	[OB_CMD_DEVICE_SET_IRQS] = "DEVICE_SET_IRQS",
	[OB_CMD_REGION_READ] = "REGION_READ",
	[OB_CMD_REGION_WRITE] = "REGION_WRITE",
	[OB_CMD_DMA_READ] = "DMA_READ",
	[OB_CMD_DMA_WRITE] = "DMA_WRITE",
	[OB_CMD_DEVICE_RESET] = "DEVICE_RESET",
	[OB_CMD_DIRTY_PAGES_V1] = "DIRTY_PAGES",
	[OB_CMD_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
	[OB_CMD_DEVICE_FEATURE] = "DEVICE_FEATURE",
	[OB_CMD_MIG_DATA_READ] = "MIG_DATA_READ",
	[OB_CMD_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
};

_Static_assert(sizeof(names) / sizeof(names[0]) == OB_NR_CMDS,
	       "every command has a name");

const char *ob_cmd_name(unsigned cmd)
{
	return cmd < OB_NR_CMDS && names[cmd] ? names[cmd] : "unknown";
}
