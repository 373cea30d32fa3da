// SPDX-License-Identifier: BSD-3-Clause
/*
 * A successor finds everything (docs/crash-safety.md): each test kills the
 * process of a device somewhere and goes on with the same connection.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "life.h"
#include "rig_mig.h"

#define GUEST 0x100000u
#define MSIX 2u
#define EVENTFD_TRIGGER 0x24u
#define NONE_TRIGGER 0x21u

/* Asks, and the answer comes from whoever lives then. */
static void put_dying(struct life *life, uint64_t offset, uint64_t value)
{
	struct { uint64_t offset; uint32_t region, count; uint64_t value; } body = {
		offset, 0, 8, value
	};

	rig_send(&life->rig, REGION_WRITE, 0, &body, sizeof(body), NULL, 0);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.id, life->rig.id);
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
}

static int guest_memory(uint8_t **at)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, GUEST), 0);
	*at = mmap(NULL, GUEST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*at != MAP_FAILED);
	return fd;
}

/* The device writes as soon as nothing of the dead is under way. */
static void await(const uint8_t *at, const char *bytes, size_t len)
{
	for (unsigned ms = 0; ms < 10000 && memcmp(at, bytes, len); ms++)
		poll(NULL, 0, 1);
	assert_memory_equal(at, bytes, len);
}

static bool rung(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, 10000) == 1 && read(fd, &n, 8) == 8;
}

static void test_registers(void **unused)
{
	struct life *life = life_served();
	uint8_t bytes[32], back[32];

	(void)unused;
	memset(bytes, 0x5a, sizeof(bytes));
	assert_int_equal(rig_write(&life->rig, 0, LIFE_SCRATCH, bytes, 32), 0);
	assert_int_equal(life_put(life, LIFE_ADD, 7), 0);
	assert_int_equal(life_put(life, LIFE_HOT, 99), 0);
	rig_set_config(&life->rig, 0x3c, 0x77, 1);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 7);
	assert_int_equal(life_get(life, LIFE_HOT), 99);
	assert_int_equal(rig_read(&life->rig, 0, LIFE_SCRATCH, back, 32), 0);
	assert_memory_equal(bytes, back, 32);
	assert_int_equal(rig_config(&life->rig, 0x3c, 1), 0x77);
	assert_string_equal(life->shared->calls, "rclr");
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 7);
	life_end(life);
}

static void test_message_once(void **unused)
{
	static const enum die where[] = { DIE_BEFORE_WRITE, DIE_AFTER_WRITE };
	struct life *life = life_served();

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		life->shared->die = where[i];
		put_dying(life, LIFE_ADD, 5);
		assert_int_equal(life_get(life, LIFE_ADD), 5 * (i + 1));
	}
	life->shared->die = DIE_AFTER_WRITE;
	put_dying(life, LIFE_HOT, 3);
	assert_int_equal(life_get(life, LIFE_HOT), 3);
	life_end(life);
}

/* Kills at random instants: what was asked happened once, and is answered once. */
static void test_any_time(void **unused)
{
	struct life *life;
	uint64_t sum = 0;

	(void)unused;
	if (getenv("OB_TEST_POOL"))
		skip();		/* without io_uring the outcome is in doubt */
	life = life_served();
	srand(1);
	for (unsigned i = 0; i < 40; i++) {
		unsigned ahead = 1 + (unsigned)rand() % 24;
		uint16_t first = life->rig.id;

		for (unsigned n = 0; n < ahead; n++) {
			struct { uint64_t at; uint32_t bar, count; uint64_t v; } b = {
				LIFE_ADD, 0, 8, 1
			};

			rig_send(&life->rig, REGION_WRITE, 0, &b, sizeof(b),
				 NULL, 0);
		}
		usleep((unsigned)rand() % 1500);
		life_again(life);
		for (unsigned n = 0; n < ahead; n++) {
			assert_true(rig_receive(&life->rig));
			assert_int_equal(life->rig.hdr.id,
					 (uint16_t)(first + 1 + n));
		}
		sum += ahead;
		assert_int_equal(life_get(life, LIFE_ADD), sum);
	}
	life_end(life);
}

