// SPDX-License-Identifier: BSD-3-Clause
/*
 * A sum of 64 bits by ISA-L, of ECMA-182, reflected: "is this what it was?".
 * It never leaves the process.
 */
#include <isa-l/crc64.h>

#include "state/stream.h"

uint64_t ob_crc64(const void *data, size_t len)
{
	return crc64_ecma_refl(0, data, len);
}
