// SPDX-License-Identifier: BSD-3-Clause
/*
 * Posts: what another thread has to say to this loop.
 *
 * A post is pushed on a stack, which needs no lock; the loop takes the whole of
 * it at once, so that nothing is ever taken off that comes again meanwhile.
 * Whoever finds the stack empty writes to an eventfd that the loop watches like
 * any other.  So a loop to which nobody posts does not look, neither when it
 * turns nor before it sleeps, and a loop that sleeps or spins wakes as for a
 * client's message.
 */
#include <base/loop_private.h>

#include <base/fd.h>

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void ob_loop_post(struct ob_loop *loop, struct ob_post *post)
{
	struct ob_post *top;

	if (__atomic_exchange_n(&post->queued, true, __ATOMIC_ACQ_REL))
		return;
	top = __atomic_load_n(&loop->posted, __ATOMIC_RELAXED);
	do
		post->next = top;
	while (!__atomic_compare_exchange_n(&loop->posted, &top, post, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	if (!top)
		eventfd_write(loop->wake.fd, 1);
}

/* Behind those that were taken before, the oldest first. */
static void take_all(struct ob_loop *loop)
{
	struct ob_post *post = __atomic_exchange_n(&loop->posted, NULL,
						   __ATOMIC_ACQUIRE);
	struct ob_post **tail = &loop->posts, *oldest = NULL, *next;

	for (; post; post = next) {
		next = post->next;
		post->next = oldest;
		oldest = post;
	}
	while (*tail)
		tail = &(*tail)->next;
	*tail = oldest;
}

/* It may be posted again, or be gone, as soon as it runs. */
static void woken(struct ob_watch *watch, uint32_t events)
{
	struct ob_loop *loop = (struct ob_loop *)
		((char *)watch - offsetof(struct ob_loop, wake));
	struct ob_post *post;
	eventfd_t count;

	(void)events;
	eventfd_read(watch->fd, &count);
	take_all(loop);
	while ((post = loop->posts)) {
		loop->posts = post->next;
		(void)__atomic_exchange_n(&post->queued, false, __ATOMIC_ACQ_REL);
		post->run(post);
	}
}

void ob_post_cancel(struct ob_loop *loop, struct ob_post *post)
{
	struct ob_post **at = &loop->posts;

	if (!__atomic_load_n(&post->queued, __ATOMIC_ACQUIRE))
		return;
	take_all(loop);
	while (*at && *at != post)
		at = &(*at)->next;
	if (*at)
		*at = post->next;
	__atomic_store_n(&post->queued, false, __ATOMIC_RELEASE);
}

int ob_posts_open(struct ob_loop *loop, struct ob_err *err)
{
	int r;

	loop->thread = pthread_self();
	loop->wake = (struct ob_watch){
		.ready = woken, .events = POLLIN,
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (loop->wake.fd < 0)
		return ob_fail(err, errno, "eventfd: %s", strerror(errno));
	r = ob_watch_add(loop, &loop->wake);
	if (r)
		ob_fd_close(&loop->wake.fd);
	return r ? ob_fail(err, -r, "eventfd: %s", strerror(-r)) : 0;
}

void ob_posts_close(struct ob_loop *loop)
{
	ob_watch_remove(loop, &loop->wake);
	ob_fd_close(&loop->wake.fd);
}

/* Calls */

struct call {
	struct ob_post post;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_call(struct ob_post *post)
{
	struct call *call = (struct call *)
		((char *)post - offsetof(struct call, post));

	call->fn(call->arg);
	sem_post(&call->done);
}

bool ob_loop_is_here(const struct ob_loop *loop)
{
	return pthread_equal(loop->thread, pthread_self());
}

void ob_loop_call(struct ob_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct call call = { .post.run = run_call, .fn = fn, .arg = arg };

	if (ob_loop_is_here(loop)) {
		fn(arg);
		return;
	}
	sem_init(&call.done, 0, 0);
	ob_loop_post(loop, &call.post);
	while (sem_wait(&call.done))
		;	/* a signal's handler ran */
	sem_destroy(&call.done);
}