static void post(struct life *life, uint64_t at, uint64_t value)
{
	struct { uint64_t at; uint32_t bar, count; uint64_t v; } b = {
		at, 0, 8, value
	};

	rig_send(&life->rig, REGION_WRITE, NO_REPLY, &b, sizeof(b), NULL, 0);
}

/* The same of writes that nobody waits for: all happen, those that add once, and
 * the hot ones in their order, which one store each keeps. */
static void test_posted_at_any_time(void **unused)
{
	struct life *life;
	uint64_t sum = 0;

	(void)unused;
	if (getenv("OB_TEST_POOL"))
		skip();		/* as above */
	life = life_served();
	srand(2);
	for (unsigned i = 0; i < 30; i++) {
		unsigned ahead = 1 + (unsigned)rand() % 200;

		for (unsigned n = 0; n < ahead; n++) {
			post(life, n % 3 ? LIFE_HOT : LIFE_ADD, 1);
			sum += !(n % 3);
		}
		post(life, LIFE_HOT, 1000 + i);
		usleep((unsigned)rand() % 700);
		life_again(life);
		assert_int_equal(life_get(life, LIFE_HOT), 1000 + i);
		assert_int_equal(life_get(life, LIFE_ADD), sum);
	}
	life_end(life);
}

static void test_memory(void **unused)
{
	struct life *life = life_served();
	uint8_t *guest;
	int fd = guest_memory(&guest);

	(void)unused;
	rig_master(&life->rig, true);
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x10000, 0, 3, fd), 0);
	assert_int_equal(rig_map(&life->rig, 0x40000, 0x1000, 0x20000, 3, fd), 0);
	assert_int_equal(rig_unmap(&life->rig, 0x10000, 0x10000, 0), 0);
	fake_keep_drain(&life->keep, life->told);
	assert_true(fake_keep_has(&life->keep, "dev/dma/1"));
	life_again(life);
	assert_int_equal(life_put(life, LIFE_SEND, 0x40010), 0);
	await(guest + 0x20010, "written!", 8);
	assert_int_equal(rig_unmap(&life->rig, 0x10000, 0x10000, 0), ENOENT);
	assert_int_equal(rig_map(&life->rig, 0x40000, 0x2000, 0, 3, fd), EEXIST);
	assert_int_equal(rig_unmap(&life->rig, 0x40000, 0x1000, 0), 0);
	life_kill(life);
	assert_false(fake_keep_has(&life->keep, "dev/dma/1"));
	munmap(guest, GUEST);
	close(fd);
	life_end(life);
}

/* The messages about memory themselves, cut short. */
static void test_map_once(void **unused)
{
	struct { uint32_t argsz, flags; uint64_t offset, addr, size; } map = {
		sizeof(map), 3, 0, 0x10000, 0x1000
	};
	struct { uint32_t argsz, flags; uint64_t addr, size; } unmap = {
		sizeof(unmap), 0, 0x10000, 0x1000
	};
	struct life *life = life_served();
	uint8_t *guest;
	int fd = guest_memory(&guest);

	(void)unused;
	life->shared->die = DIE_IN_MEMORY_CHANGED;
	rig_send(&life->rig, DMA_MAP, 0, &map, sizeof(map), &fd, 1);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
	life->shared->die = DIE_IN_MEMORY_CHANGED;
	rig_send(&life->rig, DMA_UNMAP, 0, &unmap, sizeof(unmap), NULL, 0);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
	assert_int_equal(rig_unmap(&life->rig, 0x10000, 0x1000, 0), ENOENT);
	munmap(guest, GUEST);
	close(fd);
	life_end(life);
}

static void enable_msix(struct life *life)
{
	uint32_t cap = rig_find_cap(&life->rig, 0x11);

	rig_set_config(&life->rig, cap + 2, 0x8000, 2);
}

