// SPDX-License-Identifier: BSD-3-Clause
/*
 * Would this build go on with that device?  The judgement of an adoption, on a
 * copy of the state, beside the process that serves it: nothing is changed,
 * nothing put, no descriptor of the client's taken.
 *
 * The copy is made by who serves, between two steps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/session.h"
#include "state/inflight.h"
#include "state/old.h"

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
static int copy_data(const struct ob_state_mem *mem, int to)
{
	off_t at = 0, end, size = (off_t)mem->size;
	int r = 0;

	while (!r && at < size) {
		at = lseek(mem->fd, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : -errno;
		end = lseek(mem->fd, at, SEEK_HOLE);
		if (end <= at || end > size)
			end = size;
		r = write_all(to, mem->base + at, (size_t)(end - at), at);
		at = end;
	}
	return r;
}

int ob_device_copy(struct ob_device *dev, struct ob_err *err)
{
	OB_CLEANUP_FD int fd = ob_memfd_create("outboard-copy",
					       (off_t)dev->mem.size);
	int r = fd < 0 ? fd : copy_data(&dev->mem, fd);

	if (r == 0)
		r = ob_dev_keep(dev, fd, "copy");
	return r ? ob_fail(err, -r, "%s: a copy of the state: %s", dev->id,
			   strerror(-r)) : 0;
}

static void look(const struct ob_inflight *rows, size_t n, uint64_t now,
		 struct ob_rehearsal *out)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].phase != OB_INFLIGHT_DRIVE)
			continue;
		out->in_flight++;
		if (now > rows[i].phase_since &&
		    now - rows[i].phase_since > out->oldest_ns)
			out->oldest_ns = now - rows[i].phase_since;
	}
}

/* Of the recorder of who serves, as it is now. */
static void look_in_flight(struct ob_device *dev, struct ob_rehearsal *out)
{
	OB_CLEANUP_FD int fd = ob_dev_kept(dev, "recorder");
	size_t size = sizeof(struct ob_recorder_memory), n;
	struct ob_inflight *rows;
	struct ob_event_entry *events;
	void *memory;

	if (fd < 0)
		return;
	events = calloc(OB_RECORDER_EVENTS, sizeof(*events));
	rows = calloc(OB_RECORDER_EVENTS, sizeof(*rows));
	memory = malloc(size);
	if (events && rows && memory &&
	    pread(fd, memory, size, 0) == (ssize_t)size) {
		n = ob_recorder_read(memory, size, events, OB_RECORDER_EVENTS);
		n = ob_inflight_find(events, n, rows, OB_RECORDER_EVENTS);
		look(rows, n, ob_loop_now(dev->loop), out);
	}
	free(memory);
	free(rows);
	free(events);
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
