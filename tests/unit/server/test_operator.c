// SPDX-License-Identifier: BSD-3-Clause
/*
 * The operator's side of a device, with real pipes: what takes time, what is
 * given up in the middle, and drives that do not come free.  The client of the
 * rig is the VMM.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_drive.h"
#include "rig_mig.h"
#include "server/operator.h"
#include "server/pages.h"
#include "state/stream.h"
#include "state/wire.h"

#define TURNS 1000000u
#define GUEST (1u << 20)

static struct ob_drive disk;

/* One operation, and how it ended. */
struct asked {
	struct ob_operation op;		/* first */
	bool ended;
	int r;
};

static void note_end(struct ob_operation *op, int r)
{
	struct asked *a = (struct asked *)op;

	assert_false(a->ended);
	a->ended = true;
	a->r = r;
}

static struct asked *fresh(struct asked *a)
{
	*a = (struct asked){ .op.done = note_end };
	return a;
}

/* Of one that returned r at once, or will end. */
static int outcome(struct rig *rig, struct asked *a, int r)
{
	unsigned i;

	for (i = 0; r == -EINPROGRESS && !a->ended; i++) {
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
		assert_true(i < TURNS);
	}
	return r == -EINPROGRESS ? a->r : r;
}

static void assert_says(const struct asked *a, const char *words)
{
	if (!strstr(a->op.err.msg, words))
		fail_msg("not '%s': %s", words, a->op.err.msg);
}

static struct rig *start(bool content)
{
	struct rig *rig;

	fake_drive_init(&disk, content);
	rig_drives[0] = &disk;
	rig = rig_mig_start(",drain=900");
	disk.loop = rig->loop;
	return rig;
}

static void end(struct rig *rig)
{
	rig_end(rig);
	rig_drives[0] = NULL;
}

static const char *state_of(struct rig *rig)
{
	struct ob_operator_status status;

	ob_operator_status(rig->dev, &status);
	return status.state;
}

/* The whole of a stream that fits its pipe. */
static size_t drain(int fd, uint8_t *bytes, size_t room)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, bytes + len, room - len)) > 0)
		len += (size_t)n;
	close(fd);
	return len;
}

static size_t save(struct rig *rig, uint8_t *bytes, size_t room)
{
	struct asked a;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(outcome(rig, &a, ob_operator_save(
		rig->dev, &fresh(&a)->op, fds[1], false)), 0);
	return drain(fds[0], bytes, room);
}

static int feed(struct rig *rig, struct asked *a, const uint8_t *bytes,
		size_t len, bool pages)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], bytes, len), len);
	close(fds[1]);
	fresh(a);
	return outcome(rig, a, pages ?
		       ob_operator_pages_in(rig->dev, &a->op, fds[0]) :
		       ob_operator_load(rig->dev, &a->op, fds[0]));
}

/* -- changes of state -------------------------------------------------- */

static void a_stop_takes_its_time(void **state)
{
	struct rig *rig = start(false);
	struct asked a, b;

	(void)state;
	rig_seen(rig)->slow = true;
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&a)->op),
			 -EINPROGRESS);
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&b)->op), -EBUSY);
	assert_says(&b, "another change");
	assert_int_equal(ob_operator_resume(rig->dev, &fresh(&b)->op), -EBUSY);
	/* The client is served meanwhile, and refused what is not its own. */
	assert_int_equal(rig_mig_set(rig, S_STOP), EBUSY);
	assert_non_null(strstr(rig_why(rig), "operator"));
	assert_false(a.ended);
	ob_dev_stopped(rig->dev);
	assert_int_equal(outcome(rig, &a, -EINPROGRESS), 0);
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), 0);
	assert_string_equal(rig_seen(rig)->calls, "rshr");
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	end(rig);
}

static void a_stop_ends_although_the_model_does_not(void **state)
{
	struct rig *rig = start(false);
	struct asked a;

	(void)state;
	rig_seen(rig)->slow = true;
	assert_int_equal(outcome(rig, &a, ob_operator_quiesce(
		rig->dev, &fresh(&a)->op)), 0);
	assert_string_equal(rig_seen(rig)->calls, "rsh");
	end(rig);
}