static void test_interrupts(void **unused)
{
	struct life *life = life_served();
	int fds[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	uint32_t entry[4] = { 0xfee00000, 0, 0x1234, 0 }, back[4];

	(void)unused;
	enable_msix(life);
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, MSIX, 1, 2,
				      fds, 2), 0);
	assert_int_equal(rig_write(&life->rig, 2, 16, entry, 16), 0);
	life->shared->die = DIE_AFTER_RAISE;
	put_dying(life, LIFE_RAISE, 1);
	assert_true(rung(fds[0]));
	assert_int_equal(rig_read(&life->rig, 2, 16, back, 16), 0);
	assert_memory_equal(entry, back, 16);
	/* What was owed has been paid by the time of the next answer or so. */
	rig_count(&life->rig, fds[0]);
	rig_count(&life->rig, fds[1]);
	assert_int_equal(life_put(life, LIFE_RAISE, 2), 0);
	assert_true(rung(fds[1]));
	/* One that was taken away stays away. */
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, MSIX, 1, 1,
				      NULL, 0), 0);
	life_again(life);
	assert_false(fake_keep_has(&life->keep, "dev/irq/2/1"));
	assert_int_equal(life_put(life, LIFE_RAISE, 1), 0);
	assert_int_equal(life_put(life, LIFE_RAISE, 2), 0);
	assert_true(rung(fds[1]));
	assert_int_equal(rig_count(&life->rig, fds[0]), 0);
	close(fds[0]);
	close(fds[1]);
	life_end(life);
}

/* A vector that the guest has not enabled; its client was told that it was fired. */
static void test_loopback(void **unused)
{
	struct { uint64_t offset; uint32_t region, count; uint64_t value; } add = {
		LIFE_ADD, 0, 8, 5
	};
	uint32_t fire[5] = { sizeof(fire), NONE_TRIGGER, MSIX, 1, 1 };
	struct life *life = life_served();
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)unused;
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, MSIX, 1, 1,
				      &fd, 1), 0);
	/* One batch, in which the second message kills. */
	kill(life->pid, SIGSTOP);
	life->shared->die = DIE_AFTER_WRITE;
	rig_send(&life->rig, SET_IRQS, 0, fire, sizeof(fire), NULL, 0);
	rig_send(&life->rig, REGION_WRITE, 0, &add, sizeof(add), NULL, 0);
	kill(life->pid, SIGCONT);
	life_wait(life);
	life_begin(life);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(rig_receive(&life->rig));
		assert_int_equal(life->rig.hdr.flags & ERROR, 0);
	}
	assert_int_equal(rig_count(&life->rig, fd), 1);
	close(fd);
	life_end(life);
}

static void test_pin(void **unused)
{
	struct life *life = life_served();
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)unused;
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, 0, 0, 1, &fd,
				      1), 0);
	assert_int_equal(life_put(life, LIFE_RAISE, 1), 0);
	assert_true(rung(fd));
	life_again(life);
	/* The client may have missed it. */
	assert_true(rung(fd));
	assert_int_equal(life_put(life, LIFE_RAISE, 0), 0);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	assert_int_equal(rig_count(&life->rig, fd), 0);
	close(fd);
	life_end(life);
}

/* A poisonous message is given up, and the device stands still until reset. */
static void test_fuse(void **unused)
{
	struct { uint64_t offset; uint32_t region, count; uint64_t value; } body = {
		LIFE_POISON, 0, 8, 1
	};
	struct life *life = life_served();
	unsigned runs;

	(void)unused;
	life->shared->poison = true;
	rig_send(&life->rig, REGION_WRITE, 0, &body, sizeof(body), NULL, 0);
	for (unsigned i = 0; i < 3; i++) {
		life_wait(life);
		life_begin(life);
	}
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.error, EIO);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	life->shared->poison = false;
	runs = life->shared->runs;
	assert_int_equal(life_put(life, LIFE_ADD, 1), 0);
	assert_int_equal(life_get(life, LIFE_ADD), 1);
	assert_int_equal(life_put(life, LIFE_WORK, 5), 0);
	rig_settle(&life->rig);
	assert_int_equal(life_get(life, LIFE_ADD), 1);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	assert_true(life->shared->runs > runs);
	assert_int_equal(life_put(life, LIFE_WORK, 5), 0);
	for (unsigned i = 0; i < 1000 && life_get(life, LIFE_ADD) != 5; i++)
		rig_settle(&life->rig);
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	life_end(life);
}

