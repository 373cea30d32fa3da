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

/* This thread's loops, the newest first, and where it waits for the end of a call. */
static _Thread_local struct {
	struct ob_loop *newest;
	sem_t called;
	bool has_begun;
} here;

static void be_here(void)
{
	if (!here.has_begun)
		sem_init(&here.called, 0, 0);
	here.has_begun = true;
}

void ob_loop_post(struct ob_loop *loop, struct ob_post *post)
{
	struct ob_post *top;

	if (__atomic_exchange_n(&post->queued, true, __ATOMIC_ACQ_REL))
		return;
	top = __atomic_load_n(&loop->posted, __ATOMIC_RELAXED);
	do
		post->next = top;
	while (!__atomic_compare_exchange_n(&loop->posted, &top, post, true,
					    __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED));
	if (!top)
		eventfd_write(loop->wake.fd, 1);
}

/* Behind those that were taken before, the oldest first. */
static void take_all(struct ob_loop *loop)
{
	struct ob_post *post = __atomic_exchange_n(&loop->posted, NULL,
						   __ATOMIC_SEQ_CST);
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
	if (r) {
		ob_fd_close(&loop->wake.fd);
		return ob_fail(err, -r, "eventfd: %s", strerror(-r));
	}
	be_here();
	loop->called = &here.called;
	loop->older = here.newest;
	here.newest = loop;
	return 0;
}

/* Its thread may have ended, and another one closes it. */
void ob_posts_close(struct ob_loop *loop)
{
	struct ob_loop **at = &here.newest;

	while (*at && *at != loop)
		at = &(*at)->older;
	if (*at)
		*at = loop->older;
	ob_watch_remove(loop, &loop->wake);
	ob_fd_close(&loop->wake.fd);
}

/* Calls */

/*
 * A thread that waits for the end of its call serves the calls that are made to it
 * meanwhile: who makes them may be the one it waits for.  They are posts like others,
 * so they are where the loop would find them.
 */
struct call {
	struct ob_post post;
	void (*fn)(void *arg);
	void *arg;
	sem_t *caller;
	bool done;
};

static void run_call(struct ob_post *post)
{
	struct call *call = (struct call *)
		((char *)post - offsetof(struct call, post));
	sem_t *caller = call->caller;

	call->fn(call->arg);
	/* From here on it may be gone. */
	__atomic_store_n(&call->done, true, __ATOMIC_RELEASE);
	sem_post(caller);
}

static bool serve_one(struct ob_loop *loop)
{
	struct ob_post **at = &loop->posts, *post;

	take_all(loop);
	while (*at && (*at)->run != run_call)
		at = &(*at)->next;
	post = *at;
	if (!post)
		return false;
	*at = post->next;
	run_call(post);
	return true;
}

/* Set before the look: who calls after it sees that there is somebody to wake. */
static void serve_all(void)
{
	bool any;

	do {
		any = false;
		for (struct ob_loop *loop = here.newest; loop; loop = loop->older) {
			__atomic_store_n(&loop->waits, true, __ATOMIC_SEQ_CST);
			any |= serve_one(loop);
		}
	} while (any);	/* one of them may have waited itself */
}

static void wait_for(const struct call *call)
{
	for (serve_all(); !__atomic_load_n(&call->done, __ATOMIC_ACQUIRE);
	     serve_all())
		sem_wait(&here.called);	/* a signal's handler may end it, too */
	for (struct ob_loop *loop = here.newest; loop; loop = loop->older)
		__atomic_store_n(&loop->waits, false, __ATOMIC_RELAXED);
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
	be_here();
	call.caller = &here.called;
	ob_loop_post(loop, &call.post);
	if (__atomic_load_n(&loop->waits, __ATOMIC_SEQ_CST))
		sem_post(loop->called);
	wait_for(&call);
}
