/* SPDX-License-Identifier: BSD-3-Clause */
/* Values for people. */
#ifndef OB_STATE_SHOW_H
#define OB_STATE_SHOW_H

#include <jansson.h>

#include "state/field.h"

/* From 2^63 on as text: "0x8000000000000000". */
json_t *ob_json_u64(uint64_t v);
/* Printable, ended by a 0, and nothing but zeros after it. */
bool ob_bytes_are_text(const uint8_t *bytes, size_t size);
/* "0x..."; text has room for 2 * size + 3. */
void ob_bytes_hex(const uint8_t *bytes, size_t size, char *text);

#endif
