/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library's own share of a device's state: what of configuration space,
 * interrupts and the DMA map must survive the process.  Plain data in the
 * state memfd, described by the tables in core.c.
 */
#ifndef OB_SERVER_CORE_H
#define OB_SERVER_CORE_H

#include <outboard/state.h>

#define OB_CONFIG_SIZE 4096u
#define OB_MSIX_MAX 2048u
#define OB_MSIX_MASKED 1u	/* bit 0 of the vector control */
#define OB_DMA_MAPS_MAX 65535u

struct ob_msix_entry {
	uint64_t address;
	uint32_t data, control;
};

enum ob_intx {
	OB_INTX_OPEN,
	OB_INTX_TOLD,		/* signalled, and not unmasked since */
	OB_INTX_MASKED,		/* by the client's own request */
};

struct ob_core {
	uint8_t config[OB_CONFIG_SIZE];
	uint8_t intx_level;	/* the model asserts the pin */
	uint8_t intx_masked;	/* enum ob_intx */
	uint8_t reserved[2];
	uint32_t msi_pending;
	uint64_t msix_pending[OB_MSIX_MAX / 64];	/* the PBA */
	struct ob_msix_entry msix[OB_MSIX_MAX];
};

/* One mapping of the client; a slot of size 0 is free. */
struct ob_dma_entry {
	uint64_t address, size;
	uint64_t offset;	/* in the file */
	uint32_t flags;		/* enum ob_dma_flags */
	uint32_t file;		/* files of one device count from 1; 0: none */
};

struct ob_dma_table {
	struct ob_dma_entry entries[OB_DMA_MAPS_MAX];
};

extern const struct ob_table ob_core_table;
extern const struct ob_table ob_dma_table_table;

#endif
