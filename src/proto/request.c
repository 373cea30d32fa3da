// SPDX-License-Identifier: BSD-3-Clause
/*
 * Requests, client to server, by a table with one row for each command: how
 * the fixed part is read, what may follow it, and how long the answer is.
 *
 * What follows the fixed part is a matter of the format.  Structures with an
 * argsz are open: a later revision may append to them, and real clients send
 * the whole buffer they want filled, so that the excess is ignored.  A read
 * access is treated alike.  Where a count in the fixed part says how many
 * bytes follow, they must be there, exactly.
 */
#include "proto/proto.h"

#include <errno.h>

struct command {
	int (*get)(struct ob_reader *rd, struct ob_request *req);
	/* Checks what is left and points data at it; NULL: it is ignored. */
	int (*rest)(struct ob_reader *rd, struct ob_request *req);
	uint32_t reply;			/* bytes; a read adds its data */
};

static int take_rest(struct ob_reader *rd, struct ob_request *req, size_t len)
{
	req->data_len = len;
	return ob_get_view(rd, &req->data, len);
}

static int rest_none(struct ob_reader *rd, struct ob_request *req)
{
	(void)req;
	return ob_reader_left(rd) ? -EINVAL : 0;
}

static int rest_all(struct ob_reader *rd, struct ob_request *req)
{
	return take_rest(rd, req, ob_reader_left(rd));
}

static int rest_exact(struct ob_reader *rd, struct ob_request *req,
		      uint64_t len)
{
	if (ob_reader_left(rd) != len)
		return -EINVAL;
	return take_rest(rd, req, len);
}

static int get_version(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_version(rd, &req->version);
}

static int get_map(struct ob_reader *rd, struct ob_request *req)
{
	struct ob_dma_map *v = &req->map;
	int r;

	if ((r = ob_get_u32(rd, &v->argsz)) ||
	    (r = ob_get_u32(rd, &v->flags)) ||
	    (r = ob_get_u64(rd, &v->offset)) ||
	    (r = ob_get_u64(rd, &v->address)))
		return r;
	return ob_get_u64(rd, &v->size);
}

static int get_unmap(struct ob_reader *rd, struct ob_request *req)
{
	struct ob_dma_unmap *v = &req->unmap;
	int r;

	if ((r = ob_get_u32(rd, &v->argsz)) ||
	    (r = ob_get_u32(rd, &v->flags)) ||
	    (r = ob_get_u64(rd, &v->address)))
		return r;
	return ob_get_u64(rd, &v->size);
}

static int get_info(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_device_info(rd, &req->info);
}

static int get_region_info(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_region_info(rd, &req->region_info);
}

static int get_io_fds(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_io_fds(rd, &req->io_fds);
}

static int get_irq_info(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_irq_info(rd, &req->irq_info);
}

static int get_set_irqs(struct ob_reader *rd, struct ob_request *req)
{
	struct ob_set_irqs *v = &req->set_irqs;
	int r;

	if ((r = ob_get_u32(rd, &v->argsz)) ||
	    (r = ob_get_u32(rd, &v->flags)) ||
	    (r = ob_get_u32(rd, &v->index)) ||
	    (r = ob_get_u32(rd, &v->start)))
		return r;
	return ob_get_u32(rd, &v->count);
}

static int rest_set_irqs(struct ob_reader *rd, struct ob_request *req)
{
	if (!(req->set_irqs.flags & OB_IRQ_DATA_BOOL))
		return 0;
	return take_rest(rd, req, req->set_irqs.count);
}

static int get_access(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_region_access(rd, &req->access);
}

static int rest_write(struct ob_reader *rd, struct ob_request *req)
{
	return rest_exact(rd, req, req->access.count);
}

static int get_nothing(struct ob_reader *rd, struct ob_request *req)
{
	(void)rd;
	(void)req;
	return 0;
}

static int get_write_multi(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_u64(rd, &req->write_count);
}

static int rest_write_multi(struct ob_reader *rd, struct ob_request *req)
{
	uint64_t len;

	if (__builtin_mul_overflow(req->write_count, OB_WRITE_ENTRY_SIZE, &len))
		return -EINVAL;
	return rest_exact(rd, req, len);
}

static int get_feature(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_feature(rd, &req->feature);
}

static int get_mig(struct ob_reader *rd, struct ob_request *req)
{
	return ob_get_mig_data(rd, &req->mig);
}

static int rest_mig_write(struct ob_reader *rd, struct ob_request *req)
{
	return rest_exact(rd, req, req->mig.size);
}

/* A row without get is a command that no client may send. */
static const struct command commands[OB_NR_CMDS] = {
	[OB_CMD_VERSION] = { get_version, NULL, 4 },
	[OB_CMD_DMA_MAP] = { get_map, NULL, 0 },
	[OB_CMD_DMA_UNMAP] = { get_unmap, NULL, OB_DMA_UNMAP_SIZE },
	[OB_CMD_DEVICE_GET_INFO] = { get_info, NULL, OB_DEVICE_INFO_SIZE },
	[OB_CMD_DEVICE_GET_REGION_INFO] = {
		get_region_info, NULL, OB_REGION_INFO_SIZE },
	[OB_CMD_DEVICE_GET_REGION_IO_FDS] = {
		get_io_fds, NULL, OB_REGION_IO_FDS_SIZE },
	[OB_CMD_DEVICE_GET_IRQ_INFO] = { get_irq_info, NULL, OB_IRQ_INFO_SIZE },
	[OB_CMD_DEVICE_SET_IRQS] = { get_set_irqs, rest_set_irqs, 0 },
	[OB_CMD_REGION_READ] = { get_access, NULL, OB_REGION_ACCESS_SIZE },
	[OB_CMD_REGION_WRITE] = {
		get_access, rest_write, OB_REGION_ACCESS_SIZE },
	[OB_CMD_DEVICE_RESET] = { get_nothing, rest_none, 0 },
	[OB_CMD_REGION_WRITE_MULTI] = { get_write_multi, rest_write_multi, 8 },
	[OB_CMD_DEVICE_FEATURE] = { get_feature, rest_all, OB_FEATURE_SIZE },
	[OB_CMD_MIG_DATA_READ] = { get_mig, NULL, OB_MIG_DATA_SIZE },
	[OB_CMD_MIG_DATA_WRITE] = { get_mig, rest_mig_write, 0 },
};

static const struct command *find(unsigned cmd)
{
	return cmd < OB_NR_CMDS && commands[cmd].get ? &commands[cmd] : NULL;
}

int ob_request_get(struct ob_request *req, const void *payload, size_t len)
{
	const struct command *command = find(req->hdr.cmd);
	struct ob_reader rd;

	req->data = NULL;
	req->data_len = 0;
	if (!command)
		return -ENOSYS;
	ob_reader_init(&rd, payload, len);
	if (command->get(&rd, req)) {
		/* The size of the error reply depends on what is there. */
		*req = (struct ob_request){ .hdr = req->hdr };
		return -EINVAL;
	}
	if (command->rest && command->rest(&rd, req)) {
		req->data = NULL;
		req->data_len = 0;
		return -EINVAL;
	}
	return 0;
}

size_t ob_reply_payload_size(const struct ob_request *req)
{
	const struct command *command = find(req->hdr.cmd);

	if (!command)
		return 0;
	if (req->hdr.cmd == OB_CMD_REGION_READ)
		return (size_t)command->reply + req->access.count;
	return command->reply;
}
