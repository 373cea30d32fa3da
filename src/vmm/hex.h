/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_VMM_HEX_H
#define OB_VMM_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Exactly len bytes of lower-case digits, as QEMU and our server write them, or -EPROTO. */
int ob_hex_read(const char *text, uint8_t *buf, size_t len);

#endif
