// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device that stands still: nothing goes out of it, everything is answered,
 * and nothing that happened meanwhile is lost (R29).
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_drive.h"
#include "rig_mig.h"
#include "server/device_impl.h"

static const uint8_t still[] = { S_STOP, S_COPY, S_RESUMING, S_ERROR };

static void bring(struct rig *rig, unsigned state)
{
	if (state != S_ERROR) {
		assert_int_equal(rig_mig_set(rig, state), 0);
		return;
	}
	assert_int_equal(rig_mig_set(rig, S_RESUMING), 0);
	assert_int_not_equal(rig_mig_set(rig, S_STOP), 0);
}

static int memory(struct rig *rig)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0x10000), 0);
	assert_int_equal(rig_map(rig, 0, 0x10000, 0, 3, fd), 0);
	return fd;
}

static void no_dma_in_either_direction(void **arg)
{
	struct rig *rig = rig_mig_start("");
	struct ob_dma_op op = { 0 };
	struct ob_seg seg = { 0x1000, 8 };
	uint64_t word = 1;
	unsigned i;
	int fd = memory(rig);

	(void)arg;
	rig_master(rig, true);
	for (i = 0; i < sizeof(still); i++) {
		bring(rig, still[i]);
		assert_int_equal(ob_dma_write(rig->dev, &seg, 1, &word, &op),
				 -EACCES);
		assert_int_equal(ob_dma_read(rig->dev, &seg, 1, &word, &op),
				 -EACCES);
		assert_int_equal(ob_dma_check(rig->dev, 0, 8, true), -EACCES);
		assert_null(ob_dma_ptr(rig->dev, 0, 8, false));
		assert_int_equal(rig_call(rig, RESET, "", 0), 0);
		rig_master(rig, true);
		assert_int_equal(ob_dma_write(rig->dev, &seg, 1, &word, &op), 0);
		assert_non_null(ob_dma_ptr(rig->dev, 0, 8, true));
	}
	assert_int_equal(pread(fd, &word, 8, 0x1000), 8);
	close(fd);
	rig_end(rig);
}

static int trigger(struct rig *rig, uint32_t index, uint32_t vector)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_int_equal(rig_set_irqs(rig, 0x24, index, vector, 1, &fd, 1), 0);
	return fd;
}

static void enable(struct rig *rig, uint8_t cap, uint16_t bits)
{
	uint32_t at = rig_find_cap(rig, cap);

	rig_set_config(rig, at + 2, rig_config(rig, at + 2, 2) | bits, 2);
}

static void msix_is_remembered_and_told_once(void **arg)
{
	struct rig *rig = rig_mig_start("");
	uint64_t pending;
	int fd;

	(void)arg;
	enable(rig, 0x11, 0x8000);
	fd = trigger(rig, 2, 5);
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	ob_irq_raise(rig->dev, 5);
	ob_irq_raise(rig->dev, 5);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(rig_read(rig, 2, 0x2000, &pending, 8), 0);
	assert_int_equal(pending, 1 << 5);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(rig_read(rig, 2, 0x2000, &pending, 8), 0);
	assert_int_equal(pending, 0);
	close(fd);
	rig_end(rig);
}

