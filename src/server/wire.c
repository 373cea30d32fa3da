// SPDX-License-Identifier: BSD-3-Clause
/*
 * The memory of a connection that outlives the process: one sparse memfd, which
 * costs what of it was ever used.
 *
 *	inbox | outbox | inbox of the twin | its outbox
 *
 * How long each is stands in the state, so that a successor with other ideas
 * finds what its predecessor left.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sure.h"
#include "server/device_impl.h"
#include "server/dirty.h"
#include "server/kept.h"
#include "server/session.h"

#define SPARE (1u << 20)	/* beside the longest message or answer */
#define PARTS 4u

static const uint32_t ours[PARTS] = {
	OB_OUR_DATA_XFER + SPARE, OB_DIRTY_BITMAP_MAX + 2 * SPARE,
	OB_OUR_DATA_XFER + SPARE, 4 * SPARE,
};

static int map(struct ob_device *dev, size_t size, struct ob_err *err)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, dev->wire.fd, 0);

	if (base == MAP_FAILED)
		return ob_fail(err, errno, "memory of the connection: %s",
			       strerror(errno));
	madvise(base, size, MADV_DONTDUMP);
	dev->wire.base = base;
	dev->wire.size = size;
	return 0;
}

static size_t sum(const uint32_t parts[PARTS])
{
	size_t size = 0;

	for (unsigned i = 0; i < PARTS; i++)
		size += parts[i];
	return size;
}

int ob_wire_create(struct ob_device *dev, struct ob_err *err)
{
	size_t size = sum(ours);

	dev->wire.fd = ob_memfd_create("outboard-wire", (off_t)size);
	if (dev->wire.fd < 0)
		return ob_fail(err, -dev->wire.fd, "memory of the connection: %s",
			       strerror(-dev->wire.fd));
	memcpy(dev->ss->wire, ours, sizeof(ours));
	return map(dev, size, err);
}

/* Any division will do as long as messages of ours fit. */
static int check(const struct ob_device *dev, struct ob_err *err)
{
	const uint32_t *parts = dev->ss->wire;
	struct stat st;

	for (unsigned i = 0; i < PARTS; i++)
		if (parts[i] % 4096 || parts[i] < ours[0])
			return ob_fail(err, EINVAL, "session.wire[%u]: %u bytes",
				       i, parts[i]);
	if (fstat(dev->wire.fd, &st) < 0)
		return ob_fail(err, errno, "wire: %s", strerror(errno));
	if ((uint64_t)st.st_size < sum(parts))
		return ob_fail(err, EINVAL, "session.wire: %zu bytes, the "
			       "memory has %lld", sum(parts),
			       (long long)st.st_size);
	return 0;
}

int ob_wire_adopt(struct ob_device *dev, struct ob_err *err)
{
	int r;

	dev->wire.fd = ob_dev_kept(dev, "wire");
	if (dev->wire.fd < 0)
		return ob_fail(err, -dev->wire.fd, "wire: %s",
			       strerror(-dev->wire.fd));
	r = check(dev, err);
	return r ? r : map(dev, sum(dev->ss->wire), err);
}

void ob_wire_cool(struct ob_device *dev)
{
	if (dev->wire.base)
		madvise(dev->wire.base, dev->wire.size, MADV_REMOVE);
}

void ob_wire_finish(struct ob_device *dev)
{
	if (dev->wire.base)
		munmap(dev->wire.base, dev->wire.size);
	dev->wire.base = NULL;
	ob_fd_close(&dev->wire.fd);
}

/* Descriptors of a message that comes in pieces. */

static int keep_fds(void *arg, size_t from, const int *fds, size_t nr)
{
	int r = 0;

	for (size_t i = 0; i < nr && !r; i++)
		r = ob_dev_keep(arg, fds[i], "held/%zu", from + i);
	return r;
}

static size_t kept_fds(void *arg, int fds[OB_MAX_MSG_FDS])
{
	size_t nr = 0;

	while (nr < OB_MAX_MSG_FDS) {
		fds[nr] = ob_dev_kept(arg, "held/%zu", nr);
		if (fds[nr] < 0)
			break;
		nr++;
	}
	return nr;
}

static void drop_fds(void *arg)
{
	ob_dev_unkeep(arg, "held/");
}

static int fd_of(void *arg, uint8_t name)
{
	const struct ob_device *dev = arg;

	if (name == OB_FD_TWIN_PEER)
		return dev->session ? dev->session->twin_peer : -1;
	if (name >= OB_FD_BAR0 && name < OB_FD_BAR0 + 6)
		return dev->bars[name - OB_FD_BAR0].fd;
	return -1;
}

void ob_wire_memory(struct ob_device *dev, bool twin,
		    struct ob_conn_memory *out)
{
	const uint32_t *parts = dev->ss->wire;
	uint8_t *base = dev->wire.base;
	unsigned first = twin ? 2 : 0;

	if (twin)
		base += (size_t)parts[0] + parts[1];
	*out = (struct ob_conn_memory){
		.journal = twin ? &dev->ss->twin : &dev->ss->main,
		.inbox = base, .inbox_size = parts[first],
		.outbox = base + parts[first], .outbox_size = parts[first + 1],
		.sure = ob_loop_sure(dev->loop),
		.keep_fds = keep_fds, .kept_fds = kept_fds,
		.drop_fds = drop_fds, .fd_of = fd_of, .arg = dev,
	};
}
