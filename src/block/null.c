// SPDX-License-Identifier: BSD-3-Clause
/* null:SIZE reads as zeros and forgets what is written: the smallest drive. */
#include <string.h>

#include "block/types.h"

static int null_open(struct ob_drive *drive, const char *arg, unsigned flags,
		     struct ob_err *err)
{
	drive->info.block_size = OB_SECTOR;
	drive->info.discard_granularity = OB_SECTOR;
	drive->info.readonly = flags & OB_DRIVE_READONLY;
	drive->info.zeros = true;
	return ob_drive_parse_size(drive, arg, &drive->info.size, err);
}

static void null_close(struct ob_drive *drive)
{
	(void)drive;
}

static void null_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	if (req->op == OB_BLOCK_READ)
		memset(req->buf, 0, req->length);
	ob_drive_done(drive, req, 0);
}

static int null_branch(struct ob_drive *drive, struct ob_drive *branch,
		       uint32_t granule, struct ob_err *err)
{
	(void)drive;
	(void)branch;
	(void)granule;
	(void)err;
	return 0;
}

const struct ob_drive_type ob_drive_null = {
	.size = sizeof(struct ob_drive_type),
	.abi = OB_DRIVE_ABI,
	.name = "null",
	.syntax = "null:SIZE",
	.summary = "reads as zeros, writes vanish",
	.instance_size = sizeof(struct ob_drive),
	.open = null_open,
	.close = null_close,
	.submit = null_submit,
	.branch = null_branch,
};
