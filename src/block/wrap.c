// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <string.h>

#include "block/wrap.h"

int ob_wrap_split(struct ob_drive *drive, const char *arg, size_t *rule_len,
		  struct ob_err *err)
{
	const char *colon = strchr(arg, ':');

	if (!colon)
		return ob_drive_fail(drive, err, EINVAL,
				     "no inner drive; the form is %s",
				     drive->type->syntax);
	*rule_len = colon - arg;
	return 0;
}

static void inner_resized(void *arg)
{
	struct ob_drive *drive = arg;

	ob_drive_resized(drive, drive->inner->info.size);
}

int ob_wrap_open(struct ob_drive *drive, const char *spec, unsigned flags,
		 size_t head, struct ob_err *err)
{
	int r = ob_drive_open_inner(drive, spec, flags, err);

	if (r)
		return r;
	ob_drive_on_resize(drive->inner, inner_resized, drive);
	drive->info = drive->inner->info;
	/* Requests are what a wrapper is about. */
	drive->info.memory = NULL;
	drive->info.zeros = false;
	drive->request_size = head +
		offsetof(struct ob_wrap_request, inner) +
		ob_drive_request_size(drive->inner);
	return 0;
}

void ob_wrap_close(struct ob_drive *drive)
{
	ob_drive_close(drive->inner);
}

int ob_wrap_refresh(struct ob_drive *drive, struct ob_err *err)
{
	return ob_drive_refresh(drive->inner, err);
}

static void inner_done(struct ob_block_request *inner, int rc)
{
	struct ob_wrap_request *part = container_of(inner,
						    struct ob_wrap_request,
						    inner);

	ob_drive_done(part->drive, part->outer, rc);
}

void ob_wrap_pass(struct ob_drive *drive, struct ob_wrap_request *part,
		  struct ob_block_request *outer)
{
	part->drive = drive;
	part->outer = outer;
	part->inner.op = outer->op;
	part->inner.flags = outer->flags;
	part->inner.offset = outer->offset;
	part->inner.length = outer->length;
	part->inner.buf = outer->buf;
	part->inner.done = inner_done;
	ob_drive_submit(drive->inner, &part->inner);
}
