// SPDX-License-Identifier: BSD-3-Clause
/*
 * There and back again, many times, with moves that are called off at some
 * point: what the device knows arrives with it, and a source goes on (R28,
 * R31).
 */
#include <stdlib.h>
#include <string.h>

#include "fake_drive.h"
#include "rig_mig.h"

#define HOPS 120u

struct side {
	struct rig *rig;
	struct ob_drive disk;
};

/* One number everywhere: the hop in which it was written. */
static void work(struct side *at, uint32_t hop)
{
	struct test_hot *hot = ob_dev_hot(at->rig->dev);

	rig_state(at->rig)->regs[hop % 64] = hop;
	hot->cursor[hop % 3] = hop;
	fake_write(&at->disk, hop % FAKE_BLOCKS, (uint8_t)hop);
}

static void expect_work(struct side *at, uint32_t hop)
{
	struct test_hot *hot = ob_dev_hot(at->rig->dev);
	uint32_t i;

	for (i = hop > 60 ? hop - 60 : 1; i <= hop; i++)
		assert_int_equal(rig_state(at->rig)->regs[i % 64], i);
	assert_int_equal(hot->cursor[hop % 3], hop);
	for (i = hop > 15 ? hop - 15 : 1; i <= hop; i++)
		assert_int_equal(at->disk.bytes[i % FAKE_BLOCKS * FAKE_BLOCK],
				 (uint8_t)i);
}

static bool chance(unsigned *seed, unsigned in)
{
	return (unsigned)rand_r(seed) % in == 0;
}

static bool called_back(struct side *from, unsigned *seed)
{
	if (!chance(seed, 8))
		return false;
	assert_int_equal(rig_mig_set(from->rig, S_RUNNING), 0);
	return true;
}

/* Calls it off, by going back or by hanging up. */
static bool called_off(struct side *from, unsigned *seed)
{
	if (chance(seed, 2))
		return called_back(from, seed);
	if (!chance(seed, 8))
		return false;
	rig_hang_up(from->rig);
	rig_connect(from->rig);
	assert_int_equal(rig_version(from->rig, NULL), 0);
	assert_int_equal(rig_mig_get(from->rig), S_RUNNING);
	return true;
}

/* False: it was called off on the way, and runs where it was. */
static bool take_out(struct side *from, struct stream *stream, unsigned *seed)
{
	if (chance(seed, 2)) {
		assert_int_equal(rig_mig_set(from->rig, S_PRE), 0);
		rig_read_all(from->rig, stream, 512 + rand_r(seed) % 9000);
		if (called_off(from, seed))
			return false;
	}
	assert_int_equal(rig_mig_set(from->rig, S_COPY), 0);
	if (called_off(from, seed))
		return false;
	rig_read_all(from->rig, stream, 512 + rand_r(seed) % 9000);
	assert_false(from->disk.active);
	/* Who hangs up now has given it away. */
	return !called_back(from, seed);
}

/* False: the stream was damaged, or the other side refuses to take it. */
static bool put_in(struct side *to, struct stream *stream, unsigned *seed)
{
	bool cut = chance(seed, 6), refuse = chance(seed, 6);
	int r;

	if (cut)
		stream->len /= 2;
	rig_load(to->rig, stream);
	rig_seen(to->rig)->refuse = refuse ? 22 : 0;
	r = rig_mig_set(to->rig, S_RUNNING);
	rig_seen(to->rig)->refuse = 0;
	if (!cut && !refuse) {
		assert_int_equal(r, 0);
		return true;
	}
	assert_int_not_equal(r, 0);
	assert_int_equal(rig_mig_get(to->rig), S_ERROR);
	assert_int_equal(rig_call(to->rig, RESET, "", 0), 0);
	return false;
}

/* Where the device is afterwards. */
static struct side *hop(struct side *from, struct side *to, unsigned *seed)
{
	struct stream stream = { 0 };
	bool out = take_out(from, &stream, seed);
	bool moved = out && put_in(to, &stream, seed);

	stream_free(&stream);
	if (moved)
		return to;
	assert_int_equal(rig_mig_set(from->rig, S_RUNNING), 0);
	return from;
}

static void start(struct side *side)
{
	fake_drive_init(&side->disk, true);
	rig_drives[0] = &side->disk;
	side->rig = rig_mig_start("");
	side->disk.loop = side->rig->loop;
	memset(rig_state(side->rig)->regs, 0, 256);
}

static void test_r28_there_and_back_with_moves_called_off(void **arg)
{
	static struct side sides[2];
	struct side *at = &sides[0];
	unsigned seed = 1, moves = 0, fds = 0;
	uint32_t i;

	(void)arg;
	start(&sides[0]);
	start(&sides[1]);
	for (i = 1; i <= HOPS; i++) {
		struct side *was = at;

		work(at, i);
		at = hop(at, at == sides ? &sides[1] : sides, &seed);
		moves += at != was;
		expect_work(at, i);
		if (i == 20)
			fds = count_fds();
	}
	assert_true(moves > HOPS / 4);
	assert_true(moves < HOPS);
	assert_int_equal(count_fds(), fds);
	rig_end(sides[0].rig);
	rig_end(sides[1].rig);
	rig_drives[0] = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r28_there_and_back_with_moves_called_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
