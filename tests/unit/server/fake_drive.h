/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives for the server's tests, in the place of src/block: they do what they
 * are told to, or fail where they are told to.
 */
#ifndef OB_TESTS_SERVER_FAKE_DRIVE_H
#define OB_TESTS_SERVER_FAKE_DRIVE_H

#include <outboard/block.h>

#define FAKE_SIZE 65536u
#define FAKE_BLOCK 4096u
#define FAKE_BLOCKS (FAKE_SIZE / FAKE_BLOCK)

struct ob_drive {
	struct ob_drive_info info;
	struct ob_loop *loop;
	bool content;		/* travels */
	bool active, tracked, staged;
	uint8_t bytes[FAKE_SIZE], stage[FAKE_SIZE];
	bool dirty[FAKE_BLOCKS];
	/* What fails, with which error; 0: nothing. */
	int fail_track, fail_release, fail_acquire, fail_stage, fail_flush;
	unsigned refusals;	/* acquire fails so many times */
	unsigned searches;	/* ... and says who has it, so many times */
	bool hang;		/* requests stay until fake_let_go */
	unsigned others;	/* of the model's, under way */
	unsigned flushes, releases, acquires;
	struct ob_block_request *pending;
	struct ob_deferred soon;
};

void fake_drive_init(struct ob_drive *drive, bool content);
void fake_write(struct ob_drive *drive, unsigned block, uint8_t value);
void fake_let_go(struct ob_drive *drive);

#endif
