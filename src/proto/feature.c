// SPDX-License-Identifier: BSD-3-Clause
/* DEVICE_FEATURE's payloads, both ways, in the order of the wire. */
#include "proto/proto.h"

int ob_put_mig_device_state(struct ob_writer *wr,
			    const struct ob_mig_device_state *v)
{
	int r = ob_put_u32(wr, v->state);

	return r ? r : ob_put_u32(wr, (uint32_t)v->data_fd);
}

int ob_get_mig_device_state(struct ob_reader *rd,
			    struct ob_mig_device_state *v)
{
	uint32_t fd = 0;
	int r;

	if ((r = ob_get_u32(rd, &v->state)) || (r = ob_get_u32(rd, &fd)))
		return r;
	v->data_fd = (int32_t)fd;
	return 0;
}

int ob_put_log_start(struct ob_writer *wr, const struct ob_log_start *v)
{
	int r;

	if ((r = ob_put_u64(wr, v->page_size)) ||
	    (r = ob_put_u32(wr, v->nr_ranges)))
		return r;
	return ob_put_u32(wr, v->reserved);
}

int ob_get_log_start(struct ob_reader *rd, struct ob_log_start *v)
{
	int r;

	if ((r = ob_get_u64(rd, &v->page_size)) ||
	    (r = ob_get_u32(rd, &v->nr_ranges)))
		return r;
	return ob_get_u32(rd, &v->reserved);
}

int ob_put_log_range(struct ob_writer *wr, const struct ob_log_range *v)
{
	int r = ob_put_u64(wr, v->iova);

	return r ? r : ob_put_u64(wr, v->length);
}

int ob_get_log_range(struct ob_reader *rd, struct ob_log_range *v)
{
	int r = ob_get_u64(rd, &v->iova);

	return r ? r : ob_get_u64(rd, &v->length);
}

int ob_put_log_report(struct ob_writer *wr, const struct ob_log_report *v)
{
	int r;

	if ((r = ob_put_u64(wr, v->iova)) || (r = ob_put_u64(wr, v->length)))
		return r;
	return ob_put_u64(wr, v->page_size);
}

int ob_get_log_report(struct ob_reader *rd, struct ob_log_report *v)
{
	int r;

	if ((r = ob_get_u64(rd, &v->iova)) || (r = ob_get_u64(rd, &v->length)))
		return r;
	return ob_get_u64(rd, &v->page_size);
}

int ob_put_precopy_info(struct ob_writer *wr, const struct ob_precopy_info *v)
{
	int r = ob_put_u64(wr, v->initial_bytes);

	return r ? r : ob_put_u64(wr, v->dirty_bytes);
}

int ob_get_precopy_info(struct ob_reader *rd, struct ob_precopy_info *v)
{
	int r = ob_get_u64(rd, &v->initial_bytes);

	return r ? r : ob_get_u64(rd, &v->dirty_bytes);
}

int ob_get_feature(struct ob_reader *rd, struct ob_feature *v)
{
	int r = ob_get_u32(rd, &v->argsz);

	return r ? r : ob_get_u32(rd, &v->flags);
}

int ob_get_mig_data(struct ob_reader *rd, struct ob_mig_data *v)
{
	int r = ob_get_u32(rd, &v->argsz);

	return r ? r : ob_get_u32(rd, &v->size);
}
