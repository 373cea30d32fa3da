// SPDX-License-Identifier: BSD-3-Clause
/* Interrupts, from SET_IRQS to the client's eventfd. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { INTX, MSI, MSIX, ERR, REQ };
enum {
	NONE = 1, BOOL = 2, EVENTFD = 4, MASK = 8, UNMASK = 16, TRIGGER = 32,
};

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static void enable_msix(struct rig *rig, bool on)
{
	rig_set_config(rig, rig_find_cap(rig, 0x11) + 2, on ? 0x8000 : 0, 2);
}

static uint32_t pending(struct rig *rig)
{
	uint32_t pba = 0;

	assert_int_equal(rig_read(rig, 2, 0x2000, &pba, 4), 0);
	return pba;
}

static void irq_info_for_each_index(void **arg)
{
	static const uint32_t want[5][2] = {
		{ 7, 1 }, { 1, 8 }, { 3, 70 }, { 1, 1 }, { 1, 1 }
	};
	struct rig *rig = rig_ready();
	uint32_t body[4] = { 16 }, i;

	(void)arg;
	for (i = 0; i < 5; i++) {
		body[2] = i;
		assert_int_equal(rig_call(rig, IRQ_INFO, body, 16), 0);
		assert_int_equal(((uint32_t *)rig->reply)[1], want[i][0]);
		assert_int_equal(((uint32_t *)rig->reply)[3], want[i][1]);
	}
	rig_end(rig);
}

static void intx_is_signalled_once_until_unmasked(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &fd,
				      1), 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_true(rig_config(rig, 6, 2) & 8);
	ob_irq_level(rig->dev, false);
	assert_false(rig_config(rig, 6, 2) & 8);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 0);	/* automask */
	assert_int_equal(rig_set_irqs(rig, NONE | UNMASK, INTX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(rig_count(rig, fd), 1);	/* still asserted */
	ob_irq_level(rig->dev, false);
	assert_int_equal(rig_set_irqs(rig, NONE | UNMASK, INTX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(rig_set_irqs(rig, NONE | MASK, INTX, 0, 1, NULL, 0),
			 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 0);
	close(fd);
	rig_end(rig);
}

/* A guest that polls is ahead of a client that has not read its eventfd. */
static void intx_is_taken_back_when_the_level_falls_first(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &fd,
				      1), 0);
	ob_irq_level(rig->dev, true);
	rig_settle(rig);
	ob_irq_level(rig->dev, false);
	assert_int_equal(rig_count(rig, fd), 0);	/* sent, unread */
	ob_irq_level(rig->dev, true);
	ob_irq_level(rig->dev, false);
	assert_int_equal(rig_count(rig, fd), 0);	/* not sent yet */
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 1);	/* and no mask is left */
	close(fd);
	rig_end(rig);
}

static void signal_eventfd(struct rig *rig, int fd, uint64_t value)
{
	assert_int_equal(write(fd, &value, 8), 8);
	rig_settle(rig);
}

/* What a client does whose hypervisor has resampling irqfds. */
static void intx_is_unmasked_by_an_eventfd(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd(), unmask = new_eventfd();

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &fd,
				      1), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0, 1,
				      &unmask, 1), 0);
	/* R6: it blocks, and somebody else may have read it before us. */
	assert_int_equal(fcntl(unmask, F_SETFL, 0), 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 1);
	signal_eventfd(rig, unmask, 3);
	assert_int_equal(rig_count(rig, fd), 1);	/* still asserted */
	ob_irq_level(rig->dev, false);
	signal_eventfd(rig, unmask, 1);
	assert_int_equal(rig_count(rig, fd), 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0, 1, NULL,
				      0), 0);
	signal_eventfd(rig, unmask, 1);
	assert_int_equal(rig_count(rig, fd), 0);
	close(fd);
	close(unmask);
	rig_end(rig);
}

