// SPDX-License-Identifier: BSD-3-Clause
/* Out of one device and into another, in pieces of every size, or not at all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_drive.h"
#include "rig_mig.h"
#include "server/device_impl.h"

static struct ob_drive from_disk, to_disk;

static struct rig *start(struct ob_drive *disk)
{
	struct rig *rig;

	fake_drive_init(disk, true);
	rig_drives[0] = disk;
	rig = rig_mig_start("");
	disk->loop = rig->loop;
	return rig;
}

static void end(struct rig *rig)
{
	rig_end(rig);
	rig_drives[0] = NULL;
}

/* Something in every part, so that a part that is left out shows. */
static void fill(struct rig *rig, struct ob_drive *disk)
{
	struct test_state *state = rig_state(rig);
	struct test_hot *hot = ob_dev_hot(rig->dev);
	struct ob_core *core = rig->dev->core;
	uint8_t *bar = ob_dev_bar_memory(rig->dev, 0);

	for (unsigned i = 0; i < 64; i++)
		state->regs[i] = 0x1000 + i;
	state->resets = 17;
	state->kind = 3;
	state->reserved_word = UINT32_MAX;
	for (unsigned i = 0; i < 3; i++)
		hot->cursor[i] = UINT64_MAX - i;
	rig_set_config(rig, 4, 0x406, 2);	/* memory, master, INTx off */
	rig_set_config(rig, 0x10, 0xfebf0000, 4);
	rig_set_config(rig, 0x3c, 11, 1);
	ob_irq_level(rig->dev, true);
	core->msi_pending = 0x81;
	core->msix_pending[1] = 0x21;
	core->msix[69] = (struct ob_msix_entry){ 0xfee00000, 0x4041, 1 };
	core->msix[3] = (struct ob_msix_entry){ 0xfee01000, 0x4042, 0 };
	memset(bar + 0x1000, 0x5a, 0x1000);
	fake_write(disk, 0, 0x11);
	fake_write(disk, 15, 0x22);
}

/* Every byte that ought to travel. */
static void expect_same(struct rig *a, struct rig *b)
{
	assert_memory_equal(rig_state(a), rig_state(b),
			    sizeof(struct test_state));
	assert_memory_equal(ob_dev_hot(a->dev), ob_dev_hot(b->dev),
			    sizeof(struct test_hot));
	assert_memory_equal(a->dev->core, b->dev->core,
			    sizeof(struct ob_core));
	assert_memory_equal(ob_dev_bar_memory(a->dev, 0),
			    ob_dev_bar_memory(b->dev, 0), 0x4000);
	assert_memory_equal(from_disk.bytes, to_disk.bytes, FAKE_SIZE);
}

static void test_r24_a_loaded_device_is_the_saved_one(void **arg)
{
	struct stream stream = { 0 }, back = { 0 };
	struct rig *a = start(&from_disk), *b = start(&to_disk);

	(void)arg;
	fill(a, &from_disk);
	fake_write(&to_disk, 7, 0x77);		/* of an earlier life */
	memset(rig_state(b), 0x77, 256);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	assert_string_equal(rig_seen(b)->calls, "rshcl");
	assert_int_equal(rig_seen(b)->resets, 2);	/* the old life ended */
	expect_same(a, b);
	assert_true(rig_seen(b)->master_on);
	assert_int_equal(ob_irq_mode(b->dev), OB_IRQ_INTX);

	/* And what that one saves is the same again, but for the counters. */
	rig_save(b, &back);
	assert_int_equal(back.len, stream.len);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	assert_string_equal(rig_seen(b)->calls, "rshclr");
	stream_free(&stream);
	stream_free(&back);
	end(a);
	end(b);
}

static void a_stream_may_be_cut_anywhere(void **arg)
{
	struct stream whole = { 0 }, bytes = { 0 };
	struct rig *a = start(&from_disk), *b = start(&to_disk);

	(void)arg;
	fill(a, &from_disk);
	rig_save(a, &whole);
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	rig_read_all(a, &bytes, 1);
	assert_int_equal(bytes.len, whole.len);
	assert_memory_equal(bytes.bytes, whole.bytes, whole.len);
	assert_int_equal(rig_mig_set(b, S_RESUMING), 0);
	assert_int_equal(rig_write_all(b, &whole, 1), 0);
	assert_int_equal(rig_mig_set(b, S_RUNNING), 0);
	assert_int_equal(rig_mig_set(a, S_STOP), 0);
	expect_same(a, b);
	stream_free(&whole);
	stream_free(&bytes);
	end(a);
	end(b);
}

