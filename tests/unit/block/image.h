/* SPDX-License-Identifier: BSD-3-Clause */
/* A rig with a file drive on an image of its own. */
#ifndef TEST_BLOCK_IMAGE_H
#define TEST_BLOCK_IMAGE_H

#include "block/file.h"
#include "rig.h"
#include "seam.h"

#define SIZE (4 * MIB)

/* How the drive gets to its data, and in what units the guest asks. */
struct way {
	bool buffered;
	uint32_t block;		/* the medium's block, when direct */
	uint32_t unit;
};

struct file_drive *file_of(struct rig *rig);
/* With a fresh seam; and with an image of SIZE zeros, opened. */
void start(struct rig *rig, void **state);
void start_with_image(struct rig *rig, void **state);
/* The image as the kernel has it, not through the drive. */
void read_image(struct rig *rig, void *buf);
/* Changes how an open drive works; what it has done before stays. */
void pretend(struct rig *rig, const struct way *way);

#endif
