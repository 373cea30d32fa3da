/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device: the state (in its memfd), and the runtime that the library builds
 * around it.  Functions are grouped by the file they live in.
 */
#ifndef OB_SERVER_DEVICE_IMPL_H
#define OB_SERVER_DEVICE_IMPL_H

#include <sys/types.h>

#include <outboard/device.h>

#include "base/log.h"
#include "proto/proto.h"
#include "server/arrival.h"
#include "server/core.h"
#include "server/dma_impl.h"
#include "server/irq.h"
#include "server/kept.h"
#include "server/mig.h"
#include "server/pci.h"
#include "state/recorder.h"
#include "state/state_mem.h"

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

struct ob_lanes;
struct ob_operator;
struct ob_session;

#define OB_REFUSALS 8

/* A client that is being refused; dev is NULL while the place is free. */
struct ob_refusal {
	struct ob_device *dev;
	struct ob_watch watch;
	struct ob_timer timer;
	unsigned place;			/* where the keeper has it */
};

struct ob_listener {
	struct ob_watch watch;		/* watch.fd is the listening socket */
	bool watched;
	bool is_kept;			/* a predecessor made it */
	int spare;			/* an fd to refuse with when none is left */
	char *path;			/* NULL: inherited */
	char *address;
	char *name;			/* the keeper's; NULL: we accept */
	dev_t dev;			/* of the socket file, so that only */
	ino_t ino;			/* our own is unlinked */
	struct ob_refusal *refusals;	/* OB_REFUSALS; NULL: there were none */
};

/* The memfd behind a BAR's mappable areas. */
struct ob_bar_memory {
	int fd;
	uint8_t *base;
};

struct ob_device {
	struct ob_state_mem mem;	/* first: steps need one address less */
	const struct ob_device_class *cls;
	struct ob_loop *loop;
	struct ob_options *opts;
	char *id;
	struct ob_log log;

	/* state */
	struct ob_core *core;
	void *plain, *hot;
	struct ob_session_state *ss;	/* the client's share */

	/* what outlives the process; kept.h */
	bool kept;			/* there is a keeper */
	bool counts;			/* ... and it has our state, not an older one */
	bool whole;			/* the open step is all or nothing */
	bool unsettled;			/* names to be dropped after the step */
	bool fused;			/* the next message is not run */
	bool found;			/* a dead process left something */
	bool anew;			/* ... which was refused */
	bool adopting;			/* until the rings of the dead are over */
	bool waiting;			/* ... which takes time */
	bool failed;			/* stands still until it is reset */
	const struct ob_past *past;	/* while it is created */
	struct ob_rehearsal *rehearsal;
	bool practice;			/* a rehearsal of its own state */
	struct ob_old_state *old;
	struct { dev_t dev; ino_t ino; } old_file;	/* what that is in */
	struct ob_wire wire;
	struct ob_recorder rec;
	unsigned nr_dead_lanes;		/* of the one before */
	bool lane_was_open;		/* some of them was in a step */

	/* lanes; lane.h */
	unsigned nr_lanes;
	struct ob_lanes *lanes;		/* NULL: one, this */
	struct ob_loop *lane_loops[OB_LANES_MAX];
	struct ob_device *home;		/* of a handle: the device; else NULL */
	unsigned lane;			/* ... and its number */
	bool judges;			/* messages: are they hot? */

	/* runtime */
	void *runtime;
	uint64_t created;		/* by ob_loop_now */
	bool inited;			/* the class's init succeeded */
	bool bus_master;
	struct ob_pci pci;
	struct ob_config_space cfg;
	struct ob_bar_memory bars[6];
	uint8_t *rom;
	uint64_t rom_size;		/* a power of two, or 0 */
	struct ob_irqs irqs;
	struct ob_dma dma;
	struct ob_dma_queue dma_queue;
	struct ob_mig mig;
	struct ob_operator *operator;	/* NULL: there has been none */
	struct ob_arrival arrival;

	struct ob_listener listener;
	struct ob_session *session;	/* the client, or NULL */

	struct ob_poller poller;
	bool poll_on, poll_busy, poller_added;
	unsigned quiet_turns;		/* poll.c */

	void (*gone)(void *arg);	/* shutdown's */
	void *gone_arg;
	struct ob_timer gone_timer;
};

/* Ends a step, and does what had to wait for its commit. */
static inline void ob_dev_step_end(struct ob_device *dev)
{
	ob_recorder_settle(&dev->rec);
	ob_step_end(&dev->mem);
	if (__builtin_expect(dev->mem.depth, 0) && ob_step_is_open(&dev->mem))
		return;
	dev->whole = false;
	if (dev->unsettled)
		ob_dev_settle(dev);
}

/* For the flight recorder. */
static inline void ob_dev_note(struct ob_device *dev, enum ob_event kind,
			       uint16_t a, uint32_t b, uint64_t c)
{
	if (dev->rec.memory)
		ob_record(&dev->rec, ob_loop_turn_time(dev->loop), kind, a, b,
			  c);
}

void ob_dev_note_birth(struct ob_device *dev);

/* listen.c */
/* for_good: nobody goes on with it, so it leaves nothing behind. */
void ob_listener_close(struct ob_device *dev, bool for_good);
/* The client in that place has been taken, or sent away. */
void ob_listener_forget(struct ob_device *dev, unsigned place);

/* refuse.c */
/* Takes fd: answers its first message with EBUSY, then hangs up. */
void ob_refuse(struct ob_device *dev, unsigned place, int fd);
void ob_refusals_end(struct ob_device *dev, bool for_good);

/* poll.c */
/* Poller on or off as the model, the client and the loop want it. */
void ob_poll_update(struct ob_device *dev);

/* reset.c */
void ob_device_reset(struct ob_device *dev, enum ob_reset kind);
/* COMMAND.BusMaster, off in D3hot; tells the model when that changed. */
void ob_bus_master_update(struct ob_device *dev);

/* region.c */
struct ob_region_access;
/* Both check region, bounds and rights; buf has access->count bytes. */
int ob_region_check(const struct ob_device *dev,
		    const struct ob_region_access *access, bool write);
void ob_region_read(struct ob_device *dev,
		    const struct ob_region_access *access, void *buf);
void ob_region_write(struct ob_device *dev,
		     const struct ob_region_access *access, const void *buf);
uint64_t ob_region_size(const struct ob_device *dev, unsigned region);

/* rom.c */
int ob_rom_load(struct ob_device *dev, const char *path, struct ob_err *err);
void ob_rom_free(struct ob_device *dev);

#endif