/* The client resets what is coming to its standstill: it comes to it. */
static void a_reset_in_the_middle_of_a_stop(void **state)
{
	struct rig *rig = start(false);
	struct asked a;

	(void)state;
	rig_seen(rig)->slow = true;
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&a)->op),
			 -EINPROGRESS);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	assert_false(a.ended);
	ob_dev_stopped(rig->dev);
	assert_int_equal(outcome(rig, &a, -EINPROGRESS), 0);
	assert_string_equal(state_of(rig), "STOP");
	assert_true(ob_dev_is_halted(rig->dev));
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), 0);
	assert_string_equal(rig_seen(rig)->calls, "rshr");
	end(rig);
}

/* A change of state goes on without its asker, and another one finds it. */
static void an_asker_that_goes(void **state)
{
	struct rig *rig = start(false);
	struct asked a, b;

	(void)state;
	rig_seen(rig)->slow = true;
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&a)->op),
			 -EINPROGRESS);
	ob_operation_cancel(&a.op);
	ob_operation_cancel(&a.op);
	ob_dev_stopped(rig->dev);
	rig_settle(rig);
	assert_string_equal(state_of(rig), "STOP");
	assert_false(a.ended);
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&b)->op), 0);
	end(rig);
}

/* A stop that was begun for a stream whose asker has gone. */
static void a_stream_that_is_given_up_before_it_begins(void **state)
{
	struct rig *rig = start(true);
	struct asked a;
	int fds[2], files;

	(void)state;
	files = (int)count_fds();
	for (int load = 0; load < 2; load++) {
		rig_seen(rig)->slow = true;
		assert_int_equal(pipe(fds), 0);
		fresh(&a);
		assert_int_equal(load ? ob_operator_load(rig->dev, &a.op, fds[0]) :
				 ob_operator_save(rig->dev, &a.op, fds[1], false),
				 -EINPROGRESS);
		close(fds[load]);
		ob_operation_cancel(&a.op);
		ob_dev_stopped(rig->dev);
		rig_settle(rig);
		assert_int_equal(count_fds(), files);
		assert_string_equal(state_of(rig), load ? "STOP" : "STOP_COPY");
		assert_false(disk.tracked);
		assert_int_equal(outcome(rig, &a, ob_operator_resume(
			rig->dev, &fresh(&a)->op)), 0);
	}
	end(rig);
}

/* The client hangs up while the operator waits. */
static void the_client_goes_meanwhile(void **state)
{
	struct rig *rig = start(false);
	struct asked a;

	(void)state;
	rig_seen(rig)->slow = true;
	assert_int_equal(ob_operator_quiesce(rig->dev, &fresh(&a)->op),
			 -EINPROGRESS);
	rig_hang_up(rig);
	assert_int_equal(outcome(rig, &a, -EINPROGRESS), -ECONNRESET);
	assert_says(&a, "the client has gone");
	assert_string_equal(state_of(rig), "RUNNING");
	rig_connect(rig);
	assert_int_equal(rig_version(rig, RIG_EXTENSIONS), 0);
	rig_seen(rig)->slow = false;
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
	end(rig);
}

/* The device goes with a stream in each direction. */
static void the_server_ends_meanwhile(void **state)
{
	struct rig *rig = start(false);
	struct asked a, b;
	int out[2], in[2];

	(void)state;
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(in), 0);
	rig_hang_up(rig);
	rig_settle(rig);
	assert_int_equal(ob_operator_save(rig->dev, &fresh(&a)->op, out[1], true),
			 -EINPROGRESS);
	assert_int_equal(ob_operator_pages_in(rig->dev, &fresh(&b)->op, in[0]),
			 -EINVAL);
	assert_says(&b, "no guest memory");
	rig_settle(rig);
	assert_false(a.ended);
	end(rig);
	assert_true(a.ended);
	assert_int_equal(a.r, -ECONNRESET);
	assert_says(&a, "the server ends");
	close(out[0]);
	close(in[1]);
}

/* -- drives ------------------------------------------------------------ */

static void end_waits_for_the_drives(void **state)
{
	static uint8_t bytes[1u << 20];
	struct rig *rig = start(false);
	struct asked a;
	size_t len;
	int fds[2];

	(void)state;
	disk.hang = true;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(ob_operator_save(rig->dev, &fresh(&a)->op, fds[1],
					  false), -EINPROGRESS);
	rig_settle(rig);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
	assert_false(a.ended);
	assert_int_equal(disk.releases, 0);
	disk.hang = false;
	fake_let_go(&disk);
	assert_int_equal(outcome(rig, &a, -EINPROGRESS), 0);
	assert_false(disk.active);
	len = drain(fds[0], bytes, sizeof(bytes));
	assert_int_equal(len, a.op.bytes);
	/* It takes them back, and what it gave away loads. */
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), 0);
	assert_true(disk.active);
	assert_int_equal(feed(rig, &a, bytes, len, false), 0);
	end(rig);
}

