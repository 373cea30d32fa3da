// SPDX-License-Identifier: BSD-3-Clause
/* Pollers, spinning and sleeping. */
#include "loop_fixture.h"

#include <base/fd.h>
#include <base/loop_private.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* A one-word queue in shared memory, with an eventfd that is asked for. */
struct box {
	struct ob_poller poller;
	struct ob_watch watch;
	struct ob_loop *loop;
	atomic_int sent;
	atomic_bool wants_kick;
	int kick_fd;
	int taken, sleeps;
	struct ob_poller *victim;
};

static bool take(struct ob_poller *poller)
{
	struct box *box = (struct box *)poller;
	int sent = box->sent;

	if (box->victim) {
		ob_poller_remove(box->loop, box->victim);
		box->victim = NULL;
	}
	if (box->taken == sent)
		return false;
	box->taken = sent;
	return true;
}

static bool arm(struct ob_poller *poller)
{
	struct box *box = (struct box *)poller;

	box->sleeps++;
	box->wants_kick = true;
	return box->taken == box->sent;
}

static void kicked(struct ob_watch *watch, uint32_t events)
{
	eventfd_t ignored;

	assert_int_equal(events, POLLIN);
	assert_int_equal(eventfd_read(watch->fd, &ignored), 0);
}

static void open_box(struct box *box, struct ob_loop *loop)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	*box = (struct box){
		.poller = { .poll = take, .sleep = arm },
		.watch = { .ready = kicked, .fd = fd, .events = POLLIN },
		.loop = loop, .kick_fd = fd,
	};
	ob_poller_add(loop, &box->poller);
	assert_int_equal(ob_watch_add(loop, &box->watch), 0);
}

static void close_box(struct box *box)
{
	ob_poller_remove(box->loop, &box->poller);
	ob_watch_remove(box->loop, &box->watch);
	ob_fd_close(&box->kick_fd);
}

static void send_one(struct box *box)
{
	box->sent++;
	if (atomic_exchange(&box->wants_kick, false))
		eventfd_write(box->kick_fd, 1);
}

static void *send_many(void *arg)
{
	struct box *box = arg;

	for (int i = 0; i < 3000; i++) {
		send_one(box);
		usleep(i % 100 ? 0 : 200);
	}
	return NULL;
}

/* Bursts with pauses: it sleeps and spins by turns and misses nothing. */
static void test_nothing_is_missed_between_spinning_and_sleep(void **state)
{
	struct ob_loop *loop = *state;
	pthread_t sender;
	struct box box;

	open_box(&box, loop);
	assert_int_equal(pthread_create(&sender, NULL, send_many, &box), 0);
	turn_until(loop, &box.taken, 3000);
	pthread_join(sender, NULL);
	assert_true(box.sleeps > 0);
	close_box(&box);
}

/* The same with nothing but a watch, on which the loop spins too. */
struct inbox {
	struct ob_watch watch;
	int taken;
};

static void came(struct ob_watch *watch, uint32_t events)
{
	struct inbox *inbox = (struct inbox *)watch;
	eventfd_t sum;

	assert_int_equal(events, POLLIN);
	assert_int_equal(eventfd_read(watch->fd, &sum), 0);
	inbox->taken += (int)sum;
}

static void *write_many(void *arg)
{
	struct inbox *inbox = arg;

	for (int i = 0; i < 3000; i++) {
		eventfd_write(inbox->watch.fd, 1);
		usleep(i % 100 ? 0 : 200);
	}
	return NULL;
}

static void test_no_event_is_missed_between_spinning_and_sleep(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct inbox inbox = {
		.watch = { .ready = came, .fd = fd, .events = POLLIN },
	};
	pthread_t writer;

	assert_int_equal(ob_watch_add(loop, &inbox.watch), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_many, &inbox), 0);
	turn_until(loop, &inbox.taken, 3000);
	pthread_join(writer, NULL);
	ob_watch_remove(loop, &inbox.watch);
}

/* Work that comes while the poller arms itself: the loop does not sleep. */
static bool arm_late(struct ob_poller *poller)
{
	struct box *box = (struct box *)poller;

	box->sleeps++;
	box->sent++;
	return false;
}

static void test_a_poller_that_refuses_to_sleep_is_polled(void **state)
{
	struct ob_loop *loop = *state;
	struct box box;

	open_box(&box, loop);
	box.poller.sleep = arm_late;
	for (int i = 0; i < 3; i++)
		ob_loop_turn(loop, true);
	assert_true(box.sleeps >= 3);
	assert_true(box.taken >= 2);
	close_box(&box);
}

/* Finds something at its second look, which a drive has ended, or the other side sent. */
struct finder {
	struct ob_poller poller;
	struct ob_loop *loop;
	unsigned looks, finds;		/* at this one; 0: never */
	bool drive;
};

static bool find(struct ob_poller *poller)
{
	struct finder *finder = (struct finder *)poller;

	if (++finder->looks != finder->finds)
		return false;
	finder->loop->unanswered += finder->drive;
	return true;
}

static bool never(struct ob_poller *poller)
{
	(void)poller;
	return false;
}

/* Waits with that many operations under way, and so many of them answered for. */
static void wait_once(struct finder *finder, uint32_t in_flight,
		      uint32_t unanswered)
{
	struct ob_loop *loop = finder->loop;

	finder->looks = 0;
	loop->in_flight = in_flight;
	loop->unanswered = unanswered;
	for (int i = 0; i < WAITS; i++) {
		loop->spins[i].penalty = 4;
		loop->spins[i].window = finder->finds ? UINT64_MAX : 1;
	}
	ob_loop_turn(loop, true);
	loop->in_flight = 0;
}

