/* SPDX-License-Identifier: BSD-3-Clause */
/* What the front (block.c) needs of content.c. */
#ifndef OB_BLOCK_CONTENT_H
#define OB_BLOCK_CONTENT_H

#include "block/types.h"

/* drive changes, or may have changed, the bytes of req; cheap when untracked. */
void ob_content_note(struct ob_drive *drive,
		     const struct ob_block_request *req);
/* For close: the account and the stage. */
void ob_content_drop(struct ob_drive *drive);

#endif