/* R1: replaced, disabled, left at the end, or no eventfd at all. */
static void r1_unmasking_eventfds_are_closed(void **arg)
{
	struct rig *rig = rig_ready();
	unsigned before = count_fds();
	int unmask = new_eventfd(), null = open("/dev/null", O_RDWR);

	(void)arg;
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0,
					      1, &unmask, 1), 0);
	assert_int_equal(count_fds(), before + 3);
	assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, INTX, 0, 0, NULL,
				      0), 0);
	assert_int_equal(count_fds(), before + 2);
	rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0, 1, &null, 1);
	rig_settle(rig);
	assert_int_equal(count_fds(), before + 2);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0, 1,
				      &unmask, 1), 0);
	rig_hang_up(rig);
	rig_settle(rig);
	close(unmask);
	close(null);
	assert_int_equal(count_fds(), before - 2);	/* both ends */
	rig_end(rig);
}

static void intx_disable_holds_it_back(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &fd,
				      1), 0);
	rig_set_config(rig, 4, 0x400, 2);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_true(rig_config(rig, 6, 2) & 8);
	rig_set_config(rig, 4, 0, 2);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

static void intx_given_while_asserted_is_told_at_once(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &fd,
				      1), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, INTX, 0, 0, NULL, 0),
			 0);
	ob_irq_level(rig->dev, false);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, fd), 0);
	close(fd);
	rig_end(rig);
}

static void mode_follows_configuration_space(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t msi = rig_find_cap(rig, 0x05) + 2;

	(void)arg;
	assert_int_equal(ob_irq_mode(rig->dev), OB_IRQ_INTX);
	assert_int_equal(ob_irq_vectors(rig->dev), 1);
	rig_set_config(rig, msi, 0x21, 2);		/* enable, 4 granted */
	assert_int_equal(ob_irq_mode(rig->dev), OB_IRQ_MSI);
	assert_int_equal(ob_irq_vectors(rig->dev), 4);
	rig_set_config(rig, msi, 0x71, 2);		/* more than there are */
	assert_int_equal(ob_irq_vectors(rig->dev), 8);
	enable_msix(rig, true);
	assert_int_equal(ob_irq_mode(rig->dev), OB_IRQ_MSIX);
	assert_int_equal(ob_irq_vectors(rig->dev), 70);
	assert_true(rig_seen(rig)->irqs >= 3);
	enable_msix(rig, false);
	assert_int_equal(ob_irq_mode(rig->dev), OB_IRQ_MSI);
	rig_end(rig);
}

static void msi_goes_to_the_granted_vectors(void **arg)
{
	struct rig *rig = rig_ready();
	int fds[2] = { new_eventfd(), new_eventfd() };

	(void)arg;
	rig_set_config(rig, rig_find_cap(rig, 0x05) + 2, 0x11, 2);
	ob_irq_raise(rig->dev, 1);		/* nobody yet: remembered */
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSI, 0, 2, fds,
				      2), 0);
	assert_int_equal(rig_count(rig, fds[1]), 1);
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 3);		/* 2 granted: wraps to 1 */
	assert_int_equal(rig_count(rig, fds[0]), 1);
	assert_int_equal(rig_count(rig, fds[1]), 1);
	close(fds[0]);
	close(fds[1]);
	rig_end(rig);
}

static struct ob_device_status status_of(struct rig *rig)
{
	struct ob_device_status status;

	ob_device_status(rig->dev, &status);
	return status;
}

