// SPDX-License-Identifier: BSD-3-Clause
/* Bytes to structures: what both ends read. */
#include "proto/proto.h"

#include <errno.h>

static int get_words(struct ob_reader *rd, uint32_t *a, uint32_t *b,
		     uint32_t *c, uint32_t *d)
{
	int r;

	if ((r = ob_get_u32(rd, a)) || (r = ob_get_u32(rd, b)) ||
	    (r = ob_get_u32(rd, c)))
		return r;
	return ob_get_u32(rd, d);
}

/*
 * The text reaches to the end of the message and its last byte is the NUL.
 * SPDK's driver sends no text at all; a lone NUL is the same.
 */
int ob_get_version(struct ob_reader *rd, struct ob_version *v)
{
	const uint8_t *text;
	size_t len;
	int r;

	v->json = NULL;
	v->json_len = 0;
	if ((r = ob_get_u16(rd, &v->major)) || (r = ob_get_u16(rd, &v->minor)))
		return r;
	len = ob_reader_left(rd);
	if (!len)
		return 0;
	if ((r = ob_get_view(rd, &text, len)))
		return r;
	if (text[len - 1])
		return -EBADMSG;
	if (len > 1) {
		v->json = (const char *)text;
		v->json_len = len - 1;
	}
	return 0;
}

int ob_get_device_info(struct ob_reader *rd, struct ob_device_info *v)
{
	return get_words(rd, &v->argsz, &v->flags, &v->num_regions,
			 &v->num_irqs);
}

int ob_get_region_info(struct ob_reader *rd, struct ob_region_info *v)
{
	int r;

	if ((r = get_words(rd, &v->argsz, &v->flags, &v->index,
			   &v->cap_offset)) ||
	    (r = ob_get_u64(rd, &v->size)))
		return r;
	return ob_get_u64(rd, &v->offset);
}

int ob_get_sub_region(struct ob_reader *rd, struct ob_sub_region *v)
{
	int r;

	if ((r = ob_get_u64(rd, &v->offset)) ||
	    (r = ob_get_u64(rd, &v->size)) ||
	    (r = get_words(rd, &v->fd_index, &v->type, &v->flags,
			   &v->padding)))
		return r;
	return ob_get_u64(rd, &v->datamatch);
}

int ob_get_io_fds(struct ob_reader *rd, struct ob_region_io_fds *v)
{
	return get_words(rd, &v->argsz, &v->flags, &v->index, &v->count);
}

int ob_get_irq_info(struct ob_reader *rd, struct ob_irq_info *v)
{
	return get_words(rd, &v->argsz, &v->flags, &v->index, &v->count);
}

int ob_get_region_access(struct ob_reader *rd, struct ob_region_access *v)
{
	int r;

	if ((r = ob_get_u64(rd, &v->offset)) ||
	    (r = ob_get_u32(rd, &v->region)))
		return r;
	return ob_get_u32(rd, &v->count);
}

int ob_get_dma_access(struct ob_reader *rd, struct ob_dma_access *v)
{
	int r = ob_get_u64(rd, &v->address);

	return r ? r : ob_get_u64(rd, &v->count);
}

int ob_get_write_entry(struct ob_reader *rd, struct ob_write_entry *v)
{
	int r;

	if ((r = ob_get_u64(rd, &v->offset)) ||
	    (r = ob_get_u32(rd, &v->region)) || (r = ob_get_u32(rd, &v->len)))
		return r;
	return ob_get_bytes(rd, v->data, sizeof(v->data));
}
