// SPDX-License-Identifier: BSD-3-Clause
/*
 * What outlives the process of a drive.  Types keep what they opened, each
 * under its word ("image", "memory").  The front keeps a record beside it: a
 * memfd that says which drive it is, whether it is active, and how large the
 * guest believes it to be.  It belongs to the outermost drive, since wrappers
 * have nothing of their own that could outlive anybody.
 *
 * The record is the last thing that is kept when a drive is opened: what lies
 * there without one was left by a process that never served the drive, and
 * is used as if it had just been opened.
 *
 * Each change is one write of a few bytes into one page, which SIGKILL does
 * not cut in two.  Which comes first, the change or the note of it, is the
 * matter of the hand-over (handover.c).
 *
 * A record is as hostile as all that a dead worker leaves behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <outboard/keep.h>

#include "base/fd.h"
#include "block/record.h"
#include "block/types.h"

#define RECORD_MAGIC	0x3156524454554fu	/* "OUTDRV1" */
#define RECORD_WORD	"record"
#define NAME_MAX_KEPT	4096u

struct record {
	uint64_t magic;
	uint64_t size;
	uint8_t active, readonly;
	uint8_t reserved[6];
	/* The name follows, without a zero at its end. */
};

static int full_word(const struct ob_drive *drive, const char *word,
		     char name[OB_KEEP_NAME_MAX + 1])
{
	int n = snprintf(name, OB_KEEP_NAME_MAX + 1, "%s%s", drive->keep, word);

	return n > (int)OB_KEEP_NAME_MAX ? -ENAMETOOLONG : 0;
}

int ob_drive_keep(struct ob_drive *drive, const char *word, int fd)
{
	char name[OB_KEEP_NAME_MAX + 1];
	int r;

	if (!drive->keep || !ob_keep_is_on(drive->loop))
		return 0;
	r = full_word(drive, word, name);
	return r ? r : ob_keep_put(drive->loop, name, fd);
}

int ob_drive_kept(struct ob_drive *drive, const char *word)
{
	char name[OB_KEEP_NAME_MAX + 1];

	if (!drive->keep || !ob_keep_is_on(drive->loop) ||
	    full_word(drive, word, name))
		return -ENOENT;
	return ob_keep_get(drive->loop, name);
}

void ob_drive_forget(struct ob_drive *drive, const char *word)
{
	char name[OB_KEEP_NAME_MAX + 1];

	if (drive->keep && ob_keep_is_on(drive->loop) &&
	    !full_word(drive, word, name))
		ob_keep_drop(drive->loop, name);
}

static int read_record(const struct ob_drive *drive, struct record *rec,
		       struct ob_err *err)
{
	if (pread(drive->record, rec, sizeof(*rec), 0) != sizeof(*rec) ||
	    rec->magic != RECORD_MAGIC || rec->active > 1 ||
	    rec->readonly > 1 || !rec->size || rec->size % OB_SECTOR)
		return ob_drive_fail(drive, err, EINVAL,
				     "what is kept of its former life is damaged");
	return 0;
}

/* Compares what fits; nobody has paths longer than the kernel takes. */
static bool is_name(const struct ob_drive *drive)
{
	size_t len = strnlen(drive->name, NAME_MAX_KEPT);
	char name[NAME_MAX_KEPT + 1];

	return pread(drive->record, name, sizeof(name), sizeof(struct record)) ==
	       (ssize_t)len && !memcmp(name, drive->name, len);
}

/* The guest has its disk: it cannot become another one under it. */
static int check_same(const struct ob_drive *drive, const struct record *rec,
		      bool readonly, struct ob_err *err)
{
	if (!is_name(drive))
		return ob_drive_fail(drive, err, EINVAL,
				     "the device that goes on has another drive there");
	if (rec->readonly != readonly)
		return ob_drive_fail(drive, err, EINVAL,
				     "the drive of the device that goes on is %s",
				     rec->readonly ? "read-only" :
						     "not read-only");
	return 0;
}

int ob_record_find(struct ob_drive *drive, unsigned *flags, struct ob_err *err)
{
	struct record rec;
	int fd = ob_drive_kept(drive, RECORD_WORD), r;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return ob_drive_fail(drive, err, -fd, "what is kept of it: %s",
				     strerror(-fd));
	drive->record = fd;
	if ((r = read_record(drive, &rec, err)) ||
	    (r = check_same(drive, &rec, *flags & OB_DRIVE_READONLY, err)))
		return r;
	drive->info.size = rec.size;
	*flags &= ~(unsigned)OB_DRIVE_INCOMING;
	*flags |= rec.active ? 0 : OB_DRIVE_INCOMING;
	return 0;
}

int ob_record_note_active(struct ob_drive *drive, bool active)
{
	const struct record rec = {
		.magic = RECORD_MAGIC, .size = drive->info.size,
		.active = active, .readonly = drive->info.readonly,
	};

	if (drive->record < 0)
		return 0;
	return pwrite(drive->record, &rec, sizeof(rec), 0) == sizeof(rec) ?
	       0 : -EIO;
}

int ob_record_note(struct ob_drive *drive)
{
	return ob_record_note_active(drive, ob_drive_is_active(drive));
}

static int write_new(struct ob_drive *drive)
{
	size_t len = strnlen(drive->name, NAME_MAX_KEPT);
	int r = ob_record_note(drive);

	if (r)
		return r;
	return pwrite(drive->record, drive->name, len, sizeof(struct record)) ==
	       (ssize_t)len ? 0 : -EIO;
}

int ob_record_begin(struct ob_drive *drive, struct ob_err *err)
{
	int r;

	if (drive->record >= 0 || !drive->keep || !ob_keep_is_on(drive->loop))
		return 0;
	drive->record = ob_memfd_create("drive-record", 0);
	r = drive->record < 0 ? drive->record : write_new(drive);
	if (!r)
		r = ob_drive_keep(drive, RECORD_WORD, drive->record);
	if (!r)
		return 0;
	ob_fd_close(&drive->record);
	return ob_drive_fail(drive, err, -r, "cannot keep it: %s", strerror(-r));
}

void ob_record_forget_new(struct ob_drive *drive)
{
	if (drive->record < 0 && drive->keep && ob_keep_is_on(drive->loop))
		ob_keep_drop(drive->loop, drive->keep);
}

int ob_drive_recall(struct ob_drive *drive, struct ob_err *err)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	struct record rec;
	int r;

	if (drive->record < 0)
		return 0;
	r = read_record(drive, &rec, err);
	if (r)
		return r;
	bottom->active = rec.active;
	r = bottom->type->recall ? bottom->type->recall(bottom, err) : 0;
	if (r)
		return r;
	ob_drive_resized(bottom, rec.size);
	return 0;
}
