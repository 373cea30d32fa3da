/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the file drive and the loop (the linker's --wrap): counts what is
 * asked of the kernel, and makes it behave as some kernels do.
 */
#ifndef TEST_BLOCK_SEAM_H
#define TEST_BLOCK_SEAM_H

#include <stdbool.h>
#include <stdint.h>

struct seam {
	/* set by the test */
	uint32_t max_transfer;	/* longer ones come back short; 0: no limit */
	int fail_modes;		/* fallocate with one of these: fail_res */
	int fail_res;
	unsigned fail_times;	/* 0: always */
	uint32_t dio_align;	/* of direct I/O, instead of the real one */
	bool no_dio_info;	/* the kernel does not tell it */
	int sync_res;		/* of fdatasync, unless 0 */
	/* counted */
	unsigned reads, writes, dsync_writes, syncs, fallocates;
};

extern struct seam seam;

#endif
