// SPDX-License-Identifier: BSD-3-Clause
/*
 * R25: streams of real devices, damaged in one place, for real devices.
 *
 *	test_damage FOLDER PREFIX STRIDE
 *
 * Each byte is flipped, with checksums left wrong and with checksums mended,
 * so that parser, table and model have to find it; and each length is tried.
 * Whatever it is, it is a refusal that says why and has changed no byte of
 * the device; or a load, and then the device is one that could have come
 * here by itself: in bounds, judged good by its model, it runs, it is saved,
 * and what it saves is good.
 *
 * Longer streams are sampled: every STRIDE-th byte or length, a different one
 * for each stream and way, and all of the head, of the headers, of the end.
 * A judgement (ob_device_check_stream) is made of each, and what it accepts
 * is loaded over the socket, of what it refuses every sixteenth.
 */
#include "golden.h"

#include <stdlib.h>
#include <string.h>

#include "../../golden/mend.h"
#include "server/device_impl.h"
#include "state/table_io.h"

#define WHOLE 4096u		/* so long streams are not sampled */
#define EDGE 64u

static const char *folder, *prefix;
static unsigned stride, phase, turn;
static unsigned refused, loaded;

struct reader {
	const uint8_t *bytes;
	size_t left;
};

static int read_some(void *arg, void *buf, size_t len)
{
	struct reader *r = arg;
	size_t n = r->left < len ? r->left : len;

	memcpy(buf, r->bytes, n);
	r->bytes += n;
	r->left -= n;
	return (int)n;
}

static int judge(struct golden_device *d, const struct stream *stream)
{
	struct reader reader = { stream->bytes, stream->len };
	struct ob_err err = { "" };
	int r;

	golden_remember(d);
	r = ob_device_check_stream(d->rig->dev, read_some, &reader, &err);
	assert_true(golden_is_unchanged(d));
	assert_true(!r == !err.msg[0]);
	assert_non_null(memchr(err.msg, 0, sizeof(err.msg)));
	return r;
}

/* What its tables and its model promise of every state it can be in. */
static void is_sound(struct golden_device *d)
{
	struct ob_device *dev = d->rig->dev;
	struct ob_err err = { "" };
	unsigned i;
	int r = ob_mig_core_check(dev, dev->core, &err);

	for (i = 0; i < d->nr_parts && !r; i++)
		r = ob_table_check_values(d->parts[i].table, d->parts[i].base,
					  d->parts[i].name, &err);
	if (r == 0 && dev->cls->check)
		r = dev->cls->check(dev, dev->plain, dev->hot, &err);
	if (r)
		fail_msg("loaded, and not sound: %s", err.msg);
}

/* As a guest would: registers, doorbells, configuration. */
static void use(struct rig *rig)
{
	static const uint16_t at[] = {
		0x00, 0x08, 0x14, 0x1c, 0x20, 0x60, 0x80, 0x98, 0xffc,
	};
	uint32_t value = turn;
	unsigned i;

	rig_settle(rig);
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		rig_read(rig, 0, at[i], &value, 4);
	rig_write(rig, 0, 0x1000 + turn % 32 / 4 * 4, &turn, 4);
	rig_write(rig, 0, at[turn % 9], &turn, 4);
	rig_settle(rig);
	rig_config(rig, 0, 4);
}

static void comes_again(struct golden_device *d)
{
	struct stream again = { 0 };

	assert_int_equal(rig_mig_set(d->rig, S_STOP), 0);
	is_sound(d);
	rig_save(d->rig, &again);
	assert_int_equal(judge(d, &again), 0);
	stream_free(&again);
}

static void was_loaded(struct golden_device *d)
{
	is_sound(d);
	assert_int_equal(rig_mig_set(d->rig, S_RUNNING), 0);
	use(d->rig);
	comes_again(d);
	loaded++;
}

static void was_refused(struct golden_device *d)
{
	assert_true(golden_is_unchanged(d));
	assert_int_equal(rig_mig_get(d->rig), S_ERROR);
	refused++;
}

