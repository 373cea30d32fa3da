/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's migration: its state, the session of saving or loading that the
 * state implies, and what of it takes time.  Grouped by file.
 */
#ifndef OB_SERVER_MIG_H
#define OB_SERVER_MIG_H

#include <sys/uio.h>

#include <outboard/device.h>

#include "server/mig_state.h"
#include "state/stream.h"

struct ob_session;
struct ob_request;
struct ob_msg;
struct ob_mig_drive;
struct ob_mig_save;
struct ob_mig_load;

/* An answer comes within a second (R8), so all its waits together end before. */
#define OB_MIG_ALL_MS 900u
#define OB_MIG_DRAIN_MAX_MS 900u	/* for what is under way, option drain */
#define OB_MIG_DRAIN_MS "100"
#define OB_MIG_FREE_MS 900u		/* for drives, before END is read */
#define OB_MIG_OLD_LIFE_MS 400u		/* for operations, before a load */
#define OB_MIG_ACQUIRE_MS 500u		/* for the drives' locks */

/*
 * Something that takes time and is tried again and again: 0, an error, or
 * -EINPROGRESS with the time to the next try in wait_ns.
 */
typedef int (*ob_mig_try)(struct ob_device *dev, struct ob_err *err);

struct ob_mig {
	enum ob_mig_state state, target;
	const struct ob_mig_arc *arc;	/* under way, or NULL */
	bool stopping;			/* from the model's stop on, until run */
	bool stopped;			/* nothing is left that ends by itself */
	bool halted;			/* no DMA, no interrupt */
	bool given;			/* END left: others may run it now */
	bool broken;			/* the session died with its process */
	bool half;			/* a name says so until the step is over */

	ob_mig_try held;		/* what is waited for, or NULL, */
	enum ob_mig_party holder;	/* by whom, */
	struct ob_err *err;		/* and why it failed */
	struct ob_timer timer;		/* the next try */
	struct ob_deferred wake;	/* the same, now */
	uint64_t deadline, latest;	/* of this wait, of all; ob_loop_now */
	uint64_t wait_ns;		/* until the next try */

	struct ob_mig_drive *drives;	/* the model's; mig_drives.c */
	unsigned nr_drives;
	size_t read_size;		/* of the read that is held */
	struct ob_mig_save *save;	/* the session, or NULL */
	struct ob_mig_load *load;
};

/* mig.c */
int ob_mig_init(struct ob_device *dev, struct ob_err *err);
void ob_mig_finish(struct ob_device *dev);
/*
 * Calls what, and goes on calling it if that is -EINPROGRESS.  Then the end of it
 * is the answer to the client's request, which is held, or ob_operator_moved.
 * err stays until then.
 */
int ob_mig_hold(struct ob_device *dev, enum ob_mig_party holder,
		ob_mig_try what, uint64_t patience_ms, struct ob_err *err);
/* Something of what is waited for has come: the next try is now. */
void ob_mig_wake(struct ob_device *dev);
/* Has the patience of the try in hand ended?  If not, it waits for ms. */
bool ob_mig_is_late(struct ob_device *dev, unsigned ms);
/* To that state; held as above.  -EBUSY: somebody else drives it. */
int ob_mig_request(struct ob_device *dev, enum ob_mig_party who,
		   uint32_t state, struct ob_err *err);
enum ob_mig_party ob_mig_owner(const struct ob_device *dev);
/* Is it anybody else's?  0 or -EBUSY. */
int ob_mig_claim(const struct ob_device *dev, enum ob_mig_party who,
		 struct ob_err *err);
/* Does the device stand still in that state? */
bool ob_mig_is_still(enum ob_mig_state state);
/* The device runs whatever it did before; sessions end (DEVICE_RESET). */
void ob_mig_reset(struct ob_device *dev);
/*
 * What was being saved or loaded has ended before its time, and the state stays;
 * but from loading it goes back to STOP, with the state it had.
 */
void ob_mig_give_up(struct ob_device *dev);
/*
 * The client has gone: forget what it waited for, then go on; from a reset if
 * the whole of the device was given away.
 */
void ob_mig_interrupt(struct ob_device *dev);
void ob_mig_disconnected(struct ob_device *dev);
void ob_mig_set_given(struct ob_device *dev, bool given);
/* As dev->ss says of a dead process; the device stands still. */
void ob_mig_adopt(struct ob_device *dev);
/* One reason to stand still has gone: it runs if there is no other. */
void ob_mig_still_over(struct ob_device *dev);
/* Of our own, like a class's in_flight. */
unsigned ob_mig_in_flight(const struct ob_device *dev);

