// SPDX-License-Identifier: BSD-3-Clause
/* The tables of the library's own state; see core.h. */
#include "server/core.h"

static const struct ob_field msix_rows[] = {
	OB_U64(1, struct ob_msix_entry, address, "0.1"),
	OB_U32(2, struct ob_msix_entry, data, "0.1"),
	OB_U32(3, struct ob_msix_entry, control, "0.1"),
	OB_END
};

static const struct ob_table msix_table = {
	"msix_entry", sizeof(struct ob_msix_entry), msix_rows
};

static const struct ob_field core_rows[] = {
	OB_BYTES(1, struct ob_core, config, "0.1"),
	OB_U8(2, struct ob_core, intx_level, "0.1", .max = 1),
	OB_U8(3, struct ob_core, intx_masked, "0.1", .max = OB_INTX_MASKED),
	OB_RESERVED(struct ob_core, reserved),
	OB_U32(4, struct ob_core, msi_pending, "0.1"),
	OB_U64(5, struct ob_core, msix_pending, "0.1"),
	OB_STRUCTS(6, struct ob_core, msix, struct ob_msix_entry, &msix_table, "0.1"),
	OB_END
};

const struct ob_table ob_core_table = {
	"core", sizeof(struct ob_core), core_rows
};

static const struct ob_field dma_rows[] = {
	OB_U64(1, struct ob_dma_entry, address, "0.1"),
	OB_U64(2, struct ob_dma_entry, size, "0.1"),
	OB_U64(3, struct ob_dma_entry, offset, "0.1"),
	OB_U32(4, struct ob_dma_entry, flags, "0.1", .max = 0xf),
	OB_U32(5, struct ob_dma_entry, file, "0.1"),
	OB_END
};

static const struct ob_table dma_entry_table = {
	"dma_entry", sizeof(struct ob_dma_entry), dma_rows
};

static const struct ob_field dma_table_rows[] = {
	OB_STRUCTS(1, struct ob_dma_table, entries, struct ob_dma_entry,
		   &dma_entry_table, "0.1"),
	OB_END
};

const struct ob_table ob_dma_table_table = {
	"dma", sizeof(struct ob_dma_table), dma_table_rows
};