static void test_work_once(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	life->shared->die = DIE_IN_WORK;
	assert_int_equal(life_put(life, LIFE_WORK, 11), 0);
	life_wait(life);
	life_begin(life);
	for (unsigned i = 0; i < 1000 && life_get(life, LIFE_ADD) != 11; i++)
		rig_settle(&life->rig);
	assert_int_equal(life_get(life, LIFE_ADD), 11);
	life_end(life);
}

static struct ob_device_class failing;

static void go_bad(struct ob_device *dev)
{
	struct life_state *st = ob_dev_state(dev);

	st->work = 0;
	st->sum = 4711;
}

/* Work that kills: no message, so the model's failed state. */
static void test_fuse_of_work(void **unused)
{
	struct life *life;

	(void)unused;
	failing = life_class;
	failing.fail = go_bad;
	life = life_start(&failing);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	life->shared->poison_work = true;
	assert_int_equal(life_put(life, LIFE_WORK, 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		life_wait(life);
		life_begin(life);
	}
	assert_int_equal(life_get(life, LIFE_ADD), 4711);
	life_end(life);
}

/* Who is killed from outside may be in the same step each time. */
static void test_fuse_spares_the_killed(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	life->shared->die = DIE_IN_WORK;
	assert_int_equal(life_put(life, LIFE_WORK, 11), 0);
	for (unsigned i = 0; i < 10; i++) {
		life_wait(life);
		assert_int_equal(life->signal, SIGKILL);
		life->shared->die = i < 9 ? DIE_IN_WORK : DIE_NOT;
		life_begin(life);
	}
	for (unsigned i = 0; i < 1000 && life_get(life, LIFE_ADD) != 11; i++)
		rig_settle(&life->rig);
	assert_int_equal(life_get(life, LIFE_ADD), 11);
	life_end(life);
}

/* Each of them dies of what it finds; the third is the last. */
static void takers_die(struct life *life, enum taking how, unsigned times)
{
	life->shared->poison_taking = how;
	life_kill(life);
	life_begin(life);
	for (unsigned i = 0; i < times; i++) {
		life_wait(life);
		life->last_try = true;	/* the keeper has counted, too */
		if (i == times - 1)
			life->shared->poison_taking = TAKING_WELL;
		life_begin(life);
	}
}

static void test_state_that_kills_its_takers(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	takers_die(life, TAKING_CRASHES, 3);
	do
		fake_keep_drain(&life->keep, life->told);
	while (fake_keep_has(&life->keep, "dev/client"));
	assert_false(rig_receive(&life->rig));
	life_connect(life);
	life_again(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	life_end(life);
}

/* Two are too few, and who has served in between begins the count anew. */
static void test_state_that_killed_twice(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	for (unsigned i = 0; i < 3; i++) {
		takers_die(life, TAKING_CRASHES, 2);
		assert_int_equal(life_get(life, LIFE_ADD), 5);
	}
	life_end(life);
}

static void test_takers_that_were_killed(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	takers_die(life, TAKING_IS_KILLED, 10);
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	life_end(life);
}

/* Stands still until no request of the dead is in the kernel; answers. */
static void test_old_rings(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	life->shared->die = DIE_IN_WORK;
	assert_int_equal(life_put(life, LIFE_WORK, 3), 0);
	life_wait(life);
	life->hold_rings = true;
	life->shared->calls[0] = 0;
	life_begin(life);
	assert_int_equal(life_put(life, LIFE_ADD, 1), 0);
	rig_settle(&life->rig);
	if (!getenv("OB_TEST_POOL")) {
		assert_int_equal(life_get(life, LIFE_ADD), 1);
		assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
		assert_null(strchr(life->shared->calls, 'r'));
	}
	life_end(life);
}

static int mig_read(struct life *life, uint32_t size)
{
	uint32_t ask[2] = { 8 + size, size };

	return rig_call(&life->rig, MIG_READ, ask, sizeof(ask));
}

static void test_broken_migration(void **unused)
{
	struct { uint32_t argsz, size; uint8_t data[8]; } chunk = {
		sizeof(chunk), 8, { 0 }
	};
	struct life *life = life_served();

	(void)unused;
	assert_int_equal(rig_mig_set(&life->rig, S_COPY), 0);
	assert_int_equal(mig_read(life, 100), 0);
	life_again(life);
	assert_int_equal(rig_mig_get(&life->rig), S_COPY);
	assert_int_equal(mig_read(life, 100), EIO);
	assert_int_equal(rig_mig_set(&life->rig, S_RUNNING), 0);
	assert_int_equal(life_put(life, LIFE_ADD, 2), 0);
	/* The next one is as ever. */
	assert_int_equal(rig_mig_set(&life->rig, S_COPY), 0);
	assert_int_equal(mig_read(life, 100), 0);
	assert_int_equal(rig_mig_set(&life->rig, S_STOP), 0);
	assert_int_equal(rig_mig_set(&life->rig, S_RESUMING), 0);
	life_again(life);
	assert_int_equal(rig_mig_get(&life->rig), S_RESUMING);
	assert_int_equal(rig_call(&life->rig, MIG_WRITE, &chunk,
				  sizeof(chunk)), EIO);
	assert_int_equal(rig_mig_set(&life->rig, S_STOP), EIO);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	assert_int_equal(rig_mig_get(&life->rig), S_RUNNING);
	life_end(life);
}

/* What is loaded becomes the device's as a whole, or not at all: a device that has
 * never used its hot part has none of the stream's afterwards. */
static void test_death_in_a_load(void **unused)
{
	struct life *life = life_served();
	struct stream stream = { 0 };

	(void)unused;
	assert_int_equal(life_put(life, LIFE_ADD, 7), 0);
	assert_int_equal(life_put(life, LIFE_HOT, 99), 0);
	rig_save(&life->rig, &stream);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	rig_load(&life->rig, &stream);
	life->shared->die = DIE_IN_LOADED;
	rig_mig_ask(&life->rig, S_STOP);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.error, EIO);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	assert_int_equal(life_get(life, LIFE_HOT), 0);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	rig_load(&life->rig, &stream);
	assert_int_equal(rig_mig_set(&life->rig, S_STOP), 0);
	assert_int_equal(life_get(life, LIFE_ADD), 7);
	assert_int_equal(life_get(life, LIFE_HOT), 99);
	stream_free(&stream);
	life_end(life);
}

/* How much there is to read in PRE_COPY. */
static uint32_t pre_copy_size(struct life *life)
{
	uint32_t all = 0, got;

	assert_int_equal(rig_mig_set(&life->rig, S_PRE), 0);
	do {
		assert_int_equal(mig_read(life, 4096), 0);
		memcpy(&got, life->rig.reply + 4, sizeof(got));
		all += got;
	} while (got);
	return all;
}

/*
 * A device that stands still because its predecessor died is no stopped one:
 * who saves it before it runs again gets no end of the stream, and it keeps its
 * drives.
 */
static void test_pre_copy_while_adopting(void **unused)
{
	struct life *life = life_served();
	uint32_t all = pre_copy_size(life);

	(void)unused;
	assert_int_equal(rig_mig_set(&life->rig, S_RUNNING), 0);
	life_kill(life);
	life->hold_rings = true;
	life_begin(life);
	assert_int_equal(pre_copy_size(life), all);
	life_end(life);
}

/* A standstill that was cut short is done by the next. */
static void test_halt(void **unused)
{
	struct life *life = life_served();

	(void)unused;
	life->shared->die = DIE_IN_HALT;
	rig_mig_ask(&life->rig, S_STOP);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
	assert_int_equal(rig_mig_get(&life->rig), S_STOP);
	life_again(life);
	assert_int_equal(rig_mig_get(&life->rig), S_STOP);
	assert_int_equal(rig_mig_set(&life->rig, S_RUNNING), 0);
	life_end(life);
}

/* However short its own drain is, a predecessor's operations are waited for. */
static void test_halt_while_adopting(void **unused)
{
	struct life *life = life_start(&life_class);

	(void)unused;
	life->options = ",drain=1";
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	life_kill(life);
	life->hold_rings = true;
	life_begin(life);
	rig_mig_ask(&life->rig, S_STOP);
	for (unsigned i = 0; i < 20; i++)
		rig_settle(&life->rig);
	life_kill(life);
	life->hold_rings = false;
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
	assert_int_equal(rig_mig_get(&life->rig), S_STOP);
	life_end(life);
}

static void test_dirty_log(void **unused)
{
	struct { uint32_t argsz, flags; uint64_t page; uint32_t n, pad; } ask = {
		sizeof(ask), 1u << 17 | 6, 4096, 0, 0
	};
	struct { uint32_t argsz, flags; uint64_t iova, len, page; } report = {
		1u << 20, 1u << 16 | 8, 0x10000, 0x10000, 4096
	};
	struct life *life = life_served();
	uint8_t *guest;
	int fd = guest_memory(&guest);

	(void)unused;
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x10000, 0, 3, fd), 0);
	assert_int_equal(rig_call(&life->rig, FEATURE, &ask, sizeof(ask)), 0);
	life_again(life);
	assert_int_equal(rig_call(&life->rig, FEATURE, &report,
				  sizeof(report)), 0);
	assert_int_equal(life->rig.reply[32], 0xff);
	assert_int_equal(life->rig.reply[33], 0xff);
	assert_int_equal(rig_call(&life->rig, FEATURE, &report,
				  sizeof(report)), 0);
	assert_int_equal(life->rig.reply[32], 0);
	munmap(guest, GUEST);
	close(fd);
	life_end(life);
}

