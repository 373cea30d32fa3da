// SPDX-License-Identifier: BSD-3-Clause
/*
 * The engine for kernels that refuse io_uring: epoll for readiness, a few
 * threads that make the blocking calls, an eventfd that tells the loop of
 * their results.  Threads are started when operations find none idle.
 */
#include <base/loop_private.h>

#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define POOL_THREADS	4
#define EVENT_BATCH	64
#define RESULTS_KEY	UINT64_MAX	/* no watch's key */

struct pool {
	int epoll_fd, results_fd;

	struct epoll_event events[EVENT_BATCH];
	int event_count;		/* found by wait, not yet dispatched */

	pthread_mutex_t lock;		/* of everything below */
	pthread_cond_t more;
	struct op_list queue, results;
	unsigned queued;		/* in queue */
	unsigned threads, idle;		/* idle ones may be on their way */
	bool stopping;
	pthread_t thread[POOL_THREADS];
};

/* The ioctl's structure is the ring's, and a result that nobody asks for. */
static int run_command(const struct ob_op *op)
{
	struct nvme_passthru_cmd64 cmd = { 0 };

	memcpy(&cmd, op->addr, sizeof(struct nvme_uring_cmd));
	return ioctl(op->fd, NVME_IOCTL_IO64_CMD, &cmd);
}

static int run_call(struct ob_op *op)
{
	ssize_t r = -1;

	switch ((enum op_code)op->code) {
	case OP_READV:
		r = preadv2(op->fd, op->addr, (int)op->len, (off_t)op->off, 0);
		break;
	case OP_WRITEV:
		r = pwritev2(op->fd, op->addr, (int)op->len, (off_t)op->off,
			     (int)op->flags);
		break;
	case OP_FDATASYNC:
		r = fdatasync(op->fd);
		break;
	case OP_FALLOCATE:
		r = fallocate(op->fd, (int)op->flags, (off_t)op->off,
			      (off_t)op->off2);
		break;
	case OP_NVME:
		r = run_command(op);
		break;
	}
	return r < 0 ? -errno : (int)r;
}

static int run_op(struct ob_op *op)
{
	int r;

	/* Of a command it says that the device was reset under it. */
	do
		r = run_call(op);
	while (r == -EINTR && op->code != OP_NVME);
	return r;
}

/* Under the lock. */
static void post_result(struct pool *pool, struct ob_op *op, int res)
{
	bool first = !pool->results.head;

	op->res = res;
	ob_op_list_add(&pool->results, op);
	if (first)
		eventfd_write(pool->results_fd, 1);
}

static struct ob_op *next_op(struct pool *pool)
{
	while (!pool->queue.head && !pool->stopping) {
		pool->idle++;
		pthread_cond_wait(&pool->more, &pool->lock);
		pool->idle--;
	}
	if (!pool->queue.head)
		return NULL;
	pool->queued--;
	return ob_op_list_pop(&pool->queue);
}

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;
	struct ob_op *op;
	int res;

	pthread_mutex_lock(&pool->lock);
	while ((op = next_op(pool))) {
		pthread_mutex_unlock(&pool->lock);
		res = run_op(op);
		pthread_mutex_lock(&pool->lock);
		post_result(pool, op, res);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Signals are the main thread's business: block them all here. */
static bool add_thread(struct pool *pool)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&pool->thread[pool->threads], NULL, pool_thread,
			   pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pool->threads += !r;
	return !r;
}

