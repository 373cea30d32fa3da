// SPDX-License-Identifier: BSD-3-Clause
/*
 * Socket calls on the sure ring (sure.h).
 *
 * The kernel runs a socket request with MSG_DONTWAIT to its end while it takes
 * it off the submission queue, one after the other, and posts all results
 * before io_uring_enter returns; a SIGKILL in between waits for that.  So a
 * dead process's queue holds the results of all that happened, and nothing of
 * what did not.  Results that were read stay in the queue's memory until it has
 * gone round once; only the last few are ever asked for.
 *
 * The same holds for one that goes along, in the loop's ring.
 */
#include <liburing.h>

#include <base/loop_private.h>

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A tag: generation, number of the call, thread.  2^40 calls of a thread are
 * four months of 100,000 in a second, after which it would take a ring that has
 * not gone round since to mistake one for another.
 */
#define GENERATION_SHIFT 44
#define TRIES		100	/* of a kernel without memory */

struct queued {
	struct ob_sure_call *call;
	int fd;
	const struct msghdr *msg;	/* NULL: recv */
	void *buf;
	size_t len;
};

struct ob_sure {
	struct ob_loop *loop;
	bool has_ring;
	struct io_uring ring;
	uint64_t next_tag;
	unsigned count;
	struct queued queue[OB_SURE_CALLS];
	struct ob_sure_call *along;
	unsigned nr_along;
};

struct ob_sure *ob_loop_sure(struct ob_loop *loop)
{
	return loop->sure;
}

uint64_t ob_sure_tag(struct ob_sure *sure)
{
	uint64_t tag = sure->next_tag;

	sure->next_tag += OB_THREADS;
	return tag;
}

static struct queued *add(struct ob_sure *sure, struct ob_sure_call *call,
			  int fd)
{
	struct queued *queued;

	if (sure->count == OB_SURE_CALLS)
		abort();		/* a bug of ours */
	queued = &sure->queue[sure->count++];
	*queued = (struct queued){ .call = call, .fd = fd };
	return queued;
}

void ob_sure_sendmsg(struct ob_sure *sure, struct ob_sure_call *call, int fd,
		     const struct msghdr *msg)
{
	add(sure, call, fd)->msg = msg;
}

void ob_sure_recv(struct ob_sure *sure, struct ob_sure_call *call, int fd,
		  void *buf, size_t len)
{
	struct queued *queued = add(sure, call, fd);

	queued->buf = buf;
	queued->len = len;
}

