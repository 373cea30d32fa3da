/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library's own share of a device's state: what of configuration space,
 * interrupts and the DMA map must survive the process.  Plain data in the
 * state memfd, described by the tables in core.c.
 */
#ifndef OB_SERVER_CORE_H
#define OB_SERVER_CORE_H

#include <outboard/state.h>

#include "proto/proto.h"
#include "transport/kept.h"

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
	uint32_t used;		/* all entries from here on are free */
	uint8_t reserved[4];
	struct ob_dma_entry entries[OB_DMA_MAPS_MAX];
};

/* What was agreed on, as far as it is a matter of yes and no. */
enum ob_session_caps {
	OB_CAP_WRITE_MULTIPLE = 1, OB_CAP_PRECOPY_INFO = 2,
	OB_CAP_ERROR_TEXT = 4, OB_CAP_TWIN_SOCKET = 8,
};

/* Bits of ob_session_state.triggers: eventfds that the client gave. */
enum ob_trigger_bit {
	OB_TRIGGER_MSIX = 0, OB_TRIGGER_MSI = OB_MSIX_MAX,
	OB_TRIGGER_INTX = OB_TRIGGER_MSI + 32, OB_TRIGGER_ERR,
	OB_TRIGGER_REQ, OB_TRIGGER_UNMASK, OB_NR_TRIGGERS
};

/* What an operator beside the client has begun (operator.h), or has to know. */
enum ob_operator_bits {
	OB_OPERATOR_LOG = 1,	/* its log of written pages is on */
	OB_OPERATOR_LOADED = 2,	/* loaded a state, which has not run */
	/* What is known of a VM that arrives (arrival.h). */
	OB_ARRIVAL_OVER = 4,	/* a state was loaded: none is expected any more */
	OB_ARRIVAL_RESET = 8,	/* reset, and no firmware has been there since */
	OB_ARRIVAL_MAPPED = 16,	/* ... and memory was mapped anew */
	OB_ARRIVAL_ALARM = 32,
	OB_OPERATOR_BITS = 63
};

/*
 * Of the client and its connection what outlives the process.  Without a keeper
 * it is written all the same, and nobody reads it.
 *
 * Changed within steps; the journals as kept.h says.
 */
struct ob_session_state {
	uint8_t connected, negotiated;
	uint8_t closing;	/* it ends when the answer has left */
	uint8_t has_twin;
	uint8_t caps;		/* enum ob_session_caps */
	uint8_t mig_state;	/* enum ob_mig_state */
	uint8_t given;		/* as in struct ob_mig */
	uint8_t log_on;		/* there is a dirty log */
	uint32_t pid, peer_fds;
	uint32_t max_msg_fds, max_data_xfer_size, max_dma_maps;
	uint16_t next_dma_id;
	uint8_t mig_owner;	/* enum ob_mig_party */
	uint8_t operator;	/* enum ob_operator_bits */
	/* How ID/wire is divided: inbox, outbox, those of the twin. */
	uint32_t wire[4];
	uint64_t pgsizes;
	uint64_t socket_dev, socket_ino;	/* the file that is ours to remove */
	uint64_t triggers[(OB_NR_TRIGGERS + 63) / 64];
	struct ob_conn_journal main, twin;
	uint64_t half;	/* 1: content may be another state's; it waits for a reset */
};

extern const struct ob_table ob_core_table;
extern const struct ob_table ob_dma_table_table;
extern const struct ob_table ob_session_table;

#endif
