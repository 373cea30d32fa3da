// SPDX-License-Identifier: BSD-3-Clause
/*
 * The accessor: the one way from device code to guest memory (dma.h).
 *
 * Each segment is walked range by range.  What is mapped is copied, what is
 * file I/O is read or written at once (these are memory files; the call does
 * not wait for a device), what is neither becomes a message and completes
 * later.  No range of ours is in the map, so no device reaches its own
 * registers here (R14); for messages dma_msg.c looks at the BARs.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "server/dirty.h"

/* A transfer in progress. */
struct walk {
	struct ob_device *dev;
	struct ob_dma_op *op;
	uint8_t *buf;
	bool write;		/* towards the guest */
	bool queued;		/* some of it went to messages */
};

/* The guest said no, or the device stands still. */
static bool may_access(const struct ob_device *dev)
{
	return dev->bus_master && !dev->mig.halted;
}

static int find(struct ob_device *dev, uint64_t addr, bool write,
		struct ob_range **out)
{
	struct ob_range *range = ob_dma_find(&dev->dma, addr);

	if (!range)
		return -EFAULT;
	if (!(range->flags & (write ? OB_DMA_WRITE : OB_DMA_READ)))
		return -EACCES;
	*out = range;
	return 0;
}

/* Of len bytes from addr, those in this range. */
static uint64_t within(const struct ob_range *range, uint64_t addr,
		       uint64_t len)
{
	uint64_t room = range->last - addr;

	return len - 1 <= room ? len : room + 1;
}

static int copy(const struct walk *w, const struct ob_range *range,
		uint64_t addr, uint64_t len)
{
	uint8_t *host = range->host + (addr - range->first);

	if (w->write)
		memcpy(host, w->buf, len);
	else
		memcpy(w->buf, host, len);
	return atomic_load_explicit(&range->window->guard.lost,
				    memory_order_relaxed) ? -EIO : 0;
}

static int file_io(const struct walk *w, const struct ob_range *range,
		   uint64_t addr, uint64_t len)
{
	off_t at = (off_t)(range->offset + (addr - range->first));
	ssize_t n;

	if (w->dev->lane)
		return -EAGAIN;
	if (w->write)
		n = pwrite(range->file->fd, w->buf, len, at);
	else
		n = pread(range->file->fd, w->buf, len, at);
	if (n == (ssize_t)len)
		return 0;
	range->file->lost = w->dev->dma.file_lost = true;
	if (w->dev->home)
		w->dev->home->dma.file_lost = true;
	return -EIO;
}

static __attribute__((noinline)) void log_write(struct ob_device *dev,
						uint64_t addr, uint64_t len)
{
	if (dev->dma.log)
		ob_dirty_mark(dev->dma.log, addr, len);
	if (dev->dma.op_log)
		ob_dirty_mark(dev->dma.op_log, addr, len);
}

void ob_dma_wrote(struct ob_device *dev, uint64_t addr, uint64_t len)
{
	if (__builtin_expect(dev->dma.logging, 0))
		log_write(dev, addr, len);
}

/* Not only what went well: of a copy that failed a part may be there. */
static int local(struct walk *w, const struct ob_range *range, uint64_t addr,
		 uint64_t len)
{
	int r = range->host ? copy(w, range, addr, len) :
		file_io(w, range, addr, len);

	if (w->write)
		ob_dma_wrote(w->dev, addr, len);
	return r;
}

static int piece(struct walk *w, const struct ob_range *range, uint64_t addr,
		 uint64_t len)
{
	int r;

	if (range->file)
		return local(w, range, addr, len);
	r = ob_dma_msg_add(w->dev, w->op, w->write, addr, w->buf, len);
	w->queued |= r == 0;
	return r;
}

