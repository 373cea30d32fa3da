// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reading from a connection that outlives its process: what leaves the socket
 * and when, and what a successor finds.  Deaths at every instruction are
 * test_kept_death.c.
 */
#include "kept_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static void looked_at_is_there(void **state)
{
	struct rig *rig = *state;
	struct ob_msg msg;

	put_message(rig, 1, 100, NULL, 0);
	put_message(rig, 2, 50, NULL, 0);
	take_done(rig, 1, 100);
	take(rig, &msg);
	die_and_adopt(rig);
	take_done(rig, 2, 50);
	assert_false(is_empty(rig));
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_true(is_empty(rig));
}

static void done_is_not_seen_again(void **state)
{
	struct rig *rig = *state;
	bool drained;

	for (unsigned i = 0; i < 200; i++)
		put_message(rig, i, i % 7, NULL, 0);
	for (unsigned i = 0; i < 150; i++)
		take_done(rig, i, i % 7);
	die_and_adopt(rig);
	for (unsigned i = 150; i < 200; i++)
		take_done(rig, i, i % 7);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_true(is_empty(rig));
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EAGAIN);
	close(ob_fd_take(&rig->peer));
	assert_int_equal(ob_conn_fill(rig->conn, &drained), 0);
}

/* Taken off although it is not whole: else its sender might wait for ever. */
static void byte_by_byte(void **state)
{
	struct rig *rig = *state;
	struct ob_msg msg;
	size_t size;
	uint8_t *bytes = message(3, 20, &size);
	bool drained;

	for (size_t i = 0; i < size; i++) {
		assert_int_equal(ob_conn_next(rig->conn, &msg), 0);
		assert_int_equal(put(rig, bytes + i, 1, NULL, 0), 1);
		assert_int_equal(ob_conn_fill(rig->conn, &drained), 1);
		assert_true(drained);
		assert_true(i + 1 == size || is_empty(rig));
		if (i % 3 == 1)
			die_and_adopt(rig);
	}
	take_done(rig, 3, 20);
	put_message(rig, 4, 5, NULL, 0);
	die_and_adopt(rig);
	take_done(rig, 4, 5);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_true(is_empty(rig));
	free(bytes);
}

/* Many times what the socket holds, in turns with deaths. */
static void longer_than_the_socket(void **state)
{
	struct rig *rig = *state;
	size_t size, at = 0, len = MAX_MESSAGE - OB_HDR_SIZE;
	uint8_t *bytes = message(5, len, &size);
	unsigned turns = 0;
	bool drained;

	put_message(rig, 4, 30, NULL, 0);
	while (at < size) {
		ssize_t n = put(rig, bytes + at, size - at, NULL, 0);

		assert_true(n > 0);
		at += n;
		if (turns++ == 0)
			take_done(rig, 4, 30);
		if (at == size)
			break;
		assert_int_equal(ob_conn_flush(rig->conn), 0);
		while (ob_conn_fill(rig->conn, &drained) > 0)
			;
		assert_true(is_empty(rig));
		if (turns % 2)
			die_and_adopt(rig);
	}
	assert_true(turns > 2);
	take_done(rig, 5, len);
	put_message(rig, 6, 1, NULL, 0);
	take_done(rig, 6, 1);
	free(bytes);
}

static void expect_fds(const struct ob_msg *msg, unsigned first, size_t nr)
{
	assert_int_equal(msg->nr_fds, nr);
	assert_int_equal(msg->fds_dropped, 0);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(number_of(msg->fds[i]), first + i);
}

/* A message's fds come again to a successor, and never twice to one. */
static void fds_come_again(void **state)
{
	struct rig *rig = *state;
	unsigned before = count_fds();
	int fds[2] = { numbered(10), numbered(11) };
	struct ob_msg msg;

	put_message(rig, 1, 9, NULL, 0);
	put_message(rig, 2, 9, fds, 2);
	put_message(rig, 3, 9, NULL, 0);
	for (unsigned life = 0; life < 3; life++) {
		if (!life)
			take_done(rig, 1, 9);
		take(rig, &msg);
		expect_fds(&msg, 10, 2);
		ob_msg_finish(&msg);
		if (life < 2)
			die_and_adopt(rig);
	}
	ob_conn_done(rig->conn);
	die_and_adopt(rig);
	take(rig, &msg);
	expect_fds(&msg, 0, 0);
	ob_fds_close(fds, 2);
	assert_int_equal(count_fds(), before);
}

/* Those of a message in pieces, some of them held and some in the socket. */
static void fds_of_pieces(void **state)
{
	struct rig *rig = *state;
	unsigned before = count_fds();
	int fds[4] = { numbered(0), numbered(1), numbered(2), numbered(3) };
	size_t size;
	uint8_t *bytes = message(8, 100, &size);
	struct ob_msg msg;
	bool drained;

	put(rig, bytes, 1, fds, 1);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), 1);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EAGAIN);
	assert_true(is_empty(rig));
	assert_int_equal(rig->nr_lent, 1);
	put(rig, bytes + 1, 40, fds + 1, 2);
	die_and_adopt(rig);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), 40);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EAGAIN);
	assert_int_equal(rig->nr_lent, 3);
	die_and_adopt(rig);
	put(rig, bytes + 41, size - 41, fds + 3, 1);
	for (unsigned life = 0; life < 2; life++) {
		take(rig, &msg);
		expect(&msg, 8, 100);
		expect_fds(&msg, 0, 4);
		ob_msg_finish(&msg);
		if (!life)
			die_and_adopt(rig);
	}
	ob_conn_done(rig->conn);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_int_equal(rig->nr_lent, 0);
	ob_fds_close(fds, 4);
	assert_int_equal(count_fds(), before);
	free(bytes);
}

