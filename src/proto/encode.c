// SPDX-License-Identifier: BSD-3-Clause
/* Structures to bytes, field by field in the order of the wire. */
#include "proto/proto.h"

/* Four u32 in a row: how most of the VFIO structures begin. */
static int put_words(struct ob_writer *wr, uint32_t a, uint32_t b, uint32_t c,
		     uint32_t d)
{
	int r;

	if ((r = ob_put_u32(wr, a)) || (r = ob_put_u32(wr, b)) ||
	    (r = ob_put_u32(wr, c)))
		return r;
	return ob_put_u32(wr, d);
}

int ob_put_version(struct ob_writer *wr, const struct ob_version *v)
{
	int r;

	if ((r = ob_put_u16(wr, v->major)) || (r = ob_put_u16(wr, v->minor)))
		return r;
	if (!v->json)
		return 0;
	if ((r = ob_put_bytes(wr, v->json, v->json_len)))
		return r;
	return ob_put_u8(wr, 0);
}

int ob_put_dma_map(struct ob_writer *wr, const struct ob_dma_map *v)
{
	int r;

	if ((r = ob_put_u32(wr, v->argsz)) || (r = ob_put_u32(wr, v->flags)) ||
	    (r = ob_put_u64(wr, v->offset)) ||
	    (r = ob_put_u64(wr, v->address)))
		return r;
	return ob_put_u64(wr, v->size);
}

int ob_put_dma_unmap(struct ob_writer *wr, const struct ob_dma_unmap *v)
{
	int r;

	if ((r = ob_put_u32(wr, v->argsz)) || (r = ob_put_u32(wr, v->flags)) ||
	    (r = ob_put_u64(wr, v->address)))
		return r;
	return ob_put_u64(wr, v->size);
}

int ob_put_device_info(struct ob_writer *wr, const struct ob_device_info *v)
{
	return put_words(wr, v->argsz, v->flags, v->num_regions, v->num_irqs);
}

int ob_put_region_info(struct ob_writer *wr, const struct ob_region_info *v)
{
	int r;

	if ((r = put_words(wr, v->argsz, v->flags, v->index, v->cap_offset)) ||
	    (r = ob_put_u64(wr, v->size)))
		return r;
	return ob_put_u64(wr, v->offset);
}

static int put_cap_header(struct ob_writer *wr, uint16_t id, uint16_t version,
			  uint32_t next)
{
	int r;

	if ((r = ob_put_u16(wr, id)) || (r = ob_put_u16(wr, version)))
		return r;
	return ob_put_u32(wr, next);
}

int ob_put_sparse_cap(struct ob_writer *wr, uint32_t next, uint32_t areas,
		      const uint64_t (*offset_size)[2])
{
	int r;

	if ((r = put_cap_header(wr, OB_CAP_SPARSE_MMAP, 1, next)) ||
	    (r = ob_put_u32(wr, areas)) || (r = ob_put_u32(wr, 0)))
		return r;
	for (uint32_t i = 0; i < areas; i++)
		if ((r = ob_put_u64(wr, offset_size[i][0])) ||
		    (r = ob_put_u64(wr, offset_size[i][1])))
			return r;
	return 0;
}

int ob_put_io_fds(struct ob_writer *wr, const struct ob_region_io_fds *v)
{
	return put_words(wr, v->argsz, v->flags, v->index, v->count);
}

int ob_put_sub_region(struct ob_writer *wr, const struct ob_sub_region *v)
{
	int r;

	if ((r = ob_put_u64(wr, v->offset)) || (r = ob_put_u64(wr, v->size)) ||
	    (r = put_words(wr, v->fd_index, v->type, v->flags, v->padding)))
		return r;
	return ob_put_u64(wr, v->datamatch);
}

int ob_put_irq_info(struct ob_writer *wr, const struct ob_irq_info *v)
{
	return put_words(wr, v->argsz, v->flags, v->index, v->count);
}

int ob_put_set_irqs(struct ob_writer *wr, const struct ob_set_irqs *v)
{
	int r = put_words(wr, v->argsz, v->flags, v->index, v->start);

	return r ? r : ob_put_u32(wr, v->count);
}

int ob_put_region_access(struct ob_writer *wr,
			 const struct ob_region_access *v)
{
	int r;

	if ((r = ob_put_u64(wr, v->offset)) || (r = ob_put_u32(wr, v->region)))
		return r;
	return ob_put_u32(wr, v->count);
}

int ob_put_dma_access(struct ob_writer *wr, const struct ob_dma_access *v)
{
	int r = ob_put_u64(wr, v->address);

	return r ? r : ob_put_u64(wr, v->count);
}

int ob_put_feature(struct ob_writer *wr, const struct ob_feature *v)
{
	int r = ob_put_u32(wr, v->argsz);

	return r ? r : ob_put_u32(wr, v->flags);
}

int ob_put_mig_data(struct ob_writer *wr, const struct ob_mig_data *v)
{
	int r = ob_put_u32(wr, v->argsz);

	return r ? r : ob_put_u32(wr, v->size);
}