/* What the operator is told: of signals, of those that cannot leave, of answers. */
static void the_operator_can_count_them(void **arg)
{
	struct rig *rig = rig_ready();
	int fds[3] = { new_eventfd(), new_eventfd(), new_eventfd() };
	uint32_t word = 0;

	(void)arg;
	ob_irq_level(rig->dev, true);
	assert_int_equal(status_of(rig).waiting, 1);
	assert_int_equal(status_of(rig).intx, 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1,
				      &fds[0], 1), 0);
	assert_int_equal(status_of(rig).waiting, 0);
	assert_int_equal(status_of(rig).intx, 1);
	ob_irq_level(rig->dev, false);
	rig_set_config(rig, rig_find_cap(rig, 0x05) + 2, 0x11, 2);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSI, 1, 1,
				      &fds[1], 1), 0);
	ob_irq_raise(rig->dev, 1);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(status_of(rig).msi, 1);
	assert_int_equal(status_of(rig).waiting, 1);
	enable_msix(rig, true);
	ob_irq_raise(rig->dev, 69);
	assert_int_equal(status_of(rig).waiting, 1);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 69, 1,
				      &fds[2], 1), 0);
	assert_int_equal(status_of(rig).waiting, 0);
	assert_int_equal(status_of(rig).msix, 1);
	assert_int_equal(status_of(rig).unanswered, 3);
	rig_config(rig, 0, 4);
	assert_int_equal(status_of(rig).visits, 0);
	assert_int_equal(rig_read(rig, 2, 0, &word, 4), 0);
	assert_int_equal(status_of(rig).visits, 1);
	assert_int_equal(status_of(rig).unanswered, 0);
	/* Nor is it seen by a poll that finds nothing. */
	ob_irq_raise(rig->dev, 69);
	ob_dev_poll(rig->dev, true, true);
	rig_settle(rig);
	assert_true(rig_seen(rig)->polls > 0);
	assert_int_equal(status_of(rig).visits, 1);
	assert_int_equal(status_of(rig).unanswered, 1);
	rig_seen(rig)->finds = true;
	rig_settle(rig);
	assert_true(status_of(rig).visits > 1);
	assert_int_equal(status_of(rig).unanswered, 0);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	rig_end(rig);
}

static void msix_an_eventfd_unmasks_its_vector(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();
	uint32_t control = 9;

	(void)arg;
	enable_msix(rig, true);
	ob_irq_raise(rig->dev, 3);
	assert_int_equal(pending(rig), 1 << 3);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 3, 1, &fd,
				      1), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(pending(rig), 0);
	assert_int_equal(rig_read(rig, 2, 0x1000 + 3 * 16 + 12, &control, 4), 0);
	assert_int_equal(control, 0);
	ob_irq_raise(rig->dev, 3);
	assert_int_equal(rig_count(rig, fd), 1);

	/* 0x24, count 1, no fd: the vector has no trigger any more */
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 3, 1, NULL,
				      0), 0);
	ob_irq_raise(rig->dev, 3);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(pending(rig), 1 << 3);
	close(fd);
	rig_end(rig);
}

/* As QEMU enables: vector 0 without an fd first, then vector by vector. */
static void msix_enabled_as_qemu_does(void **arg)
{
	struct rig *rig = rig_ready();
	int fds[3] = { new_eventfd(), new_eventfd(), new_eventfd() }, i;

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, NULL,
				      0), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX,
					      (uint32_t)i, 1, &fds[i], 1), 0);
	enable_msix(rig, true);
	for (i = 0; i < 3; i++)
		ob_irq_raise(rig->dev, (unsigned)i);
	for (i = 0; i < 3; i++)
		assert_int_equal(rig_count(rig, fds[i]), 1);
	assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, MSIX, 0, 0, NULL, 0),
			 0);
	for (i = 0; i < 3; i++) {
		ob_irq_raise(rig->dev, (unsigned)i);
		assert_int_equal(rig_count(rig, fds[i]), 0);
		close(fds[i]);
	}
	assert_int_equal(pending(rig), 7);
	rig_end(rig);
}