/* Memory without an fd: asked again, and the late answer is nobody's. */
static void test_dma_message(void **unused)
{
	struct life *life = life_served();
	struct hdr first;

	(void)unused;
	rig_master(&life->rig, true);
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x1000, 0, 3, -1), 0);
	assert_int_equal(life_put(life, LIFE_SEND, 0x10000), 0);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.cmd, DMA_WRITE);
	first = life->rig.hdr;
	life_again(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.cmd, DMA_WRITE);
	assert_int_not_equal(life->rig.hdr.id, first.id);
	rig_answer(&life->rig, life->client, &first, 0, life->rig.reply, 16);
	rig_settle(&life->rig);
	assert_int_equal(life->shared->sent, 0);
	rig_answer(&life->rig, life->client, &life->rig.hdr, 0,
		   life->rig.reply, 16);
	for (unsigned i = 0; i < 5000 && !life->shared->sent; i++)
		rig_settle(&life->rig);
	assert_int_equal(life->shared->sent, 1);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	life_end(life);
}

static void test_twin(void **unused)
{
	struct life *life = life_start(&life_class);
	struct pollfd p = { .events = POLLIN };
	struct hdr hdr;
	uint8_t body[32];
	int twin;

	(void)unused;
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, "{\"capabilities\":{"
		"\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}"), 0);
	assert_int_equal(life->rig.nr_fds, 1);
	twin = dup(life->rig.fds[0]);
	rig_master(&life->rig, true);
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x1000, 0, 3, -1), 0);
	life_kill(life);
	assert_true(fake_keep_has(&life->keep, "dev/twin"));
	assert_false(fake_keep_has(&life->keep, "dev/twin-peer"));
	life_begin(life);
	assert_int_equal(life_put(life, LIFE_SEND, 0x10000), 0);
	p.fd = twin;
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(recv(twin, &hdr, sizeof(hdr), MSG_WAITALL), sizeof(hdr));
	assert_int_equal(hdr.cmd, DMA_WRITE);
	assert_int_equal(recv(twin, body, 24, MSG_WAITALL), 24);
	rig_answer(&life->rig, twin, &hdr, 0, body, 16);
	for (unsigned i = 0; i < 5000 && !life->shared->sent; i++)
		rig_settle(&life->rig);
	assert_int_equal(life->shared->sent, 1);
	close(twin);
	life_end(life);
}