static void pieces_of_other_sizes_are_the_same_stream(void **arg)
{
	static const uint32_t sizes[] = { 7, 4096, 65536, 1u << 20 };
	struct stream whole = { 0 }, pieces = { 0 };
	struct rig *a = start(&from_disk);
	unsigned i;

	(void)arg;
	fill(a, &from_disk);
	rig_save(a, &whole);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(rig_mig_set(a, S_COPY), 0);
		rig_read_all(a, &pieces, sizes[i]);
		assert_int_equal(pieces.len, whole.len);
		assert_int_equal(rig_mig_set(a, S_STOP), 0);
		stream_free(&pieces);
	}
	stream_free(&whole);
	end(a);
}

static void nothing_is_read_or_written_with_size_0(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk);
	uint32_t got = 99;

	(void)arg;
	assert_int_equal(rig_mig_set(a, S_PRE), 0);
	assert_int_equal(rig_mig_read(a, 0, NULL, &got), 0);
	assert_int_equal(got, 0);
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	assert_int_equal(rig_mig_read(a, 0, NULL, &got), 0);
	rig_read_all(a, &stream, 1u << 20);
	assert_int_equal(rig_mig_read(a, 0, NULL, &got), 0);
	assert_int_equal(got, 0);
	assert_int_equal(rig_mig_set(a, S_RESUMING), 0);
	assert_int_equal(rig_mig_write(a, "", 0), 0);
	assert_int_equal(rig_write_all(a, &stream, 4096), 0);
	assert_int_equal(rig_mig_write(a, "", 0), 0);
	assert_int_equal(rig_mig_set(a, S_RUNNING), 0);
	stream_free(&stream);
	end(a);
}

static void after_the_end_a_read_gives_nothing(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk);
	uint32_t got = 99;
	uint8_t byte;

	(void)arg;
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	rig_read_all(a, &stream, 4096);
	assert_int_equal(rig_mig_read(a, 1, &byte, &got), 0);
	assert_int_equal(got, 0);
	stream_free(&stream);
	end(a);
}

static void only_some_states_can_be_read_or_written(void **arg)
{
	static const uint8_t reads[] = { S_COPY, S_PRE, S_PRE_P2P };
	struct rig *a = start(&from_disk);
	uint8_t byte = 0;
	uint32_t got;
	unsigned state;

	(void)arg;
	for (state = 1; state < NR_S; state++) {
		bool readable = memchr(reads, (int)state, sizeof(reads));

		assert_int_equal(rig_call(a, RESET, "", 0), 0);
		assert_int_equal(rig_mig_set(a, state), 0);
		assert_int_equal(rig_mig_read(a, 1, &byte, &got),
				 readable ? 0 : EINVAL);
		assert_int_equal(rig_mig_write(a, "O", 1),
				 state == S_RESUMING ? 0 : EINVAL);
	}
	end(a);
}

/* Whatever was read, written or changed: the device goes on as it was. */
static void a_session_can_be_called_off_at_any_byte(void **arg)
{
	struct stream whole = { 0 };
	struct rig *a = start(&from_disk);
	struct ob_core core;
	uint8_t bytes[4096];
	uint32_t got;
	size_t at;

	(void)arg;
	fill(a, &from_disk);
	rig_save(a, &whole);
	core = *a->dev->core;
	for (at = 0; at < whole.len; at += whole.len / 30 + 1) {
		uint32_t len = at < sizeof(bytes) ? (uint32_t)at : 4096;

		assert_int_equal(rig_mig_set(a, S_RUNNING), 0);
		assert_int_equal(rig_mig_set(a, S_PRE), 0);
		assert_int_equal(rig_mig_read(a, len, bytes, &got), 0);
		if (at % 2)
			assert_int_equal(rig_mig_set(a, S_PRE_P2P), 0);
		assert_int_equal(rig_mig_set(a, S_RUNNING), 0);
		assert_int_equal(rig_mig_set(a, S_COPY), 0);
		assert_int_equal(rig_mig_read(a, len, bytes, &got), 0);
		assert_int_equal(rig_mig_set(a, S_RESUMING), 0);
		assert_int_equal(rig_mig_write(a, whole.bytes, (uint32_t)at), 0);
		assert_memory_equal(a->dev->core, &core, sizeof(core));
		assert_int_equal(rig_state(a)->regs[5], 0x1005);
		rig_hang_up(a);
		rig_connect(a);
		assert_int_equal(rig_version(a, NULL), 0);
		core.intx_masked = a->dev->core->intx_masked;
		assert_memory_equal(a->dev->core, &core, sizeof(core));
		assert_int_equal(rig_state(a)->regs[5], 0x1005);
		assert_true(from_disk.active);
	}
	stream_free(&whole);
	end(a);
}

