/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives, for those who use them (device models).
 *
 * Buffers are always the server's own memory, never the guest's: a request
 * that is in the kernel cannot be recalled, so nothing there may point at
 * memory that a client can unmap (RULES R7, R10, R13).  A drive that lives in
 * memory says so, and its bytes are then copied directly, with no request.
 */
#ifndef OUTBOARD_BLOCK_H
#define OUTBOARD_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>
#include <outboard/loop.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct ob_drive;

struct ob_drive_info {
	uint64_t size;			/* bytes */
	uint32_t block_size;		/* preferred alignment, bytes, >= 512 */
	uint32_t discard_granularity;	/* bytes; 0: discard does nothing */
	bool readonly;
	bool write_cache;		/* FLUSH is needed for durability */
	bool rotational;
	/*
	 * The drive's bytes, size of them, when they can be read and written
	 * in place; NULL when requests are needed.
	 */
	void *memory;
};

enum ob_block_op {
	OB_BLOCK_READ, OB_BLOCK_WRITE, OB_BLOCK_FLUSH,
	OB_BLOCK_DISCARD,	/* content afterwards undefined or zero */
	OB_BLOCK_WRITE_ZEROES,	/* reads as zero afterwards */
};

enum ob_block_flags {
	OB_BLOCK_FUA	= 1 << 0,	/* on the medium before done */
	OB_BLOCK_UNMAP	= 1 << 1,	/* WRITE_ZEROES may deallocate */
};

/*
 * One request.  Allocate ob_drive_request_size bytes, fill the named members,
 * call ob_drive_submit; done then runs exactly once, from the event loop,
 * never from inside submit: 0 or -errno (-EIO, -ENOSPC, -EROFS, -EINVAL
 * beyond the end, -EOPNOTSUPP, -ECANCELED).  Several requests may be in
 * flight, in no order.  buf is aligned to the page size for best speed and
 * may have any alignment.
 */
struct ob_block_request {
	enum ob_block_op op;
	uint32_t flags;
	uint64_t offset, length;	/* bytes; FLUSH: 0, 0 */
	void *buf;
	void (*done)(struct ob_block_request *req, int rc);
	/* From here on the drive's. */
	struct ob_block_request *next;
	int rc;
	bool queued;			/* finished, done has not run yet */
	max_align_t priv[];
};

/*
 * spec is TYPE:ARGUMENT as in the manual (file:PATH, mem:SIZE, delay:US:DRIVE,
 * a bare path is a file).  Errors carry a message that names the drive, the
 * reason and, for a lock, who holds it when that can be told.
 */
int ob_drive_open(struct ob_loop *loop, const char *spec, bool readonly,
		  struct ob_drive **out, struct ob_err *err);
/* No request may be in flight.  Flushes nothing.  Accepts NULL. */
void ob_drive_close(struct ob_drive *drive);

const struct ob_drive_info *ob_drive_info(const struct ob_drive *drive);
const char *ob_drive_name(const struct ob_drive *drive);
size_t ob_drive_request_size(const struct ob_drive *drive);
void ob_drive_submit(struct ob_drive *drive, struct ob_block_request *req);
/* Asks for an early end; done still runs, some time.  Best effort. */
void ob_drive_cancel(struct ob_drive *drive, struct ob_block_request *req);

/*
 * Called from the loop when the drive's size changed underneath (an image
 * that was grown); info is up to date then.
 */
void ob_drive_on_resize(struct ob_drive *drive, void (*fn)(void *arg),
			void *arg);
/* Looks at the size again; calls the function above if it differs. */
int ob_drive_refresh(struct ob_drive *drive, struct ob_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
