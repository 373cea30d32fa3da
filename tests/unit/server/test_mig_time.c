// SPDX-License-Identifier: BSD-3-Clause
/*
 * What takes time: a request is held, others are served, and every wait has an
 * end.  Drives that do not come free, locks that somebody else has, clients
 * that go away in the middle.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_drive.h"
#include "rig_mig.h"

static struct ob_drive disk, second;

static struct rig *start(const char *options)
{
	struct rig *rig;

	fake_drive_init(&disk, false);
	fake_drive_init(&second, false);
	rig_drives[0] = &disk;
	rig = rig_mig_start(options);
	disk.loop = second.loop = rig->loop;
	return rig;
}

static void end(struct rig *rig)
{
	rig_end(rig);
	rig_drives[0] = rig_drives[1] = NULL;
}

/* Stopping */

static void a_stop_is_answered_when_nothing_is_under_way(void **arg)
{
	struct rig *rig = start(",drain=900");

	(void)arg;
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	assert_true(rig_silent(rig));
	assert_string_equal(rig_seen(rig)->calls, "rs");
	assert_false(ob_dev_is_halted(rig->dev));
	ob_dev_stopped(rig->dev);
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.flags, REPLY);
	assert_int_equal(rig->len, 16);
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	assert_int_equal(rig_mig_get(rig), S_STOP);

	/* What the first one heard is not the second one's. */
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	rig_mig_ask(rig, S_STOP);
	assert_true(rig_silent(rig));
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	end(rig);
}

static void a_stop_ends_when_the_bound_has_passed(void **arg)
{
	struct rig *rig = start(",drain=20");

	(void)arg;
	rig_seen(rig)->slow = true;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	ob_dev_stopped(rig->dev);	/* too late, and harmless */
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_string_equal(rig_seen(rig)->calls, "rshr");
	end(rig);
}

static void a_bound_of_0_does_not_wait(void **arg)
{
	struct rig *rig = start(",drain=0");

	(void)arg;
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	assert_false(rig_silent(rig));
	assert_true(rig_receive(rig));
	end(rig);
}

static void what_is_sent_behind_waits_its_turn(void **arg)
{
	struct rig *rig = start(",drain=900");
	struct { uint64_t offset; uint32_t region, count; uint32_t value; }
		__attribute__((packed)) write = { 8, 0, 4, 0x1234 };
	struct { uint64_t offset; uint32_t region, count; } read = { 8, 0, 4 };
	uint16_t first;

	(void)arg;
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	first = rig->id;
	rig_send(rig, REGION_WRITE, NO_REPLY, &write, sizeof(write), NULL, 0);
	rig_send(rig, REGION_READ, 0, &read, sizeof(read), NULL, 0);
	assert_true(rig_silent(rig));
	assert_int_equal(rig_state(rig)->regs[2], 0);
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.id, first);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, REGION_READ);
	assert_memory_equal(rig->reply + 16, &write.value, 4);
	end(rig);
}

static void another_device_is_served_meanwhile(void **arg)
{
	struct rig *rig = start(",drain=900");
	struct rig *other = rig_start_beside(rig);

	(void)arg;
	rig_connect(other);
	assert_int_equal(rig_version(other, NULL), 0);
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	assert_int_equal(rig_config(other, 0, 2), 0x1b36);
	assert_int_equal(rig_mig_set(other, S_STOP), 0);
	assert_true(rig_silent(rig));
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	rig_end(other);
	end(rig);
}

static void a_client_that_hangs_up_is_not_waited_for(void **arg)
{
	struct rig *rig = start(",drain=900");

	(void)arg;
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_PRE_P2P);
	assert_true(rig_receive(rig));
	rig_mig_ask(rig, S_COPY);
	rig_settle(rig);
	assert_string_equal(rig_seen(rig)->calls, "rs");
	rig_hang_up(rig);
	assert_int_equal(rig_seen(rig)->gone, 1);
	assert_string_equal(rig_seen(rig)->calls, "rsr");
	ob_dev_stopped(rig->dev);
	rig_settle(rig);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	assert_string_equal(rig_seen(rig)->calls, "rsr");
	end(rig);
}

