// SPDX-License-Identifier: BSD-3-Clause
/*
 * Streams that a device does not load: it says why, nothing of it changes, and
 * a reset makes it good again (R25).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_drive.h"
#include "rig_mig.h"
#include "server/device_impl.h"

static struct ob_drive from_disk, to_disk;

static struct rig *start(struct ob_drive *disk, const char *options)
{
	struct rig *rig;

	fake_drive_init(disk, true);
	rig_drives[0] = disk;
	rig = rig_mig_start(options);
	disk->loop = rig->loop;
	return rig;
}

static void end(struct rig *rig)
{
	rig_end(rig);
	rig_drives[0] = NULL;
}

/* All that a refused load must leave as it was. */
struct copy {
	struct ob_core core;
	struct test_state state;
	struct test_hot hot;
	uint8_t bar[0x4000], disk[FAKE_SIZE];
};

static struct copy *copy(struct rig *rig, const struct ob_drive *disk)
{
	struct copy *c = malloc(sizeof(*c));

	assert_non_null(c);
	c->core = *rig->dev->core;
	c->state = *rig_state(rig);
	c->hot = *(struct test_hot *)ob_dev_hot(rig->dev);
	memcpy(c->bar, ob_dev_bar_memory(rig->dev, 0), sizeof(c->bar));
	memcpy(c->disk, disk->bytes, sizeof(c->disk));
	return c;
}

static void expect_unchanged(struct rig *rig, const struct ob_drive *disk,
			     struct copy *before)
{
	struct copy *now = copy(rig, disk);

	assert_memory_equal(now, before, sizeof(*now));
	free(now);
	free(before);
}

/* Loads what `from` has at this moment, and expects `to` to refuse it. */
static void expect_refusal(struct rig *from, struct rig *to, const char *why)
{
	struct stream stream = { 0 };
	struct copy *before;

	rig_save(from, &stream);
	memset(rig_state(to)->regs, 0x66, 256);
	memset((uint8_t *)ob_dev_bar_memory(to->dev, 0) + 0x1000, 0x66, 64);
	fake_write(&to_disk, 3, 0x66);
	before = copy(to, &to_disk);
	rig_load(to, &stream);
	assert_int_equal(rig_mig_set(to, S_STOP), EINVAL);
	assert_int_equal(rig_mig_get(to), S_ERROR);
	if (!strstr(rig_why(to), why))
		fail_msg("no \"%s\" in: %s", why, rig_why(to));
	assert_null(strchr(rig_seen(to)->calls, 'l'));
	expect_unchanged(to, &to_disk, before);
	assert_false(to_disk.staged);
	assert_true(ob_dev_is_halted(to->dev));
	assert_int_equal(rig_call(to, RESET, "", 0), 0);
	assert_int_equal(rig_mig_set(from, S_RUNNING), 0);
	stream_free(&stream);
}

/* One byte of the saved device's configuration space is another. */
static void with_config(struct rig *a, struct rig *b, uint32_t offset,
			const char *why)
{
	uint8_t *byte = &a->dev->core->config[offset];

	*byte ^= 0x40;
	expect_refusal(a, b, why);
	*byte ^= 0x40;
}

static void another_configuration_space_is_refused_by_register(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	uint32_t msix = rig_find_cap(a, 0x11), express = rig_find_cap(a, 0x10);

	(void)arg;
	with_config(a, b, 0, "core.config[0] (vendor)");
	with_config(a, b, 0x0a, "(class)");
	with_config(a, b, 0x10, "(BAR0)");
	with_config(a, b, 0x2f, "(subsystem)");
	with_config(a, b, 0x34, "(capability pointer)");
	with_config(a, b, 0x3d, "(interrupt pin)");
	with_config(a, b, msix + 2, "(MSI-X)");
	with_config(a, b, express + 4, "(PCI Express)");
	with_config(a, b, 0x104, "(extended capabilities)");
	with_config(a, b, 0xfff, "core.config[0xfff]");
	end(a);
	end(b);
}

