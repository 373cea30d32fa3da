// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the device is made of.  Region information is asked for once with the
 * fixed part's size, and again with the size that the answer names when it
 * has capabilities; everything in the answer is checked before it is kept.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/client.h"

#define MAX_CAPS 16		/* in one chain */
#define MAX_AREAS 256		/* in one region */
#define MAX_INFO (OB_REGION_INFO_SIZE + MAX_CAPS * OB_CAP_SPARSE_SIZE(MAX_AREAS))

int ob_client_device_info(struct ob_client *client,
			  struct ob_client_device *info, struct ob_err *err)
{
	struct ob_device_info wire = { .argsz = OB_DEVICE_INFO_SIZE };
	uint8_t bytes[OB_DEVICE_INFO_SIZE];
	struct ob_writer wr;
	struct ob_reader rd;
	int r;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	ob_reader_init(&rd, bytes, sizeof(bytes));
	if ((r = ob_put_device_info(&wr, &wire)) ||
	    (r = client_query(client, OB_CMD_DEVICE_GET_INFO, bytes,
			      sizeof(bytes), err)) ||
	    (r = ob_get_device_info(&rd, &wire)))
		return r;
	*info = (struct ob_client_device){
		.resettable = wire.flags & OB_DEVICE_RESET_OK,
		.pci = wire.flags & OB_DEVICE_PCI,
		.nr_regions = wire.num_regions, .nr_irqs = wire.num_irqs,
	};
	return 0;
}

static int ask_region(struct ob_client *client, uint32_t index, uint32_t argsz,
		      struct ob_region_info *wire, struct ob_msg *reply,
		      struct ob_err *err)
{
	uint8_t header[OB_HDR_SIZE], bytes[OB_REGION_INFO_SIZE];
	struct iovec iov[2] = {
		{ header, sizeof(header) }, { bytes, sizeof(bytes) },
	};
	struct ob_writer wr;
	struct ob_reader rd;
	int r;

	*wire = (struct ob_region_info){ .argsz = argsz, .index = index };
	reply->hdr.size = 0;
	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_region_info(&wr, wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	r = client_call(client, OB_CMD_DEVICE_GET_REGION_INFO, iov, 2, NULL, 0,
			OB_REGION_INFO_SIZE, reply, err);
	if (r)
		return r;
	ob_reader_init(&rd, reply->payload, reply->len);
	return ob_get_region_info(&rd, wire);
}

static int get_areas(struct ob_reader *rd, struct client_region **region,
		     struct ob_err *err)
{
	struct client_region *grown;
	uint32_t count, reserved;
	int r;

	if ((r = ob_get_u32(rd, &count)) || (r = ob_get_u32(rd, &reserved)))
		return ob_fail(err, EPROTO, "a cut sparse mmap capability");
	if (count > MAX_AREAS || count * 16 > ob_reader_left(rd))
		return ob_fail(err, EPROTO, "%u sparse areas", count);
	grown = realloc(*region,
			sizeof(**region) + count * sizeof((*region)->areas[0]));
	if (!grown)
		return ob_fail(err, ENOMEM, "out of memory");
	*region = grown;
	grown->info.nr_areas = count;
	for (uint32_t i = 0; i < count; i++) {
		struct ob_client_area *area = &grown->areas[i];

		if ((r = ob_get_u64(rd, &area->offset)) ||
		    (r = ob_get_u64(rd, &area->size)))
			return r;
		if (area->offset > grown->info.size ||
		    area->size > grown->info.size - area->offset)
			return ob_fail(err, EPROTO,
				       "sparse area %u is outside its region",
				       i);
	}
	return 0;
}

/* Walks the chain; offsets count from the start of the payload. */
static int get_caps(const struct ob_msg *reply, uint32_t at,
		    struct client_region **region, struct ob_err *err)
{
	struct ob_reader rd;
	uint16_t id, version;
	uint32_t next;
	int r;

