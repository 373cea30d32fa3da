/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VMM around scripted devices: its guest, its memory, its clock, and what
 * must hold when it has moved and when it has stayed.
 */
#ifndef TEST_MIG_VMM_H
#define TEST_MIG_VMM_H

#include <outboard/migrate.h>

#include "mig_peer.h"

#define DEVICES 2
#define RAM_PAGES 512u
#define RAM_BASE 0x40000000u

extern struct mig_peer from[DEVICES], to[DEVICES];
extern unsigned count;			/* of devices that take part */
extern struct ob_migrate_params params;
extern struct ob_migrate_result result;
extern struct ob_err err;

struct mig_vmm {
	bool runs, moved;
	unsigned copies[RAM_PAGES], late_copies[RAM_PAGES];
	int fail_step, steps;		/* the step to end at, by number */
	uint64_t now, slept;
	uint64_t ns_per_call;
	uint64_t cpu_dirty;		/* pages, each time */
	bool stop_fails, start_fails, restore_fails, copy_fails;
	unsigned progress;
};
extern struct mig_vmm vmm;
extern const struct ob_migrate_ops vmm_ops;

/* A device with everything. */
void set(struct mig_peer *m, const char *name);
/* Two of them on each side, a guest that runs; tests change that. */
void prepare(unsigned devices);
/* Servers and clients of one side; count of each. */
void start_side(struct mig_peer *side, struct ob_client **list);
void end_side(struct mig_peer *side);
int migrate(void);

void moved(int r);
/* As if nothing had been: the guest runs here, and nothing runs there. */
void stayed(int r);
/* Each line comes behind the one before it; NULL ends them. */
void in_order(const char *const *lines);

#endif
