/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event loop: one thread, readiness, timers, asynchronous file
 * operations and pollers, on one io_uring or, where the kernel refuses that,
 * on epoll and a small thread pool.  A loop belongs to the thread that created
 * it.  Everything here but ob_loop_post and ob_loop_call is called there;
 * callbacks run from ob_loop_run, never from inside the function that started
 * the operation.
 */
#ifndef OUTBOARD_LOOP_H
#define OUTBOARD_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <outboard/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct ob_loop;

enum ob_loop_engine { OB_LOOP_AUTO, OB_LOOP_URING, OB_LOOP_POOL };

struct ob_loop_params {
	enum ob_loop_engine engine;
	bool busy_poll;		/* never sleep: for dedicated cores */
	uint32_t depth;		/* operations in flight; 0: a default */
};

/* -ENOSYS or -EPERM only when OB_LOOP_URING was asked for and is refused. */
int ob_loop_create(const struct ob_loop_params *params, struct ob_loop **out,
		   struct ob_err *err);
void ob_loop_destroy(struct ob_loop *loop);

/* Runs until ob_loop_stop; returns 0, or -errno if waiting failed. */
int ob_loop_run(struct ob_loop *loop);
/* One turn: everything that is ready now, waiting for it if wait is true. */
int ob_loop_turn(struct ob_loop *loop, bool wait);
void ob_loop_stop(struct ob_loop *loop);
bool ob_loop_is_uring(const struct ob_loop *loop);
/* True when the loop never sleeps (params, or a poller that is busy). */
bool ob_loop_is_busy(const struct ob_loop *loop);

/*
 * True when somebody waits to be heard, as far as that can be seen without a system
 * call: a callback that has more to do may leave it for the next turn.  False while
 * operations are in flight, whose ends are no hurry.
 */
bool ob_loop_has_news(const struct ob_loop *loop);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t ob_loop_now(const struct ob_loop *loop);
/*
 * The same when it was first asked for in this turn: as old as the turn at most,
 * and one look at the clock for all who ask.
 */
uint64_t ob_loop_turn_time(struct ob_loop *loop);

/*
 * Readiness.  Level-triggered; the structure is embedded in its owner and
 * must stay until ob_watch_remove.  An fd has one watch.  events and ready's argument are poll(2)
 * bits; POLLERR and POLLHUP are always reported.  remove and modify are
 * allowed from inside any callback; after remove, ready is not called.
 *
 * With `edge` ready is called when something new happened and sometimes in
 * vain: it must not block, and goes on until there is nothing more.  That
 * saves the loop from asking after each call.
 */
struct ob_watch {
	void (*ready)(struct ob_watch *watch, uint32_t events);
	int fd;
	uint32_t events;
	bool edge;
	void *engine;		/* the loop's */
};

int ob_watch_add(struct ob_loop *loop, struct ob_watch *watch);
int ob_watch_modify(struct ob_loop *loop, struct ob_watch *watch,
		    uint32_t events);
void ob_watch_remove(struct ob_loop *loop, struct ob_watch *watch);

/* One-shot timers.  Zero-initialise, set fire.  Arming again moves it. */
struct ob_timer {
	void (*fire)(struct ob_timer *timer);
	uint64_t due;		/* absolute, ob_loop_now's clock */
	struct ob_timer *next, **pprev;
};

void ob_timer_arm(struct ob_loop *loop, struct ob_timer *timer,
		  uint64_t delay_ns);
void ob_timer_cancel(struct ob_loop *loop, struct ob_timer *timer);

/* Runs once, on the next turn, before anything waits.  Not re-queued twice. */
struct ob_deferred {
	void (*run)(struct ob_deferred *deferred);
	struct ob_deferred *next;
	bool queued;
};

void ob_defer(struct ob_loop *loop, struct ob_deferred *deferred);
void ob_defer_cancel(struct ob_loop *loop, struct ob_deferred *deferred);

/*
 * From another thread.  Zero-initialise, set run, which runs once on the loop's
 * thread, later, in the order in which they were posted; what the poster did
 * before is seen there.  Posting one again that waits to run does nothing, after
 * its run has begun it runs again.  It wakes the loop.  The structure must stay
 * until then; a loop that ends forgets it.
 */
struct ob_post {
	void (*run)(struct ob_post *post);
	struct ob_post *next;	/* from here on the loop's */
	bool queued;
};

/* From any thread. */
void ob_loop_post(struct ob_loop *loop, struct ob_post *post);
/* On the loop's thread, while nobody posts it: it does not run. */
void ob_post_cancel(struct ob_loop *loop, struct ob_post *post);
/*
 * From any thread: runs fn there and waits until it has returned; on the loop's
 * own thread at once.  A thread that waits serves calls, but no posts, that are made
 * to its loops meanwhile.  Whoever calls a loop that does not run waits for ever.
 */