	for (unsigned n = 0; at; n++, at = next) {
		if (n == MAX_CAPS || at < OB_REGION_INFO_SIZE ||
		    at > reply->len)
			return ob_fail(err, EPROTO,
				       "a bad chain of region capabilities");
		ob_reader_init(&rd, reply->payload + at, reply->len - at);
		if ((r = ob_get_u16(&rd, &id)) ||
		    (r = ob_get_u16(&rd, &version)) ||
		    (r = ob_get_u32(&rd, &next)))
			return ob_fail(err, EPROTO,
				       "a cut region capability");
		if (id != OB_CAP_SPARSE_MMAP || version != 1)
			continue;
		r = get_areas(&rd, region, err);
		if (r)
			return r;
	}
	return 0;
}

static int take_region(struct ob_client *client, uint32_t index,
		       const struct ob_region_info *wire, struct ob_msg *reply,
		       struct ob_err *err)
{
	OB_CLEANUP_FREE struct client_region *region = NULL;
	int r = 0;

	region = calloc(1, sizeof(*region));
	if (!region)
		return ob_fail(err, ENOMEM, "out of memory");
	region->info = (struct ob_client_region){
		.index = index, .fd = -1,
		.readable = wire->flags & OB_REGION_READ,
		.writable = wire->flags & OB_REGION_WRITE,
		.mappable = (wire->flags & OB_REGION_MMAP) && reply->nr_fds,
		.size = wire->size, .offset = wire->offset,
	};
	if (wire->flags & OB_REGION_CAPS)
		r = get_caps(reply, wire->cap_offset, &region, err);
	if (r)
		return r;
	if (region->info.mappable)
		region->info.fd = ob_msg_take_fd(reply, 0);
	region->info.areas = region->areas;
	client->regions[index] = region;
	region = NULL;
	return 0;
}

static int fetch_region(struct ob_client *client, uint32_t index,
			struct ob_err *err)
{
	struct ob_region_info wire;
	struct ob_msg reply;
	int r = ask_region(client, index, OB_REGION_INFO_SIZE, &wire, &reply,
			   err);

	if (!r && wire.argsz > OB_REGION_INFO_SIZE) {
		ob_msg_finish(&reply);
		if (wire.argsz > MAX_INFO)
			return ob_fail(err, EPROTO,
				       "region %u needs %u bytes of "
				       "information", index, wire.argsz);
		r = ask_region(client, index, wire.argsz, &wire, &reply, err);
	}
	if (!r)
		r = take_region(client, index, &wire, &reply, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	if (r)
		ob_err_prefix(err, "region %u", index);
	return r;
}

int ob_client_region_info(struct ob_client *client, uint32_t index,
			  const struct ob_client_region **info,
			  struct ob_err *err)
{
	int r;

	if (index >= OB_CLIENT_MAX_REGIONS)
		return ob_fail(err, EINVAL, "there is no region %u", index);
	if (!client->regions[index]) {
		r = fetch_region(client, index, err);
		if (r)
			return r;
	}
	*info = &client->regions[index]->info;
	return 0;
}

static bool inside(uint64_t offset, size_t size, uint64_t area_offset,
		   uint64_t area_size)
{
	return offset >= area_offset && size <= area_size &&
	       offset - area_offset <= area_size - size;
}

static bool may_map(const struct ob_client_region *info, uint64_t offset,
		    size_t size)
{
	if (!info->nr_areas)
		return inside(offset, size, 0, info->size);
	for (uint32_t i = 0; i < info->nr_areas; i++)
		if (inside(offset, size, info->areas[i].offset,
			   info->areas[i].size))
			return true;
	return false;
}

static int map_region(const struct ob_client_region *info, uint64_t offset,
		      size_t size, int prot, void **addr, struct ob_err *err)
{
	uint64_t at;
	void *p;

	if (!info->mappable)
		return ob_fail(err, EOPNOTSUPP, "region %u cannot be mapped",
			       info->index);
	if (!size || !may_map(info, offset, size) ||
	    __builtin_add_overflow(info->offset, offset, &at))
		return ob_fail(err, EINVAL,
			       "region %u: 0x%zx bytes at 0x%llx may not be "
			       "mapped", info->index, size,
			       (unsigned long long)offset);
	p = mmap(NULL, size, prot, MAP_SHARED, info->fd, (off_t)at);
	if (p == MAP_FAILED)
		return ob_fail(err, errno, "region %u: mmap: %s", info->index,
			       strerror(errno));
	*addr = p;
	return 0;
}

int ob_client_region_map(struct ob_client *client, uint32_t index,
			 uint64_t offset, size_t size, int prot, void **addr,
			 struct ob_err *err)
{
	const struct ob_client_region *info = NULL;
	int r = ob_client_region_info(client, index, &info, err);

	return r ? r : map_region(info, offset, size, prot, addr, err);
}