static int walk_segment(struct walk *w, uint64_t addr, uint64_t len)
{
	struct ob_range *range;
	uint64_t n;
	int r;

	if (len && addr > UINT64_MAX - (len - 1))
		return -EFAULT;
	for (; len; addr += n, len -= n, w->buf += n) {
		r = find(w->dev, addr, w->write, &range);
		if (r)
			return r;
		n = within(range, addr, len);
		r = piece(w, range, addr, n);
		if (r)
			return r;
	}
	return 0;
}

static int transfer(struct walk *w, const struct ob_seg *segs, unsigned count)
{
	unsigned i;
	int r = 0;

	if (!may_access(w->dev))
		return -EACCES;
	if (w->op)
		w->op->pending = 0;
	for (i = 0; i < count && !r; i++)
		r = walk_segment(w, segs[i].addr, segs[i].len);
	if (!w->queued)
		return r;
	if (r) {
		ob_dma_msg_revoke(w->dev, w->op);
		return r;
	}
	return -EINPROGRESS;
}

int ob_dma_read(struct ob_device *dev, const struct ob_seg *segs,
		unsigned count, void *buf, struct ob_dma_op *op)
{
	struct walk w = { .dev = dev, .op = op, .buf = buf };

	return transfer(&w, segs, count);
}

int ob_dma_write(struct ob_device *dev, const struct ob_seg *segs,
		 unsigned count, const void *buf, struct ob_dma_op *op)
{
	struct walk w = {
		.dev = dev, .op = op, .buf = (uint8_t *)(uintptr_t)buf,
		.write = true,
	};

	return transfer(&w, segs, count);
}

void ob_dma_cancel_all(struct ob_device *dev)
{
	ob_dma_msg_drop(dev->home ? dev->home : dev, 0, UINT64_MAX, -ECANCELED);
}

void *ob_dma_ptr(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write)
{
	struct ob_range *range;

	if (!may_access(dev) || len == 0 || find(dev, addr, write, &range))
		return NULL;
	if (!range->host || within(range, addr, len) != len ||
	    atomic_load_explicit(&range->window->guard.lost,
				 memory_order_relaxed))
		return NULL;
	return range->host + (addr - range->first);
}

int ob_dma_check(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write)
{
	struct ob_range *range;
	uint64_t n;
	int r;

	if (!may_access(dev))
		return -EACCES;
	if (len && addr > UINT64_MAX - (len - 1))
		return -EFAULT;
	for (; len; addr += n, len -= n) {
		r = find(dev, addr, write, &range);
		if (r)
			return r;
		n = within(range, addr, len);
	}
	return 0;
}

static bool window_lost(struct ob_window *win)
{
	if (win->told || !atomic_load(&win->guard.lost))
		return false;
	win->told = true;
	return true;
}

static bool find_losses(struct ob_device *dev)
{
	struct ob_dma_file *file;
	struct ob_window *win;
	bool lost = false;

	for (file = dev->dma.files; file; file = file->next) {
		lost |= file->lost;
		file->lost = false;
		for (win = file->windows; win; win = win->next)
			lost |= window_lost(win);
	}
	if (lost)
		ob_log(&dev->log, OB_LOG_GUEST,
		       "guest memory was truncated by its owner");
	return lost;
}

/* In a lane's step.  Whether it was told is its device's thread's. */
static bool any_lost(const struct ob_dma *dma)
{
	for (struct ob_dma_file *file = dma->files; file; file = file->next)
		for (struct ob_window *win = file->windows; win; win = win->next)
			if (atomic_load(&win->guard.lost))
				return true;
	return false;
}

/* Asked after every few commands: the files are looked at only if there is
 * something new in some process-wide count. */
bool ob_dma_lost(struct ob_device *dev)
{
	unsigned losses = atomic_load_explicit(&ob_guard_losses,
					       memory_order_relaxed);

	if (losses == dev->dma.losses && !dev->dma.file_lost)
		return false;
	dev->dma.losses = losses;
	dev->dma.file_lost = false;
	if (dev->home)
		return dev->lane ? any_lost(&dev->home->dma)
				 : ob_dma_lost(dev->home);
	return find_losses(dev);
}
