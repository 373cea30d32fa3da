// SPDX-License-Identifier: BSD-3-Clause
#include "toy_threads.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keep.h"
#include "base/sure.h"

#define BLOWS 400u

struct thread {
	pthread_t id;
	unsigned number;
	struct ob_loop *loop;
	sem_t turns;
	struct ob_post spin, hammer, stop;
};

static struct thread threads[OB_THREADS];
static unsigned nr_threads;
static struct board *board;
static struct ob_link *link_to;
static struct ob_link_start *start;

/* Talk */

/* As many bytes as say who it was. */
void talk(struct ob_loop *loop, unsigned thread)
{
	static const char bytes[OB_THREADS];
	struct iovec iov = { (void *)bytes, thread + 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ob_sure *sure = ob_loop_sure(loop);
	struct ob_sure_call call = { .tag = ob_sure_tag(sure) };
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		wrong("socketpair");
		return;
	}
	ob_sure_sendmsg(sure, &call, pair[0], &msg);
	ob_sure_go(sure);
	if (call.res != (int)thread + 1)
		wrong("talk");
	board->tag[thread] = call.tag;
	ob_fds_close(pair, 2);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* In the one set of its generation and thread; -ENOENT: in none; -ENXIO: in none,
 * where some generation has no rings. */
static int find(struct ob_old_rings *const *old, uint64_t tag)
{
	int found = -ENOENT;

	for (unsigned i = 0; i < start->nr_old; i++) {
		int res = ob_old_rings_sure(old[i], tag);

		if (res == -ENOENT || (res == -ENXIO && found > 0))
			continue;
		if (res != -ENXIO && found > 0)
			wrong("a tag is in two sets");
		found = res;
	}
	return found;
}

void threads_look_back(struct ob_loop *loop)
{
	struct ob_old_rings *old[OB_LINK_RINGS];
	struct ob_err err = { 0 };

	for (unsigned i = 0; i < start->nr_old; i++)
		if (ob_old_rings_open(loop, &start->old[i], nothing, NULL,
				      &old[i], &err)) {
			wrong(err.msg);
			return;
		}
	for (unsigned i = 0; i < OB_THREADS; i++) {
		int res = board->tag[i] ? find(old, board->tag[i]) : -ENXIO;

		if (res != (int)i + 1 && res != -ENXIO)
			wrong("what a thread said is lost");
		board->tag[i] = 0;
	}
	for (unsigned i = 0; i < start->nr_old; i++)
		ob_old_rings_close(old[i]);
}

/* What they do */

static void spin(struct ob_post *post)
{
	(void)post;
	for (;;)
		__asm__ volatile("");
}

static int new_memory(uint64_t value)
{
	int fd = ob_memfd_create("toy", sizeof(value));

	if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value))
		wrong("memfd");
	return fd;
}

/* Every name is one thread's, and what it says there is what it reads. */
static void strike(struct ob_keep *keep, unsigned thread, unsigned blow)
{
	const uint64_t value = thread * BLOWS + blow;
	uint64_t there = 0;
	char name[40];
	int fd = new_memory(value), got;

	snprintf(name, sizeof(name), "anvil/%u/%u", thread, blow % 7);
	if (keep->put(keep, name, fd))
		wrong("put");
	got = keep->get(keep, name);
	if (got < 0 || pread(got, &there, sizeof(there), 0) != sizeof(there) ||
	    there != value)
		wrong("somebody else's answer");
	if (blow % 3 == 0)
		keep->drop(keep, name);
	if (blow % 3 == 0 && keep->get(keep, name) != -ENOENT)
		wrong("dropped, and still there");
	ob_fd_close(&fd);
	ob_fd_close(&got);
}

static void count(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
}

static void hammer(struct ob_post *post)
{
	struct thread *t = (struct thread *)
		((char *)post - offsetof(struct thread, hammer));
	struct ob_keep *keep = ob_link_keep(link_to);
	char prefix[40];
	unsigned n = 0;

	for (unsigned i = 0; i < BLOWS; i++)
		strike(keep, t->number, i);
	snprintf(prefix, sizeof(prefix), "anvil/%u/", t->number);
	keep->each(keep, prefix, count, &n);
	if (!n || n > 7)
		wrong("each");
	keep->drop(keep, prefix);
	__atomic_fetch_add(&board->hammered, 1, __ATOMIC_SEQ_CST);
}

static void stop(struct ob_post *post)
{
	struct thread *t = (struct thread *)
		((char *)post - offsetof(struct thread, stop));

	ob_loop_stop(t->loop);
}

/* Their lives */

static void *live(void *arg)
{
	const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct ob_err err = { 0 };
	struct thread *t = arg;

	if (start->rings[t->number].generation != start->generation ||
	    start->rings[t->number].thread != t->number)
		wrong("rings of another thread");
	if (ob_loop_create_on(&params, &start->rings[t->number], &t->loop,
			      &err)) {
		wrong(err.msg);
		return NULL;
	}
	ob_link_pulse(link_to, t->number, t->loop);
	talk(t->loop, t->number);
	sem_post(&t->turns);
	ob_loop_run(t->loop);
	ob_link_no_pulse(link_to, t->number, t->loop);
	ob_loop_destroy(t->loop);
	return NULL;
}

void threads_init(struct board *of, struct ob_link *link,
		  struct ob_link_start *begin)
{
	board = of;
	link_to = link;
	start = begin;
}

void threads_start(void)
{
	nr_threads = board->threads;
	for (unsigned i = 1; i < nr_threads; i++) {
		struct thread *t = &threads[i];

		t->number = i;
		t->spin.run = spin;
		t->hammer.run = hammer;
		t->stop.run = stop;
		sem_init(&t->turns, 0, 0);
		if (pthread_create(&t->id, NULL, live, t))
			wrong("no thread");
	}
	for (unsigned i = 1; i < nr_threads; i++)
		while (sem_wait(&threads[i].turns))
			;
}

void threads_stop(void)
{
	for (unsigned i = 1; i < nr_threads; i++) {
		ob_loop_post(threads[i].loop, &threads[i].stop);
		pthread_join(threads[i].id, NULL);
	}
}

void threads_spin(void)
{
	struct thread *last = &threads[nr_threads - 1];

	ob_loop_post(last->loop, &last->spin);
}

void threads_hammer(void)
{
	for (unsigned i = 1; i < nr_threads; i++)
		ob_loop_post(threads[i].loop, &threads[i].hammer);
}