/* Over the socket.  0, or an errno. */
static int load(struct golden_device *d, const struct stream *stream)
{
	struct rig *rig = d->rig;
	int r;

	assert_int_equal(rig_mig_set(rig, S_RESUMING), 0);
	golden_remember(d);
	r = rig_write_all(rig, stream, 1u << 20);
	if (r)
		assert_true(rig_why(rig)[0]);
	if (rig_mig_set(rig, S_STOP)) {
		assert_true(rig_why(rig)[0]);
		was_refused(d);
		r = 1;
	} else {
		assert_int_equal(r, 0);
		was_loaded(d);
	}
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	return r;
}

static void try(struct golden_device *d, const struct stream *stream)
{
	int r = judge(d, stream);

	if (!r || turn++ % 16 == 0)
		assert_int_equal(!load(d, stream), !r);
}

static bool is_header(const struct stream *stream, size_t i)
{
	size_t at = OB_STREAM_HEAD;

	while (at + OB_STREAM_SECTION < i)
		at += OB_STREAM_SECTION + ob_le_load(stream->bytes + at + 8, 4);
	return i >= at || i < OB_STREAM_HEAD || i + EDGE >= stream->len;
}

static bool is_chosen(const struct stream *stream, size_t i)
{
	return stream->len <= WHOLE || (i + phase) % stride == 0 ||
	       is_header(stream, i);
}

static void flip(struct golden_device *d, const struct stream *from, size_t i,
		 uint8_t mask, bool mended)
{
	struct stream copy = { malloc(from->len), from->len, from->len };

	assert_non_null(copy.bytes);
	memcpy(copy.bytes, from->bytes, from->len);
	copy.bytes[i] ^= mask;
	if (mended)
		mend(copy.bytes, copy.len);
	try(d, &copy);
	stream_free(&copy);
}

static void whole(const struct golden *golden)
{
	struct golden_device d;

	golden_start(&d, golden);
	assert_int_equal(judge(&d, &golden->stream), 0);
	assert_int_equal(load(&d, &golden->stream), 0);
	assert_int_equal(load(&d, &golden->stream), 0);
	golden_end(&d);
}

static void bytes(const struct golden *golden)
{
	struct golden_device d;
	size_t i;

	phase++;
	golden_start(&d, golden);
	for (i = 0; i < golden->stream.len; i++)
		if (is_chosen(&golden->stream, i))
			flip(&d, &golden->stream, i, 1u << i % 8, false);
	golden_end(&d);
}

static void mended_bytes(const struct golden *golden)
{
	struct golden_device d;
	size_t i;

	phase++;
	golden_start(&d, golden);
	for (i = OB_STREAM_HEAD; i < golden->stream.len; i++)
		if (is_chosen(&golden->stream, i))
			flip(&d, &golden->stream, i,
			     i & 1 ? 0xff : 1u << i / 2 % 8, true);
	golden_end(&d);
}

static void lengths(const struct golden *golden)
{
	struct stream cut = golden->stream;
	struct golden_device d;

	phase++;
	golden_start(&d, golden);
	for (cut.len = 0; cut.len < golden->stream.len; cut.len++) {
		if (!is_chosen(&golden->stream, cut.len))
			continue;
		assert_int_not_equal(judge(&d, &cut), 0);
		if (turn++ % 16 == 0)
			assert_int_not_equal(load(&d, &cut), 0);
	}
	golden_end(&d);
}

static void test_r25_golden_streams_load(void **arg)
{
	(void)arg;
	golden_each(folder, prefix, whole);
}

static void test_r25_every_byte(void **arg)
{
	(void)arg;
	golden_each(folder, prefix, bytes);
}

/* Some of these are other states, some are none. */
static void test_r25_every_byte_with_mended_checksums(void **arg)
{
	(void)arg;
	refused = loaded = 0;
	golden_each(folder, prefix, mended_bytes);
	assert_true(refused && loaded);
}

static void test_r25_every_length(void **arg)
{
	(void)arg;
	golden_each(folder, prefix, lengths);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r25_golden_streams_load),
		cmocka_unit_test(test_r25_every_byte),
		cmocka_unit_test(test_r25_every_byte_with_mended_checksums),
		cmocka_unit_test(test_r25_every_length),
	};

	if (argc != 4)
		return 2;
	folder = argv[1];
	prefix = argv[2];
	stride = (unsigned)strtoul(argv[3], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