static void a_drive_that_cannot_be_given_away(void **state)
{
	struct rig *rig = start(false);
	struct asked a;
	int fds[2];

	(void)state;
	for (int flush = 0; flush < 2; flush++) {
		disk.fail_flush = flush ? EIO : 0;
		disk.fail_release = flush ? 0 : EBUSY;
		assert_int_equal(pipe(fds), 0);
		assert_true(outcome(rig, &a, ob_operator_save(
			rig->dev, &fresh(&a)->op, fds[1], false)) < 0);
		assert_true(a.op.err.msg[0]);
		close(fds[0]);
		disk.fail_flush = disk.fail_release = 0;
		assert_int_equal(outcome(rig, &a, ob_operator_resume(
			rig->dev, &fresh(&a)->op)), 0);
		assert_true(disk.active);
	}
	end(rig);
}

static void a_drive_that_another_one_has(void **state)
{
	static uint8_t bytes[1u << 20];
	struct rig *rig = start(false);
	struct asked a;

	(void)state;
	save(rig, bytes, sizeof(bytes));
	disk.fail_acquire = EBUSY;
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), -EBUSY);
	assert_string_equal(state_of(rig), "STOP");
	disk.fail_acquire = 0;
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), 0);
	end(rig);
}

/* -- states that come in ----------------------------------------------- */

static void what_the_model_refuses(void **state)
{
	static uint8_t bytes[1u << 20];
	struct rig *rig = start(true);
	struct asked a;
	size_t len;

	(void)state;
	len = save(rig, bytes, sizeof(bytes));
	rig_seen(rig)->refuse = EINVAL;
	assert_int_equal(feed(rig, &a, bytes, len, false), -EINVAL);
	assert_says(&a, "regs: refused");
	assert_string_equal(state_of(rig), "STOP");
	assert_false(disk.staged);
	assert_int_equal(rig_mig_get(rig), S_STOP);
	rig_seen(rig)->refuse = 0;
	assert_int_equal(feed(rig, &a, bytes, len, false), 0);
	assert_int_equal(outcome(rig, &a, ob_operator_resume(
		rig->dev, &fresh(&a)->op)), 0);
	end(rig);
}

/* -- pages ------------------------------------------------------------- */

static void map_guest(struct rig *rig, uint8_t **view)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, GUEST), 0);
	*view = mmap(NULL, GUEST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_int_equal(rig_map(rig, 0, GUEST, 0, 3, fd), 0);
	close(fd);
}

static size_t put_record(uint8_t *at, uint64_t iova, uint32_t length,
			 uint32_t kind, uint8_t fill, uint32_t *crc)
{
	size_t size = OB_PAGES_HEAD + (kind == OB_PAGES_DATA ? length : 0);

	ob_le_store(at, iova, 8);
	ob_le_store(at + 8, length, 4);
	ob_le_store(at + 12, kind, 4);
	memset(at + OB_PAGES_HEAD, fill, size - OB_PAGES_HEAD);
	*crc = ob_crc32c(*crc, at, size);
	ob_le_store(at + size, *crc, OB_PAGES_SUM);
	return size + OB_PAGES_SUM;
}

/* Two pages, of which one is dropped. */
static size_t make_pages(uint8_t *bytes)
{
	uint32_t crc = 0;
	size_t len = put_record(bytes, 0x3000, 0x2000, OB_PAGES_DATA, 0xaa, &crc);

	len += put_record(bytes + len, 0x3000, 0x1000, OB_PAGES_DROP, 0, &crc);
	return len + put_record(bytes + len, 1, 0, OB_PAGES_END, 0, &crc);
}

