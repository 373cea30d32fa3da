// SPDX-License-Identifier: BSD-3-Clause
/* Guest memory for streams of pages: read behind a guard, written by the kernel. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "server/pages.h"

#define BOUNCE (64u << 10)

/* Of len bytes from addr, those in this range. */
static uint64_t within(const struct ob_range *range, uint64_t addr,
		       uint64_t len)
{
	uint64_t room = range->last - addr;

	return len - 1 <= room ? len : room + 1;
}

static off_t offset_of(const struct ob_range *range, uint64_t addr)
{
	return (off_t)(range->offset + (addr - range->first));
}

static int lost(uint64_t addr, struct ob_err *err)
{
	return ob_fail(err, EIO, "guest memory at %#llx is gone",
		       (unsigned long long)addr);
}

static int read_range(const struct ob_range *range, uint64_t addr, uint64_t len,
		      void *buf, struct ob_err *err)
{
	if (!range->host)
		return pread(range->file->fd, buf, len, offset_of(range, addr)) ==
			(ssize_t)len ? 0 : lost(addr, err);
	memcpy(buf, range->host + (addr - range->first), len);
	return atomic_load(&range->window->guard.lost) ? lost(addr, err) : 0;
}

int ob_pages_read(struct ob_device *dev, uint64_t addr, uint64_t len, void *buf,
		  struct ob_err *err)
{
	uint8_t *to = buf;
	uint64_t n;
	int r = 0;

	for (; len && !r; addr += n, len -= n, to += n) {
		const struct ob_range *range = ob_dma_find(&dev->dma, addr);

		if (!range || !range->file)
			return ob_fail(err, EFAULT, "%#llx is not mapped",
				       (unsigned long long)addr);
		n = within(range, addr, len);
		r = read_range(range, addr, n, to, err);
	}
	return r;
}

void ob_pages_touch(struct ob_device *dev, uint64_t addr, uint64_t len)
{
	for (; len; addr += OB_PAGE_SIZE, len -= OB_PAGE_SIZE) {
		const struct ob_range *range = ob_dma_find(&dev->dma, addr);

		if (range && range->host)
			(void)*(volatile uint8_t *)(range->host +
						    (addr - range->first));
	}
}

static int find(struct ob_device *dev, uint64_t addr, struct ob_range **out,
		struct ob_err *err)
{
	struct ob_range *range = ob_dma_find(&dev->dma, addr);
	unsigned long long at = addr;

	if (!range)
		return ob_fail(err, EFAULT, "%#llx is not mapped", at);
	if (!range->file)
		return ob_fail(err, ENOTSUP, "%#llx is memory without a file", at);
	if (!(range->flags & OB_DMA_WRITE))
		return ob_fail(err, EACCES, "%#llx is mapped to be read only", at);
	*out = range;
	return 0;
}

int ob_pages_check(struct ob_device *dev, uint64_t addr, struct ob_err *err)
{
	struct ob_range *range;

	return find(dev, addr, &range, err);
}

/* By ourselves: the kernel copies from file to file only through memory. */
static ssize_t bounce(const struct ob_range *range, uint64_t addr, uint64_t len,
		      int from, uint64_t offset)
{
	uint8_t buf[BOUNCE];
	ssize_t n = pread(from, buf, len < BOUNCE ? len : BOUNCE, (off_t)offset);

	return n <= 0 ? n : pwrite(range->file->fd, buf, (size_t)n,
				   offset_of(range, addr));
}

int64_t ob_pages_put(struct ob_device *dev, uint64_t addr, uint64_t len,
		     int from, uint64_t offset, struct ob_err *err)
{
	struct ob_range *range = NULL;
	int r = find(dev, addr, &range, err);
	ssize_t n;

	if (r)
		return r;
	len = within(range, addr, len);
	n = range->host ?
		pread(from, range->host + (addr - range->first), len,
		      (off_t)offset) : bounce(range, addr, len, from, offset);
	if (n <= 0 || n % (ssize_t)OB_PAGE_SIZE)
		return lost(addr, err);
	ob_dma_wrote(dev, addr, (uint64_t)n);
	return n;
}
