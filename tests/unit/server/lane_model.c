// SPDX-License-Identifier: BSD-3-Clause
#include "lane_model.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line each: committed by one store. */
struct queue {
	uint64_t done;
	uint8_t reserved[56];
};

struct hot {
	struct queue queues[LANE_QUEUES];
};

struct plain {
	uint64_t checks, failed;
};

struct lane {
	struct ob_device *dev;		/* the handle */
	struct ob_post kick;		/* to its thread */
	unsigned number;
	/* Its thread's, and control steps'; not atomic. */
	uint64_t touched;
	bool inside;
	pthread_t thread;
	bool has_worked;
};

struct runtime {
	struct lane lanes[OB_LANES_MAX];
	unsigned owner[LANE_QUEUES];	/* the lane of a queue */
	bool spread;
};

static const struct ob_field queue_rows[] = {
	OB_U64(1, struct queue, done, "0.1"),
	OB_RESERVED(struct queue, reserved),
	OB_END
};
static const struct ob_table queue_table = {
	"queue", sizeof(struct queue), queue_rows
};
static const struct ob_field hot_rows[] = {
	OB_STRUCTS(1, struct hot, queues, struct queue, &queue_table, "0.1"),
	OB_END
};
static const struct ob_table hot_table = { "hot", sizeof(struct hot), hot_rows };
static const struct ob_field plain_rows[] = {
	OB_U64(1, struct plain, checks, "0.1"),
	OB_U64(2, struct plain, failed, "0.1"),
	OB_END
};
static const struct ob_table plain_table = {
	"plain", sizeof(struct plain), plain_rows
};

static const struct ob_pci pci = {
	.vendor = 0x1b36, .device = 0x4322, .class_code = 0xff0000,
	.bars = { [0] = { .size = 0x1000 }, [2] = { .size = 0x8000 } },
	.intx = true, .pm = true, .express = true,
	.msi_vectors = 4, .msix_vectors = 8,
	.msix_table_bar = 2, .msix_pba_bar = 2, .msix_pba_offset = 0x1000,
};

/* -- a lane ------------------------------------------------------------ */

static bool serve(struct lane *lane, unsigned q)
{
	struct hot *hot = ob_dev_hot(lane->dev);
	struct ob_seg whole = { q * LANE_PAGE, sizeof(struct lane_page) };
	struct ob_seg done = { whole.addr + 8, 8 };
	struct lane_page page;

	if (ob_dma_read(lane->dev, &whole, 1, &page, NULL) ||
	    page.asked == hot->queues[q].done)
		return false;
	if (page.asked == LANE_POISON)
		raise(SIGSEGV);
	lane->touched++;
	ob_dev_trace(lane->dev, OB_TRACE_AT_ONCE, (uint16_t)q,
		     (uint32_t)page.asked, 0);
	__atomic_store_n(&hot->queues[q].done, page.asked, __ATOMIC_RELAXED);
	ob_dma_write(lane->dev, &done, 1, &page.asked, NULL);
	ob_irq_raise(lane->dev, q);
	return true;
}

static bool work(struct lane *lane)
{
	struct runtime *rt = ob_dev_runtime(lane->dev);
	const struct plain *plain = ob_dev_state(lane->dev);
	bool any = false;

	lane->inside = true;
	for (unsigned q = 0; q < LANE_QUEUES && !plain->failed; q++)
		if (rt->owner[q] == lane->number)
			any |= serve(lane, q);
	if (any) {
		lane->thread = pthread_self();
		lane->has_worked = true;
	}
	lane->inside = false;
	return any;
}

static bool lane_poll(struct ob_device *dev, unsigned number)
{
	struct runtime *rt = ob_dev_runtime(dev);

	return work(&rt->lanes[number]);
}

static bool only_poll(struct ob_device *dev)
{
	return lane_poll(dev, 0);
}

/* It sleeps: its guest rings. */
static void kicked(struct ob_post *post)
{
	struct lane *lane = (struct lane *)
		((char *)post - offsetof(struct lane, kick));

	ob_dev_enter(lane->dev);
	work(lane);
	ob_dev_leave(lane->dev);
}

static void kick(struct lane *lane)
{
	ob_loop_post(ob_dev_loop(lane->dev), &lane->kick);
}

/* -- the device -------------------------------------------------------- */

static int init(struct ob_device *dev, struct ob_pci *own, struct ob_err *err)
{
	struct runtime *rt = ob_dev_runtime(dev);

	(void)own;
	(void)err;
	for (unsigned i = 0; i < ob_dev_lanes(dev); i++)
		rt->lanes[i] = (struct lane){
			.dev = ob_dev_lane(dev, i), .kick.run = kicked,
			.number = i,
		};
	return 0;
}

static void cancel(void *arg)
{
	struct lane *lane = arg;

	ob_post_cancel(ob_dev_loop(lane->dev), &lane->kick);
}

static void finish(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);

	for (unsigned i = 0; i < ob_dev_lanes(dev) && rt->lanes[i].dev; i++)
		ob_loop_call(ob_dev_loop(rt->lanes[i].dev), cancel,
			     &rt->lanes[i]);
}

static void place(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);

	rt->spread = ob_dev_may_spread(dev);
	ob_dev_spread(dev, rt->spread);
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		rt->owner[q] = rt->spread ? q % ob_dev_lanes(dev) : 0;
	for (unsigned i = 0; i < ob_dev_lanes(dev); i++)
		kick(&rt->lanes[i]);
}