/* The client goes while nobody is there; the next one finds the device. */
static void test_client_gone(void **unused)
{
	struct life *life = life_served();
	uint8_t *guest;
	int fd = guest_memory(&guest);

	(void)unused;
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x1000, 0, 3, fd), 0);
	assert_int_equal(life_put(life, LIFE_ADD, 6), 0);
	life_kill(life);
	assert_true(fake_keep_has(&life->keep, "dev/dma/1"));
	life_connect(life);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	assert_int_equal(life_get(life, LIFE_ADD), 6);
	assert_int_equal(rig_unmap(&life->rig, 0x10000, 0x1000, 0), ENOENT);
	fake_keep_drain(&life->keep, life->told);
	assert_false(fake_keep_has(&life->keep, "dev/dma/1"));
	munmap(guest, GUEST);
	close(fd);
	life_end(life);
}

static void test_bar_memory(void **unused)
{
	uint32_t ask[8] = { 64, 0, 0, 0, 0, 0, 0, 0 };
	struct life *life = life_served();
	uint64_t value;
	uint8_t *bar;

	(void)unused;
	assert_int_equal(rig_call(&life->rig, REGION_INFO, ask, 32), 0);
	assert_int_equal(life->rig.nr_fds, 1);
	bar = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED,
		   life->rig.fds[0], 0x1000);
	assert_true(bar != MAP_FAILED);
	memcpy(bar + 8, "mappable", 8);
	life_again(life);
	assert_int_equal(rig_read(&life->rig, 0, 0x1008, &value, 8), 0);
	assert_memory_equal(&value, "mappable", 8);
	memcpy(bar + 8, "shared!!", 8);
	assert_int_equal(rig_read(&life->rig, 0, 0x1008, &value, 8), 0);
	assert_memory_equal(&value, "shared!!", 8);
	munmap(bar, 0x1000);
	life_end(life);
}