/*
 * Kept, but its bytes never left the socket, where the fds come from again;
 * those that were held before are still needed.
 */
static void fds_kept_in_vain(void **state)
{
	struct rig *rig = *state;
	int fds[3] = { numbered(0), numbered(1), numbered(2) };
	struct ob_conn_journal before;
	size_t size;
	uint8_t *bytes = message(8, 100, &size);
	struct ob_msg msg;
	bool drained;

	put(rig, bytes, 10, fds, 1);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), 10);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EAGAIN);
	before = rig->journal;
	assert_int_equal(before.held_fds, (uint64_t)1 << 40 | 10);
	/* As a life that dies between keep_fds and the call leaves it. */
	rig->journal.held_fds = (uint64_t)3 << 40 | (uint64_t)1 << 32 | 50;
	assert_int_equal(rig_keep_fds(rig, 1, fds + 1, 2), 0);
	put(rig, bytes + 10, 40, fds + 1, 2);
	die_and_adopt(rig);
	put(rig, bytes + 50, size - 50, NULL, 0);
	take(rig, &msg);
	expect_fds(&msg, 0, 3);
	ob_msg_finish(&msg);
	ob_conn_done(rig->conn);
	ob_fds_close(fds, 3);
	free(bytes);
}

/* Each look at a segment gives its fds again, also one at its second half. */
static void fds_across_a_full_buffer(void **state)
{
	struct rig *rig = *state;
	size_t n = 64u << 10, size;
	int fds[2] = { numbered(0), numbered(1) };
	uint8_t *bytes = message(2, 9000, &size);
	struct ob_msg msg;

	put_message(rig, 1, n - OB_HDR_SIZE - 500, NULL, 0);
	assert_int_equal(put(rig, bytes, size, fds, 2), size);
	take_done(rig, 1, n - OB_HDR_SIZE - 500);
	take(rig, &msg);
	expect(&msg, 2, 9000);
	expect_fds(&msg, 0, 2);
	ob_msg_finish(&msg);
	ob_conn_done(rig->conn);
	ob_fds_close(fds, 2);
	free(bytes);
}

/* Two in one segment, the buffer ends between them. */
static void fds_at_the_end_of_a_full_buffer(void **state)
{
	struct rig *rig = *state;
	size_t n = 64u << 10, size, size3;
	int fds[1] = { numbered(5) };
	uint8_t *bytes = message(2, 500 - OB_HDR_SIZE, &size);
	uint8_t *third = message(3, 70, &size3);
	struct ob_msg msg;

	put_message(rig, 1, n - OB_HDR_SIZE - 500, NULL, 0);
	bytes = realloc(bytes, size + size3);
	memcpy(bytes + size, third, size3);
	assert_int_equal(put(rig, bytes, size + size3, fds, 1), size + size3);
	take_done(rig, 1, n - OB_HDR_SIZE - 500);
	take(rig, &msg);
	expect(&msg, 2, 500 - OB_HDR_SIZE);
	expect_fds(&msg, 5, 1);
	ob_msg_finish(&msg);
	ob_conn_done(rig->conn);
	take(rig, &msg);
	expect(&msg, 3, 70);
	expect_fds(&msg, 0, 0);
	ob_conn_done(rig->conn);
	ob_fds_close(fds, 1);
	free(bytes);
	free(third);
}

/* The keeper's table is full: the message says that it lacks some. */
static void fds_that_nobody_keeps(void **state)
{
	struct rig *rig = *state;
	int fds[1] = { numbered(5) };
	size_t size;
	uint8_t *bytes = message(2, 30, &size);
	struct ob_msg msg;
	bool drained;

	rig->refuse = -ENFILE;
	put(rig, bytes, 10, fds, 1);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), 10);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EAGAIN);
	die_and_adopt(rig);
	put(rig, bytes + 10, size - 10, NULL, 0);
	take(rig, &msg);
	assert_int_equal(msg.nr_fds, 0);
	assert_int_equal(msg.fds_dropped, 1);
	ob_conn_done(rig->conn);
	ob_fds_close(fds, 1);
	free(bytes);
}

/* Bytes that the kernel passes by, differently in a look and in a take. */
static void urgent_bytes(void **state)
{
	struct rig *rig = *state;
	size_t size;
	uint8_t *bytes = message(1, 300, &size);
	int r = 0;

	for (unsigned round = 0; round < 200 && r >= 0; round++) {
		struct ob_msg msg;
		bool drained;

		put(rig, bytes, round % 3 ? size : round % size, NULL, 0);
		send(rig->peer, bytes, 1 + round % 2, MSG_OOB | MSG_DONTWAIT);
		put(rig, bytes, round % 40, NULL, 0);
		while (ob_conn_next(rig->conn, &msg) == 1) {
			ob_msg_finish(&msg);
			ob_conn_done(rig->conn);
		}
		if (round % 2)
			r = ob_conn_flush(rig->conn);
		if (!r)
			r = ob_conn_fill(rig->conn, &drained);
		if (r == -EAGAIN || r == -EBUSY)
			r = 0;
	}
	free(bytes);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)
	static const struct CMUnitTest tests[] = {
		T(looked_at_is_there),
		T(done_is_not_seen_again),
		T(byte_by_byte),
		T(longer_than_the_socket),
		T(fds_come_again),
		T(fds_of_pieces),
		T(fds_kept_in_vain),
		T(fds_across_a_full_buffer),
		T(fds_at_the_end_of_a_full_buffer),
		T(fds_that_nobody_keeps),
		T(urgent_bytes),
	};

	return cmocka_run_group_tests_name("kept-in", tests, NULL, NULL);
}
