// SPDX-License-Identifier: BSD-3-Clause
/*
 * The rings of a dead worker.
 *
 * Its requests are in one of three places.  Submissions that the kernel had not
 * consumed are thrown away, before anything is submitted here, since they
 * point to memory that would now be ours.  Completions that nobody took are
 * in the queue.  The rest is in the kernel, which brings it to its end whoever
 * waits, with the pages that it has pinned.
 *
 * Every step is written down in the dead worker's own journal before it shows
 * in the ring, in the way in which the worker itself would have done it, so
 * that a successor of ours may begin anew at any instant.
 *
 * The journal and the ring's memory were writable by a process that may have
 * died of a wild store.  Nothing of them is used as an address, and counts
 * are bounded.
 */
#include <liburing.h>

#include <base/loop_private.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CANCEL_TAG	0u		/* nobody's, as in the loop */
#define LOOK_AGAIN_NS	UINT64_C(20000000)
#define ROUNDS		1000		/* of a queue that flows over */

struct ob_old_rings {
	struct ob_loop *loop;
	void (*over)(void *arg);
	void *arg;

	int fd;				/* of the loop's ring; -1: none */
	struct io_uring ring, sure;
	bool has_ring, has_sure;
	struct ob_ring_journal *journal;
	unsigned nr_entries;		/* those after are free */
	unsigned left;
	bool is_cancelled, is_over;

	struct ob_watch watch;
	struct ob_timer again;
	struct ob_deferred soon;
};

static bool is_consumed(const struct ob_old_rings *old,
			const struct ob_ring_op *entry)
{
	return (int32_t)(entry->sq - *old->ring.sq.khead) < 0;
}

static void drop(struct ob_ring_op *entry)
{
	__atomic_store_n(&entry->op, 0, __ATOMIC_RELEASE);
}

/*
 * Pages of the journal that were never written are not looked at: that would
 * make them.
 */
static unsigned written_entries(int fd)
{
	const off_t head = offsetof(struct ob_ring_journal, ops);
	off_t data, end = 0;

	while ((data = lseek(fd, end, SEEK_DATA)) >= 0)
		end = lseek(fd, data, SEEK_HOLE);
	if (end <= head)
		return 0;
	end = (end - head - 1) / (off_t)sizeof(struct ob_ring_op) + 1;
	return end < OB_RING_OPS ? (unsigned)end : OB_RING_OPS;
}

static void count_entries(struct ob_old_rings *old)
{
	unsigned n = old->nr_entries;

	while (n && !old->journal->ops[n - 1].op)
		n--;
	old->nr_entries = n;
}

static void count_left(struct ob_old_rings *old)
{
	old->left = 0;
	for (unsigned i = 0; i < old->nr_entries; i++)
		old->left += !!old->journal->ops[i].op;
}

static void throw_away(struct ob_old_rings *old)
{
	struct ob_ring_op *ops = old->journal->ops;

	__atomic_store_n(old->ring.sq.ktail, *old->ring.sq.khead,
			 __ATOMIC_RELEASE);
	for (unsigned i = 0; i < old->nr_entries; i++)
		if (ops[i].op && !is_consumed(old, &ops[i]))
			drop(&ops[i]);
}

static void settle(struct ob_old_rings *old, uint64_t op)
{
	struct ob_ring_op *ops = old->journal->ops;

	for (unsigned i = 0; op && i < old->nr_entries; i++)
		if (ops[i].op == op) {
			drop(&ops[i]);
			return;
		}
}

/* Takes what is in the queue; false if it was empty. */
static bool reap_queue(struct ob_old_rings *old)
{
	const struct io_uring_cq *cq = &old->ring.cq;
	unsigned tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);
	unsigned head = *cq->khead, count = tail - head;

	if (count > cq->ring_entries)		/* nonsense: look at all */
		head = tail - cq->ring_entries;
	for (unsigned at = head; at != tail; at++)
		settle(old, cq->cqes[at & (cq->ring_entries - 1)].user_data);
	__atomic_store_n(cq->khead, tail, __ATOMIC_RELEASE);
	return count;
}

