// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who may touch a drive's blocks.  Of all processes that have the drive open
 * at most one is active, and for a type with a lock that lock says which.  A
 * drive that was opened as incoming, or was released, is inactive: the front
 * (block.c) refuses its requests, so no type has to think of it.
 *
 * The right belongs to the drive at the bottom; what is wrapped around it
 * holds requests and no blocks.  So the question goes down, and only "is
 * anything under way" is asked at every level.
 *
 * What a drive learned while it was not its own may be old by the time it gets
 * the lock.  So the lock comes first, then the look.
 *
 * Death (record.c).  A drive is inactive on record before its lock goes, and
 * active only after it has the lock.  So a successor that reads "active" still
 * has the lock, and one that reads "inactive" may have one that is to be given
 * up: the release that was cut short is finished by ob_drive_recall, since when
 * the drive is opened its predecessor may be alive and just taking it.
 */
#include <errno.h>
#include <string.h>

#include "block/record.h"
#include "block/types.h"

/*
 * A branch counts on its own thread.  Whoever asks has seen to it that nothing is
 * begun there any more, so that what is read is too much at most.
 */
static unsigned __attribute__((no_sanitize("thread")))
count_of(const struct ob_drive *branch)
{
	return *(const volatile unsigned *)&branch->in_flight;
}

unsigned ob_drive_in_flight(const struct ob_drive *drive)
{
	unsigned n = drive->in_flight;

	for (const struct ob_drive *b = drive->branches; b; b = b->next_branch)
		n += count_of(b);
	return n;
}

static void set_active(struct ob_drive *bottom, bool active)
{
	bottom->active = active;
	for (struct ob_drive *b = bottom->branches; b; b = b->next_branch)
		b->active = active;
}

bool ob_drive_is_active(const struct ob_drive *drive)
{
	while (drive->inner)
		drive = drive->inner;
	return drive->active;
}

int ob_drive_check_idle(const struct ob_drive *drive, struct ob_err *err)
{
	for (; drive; drive = drive->inner)
		if (ob_drive_in_flight(drive))
			return ob_drive_fail(drive, err, EBUSY,
					     "requests under way: %u",
					     ob_drive_in_flight(drive));
	return 0;
}

static int give_up(struct ob_drive *bottom, struct ob_err *err)
{
	int r = bottom->type->release ? bottom->type->release(bottom, err) : 0;

	if (!r)
		set_active(bottom, false);
	return r;
}

static int note(struct ob_drive *drive, bool active, struct ob_err *err)
{
	int r = ob_record_note_active(drive, active);

	return r ? ob_drive_fail(drive, err, -r, "cannot note the hand-over: %s",
				 strerror(-r)) : 0;
}

int ob_drive_release(struct ob_drive *drive, struct ob_err *err)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	int r;

	if (!bottom->active)
		return 0;
	r = ob_drive_check_idle(drive, err);
	if (!r)
		r = note(drive, false, err);
	if (!r)
		r = give_up(bottom, err);
	if (r)
		ob_record_note(drive);
	return r;
}

int ob_drive_acquire(struct ob_drive *drive, struct ob_err *err)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	int r;

	if (bottom->active)
		return 0;
	r = bottom->type->acquire ? bottom->type->acquire(bottom, err) : 0;
	if (r)
		return r;
	set_active(bottom, true);
	r = ob_drive_refresh(bottom, err);
	if (!r)
		r = note(drive, true, err);
	if (r) {
		give_up(bottom, NULL);
		ob_record_note(drive);
	}
	return r;
}