/* Before and after each call of the keeper, while a life begins. */
static void test_each_call(void **unused)
{
	struct { uint64_t offset; uint32_t region, count; uint64_t value; } body = {
		LIFE_ADD, 0, 8, 1
	};
	struct life *life = life_served();
	uint8_t *guest;
	int fd = guest_memory(&guest), efd = eventfd(0, EFD_CLOEXEC);
	unsigned n = 0;

	(void)unused;
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x1000, 0, 3, fd), 0);
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, MSIX, 1, 1,
				      &efd, 1), 0);
	assert_int_equal(life_put(life, LIFE_HOT, 77), 0);
	for (bool up = false; !up; ) {
		/* An answer says that the next life is up: not this one's. */
		life_kill(life);
		rig_send(&life->rig, REGION_WRITE, 0, &body, sizeof(body), NULL,
			 0);
		life->shared->die_at_call = ++n;
		life_begin(life);
		up = life_goes_on(life);
		assert_true(rig_receive(&life->rig));
		assert_int_equal(life->rig.hdr.id, life->rig.id);
		assert_int_equal(life_get(life, LIFE_ADD), n);
		assert_int_equal(life_get(life, LIFE_HOT), 77);
	}
	assert_true(n > 8);
	munmap(guest, GUEST);
	close(fd);
	close(efd);
	life_end(life);
}