/* All of it in one: asks, hangs up, and another one comes at once. */
static void the_next_client_is_taken_at_once(void **arg)
{
	struct rig *rig = start(",drain=900");
	int old = rig->fd;

	(void)arg;
	rig_seen(rig)->slow = true;
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	shutdown(old, SHUT_RDWR);
	rig->fd = -1;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	close(old);
	end(rig);
}

static int dma_result;

static void dma_done(struct ob_dma_op *op, int rc)
{
	(void)op;
	dma_result = rc;
}

/* Memory that only the client reaches: 16 messages are sent, one waits. */
static void test_r9_no_message_leaves_while_an_answer_is_due(void **arg)
{
	struct rig *rig = start(",drain=900");
	struct ob_dma_op ops[17] = { 0 }, late = { 0 };
	struct ob_seg seg = { 0x10000, 64 };
	uint8_t buf[64];
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0x10000, 0x1000, 0, 3, -1), 0);
	rig_master(rig, true);
	rig_seen(rig)->slow = true;
	for (i = 0; i < 17; i++) {
		ops[i].done = dma_done;
		assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &ops[i]),
				 -EINPROGRESS);
	}
	rig_settle(rig);
	dma_result = 1;
	rig_mig_ask(rig, S_STOP);
	rig_settle(rig);
	assert_int_equal(dma_result, -ECANCELED);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &late), -ECANCELED);
	for (i = 0; i < 16; i++) {
		assert_true(rig_receive(rig));
		assert_int_equal(rig->hdr.cmd, DMA_READ);
	}
	assert_true(rig_silent(rig));
	ob_dev_stopped(rig->dev);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, FEATURE);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &late), -EACCES);
	end(rig);
}

/* The device runs all the time; its messages wait for the answer too. */
static void test_r9_a_running_device_waits_for_the_answer(void **arg)
{
	struct rig *rig = start("");
	struct ob_dma_op op = { .done = dma_done };
	struct ob_seg seg = { 0x10000, 64 };
	uint8_t buf[64];

	(void)arg;
	assert_int_equal(rig_map(rig, 0x10000, 0x1000, 0, 3, -1), 0);
	rig_master(rig, true);
	disk.active = false;
	disk.refusals = 5;
	rig_mig_ask(rig, S_PRE);
	rig_settle(rig);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &op), -EINPROGRESS);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, FEATURE);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_READ);
	end(rig);
}

/* The end of a stream, and the drives */

static void save_begin(struct rig *rig, struct stream *whole)
{
	rig_save(rig, whole);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	disk.releases = disk.flushes = disk.acquires = 0;
}

/* Asks for everything at once, so that the end is in the same read. */
static void ask_for_all(struct rig *rig)
{
	uint32_t ask[2] = { 8 + (1u << 20), 1u << 20 };

	rig_send(rig, MIG_READ, 0, ask, sizeof(ask), NULL, 0);
}

static void expect_all(struct rig *rig, const struct stream *whole)
{
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.flags, REPLY);
	assert_int_equal(rig->len, 8 + whole->len);
	assert_memory_equal(rig->reply + 8, whole->bytes, whole->len);
}

static void the_end_waits_until_the_drive_is_flushed_and_free(void **arg)
{
	struct rig *rig = start("");
	struct stream whole = { 0 };

	(void)arg;
	save_begin(rig, &whole);
	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	assert_int_equal(disk.flushes, 1);
	ask_for_all(rig);
	assert_true(rig_silent(rig));
	assert_true(disk.active);
	fake_let_go(&disk);
	expect_all(rig, &whole);
	assert_int_equal(disk.releases, 1);
	assert_int_equal(disk.flushes, 1);
	assert_false(disk.active);
	stream_free(&whole);
	end(rig);
}

