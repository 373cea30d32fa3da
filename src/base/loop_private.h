/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop's own files only.  The core (loop.c) decides what runs and when to
 * sleep; an engine turns watches and operations into system calls.
 */
#ifndef OB_BASE_LOOP_PRIVATE_H
#define OB_BASE_LOOP_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>

#include <outboard/loop.h>

#include <base/keep.h>
#include <base/pulse.h>
#include <base/ring.h>
#include <base/signals.h>
#include <base/sure.h>

enum op_code { OP_READV, OP_WRITEV, OP_FDATASYNC, OP_FALLOCATE, OP_NVME };

struct op_list {
	struct ob_op *head, **tail;
};

/*
 * A watch is known to the kernel by slot number and generation, never by
 * address: an event of a watch that has been removed, or of an earlier user
 * of the slot, finds another generation and is dropped.
 */
struct watch_slot {
	struct ob_watch *watch;		/* NULL: free */
	uint32_t generation;
	uint32_t next_free;
	bool armed;			/* the kernel has it */
	bool wanted;			/* ... or could not take it yet */
};

struct engine {
	int (*open)(struct ob_loop *loop, struct ob_err *err);
	void (*close)(struct ob_loop *loop);
	/* Dispatches what is ready; true if there was anything. */
	bool (*reap)(struct ob_loop *loop);
	/* Optional.  Would reap find something, or ask the kernel for it? */
	bool (*has_news)(const struct ob_loop *loop);
	/* Hands queued requests to the kernel.  all: also if there is nothing but
	 * what may go along with others. */
	void (*flush)(struct ob_loop *loop, bool all);
	/* Flushes and sleeps; timeout_ns < 0 is for ever.  0, -errno. */
	int (*wait)(struct ob_loop *loop, int64_t timeout_ns);
	/* -EAGAIN: no room, to be tried again. */
	int (*watch_arm)(struct ob_loop *loop, uint32_t index);
	void (*watch_disarm)(struct ob_loop *loop, uint32_t index);
	int (*op_start)(struct ob_loop *loop, struct ob_op *op);
	void (*op_cancel)(struct ob_loop *loop, struct ob_op *op);
	void (*cancel_all)(struct ob_loop *loop);
	/* Optional.  Gets ready for OP_NVME; 0, -errno. */
	int (*nvme_open)(struct ob_loop *loop);
	/* Optional.  Prepares a message to a bell's ring; -EAGAIN: no room. */
	bool (*can_ring)(const struct ob_loop *loop);
	int (*ring)(struct ob_loop *loop, int bell);
	/* Optional.  Prepares a sure call that goes along; -EAGAIN: no room. */
	int (*recv)(struct ob_loop *loop, uint64_t tag, int fd, void *buf,
		    size_t len);
	/* Hands it over; its result goes to ob_sure_came. */
	void (*recv_now)(struct ob_loop *loop, uint64_t tag);
	/* Optional.  A table for memory whose pages the kernel holds, and an entry
	 * of it; NULL gives it up.  0, -errno. */
	int (*hold_table)(struct ob_loop *loop, unsigned slots);
	int (*hold)(struct ob_loop *loop, unsigned slot, void *addr,
		    size_t len);
};

struct spin {
	uint64_t window;		/* ns, 0: do not spin */
	uint32_t holdoff;		/* short sleeps to ignore */
	uint32_t penalty;		/* the next holdoff */
};

/* What a wait is for: whoever gives us work, or a drive. */
enum { WAIT_PEER, WAIT_DRIVE, WAITS };

#define OB_LENT_SLOTS	512

/* loop_lent.c */
struct ob_lent;
struct lending {
	struct ob_lent *ranges;		/* by address */
	unsigned count, last;
	bool has_table;
	unsigned nr_free;
	uint16_t free[OB_LENT_SLOTS];	/* entries of the table, a stack */
};

#define OB_MERGE_PIECES	32
#define OB_MERGE_ARRAYS	8

