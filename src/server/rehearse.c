// SPDX-License-Identifier: BSD-3-Clause
/*
 * Would this build go on with that device?  The judgement of an adoption, on a
 * copy of the state, beside the process that serves it: nothing is changed,
 * nothing put, no descriptor of the client's taken.
 *
 * The copy is made by who serves, between two steps.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/lane.h"
#include "server/session.h"
#include "state/inflight.h"
#include "state/old.h"

#define COPY_NAME 32u

static int write_all(int fd, const uint8_t *at, size_t len, off_t to)
{
	ssize_t n;

	for (; len; at += n, len -= (size_t)n, to += n) {
		n = pwrite(fd, at, len, to);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* What was written of it: most of the file is a hole. */
static int copy_data(int from, const uint8_t *base, off_t size, int to)
{
	off_t at = 0, end;
	int r = 0;

	while (!r && at < size) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : -errno;
		end = lseek(from, at, SEEK_HOLE);
		if (end <= at || end > size)
			end = size;
		r = write_all(to, base + at, (size_t)(end - at), at);
		at = end;
	}
	return r;
}

static int keep_copy(struct ob_device *dev, int from, const void *base,
		     size_t size, const char *name)
{
	OB_CLEANUP_FD int fd = ob_memfd_create("outboard-copy", (off_t)size);
	int r = fd < 0 ? fd : copy_data(from, base, (off_t)size, fd);

	return r ? r : ob_dev_keep(dev, fd, "%s", name);
}

/* Of the copy of the n-th recorder: the device's own, then the lanes'.  By its end the
 * keeper knows a copy. */
static const char *copy_name(char name[COPY_NAME], unsigned n)
{
	if (!n)
		return "recorder/copy";
	snprintf(name, COPY_NAME, "recorder/%u/copy", n - 1);
	return name;
}

int ob_device_copy(struct ob_device *dev, struct ob_err *err)
{
	char name[COPY_NAME];
	struct ob_recorder_bytes recs[1 + OB_LANES_MAX];
	unsigned n = ob_lanes_recorders(dev, recs);
	bool shut = ob_lanes_shut(dev);
	int r = keep_copy(dev, dev->mem.fd, dev->mem.base, dev->mem.size,
			  "copy");

	for (unsigned i = 0; i < n && !r; i++)
		r = keep_copy(dev, recs[i].fd, recs[i].memory, recs[i].size,
			      copy_name(name, i));
	ob_lanes_open(dev, shut);
	return r ? ob_fail(err, -r, "%s: a copy of the state: %s", dev->id,
			   strerror(-r)) : 0;
}

static void look(const struct ob_inflight_list *list, uint64_t now,
		 struct ob_rehearsal *out)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct ob_inflight *row = &list->rows[i];

		if (row->phase != OB_INFLIGHT_DRIVE)
			continue;
		out->in_flight++;
		if (now > row->phase_since &&
		    now - row->phase_since > out->oldest_ns)
			out->oldest_ns = now - row->phase_since;
	}
}

static bool read_copy(struct ob_device *dev, const char *name,
		      struct ob_recorder_bytes *out)
{
	OB_CLEANUP_FD int fd = ob_dev_kept(dev, "%s", name);
	size_t size = sizeof(struct ob_recorder_memory);
	void *memory = fd < 0 ? NULL : malloc(size);

	if (!memory)
		return false;
	if (pread(fd, memory, size, 0) != (ssize_t)size) {
		free(memory);
		return false;
	}
	*out = (struct ob_recorder_bytes){ memory, size, -1 };
	return true;
}

/* By the recorders of who serves, at the time of the copy. */
static void look_in_flight(struct ob_device *dev, struct ob_rehearsal *out)
{
	struct ob_recorder_bytes recs[1 + OB_LANES_MAX];
	struct ob_inflight_list list = { 0 };
	char name[COPY_NAME];
	unsigned n = 0;

	while (n <= OB_LANES_MAX && read_copy(dev, copy_name(name, n), &recs[n]))
		n++;
	ob_inflight_read(recs, n, &list);
	look(&list, ob_loop_now(dev->loop), out);
	free(list.rows);
	while (n--)
		free((void *)(uintptr_t)recs[n].memory);
}

int ob_rehearse(struct ob_device *dev, struct ob_err *err)
{
	struct ob_adopt_parts parts;
	int r = dev->practice ? ob_adopt_open(dev, dev->mem.fd, err) : 0;

	if (r || (r = ob_adopt_read_client(dev, err)))
		return r;
	dev->mig.halted = true;
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	r = ob_adopt_read(dev, &parts, err);
	ob_adopt_parts_free(&parts);
	ob_dev_step_end(dev);
	look_in_flight(dev, dev->rehearsal);
	return r;
}
