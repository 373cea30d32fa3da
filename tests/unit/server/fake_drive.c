// SPDX-License-Identifier: BSD-3-Clause
#include "fake_drive.h"

#include <errno.h>
#include <string.h>

static void complete(struct ob_deferred *deferred)
{
	struct ob_drive *drive = (struct ob_drive *)
		((char *)deferred - offsetof(struct ob_drive, soon));
	struct ob_block_request *req = drive->pending;

	drive->pending = NULL;
	req->done(req, -drive->fail_flush);
}

void fake_drive_init(struct ob_drive *drive, bool content)
{
	memset(drive, 0, sizeof(*drive));
	drive->info.size = FAKE_SIZE;
	drive->info.block_size = 512;
	drive->content = content;
	drive->active = true;
	drive->soon.run = complete;
}

void fake_write(struct ob_drive *drive, unsigned block, uint8_t value)
{
	memset(drive->bytes + block * FAKE_BLOCK, value, FAKE_BLOCK);
	drive->dirty[block] = true;
}

void fake_let_go(struct ob_drive *drive)
{
	drive->hang = false;
	if (drive->pending)
		ob_defer(drive->loop, &drive->soon);
}

const struct ob_drive_info *ob_drive_info(const struct ob_drive *drive)
{
	return &drive->info;
}

const char *ob_drive_name(const struct ob_drive *drive)
{
	(void)drive;
	return "fake";
}

size_t ob_drive_request_size(const struct ob_drive *drive)
{
	(void)drive;
	return sizeof(struct ob_block_request);
}

void ob_drive_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	drive->flushes++;
	drive->pending = req;
	if (!drive->hang)
		ob_defer(drive->loop, &drive->soon);
}

unsigned ob_drive_in_flight(const struct ob_drive *drive)
{
	return drive->others + (drive->pending != NULL);
}

bool ob_drive_is_active(const struct ob_drive *drive)
{
	return drive->active;
}

int ob_drive_release(struct ob_drive *drive, struct ob_err *err)
{
	if (ob_drive_in_flight(drive))
		return ob_fail(err, EBUSY, "fake: under way");
	if (drive->fail_release)
		return ob_fail(err, drive->fail_release, "fake: release");
	drive->releases += drive->active;
	drive->active = false;
	return 0;
}

/* These are opened by fake_drive_init, and nothing becomes of them elsewhere. */
int ob_drive_open_kept(struct ob_loop *loop, const char *spec, unsigned flags,
		       const char *prefix, struct ob_drive **out,
		       struct ob_err *err)
{
	(void)loop;
	(void)flags;
	(void)prefix;
	(void)out;
	return ob_fail(err, ENOENT, "fake: there is no drive %s", spec);
}

int ob_drive_recall(struct ob_drive *drive, struct ob_err *err)
{
	(void)drive;
	(void)err;
	return 0;
}

int ob_drive_acquire(struct ob_drive *drive, struct ob_err *err)
{
	if (drive->fail_acquire)
		return ob_fail(err, drive->fail_acquire, "fake: acquire");
	if (drive->refusals) {
		drive->refusals--;
		drive->searches += err != NULL;
		return ob_fail(err, EBUSY, "fake: locked");
	}
	drive->acquires++;
	drive->active = true;
	return 0;
}

bool ob_drive_has_content(const struct ob_drive *drive)
{
	return drive->content;
}

int ob_drive_track(struct ob_drive *drive, bool on)
{
	if (on && drive->fail_track)
		return -drive->fail_track;
	drive->tracked = on;
	for (unsigned i = 0; i < FAKE_BLOCKS; i++)
		drive->dirty[i] = on && drive->bytes[i * FAKE_BLOCK];
	return 0;
}

bool ob_drive_is_tracked(const struct ob_drive *drive)
{
	return drive->tracked;
}

bool ob_drive_take(struct ob_drive *drive, uint64_t max,
		   struct ob_drive_run *run)
{
	for (unsigned i = 0; i < FAKE_BLOCKS && max >= FAKE_BLOCK; i++) {
		if (!drive->dirty[i])
			continue;
		drive->dirty[i] = false;
		*run = (struct ob_drive_run){
			i * FAKE_BLOCK, FAKE_BLOCK, drive->bytes + i * FAKE_BLOCK
		};
		return true;
	}
	return false;
}

void ob_drive_left(const struct ob_drive *drive, uint64_t *initial,
		   uint64_t *dirty)
{
	*initial = *dirty = 0;
	for (unsigned i = 0; i < FAKE_BLOCKS; i++)
		*initial += drive->dirty[i] ? FAKE_BLOCK : 0;
}

int ob_drive_stage_begin(struct ob_drive *drive)
{
	if (drive->fail_stage)
		return -drive->fail_stage;
	drive->staged = true;
	memset(drive->stage, 0, sizeof(drive->stage));
	return 0;
}

int ob_drive_stage_put(struct ob_drive *drive, uint64_t offset,
		       const void *data, uint64_t length)
{
	if (length > FAKE_SIZE || offset > FAKE_SIZE - length)
		return -EINVAL;
	if (data)
		memcpy(drive->stage + offset, data, length);
	else
		memset(drive->stage + offset, 0, length);
	return 0;
}

int ob_drive_stage_commit(struct ob_drive *drive)
{
	memcpy(drive->bytes, drive->stage, sizeof(drive->bytes));
	drive->staged = false;
	return 0;
}

void ob_drive_stage_abort(struct ob_drive *drive)
{
	drive->staged = false;
}