static void msix_masks_by_table_function_and_message(void **arg)
{
	struct rig *rig = rig_ready();
	uint32_t at = rig_find_cap(rig, 0x11) + 2, on = 1, off = 0;
	int fd = new_eventfd();

	(void)arg;
	enable_msix(rig, true);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, &fd,
				      1), 0);
	assert_int_equal(rig_write(rig, 2, 0x100c, &on, 4), 0);
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(rig_write(rig, 2, 0x100c, &off, 4), 0);
	assert_int_equal(rig_count(rig, fd), 1);

	rig_set_config(rig, at, 0xc000, 2);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(pending(rig), 1);
	rig_set_config(rig, at, 0x8000, 2);
	assert_int_equal(rig_count(rig, fd), 1);
	assert_int_equal(pending(rig), 0);

	assert_int_equal(rig_set_irqs(rig, NONE | MASK, MSIX, 0, 1, NULL, 0),
			 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_count(rig, fd), 0);
	assert_int_equal(rig_set_irqs(rig, NONE | UNMASK, MSIX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

static void msix_pending_in_the_last_word_too(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();
	uint64_t word = 0;

	(void)arg;
	enable_msix(rig, true);
	ob_irq_raise(rig->dev, 69);
	ob_irq_raise(rig->dev, 70);		/* not there */
	assert_int_equal(rig_read(rig, 2, 0x2008, &word, 8), 0);
	assert_int_equal(word, 1 << 5);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 69, 1, &fd,
				      1), 0);
	assert_int_equal(rig_count(rig, fd), 1);
	close(fd);
	rig_end(rig);
}

static void the_loopback_test_fires(void **arg)
{
	uint8_t body[20 + 3];
	uint32_t head[5] = { 23, BOOL | TRIGGER, MSIX, 0, 3 };
	struct rig *rig = rig_ready();
	int fds[3] = { new_eventfd(), new_eventfd(), new_eventfd() }, i;

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 3, fds,
				      3), 0);
	memcpy(body, head, 20);
	memcpy(body + 20, (uint8_t[]){ 1, 0, 1 }, 3);
	assert_int_equal(rig_call(rig, SET_IRQS, body, sizeof(body)), 0);
	assert_int_equal(rig_count(rig, fds[0]), 1);
	assert_int_equal(rig_count(rig, fds[1]), 0);
	assert_int_equal(rig_count(rig, fds[2]), 1);
	assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, MSIX, 1, 1, NULL, 0),
			 0);
	assert_int_equal(rig_count(rig, fds[1]), 1);
	for (i = 0; i < 3; i++)
		close(fds[i]);
	rig_end(rig);
}

static void r2_bad_set_irqs_are_refused(void **arg)
{
	struct rig *rig = rig_ready();
	int fds[2] = { new_eventfd(), new_eventfd() };
	static const uint32_t bad[][4] = {	/* flags, index, start, count */
		{ 0, MSIX, 0, 1 }, { NONE, MSIX, 0, 1 }, { TRIGGER, MSIX, 0, 1 },
		{ NONE | BOOL | TRIGGER, MSIX, 0, 1 },
		{ NONE | MASK | UNMASK, MSIX, 0, 1 },
		{ NONE | TRIGGER | 64, MSIX, 0, 1 },
		{ NONE | TRIGGER, 5, 0, 1 }, { NONE | TRIGGER, MSIX, 70, 1 },
		{ NONE | TRIGGER, MSIX, 0, 71 },
		{ NONE | TRIGGER, MSIX, UINT32_MAX, 2 },
		{ NONE | TRIGGER, MSIX, 1, UINT32_MAX },
		{ EVENTFD | MASK, INTX, 0, 1 },
		{ EVENTFD | UNMASK, MSIX, 0, 1 }, { NONE | MASK, MSIX, 0, 0 },
		{ BOOL | TRIGGER, MSIX, 0, 8 },	/* bools are missing */
	};
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(rig_set_irqs(rig, bad[i][0], bad[i][1],
					      bad[i][2], bad[i][3], NULL, 0),
				 EINVAL);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 3, fds,
				      2), EINVAL);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, fds,
				      2), EINVAL);
	close(fds[0]);
	close(fds[1]);
	rig_end(rig);
}

/* R1: replaced, removed, or left at the end, an eventfd is closed once. */
static void r1_eventfds_are_closed_when_replaced_and_at_the_end(void **arg)
{
	struct rig *rig = rig_start("", NULL);
	unsigned before = count_fds(), i;
	int fds[16];

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	for (i = 0; i < 16; i++)
		fds[i] = new_eventfd();
	for (i = 0; i < 5; i++)
		assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, i,
					      16, fds, 16), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, ERR, 0, 1, fds, 1),
			 0);
	for (i = 0; i < 16; i++)
		close(fds[i]);
	rig_hang_up(rig);
	assert_int_equal(count_fds(), before);
	rig_end(rig);
}

