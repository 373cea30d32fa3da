// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device on several threads: its own is the test's, with the client.  Under
 * ThreadSanitizer it says that what is shared is shared in order.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/fd.h"
#include "base/guard.h"
#include "lane_model.h"
#include "life.h"
#include "server/device_impl.h"
#include "server/lane.h"
#include "state/old.h"

enum { MSIX = 2 };
enum { NONE = 1, EVENTFD = 4, MASK = 8, UNMASK = 16, TRIGGER = 32 };
enum { MAP_RW = 3 };

/* A guest: its memory, its eventfds. */
static struct guest {
	struct rig *rig;
	int memory;
	struct lane_page *pages[LANE_QUEUES];
	int fds[LANE_QUEUES];
	uint64_t asked;
} guest;

static void make_memory(void)
{
	const size_t size = LANE_QUEUES * LANE_PAGE;
	uint8_t *at;

	guest.memory = ob_memfd_create("guest", (off_t)size);
	assert_true(guest.memory >= 0);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, guest.memory, 0);
	assert_true(at != MAP_FAILED);
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		guest.pages[q] = (void *)(at + q * LANE_PAGE);
}

static void map_all(void)
{
	assert_int_equal(rig_map(guest.rig, 0, LANE_QUEUES * LANE_PAGE, 0,
				 MAP_RW, guest.memory), 0);
}

static void give_eventfds(void)
{
	assert_int_equal(rig_set_irqs(guest.rig, EVENTFD | TRIGGER, MSIX, 0,
				      LANE_QUEUES, guest.fds, LANE_QUEUES), 0);
}

