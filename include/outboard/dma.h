/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory, the only way to reach it.
 *
 * Memory is shared with an adversary who is still writing (RULES R13): copy
 * once, validate the copy, use the copy.  An address never travels without a
 * length.  Only what the client has mapped exists; the device's own registers
 * are never reachable (R14).
 *
 * A region is reached in one of three ways, which the model does not see:
 * through a mapping of the client's fd, by file I/O on that fd, or by
 * DMA_READ/DMA_WRITE messages.  The first two complete at once, the third
 * later; hence the operation structure.
 */
#ifndef OUTBOARD_DMA_H
#define OUTBOARD_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct ob_device;

/* A bounded piece of guest address space. */
struct ob_seg {
	uint64_t addr;
	uint32_t len;
};

/*
 * One transfer.  Zero-initialise, set done.  It belongs to the library from a
 * call that returned -EINPROGRESS until done runs; done runs exactly once,
 * from the event loop, with 0 or -errno, also when the client goes away.
 */
struct ob_dma_op {
	void (*done)(struct ob_dma_op *op, int rc);
	struct ob_dma_op *next;	/* from here on the library's */
	int rc;			/* not 0 as soon as a part failed */
	uint32_t pending;
};

/*
 * Copies between guest memory and buf, whose length is the sum of the
 * segments' (count segments).  0: done.  -EINPROGRESS: op->done tells.
 * -EFAULT: some byte is not mapped.  -EACCES: mapped without the right.
 * -EIO: the memory behind the mapping is gone (truncated by its owner).
 * On error part of the data may have been copied.
 */
int ob_dma_read(struct ob_device *dev, const struct ob_seg *segs,
		unsigned count, void *buf, struct ob_dma_op *op);
int ob_dma_write(struct ob_device *dev, const struct ob_seg *segs,
		 unsigned count, const void *buf, struct ob_dma_op *op);

/*
 * Sends nothing more of the transfers that are under way; their done gets
 * -ECANCELED.  For a reset of the model's own, after which guest memory must
 * not change; the library's resets do it themselves.
 */
void ob_dma_cancel_all(struct ob_device *dev);

/*
 * A pointer for the length asked, or NULL when the range is not mapped with
 * the right, crosses a region's end, or is reached by messages or file I/O.
 * Valid only until the current callback returns.  The bytes change under the
 * reader's hands: single aligned loads and stores, or memcpy to a private
 * copy.  Writers call ob_dma_wrote after the store.
 */
void *ob_dma_ptr(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write);
void ob_dma_wrote(struct ob_device *dev, uint64_t addr, uint64_t len);

/* Is every byte mapped with the right?  0, -EFAULT or -EACCES. */
int ob_dma_check(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write);

/* True once after some mapped memory was found truncated (R7). */
bool ob_dma_lost(struct ob_device *dev);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
