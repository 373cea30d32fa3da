/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the files that build a configuration space. */
#ifndef OB_SERVER_PCI_BUILD_H
#define OB_SERVER_PCI_BUILD_H

#include "server/pci.h"

/* size bytes at offset, little endian: power-on value, writable bits. */
void ob_config_put(struct ob_config_space *cfg, uint32_t offset, unsigned size,
		   uint64_t value, uint64_t writable);
/* A 16-bit register whose bits are cleared by writing ones. */
void ob_config_put_w1c(struct ob_config_space *cfg, uint32_t offset,
		       uint16_t bits);
/* -ENOSPC when they do not fit into the first 256 bytes. */
int ob_config_put_caps(struct ob_config_space *cfg, const struct ob_pci *pci,
		       struct ob_err *err);

#endif
