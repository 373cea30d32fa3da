/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A damaged stream with the numbers and checksums that its sections need, so
 * that the damage is not found by them.
 */
#ifndef OB_TESTS_GOLDEN_MEND_H
#define OB_TESTS_GOLDEN_MEND_H

#include <stddef.h>
#include <stdint.h>

#include "state/stream.h"
#include "state/wire.h"

static inline void mend(uint8_t *bytes, size_t len)
{
	size_t at = OB_STREAM_HEAD, n;
	unsigned i;

	for (i = 0; len > at && len - at >= OB_STREAM_SECTION; i++, at += n) {
		n = OB_STREAM_SECTION + ob_le_load(bytes + at + 8, 4);
		if (n > len - at)
			return;
		ob_le_store(bytes + at + 4, i, 4);
		if (ob_le_load(bytes + at, 2) == OB_STREAM_END && n == 32) {
			ob_le_store(bytes + at + 16, i, 8);
			ob_le_store(bytes + at + 24, at, 8);
		}
		ob_le_store(bytes + at + 12, 0, 4);
		ob_le_store(bytes + at + 12, ob_crc32c(0, bytes + at, n), 4);
	}
}

#endif
