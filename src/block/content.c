// SPDX-License-Identifier: BSD-3-Clause
/*
 * Content that travels with the device: blocks that exist in this process
 * alone.  All here is about the drive at the bottom; what is wrapped around it
 * has no bytes of its own, and its requests arrive there.
 *
 * Sending.  The first pass goes through the drive once, from below to above,
 * and skips what is known to be zero: the receiver starts with zeros.  What
 * changes below the pass, that is behind its back, is marked in an account of
 * blocks (track.c); what changes ahead of it will be met by the pass anyway.
 * When the pass is over the account is all that is left.  It is walked round
 * and round, so that a block that changes all the time does not keep others
 * from being sent.  Unlike the first pass, it sends zeros too.
 *
 * When a request changes bytes is not known: at submit, at the end, in
 * between.  It is marked when it has ended, whether well or not.  So whatever
 * a run took in the meantime is sent again, and with nothing in flight the
 * account is complete.
 *
 * A run ends where a page of zeros begins, and zeros are sent as a number.
 * Memory that was never touched is not read, since reading would allocate it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/content.h"
#include "block/track.h"

/* What zeros are looked for in. */
#define GRAIN 4096u
/* So much of memory may be found to be zero in one call of take. */
#define MAX_ZEROS_READ (4u << 20)

struct ob_content {
	struct ob_track track;
	uint64_t first;			/* the first pass has come so far */
	uint64_t expected;		/* bytes that it will find, about */
	uint64_t piece, piece_end;	/* off the account, not yet given */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static const struct ob_drive_content *ops_of(const struct ob_drive *bottom)
{
	return bottom->type->content;
}

/* ob_drive_bottom for a drive that is only looked at. */
static const struct ob_drive *bottom_of(const struct ob_drive *drive)
{
	while (drive->inner)
		drive = drive->inner;
	return drive;
}

bool ob_drive_has_content(const struct ob_drive *drive)
{
	return ops_of(bottom_of(drive));
}

/* The account. */

static void stop_tracking(struct ob_drive *bottom)
{
	if (bottom->content)
		ob_track_finish(&bottom->content->track);
	free(bottom->content);
	bottom->content = NULL;
}

/* Moves the first pass over what is known to be zero. */
static void skip_hole(struct ob_drive *bottom)
{
	struct ob_content *content = bottom->content;
	uint64_t len;

	if (content->first < bottom->info.size)
		ops_of(bottom)->find(bottom, content->first, GRAIN,
				     &content->first, &len);
	if (content->first >= bottom->info.size)
		content->expected = 0;
}

static void start_over(struct ob_drive *bottom)
{
	struct ob_content *content = bottom->content;

	ob_track_clear(&content->track);
	content->first = content->piece = content->piece_end = 0;
	content->expected = ops_of(bottom)->allocated(bottom);
	skip_hole(bottom);
}

int ob_drive_track(struct ob_drive *drive, bool on)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	int r;

	if (!ops_of(bottom))
		return -EOPNOTSUPP;
	if (!on) {
		stop_tracking(bottom);
		return 0;
	}
	if (!bottom->content) {
		bottom->content = calloc(1, sizeof(*bottom->content));
		r = bottom->content ? ob_track_init(&bottom->content->track,
						    bottom->info.size) :
				      -ENOMEM;
		if (r) {
			stop_tracking(bottom);
			return r;
		}
	}
	start_over(bottom);
	return 0;
}

bool ob_drive_is_tracked(const struct ob_drive *drive)
{
	return bottom_of(drive)->content;
}

/* What lies ahead of the first pass needs no mark. */
void ob_drive_wrote(struct ob_drive *drive, uint64_t offset, uint64_t length)
{
	struct ob_content *content = ob_drive_bottom(drive)->content;

	if (content && length && offset < content->first)
		ob_track_mark(&content->track, offset, offset +
			      min_u64(length, content->first - offset));
}

void ob_drive_left(const struct ob_drive *drive, uint64_t *initial,
		   uint64_t *dirty)
{
	const struct ob_drive *bottom = bottom_of(drive);
	const struct ob_content *content = bottom->content;
	uint64_t ahead;

	*initial = *dirty = 0;
	if (!content)
		return;
	/* Of what lies ahead at least something is left, if anything is. */
	ahead = bottom->info.size - content->first;
	*initial = min_u64(ahead, content->expected > GRAIN ?
				  content->expected : GRAIN);
	*dirty = (content->track.dirty << content->track.shift) +
		 content->piece_end - content->piece;
}

/* Runs. */

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