static void before_its_end_a_stream_is_read_without_waiting(void **arg)
{
	struct rig *rig = start("");
	struct stream whole = { 0 };
	uint8_t bytes[64];
	uint32_t got;

	(void)arg;
	save_begin(rig, &whole);
	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	for (size_t at = 0; at + 100 < whole.len; at += got) {
		assert_int_equal(rig_mig_read(rig, 16, bytes, &got), 0);
		assert_int_equal(got, 16);
	}
	assert_true(disk.active);
	fake_let_go(&disk);
	stream_free(&whole);
	end(rig);
}

/* What was read before the failure is not lost with it. */
static void a_flush_that_fails_is_named_and_can_be_tried_again(void **arg)
{
	struct rig *rig = start("");
	struct stream whole = { 0 };

	(void)arg;
	save_begin(rig, &whole);
	disk.fail_flush = EIO;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	ask_for_all(rig);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.error, EIO);
	assert_non_null(strstr(rig_why(rig), "drive fake: flush"));
	assert_int_equal(rig_mig_get(rig), S_COPY);
	assert_true(disk.active);
	disk.fail_flush = 0;
	ask_for_all(rig);
	expect_all(rig, &whole);
	assert_false(disk.active);
	stream_free(&whole);
	end(rig);
}

static void a_drive_that_does_not_come_free_is_named(void **arg)
{
	struct rig *rig = start("");
	struct stream whole = { 0 }, again = { 0 };

	(void)arg;
	save_begin(rig, &whole);
	disk.others = 3;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	ask_for_all(rig);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.error, EBUSY);
	assert_non_null(strstr(rig_why(rig), "drive fake: 3 requests"));
	assert_int_equal(rig_mig_get(rig), S_COPY);
	disk.others = 0;
	rig_read_all(rig, &again, 1000);
	assert_int_equal(again.len, whole.len);
	assert_memory_equal(again.bytes, whole.bytes, whole.len);
	stream_free(&whole);
	stream_free(&again);
	end(rig);
}

static void a_flush_counts_only_with_nothing_under_way(void **arg)
{
	struct rig *rig = start("");
	struct stream stream = { 0 };

	(void)arg;
	disk.others = 1;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	rig_settle(rig);
	assert_int_equal(disk.flushes, 1);
	disk.others = 0;
	rig_read_all(rig, &stream, 4096);
	assert_int_equal(disk.flushes, 2);
	assert_int_equal(disk.releases, 1);
	stream_free(&stream);
	end(rig);
}

/* One that a running device began is not the one that counts. */
static void a_device_that_runs_is_flushed_early_and_again(void **arg)
{
	struct rig *rig = start("");
	struct stream stream = { 0 };

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_PRE), 0);
	rig_settle(rig);
	assert_int_equal(disk.flushes, 1);
	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	assert_int_equal(disk.flushes, 2);
	ask_for_all(rig);
	assert_true(rig_silent(rig));
	fake_let_go(&disk);
	assert_true(rig_receive(rig));
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);

	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_PRE), 0);
	assert_int_equal(disk.flushes, 3);
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	fake_let_go(&disk);
	rig_settle(rig);
	rig_read_all(rig, &stream, 4096);
	assert_int_equal(disk.flushes, 4);
	assert_false(disk.active);
	stream_free(&stream);
	end(rig);
}

static void test_r8_the_waits_of_one_answer_end_together(void **arg)
{
	struct rig *rig = start(",drain=900");
	uint64_t began;

	(void)arg;
	rig_seen(rig)->slow = true;
	disk.active = false;
	disk.refusals = 100000;
	began = ob_loop_now(rig->loop);
	assert_int_equal(rig_mig_set(rig, S_COPY), EBUSY);
	/* Both in full would be 1.4 s; a busy machine may add something. */
	assert_true(ob_loop_now(rig->loop) - began < 1250000000u);
	assert_int_equal(rig_mig_get(rig), S_STOP);
	end(rig);
}