static int enter(const struct ob_old_rings *old, unsigned to_submit)
{
	int r = (int)syscall(SYS_io_uring_enter, old->fd, to_submit, 0,
			     IORING_ENTER_GETEVENTS, NULL, 0);

	return r < 0 ? -errno : r;
}

/* The kernel holds back what found no room, until it is asked. */
static void reap(struct ob_old_rings *old)
{
	bool asked = false;

	for (int i = 0; i < ROUNDS; i++) {
		bool any = reap_queue(old);
		unsigned flags = __atomic_load_n(old->ring.sq.kflags,
						 __ATOMIC_RELAXED);

		/* A flag for a task that is dead stays: once is enough. */
		if (!any && asked)
			break;
		asked = flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
		if (asked)
			enter(old, 0);
		else if (!any)
			break;
	}
	count_left(old);
}

/*
 * Every entry of the queue says the same, so that whatever the kernel takes,
 * should the head be wrong, is ours.
 */
static void prepare_cancel(struct ob_old_rings *old)
{
	const struct io_uring_sq *sq = &old->ring.sq;

	for (unsigned i = 0; i < sq->ring_entries; i++) {
		io_uring_prep_cancel64(&sq->sqes[i], 0,
				       IORING_ASYNC_CANCEL_ANY |
				       IORING_ASYNC_CANCEL_ALL);
		io_uring_sqe_set_data64(&sq->sqes[i], CANCEL_TAG);
	}
	__atomic_store_n(sq->ktail, *sq->khead + 1, __ATOMIC_RELEASE);
}

/* Tried again later if the kernel has no memory.  One that does not know how
 * (before 5.19) says so in the completion: all ends with the ring then. */
static void cancel(struct ob_old_rings *old)
{
	if (old->is_cancelled)
		return;
	prepare_cancel(old);
	old->is_cancelled = enter(old, 1) == 1;
	if (!old->is_cancelled)
		__atomic_store_n(old->ring.sq.ktail, *old->ring.sq.khead,
				 __ATOMIC_RELEASE);
}

static void stop_looking(struct ob_old_rings *old)
{
	ob_watch_remove(old->loop, &old->watch);
	ob_timer_cancel(old->loop, &old->again);
	ob_defer_cancel(old->loop, &old->soon);
}

/* May be gone when this returns. */
static void look(struct ob_old_rings *old)
{
	if (old->has_ring) {
		cancel(old);
		reap(old);
	}
	if (old->left || (old->has_ring && !old->is_cancelled)) {
		ob_timer_arm(old->loop, &old->again, LOOK_AGAIN_NS);
		return;
	}
	stop_looking(old);
	old->is_over = true;
	old->over(old->arg);
}

#define OWNER(pointer, member) ((struct ob_old_rings *) \
	((char *)(pointer) - offsetof(struct ob_old_rings, member)))

static void on_ready(struct ob_watch *watch, uint32_t events)
{
	(void)events;
	look(OWNER(watch, watch));
}

static void on_again(struct ob_timer *timer)
{
	look(OWNER(timer, again));
}

static void on_soon(struct ob_deferred *deferred)
{
	look(OWNER(deferred, soon));
}

static int map_journal(struct ob_old_rings *old, const struct ob_rings *rings,
		       struct ob_err *err)
{
	old->journal = ob_ring_journal_map(rings->journal);
	if (!old->journal)
		return ob_fail(err, errno, "journal: %s", strerror(errno));
	if (old->journal->magic != OB_RING_MAGIC)
		return ob_fail(err, EINVAL, "journal: bad magic %llx",
			       (unsigned long long)old->journal->magic);
	if (old->journal->generation != rings->generation)
		return ob_fail(err, EINVAL, "journal: of generation %llu",
			       (unsigned long long)old->journal->generation);
	old->nr_entries = written_entries(rings->journal);
	return 0;
}

