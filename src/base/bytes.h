/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bounded reader and writer: the one way to touch foreign bytes.  A getter
 * consumes or fails, never partially.  All return 0 or -EBADMSG (reader ran
 * out) / -ENOSPC (writer is full), so a layout reads top to bottom:
 *
 *	if ((r = ob_get_u32(rd, &a)) || (r = ob_get_u64(rd, &b)))
 *		return r;
 */
#ifndef OB_BASE_BYTES_H
#define OB_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct ob_reader {
	const uint8_t *at, *end;
};

struct ob_writer {
	uint8_t *start, *at, *end;
};

void ob_reader_init(struct ob_reader *rd, const void *bytes, size_t len);
size_t ob_reader_left(const struct ob_reader *rd);
/* Host byte order: the vfio-user wire. */
int ob_get_u8(struct ob_reader *rd, uint8_t *v);
int ob_get_u16(struct ob_reader *rd, uint16_t *v);
int ob_get_u32(struct ob_reader *rd, uint32_t *v);
int ob_get_u64(struct ob_reader *rd, uint64_t *v);
int ob_get_bytes(struct ob_reader *rd, void *dst, size_t len);
/* Borrows len bytes of the reader's memory. */
int ob_get_view(struct ob_reader *rd, const uint8_t **view, size_t len);
int ob_skip(struct ob_reader *rd, size_t len);

void ob_writer_init(struct ob_writer *wr, void *buf, size_t len);
size_t ob_writer_len(const struct ob_writer *wr);
int ob_put_u8(struct ob_writer *wr, uint8_t v);
int ob_put_u16(struct ob_writer *wr, uint16_t v);
int ob_put_u32(struct ob_writer *wr, uint32_t v);
int ob_put_u64(struct ob_writer *wr, uint64_t v);
int ob_put_bytes(struct ob_writer *wr, const void *src, size_t len);
int ob_put_zeros(struct ob_writer *wr, size_t len);

#endif
