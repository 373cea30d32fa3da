/* SPDX-License-Identifier: BSD-3-Clause */
/* The drive types that are built in, one file each; and what they share. */
#ifndef OB_BLOCK_TYPES_H
#define OB_BLOCK_TYPES_H

#include <outboard/block_backend.h>

extern const struct ob_drive_type ob_drive_file;
extern const struct ob_drive_type ob_drive_mem;
extern const struct ob_drive_type ob_drive_null;
extern const struct ob_drive_type ob_drive_delay;
extern const struct ob_drive_type ob_drive_fault;

/* Every size of a drive is a multiple of this, as disks have it. */
#define OB_SECTOR 512u

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/* The request whose private part this is. */
#define OB_REQUEST_OF(part) \
	((struct ob_block_request *)((char *)(part) - \
				     offsetof(struct ob_block_request, priv)))

/* The drive that has the blocks, below all wrappers. */
static inline struct ob_drive *ob_drive_bottom(struct ob_drive *drive)
{
	while (drive->inner)
		drive = drive->inner;
	return drive;
}

/* -EBUSY with a message when a request is under way, at any level. */
int ob_drive_check_idle(const struct ob_drive *drive, struct ob_err *err);

/* The argument of mem: and null:.  Messages name the drive. */
int ob_drive_parse_size(const struct ob_drive *drive, const char *text,
			uint64_t *size, struct ob_err *err);

#endif