static void run(struct ob_device *dev)
{
	ob_dev_poll(dev, true, false);
	place(dev);
}

static void reset(struct ob_device *dev, enum ob_reset kind)
{
	struct plain *plain = ob_dev_state(dev);
	struct hot *hot = ob_dev_hot(dev);

	ob_dev_protect(dev, hot, sizeof(*hot));
	plain->failed = 0;
	memset(hot, 0, sizeof(*hot));
	if (kind != OB_RESET_INIT)
		run(dev);
}

/* Nobody else may be in: what lanes count is counted here, too. */
static void check(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);
	struct plain *plain = ob_dev_state(dev);

	for (unsigned i = 0; i < ob_dev_lanes(dev); i++) {
		assert_false(rt->lanes[i].inside);
		rt->lanes[i].touched++;
	}
	plain->checks++;
}

static void fail_all(struct ob_device *dev)
{
	struct plain *plain = ob_dev_state(dev);

	plain->failed = 1;
}

static bool is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
		   bool write)
{
	(void)dev;
	return bar == 0 && (offset >= LANE_BELL || !write);
}

static void region_read(struct ob_device *dev, unsigned bar, uint64_t offset,
			void *buf, size_t len)
{
	const struct runtime *rt = ob_dev_runtime(dev);
	const struct plain *plain = ob_dev_state(dev);
	const struct hot *hot = ob_dev_hot(dev);
	uint64_t value = offset == LANE_CHECK ? plain->checks :
			 offset == LANE_FAILED ? plain->failed : rt->spread;

	if (bar || len != 8 || offset >= LANE_DONE + 8 * LANE_QUEUES)
		return;
	if (offset >= LANE_DONE)
		value = __atomic_load_n(&hot->queues[(offset - LANE_DONE) / 8].done,
					__ATOMIC_RELAXED);
	memcpy(buf, &value, sizeof(value));
}

static void region_write(struct ob_device *dev, unsigned bar, uint64_t offset,
			 const void *buf, size_t len)
{
	struct runtime *rt = ob_dev_runtime(dev);

	(void)buf;
	if (bar || len != 8 || offset >= LANE_BELL + 8 * LANE_QUEUES)
		return;
	if (offset >= LANE_BELL)
		kick(&rt->lanes[rt->owner[(offset - LANE_BELL) / 8]]);
	else if (offset == LANE_CHECK)
		check(dev);
}

/* What could not be read may be there now. */
static void memory_changed(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);

	for (unsigned i = 0; i < ob_dev_lanes(dev); i++)
		kick(&rt->lanes[i]);
}

unsigned lane_threads_seen(struct ob_device *dev)
{
	const struct runtime *rt = ob_dev_runtime(dev);
	unsigned n = 0;

	ob_dev_enter(dev);
	for (unsigned i = 0; i < ob_dev_lanes(dev); i++) {
		bool is_new = rt->lanes[i].has_worked;

		for (unsigned j = 0; j < i && is_new; j++)
			is_new = !rt->lanes[j].has_worked ||
				 !pthread_equal(rt->lanes[i].thread,
						rt->lanes[j].thread);
		n += is_new;
	}
	ob_dev_leave(dev);
	return n;
}

const struct ob_device_class lane_class = {
	.size = sizeof(struct ob_device_class), .abi = OB_DEVICE_ABI,
	.name = "lanes", .summary = "queues on several threads", .pci = &pci,
	.state = &plain_table, .hot = &hot_table,
	.runtime_size = sizeof(struct runtime),
	.init = init, .finish = finish, .reset = reset, .run = run,
	.region_read = region_read, .region_write = region_write,
	.is_hot = is_hot, .memory_changed = memory_changed, .fail = fail_all,
	.poll = only_poll, .lane_poll = lane_poll, .spread_changed = place,
};

/* -- threads ----------------------------------------------------------- */

static struct {
	unsigned nr;
	pthread_t ids[OB_LANES_MAX];
	struct ob_post ends[OB_LANES_MAX];
	sem_t made;
} threads;

static void *live(void *arg)
{
	struct ob_loop_params params = {
		.engine = getenv("OB_TEST_POOL") ? OB_LOOP_POOL : OB_LOOP_AUTO,
	};
	unsigned i = (unsigned)(uintptr_t)arg;
	struct ob_err err = { "" };
	struct ob_loop *loop;

	/* Here cmocka cannot. */
	if (ob_loop_create(&params, &loop, &err)) {
		fprintf(stderr, "a lane's loop: %s\n", err.msg);
		abort();
	}
	rig_lanes[i] = loop;
	sem_post(&threads.made);
	if (ob_loop_run(loop))
		abort();
	ob_loop_destroy(loop);
	return NULL;
}

void lane_threads_begin(unsigned n)
{
	threads.nr = n;
	sem_init(&threads.made, 0, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(pthread_create(&threads.ids[i], NULL, live,
						(void *)(uintptr_t)i), 0);
		sem_wait(&threads.made);
	}
}

static void end(struct ob_post *post)
{
	ob_loop_stop(rig_lanes[post - threads.ends]);
}

void lane_threads_end(void)
{
	for (unsigned i = 0; i < threads.nr; i++) {
		threads.ends[i].run = end;
		ob_loop_post(rig_lanes[i], &threads.ends[i]);
		pthread_join(threads.ids[i], NULL);
		rig_lanes[i] = NULL;
	}
	sem_destroy(&threads.made);
	threads.nr = 0;
}
