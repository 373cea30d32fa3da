/* SPDX-License-Identifier: BSD-3-Clause */
/* mem: what its two parts share: the drive, and its content that travels. */
#ifndef OB_BLOCK_MEM_H
#define OB_BLOCK_MEM_H

#include "block/types.h"

struct mem_drive {
	struct ob_drive drive;
	int fd;
	int stage;			/* fresh content; -1: none */
	uint8_t *bytes;
	struct mem_request *punching;	/* holes under way */
};

struct mem_request {
	struct ob_op op;
	struct mem_drive *mem;
	struct mem_request *next, **link;
};

/* mem_content.c */
extern const struct ob_drive_content mem_content;
/* Maps fd where the content is; false with errno, and nothing may be mapped. */
bool mem_map_over(struct mem_drive *mem, int fd);

#endif