/* The same build judges a copy beside who serves, and changes nothing. */
static void test_rehearsal(void **unused)
{
	struct ob_loop_params params = { .engine = OB_LOOP_POOL };
	struct life *life = life_served();
	struct ob_rehearsal out;
	struct ob_loop *loop;
	struct ob_err err = { "" };
	struct ob_device_class other = life_class;
	unsigned names;

	(void)unused;
	assert_int_equal(life_put(life, LIFE_ADD, 3), 0);
	life->shared->copy = true;
	assert_int_equal(life_get(life, LIFE_ADD), 3);
	for (unsigned i = 0; i < 5000 && life->shared->copy; i++)
		rig_settle(&life->rig);
	fake_keep_drain(&life->keep, life->told);
	names = fake_keep_count(&life->keep);
	assert_int_equal(ob_loop_create(&params, &loop, &err), 0);
	ob_loop_set_keep(loop, &life->keep.keep);
	life->keep.puts = 0;
	assert_int_equal(ob_device_rehearse(loop, &life_class,
					    life_options(life), &out, &err), 0);
	assert_true(out.state_bytes > 4096);
	assert_int_equal(out.in_flight, 0);
	assert_int_equal(life->keep.puts, 0);
	assert_int_equal(fake_keep_count(&life->keep), names);
	other.hot = NULL;	/* which had something to say */
	assert_int_equal(life_put(life, LIFE_HOT, 1), 0);
	other.name = "other";
	assert_int_equal(ob_device_rehearse(loop, &other, life_options(life),
					    &out, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "model life"));
	/* For the practice no copy is needed. */
	ob_keep_drop(loop, "dev/copy");
	names = fake_keep_count(&life->keep);
	assert_int_equal(ob_device_rehearse(loop, &life_class,
					    life_options(life), &out, &err),
			 -ENOENT);
	assert_int_equal(ob_device_rehearse(loop, &life_class,
					    life_options(life), NULL, &err), 0);
	assert_int_equal(life->keep.puts, 0);
	assert_int_equal(fake_keep_count(&life->keep), names);
	assert_int_equal(life_get(life, LIFE_ADD), 3);
	ob_loop_destroy(loop);
	life_end(life);
}

/* What a successor does before its turn needs no loop, and leaves no trace. */
static void test_prepared_before_its_turn(void **unused)
{
	struct ob_loop_params params = { .engine = OB_LOOP_POOL };
	struct ob_device *dev, *unused_dev;
	struct ob_device_class bad = life_class;
	struct life *life = life_served();
	struct ob_err err = { "" };
	unsigned fds = count_fds();
	struct ob_loop *loop;

	(void)unused;
	bad.abi++;
	assert_int_equal(ob_device_prepare(&bad, life_options(life), &dev,
					   &err), -EINVAL);
	assert_int_equal(ob_device_prepare(&life_class, life_options(life),
					   &unused_dev, &err), 0);
	ob_device_get_warm(unused_dev);
	ob_device_destroy(unused_dev);
	assert_int_equal(count_fds(), fds);

	assert_int_equal(ob_device_prepare(&life_class, life_options(life),
					   &dev, &err), 0);
	ob_device_get_warm(dev);
	assert_int_equal(ob_loop_create(&params, &loop, &err), 0);
	assert_int_equal(ob_device_begin(&dev, loop, NULL, &err), 0);
	assert_string_equal(ob_dev_id(dev), "dev");
	ob_device_destroy(dev);
	ob_loop_destroy(loop);
	assert_int_equal(count_fds(), fds);
	life_end(life);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_message_once),
		cmocka_unit_test(test_any_time),
		cmocka_unit_test(test_posted_at_any_time),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_map_once),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_pin),
		cmocka_unit_test(test_fuse),
		cmocka_unit_test(test_work_once),
		cmocka_unit_test(test_fuse_of_work),
		cmocka_unit_test(test_fuse_spares_the_killed),
		cmocka_unit_test(test_state_that_kills_its_takers),
		cmocka_unit_test(test_state_that_killed_twice),
		cmocka_unit_test(test_takers_that_were_killed),
		cmocka_unit_test(test_old_rings),
		cmocka_unit_test(test_broken_migration),
		cmocka_unit_test(test_death_in_a_load),
		cmocka_unit_test(test_pre_copy_while_adopting),
		cmocka_unit_test(test_halt),
		cmocka_unit_test(test_halt_while_adopting),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_dma_message),
		cmocka_unit_test(test_twin),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_bar_memory),
		cmocka_unit_test(test_each_call),
		cmocka_unit_test(test_rehearsal),
		cmocka_unit_test(test_prepared_before_its_turn),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
