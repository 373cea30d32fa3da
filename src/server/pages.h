/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream of pages that only a device wrote (docs/live-migration.md).
 *
 * Records: u64 iova, u32 length, u32 kind, the data of PAGES, and the CRC32C of
 * the stream from its beginning to here, so that none can be changed, left out
 * or moved.  All little-endian.
 */
#ifndef OB_SERVER_PAGES_H
#define OB_SERVER_PAGES_H

#include <stdint.h>

struct ob_device;
struct ob_err;

#define OB_PAGE_SHIFT 12u
#define OB_PAGE_SIZE (UINT64_C(1) << OB_PAGE_SHIFT)

enum ob_pages_kind { OB_PAGES_DATA = 1, OB_PAGES_DROP = 2, OB_PAGES_END = 3 };

#define OB_PAGES_HEAD 16u
#define OB_PAGES_SUM 4u
#define OB_PAGES_MAX (1u << 20)		/* data of one record */

/*
 * Guest memory, whole pages of one mapping or of several in a row, whatever the
 * device may do now.  -EFAULT: not mapped; the message names the address.
 */
int ob_pages_read(struct ob_device *dev, uint64_t addr, uint64_t len, void *buf,
		  struct ob_err *err);
/*
 * They will be written soon: what of them is mapped into our memory is there
 * then, so that not each page has to be looked for.
 */
void ob_pages_touch(struct ob_device *dev, uint64_t addr, uint64_t len);
/* May pages be put there? */
int ob_pages_check(struct ob_device *dev, uint64_t addr, struct ob_err *err);
/* As many as lie in one mapping, from a file of ours; returns the bytes. */
int64_t ob_pages_put(struct ob_device *dev, uint64_t addr, uint64_t len,
		     int from, uint64_t offset, struct ob_err *err);

#endif
