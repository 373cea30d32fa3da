/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a session. */
#ifndef CRASH_SESSION_IMPL_H
#define CRASH_SESSION_IMPL_H

#include "nvme_user.h"
#include "session.h"

#define BLOCK SESSION_BLOCK
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
	const char *folder;
	struct ob_client *client;
	struct nvme_user *disk;
	struct ob_err err;
	uint8_t buf[1 << 16];
	uint8_t far[FAR_PAGES * PAGE];
	/* Of an arrival: the guest's memory, and the number of the device. */
	uint8_t *memory;
	uint32_t loads;
};

extern struct session *current;

/* session.c */
void next_op(void);
void record(const char *label, int r, const void *data, size_t len);
/* So many of the same on one queue; what was read is recorded. */
int batch(struct scene *s, const char *label, unsigned queue, uint8_t opcode,
	  uint64_t lba, unsigned count, unsigned turn);

int connect_to(struct scene *s, const char *name, bool twin);
int bring_up(struct scene *s, bool shadow);
/* A whole session, which is all_of, from its begin to the telling of its end. */
int play(struct session *session, const char *folder,
	 int (*all_of)(struct scene *s));

/* session_mig.c: the disk is there, but for arrive. */
int dirty_log(struct scene *s);
int set_state(struct scene *s, enum ob_client_mig_state state);
int leave_and_stay(struct scene *s, bool pre_copy);
int arrive(struct scene *s);
/* Around the step in which what came becomes the device's state. */
void begin_load(struct scene *s);
void end_load(void);
/* True: the device has all of it, and has taken it over. */
int load(struct scene *s, bool *loaded);
/* Whoever dies now, what was taken over is there. */
int is_there(struct scene *s);

#endif