/* mig_drives.c: hand-over. */
int ob_mig_drives_init(struct ob_device *dev, struct ob_err *err);
void ob_mig_drives_finish(struct ob_device *dev);
struct ob_drive *ob_mig_drive(const struct ob_device *dev, unsigned i);
/* Begins to flush them; nothing waits for it yet. */
void ob_mig_drives_flush(struct ob_device *dev);
/* They are used again: what was flushed counts no more. */
void ob_mig_drives_used(struct ob_device *dev);
/* 0: all flushed and released.  -EINPROGRESS, or an error with its drive. */
int ob_mig_drives_release(struct ob_device *dev, struct ob_err *err);
/* Says which one is not free. */
int ob_mig_drives_late(struct ob_device *dev, struct ob_err *err);
unsigned ob_mig_drives_in_flight(const struct ob_device *dev);
/* False: one is handed over, or was never taken. */
bool ob_mig_drives_are_ours(const struct ob_device *dev);

/* mig_save.c */
/* The parts of its state, where they are; how many. */
unsigned ob_mig_parts(const struct ob_device *dev,
		      struct ob_part parts[OB_PARTS_MAX]);
int ob_mig_save_begin(struct ob_device *dev, struct ob_err *err);
void ob_mig_save_stopped(struct ob_device *dev);
void ob_mig_save_end(struct ob_device *dev);
uint64_t ob_mig_save_size(struct ob_device *dev);
void ob_mig_precopy_info(struct ob_device *dev, uint64_t *initial,
			 uint64_t *dirty);
/*
 * For the operator: what is next in the stream, up to room bytes as *count
 * pieces, and then how many of them were used; the rest is kept and comes again.
 * 0: nothing now, or END is next, which free drives allow; wants_end tells.
 */
size_t ob_mig_save_pull(struct ob_device *dev, size_t room, struct iovec **iov,
			unsigned *count);
int ob_mig_save_pulled(struct ob_device *dev, size_t used);
bool ob_mig_save_wants_end(const struct ob_device *dev);
/* 0, -EINPROGRESS: not yet, or an error with its drive. */
int ob_mig_save_allow_end(struct ob_device *dev, struct ob_err *err);
bool ob_mig_save_is_done(const struct ob_device *dev);
int ob_do_mig_read(struct ob_session *s, const struct ob_request *req,
		   struct ob_msg *msg);

/* mig_load.c */
int ob_mig_load_begin(struct ob_device *dev, struct ob_err *err);
/* Judges it, and makes it the device's if it is good. */
int ob_mig_load_commit(struct ob_device *dev, struct ob_err *err);
/* A successor, within its first step: has its predecessor died in the middle of that? */
int ob_mig_adopt_half(struct ob_device *dev, struct ob_err *err);
/* What followed from it is in the state that is the truth. */
void ob_mig_forget_half(struct ob_device *dev);
/* After a step: has it been in that? */
void ob_mig_half_over(struct ob_device *dev);
void ob_mig_load_end(struct ob_device *dev);
int ob_mig_load_push(struct ob_device *dev, const void *bytes, size_t len,
		     struct ob_err *err);
int ob_do_mig_write(struct ob_session *s, const struct ob_request *req,
		    struct ob_msg *msg);

/*
 * Would this device work with that?  Of a stream or of a dead process.  The
 * parts are fresh copies.
 */
struct ob_core;
int ob_mig_judge(struct ob_device *dev, const struct ob_core *core,
		 const void *plain, const void *hot, struct ob_err *err);
/* A part that was judged takes the place of ours; table NULL: there is none. */
void ob_mig_commit_part(void *to, const void *from,
			const struct ob_table *table);

/* mig_core.c: the library's own part of what was loaded. */
int ob_mig_core_check(const struct ob_device *dev, const struct ob_core *core,
		      struct ob_err *err);
/*
 * After a reset: all of it but what is the connection's, of which intx_masked
 * says how it was.  What follows from configuration space is brought up to date.
 */
void ob_mig_core_commit(struct ob_device *dev, const struct ob_core *core,
			uint8_t intx_masked);

/* mig_bar.c: the memory behind BARs, as content. */
struct ob_content_run;
struct ob_mig_bar {
	const struct ob_bar *bar;
	int fd;				/* a memfd: the device's, or a stage */
	uint8_t *base;			/* it, mapped */
	uint64_t at;			/* saving: what comes next */
};
/* A stage; finish accepts a failed init, and zeroed structures with base NULL. */
int ob_mig_bar_init(struct ob_mig_bar *stage, const struct ob_bar *bar);
void ob_mig_bar_finish(struct ob_mig_bar *stage);
bool ob_mig_bar_take(void *arg, uint64_t max, struct ob_content_run *run);
void ob_mig_bar_left(void *arg, uint64_t *initial, uint64_t *dirty);
/* Within the bounds of an area?  base NULL: nothing is written. */
int ob_mig_bar_put(void *arg, uint64_t offset, const void *data,
		   uint64_t length);
void ob_mig_bar_commit(const struct ob_mig_bar *stage,
		       const struct ob_mig_bar *to);

#endif
