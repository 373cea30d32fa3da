/* SPDX-License-Identifier: BSD-3-Clause */
/* What outlives the process of a drive as such; see record.c. */
#ifndef OB_BLOCK_RECORD_H
#define OB_BLOCK_RECORD_H

#include <outboard/block_backend.h>

/*
 * Looks for the record of a former life.  If there is one: takes the size, and
 * sets or clears OB_DRIVE_INCOMING in *flags as it says.  0 without one, too.
 */
int ob_record_find(struct ob_drive *drive, unsigned *flags,
		   struct ob_err *err);
/* Begins one, as the last thing of opening a drive that has none. */
int ob_record_begin(struct ob_drive *drive, struct ob_err *err);
/* After a failure: forgets what was kept, unless it is a former life's. */
void ob_record_forget_new(struct ob_drive *drive);
/*
 * Writes down what is so now; for a hand-over what is about to be so.  0
 * without a record.
 */
int ob_record_note(struct ob_drive *drive);
int ob_record_note_active(struct ob_drive *drive, bool active);

#endif
