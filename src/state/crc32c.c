// SPDX-License-Identifier: BSD-3-Clause
/*
 * CRC32C by ISA-L, which picks the fastest code for the processor.  Its
 * function works on the bare register; the customary start with all ones and
 * the inversion at the end are added here, so that a checksum is the one that
 * everybody else computes ("123456789" gives 0xe3069283).
 */
#include <isa-l/crc.h>

#include "state/stream.h"

/* The library counts in int. */
#define PIECE (1u << 30)

uint32_t ob_crc32c(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *at = data;
	uint32_t state = ~crc;

	while (len) {
		size_t n = len < PIECE ? len : PIECE;

		/* It only reads, though its prototype does not say so. */
		state = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)n, state);
		at += n;
		len -= n;
	}
	return ~state;
}
