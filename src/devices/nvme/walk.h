/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a command's data pointer to a bounded list of guest memory pieces
 * (NVMe base specification 1.4, 4.3 PRP and 4.4 SGL).
 *
 * Pure functions: the walker never touches guest memory.  It asks for the
 * next piece of a list, the caller copies that piece into w->list, once, and
 * calls again; so every entry is fetched once and judged on the copy (R13),
 * and a list that arrives later (by message) needs no other code.
 *
 *	rc = nvme_walk_start(w, dptr, psdt, length, page_size);
 *	while (rc == -EAGAIN) {
 *		read w->need.len bytes at w->need.addr into w->list
 *		rc = nvme_walk_next(w);
 *	}
 */
#ifndef OB_NVME_WALK_H
#define OB_NVME_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/dma.h>

/* 512 KiB in 4-KiB pages with an offset are 129; the rest is for SGLs. */
#define NVME_WALK_SEGS		256
#define NVME_WALK_LIST		4096
/* Bounds on the work that one command can ask for. */
#define NVME_WALK_READS		64
#define NVME_WALK_DESCRIPTORS	1024

/*
 * Identify Controller, SGLS: SGLs without alignment rules (01b in bits 1:0),
 * and longer than the data (bit 18).  No bit buckets, keyed descriptors,
 * metadata SGLs or offsets.
 */
#define NVME_WALK_SGLS		(0x1u | 1u << 18)

struct nvme_walk {
	struct ob_seg need;	/* after -EAGAIN: what to read into list */
	uint32_t count;		/* entries of segs */

	/* The walker's own. */
	uint32_t left;		/* bytes of data not described yet */
	uint32_t page_size;
	uint16_t reads, descriptors;
	bool sgl;
	bool last;		/* in the last SGL segment */
	struct ob_seg rest;	/* of the list page or segment, not asked yet */

	/* At the end, so that short transfers do not touch much of it. */
	struct ob_seg segs[NVME_WALK_SEGS];
	_Alignas(8) uint8_t list[NVME_WALK_LIST];
};

/*
 * dptr is the command's DPTR field (bytes 24 to 39), psdt its CDW0 bits
 * 15:14.  page_size is 4 KiB or a larger power of two (CC.MPS).  Nothing in w
 * needs to be initialised.
 *
 * 0: segs[0] to segs[count - 1] are the data, their lengths sum to exactly
 * length, none is empty, neighbours that touch are merged, none wraps.
 * -EAGAIN: read w->need and call nvme_walk_next.  Positive: the command fails
 * with this status (SCT << 8 | SC).
 */
int nvme_walk_start(struct nvme_walk *w, const uint8_t dptr[16],
		    unsigned psdt, uint32_t length, uint32_t page_size);
int nvme_walk_next(struct nvme_walk *w);

#endif
