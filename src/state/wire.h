/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integers of a stream: little-endian whatever the host is, at any address.
 * base/bytes.h has the bounds; this only turns bytes into numbers.
 */
#ifndef OB_STATE_WIRE_H
#define OB_STATE_WIRE_H

#include "base/bytes.h"

static inline uint64_t ob_le_load(const void *at, unsigned size)
{
	const uint8_t *bytes = at;
	uint64_t v = 0;

	while (size--)
		v = v << 8 | bytes[size];
	return v;
}

static inline void ob_le_store(void *at, uint64_t v, unsigned size)
{
	uint8_t *bytes = at;
	unsigned i;

	for (i = 0; i < size; i++, v >>= 8)
		bytes[i] = (uint8_t)v;
}

/* As ob_get_... and ob_put_... of base/bytes.h, with the size in bytes. */
static inline int ob_get_le(struct ob_reader *rd, uint64_t *v, unsigned size)
{
	const uint8_t *at;
	int r = ob_get_view(rd, &at, size);

	if (!r)
		*v = ob_le_load(at, size);
	return r;
}

static inline int ob_put_le(struct ob_writer *wr, uint64_t v, unsigned size)
{
	uint8_t bytes[8];

	ob_le_store(bytes, v, size);
	return ob_put_bytes(wr, bytes, size);
}

#endif
