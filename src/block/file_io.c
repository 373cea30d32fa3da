// SPDX-License-Identifier: BSD-3-Clause
/*
 * file: how a request becomes system calls.
 *
 * One way to the data.  All data of a drive goes either through direct I/O or,
 * if the file refuses that, through the page cache, never through both: what
 * the kernel promises for a mix is weak (a direct write beside a dirty page of
 * the same block can be undone by the page's writeback), and one way needs no
 * such promise.  So what direct I/O cannot take as it is (a buffer, offset or
 * length that is not aligned) goes through a bounce buffer of our own, in
 * rounds of up to FILE_SLOT_SIZE: a read reads the surrounding blocks and
 * copies; a write reads them first unless it covers them wholly, alone among
 * writers (file_gate.c).
 *
 * A request is a sequence of rounds, next_round choosing each from where the
 * request stands (pos); a round is one to three asynchronous operations.  A
 * transfer that comes back short is continued; one that moves nothing hit the
 * end of a file that was cut, and fails.
 *
 * Durability.  FUA writes carry RWF_DSYNC.  FLUSH is fdatasync, which covers
 * every write that has completed.  Zeroing has no such flag and is followed by
 * fdatasync when FUA is asked.
 *
 * That is how it is with files and block devices; the medium of a namespace has
 * commands for the same (file_nvme.c).
 *
 * What the kernel turns out not to support (holes, zeroing) is remembered;
 * zeros are written out then, and a DISCARD, being advice, does nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "block/file.h"

/* Longest single transfer: below the kernel's limit, whole blocks. */
#define MAX_TRANSFER (1u << 30)

static void next_round(struct file_request *part);

static uint64_t down(uint64_t n, uint32_t align)
{
	return n - n % align;
}