static void set_up(struct rig *rig)
{
	guest = (struct guest){ .rig = rig };
	make_memory();
	for (unsigned q = 0; q < LANE_QUEUES; q++) {
		guest.fds[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(guest.fds[q] >= 0);
	}
	assert_int_equal(rig_version(rig, NULL), 0);
	map_all();
	rig_master(rig, true);
	rig_set_config(rig, rig_find_cap(rig, 0x11) + 2, 0x8000, 2);
	give_eventfds();
}

static void tear_down(void)
{
	munmap(guest.pages[0], LANE_QUEUES * LANE_PAGE);
	close(guest.memory);
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		close(guest.fds[q]);
}

static void start(const char *lanes)
{
	struct rig *rig = rig_start_model(&lane_class, lanes);

	rig_connect(rig);
	set_up(rig);
}

static void stop(void)
{
	rig_end(guest.rig);
	tear_down();
}

static void poke(uint64_t offset)
{
	uint64_t value = 0;

	assert_int_equal(rig_write(guest.rig, 0, offset, &value, 8), 0);
}

static uint64_t peek(uint64_t offset)
{
	uint64_t value = 0;

	assert_int_equal(rig_read(guest.rig, 0, offset, &value, 8), 0);
	return value;
}

static void ask(unsigned q)
{
	__atomic_store_n(&guest.pages[q]->asked, ++guest.asked,
			 __ATOMIC_RELEASE);
	poke(LANE_BELL + 8 * q);
}

static bool is_done(unsigned q)
{
	return __atomic_load_n(&guest.pages[q]->done, __ATOMIC_ACQUIRE) ==
	       guest.pages[q]->asked;
}

static void wait_all(void)
{
	for (unsigned q = 0; q < LANE_QUEUES; q++) {
		while (!is_done(q))
			rig_settle(guest.rig);
		assert_int_equal(peek(LANE_DONE + 8 * q), guest.pages[q]->asked);
	}
}

static void ask_all(void)
{
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		ask(q);
}

/* A signal leaves at the end of its lane's turn. */
static void wait_for_signal(unsigned q)
{
	while (!rig_count(guest.rig, guest.fds[q]))
		rig_settle(guest.rig);
}

static struct ob_device_status status(void)
{
	struct ob_device_status st;

	ob_device_status(guest.rig->dev, &st);
	return st;
}

/* -- tests ------------------------------------------------------------- */

static void test_spread(void **state)
{
	const unsigned rounds = 200;

	(void)state;
	start("lanes,lanes=3");
	assert_int_equal(ob_dev_lanes(guest.rig->dev), 3);
	assert_int_equal(peek(LANE_SPREAD), 1);
	for (unsigned i = 0; i < rounds; i++) {
		ask_all();
		poke(LANE_CHECK);
		wait_all();
	}
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		wait_for_signal(q);
	assert_int_equal(peek(LANE_CHECK), rounds);
	assert_int_equal(lane_threads_seen(guest.rig->dev), 3);
	assert_true(status().spread);
	assert_int_equal(status().lanes, 3);
	assert_true(status().msix >= LANE_QUEUES * rounds);
	stop();
}

/* The same device, the same code. */
static void test_one_lane(void **state)
{
	(void)state;
	start("lanes");
	assert_ptr_equal(ob_dev_lane(guest.rig->dev, 0), guest.rig->dev);
	assert_int_equal(peek(LANE_SPREAD), 0);
	for (unsigned i = 0; i < 20; i++) {
		ask_all();
		wait_all();
	}
	assert_int_equal(lane_threads_seen(guest.rig->dev), 1);
	assert_int_equal(status().lanes, 1);
	stop();
}

/* All lanes may be on one thread, as those of a rehearsal are. */
static void test_without_threads(void **state)
{
	struct ob_loop *loops[OB_LANES_MAX];

	(void)state;
	memcpy(loops, rig_lanes, sizeof(loops));
	memset(rig_lanes, 0, sizeof(rig_lanes));
	start("lanes,lanes=3");
	assert_int_equal(peek(LANE_SPREAD), 1);
	ask_all();
	poke(LANE_CHECK);
	wait_all();
	assert_int_equal(lane_threads_seen(guest.rig->dev), 1);
	stop();
	memcpy(rig_lanes, loops, sizeof(loops));
}

static bool lane_lost(unsigned number)
{
	struct ob_device *lane = ob_dev_lane(guest.rig->dev, number);
	bool lost;

	ob_dev_enter(lane);
	lost = ob_dma_lost(lane);
	ob_dev_leave(lane);
	return lost;
}

static int lane_reads(unsigned number, uint64_t addr)
{
	struct ob_device *lane = ob_dev_lane(guest.rig->dev, number);
	struct ob_seg seg = { addr, 4 };
	struct ob_dma_op op = { 0 };
	uint32_t word;
	int r;

	ob_dev_enter(lane);
	r = ob_dma_read(lane, &seg, 1, &word, &op);
	ob_dev_leave(lane);
	return r;
}

/* R7: what another device's owner truncates is none of ours. */
static void test_others_losses(void **state)
{
	const uint64_t at = LANE_QUEUES * LANE_PAGE;
	struct ob_loop *loops[OB_LANES_MAX];
	int memory = memfd_create("more", MFD_CLOEXEC);

	(void)state;
	memcpy(loops, rig_lanes, sizeof(loops));
	memset(rig_lanes, 0, sizeof(rig_lanes));
	start("lanes,lanes=3");
	assert_int_equal(ftruncate(memory, LANE_PAGE), 0);
	atomic_fetch_add(&ob_guard_losses, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_false(lane_lost(i));
	assert_int_equal(rig_map(guest.rig, at, LANE_PAGE, 0, MAP_RW, memory), 0);
	assert_int_equal(lane_reads(2, at), 0);
	assert_int_equal(ftruncate(memory, 0), 0);
	assert_int_equal(lane_reads(2, at), -EIO);
	for (unsigned i = 0; i < 3; i++)
		assert_true(lane_lost(i));
	stop();
	close(memory);
	memcpy(rig_lanes, loops, sizeof(loops));
}

static void test_memory_comes_and_goes(void **state)
{
	(void)state;
	start("lanes,lanes=3");
	for (unsigned i = 0; i < 30; i++) {
		ask_all();
		assert_int_equal(rig_unmap(guest.rig, 0,
					   LANE_QUEUES * LANE_PAGE, 0), 0);
		ask_all();
		assert_false(is_done(LANE_QUEUES - 1));
		map_all();
		wait_all();
	}
	assert_int_equal(peek(LANE_SPREAD), 1);
	stop();
}

/* What may yet be undone is not shown to lanes: it would take theirs with it. */
static void test_alone_until_committed(void **state)
{
	struct ob_device *dev;

	(void)state;
	start("lanes,lanes=3");
	dev = guest.rig->dev;
	ob_step_begin_beside(&dev->mem, OB_STEP_MESSAGE);
	assert_int_equal(dev->lanes->shut_at, 0);
	ob_step_begin(&dev->mem, OB_STEP_MESSAGE);
	ob_dev_step_end(dev);
	assert_int_equal(dev->lanes->shut_at, 0);
	ob_step_begin(&dev->mem, OB_STEP_MESSAGE);
	ob_undo_add(&dev->mem, dev->core, sizeof(*dev->core));
	ob_dev_step_end(dev);
	assert_int_not_equal(dev->lanes->shut_at, 0);
	ob_dev_step_end(dev);
	assert_int_equal(dev->lanes->shut_at, 0);
	stop();
}

/* What a successor would find of the open step: it copies, and undoes there. */
static struct ob_core after_death(struct ob_device *dev)
{
	struct ob_old_state *old = NULL;
	struct ob_core core = { 0 };

	assert_int_equal(ob_old_state_open(dev->mem.fd, &old, NULL), 0);
	assert_int_equal(ob_old_state_read(old, OB_SECTION_CORE, &ob_core_table,
					   &core, NULL), 0);
	ob_old_state_close(old);
	return core;
}

/* An interrupt that a lane leaves pending beside a step that is undone (R18). */
static void test_pending_beside_a_step(void **state)
{
	struct ob_device *dev;
	struct ob_core found;

	(void)state;
	start("lanes,lanes=3");
	dev = guest.rig->dev;
	dev->counts = true;
	ob_step_begin_beside(&dev->mem, OB_STEP_WORK);
	ob_dev_protect(dev, NULL, 0);
	ob_bit_set_shared(dev->core->msix_pending, 5);
	dev->core->intx_level = 1;
	dev->core->msix[6].data = 7;
	found = after_death(dev);
	assert_int_equal(found.msix_pending[0], 1 << 5);
	assert_int_equal(found.intx_level, 0);
	assert_int_equal(found.msix[6].data, 0);
	/* The rest of it happens alone, and as a whole. */
	ob_lanes_alone(dev);
	ob_dev_protect(dev, NULL, 0);
	ob_bit_clear(dev->core->msix_pending, 5);
	found = after_death(dev);
	assert_int_equal(found.msix_pending[0], 1 << 5);
	assert_int_equal(found.intx_level, 0);
	dev->core->intx_level = 0;
	dev->core->msix[6].data = 0;
	ob_undo_commit(&dev->mem);
	dev->counts = false;
	ob_dev_step_end(dev);
	stop();
}

/* What must stay on one thread does, as long as it must. */
static void test_when_it_may_spread(void **state)
{
	const uint64_t far = 1ull << 32;

	(void)state;
	start("lanes,lanes=3");
	assert_int_equal(rig_map(guest.rig, far, LANE_PAGE, 0, MAP_RW, -1), 0);
	assert_int_equal(peek(LANE_SPREAD), 0);
	assert_int_equal(rig_unmap(guest.rig, far, LANE_PAGE, 0), 0);
	assert_int_equal(peek(LANE_SPREAD), 1);
	rig_set_config(guest.rig, rig_find_cap(guest.rig, 0x11) + 2, 0, 2);
	assert_int_equal(peek(LANE_SPREAD), 0);
	ask_all();
	wait_all();
	rig_set_config(guest.rig, rig_find_cap(guest.rig, 0x11) + 2, 0x8000, 2);
	assert_int_equal(peek(LANE_SPREAD), 1);
	ask_all();
	wait_all();
	stop();
}

static void cancelled(struct ob_dma_op *op, int rc)
{
	(void)op;
	assert_int_equal(rc, -ECANCELED);
}

static void test_far_memory_is_not_a_lanes(void **state)
{
	struct ob_seg seg = { 1ull << 32, 8 };
	struct ob_dma_op op = { .done = cancelled };
	struct ob_loop *loops[OB_LANES_MAX];
	struct ob_device *lane;
	uint64_t value;

	(void)state;
	memcpy(loops, rig_lanes, sizeof(loops));
	memset(rig_lanes, 0, sizeof(rig_lanes));	/* so that we are its thread */
	start("lanes,lanes=2");
	assert_int_equal(rig_map(guest.rig, seg.addr, LANE_PAGE, 0, MAP_RW, -1),
			 0);
	lane = ob_dev_lane(guest.rig->dev, 1);
	ob_dev_enter(lane);
	assert_int_equal(ob_dma_read(lane, &seg, 1, &value, &op), -EAGAIN);
	assert_int_equal(ob_dma_check(lane, seg.addr, 8, false), 0);
	ob_dev_leave(lane);
	lane = ob_dev_lane(guest.rig->dev, 0);
	ob_dev_enter(lane);
	assert_int_equal(ob_dma_read(lane, &seg, 1, &value, &op), -EINPROGRESS);
	ob_dma_cancel_all(lane);
	ob_dev_leave(lane);
	stop();
	memcpy(rig_lanes, loops, sizeof(loops));
}

static void test_masked(void **state)
{
	uint64_t pba = 0;

	(void)state;
	start("lanes,lanes=3");
	assert_int_equal(rig_set_irqs(guest.rig, NONE | MASK, MSIX, 0,
				      LANE_QUEUES, NULL, 0), 0);
	ask_all();
	wait_all();
	assert_int_equal(rig_read(guest.rig, 2, 0x1000, &pba, 8), 0);
	assert_int_equal(pba, (1u << LANE_QUEUES) - 1);
	assert_int_equal(status().waiting, LANE_QUEUES);
	assert_int_equal(rig_set_irqs(guest.rig, NONE | UNMASK, MSIX, 0,
				      LANE_QUEUES, NULL, 0), 0);
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		wait_for_signal(q);
	stop();
}

/* The client takes an eventfd away, which lanes signal, and gives another. */
static void test_other_eventfds(void **state)
{
	int old[LANE_QUEUES];

	(void)state;
	start("lanes,lanes=3");
	for (unsigned i = 0; i < 10; i++) {
		ask_all();
		wait_all();
		memcpy(old, guest.fds, sizeof(old));
		for (unsigned q = 0; q < LANE_QUEUES; q++)
			guest.fds[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ask_all();
		give_eventfds();
		wait_all();
		for (unsigned q = 0; q < LANE_QUEUES; q++) {
			/* Whichever was signalled: the new one was. */
			if (q % 3)
				wait_for_signal(q);
			rig_count(guest.rig, guest.fds[q]);
			ask(q);
			wait_for_signal(q);
			close(old[q]);
		}
	}
	stop();
}

static void test_client_goes_and_another_comes(void **state)
{
	struct rig *rig;

	(void)state;
	start("lanes,lanes=3");
	rig = guest.rig;
	for (unsigned i = 0; i < 5; i++) {
		ask_all();
		rig_hang_up(rig);
		tear_down();
		rig_settle(rig);
		assert_false(status().spread);
		rig_connect(rig);
		set_up(rig);
		assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
		rig_set_config(rig, rig_find_cap(rig, 0x11) + 2, 0x8000, 2);
		rig_master(rig, true);
		ask_all();
		wait_all();
	}
	stop();
}

static void test_refused(void **state)
{
	static const struct ob_option *const tables[] = {
		ob_device_common_options, NULL
	};
	struct ob_device_class cls = lane_class;
	struct ob_options *opts;
	struct ob_device *dev;
	struct ob_err err = { "" };

	(void)state;
	cls.lane_poll = NULL;
	assert_int_equal(ob_options_parse("lanes,socket=/nowhere,lanes=2", tables,
					  &opts, &err), 0);
	assert_int_equal(ob_device_prepare(&cls, opts, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "lanes=2"));
	assert_int_equal(ob_options_parse("lanes,socket=/nowhere,lanes=17", tables,
					  &opts, &err), -EINVAL);
}

/* -- death ------------------------------------------------------------- */

static void threads_of_a_life(void)
{
	lane_threads_begin(2);
}

static void life_wait_all(struct life *life)
{
	for (unsigned q = 0; q < LANE_QUEUES; q++)
		while (!is_done(q))
			assert_false(life_is_dead(life));
}

static struct life *life_ready(void)
{
	struct life *life = life_start(&lane_class);

	life->born = threads_of_a_life;
	life->options = ",lanes=3";
	life_begin(life);
	set_up(&life->rig);
	return life;
}

static void life_over(struct life *life)
{
	life_end(life);
	tear_down();
}

/* Killed anywhere, with other numbers of lanes; nothing asked for is lost. */
static void test_many_deaths(void **state)
{
	static const char *const lanes[] = { "", ",lanes=2", ",lanes=3" };
	struct life *life = life_ready();

	(void)state;
	for (unsigned i = 0; i < 24; i++) {
		ask_all();
		if (i % 2)
			life_wait_all(life);
		ask_all();
		life_kill(life);
		life->options = lanes[i % 3];
		life_begin(life);
		life_wait_all(life);
		for (unsigned q = 0; q < LANE_QUEUES; q++)
			assert_int_equal(peek(LANE_DONE + 8 * q),
					 guest.pages[q]->asked);
		assert_int_equal(peek(LANE_SPREAD), i % 3 != 0);
		poke(LANE_CHECK);
	}
	life_over(life);
}

/* The keeper gives copies, and forgets them, by the end of their names. */
static void test_copies_for_a_rehearsal(void **state)
{
	struct life *life = life_ready();

	(void)state;
	life->shared->copy = true;
	while (life->shared->copy)
		peek(LANE_CHECK);
	fake_keep_drain(&life->keep, life->told);
	assert_true(fake_keep_has(&life->keep, "dev/copy"));
	assert_true(fake_keep_has(&life->keep, "dev/recorder/copy"));
	assert_true(fake_keep_has(&life->keep, "dev/recorder/0/copy"));
	assert_true(fake_keep_has(&life->keep, "dev/recorder/2/copy"));
	life_over(life);
}

/*
 * Asks in each life anew.  Answers to what earlier lives were asked come before: of one
 * that died before it had answered, or without io_uring (sure.h) a second time, since a
 * lane may die at any instant of what the device's thread does.
 */
static bool has_failed(struct life *life)
{
	struct { uint64_t offset; uint32_t region, count; } body = {
		LANE_FAILED, 0, 8
	};

	rig_send(&life->rig, REGION_READ, 0, &body, sizeof(body), NULL, 0);
	do {
		if (!life_is_up(life))
			return false;
		assert_true(rig_receive(&life->rig));
	} while (life->rig.hdr.id != life->rig.id);
	return life->rig.reply[16];
}

/* A lane's step that kills again and again leads to the failed state. */
static void test_fuse(void **state)
{
	struct life *life = life_ready();

	(void)state;
	ask_all();
	life_wait_all(life);
	__atomic_store_n(&guest.pages[1]->asked, LANE_POISON, __ATOMIC_RELEASE);
	rig_send(&life->rig, REGION_WRITE, NO_REPLY,
		 &(struct { uint64_t offset; uint32_t region, count;
			    uint64_t value; }){ LANE_BELL + 8, 0, 8, 0 },
		 24, NULL, 0);
	for (unsigned i = 0; !has_failed(life); i++) {
		assert_true(i < 3);
		life_wait(life);
		assert_int_equal(life->signal, SIGSEGV);
		life_begin(life);
	}
	assert_int_equal(peek(LANE_FAILED), 1);
	guest.pages[1]->asked = ++guest.asked;
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	rig_master(&life->rig, true);
	ask_all();
	life_wait_all(life);
	life_over(life);
}

/* What a lane's recorder says of another life than the last blames nobody. */
static void test_fuse_spares_the_forgotten(void **state)
{
	struct life *life = life_ready();
	struct ob_recorder rec;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(ob_recorder_open(&rec, -1, NULL), 0);
		rec.memory->step = (struct ob_recorder_step){
			.step = 1, .step_kind = OB_STEP_POLL, .generation = 77,
		};
		assert_int_equal(peek(LANE_FAILED), 0);
		fake_keep_drain(&life->keep, life->told);
		assert_int_equal(fake_keep_enter(&life->keep, "dev/recorder/0",
						 ob_fd_take(&rec.fd)), 0);
		ob_recorder_close(&rec);
		life->options = "";
		life_crash(life);
		life_begin(life);
	}
	assert_int_equal(peek(LANE_FAILED), 0);
	life_over(life);
}

static int begin_threads(void **state)
{
	(void)state;
	lane_threads_begin(2);
	return 0;
}

static int end_threads(void **state)
{
	(void)state;
	lane_threads_end();
	return 0;
}

#define WITH_THREADS(fn) \
	cmocka_unit_test_setup_teardown(fn, begin_threads, end_threads)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_deaths),
		cmocka_unit_test(test_fuse),
		cmocka_unit_test(test_fuse_spares_the_forgotten),
		cmocka_unit_test(test_copies_for_a_rehearsal),
		cmocka_unit_test(test_one_lane),
		cmocka_unit_test(test_refused),
		WITH_THREADS(test_spread),
		WITH_THREADS(test_without_threads),
		WITH_THREADS(test_others_losses),
		WITH_THREADS(test_memory_comes_and_goes),
		WITH_THREADS(test_alone_until_committed),
		WITH_THREADS(test_pending_beside_a_step),
		WITH_THREADS(test_when_it_may_spread),
		WITH_THREADS(test_far_memory_is_not_a_lanes),
		WITH_THREADS(test_masked),
		WITH_THREADS(test_other_eventfds),
		WITH_THREADS(test_client_goes_and_another_comes),
	};
	unsigned before = count_fds();
	int r = cmocka_run_group_tests_name("lanes", tests, NULL, NULL);

	if (!r && count_fds() != before) {
		fprintf(stderr, "descriptors were left open\n");
		r = 1;
	}
	return r;
}