static void a_client_that_hangs_up_at_the_end_is_not_waited_for(void **arg)
{
	struct rig *rig = start("");

	(void)arg;
	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	ask_for_all(rig);
	assert_true(rig_silent(rig));
	rig_hang_up(rig);
	assert_int_equal(rig_seen(rig)->gone, 1);
	assert_string_equal(rig_seen(rig)->calls, "rshr");
	fake_let_go(&disk);
	rig_settle(rig);
	assert_true(disk.active);
	end(rig);
}

/*
 * Its commands run elsewhere: here they would write to the memory of whoever
 * comes next, who may be about to load this very device again.
 */
static void what_was_given_away_does_not_run_for_the_next_client(void **arg)
{
	struct rig *rig = start("");
	struct stream stream = { 0 };
	unsigned resets = rig_state(rig)->resets;

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->resets, resets);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_save(rig, &stream);
	rig_master(rig, true);
	assert_false(disk.active);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->resets, resets + 1);
	assert_string_equal(rig_seen(rig)->calls, "rshrshr");
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	assert_int_equal(rig_config(rig, 4, 2) & 4, 0);
	assert_false(disk.active);
	stream_free(&stream);
	end(rig);
}

static void note_gone(void *arg)
{
	*(bool *)arg = true;
}

static void a_device_ends_after_its_flush(void **arg)
{
	struct rig *rig = start("");
	bool gone = false;

	(void)arg;
	disk.hang = true;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	ob_device_shutdown(rig->dev, note_gone, &gone);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ob_loop_turn(rig->loop, i % 2), 0);
	assert_false(gone);
	fake_let_go(&disk);
	end(rig);
}

/* Taking drives */

static void a_lock_is_tried_for_until_it_is_free(void **arg)
{
	struct rig *rig = start("");

	(void)arg;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	disk.active = false;
	disk.refusals = 5;
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_int_equal(disk.acquires, 1);
	assert_int_equal(disk.searches, 0);
	assert_string_equal(rig_seen(rig)->calls, "rshr");
	end(rig);
}

static void without_the_lock_the_device_stays_stopped(void **arg)
{
	struct rig *rig = start("");

	(void)arg;
	rig_drives[1] = NULL;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	disk.active = false;
	disk.refusals = 100000;
	assert_int_equal(rig_mig_set(rig, S_RUNNING), EBUSY);
	assert_non_null(strstr(rig_why(rig), "fake: locked"));
	/* To find out who has it takes all others' time, so it is done once. */
	assert_int_equal(disk.searches, 1);
	assert_int_equal(rig_mig_get(rig), S_STOP);
	assert_true(ob_dev_is_halted(rig->dev));
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	disk.refusals = 0;
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	end(rig);
}

static void a_drive_is_given_back_when_the_next_is_not_free(void **arg)
{
	struct rig *rig;

	(void)arg;
	rig_drives[1] = &second;
	rig = start("");
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	disk.active = second.active = false;
	second.fail_acquire = EIO;
	assert_int_equal(rig_mig_set(rig, S_RUNNING), EIO);
	assert_false(disk.active);
	assert_int_equal(rig_mig_get(rig), S_STOP);
	second.fail_acquire = 0;
	assert_int_equal(rig_mig_set(rig, S_P2P), 0);
	assert_true(disk.active && second.active);
	end(rig);
}

static void a_source_that_goes_on_takes_its_drives_back(void **arg)
{
	struct rig *rig = start("");
	struct stream one = { 0 }, two = { 0 };

	(void)arg;
	rig_save(rig, &one);
	assert_false(disk.active);
	assert_int_equal(rig_mig_set(rig, S_RUNNING), 0);
	assert_true(disk.active);
	rig_save(rig, &two);
	assert_false(disk.active);
	assert_int_equal(one.len, two.len);
	assert_int_equal(disk.flushes, 2);
	stream_free(&one);
	stream_free(&two);
	end(rig);
}

