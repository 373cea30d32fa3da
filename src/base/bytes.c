// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every access is a memcpy of a fixed size, which compilers turn into one
 * load or store, so that alignment never matters.
 */
#include <base/bytes.h>

#include <errno.h>
#include <string.h>

/* What an empty reader or writer points to: NULL + 0 is not defined in C. */
static uint8_t nothing[1];

void ob_reader_init(struct ob_reader *rd, const void *bytes, size_t len)
{
	rd->at = bytes ? bytes : nothing;
	rd->end = rd->at + len;
}

size_t ob_reader_left(const struct ob_reader *rd)
{
	return (size_t)(rd->end - rd->at);
}

int ob_get_view(struct ob_reader *rd, const uint8_t **view, size_t len)
{
	if (len > ob_reader_left(rd))
		return -EBADMSG;
	*view = rd->at;
	rd->at += len;
	return 0;
}

int ob_get_bytes(struct ob_reader *rd, void *dst, size_t len)
{
	const uint8_t *src;
	int r = ob_get_view(rd, &src, len);

	if (!r && len)
		memcpy(dst, src, len);
	return r;
}

int ob_get_u8(struct ob_reader *rd, uint8_t *v)
{
	return ob_get_bytes(rd, v, sizeof(*v));
}

int ob_get_u16(struct ob_reader *rd, uint16_t *v)
{
	return ob_get_bytes(rd, v, sizeof(*v));
}

int ob_get_u32(struct ob_reader *rd, uint32_t *v)
{
	return ob_get_bytes(rd, v, sizeof(*v));
}

int ob_get_u64(struct ob_reader *rd, uint64_t *v)
{
	return ob_get_bytes(rd, v, sizeof(*v));
}

int ob_skip(struct ob_reader *rd, size_t len)
{
	const uint8_t *ignored;

	return ob_get_view(rd, &ignored, len);
}

void ob_writer_init(struct ob_writer *wr, void *buf, size_t len)
{
	wr->start = wr->at = buf ? buf : nothing;
	wr->end = wr->start + len;
}

size_t ob_writer_len(const struct ob_writer *wr)
{
	return (size_t)(wr->at - wr->start);
}

/* The next len bytes to be written, or NULL when they do not fit. */
static uint8_t *claim(struct ob_writer *wr, size_t len)
{
	uint8_t *at = wr->at;

	if (len > (size_t)(wr->end - wr->at))
		return NULL;
	wr->at += len;
	return at;
}

int ob_put_bytes(struct ob_writer *wr, const void *src, size_t len)
{
	uint8_t *at;

	if (!len)
		return 0;
	at = claim(wr, len);
	if (!at)
		return -ENOSPC;
	memcpy(at, src, len);
	return 0;
}

int ob_put_zeros(struct ob_writer *wr, size_t len)
{
	uint8_t *at;

	if (!len)
		return 0;
	at = claim(wr, len);
	if (!at)
		return -ENOSPC;
	memset(at, 0, len);
	return 0;
}

int ob_put_u8(struct ob_writer *wr, uint8_t v)
{
	return ob_put_bytes(wr, &v, sizeof(v));
}

int ob_put_u16(struct ob_writer *wr, uint16_t v)
{
	return ob_put_bytes(wr, &v, sizeof(v));
}

int ob_put_u32(struct ob_writer *wr, uint32_t v)
{
	return ob_put_bytes(wr, &v, sizeof(v));
}

int ob_put_u64(struct ob_writer *wr, uint64_t v)
{
	return ob_put_bytes(wr, &v, sizeof(v));
}