static void expect_penalties(const struct finder *finder, uint32_t peer,
			     uint32_t drive)
{
	assert_int_equal(finder->loop->spins[WAIT_PEER].penalty, peer);
	assert_int_equal(finder->loop->spins[WAIT_DRIVE].penalty, drive);
}

static void test_a_wait_says_nothing_about_the_other_kind(void **state)
{
	struct finder finder = {
		.poller = { .poll = find, .sleep = never }, .loop = *state,
	};

	ob_poller_add(*state, &finder.poller);
	/* In vain. */
	wait_once(&finder, 0, 0);
	expect_penalties(&finder, 8, 4);
	wait_once(&finder, 3, 0);
	expect_penalties(&finder, 4, 8);
	wait_once(&finder, 3, 1);
	expect_penalties(&finder, 8, 4);
	assert_int_equal(finder.loop->unanswered, 0);
	/* The other side has answered; a drive was quick. */
	finder.finds = 2;
	wait_once(&finder, 3, 1);
	expect_penalties(&finder, 0, 4);
	finder.drive = true;
	wait_once(&finder, 3, 0);
	expect_penalties(&finder, 4, 0);
	/* A drive was, while the other side was waited for. */
	wait_once(&finder, 3, 1);
	expect_penalties(&finder, 4, 4);
	ob_poller_remove(*state, &finder.poller);
}

static void test_a_busy_poller_is_never_asked_to_sleep(void **state)
{
	struct ob_loop *loop = *state;
	struct box box;

	open_box(&box, loop);
	assert_false(ob_loop_is_busy(loop));
	box.poller.busy = true;
	assert_true(ob_loop_is_busy(loop));
	for (int i = 0; i < 100; i++)
		assert_int_equal(ob_loop_turn(loop, true), 0);
	assert_int_equal(box.sleeps, 0);
	close_box(&box);
}

static void test_a_busy_loop_still_sees_events(void **state)
{
	struct ob_loop *loop = *state;
	struct box busy, other;

	open_box(&busy, loop);
	open_box(&other, loop);
	ob_poller_remove(loop, &other.poller);
	busy.poller.busy = true;
	for (int i = 0; i < 10; i++)
		ob_loop_turn(loop, true);
	eventfd_write(other.kick_fd, 1);
	for (int i = 0; i < 10000; i++) {
		struct pollfd pfd = { .fd = other.kick_fd, .events = POLLIN };

		ob_loop_turn(loop, true);
		other.taken = poll(&pfd, 1, 0) == 0;
		if (other.taken)
			break;
	}
	assert_true(other.taken);
	close_box(&busy);
	close_box(&other);
}

static void test_a_poller_may_remove_itself_and_others(void **state)
{
	struct ob_loop *loop = *state;
	struct box boxes[3];

	for (size_t i = 0; i < COUNT_OF(boxes); i++) {
		open_box(&boxes[i], loop);
		boxes[i].sent = 1;
	}
	/* The one added last is polled first. */
	boxes[2].victim = &boxes[1].poller;
	boxes[0].victim = &boxes[0].poller;
	ob_loop_turn(loop, false);
	assert_int_equal(boxes[2].taken, 1);
	assert_int_equal(boxes[1].taken, 0);
	assert_int_equal(boxes[0].taken, 1);
	boxes[0].sent = 2;
	ob_loop_turn(loop, false);
	assert_int_equal(boxes[0].taken, 1);
	for (size_t i = 0; i < COUNT_OF(boxes); i++)
		close_box(&boxes[i]);
}

/* Times that any thread of the process went to sleep by itself. */
static long sleeps_so_far(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw;
}

struct sleeper {
	struct ob_loop *loop;
	struct ob_watch stop;
};

static void on_stop(struct ob_watch *watch, uint32_t events)
{
	(void)events;
	ob_loop_stop(((struct sleeper *)((char *)watch -
		offsetof(struct sleeper, stop)))->loop);
}

static void *run_loop(void *arg)
{
	ob_loop_run(((struct sleeper *)arg)->loop);
	return NULL;
}

/* An idle device: watches and pollers, and nothing that happens. */
static void test_an_idle_loop_is_never_woken(void **state)
{
	struct ob_loop *loop = *state;
	OB_CLEANUP_FD int fd = eventfd(0, EFD_CLOEXEC);
	struct sleeper sleeper = {
		.loop = loop,
		.stop = { .ready = on_stop, .fd = fd, .events = POLLIN },
	};
	pthread_t thread;
	struct box box;
	long before, woken = 1;

	open_box(&box, loop);
	assert_int_equal(ob_watch_add(loop, &sleeper.stop), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_loop, &sleeper), 0);
	/*
	 * Who is woken now and then is so in each of these; the first may
	 * see a busy machine still getting there.
	 */
	for (int i = 0; i < 3 && woken; i++) {
		before = sleeps_so_far();
		sleep(2);
		/* One is this thread's own sleep. */
		woken = sleeps_so_far() - before - 1;
	}
	assert_int_equal(woken, 0);
	eventfd_write(fd, 1);
	pthread_join(thread, NULL);
	ob_watch_remove(loop, &sleeper.stop);
	close_box(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(
			test_nothing_is_missed_between_spinning_and_sleep),
		ON_BOTH_ENGINES(
			test_no_event_is_missed_between_spinning_and_sleep),
		ON_BOTH_ENGINES(test_a_poller_that_refuses_to_sleep_is_polled),
		ON_BOTH_ENGINES(test_a_wait_says_nothing_about_the_other_kind),
		ON_BOTH_ENGINES(test_a_busy_poller_is_never_asked_to_sleep),
		ON_BOTH_ENGINES(test_a_busy_loop_still_sees_events),
		ON_BOTH_ENGINES(test_a_poller_may_remove_itself_and_others),
		ON_BOTH_ENGINES(test_an_idle_loop_is_never_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
