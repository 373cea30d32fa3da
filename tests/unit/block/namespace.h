/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe namespace that is a file: the linker's --wrap puts it between the file
 * drive and the kernel.  It answers what a device would be asked, and carries out
 * commands after it has checked them.
 */
#ifndef TEST_BLOCK_NAMESPACE_H
#define TEST_BLOCK_NAMESPACE_H

#include <linux/nvme_ioctl.h>
#include <stdbool.h>
#include <stdint.h>

enum { CMD_FLUSH = 0, CMD_WRITE = 1, CMD_READ = 2, CMD_ZEROES = 8, CMD_DSM = 9 };

struct namespace {
	bool is_absent;		/* files are files, and devices devices */

	/* what the device says */
	uint64_t blocks;	/* 0: as the file is long */
	uint8_t shift, formats, format, protection, deallocate;
	uint16_t metadata;
	uint8_t mdts, oncs, vwc, wzsl;
	uint32_t dmrsl;
	int set;		/* its command set; 0: blocks */
	int number;		/* -errno: the ioctl fails */
	int may_read;		/* -errno: it may not be */
	int identify[7];	/* status or -errno, by CNS; of 0 and 1 */
	bool is_mad;		/* random bytes instead of all that */

	/* what becomes of commands */
	int status[16];		/* by opcode: a status, or -errno */
	unsigned times[16];	/* so often; 0: always */
	bool is_holding;	/* until namespace_release */

	/* its block device: NULL: none; a file; or why that cannot be opened */
	const char *node;
	int node_errno;

	/* what came */
	unsigned asked;		/* Identify, and its number */
	unsigned count[16];
	uint64_t most[16];	/* bytes */
	struct nvme_uring_cmd last;
	unsigned fua, deac;
};

extern struct namespace namespace;

/* A good one of blocks of that size. */
void namespace_reset(unsigned shift);
/* What was held is carried out. */
void namespace_release(void);

#endif