static void another_device_is_refused(void **arg)
{
	struct rig *a = start(&from_disk, ",msi=off");
	struct rig *b = start(&to_disk, "");

	(void)arg;
	expect_refusal(a, b, "core.config");
	end(a);
	end(b);
}

static void bits_that_a_guest_may_write_are_no_reason(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };
	uint8_t *config = a->dev->core->config;
	unsigned i;

	(void)arg;
	for (i = 0; i < 256; i++)
		config[i] |= a->dev->cfg.writable[i];
	config[a->dev->cfg.express + 9] &= 0x7f;	/* no reset */
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	assert_memory_equal(b->dev->core->config, config, 4096);
	stream_free(&stream);
	end(a);
	end(b);
}

static void what_no_guest_can_bring_about_is_refused(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct ob_core *core = a->dev->core;

	(void)arg;
	core->config[a->dev->cfg.pm + 4] = 1;
	expect_refusal(a, b, "state D1");
	core->config[a->dev->cfg.pm + 4] = 0;
	core->config[a->dev->cfg.express + 9] |= 0x80;
	expect_refusal(a, b, "a reset under way");
	core->config[a->dev->cfg.express + 9] &= 0x7f;
	core->msi_pending = 0x100;
	expect_refusal(a, b, "core.msi_pending");
	core->msi_pending = 0;
	core->msix_pending[1] = 1u << 6;
	expect_refusal(a, b, "core.msix_pending: vector 70");
	core->msix_pending[1] = 0;
	core->msix[70].data = 1;
	expect_refusal(a, b, "core.msix[70]");
	core->msix[70].data = 0;
	core->msix[69].control = 3;
	expect_refusal(a, b, "core.msix[69]");
	end(a);
	end(b);
}

static void a_model_may_refuse(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");

	(void)arg;
	rig_seen(b)->refuse = EINVAL;
	expect_refusal(a, b, "regs: refused");
	end(a);
	end(b);
}

static void a_stream_without_its_end_is_refused(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };
	size_t len, step;
	struct copy *before;

	(void)arg;
	rig_save(a, &stream);
	step = stream.len / 40 + 1;
	for (len = 0; len < stream.len; len += step) {
		struct stream cut = { stream.bytes, len, 0 };

		before = copy(b, &to_disk);
		rig_load(b, &cut);
		assert_int_not_equal(rig_mig_set(b, S_STOP), 0);
		assert_int_equal(rig_mig_get(b), S_ERROR);
		expect_unchanged(b, &to_disk, before);
		assert_int_equal(rig_call(b, RESET, "", 0), 0);
	}
	stream_free(&stream);
	end(a);
	end(b);
}

/* The writer hears of it as soon as it shows, and the end is the same. */
static void a_flipped_byte_is_refused(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };
	size_t at, step;
	struct copy *before;

	(void)arg;
	rig_save(a, &stream);
	step = stream.len / 60 + 1;
	for (at = 0; at < stream.len; at += step) {
		stream.bytes[at] ^= 1;
		before = copy(b, &to_disk);
		assert_int_equal(rig_mig_set(b, S_RESUMING), 0);
		rig_write_all(b, &stream, 4096);
		assert_int_not_equal(rig_mig_set(b, S_RUNNING), 0);
		assert_int_equal(rig_mig_get(b), S_ERROR);
		expect_unchanged(b, &to_disk, before);
		assert_int_equal(rig_call(b, RESET, "", 0), 0);
		stream.bytes[at] ^= 1;
	}
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	stream_free(&stream);
	end(a);
	end(b);
}