/* loop_merge.c: the newest entry of a submission queue, which may grow. */
struct merge_array {
	uint32_t entry;			/* whose it is, or was */
	struct iovec pieces[OB_MERGE_PIECES];
};

struct merge {
	struct ob_op *lead, *last;	/* lead is NULL: it does not grow */
	uint32_t entry, bytes;
	unsigned count;			/* of pieces in the array; 0: there is none */
	struct merge_array *array;
	struct merge_array arrays[OB_MERGE_ARRAYS];
};

#define OB_AIO_BATCH	32

struct ob_aio {
	bool begun;
	unsigned long context;		/* 0: the kernel has none */
	unsigned completions;		/* in it */
	int always_writable;
	unsigned count;			/* of this batch */
	int fds[OB_AIO_BATCH];
};

struct ob_loop {
	const struct engine *engine;
	void *io;			/* the engine's */
	struct ob_rings given;		/* to run on; -1 once taken */
	struct ob_sure *sure;
	struct ob_keep *keep;
	struct ob_loop_pulse pulse;
	uint64_t turn_time;		/* 0: nobody has asked in this turn */
	bool stop, busy_poll;
	bool closing;			/* new operations are cancelled */

	struct ob_deferred *deferred, **deferred_tail;
	struct ob_deferred *running;	/* this turn's */
	struct ob_timer *timers;	/* by due time */

	struct ob_poller *pollers;
	struct ob_poller *poller_next;	/* where a walk goes on */
	struct spin spins[WAITS];

	struct watch_slot *slots;
	uint32_t slot_count, free_slot;
	uint32_t wanted;		/* slots to arm later */

	uint32_t depth, in_flight;
	uint32_t unanswered;		/* have ended, and none has begun since */
	struct op_list waiting;		/* for room */
	struct op_list finished;	/* done to be called */

	pthread_t thread;		/* that made it, and runs it */
	struct ob_watch wake;		/* somebody has posted */
	struct ob_post *posted;		/* by any thread, the newest first */
	struct ob_post *posts;		/* taken from there, to be run */
	struct ob_loop *older;		/* of the same thread */
	sem_t *called;			/* where that waits in a call, */
	bool waits;			/* ... and does, perhaps */

	struct lending lending;
	struct ob_signal *raised;	/* to be sent with this turn's end */
	struct ob_aio aio;
};

extern const struct engine ob_engine_uring, ob_engine_pool;

/* loop_watch.c */
uint64_t ob_watch_key(const struct ob_loop *loop, uint32_t index);
/* armed: the kernel will report more without being asked. */
void ob_watch_dispatch(struct ob_loop *loop, uint64_t key, uint32_t events,
		       bool armed);
/* Arms what found no room earlier. */
void ob_watch_retry(struct ob_loop *loop);

/* loop.c: the engine's wait, with the pulse. */
int ob_loop_wait(struct ob_loop *loop, int64_t timeout_ns);

/* sure.c.  Takes the ring unless it fails; without one calls are plain. */
int ob_sure_create(struct ob_loop *loop, struct ob_rings *rings,
		   struct ob_sure **out);
void ob_sure_destroy(struct ob_sure *sure);
#define OB_SURE_FLAGS	(MSG_DONTWAIT | MSG_NOSIGNAL)
/* The user_data of one that goes along: even, and no address. */
#define OB_ALONG	(UINT64_C(1) << 63)
static inline uint64_t ob_along_data(uint64_t tag)
{
	return OB_ALONG | tag << 1;
}
/* How many go along whose results have not come. */
unsigned ob_sure_along(const struct ob_sure *sure);
void ob_sure_came(struct ob_sure *sure, uint64_t data, int res);

