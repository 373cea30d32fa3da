// SPDX-License-Identifier: BSD-3-Clause
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <outboard/loop.h>

#include "seam.h"

struct seam seam;

void __real_ob_op_readv(struct ob_loop *loop, struct ob_op *op, int fd,
			const struct iovec *iov, unsigned count, off_t offset);
void __real_ob_op_writev(struct ob_loop *loop, struct ob_op *op, int fd,
			 const struct iovec *iov, unsigned count, off_t offset,
			 int rwf);
void __real_ob_op_fdatasync(struct ob_loop *loop, struct ob_op *op, int fd);
void __real_ob_op_fallocate(struct ob_loop *loop, struct ob_op *op, int fd,
			    int mode, off_t offset, off_t len);

void __wrap_ob_op_readv(struct ob_loop *loop, struct ob_op *op, int fd,
			const struct iovec *iov, unsigned count, off_t offset);
void __wrap_ob_op_writev(struct ob_loop *loop, struct ob_op *op, int fd,
			 const struct iovec *iov, unsigned count, off_t offset,
			 int rwf);
void __wrap_ob_op_fdatasync(struct ob_loop *loop, struct ob_op *op, int fd);
void __wrap_ob_op_fallocate(struct ob_loop *loop, struct ob_op *op, int fd,
			    int mode, off_t offset, off_t len);

int __real_statx(int dir, const char *path, int flags, unsigned mask,
		 struct statx *stx);
int __wrap_statx(int dir, const char *path, int flags, unsigned mask,
		 struct statx *stx);

int __wrap_statx(int dir, const char *path, int flags, unsigned mask,
		 struct statx *stx)
{
	int r = __real_statx(dir, path, flags, mask, stx);

#ifdef STATX_DIOALIGN
	if (seam.dio_align) {
		stx->stx_mask |= STATX_DIOALIGN;
		stx->stx_dio_mem_align = 512;
		stx->stx_dio_offset_align = seam.dio_align;
	}
	if (seam.no_dio_info)
		stx->stx_mask &= ~STATX_DIOALIGN;
#endif
	return r;
}

/* An answer that the kernel is not asked for; and cut vectors in flight. */
static struct refusal {
	struct ob_deferred deferred;
	struct ob_op *op;
	int res;
} refusals[64];

static struct iovec cut[4096];
static unsigned next_cut;

static void refuse(struct ob_deferred *deferred)
{
	struct refusal *refusal = (struct refusal *)deferred;
	struct ob_op *op = refusal->op;

	refusal->op = NULL;
	op->done(op, refusal->res);
}

static void answer(struct ob_loop *loop, struct ob_op *op, int res)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct refusal *refusal = &refusals[i];

		if (refusal->op)
			continue;
		*refusal = (struct refusal){
			.deferred.run = refuse, .op = op, .res = res,
		};
		ob_defer(loop, &refusal->deferred);
		return;
	}
	abort();
}

static const struct iovec *shorten(const struct iovec *iov, unsigned count)
{
	struct iovec *copy = &cut[next_cut++ % 4096];

	assert(count == 1);
	if (!seam.max_transfer || iov->iov_len <= seam.max_transfer)
		return iov;
	copy->iov_base = iov->iov_base;
	copy->iov_len = seam.max_transfer;
	return copy;
}

void __wrap_ob_op_readv(struct ob_loop *loop, struct ob_op *op, int fd,
			const struct iovec *iov, unsigned count, off_t offset)
{
	seam.reads++;
	__real_ob_op_readv(loop, op, fd, shorten(iov, count), count, offset);
}

void __wrap_ob_op_writev(struct ob_loop *loop, struct ob_op *op, int fd,
			 const struct iovec *iov, unsigned count, off_t offset,
			 int rwf)
{
	seam.writes++;
	seam.dsync_writes += !!(rwf & RWF_DSYNC);
	__real_ob_op_writev(loop, op, fd, shorten(iov, count), count, offset,
			    rwf);
}

void __wrap_ob_op_fdatasync(struct ob_loop *loop, struct ob_op *op, int fd)
{
	seam.syncs++;
	if (seam.sync_res)
		answer(loop, op, seam.sync_res);
	else
		__real_ob_op_fdatasync(loop, op, fd);
}

void __wrap_ob_op_fallocate(struct ob_loop *loop, struct ob_op *op, int fd,
			    int mode, off_t offset, off_t len)
{
	seam.fallocates++;
	if (mode & seam.fail_modes) {
		answer(loop, op, seam.fail_res);
		if (seam.fail_times && !--seam.fail_times)
			seam.fail_modes = 0;
	} else {
		__real_ob_op_fallocate(loop, op, fd, mode, offset, len);
	}
}