static void more_than_was_agreed_is_refused(void **arg)
{
	struct rig *a = start(&from_disk);
	uint32_t ask[2] = { UINT32_MAX, (1u << 20) + 1 };
	uint32_t short_ask[2] = { 8 + 99, 100 };
	uint32_t wrap[2] = { 7, UINT32_MAX };

	(void)arg;
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	assert_int_equal(rig_call(a, MIG_READ, ask, sizeof(ask)), EINVAL);
	assert_int_equal(rig_call(a, MIG_READ, short_ask, 8), EINVAL);
	assert_int_equal(rig_call(a, MIG_READ, wrap, 8), EINVAL);
	assert_int_equal(rig_call(a, MIG_READ, ask, 7), EINVAL);
	assert_int_equal(rig_call(a, MIG_READ, ask, 0), EINVAL);
	assert_int_equal(rig_mig_get(a), S_COPY);
	end(a);
}

/* What is small for a client is no limit of ours. */
static void a_small_limit_of_the_client_holds_in_both_directions(void **arg)
{
	struct rig *rig = rig_start("", NULL);
	uint8_t bytes[513] = { 0 };
	uint32_t got;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, "{\"capabilities\":"
				     "{\"max_data_xfer_size\":512}}"), 0);
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	assert_int_equal(rig_mig_read(rig, 513, bytes, &got), EINVAL);
	assert_int_equal(rig_mig_read(rig, 512, bytes, &got), 0);
	assert_int_equal(got, 512);
	assert_int_equal(rig_mig_set(rig, S_RESUMING), 0);
	assert_int_equal(rig_mig_write(rig, bytes, 513), EINVAL);
	assert_int_equal(rig_mig_write(rig, bytes, 512), 0);
	rig_end(rig);
}

static uint64_t data_size(struct rig *rig)
{
	uint64_t size;

	assert_int_equal(rig_feature(rig, 16, GET | 9, "", 0), 0);
	assert_int_equal(rig->len, 16);
	memcpy(&size, rig->reply + 8, sizeof(size));
	return size;
}

static void zeros_of_a_bar_replace_what_was_there(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk), *b = start(&to_disk);

	(void)arg;
	memset((uint8_t *)ob_dev_bar_memory(b->dev, 0) + 0x1000, 0x77, 0x1000);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	expect_same(a, b);
	stream_free(&stream);
	end(a);
	end(b);
}