static void a_drive_of_another_size_is_refused_early(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };

	(void)arg;
	fake_write(&from_disk, 1, 1);
	rig_save(a, &stream);
	to_disk.info.size = FAKE_SIZE / 2;
	assert_int_equal(rig_mig_set(b, S_RESUMING), 0);
	assert_int_not_equal(rig_write_all(b, &stream, 4096), 0);
	assert_int_equal(rig_mig_get(b), S_RESUMING);
	assert_int_not_equal(rig_mig_set(b, S_STOP), 0);
	assert_int_equal(rig_mig_get(b), S_ERROR);
	stream_free(&stream);
	end(a);
	end(b);
}

/* A load that comes too soon is not lost: it can be tried again. */
static void a_load_waits_for_operations_of_the_old_life(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };

	(void)arg;
	rig_save(a, &stream);
	rig_load(b, &stream);
	rig_seen(b)->in_flight = 2;
	assert_int_equal(rig_mig_set(b, S_STOP), EBUSY);
	assert_non_null(strstr(rig_why(b), "2 operations"));
	assert_int_equal(rig_mig_get(b), S_RESUMING);
	rig_seen(b)->in_flight = 0;
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	stream_free(&stream);
	end(a);
	end(b);
}

/* As a file: what the tools do. */
struct file {
	const struct stream *stream;
	size_t at, piece;
	int error;
};

static int read_file(void *arg, void *buf, size_t len)
{
	struct file *f = arg;
	size_t n = f->stream->len - f->at;

	if (f->error)
		return -f->error;
	if (n > f->piece)
		n = f->piece;
	if (n > len)
		n = len;
	memcpy(buf, f->stream->bytes + f->at, n);
	f->at += n;
	return (int)n;
}

static void a_stream_can_be_judged_without_loading(void **arg)
{
	struct rig *a = start(&from_disk, ""), *b = start(&to_disk, "");
	struct stream stream = { 0 };
	struct file f = { &stream, 0, 999, 0 };
	struct ob_err err = { "" };
	struct copy *before = copy(b, &to_disk);

	(void)arg;
	fake_write(&from_disk, 2, 2);
	rig_save(a, &stream);
	assert_int_equal(ob_device_check_stream(b->dev, read_file, &f, &err), 0);
	f.at = 0;
	rig_seen(b)->refuse = EINVAL;
	assert_int_equal(ob_device_check_stream(b->dev, read_file, &f, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "regs: refused"));
	f.error = EIO;
	assert_int_equal(ob_device_check_stream(b->dev, read_file, &f, &err),
			 -EIO);
	f = (struct file){ &stream, 0, 999, 0 };
	stream.bytes[stream.len / 2] ^= 1;
	assert_true(ob_device_check_stream(b->dev, read_file, &f, &err) < 0);
	expect_unchanged(b, &to_disk, before);
	assert_false(to_disk.staged);
	assert_int_equal(rig_mig_get(b), S_RUNNING);
	stream_free(&stream);
	end(a);
	end(b);
}

/* An image that grew while it moved: the source has told its guest already. */
static void test_r29_drives_are_looked_at_before_a_load_is_judged(void **arg)
{
	struct rig *rig = start(&from_disk, "");
	struct stream stream = { 0 };

	(void)arg;
	rig_save(rig, &stream);
	rig_load(rig, &stream);
	rig_seen(rig)->refuse = EINVAL;
	rig_seen(rig)->grown = true;
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	stream_free(&stream);
	end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			another_configuration_space_is_refused_by_register),
		cmocka_unit_test(another_device_is_refused),
		cmocka_unit_test(bits_that_a_guest_may_write_are_no_reason),
		cmocka_unit_test(what_no_guest_can_bring_about_is_refused),
		cmocka_unit_test(a_model_may_refuse),
		cmocka_unit_test(a_stream_without_its_end_is_refused),
		cmocka_unit_test(a_flipped_byte_is_refused),
		cmocka_unit_test(a_drive_of_another_size_is_refused_early),
		cmocka_unit_test(a_load_waits_for_operations_of_the_old_life),
		cmocka_unit_test(a_stream_can_be_judged_without_loading),
		cmocka_unit_test(
			test_r29_drives_are_looked_at_before_a_load_is_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
