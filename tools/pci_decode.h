/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration space, read out: registers and capabilities by name. */
#ifndef TOOLS_PCI_DECODE_H
#define TOOLS_PCI_DECODE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A new JSON object; what lies beyond len bytes is left out.  NULL when
 * memory is out or len is below 64.
 */
json_t *pci_decode(const uint8_t *config, size_t len);

#endif
