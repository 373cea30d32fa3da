// SPDX-License-Identifier: BSD-3-Clause
/*
 * Handing drives over: who may run the device may use its drives, nobody else.
 *
 * A drive is given away when nothing of it is under way, everything that ended
 * is on the medium, and the lock is released, in this order; END of a stream
 * waits for that.  The flush is begun at the standstill, so that it overlaps
 * with the reading of the stream; another one is begun when a running device
 * begins to be saved, so that little is left for the former.  Only a flush that
 * was begun with nothing else under way counts: what was cancelled and ended
 * after the flush would otherwise be written back some time later, over the new
 * owner's data.
 *
 * It is taken back when the device is to run again, or to be saved again: while
 * another process has it, this device's state is an old one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"

#define DRIVES_MAX 256u

struct flush;

struct ob_mig_drive {
	struct ob_drive *drive;
	struct flush *flush;
	bool flushing, clean;
	bool alone;		/* the flush was begun with nothing under way */
	int rc;			/* of the last one that ended, until told */
};

struct flush {
	struct ob_mig_drive *owner;
	struct ob_block_request req;
};

static void flushed(struct ob_block_request *req, int rc)
{
	struct flush *flush = container_of(req, struct flush, req);
	struct ob_mig_drive *d = flush->owner;

	d->flushing = false;
	d->rc = rc;
	d->clean = rc == 0 && d->alone;
}

/* One that is under way already was begun too early to count. */
static void begin_flush(struct ob_mig_drive *d)
{
	d->clean = false;
	if (d->flushing) {
		d->alone = false;
		return;
	}
	d->alone = ob_drive_in_flight(d->drive) == 0;
	d->flushing = true;
	d->flush->req.op = OB_BLOCK_FLUSH;
	d->flush->req.done = flushed;
	ob_drive_submit(d->drive, &d->flush->req);
}

static int add(struct ob_mig_drive *d, struct ob_drive *drive)
{
	d->drive = drive;
	d->flush = calloc(1, offsetof(struct flush, req) +
			     ob_drive_request_size(drive));
	if (!d->flush)
		return -ENOMEM;
	d->flush->owner = d;
	return 0;
}

static unsigned count(struct ob_device *dev)
{
	unsigned n = 0;

	if (dev->cls->drive)
		while (n < DRIVES_MAX && dev->cls->drive(dev, n))
			n++;
	return n;
}

int ob_mig_drives_init(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig *mig = &dev->mig;
	unsigned i, n = count(dev);
	int r = 0;

	if (n == 0)
		return 0;
	mig->drives = calloc(n, sizeof(*mig->drives));
	if (!mig->drives)
		return ob_fail(err, ENOMEM, "out of memory");
	mig->nr_drives = n;
	for (i = 0; i < n && !r; i++)
		r = add(&mig->drives[i], dev->cls->drive(dev, i));
	return r ? ob_fail(err, -r, "out of memory") : 0;
}

void ob_mig_drives_finish(struct ob_device *dev)
{
	struct ob_mig *mig = &dev->mig;
	unsigned i;

	for (i = 0; i < mig->nr_drives; i++)
		free(mig->drives[i].flush);
	free(mig->drives);
	mig->drives = NULL;
	mig->nr_drives = 0;
}

struct ob_drive *ob_mig_drive(const struct ob_device *dev, unsigned i)
{
	return dev->mig.drives[i].drive;
}

void ob_mig_drives_flush(struct ob_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->mig.nr_drives; i++)
		begin_flush(&dev->mig.drives[i]);
}

void ob_mig_drives_used(struct ob_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		struct ob_mig_drive *d = &dev->mig.drives[i];

		d->clean = d->alone = false;
		d->rc = 0;
	}
}

/* One step of one drive towards being flushed with nothing under way. */
static int settle(struct ob_mig_drive *d, struct ob_err *err)
{
	int r = d->rc;

	if (d->clean || !ob_drive_is_active(d->drive))
		return 0;
	if (r) {
		d->rc = 0;	/* who asks again has it tried again */
		return ob_fail(err, -r, "drive %s: flush: %s",
			       ob_drive_name(d->drive), strerror(-r));
	}
	if (ob_drive_in_flight(d->drive) == 0)
		begin_flush(d);
	return -EINPROGRESS;
}

static int release_all(struct ob_device *dev, struct ob_err *err)
{
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		r = ob_drive_release(dev->mig.drives[i].drive, err);
		if (r)
			return r;
	}
	return 0;
}

int ob_mig_drives_release(struct ob_device *dev, struct ob_err *err)
{
	bool wait = false;
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		r = settle(&dev->mig.drives[i], err);
		if (r && r != -EINPROGRESS)
			return r;
		wait |= r != 0;
	}
	return wait ? -EINPROGRESS : release_all(dev, err);
}

int ob_mig_drives_late(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig_drive *d = dev->mig.drives;

	for (; d < dev->mig.drives + dev->mig.nr_drives; d++)
		if (!d->clean && ob_drive_is_active(d->drive))
			return ob_fail(err, EBUSY, "drive %s: %u requests have not ended",
				       ob_drive_name(d->drive),
				       ob_drive_in_flight(d->drive));
	return ob_fail(err, EBUSY, "a drive is not free");
}

unsigned ob_mig_drives_in_flight(const struct ob_device *dev)
{
	unsigned i, n = 0;

	for (i = 0; i < dev->mig.nr_drives; i++)
		n += dev->mig.drives[i].flushing;
	return n;
}

/* Those that were taken just now; nobody has used them yet. */
static void undo(struct ob_device *dev, const bool *taken, unsigned n)
{
	while (n--)
		if (taken[n])
			ob_drive_release(ob_mig_drive(dev, n), NULL);
}

int ob_dev_acquire_drives(struct ob_device *dev, struct ob_err *err)
{
	bool taken[DRIVES_MAX] = { false };
	struct ob_drive *drive;
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		drive = ob_mig_drive(dev, i);
		if (ob_drive_is_active(drive))
			continue;
		r = ob_drive_acquire(drive, err);
		if (r) {
			undo(dev, taken, i);
			return r;
		}
		taken[i] = true;
	}
	return 0;
}
