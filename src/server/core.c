// SPDX-License-Identifier: BSD-3-Clause
/* The tables of the library's own state; see core.h. */
#include "server/core.h"
#include "server/mig_state.h"

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
	OB_U32(2, struct ob_dma_table, used, "0.3", .max = OB_DMA_MAPS_MAX),
	OB_RESERVED(struct ob_dma_table, reserved),
	OB_STRUCTS(1, struct ob_dma_table, entries, struct ob_dma_entry,
		   &dma_entry_table, "0.1"),
	OB_END
};

const struct ob_table ob_dma_table_table = {
	"dma", sizeof(struct ob_dma_table), dma_table_rows
};

static const struct ob_field session_rows[] = {
	OB_U8(1, struct ob_session_state, connected, "0.3", .max = 1),
	OB_U8(2, struct ob_session_state, negotiated, "0.3", .max = 1),
	OB_U8(3, struct ob_session_state, closing, "0.3", .max = 1),
	OB_U8(4, struct ob_session_state, has_twin, "0.3", .max = 1),
	OB_U8(5, struct ob_session_state, caps, "0.3", .max = 15),
	OB_U8(6, struct ob_session_state, mig_state, "0.3",
	      .max = OB_NR_MIG_STATES - 1, .def = OB_MIG_RUNNING),
	OB_U8(7, struct ob_session_state, given, "0.3", .max = 1),
	OB_U8(8, struct ob_session_state, log_on, "0.3", .max = 1),
	OB_U32(9, struct ob_session_state, pid, "0.3"),
	OB_U32(10, struct ob_session_state, peer_fds, "0.3"),
	OB_U32(11, struct ob_session_state, max_msg_fds, "0.3"),
	OB_U32(12, struct ob_session_state, max_data_xfer_size, "0.3"),
	OB_U32(13, struct ob_session_state, max_dma_maps, "0.3"),
	OB_U16(14, struct ob_session_state, next_dma_id, "0.3"),
	OB_U8(23, struct ob_session_state, mig_owner, "0.3",
	      .max = OB_MIG_OPERATOR, .optional = true),
	OB_U8(24, struct ob_session_state, operator, "0.3",
	      .max = OB_OPERATOR_BITS, .optional = true),
	OB_U64(25, struct ob_session_state, half, "0.3", .max = 1, .optional = true),
	OB_U32(16, struct ob_session_state, wire, "0.3"),
	OB_U64(17, struct ob_session_state, pgsizes, "0.3"),
	OB_U64(18, struct ob_session_state, socket_dev, "0.3"),
	OB_U64(19, struct ob_session_state, socket_ino, "0.3"),
	OB_U64(20, struct ob_session_state, triggers, "0.3"),
	OB_STRUCTS(21, struct ob_session_state, main, struct ob_conn_journal,
		   &ob_conn_journal_table, "0.3"),
	OB_STRUCTS(22, struct ob_session_state, twin, struct ob_conn_journal,
		   &ob_conn_journal_table, "0.3"),
	OB_END
};

const struct ob_table ob_session_table = {
	"session", sizeof(struct ob_session_state), session_rows
};