static void msi_is_remembered_and_told_once(void **arg)
{
	struct rig *rig = rig_mig_start("");
	int fd;

	(void)arg;
	enable(rig, 0x05, 0x31);
	fd = trigger(rig, 1, 3);
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	ob_irq_raise(rig->dev, 3);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

static void the_pin_is_told_when_it_runs_again(void **arg)
{
	struct rig *rig = rig_mig_start("");
	int fd = trigger(rig, 0, 0);

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_true(rig_config(rig, 6, 2) & 8);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

static void a_trigger_that_comes_meanwhile_gets_what_is_owed_later(void **arg)
{
	struct rig *rig = rig_mig_start("");
	int fd;

	(void)arg;
	enable(rig, 0x11, 0x8000);
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	ob_irq_raise(rig->dev, 69);
	fd = trigger(rig, 2, 69);
	assert_int_equal(rig_count(rig, fd), 0);
	/* The client's own test of it is not the device's doing. */
	assert_int_equal(rig_set_irqs(rig, 0x21, 2, 69, 1, NULL, 0), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

/* Pending in the stream, told by the other device to its own client. */
static void what_is_owed_travels(void **arg)
{
	struct rig *a = rig_mig_start(""), *b = rig_mig_start("");
	struct stream stream = { 0 };
	uint64_t pending;
	int fd;

	(void)arg;
	enable(a, 0x11, 0x8000);
	fd = trigger(b, 2, 7);
	assert_int_equal(rig_mig_set(a, S_STOP), 0);
	ob_irq_raise(a->dev, 7);
	ob_irq_raise(a->dev, 9);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	assert_int_equal(ob_irq_mode(b->dev), OB_IRQ_MSIX);
	assert_int_equal(rig_count(b, fd), 0);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	assert_int_equal(rig_count(b, fd), 1);
	assert_int_equal(rig_read(b, 2, 0x2000, &pending, 8), 0);
	assert_int_equal(pending, 1 << 9);	/* nobody to tell yet */
	close(fd);
	stream_free(&stream);
	rig_end(a);
	rig_end(b);
}

static void masks_are_the_connections_own(void **arg)
{
	struct rig *a = rig_mig_start(""), *b = rig_mig_start("");
	struct stream stream = { 0 };
	int fd = trigger(b, 2, 7), pin = trigger(b, 0, 0);

	(void)arg;
	assert_int_equal(rig_set_irqs(b, 0x9, 0, 0, 1, NULL, 0), 0);
	ob_irq_level(a->dev, true);
	assert_int_equal(a->dev->core->msix[7].control, 1);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	assert_int_equal(b->dev->core->msix[7].control, 0);
	assert_int_equal(b->dev->core->msix[8].control, 1);
	assert_int_equal(rig_count(b, pin), 0);		/* b masked it */
	assert_int_equal(rig_set_irqs(b, 0x11, 0, 0, 1, NULL, 0), 0);
	assert_int_equal(rig_count(b, pin), 1);
	close(fd);
	close(pin);
	stream_free(&stream);
	rig_end(a);
	rig_end(b);
}

/* Told here, and told there again: once too often, never not at all. */
static void a_pin_that_was_told_is_told_by_the_other_too(void **arg)
{
	struct rig *a = rig_mig_start(""), *b = rig_mig_start("");
	struct stream stream = { 0 };
	int here = trigger(a, 0, 0), there = trigger(b, 0, 0);

	(void)arg;
	ob_irq_level(a->dev, true);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	assert_int_equal(rig_count(b, there), 1);
	assert_int_equal(rig_count(a, here), 1);
	close(here);
	close(there);
	stream_free(&stream);
	rig_end(a);
	rig_end(b);
}

/* What a VMM does to a destination before it runs. */
static void served(struct rig *rig)
{
	uint32_t info[4] = { 16 }, region[8] = { 32, 0, 2 }, irq[4] = { 16, 0, 2 };
	uint32_t value = 0xabcd0123, back = 0;
	int mem, fd;

	assert_int_equal(rig_call(rig, GET_INFO, info, sizeof(info)), 0);
	assert_int_equal(rig_call(rig, REGION_INFO, region, sizeof(region)), 0);
	assert_int_equal(rig_call(rig, IRQ_INFO, irq, sizeof(irq)), 0);
	mem = memory(rig);
	assert_int_equal(rig_unmap(rig, 0, 0x10000, 0), 0);
	fd = trigger(rig, 2, 1);
	assert_int_equal(rig_set_irqs(rig, 0x21, 2, 1, 1, NULL, 0), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	rig_set_config(rig, 0x3c, 0x5a, 1);
	assert_int_equal(rig_config(rig, 0x3c, 1), 0x5a);
	rig_master(rig, true);
	rig_master(rig, false);
	assert_int_equal(rig_write(rig, 0, 0x20, &value, 4), 0);
	assert_int_equal(rig_read(rig, 0, 0x20, &back, 4), 0);
	assert_int_equal(back, value);
	ob_device_refresh(rig->dev);
	close(mem);
	close(fd);
}

static void a_destination_is_served_in_every_state(void **arg)
{
	struct rig *rig = rig_mig_start("");
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(still); i++) {
		bring(rig, still[i]);
		served(rig);
		assert_int_equal(rig_mig_get(rig), still[i]);
		assert_int_equal(rig_call(rig, RESET, "", 0), 0);
	}
	rig_end(rig);
}

/* Only the message ends a standstill, not what a guest may write. */
static void a_guests_reset_leaves_it_standing(void **arg)
{
	struct rig *rig = rig_mig_start("");
	uint32_t express = rig_find_cap(rig, 0x10);

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	rig_set_config(rig, express + 8, 0x8000, 2);
	assert_int_equal(rig_state(rig)->kind, OB_RESET_FLR);
	assert_int_equal(rig_mig_get(rig), S_STOP);
	assert_true(ob_dev_is_halted(rig->dev));
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	rig_end(rig);
}

static void nothing_is_polled(void **arg)
{
	struct rig *rig = rig_mig_start("");
	struct test_seen *seen = rig_seen(rig);
	unsigned polls;

	(void)arg;
	ob_dev_poll(rig->dev, true, true);
	rig_settle(rig);
	assert_true(seen->polls > 0);
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	polls = seen->polls;
	rig_settle(rig);
	assert_int_equal(rig_config(rig, 0, 2), 0x1b36);
	assert_int_equal(seen->polls, polls);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	rig_settle(rig);
	assert_true(seen->polls > polls);
	rig_end(rig);
}

/* The socket is read by the poller then; a hang-up must still be heard. */
static void a_busy_loop_hears_who_hangs_up_while_held(void **arg)
{
	struct rig *rig = rig_start_busy(",drain=900");

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	assert_string_equal(rig_seen(rig)->calls, "rs");
	rig_hang_up(rig);
	assert_string_equal(rig_seen(rig)->calls, "rsr");
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	assert_int_equal(rig_mig_get(rig), S_STOP);
	rig_end(rig);
}

/* Until END has left nobody can run it elsewhere, so it goes on here. */
static void test_r31_what_was_given_away_begins_anew(void **arg)
{
	struct rig *rig = rig_mig_start("");
	struct stream stream = { 0 };
	unsigned resets = rig_state(rig)->resets;
	uint8_t piece[64];
	uint32_t got;

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	assert_int_equal(rig_mig_read(rig, sizeof(piece), piece, &got), 0);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->resets, resets);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_save(rig, &stream);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->resets, resets);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_save(rig, &stream);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->resets, resets + 1);
	assert_false(ob_dev_is_halted(rig->dev));
	rig_end(rig);
	stream_free(&stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_dma_in_either_direction),
		cmocka_unit_test(msix_is_remembered_and_told_once),
		cmocka_unit_test(msi_is_remembered_and_told_once),
		cmocka_unit_test(the_pin_is_told_when_it_runs_again),
		cmocka_unit_test(
			a_trigger_that_comes_meanwhile_gets_what_is_owed_later),
		cmocka_unit_test(what_is_owed_travels),
		cmocka_unit_test(masks_are_the_connections_own),
		cmocka_unit_test(a_pin_that_was_told_is_told_by_the_other_too),
		cmocka_unit_test(a_destination_is_served_in_every_state),
		cmocka_unit_test(a_guests_reset_leaves_it_standing),
		cmocka_unit_test(nothing_is_polled),
		cmocka_unit_test(a_busy_loop_hears_who_hangs_up_while_held),
		cmocka_unit_test(test_r31_what_was_given_away_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
