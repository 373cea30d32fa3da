// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server's accesses to guest memory that it cannot map: DMA_READ and
 * DMA_WRITE.  Registered memory first, then the user's callbacks; an access
 * is served from one region as a whole or not at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* Index of the first region that ends above addr. */
static size_t find_memory(const struct ob_client *client, uint64_t addr)
{
	size_t low = 0, high = client->nr_memory;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct client_memory *m = &client->memory[mid];

		if (m->addr + (m->size - 1) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int client_memory_add(struct ob_client *client,
		      const struct ob_client_dma *map, struct ob_err *err)
{
	size_t at = find_memory(client, map->addr);
	struct client_memory *grown;

	if (client->nr_memory == client->room_memory) {
		size_t room = client->room_memory ? 2 * client->room_memory
						  : 8;

		grown = reallocarray(client->memory, room, sizeof(*grown));
		if (!grown)
			return ob_fail(err, ENOMEM, "out of memory");
		client->memory = grown;
		client->room_memory = room;
	}
	memmove(&client->memory[at + 1], &client->memory[at],
		(client->nr_memory - at) * sizeof(*client->memory));
	client->memory[at] = (struct client_memory){
		.addr = map->addr, .size = map->size, .base = map->memory,
		.readable = map->readable, .writable = map->writable,
	};
	client->nr_memory++;
	return 0;
}

void client_memory_remove(struct ob_client *client, uint64_t addr,
			  uint64_t size)
{
	size_t at = find_memory(client, addr);

	if (at == client->nr_memory || client->memory[at].addr != addr ||
	    client->memory[at].size != size)
		return;
	client->nr_memory--;
	memmove(&client->memory[at], &client->memory[at + 1],
		(client->nr_memory - at) * sizeof(*client->memory));
}

/* Registered memory for all of the range, -EACCES, or -ENOENT. */
static int look_up(const struct ob_client *client, uint64_t addr,
		   uint64_t len, bool write, uint8_t **at)
{
	size_t i = find_memory(client, addr);
	const struct client_memory *m;

	if (i == client->nr_memory)
		return -ENOENT;
	m = &client->memory[i];
	if (addr < m->addr || len > m->size - (addr - m->addr))
		return -ENOENT;
	if (write ? !m->writable : !m->readable)
		return -EACCES;
	*at = m->base + (addr - m->addr);
	return 0;
}

static int read_memory(struct ob_client *client, uint64_t addr, size_t len,
		       uint8_t **data)
{
	int r = look_up(client, addr, len, false, data);

	if (r != -ENOENT)
		return r;
	if (!client->dma_ops || !client->dma_ops->read)
		return -EFAULT;
	if (!client->bounce)
		client->bounce = malloc(client->max_accepted);
	if (!client->bounce)
		return -ENOMEM;
	*data = client->bounce;
	return client->dma_ops->read(client->dma_arg, addr, client->bounce,
				     len);
}

static int write_memory(struct ob_client *client, uint64_t addr,
			const void *data, size_t len)
{
	uint8_t *at;
	int r = look_up(client, addr, len, true, &at);

	if (r == 0)
		memcpy(at, data, len);
	if (r != -ENOENT)
		return r;
	if (!client->dma_ops || !client->dma_ops->write)
		return -EFAULT;
	return client->dma_ops->write(client->dma_arg, addr, data, len);
}

static int serve_access(struct ob_client *client, const struct ob_msg *msg,
			struct ob_dma_access *access, uint8_t **data)
{
	struct ob_reader rd;
	uint64_t end;
	int r;

	ob_reader_init(&rd, msg->payload, msg->len);
	r = ob_get_dma_access(&rd, access);
	if (r)
		return -EINVAL;
	if (access->count > client->max_accepted || access->count == 0 ||
	    __builtin_add_overflow(access->address, access->count - 1, &end))
		return -EINVAL;
	if (msg->hdr.cmd == OB_CMD_DMA_READ)
		return read_memory(client, access->address, access->count,
				   data);
	if (ob_reader_left(&rd) < access->count)
		return -EINVAL;
	return write_memory(client, access->address, rd.at, access->count);
}

static int send_reply(struct ob_client *client, struct ob_conn *conn,
		      const struct ob_msg *msg, int rc,
		      const struct ob_dma_access *access, void *data,
		      struct ob_err *err)
{
	uint8_t head[OB_HDR_SIZE + OB_DMA_ACCESS_SIZE];
	bool with_data = !rc && msg->hdr.cmd == OB_CMD_DMA_READ;
	struct ob_hdr hdr = {
		.id = msg->hdr.id, .cmd = msg->hdr.cmd,
		.flags = OB_HDR_REPLY | (rc ? OB_HDR_ERROR : 0),
		.error = (uint32_t)-rc,
	};
	struct iovec iov[2] = { { head, OB_HDR_SIZE } };
	struct ob_writer wr;
	int r;

	if (!rc)
		iov[0].iov_len = sizeof(head);
	if (with_data)
		iov[1] = (struct iovec){ data, access->count };
	hdr.size = (uint32_t)(iov[0].iov_len + iov[1].iov_len);
	ob_writer_init(&wr, head, sizeof(head));
	r = ob_hdr_put(&wr, &hdr);
	if (!r && !rc)
		r = ob_put_dma_access(&wr, access);
	if (!r)
		r = ob_conn_send(conn, iov, with_data ? 2 : 1, NULL, 0);
	return r ? client_die(client, r, err, "cannot send") : 0;
}

int client_serve(struct ob_client *client, struct ob_conn *conn,
		 struct ob_msg *msg, struct ob_err *err)
{
	struct ob_dma_access access = { 0 };
	uint8_t *data = NULL;
	int rc = -ENOSYS;

	if (msg->hdr.cmd == OB_CMD_DMA_READ || msg->hdr.cmd == OB_CMD_DMA_WRITE)
		rc = serve_access(client, msg, &access, &data);
	ob_msg_finish(msg);
	if (msg->hdr.flags & OB_HDR_NO_REPLY)
		return 0;
	return send_reply(client, conn, msg, rc, &access, data, err);
}