static int pool_op_start(struct ob_loop *loop, struct ob_op *op)
{
	struct pool *pool = loop->io;
	bool have_thread;

	pthread_mutex_lock(&pool->lock);
	have_thread = pool->idle > pool->queued ||
		pool->threads == POOL_THREADS || add_thread(pool) ||
		pool->threads > 0;
	if (have_thread) {
		ob_op_list_add(&pool->queue, op);
		pool->queued++;
		pthread_cond_signal(&pool->more);
	} else {
		post_result(pool, op, run_op(op));
	}
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

static void pool_op_cancel(struct ob_loop *loop, struct ob_op *op)
{
	struct pool *pool = loop->io;

	pthread_mutex_lock(&pool->lock);
	if (ob_op_list_remove(&pool->queue, op)) {
		pool->queued--;
		post_result(pool, op, -ECANCELED);
	}
	pthread_mutex_unlock(&pool->lock);
}

static void pool_cancel_all(struct ob_loop *loop)
{
	struct pool *pool = loop->io;

	pthread_mutex_lock(&pool->lock);
	while (pool->queue.head)
		post_result(pool, ob_op_list_pop(&pool->queue), -ECANCELED);
	pool->queued = 0;
	pthread_mutex_unlock(&pool->lock);
}

static bool take_results(struct ob_loop *loop)
{
	struct pool *pool = loop->io;
	struct op_list results;
	struct ob_op *op;
	eventfd_t count;
	bool any;

	eventfd_read(pool->results_fd, &count);
	pthread_mutex_lock(&pool->lock);
	results = pool->results;
	ob_op_list_init(&pool->results);
	pthread_mutex_unlock(&pool->lock);
	any = results.head;
	while (results.head) {
		op = ob_op_list_pop(&results);
		ob_op_complete(op, op->res);
	}
	return any;
}

static int collect(struct pool *pool, int timeout_ms)
{
	int n = epoll_wait(pool->epoll_fd, pool->events, EVENT_BATCH,
			   timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	pool->event_count = n;
	return 0;
}

static bool pool_reap(struct ob_loop *loop)
{
	struct pool *pool = loop->io;
	bool any = false;
	int count;

	if (!pool->event_count)
		collect(pool, 0);
	count = pool->event_count;
	pool->event_count = 0;
	for (int i = 0; i < count; i++) {
		struct epoll_event *event = &pool->events[i];

		if (event->data.u64 == RESULTS_KEY) {
			any |= take_results(loop);
		} else {
			ob_watch_dispatch(loop, event->data.u64,
					  event->events, true);
			any = true;
		}
	}
	if (any)
		ob_op_advance(loop);
	return any;
}

static void pool_flush(struct ob_loop *loop, bool all)
{
	(void)all;
	(void)loop;		/* nothing is ever held back */
}

static int pool_wait(struct ob_loop *loop, int64_t timeout_ns)
{
	int64_t ms = timeout_ns < 0 ? -1 : timeout_ns / 1000000 +
		(timeout_ns % 1000000 > 0);

	return collect(loop->io, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static int control(struct ob_loop *loop, uint32_t index, int how)
{
	struct pool *pool = loop->io;
	const struct ob_watch *watch = loop->slots[index].watch;
	struct epoll_event event = {
		.events = watch->events | (watch->edge ? EPOLLET : 0),
		.data.u64 = ob_watch_key(loop, index),
	};

	if (epoll_ctl(pool->epoll_fd, how, watch->fd, &event) < 0)
		return -errno;
	return 0;
}

static int pool_watch_arm(struct ob_loop *loop, uint32_t index)
{
	return control(loop, index, EPOLL_CTL_ADD);
}

static void pool_watch_disarm(struct ob_loop *loop, uint32_t index)
{
	control(loop, index, EPOLL_CTL_DEL);
}

static int open_fds(struct pool *pool)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = RESULTS_KEY,
	};

	pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pool->results_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->epoll_fd < 0 || pool->results_fd < 0 ||
	    epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, pool->results_fd,
		      &event) < 0)
		return -errno;
	return 0;
}

static void pool_close(struct ob_loop *loop)
{
	struct pool *pool = loop->io;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	ob_fd_close(&pool->epoll_fd);
	ob_fd_close(&pool->results_fd);
	free(pool);
}

static int pool_open(struct ob_loop *loop, struct ob_err *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int r;

	if (!pool)
		return ob_fail(err, ENOMEM, "event loop: out of memory");
	pool->epoll_fd = pool->results_fd = -1;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->more, NULL);
	ob_op_list_init(&pool->queue);
	ob_op_list_init(&pool->results);
	loop->io = pool;
	r = open_fds(pool);
	if (r) {
		pool_close(loop);
		return ob_fail(err, -r, "event loop: %s", strerror(-r));
	}
	return 0;
}

const struct engine ob_engine_pool = {
	.open = pool_open,
	.close = pool_close,
	.reap = pool_reap,
	.flush = pool_flush,
	.wait = pool_wait,
	.watch_arm = pool_watch_arm,
	.watch_disarm = pool_watch_disarm,
	.op_start = pool_op_start,
	.op_cancel = pool_op_cancel,
	.cancel_all = pool_cancel_all,
};