/* loop_op.c */
void ob_op_list_init(struct op_list *list);
void ob_op_list_add(struct op_list *list, struct ob_op *op);
struct ob_op *ob_op_list_pop(struct op_list *list);
bool ob_op_list_remove(struct op_list *list, struct ob_op *op);
void ob_op_submit(struct ob_loop *loop, struct ob_op *op);
/* One that the kernel is done with, and which is not: begins once more. */
void ob_op_again(struct ob_loop *loop, struct ob_op *op);
/* done runs later in this turn, or in the next. */
void ob_op_finish(struct ob_loop *loop, struct ob_op *op, int res);
/* What the engine calls: accounts, then runs done. */
void ob_op_complete(struct ob_op *op, int res);
/* Starts what waited for room; runs done of what finished without it. */
bool ob_op_advance(struct ob_loop *loop);
/* Cancels all, returns when done has run for each. */
void ob_op_drain(struct ob_loop *loop);

/* loop_merge.c */
void ob_merge_init(struct merge *merge);
/* op has become the newest entry. */
void ob_merge_begin(struct merge *merge, struct ob_op *op, uint32_t entry);
/* True: it goes with the newest entry, whose pieces are in the array now.  The
 * kernel has taken what is before head; tail is the entry that comes next. */
bool ob_merge_join(struct merge *merge, struct ob_op *op, uint32_t head,
		   uint32_t tail);
bool ob_merge_is_full(const struct merge *merge);
/* The end of a request of several: of each one, or it begins again, alone. */
void ob_merge_over(struct ob_loop *loop, struct ob_op *lead, int res);

/* loop_wide.c: a ring for commands.  Closing and cancelling accept NULL. */
struct ob_wide;
/* -EOPNOTSUPP: the kernel has no such commands. */
int ob_wide_open(struct ob_loop *loop, struct ob_wide **out);
void ob_wide_close(struct ob_loop *loop, struct ob_wide *wide);
/* -EAGAIN: no room. */
int ob_wide_start(struct ob_wide *wide, struct ob_op *op);
void ob_wide_cancel(struct ob_wide *wide, struct ob_op *op);
void ob_wide_cancel_all(struct ob_wide *wide);
/* 1: the kernel takes not all now, come again soon; -errno: and never will. */
int ob_wide_flush(struct ob_wide *wide);
bool ob_wide_reap(struct ob_wide *wide);

/* loop_lent.c */
/* Where the kernel has the pages of this transfer; -1: nowhere. */
int ob_lent_slot(struct ob_loop *loop, const struct iovec *iov);
void ob_lending_finish(struct ob_loop *loop);

/* loop_timer.c */
bool ob_deferred_run(struct ob_loop *loop);
bool ob_timers_fire(struct ob_loop *loop);
/* Nanoseconds to the next one, -1 for none. */
int64_t ob_timers_left(const struct ob_loop *loop);

/* loop_post.c */
int ob_posts_open(struct ob_loop *loop, struct ob_err *err);
/* What has not run does not. */
void ob_posts_close(struct ob_loop *loop);

/* loop_spin.c */
void ob_spin_hit(struct spin *spin);
void ob_spin_miss(struct spin *spin);
/* idle_ns: from the moment there was nothing to do to the waking, or to a
 * poller's word that there is something to do after all. */
void ob_spin_slept(struct spin *spin, uint64_t idle_ns);

/* loop_signal.c */
void ob_signals_close(struct ob_loop *loop);

/* loop_bell.c: a ring that signals an eventfd, which may be closed meanwhile. */
struct ob_bell;
/* -EBADF: fd is no eventfd. */
int ob_bell_open(int fd, struct ob_bell **out);
void ob_bell_close(struct ob_bell *bell);
/* The ring to which the engine is to send; ready for one more message. */
int ob_bell_ready(struct ob_bell *bell);

/* loop_aio.c: in batches, the last of which ob_aio_send sends. */
void ob_aio_signal(struct ob_loop *loop, int fd);
void ob_aio_send(struct ob_loop *loop);
void ob_aio_end(struct ob_loop *loop);

#endif