void ob_loop_call(struct ob_loop *loop, void (*fn)(void *arg), void *arg);

/* Is this the loop's thread? */
bool ob_loop_is_here(const struct ob_loop *loop);

/* This turn is long, but gets on: whoever watches the pulse is to see that. */
void ob_loop_progress(struct ob_loop *loop);

/*
 * Asynchronous operations.  Zero-initialise, set done.  op and everything it
 * points to belong to the loop until done runs; res is the system call's
 * result or -errno, short transfers included.  An operation is never lost:
 * when the ring is full it waits in the loop.  ob_op_cancel asks; done still
 * runs exactly once (-ECANCELED, or the result if it was too late).  Operations
 * that are under way together have no order, and transfers among them may reach
 * the kernel as one; what fails then is tried again, one by one.
 */
struct ob_op {
	void (*done)(struct ob_op *op, int res);
	struct ob_op *next;	/* from here on the loop's */
	struct ob_loop *loop;
	struct ob_op *lead;	/* whose request it is part of */
	uint8_t code;
	bool queued, cancelled, alone;
	int fd;
	uint32_t flags;
	const void *addr;
	uint32_t len;
	uint32_t entry;		/* in the ring's journal */
	uint64_t off, off2;
	int res;
};

void ob_op_readv(struct ob_loop *loop, struct ob_op *op, int fd,
		 const struct iovec *iov, unsigned count, off_t offset);
/* rwf: RWF_DSYNC and friends */
void ob_op_writev(struct ob_loop *loop, struct ob_op *op, int fd,
		  const struct iovec *iov, unsigned count, off_t offset,
		  int rwf);
void ob_op_fdatasync(struct ob_loop *loop, struct ob_op *op, int fd);
void ob_op_fallocate(struct ob_loop *loop, struct ob_op *op, int fd, int mode,
		     off_t offset, off_t len);
void ob_op_cancel(struct ob_loop *loop, struct ob_op *op);

/*
 * A command to an NVMe namespace, fd being its character device
 * (linux/nvme_ioctl.h).  res is 0, the status that the device gave (above 0),
 * or -errno; -EINTR is a device that was reset meanwhile.  ob_loop_nvme comes
 * before the first one: -EOPNOTSUPP where the kernel's rings have no such
 * commands (before Linux 5.19), but threads would do.
 */
struct nvme_uring_cmd;
int ob_loop_nvme(struct ob_loop *loop);
void ob_op_nvme(struct ob_loop *loop, struct ob_op *op, int fd,
		const struct nvme_uring_cmd *cmd);

/*
 * Memory from which operations are going to transfer often: the loop may have
 * the kernel hold its pages, which saves it work.  They count as locked
 * memory then, once they have been used some times.  Ranges do not overlap.
 * reclaim before the memory is unmapped, with no operation in flight from it;
 * a range that was not lent is none of its business.  -ENOMEM: use it all the same.
 */
int ob_loop_lend(struct ob_loop *loop, void *base, size_t size);
void ob_loop_reclaim(struct ob_loop *loop, void *base);

/*
 * An eventfd that a peer shares with us.  Signalling never blocks the loop,
 * whatever the peer did to the file's flags or its counter (rule R6); signals
 * raised within one turn are one signal.  Zero-initialise, set fd.  After
 * ob_signal_close the owner may close fd and free the structure at once.
 */
struct ob_bell;
struct ob_signal {
	int fd;
	bool raised;		/* from here on the loop's */
	struct ob_signal *next;
	struct ob_bell *bell;	/* how it is signalled; from the first time on */
};

void ob_signal_raise(struct ob_loop *loop, struct ob_signal *signal);
/* If it has not left yet, it does not. */
void ob_signal_withdraw(struct ob_loop *loop, struct ob_signal *signal);
/* A signal raised just before may be lost.  May be called again. */
void ob_signal_close(struct ob_loop *loop, struct ob_signal *signal);

/*
 * Pollers look for work that wakes nobody (queues in shared memory).  poll
 * returns true when it did something.  Before the loop sleeps it calls sleep:
 * the poller arms its notifications, looks once more, and returns false when
 * there is work after all.  The loop spins for a short while that adapts to
 * the load before it sleeps; a busy poller keeps it from sleeping at all.
 */
struct ob_poller {
	bool (*poll)(struct ob_poller *poller);
	bool (*sleep)(struct ob_poller *poller);
	bool busy;
	struct ob_poller *next, **pprev;
};

void ob_poller_add(struct ob_loop *loop, struct ob_poller *poller);
void ob_poller_remove(struct ob_loop *loop, struct ob_poller *poller);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
