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
	/* Every block reads as zeros, whatever is written and for ever: who
	 * reads may fill the buffer with zeros, with no request. */
	bool zeros;
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
enum ob_drive_flags {
	OB_DRIVE_READONLY	= 1 << 0,
	OB_DRIVE_INCOMING	= 1 << 1,	/* inactive: see below */
};
int ob_drive_open(struct ob_loop *loop, const char *spec, unsigned flags,
		  struct ob_drive **out, struct ob_err *err);
/*
 * The same under a keeper (keep.h): what the drive opens, with its locks, and
 * whether it is active, is kept below prefix ("nvme0/drive/0/").  If a former
 * life of the process left something there, the drive is that one: the path is
 * not opened again, INCOMING says nothing, size and content are what they
 * were.  -EINVAL if spec or READONLY differ from then, -ENOENT if not all is
 * there.  Who closes a drive for good drops the prefix (ob_keep_drop); close
 * does not.
 */
int ob_drive_open_kept(struct ob_loop *loop, const char *spec, unsigned flags,
		       const char *prefix, struct ob_drive **out,
		       struct ob_err *err);
/*
 * For a successor, when its predecessor has ended (which may have been alive
 * when the drive was opened), before the first request: learns whether the drive
 * was handed over, resized or given other content since, and finishes a
 * release that was cut short.  Does nothing for a drive that is new.
 */
int ob_drive_recall(struct ob_drive *drive, struct ob_err *err);
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

/*
 * The same drive on another loop, for READ, WRITE and FLUSH of whole granules:
 * requests of a branch are begun on its loop's thread and end there, beside those of
 * the drive and of other branches.  Size, activity and hand-over are the drive's; they
 * change while no thread is about to submit anything.  Nor is content followed that
 * a branch changes.  -EOPNOTSUPP: this drive, or such granules, must stay in one
 * place.  A branch is closed, on any thread, before its drive.
 */
int ob_drive_branch(struct ob_drive *drive, struct ob_loop *loop,
		    uint32_t granule, struct ob_drive **out,
		    struct ob_err *err);

/* Requests under way, those of branches too. */
unsigned ob_drive_in_flight(const struct ob_drive *drive);

/*
 * Hand-over, drive by drive.  An active drive has the right to its blocks: for
 * file, the lock on the image.  Requests to an inactive one fail with
 * -ESHUTDOWN, except FLUSH, which has nothing to do.  Types without a lock
 * are active as soon as they are asked to be.
 *
 * release: no request may be in flight (-EBUSY).  What must reach the medium
 * was flushed by the caller.  acquire: takes the lock without waiting, then
 * looks again at what may have changed meanwhile (size, cached pages).
 * -EBUSY with a message that names the holder when it can be told: try again
 * later, with err NULL, since finding the holder takes a while.  Any other
 * error (the image has an impossible size by now) leaves the drive inactive
 * too.  Both do nothing when there is nothing to do.
 */
bool ob_drive_is_active(const struct ob_drive *drive);
int ob_drive_release(struct ob_drive *drive, struct ob_err *err);
int ob_drive_acquire(struct ob_drive *drive, struct ob_err *err);

/*
 * Content: blocks that exist in this process alone (mem:, also behind delay:
 * and fault:) and so must travel with the device.  The functions below are
 * for drives that have some.
 *
 * track(on) begins an account of what is to be sent: at first all that is not
 * known to be zero, then also what changes.  Requests count by themselves;
 * who writes through info.memory tells with ob_drive_wrote (cheap when off).
 * take gives the next run of at most max bytes and takes it off the account;
 * its bytes stay valid, and as they are, until control returns to the loop.
 * max >= 4096.  False: nothing is left now.  left: bytes still in the account,
 * those that were never taken (initial) and those changed since (dirty).
 * Needs memory of at most 512 KiB whatever the size.
 */
struct ob_drive_run {
	uint64_t offset, length;
	const void *data;		/* NULL: zeros */
};
bool ob_drive_has_content(const struct ob_drive *drive);
int ob_drive_track(struct ob_drive *drive, bool on);
bool ob_drive_is_tracked(const struct ob_drive *drive);
void ob_drive_wrote(struct ob_drive *drive, uint64_t offset, uint64_t length);
bool ob_drive_take(struct ob_drive *drive, uint64_t max,
		   struct ob_drive_run *run);
void ob_drive_left(const struct ob_drive *drive, uint64_t *initial,
		   uint64_t *dirty);

/*
 * The receiving side: fresh content, all zeros at first, beside the old.
 * stage_put writes some (data NULL: zeros); commit puts it in the old one's
 * place, info.memory included (the pointer stays the same), and needs no
 * request in flight; abort drops it.  -EINVAL beyond the end, -ENOMEM,
 * -ENOSPC.  begin drops what an earlier stage left.
 */
int ob_drive_stage_begin(struct ob_drive *drive);
int ob_drive_stage_put(struct ob_drive *drive, uint64_t offset,
		       const void *data, uint64_t length);
int ob_drive_stage_commit(struct ob_drive *drive);
void ob_drive_stage_abort(struct ob_drive *drive);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
