// SPDX-License-Identifier: BSD-3-Clause
/*
 * The NVMe model dies while it begins: before and after each call of the keeper, and
 * in the middle of the reset that a guest asked for.  Whoever comes next finds
 * a controller that can be brought up.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/lock.h"
#include "devices/models.h"
#include "life.h"
#include "server/device_impl.h"

enum { CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30 };
#define ENABLE 0x460001u
#define MEMORY (64u << 10)
#define AT 0x100000u
#define COMMAND 4u

/* Counted down where a reset has changed something and not everything yet. */
static unsigned *die_in_reset;

void __real_ob_dma_cancel_all(struct ob_device *dev);
void __wrap_ob_dma_cancel_all(struct ob_device *dev);
void __wrap_ob_dma_cancel_all(struct ob_device *dev)
{
	if (*die_in_reset && --*die_in_reset == 0)
		kill(getpid(), SIGKILL);
	__real_ob_dma_cancel_all(dev);
}

uint64_t __real_ob_loop_now(const struct ob_loop *loop);
uint64_t __wrap_ob_loop_now(const struct ob_loop *loop);
uint64_t __wrap_ob_loop_now(const struct ob_loop *loop)
{
	if (*die_in_reset && --*die_in_reset == 0)
		kill(getpid(), SIGKILL);
	return __real_ob_loop_now(loop);
}

static uint32_t reg(struct life *life, uint64_t offset)
{
	uint32_t value = 0;

	assert_int_equal(rig_read(&life->rig, 0, offset, &value, 4), 0);
	return value;
}

static void set_reg(struct life *life, uint64_t offset, uint64_t value,
		    uint32_t len)
{
	assert_int_equal(rig_write(&life->rig, 0, offset, &value, len), 0);
}

static void enable(struct life *life)
{
	set_reg(life, AQA, 0x000f000f, 4);
	set_reg(life, ASQ, AT, 8);
	set_reg(life, ACQ, AT + 0x1000, 8);
	set_reg(life, CC, ENABLE, 4);
	assert_int_equal(reg(life, CSTS), 1);
}

static struct life *start_with(const char *options)
{
	struct life *life = life_start(&ob_nvme_class);
	int fd = memfd_create("guest", MFD_CLOEXEC);

	life->options = options;
	assert_int_equal(ftruncate(fd, MEMORY), 0);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	assert_int_equal(rig_map(&life->rig, AT, MEMORY, 0, 3, fd), 0);
	rig_set_config(&life->rig, COMMAND, 6, 2);
	close(fd);
	return life;
}

static struct life *start(void)
{
	return start_with(",drive=mem:64K,queues=4");
}

static void ask(struct life *life, unsigned cmd, uint64_t offset,
		uint32_t value)
{
	struct { uint64_t offset; uint32_t region, count, value; } body = {
		offset, 0, 4, value
	};

	rig_send(&life->rig, cmd, 0, &body,
		 cmd == REGION_WRITE ? sizeof(body) - 4 : 16, NULL, 0);
}

static void answered(struct life *life)
{
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life->rig.hdr.id, life->rig.id);
	assert_int_equal(life->rig.hdr.flags & ERROR, 0);
}

/* A life that dies at that call of the keeper, and one more; true: there is no such
 * call, and it lives. */
static bool begin_twice(struct life *life, unsigned call)
{
	bool up;

	life->shared->die_at_call = call;
	life_begin(life);
	up = life_goes_on(life);
	answered(life);
	return up;
}

static void die_at_each_call(void (*prepare)(struct life *life),
			     uint32_t csts)
{
	struct life *life = start();
	unsigned n = 0;
	bool up = false;

	while (!up) {
		prepare(life);
		life_kill(life);
		ask(life, REGION_READ, CSTS, 0);
		up = begin_twice(life, ++n);
		assert_int_equal(reg(life, CSTS), csts);
		set_reg(life, CC, 0, 4);
		assert_int_equal(reg(life, CSTS), 0);
		enable(life);
		set_reg(life, CC, 0, 4);
	}
	assert_true(n > 8);
	life_end(life);
}

static void nothing(struct life *life)
{
	(void)life;
}

/* What had been protected when the state was new was undone: no queues at all. */
static void test_features_stay_when_a_new_state_is_inherited(void **state)
{
	(void)state;
	die_at_each_call(nothing, 0);
}

static void test_an_enabled_controller_stays_enabled(void **state)
{
	(void)state;
	die_at_each_call(enable, 1);
}

/* In the middle of the reset, and then at each call of whoever takes that over. */
static void test_a_reset_cut_short_is_done_again(void **state)
{
	struct life *life = start();
	unsigned n = 0;
	bool up = false;

	(void)state;
	while (!up) {
		enable(life);
		*die_in_reset = 1 + n % 2;
		ask(life, REGION_WRITE, CC, 0);
		life_wait(life);
		up = begin_twice(life, ++n);
		assert_int_equal(reg(life, CC), 0);
		assert_int_equal(reg(life, CSTS), 0);
	}
	assert_true(n > 8);
	enable(life);
	life_end(life);
}

/*
 * A guest that enables the controller wants its drives.  While a predecessor's
 * requests may go on that has to wait, but not to be forgotten.
 */
static void test_enabled_while_adopting_it_gets_its_drives(void **state)
{
	char path[] = "/tmp/outboard-test-XXXXXX", options[128];
	int fd = mkstemp(path);
	struct life *life;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEMORY), 0);
	snprintf(options, sizeof(options),
		 ",drive=file:%s,queues=4,incoming=on", path);
	life = start_with(options);
	life_kill(life);
	life->hold_rings = true;
	life_begin(life);
	enable(life);
	life_kill(life);
	assert_int_equal(ob_image_try_lock(fd, false, NULL), 0);
	assert_int_equal(ob_image_unlock(fd), 0);
	life->hold_rings = false;
	life_begin(life);
	assert_int_equal(reg(life, CSTS), 1);
	rig_settle(&life->rig);
	assert_int_equal(ob_image_try_lock(fd, false, NULL), -EBUSY);
	life_end(life);
	unlink(path);
	close(fd);
}

static unsigned pages(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(fstat(rig->dev->mem.fd, &st), 0);
	return (unsigned)(st.st_blocks / (sysconf(_SC_PAGESIZE) / 512));
}

/* There may be a thousand of them: header, core, plain, hot, session, and two for the
 * schema; none for the undo, and no more when a client was there. */
static void test_an_idle_disk_is_a_few_pages(void **state)
{
	struct rig *rig;

	(void)state;
	if (sysconf(_SC_PAGESIZE) != 4096)
		skip();		/* what is in one page is otherwise */
	rig = rig_start_model(&ob_nvme_class, "nvme,drive=null:1G");
	assert_int_equal(pages(rig), 8);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_set_config(rig, COMMAND, 6, 2);
	rig_hang_up(rig);
	rig_settle(rig);
	assert_int_equal(pages(rig), 8);
	rig_end(rig);
}

static int setup(void **state)
{
	(void)state;
	die_in_reset = mmap(NULL, sizeof(*die_in_reset), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return die_in_reset == MAP_FAILED ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_idle_disk_is_a_few_pages),
		cmocka_unit_test(test_features_stay_when_a_new_state_is_inherited),
		cmocka_unit_test(test_an_enabled_controller_stays_enabled),
		cmocka_unit_test(test_a_reset_cut_short_is_done_again),
		cmocka_unit_test(test_enabled_while_adopting_it_gets_its_drives),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