/*
 * How many of the len bytes from *bytes on go into one run: all that are zero
 * (*zero), or all until some are.
 */
static uint64_t cut_run(const uint8_t *bytes, uint64_t len, bool *zero)
{
	uint64_t at = min_u64(len, GRAIN), n;

	*zero = is_zero(bytes, at);
	for (; at < len; at += n) {
		n = min_u64(len - at, GRAIN);
		if (is_zero(bytes + at, n) != *zero)
			break;
	}
	return at;
}

static void set_run(struct ob_drive_run *run, const struct ob_drive *bottom,
		    uint64_t offset, uint64_t length, bool zero)
{
	run->offset = offset;
	run->length = length;
	run->data = zero ? NULL : (uint8_t *)bottom->info.memory + offset;
}

static void passed(struct ob_drive *bottom, uint64_t len)
{
	struct ob_content *content = bottom->content;

	content->first += len;
	content->expected -= min_u64(content->expected, len);
	skip_hole(bottom);
}

static bool take_first(struct ob_drive *bottom, uint64_t max,
		       struct ob_drive_run *run)
{
	struct ob_content *content = bottom->content;
	const uint8_t *bytes = bottom->info.memory;
	uint64_t zeros = 0, start, len;
	bool zero = true;

	while (content->first < bottom->info.size) {
		ops_of(bottom)->find(bottom, content->first, max, &start, &len);
		content->first = start;
		if (!len)
			break;
		len = cut_run(bytes + start, len, &zero);
		passed(bottom, len);
		zeros += zero ? len : 0;
		if (!zero || zeros >= MAX_ZEROS_READ) {
			set_run(run, bottom, start, len, zero);
			return true;
		}
	}
	return false;
}

static bool next_piece(const struct ob_drive *bottom, uint64_t max)
{
	struct ob_content *content = bottom->content;
	unsigned shift = content->track.shift;
	uint64_t block, count;

	if (content->piece < content->piece_end)
		return true;
	if (!ob_track_pull(&content->track, max >> shift, &block, &count))
		return false;
	content->piece = block << shift;
	content->piece_end = min_u64((block + count) << shift,
				     bottom->info.size);
	return true;
}

static bool take_changed(struct ob_drive *bottom, uint64_t max,
			 struct ob_drive_run *run)
{
	struct ob_content *content = bottom->content;
	uint64_t offset, len, data;
	bool zero = true;

	if (!next_piece(bottom, max))
		return false;
	offset = content->piece;
	max = min_u64(max, content->piece_end - offset);
	ops_of(bottom)->find(bottom, offset, max, &data, &len);
	if (data > offset)
		len = min_u64(data - offset, max);
	else
		len = cut_run((uint8_t *)bottom->info.memory + offset, len,
			      &zero);
	content->piece += len;
	set_run(run, bottom, offset, len, zero);
	return true;
}

bool ob_drive_take(struct ob_drive *drive, uint64_t max,
		   struct ob_drive_run *run)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);

	if (!bottom->content)
		return false;
	max = max < GRAIN ? GRAIN : max - max % GRAIN;
	return take_first(bottom, max, run) || take_changed(bottom, max, run);
}

/* The receiving side. */

int ob_drive_stage_begin(struct ob_drive *drive)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	int r;

	if (!ops_of(bottom))
		return -EOPNOTSUPP;
	ob_drive_stage_abort(bottom);
	r = ops_of(bottom)->stage_begin(bottom);
	bottom->staging = !r;
	return r;
}

int ob_drive_stage_put(struct ob_drive *drive, uint64_t offset,
		       const void *data, uint64_t length)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	uint64_t size = bottom->info.size;

	if (!bottom->staging || offset > size || length > size - offset)
		return -EINVAL;
	return length ? ops_of(bottom)->stage_put(bottom, offset, data,
						  length) : 0;
}

int ob_drive_stage_commit(struct ob_drive *drive)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);
	int r = bottom->staging ? ob_drive_check_idle(drive, NULL) : -EINVAL;

	if (!r)
		r = ops_of(bottom)->stage_commit(bottom);
	if (r)
		return r;
	bottom->staging = false;
	if (bottom->content)
		start_over(bottom);
	return 0;
}

void ob_drive_stage_abort(struct ob_drive *drive)
{
	struct ob_drive *bottom = ob_drive_bottom(drive);

	if (bottom->staging)
		ops_of(bottom)->stage_abort(bottom);
	bottom->staging = false;
}

void ob_content_drop(struct ob_drive *drive)
{
	ob_drive_stage_abort(drive);
	stop_tracking(drive);
}