static int call_plainly(const struct queued *queued)
{
	ssize_t n;

	do
		n = queued->msg ?
			sendmsg(queued->fd, queued->msg, OB_SURE_FLAGS) :
			recv(queued->fd, queued->buf, queued->len,
			     OB_SURE_FLAGS);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* What is one piece, as most answers are, costs the kernel less. */
static void prepare_send(struct io_uring_sqe *sqe, const struct queued *queued)
{
	const struct msghdr *msg = queued->msg;

	if (msg->msg_iovlen == 1 && !msg->msg_controllen)
		io_uring_prep_send(sqe, queued->fd, msg->msg_iov->iov_base,
				   msg->msg_iov->iov_len, OB_SURE_FLAGS);
	else
		io_uring_prep_sendmsg(sqe, queued->fd, msg, OB_SURE_FLAGS);
}

static void prepare(struct ob_sure *sure, const struct queued *queued)
{
	/* There are more entries than calls, and none is left from before. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&sure->ring);

	if (queued->msg)
		prepare_send(sqe, queued);
	else
		io_uring_prep_recv(sqe, queued->fd, queued->buf, queued->len,
				   OB_SURE_FLAGS);
	io_uring_sqe_set_data64(sqe, queued->call->tag);
}

/* How many of the queue, from its begin, the kernel has taken. */
static unsigned submit(struct ob_sure *sure)
{
	struct io_uring *ring = &sure->ring;
	unsigned first = *ring->sq.khead, taken;
	int tries = TRIES;

	do
		io_uring_submit(ring);
	while ((taken = *ring->sq.khead - first) < sure->count && --tries);
	/* The rest never happens. */
	ring->sq.sqe_head = ring->sq.sqe_tail = *ring->sq.khead;
	io_uring_smp_store_release(ring->sq.ktail, ring->sq.sqe_tail);
	return taken;
}

static void note(struct ob_sure *sure, const struct io_uring_cqe *cqe)
{
	for (unsigned i = 0; i < sure->count; i++)
		if (sure->queue[i].call->tag == cqe->user_data)
			sure->queue[i].call->res = cqe->res;
}

static void go_by_ring(struct ob_sure *sure)
{
	struct io_uring_cqe *cqe;
	unsigned taken;
	int r = 0;

	for (unsigned i = 0; i < sure->count; i++) {
		sure->queue[i].call->res = -EAGAIN;
		prepare(sure, &sure->queue[i]);
	}
	taken = submit(sure);
	while (taken && !(r = io_uring_wait_cqe(&sure->ring, &cqe))) {
		note(sure, cqe);
		io_uring_cqe_seen(&sure->ring, cqe);
		taken--;
	}
	if (r)
		abort();	/* results that are there cannot be read */
}

void ob_sure_go(struct ob_sure *sure)
{
	if (sure->has_ring)
		go_by_ring(sure);
	else
		for (unsigned i = 0; i < sure->count; i++)
			sure->queue[i].call->res =
				call_plainly(&sure->queue[i]);
	sure->count = 0;
}

static int open_ring(struct ob_sure *sure, struct ob_rings *rings)
{
	struct ob_ring_journal *journal = ob_ring_journal_map(rings->journal);
	int r;

	if (!journal)
		return -errno;
	r = ob_ring_map(rings->sure, &journal->sure, &sure->ring);
	ob_ring_journal_unmap(journal);
	if (r)
		return r;
	sure->has_ring = true;
	ob_fd_take(&rings->sure);
	return 0;
}

/* -- calls that go along ------------------------------------------------ */

void ob_sure_recv_along(struct ob_sure *sure, struct ob_sure_call *call, int fd,
			void *buf, size_t len)
{
	const struct engine *engine = sure->loop->engine;

	if (!sure->has_ring || !engine->recv ||
	    engine->recv(sure->loop, call->tag, fd, buf, len)) {
		ob_sure_recv(sure, call, fd, buf, len);
		ob_sure_go(sure);
		if (call->came)
			call->came(call);
		return;
	}
	call->res = -EINPROGRESS;
	call->next = sure->along;
	sure->along = call;
	sure->nr_along++;
}

unsigned ob_sure_along(const struct ob_sure *sure)
{
	return sure->nr_along;
}

/* The queue may hold one that has been awaited. */
void ob_sure_came(struct ob_sure *sure, uint64_t data, int res)
{
	struct ob_sure_call **at = &sure->along, *call;

	while (*at && ob_along_data((*at)->tag) != data)
		at = &(*at)->next;
	call = *at;
	if (!call)
		return;
	call->res = res;
	*at = call->next;
	sure->nr_along--;
	if (call->came)
		call->came(call);
}

void ob_sure_await(struct ob_sure *sure, struct ob_sure_call *call)
{
	if (call->res == -EINPROGRESS)
		sure->loop->engine->recv_now(sure->loop, call->tag);
	/* It happened, and its result cannot be read: a successor can. */
	if (call->res == -EINPROGRESS)
		abort();
}

int ob_sure_create(struct ob_loop *loop, struct ob_rings *rings,
		   struct ob_sure **out)
{
	struct ob_sure *sure = calloc(1, sizeof(*sure));
	int r = sure ? 0 : -ENOMEM;

	if (!r && rings->sure >= 0)
		r = open_ring(sure, rings);
	if (r) {
		free(sure);
		return r;
	}
	sure->loop = loop;
	sure->next_tag = (rings->generation << GENERATION_SHIFT) + OB_THREADS +
			 rings->thread;
	*out = sure;
	return 0;
}

void ob_sure_destroy(struct ob_sure *sure)
{
	if (sure && sure->has_ring) {
		ob_ring_unmap(&sure->ring);
		close(sure->ring.ring_fd);
	}
	free(sure);
}