/* R6, R35: full counters and cleared flags stop nobody. */
static void r6_a_full_blocking_eventfd_does_not_stop_the_device(void **arg)
{
	uint64_t full = UINT64_MAX - 1;
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	enable_msix(rig, true);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, &fd,
				      1), 0);
	assert_int_equal(write(fd, &full, 8), 8);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	ob_irq_raise(rig->dev, 0);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_hang_up(rig);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	close(fd);
	rig_end(rig);
}

static void a_reset_clears_interrupts_and_keeps_eventfds(void **arg)
{
	struct rig *rig = rig_ready();
	int pin = new_eventfd(), msix = new_eventfd();

	(void)arg;
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, INTX, 0, 1, &pin,
				      1), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, &msix,
				      1), 0);
	enable_msix(rig, true);
	ob_irq_raise(rig->dev, 5);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	assert_int_equal(ob_irq_mode(rig->dev), OB_IRQ_INTX);
	assert_int_equal(pending(rig), 0);
	assert_int_equal(rig_count(rig, pin), 0);
	ob_irq_level(rig->dev, true);
	assert_int_equal(rig_count(rig, pin), 1);
	enable_msix(rig, true);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_count(rig, msix), 1);
	close(pin);
	close(msix);
	rig_end(rig);
}

static void a_vector_is_masked_when_its_client_has_gone(void **arg)
{
	struct rig *rig = rig_ready();
	int fd = new_eventfd();

	(void)arg;
	enable_msix(rig, true);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, &fd,
				      1), 0);
	rig_hang_up(rig);
	ob_irq_raise(rig->dev, 0);
	assert_int_equal(rig_count(rig, fd), 0);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, &fd,
				      1), 0);
	assert_int_equal(rig_count(rig, fd), 1);	/* was owed */
	close(fd);
	rig_end(rig);
}

static void r3_what_cannot_be_masked_says_so(void **arg)
{
	static const uint32_t index[] = { MSI, ERR, REQ };
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < 3; i++) {
		assert_int_equal(rig_set_irqs(rig, NONE | MASK, index[i], 0, 1,
					      NULL, 0), EINVAL);
		assert_int_equal(rig_set_irqs(rig, NONE | UNMASK, index[i], 0, 1,
					      NULL, 0), EINVAL);
		assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, index[i], 0, 1,
					      NULL, 0), 0);
	}
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r3_what_cannot_be_masked_says_so),
		cmocka_unit_test(irq_info_for_each_index),
		cmocka_unit_test(intx_is_signalled_once_until_unmasked),
		cmocka_unit_test(intx_is_taken_back_when_the_level_falls_first),
		cmocka_unit_test(intx_is_unmasked_by_an_eventfd),
		cmocka_unit_test(r1_unmasking_eventfds_are_closed),
		cmocka_unit_test(intx_disable_holds_it_back),
		cmocka_unit_test(intx_given_while_asserted_is_told_at_once),
		cmocka_unit_test(mode_follows_configuration_space),
		cmocka_unit_test(msi_goes_to_the_granted_vectors),
		cmocka_unit_test(the_operator_can_count_them),
		cmocka_unit_test(msix_an_eventfd_unmasks_its_vector),
		cmocka_unit_test(msix_enabled_as_qemu_does),
		cmocka_unit_test(msix_masks_by_table_function_and_message),
		cmocka_unit_test(msix_pending_in_the_last_word_too),
		cmocka_unit_test(the_loopback_test_fires),
		cmocka_unit_test(r2_bad_set_irqs_are_refused),
		cmocka_unit_test(r1_eventfds_are_closed_when_replaced_and_at_the_end),
		cmocka_unit_test(r6_a_full_blocking_eventfd_does_not_stop_the_device),
		cmocka_unit_test(a_reset_clears_interrupts_and_keeps_eventfds),
		cmocka_unit_test(a_vector_is_masked_when_its_client_has_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
