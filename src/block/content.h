/* SPDX-License-Identifier: BSD-3-Clause */
/* What the front (block.c) needs of content.c. */
#ifndef OB_BLOCK_CONTENT_H
#define OB_BLOCK_CONTENT_H

#include "block/types.h"

/* req has ended and may have changed the drive's bytes. */
static inline void ob_content_note(struct ob_drive *drive,
				   const struct ob_block_request *req)
{
	if (drive->content && req->op != OB_BLOCK_READ &&
	    req->op != OB_BLOCK_FLUSH)
		ob_drive_wrote(drive, req->offset, req->length);
}

/* For close: the account and the stage. */
void ob_content_drop(struct ob_drive *drive);

#endif