static int map_ring(struct ob_old_rings *old, int fd, struct ob_err *err)
{
	int r;

	old->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (old->fd < 0)
		return ob_fail(err, errno, "ring: %s", strerror(errno));
	r = ob_ring_map(old->fd, &old->journal->loop, &old->ring);
	if (r)
		return ob_fail(err, -r, "ring: %s", strerror(-r));
	old->has_ring = true;
	return 0;
}

static int map_sure(struct ob_old_rings *old, int fd, struct ob_err *err)
{
	int r = ob_ring_map(fd, &old->journal->sure, &old->sure);

	if (r)
		return ob_fail(err, -r, "sure ring: %s", strerror(-r));
	old->has_sure = true;
	return 0;
}

static int map_all(struct ob_old_rings *old, const struct ob_rings *rings,
		   struct ob_err *err)
{
	int r = 0;

	if (rings->journal >= 0)
		r = map_journal(old, rings, err);
	if (!r && rings->journal >= 0 && rings->loop >= 0)
		r = map_ring(old, rings->loop, err);
	if (!r && rings->journal >= 0 && rings->sure >= 0)
		r = map_sure(old, rings->sure, err);
	return r;
}

static void begin(struct ob_old_rings *old)
{
	old->watch = (struct ob_watch){
		.ready = on_ready, .fd = old->fd, .events = POLLIN,
	};
	old->again.fire = on_again;
	old->soon.run = on_soon;
	ob_defer(old->loop, &old->soon);
	if (!old->has_ring)
		return;
	count_entries(old);
	throw_away(old);
	cancel(old);
	reap(old);
	/* Where that is refused the timer does. */
	ob_watch_add(old->loop, &old->watch);
}

int ob_old_rings_open(struct ob_loop *loop, const struct ob_rings *rings,
		      void (*over)(void *arg), void *arg,
		      struct ob_old_rings **out, struct ob_err *err)
{
	struct ob_old_rings *old = calloc(1, sizeof(*old));
	int r;

	if (!old)
		return ob_fail(err, ENOMEM, "old rings: out of memory");
	old->loop = loop;
	old->over = over;
	old->arg = arg;
	old->fd = -1;
	r = map_all(old, rings, err);
	if (r) {
		ob_err_prefix(err, "rings of generation %llu",
			      (unsigned long long)rings->generation);
		ob_old_rings_close(old);
		return r;
	}
	begin(old);
	*out = old;
	return 0;
}

void ob_old_rings_close(struct ob_old_rings *old)
{
	if (!old)
		return;
	stop_looking(old);
	if (old->has_ring)
		ob_ring_unmap(&old->ring);
	if (old->has_sure)
		ob_ring_unmap(&old->sure);
	ob_ring_journal_unmap(old->journal);
	ob_fd_close(&old->fd);
	free(old);
}

bool ob_old_rings_over(const struct ob_old_rings *old)
{
	return old->is_over;
}

unsigned ob_old_rings_left(const struct ob_old_rings *old)
{
	return old->left;
}

/* Also among what the dead worker had read: that memory is still there. */
static bool find(const struct io_uring_cq *cq, uint64_t data, int *res)
{
	for (unsigned i = 0; i < cq->ring_entries; i++)
		if (cq->cqes[i].user_data == data) {
			*res = cq->cqes[i].res;
			return true;
		}
	return false;
}

int ob_old_rings_sure(const struct ob_old_rings *old, uint64_t tag)
{
	int res;

	if (!old->has_sure)
		return -ENXIO;
	if (!tag)
		return -ENOENT;
	if (find(&old->sure.cq, tag, &res) ||
	    (old->has_ring && find(&old->ring.cq, ob_along_data(tag), &res)))
		return res;
	return -ENOENT;
}
