/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a session. */
#ifndef CRASH_SESSION_IMPL_H
#define CRASH_SESSION_IMPL_H

#include "nvme_user.h"
#include "session.h"

#define BLOCK 4096u
#define BATCH 16u
#define PAGE 4096u
#define FAR_PAGES 8u

#define TRY(call) \
	do { \
		int r_ = (call); \
		if (r_) \
			return r_; \
	} while (0)

struct scene {
	struct ob_client *client;
	struct nvme_user *disk;
	struct ob_err err;
	uint8_t buf[1 << 16];
	uint8_t far[FAR_PAGES * PAGE];
};

extern struct session *current;

/* session.c */
void next_op(void);
void record(const char *label, int r, const void *data, size_t len);
/* So many of the same on one queue; what was read is recorded. */
int batch(struct scene *s, const char *label, unsigned queue, uint8_t opcode,
	  uint64_t lba, unsigned count, unsigned turn);

/* session_mig.c: the disk is there, but for arrive. */
int dirty_log(struct scene *s);
int leave_and_stay(struct scene *s, bool pre_copy);
int arrive(struct scene *s);

#endif