static uint64_t up(uint64_t n, uint32_t align)
{
	return down(n + align - 1, align);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The errors that block.h promises; the rest is the medium's trouble. */
static int block_error(int rc)
{
	switch (rc) {
	case 0:
	case -ENOSPC:
	case -EROFS:
	case -ECANCELED:
		return rc;
	case -EDQUOT:
	case -EFBIG:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

/* The last thing that happens to part. */
static void finish(struct file_request *part, int rc)
{
	struct file_drive *file = part->file;

	file_gate_leave(file, part);
	ob_drive_done(&file->drive, OB_REQUEST_OF(part), block_error(rc));
}

/*
 * Transfers.  issue starts what is left of one; moved continues it and ends
 * with part->then.
 */
static void issue(struct file_request *part)
{
	part->file->medium->transfer(part);
}

bool file_wants_fua(const struct file_request *part)
{
	const struct ob_block_request *req = OB_REQUEST_OF(part);

	return req->op == OB_BLOCK_WRITE && req->flags & OB_BLOCK_FUA;
}

static void plain_transfer(struct file_request *part)
{
	struct file_drive *file = part->file;

	if (part->writing)
		ob_op_writev(file->drive.loop, &part->op, file->fd, &part->iov,
			     1, part->at, file_wants_fua(part) ? RWF_DSYNC : 0);
	else
		ob_op_readv(file->drive.loop, &part->op, file->fd, &part->iov,
			    1, part->at);
}

static void moved(struct ob_op *op, int res)
{
	struct file_request *part = container_of(op, struct file_request, op);

	if (part->cancelled && res != (int)part->iov.iov_len)
		return finish(part, -ECANCELED);
	if (res == -EINTR)
		return issue(part);
	if (res <= 0)
		return finish(part, res ? res : -EIO);
	part->at += res;
	part->iov.iov_base = (uint8_t *)part->iov.iov_base + res;
	part->iov.iov_len -= res;
	if (part->iov.iov_len)
		return issue(part);
	part->then(part);
}

static void transfer(struct file_request *part, bool writing, void *addr,
		     uint64_t len, uint64_t at,
		     void (*then)(struct file_request *part))
{
	part->op.done = moved;
	part->writing = writing;
	part->iov = (struct iovec){ addr, len };
	part->at = at;
	part->then = then;
	issue(part);
}

static void round_over(struct file_request *part)
{
	part->pos += part->piece;
	next_round(part);
}

/* Rounds through the bounce buffer. */

static uint8_t *slot_of(const struct file_request *part)
{
	return part->file->slots + (size_t)part->slot * FILE_SLOT_SIZE;
}

/* Where the round's piece lies in its slot. */
static uint32_t piece_offset(const struct file_request *part)
{
	return (OB_REQUEST_OF(part)->offset + part->pos) %
	       part->file->offset_align;
}

/* Bytes of the blocks around the piece. */
static uint32_t span(const struct file_request *part)
{
	return up(piece_offset(part) + part->piece, part->file->offset_align);
}

static uint64_t span_start(const struct file_request *part)
{
	return OB_REQUEST_OF(part)->offset + part->pos - piece_offset(part);
}

static void copy_out(struct file_request *part)
{
	memcpy((uint8_t *)OB_REQUEST_OF(part)->buf + part->pos,
	       slot_of(part) + piece_offset(part), part->piece);
	round_over(part);
}

static void patch_and_write(struct file_request *part)
{
	struct ob_block_request *req = OB_REQUEST_OF(part);
	uint8_t *dst = slot_of(part) + piece_offset(part);

	if (part->cancelled)
		return finish(part, -ECANCELED);
	if (req->op == OB_BLOCK_WRITE)
		memcpy(dst, (uint8_t *)req->buf + part->pos, part->piece);
	else
		memset(dst, 0, part->piece);
	transfer(part, true, slot_of(part), span(part), span_start(part),
		 round_over);
}

static void bounce_round(struct file_request *part, uint64_t left)
{
	bool reading = OB_REQUEST_OF(part)->op == OB_BLOCK_READ;

	part->piece = min_u64(left, FILE_SLOT_SIZE - piece_offset(part));
	if (!reading && span(part) == part->piece)
		return patch_and_write(part);
	transfer(part, false, slot_of(part), span(part), span_start(part),
		 reading ? copy_out : patch_and_write);
}

/* Rounds that need none. */

static void data_round(struct file_request *part, uint64_t left)
{
	struct ob_block_request *req = OB_REQUEST_OF(part);

	part->piece = min_u64(left, MAX_TRANSFER);
	transfer(part, req->op == OB_BLOCK_WRITE,
		 (uint8_t *)req->buf + part->pos, part->piece,
		 req->offset + part->pos, round_over);
}

static void write_zeros(struct file_request *part, uint64_t left)
{
	uint8_t *zeros = part->file->slots +
			 (size_t)FILE_NR_SLOTS * FILE_SLOT_SIZE;

	part->piece = min_u64(left, FILE_SLOT_SIZE);
	transfer(part, true, zeros, part->piece,
		 OB_REQUEST_OF(part)->offset + part->pos, round_over);
}

static bool unsupported(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -EINVAL;
}

static void zeroed(struct ob_op *op, int res)
{
	struct file_request *part = container_of(op, struct file_request, op);

	if (unsupported(res)) {
		if (part->mode & FALLOC_FL_PUNCH_HOLE)
			part->file->no_punch = true;
		else
			part->file->no_zero_range = true;
		return next_round(part);
	}
	if (res == -EINTR)
		return next_round(part);
	if (res)
		return finish(part, res);
	round_over(part);
}

/* How to zero a range without writing it; 0: not at all. */
static int zero_mode(const struct file_request *part)
{
	const struct file_drive *file = part->file;
	bool unmap = OB_REQUEST_OF(part)->flags & OB_BLOCK_UNMAP;

	if (unmap && !file->no_punch)
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	if (!file->no_zero_range)
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return 0;
}

static bool plain_zero(struct file_request *part, uint64_t at)
{
	part->mode = zero_mode(part);
	if (!part->mode)
		return false;
	ob_op_fallocate(part->file->drive.loop, &part->op, part->file->fd,
			part->mode, at, part->piece);
	return true;
}

/* Whole blocks are zeroed in place, what sticks out at the ends is patched. */
static void zero_round(struct file_request *part, uint64_t left)
{
	struct file_drive *file = part->file;
	uint64_t at = OB_REQUEST_OF(part)->offset + part->pos;
	uint64_t head = up(at, file->offset_align) - at;
	uint64_t whole = down(left, file->offset_align);

	if (head || !whole)
		return bounce_round(part, min_u64(left, head ? head : left));
	part->op.done = zeroed;
	part->piece = whole;
	if (!file->medium->zero(part, at))
		write_zeros(part, whole);
}

static void sync_file(struct file_request *part);

static void plain_sync(struct file_request *part)
{
	ob_op_fdatasync(part->file->drive.loop, &part->op, part->file->fd);
}

static void synced(struct ob_op *op, int res)
{
	struct file_request *part = container_of(op, struct file_request, op);

	if (res == -EINTR && !part->cancelled)
		return sync_file(part);
	finish(part, res);
}

static void sync_file(struct file_request *part)
{
	part->op.done = synced;
	part->file->medium->sync(part);
}

static void next_round(struct file_request *part)
{
	struct ob_block_request *req = OB_REQUEST_OF(part);
	uint64_t left = req->length - part->pos;

	if (left && part->cancelled)
		finish(part, -ECANCELED);
	else if (left && req->op == OB_BLOCK_WRITE_ZEROES)
		zero_round(part, left);
	else if (left && part->slot != FILE_NO_SLOT)
		bounce_round(part, left);
	else if (left)
		data_round(part, left);
	else if (req->op == OB_BLOCK_WRITE_ZEROES && req->flags & OB_BLOCK_FUA)
		sync_file(part);
	else
		finish(part, 0);
}

void file_discarded(struct ob_op *op, int res)
{
	struct file_request *part = container_of(op, struct file_request, op);

	if (unsupported(res)) {
		part->file->no_punch = true;
		res = 0;
	}
	finish(part, res);
}

/*
 * Only what is wholly inside: nothing may happen to the bytes around.  False
 * when that is nothing.
 */
static bool discard_range(const struct file_drive *file,
			  const struct ob_block_request *req,
			  uint64_t *start, uint64_t *len)
{
	uint32_t unit = file->drive.info.discard_granularity;
	uint64_t end;

	if (!unit || file->no_punch)
		return false;
	*start = up(req->offset, unit);
	end = down(req->offset + req->length, unit);
	*len = end - *start;
	return *start < end;
}

static void plain_discard(struct file_request *part)
{
	part->op.done = file_discarded;
	ob_op_fallocate(part->file->drive.loop, &part->op, part->file->fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, part->at,
			part->piece);
}

const struct file_medium file_medium_plain = {
	.transfer = plain_transfer,
	.zero = plain_zero,
	.discard = plain_discard,
	.sync = plain_sync,
};

void file_io_start(struct file_request *part)
{
	switch (OB_REQUEST_OF(part)->op) {
	case OB_BLOCK_FLUSH:
		return sync_file(part);
	case OB_BLOCK_DISCARD:
		return part->file->medium->discard(part);
	default:
		return next_round(part);
	}
}

/* Decides how the request must be admitted. */
static void classify(struct file_request *part)
{
	struct file_drive *file = part->file;
	struct ob_block_request *req = OB_REQUEST_OF(part);
	bool blocks = !((req->offset | req->length) % file->offset_align);
	bool changes = req->op == OB_BLOCK_WRITE ||
		       req->op == OB_BLOCK_WRITE_ZEROES;
	bool memory = !((uintptr_t)req->buf % file->mem_align);

	part->lane = !changes ? FILE_LANE_FREE :
		     blocks ? FILE_LANE_SHARED : FILE_LANE_EXCLUSIVE;
	part->needs_slot = !blocks;
	if (req->op == OB_BLOCK_READ || req->op == OB_BLOCK_WRITE)
		part->needs_slot |= !memory;
	if (req->op == OB_BLOCK_DISCARD) {
		part->lane = FILE_LANE_SHARED;
		part->needs_slot = false;
	}
}

void file_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	struct file_drive *file = (struct file_drive *)drive;
	struct file_request *part = (struct file_request *)req->priv;

	uint64_t start = 0, len = 0;

	if (req->op == OB_BLOCK_DISCARD &&
	    !discard_range(file, req, &start, &len))
		return ob_drive_done(drive, req, 0);
	*part = (struct file_request){ .file = file, .at = start,
				       .piece = len };
	classify(part);
	if (file_gate_enter(file, part))
		file_io_start(part);
}

void file_cancel(struct ob_drive *drive, struct ob_block_request *req)
{
	struct file_drive *file = (struct file_drive *)drive;
	struct file_request *part = (struct file_request *)req->priv;

	if (part->waiting) {
		file_gate_remove(file, part);
		ob_drive_done(drive, req, -ECANCELED);
		return;
	}
	part->cancelled = true;
	ob_op_cancel(drive->loop, &part->op);
}