/* Changed in any byte, or cut anywhere, it is refused, and no byte is put. */
static void every_byte_of_pages_counts(void **state)
{
	static uint8_t bytes[32768];
	struct rig *rig = start(false);
	size_t len = make_pages(bytes), i;
	unsigned files;
	struct asked a;
	uint8_t *view;

	(void)state;
	map_guest(rig, &view);
	assert_int_equal(outcome(rig, &a, ob_operator_quiesce(
		rig->dev, &fresh(&a)->op)), 0);
	files = count_fds();
	for (i = 0; i < len; i++) {
		bytes[i] ^= (uint8_t)(1 << i % 8);
		assert_true(feed(rig, &a, bytes, len, true) < 0);
		assert_true(a.op.err.msg[0]);
		bytes[i] ^= (uint8_t)(1 << i % 8);
		if (i % 16 == 0)
			assert_true(feed(rig, &a, bytes, i, true) < 0);
	}
	assert_int_equal(ob_operator_pages_apply(rig->dev, &fresh(&a)->op),
			 -ENOENT);
	assert_int_equal(count_fds(), files);
	assert_int_equal(view[0x4000], 0);
	assert_int_equal(feed(rig, &a, bytes, len, true), 0);
	assert_int_equal(a.op.pages, 1);
	assert_int_equal(outcome(rig, &a, ob_operator_pages_apply(
		rig->dev, &fresh(&a)->op)), 0);
	assert_int_equal(view[0x3000], 0);
	assert_int_equal(view[0x4000], 0xaa);
	assert_int_equal(view[0x4fff], 0xaa);
	munmap(view, GUEST);
	end(rig);
}

/* It arrives in pieces of any size. */
static void pages_in_pieces(void **state)
{
	static uint8_t bytes[32768];
	struct rig *rig = start(false);
	size_t len = make_pages(bytes), at;
	struct asked a;
	uint8_t *view;
	int fds[2];

	(void)state;
	map_guest(rig, &view);
	for (size_t step = 1; step < 5000; step = step * 3 + 1) {
		assert_int_equal(pipe(fds), 0);
		assert_int_equal(ob_operator_pages_in(rig->dev, &fresh(&a)->op,
						      fds[0]), -EINPROGRESS);
		for (at = 0; at < len; at += step) {
			size_t n = len - at < step ? len - at : step;

			assert_int_equal(write(fds[1], bytes + at, n), n);
			if (at % 7 == 0 || step > 100)
				rig_settle(rig);
		}
		assert_false(a.ended);
		close(fds[1]);
		assert_int_equal(outcome(rig, &a, -EINPROGRESS), 0);
	}
	munmap(view, GUEST);
	end(rig);
}

/* Nobody reads: the loop serves others, and what waits can be given up. */
static void a_reader_that_does_not_read(void **state)
{
	struct rig *rig = start(false);
	struct ob_err err = { "" };
	struct asked a;
	uint8_t *view;
	int fds[2];

	(void)state;
	map_guest(rig, &view);
	rig_master(rig, true);
	assert_int_equal(ob_operator_log(rig->dev, true, &err), 0);
	for (uint64_t at = 0; at < GUEST; at += 65536) {
		static uint8_t data[65536];
		const struct ob_seg seg = { at, sizeof(data) };

		assert_int_equal(ob_dma_write(rig->dev, &seg, 1, data, NULL), 0);
	}
	assert_int_equal(pipe(fds), 0);
	fcntl(fds[1], F_SETPIPE_SZ, 4096);
	assert_int_equal(ob_operator_pages_out(rig->dev, &fresh(&a)->op, fds[1],
					       false),
			 -EINPROGRESS);
	for (unsigned i = 0; i < 100; i++)
		rig_settle(rig);
	assert_int_equal(rig_mig_get(rig), S_RUNNING);
	assert_false(a.ended);
	ob_operation_cancel(&a.op);
	assert_true(drain(fds[0], view, GUEST) > 0);
	munmap(view, GUEST);
	end(rig);
}

static int ignore_pipes(void **state)
{
	(void)state;
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stop_takes_its_time),
		cmocka_unit_test(a_stop_ends_although_the_model_does_not),
		cmocka_unit_test(a_reset_in_the_middle_of_a_stop),
		cmocka_unit_test(an_asker_that_goes),
		cmocka_unit_test(a_stream_that_is_given_up_before_it_begins),
		cmocka_unit_test(the_client_goes_meanwhile),
		cmocka_unit_test(the_server_ends_meanwhile),
		cmocka_unit_test(end_waits_for_the_drives),
		cmocka_unit_test(a_drive_that_cannot_be_given_away),
		cmocka_unit_test(a_drive_that_another_one_has),
		cmocka_unit_test(what_the_model_refuses),
		cmocka_unit_test(every_byte_of_pages_counts),
		cmocka_unit_test(pages_in_pieces),
		cmocka_unit_test(a_reader_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, ignore_pipes, NULL);
}