/* It was handed over and ran elsewhere: what is here is old. */
static void a_device_is_not_saved_while_another_has_its_drives(void **arg)
{
	struct rig *rig = start("");
	struct stream stream = { 0 };

	(void)arg;
	rig_save(rig, &stream);
	disk.refusals = 100000;
	assert_int_equal(rig_mig_set(rig, S_COPY), EBUSY);
	assert_non_null(strstr(rig_why(rig), "fake: locked"));
	assert_int_equal(rig_mig_get(rig), S_STOP);
	assert_int_equal(rig_call(rig, RESET, "", 0), 0);
	assert_int_equal(rig_mig_set(rig, S_PRE), EBUSY);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	disk.refusals = 0;
	assert_int_equal(rig_mig_set(rig, S_PRE), 0);
	assert_true(disk.active);
	stream_free(&stream);
	end(rig);
}

static void reset_does_not_take_what_was_handed_over(void **arg)
{
	struct rig *rig = start("");
	struct stream stream = { 0 };
	struct ob_err err = { "" };

	(void)arg;
	rig_save(rig, &stream);
	assert_int_equal(rig_call(rig, RESET, "", 0), 0);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	assert_false(disk.active);
	disk.refusals = 1;
	assert_int_equal(ob_dev_acquire_drives(rig->dev, &err), -EBUSY);
	assert_int_equal(ob_dev_acquire_drives(rig->dev, &err), 0);
	assert_true(disk.active);
	stream_free(&stream);
	end(rig);
}

static void a_destination_says_so(void **arg)
{
	struct rig *rig = start(",incoming=on"), *other = rig_ready();

	(void)arg;
	assert_true(ob_dev_is_incoming(rig->dev));
	assert_false(ob_dev_is_incoming(other->dev));
	rig_end(other);
	end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stop_is_answered_when_nothing_is_under_way),
		cmocka_unit_test(a_stop_ends_when_the_bound_has_passed),
		cmocka_unit_test(a_bound_of_0_does_not_wait),
		cmocka_unit_test(what_is_sent_behind_waits_its_turn),
		cmocka_unit_test(another_device_is_served_meanwhile),
		cmocka_unit_test(a_client_that_hangs_up_is_not_waited_for),
		cmocka_unit_test(the_next_client_is_taken_at_once),
		cmocka_unit_test(
			test_r9_no_message_leaves_while_an_answer_is_due),
		cmocka_unit_test(test_r9_a_running_device_waits_for_the_answer),
		cmocka_unit_test(
			the_end_waits_until_the_drive_is_flushed_and_free),
		cmocka_unit_test(
			before_its_end_a_stream_is_read_without_waiting),
		cmocka_unit_test(
			a_flush_that_fails_is_named_and_can_be_tried_again),
		cmocka_unit_test(a_drive_that_does_not_come_free_is_named),
		cmocka_unit_test(a_flush_counts_only_with_nothing_under_way),
		cmocka_unit_test(
			a_device_that_runs_is_flushed_early_and_again),
		cmocka_unit_test(test_r8_the_waits_of_one_answer_end_together),
		cmocka_unit_test(
			a_client_that_hangs_up_at_the_end_is_not_waited_for),
		cmocka_unit_test(
			what_was_given_away_does_not_run_for_the_next_client),
		cmocka_unit_test(a_device_ends_after_its_flush),
		cmocka_unit_test(a_lock_is_tried_for_until_it_is_free),
		cmocka_unit_test(without_the_lock_the_device_stays_stopped),
		cmocka_unit_test(
			a_drive_is_given_back_when_the_next_is_not_free),
		cmocka_unit_test(a_source_that_goes_on_takes_its_drives_back),
		cmocka_unit_test(
			a_device_is_not_saved_while_another_has_its_drives),
		cmocka_unit_test(reset_does_not_take_what_was_handed_over),
		cmocka_unit_test(a_destination_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