static void what_was_never_written_takes_no_memory(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk), *b = start(&to_disk);
	struct stat st;

	(void)arg;
	assert_true(data_size(a) < 0x1000 + FAKE_SIZE + 2048);
	rig_save(a, &stream);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	assert_int_equal(fstat(a->dev->bars[0].fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(fstat(b->dev->bars[0].fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	stream_free(&stream);
	end(a);
	end(b);
}

static void what_nobody_would_hear_is_not_taken(void **arg)
{
	struct stream whole = { 0 }, rest = { 0 };
	struct rig *a = start(&from_disk);
	uint32_t ask[2] = { 8 + 100, 100 };

	(void)arg;
	rig_save(a, &whole);
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	rig_send(a, MIG_READ, NO_REPLY, ask, sizeof(ask), NULL, 0);
	rig_read_all(a, &rest, 4096);
	assert_int_equal(rest.len, whole.len);
	stream_free(&whole);
	stream_free(&rest);
	end(a);
}

static void content_goes_while_the_device_runs(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk), *b = start(&to_disk);
	uint64_t info[2];

	(void)arg;
	fill(a, &from_disk);
	assert_int_equal(rig_mig_set(a, S_PRE), 0);
	rig_read_all(a, &stream, 4096);
	assert_int_equal(rig_feature(a, 24, GET | 0xfb00, "", 0), 0);
	memcpy(info, a->reply + 8, sizeof(info));
	assert_int_equal(info[1], 0);

	/* It is short for now, not for good: what changes comes again. */
	fake_write(&from_disk, 0, 0x33);
	rig_read_all(a, &stream, 4096);
	fake_write(&from_disk, 8, 0x44);
	rig_state(a)->regs[5] = 555;
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	assert_string_equal(rig_seen(a)->calls, "rsh");
	rig_read_all(a, &stream, 4096);
	rig_load(b, &stream);
	assert_int_equal(rig_mig_set(b, S_STOP), 0);
	expect_same(a, b);
	stream_free(&stream);
	end(a);
	end(b);
}

static void precopy_info_is_for_precopy_and_for_those_who_agreed(void **arg)
{
	struct rig *a = start(&from_disk), *plain;

	(void)arg;
	assert_int_equal(rig_feature(a, 24, PROBE | GET | 0xfb00, "", 0), 0);
	assert_int_equal(rig_feature(a, 24, GET | 0xfb00, "", 0), EINVAL);
	assert_int_equal(rig_mig_set(a, S_PRE_P2P), 0);
	assert_int_equal(rig_feature(a, 24, GET | 0xfb00, "", 0), 0);
	assert_int_equal(a->len, 24);
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	assert_int_equal(rig_feature(a, 24, GET | 0xfb00, "", 0), EINVAL);
	end(a);
	plain = rig_ready();
	assert_int_equal(rig_feature(plain, 24, GET | 0xfb00, "", 0), ENOTTY);
	assert_int_equal(rig_feature(plain, 264, GET | 0xfb01, "", 0), ENOTTY);
	rig_end(plain);
}

static void the_size_that_is_told_is_not_too_small(void **arg)
{
	struct stream stream = { 0 };
	struct rig *a = start(&from_disk);
	uint64_t running, stopped;

	(void)arg;
	fill(a, &from_disk);
	running = data_size(a);
	assert_int_equal(rig_mig_set(a, S_COPY), 0);
	stopped = data_size(a);
	rig_read_all(a, &stream, 1000);
	assert_true(running >= stream.len);
	assert_true(stopped >= stream.len);
	assert_int_equal(data_size(a), 0);
	stream_free(&stream);
	end(a);
}

static void what_is_offered_can_be_probed(void **arg)
{
	static const struct {
		uint32_t number;
		bool get, set;
	} rows[] = {
		{ 1, true, false }, { 2, true, true }, { 9, true, false },
		{ 0xfb00, true, false }, { 0xfb01, true, false },
	};
	struct rig *a = start(&from_disk);
	uint64_t flags;
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t n = rows[i].number;

		assert_int_equal(rig_feature(a, 8, PROBE | n, "", 0), 0);
		assert_int_equal(rig_feature(a, 8, PROBE | GET | n, "", 0), 0);
		assert_int_equal(rig_feature(a, 8, PROBE | SET | n, "", 0),
				 rows[i].set ? 0 : EINVAL);
		assert_int_equal(rig_feature(a, 8, PROBE | SET | GET | n, "", 0),
				 rows[i].set ? 0 : EINVAL);
	}
	assert_int_equal(rig_mig_get(a), S_RUNNING);
	assert_int_equal(rig_feature(a, 16, GET | 1, "", 0), 0);
	memcpy(&flags, a->reply + 8, sizeof(flags));
	assert_int_equal(flags, 7);
	end(a);
}

static void a_short_request_for_a_state_is_refused(void **arg)
{
	struct rig *a = start(&from_disk);
	uint32_t data[2] = { S_STOP, 0 };
	unsigned len;

	(void)arg;
	for (len = 0; len < 8; len++)
		assert_int_equal(rig_feature(a, 16, SET | 2, data, len),
				 EINVAL);
	assert_int_equal(rig_mig_get(a), S_RUNNING);
	/* An answer that has no room is cut, and the request was done. */
	assert_int_equal(rig_feature(a, 8, SET | 2, data, 8), 0);
	assert_int_equal(a->len, 8);
	assert_int_equal(rig_mig_get(a), S_STOP);
	end(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r24_a_loaded_device_is_the_saved_one),
		cmocka_unit_test(a_stream_may_be_cut_anywhere),
		cmocka_unit_test(pieces_of_other_sizes_are_the_same_stream),
		cmocka_unit_test(nothing_is_read_or_written_with_size_0),
		cmocka_unit_test(after_the_end_a_read_gives_nothing),
		cmocka_unit_test(only_some_states_can_be_read_or_written),
		cmocka_unit_test(a_session_can_be_called_off_at_any_byte),
		cmocka_unit_test(more_than_was_agreed_is_refused),
		cmocka_unit_test(
			a_small_limit_of_the_client_holds_in_both_directions),
		cmocka_unit_test(zeros_of_a_bar_replace_what_was_there),
		cmocka_unit_test(what_was_never_written_takes_no_memory),
		cmocka_unit_test(what_nobody_would_hear_is_not_taken),
		cmocka_unit_test(content_goes_while_the_device_runs),
		cmocka_unit_test(
			precopy_info_is_for_precopy_and_for_those_who_agreed),
		cmocka_unit_test(the_size_that_is_told_is_not_too_small),
		cmocka_unit_test(what_is_offered_can_be_probed),
		cmocka_unit_test(a_short_request_for_a_state_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
