// SPDX-License-Identifier: BSD-3-Clause
/* Guest memory: telling the server what it may reach, and how. */
#include <errno.h>
#include <string.h>

#include "client/client.h"

static int check_map(const struct ob_client_dma *map, struct ob_err *err)
{
	uint64_t last;

	if (!map->size ||
	    __builtin_add_overflow(map->addr, map->size - 1, &last))
		return ob_fail(err, EINVAL,
			       "a mapping of 0x%llx bytes at 0x%llx is "
			       "impossible", (unsigned long long)map->size,
			       (unsigned long long)map->addr);
	if (map->fd >= 0 && map->memory)
		return ob_fail(err, EINVAL,
			       "a mapping has an fd or memory, not both");
	return 0;
}

/*
 * The memory is there before the server may ask for it, and is gone only
 * when the server has confirmed.
 */
int ob_client_dma_map(struct ob_client *client,
		      const struct ob_client_dma *map, struct ob_err *err)
{
	struct ob_dma_map wire = {
		.argsz = OB_DMA_MAP_SIZE,
		.flags = (map->readable ? OB_DMA_READ : 0) |
			 (map->writable ? OB_DMA_WRITE : 0),
		.offset = map->offset, .address = map->addr, .size = map->size,
	};
	uint8_t bytes[OB_DMA_MAP_SIZE];
	struct ob_writer wr;
	int r = check_map(map, err);

	if (r)
		return r;
	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_dma_map(&wr, &wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	if (map->memory && (r = client_memory_add(client, map, err)))
		return r;
	r = client_command(client, OB_CMD_DMA_MAP, bytes, sizeof(bytes),
			   &map->fd, map->fd >= 0 ? 1 : 0, err);
	if (r && map->memory)
		client_memory_remove(client, map->addr, map->size);
	return r;
}

static int unmap(struct ob_client *client, uint32_t flags, uint64_t addr,
		 uint64_t size, struct ob_err *err)
{
	struct ob_dma_unmap wire = {
		.argsz = OB_DMA_UNMAP_SIZE, .flags = flags,
		.address = addr, .size = size,
	};
	uint8_t bytes[OB_DMA_UNMAP_SIZE];
	struct ob_writer wr;
	int r;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_dma_unmap(&wr, &wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	return client_command(client, OB_CMD_DMA_UNMAP, bytes, sizeof(bytes),
			      NULL, 0, err);
}

int ob_client_dma_unmap(struct ob_client *client, uint64_t addr,
			uint64_t size, struct ob_err *err)
{
	int r = unmap(client, 0, addr, size, err);

	if (!r)
		client_memory_remove(client, addr, size);
	return r;
}

int ob_client_dma_unmap_all(struct ob_client *client, struct ob_err *err)
{
	int r = unmap(client, OB_UNMAP_ALL, 0, 0, err);

	if (!r)
		client->nr_memory = 0;
	return r;
}
