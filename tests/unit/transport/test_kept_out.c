// SPDX-License-Identifier: BSD-3-Clause
/*
 * Writing to a connection that outlives its process: answers, loans, files by
 * name; and journals that lie.
 */
#include "kept_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static void answers_outlive(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < 5; i++)
		queue(rig, i, 10 * i, NULL);
	assert_false(ob_conn_pending(rig->conn));
	die_and_adopt(rig);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(get_message(rig, i, 10 * i), -1);
	queue(rig, 9, 3, NULL);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	get_message(rig, 9, 3);
}

/* More than the socket takes; the rest moves to the front and goes on. */
static void answers_that_nobody_reads(void **state)
{
	struct rig *rig = *state;
	unsigned first = 0, next = 0;

	for (unsigned round = 0; round < 40; round++) {
		while (ob_conn_has_room(rig->conn, 60000) &&
		       next - first < 30)
			queue(rig, next++, 50000, NULL);
		assert_int_equal(ob_conn_flush(rig->conn), -EAGAIN);
		assert_true(ob_conn_pending(rig->conn));
		if (round % 3 == 0)
			die_and_adopt(rig);
		for (unsigned i = 0; i < 20; i++)
			get_message(rig, first++, 50000);
	}
	while (first < next)
		get_message(rig, first++, 50000);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_false(ob_conn_pending(rig->conn));
	assert_int_equal(rig->journal.out_base, rig->journal.queued);
}

static void full(void **state)
{
	struct rig *rig = *state;
	uint8_t byte = 0;
	struct iovec iov = { rig->memory.inbox, 1 << 20 };
	struct iovec one = { &byte, 1 };
	uint64_t queued;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ob_conn_queue(rig->conn, &iov, 1, NULL, 0),
				 0);
	queued = rig->journal.queued;
	assert_int_equal(ob_conn_queue(rig->conn, &one, 1, NULL, 0), -ENOBUFS);
	assert_int_equal(ob_conn_queue_lent(rig->conn, &one, 1, 0), -ENOBUFS);
	assert_false(ob_conn_has_room(rig->conn, 1));
	assert_int_equal(rig->journal.queued, queued);
	assert_int_equal(ob_conn_send(rig->conn, &one, 1, NULL, 0), -EINVAL);
}

/* fds go with the first byte of their message, whatever is around it. */
static void fds_by_name(void **state)
{
	static const uint8_t seven = 7, gone = 8;
	struct rig *rig = *state;
	struct iovec one = { (void *)"x", 1 };
	int fd;

	rig->name_fd = numbered(77);
	queue(rig, 1, 20, NULL);
	queue(rig, 2, 20, &seven);
	queue(rig, 3, 20, NULL);
	assert_false(ob_conn_has_room(rig->conn, 1));
	assert_int_equal(ob_conn_queue(rig->conn, &one, 1, &seven, 1),
			 -ENOBUFS);
	die_and_adopt(rig);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_int_equal(get_message(rig, 1, 20), -1);
	fd = get_message(rig, 2, 20);
	assert_int_equal(number_of(fd), 77);
	close(fd);
	assert_int_equal(get_message(rig, 3, 20), -1);
	assert_true(ob_conn_has_room(rig->conn, 1));
	queue(rig, 4, 20, &gone);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_int_equal(get_message(rig, 4, 20), -1);
}

static void queue_lent(struct rig *rig, uint8_t *bytes, size_t len)
{
	struct iovec head = { bytes, 16 };
	struct iovec rest[2] = {
		{ bytes + 16, 1000 }, { bytes + 1016, len - 1016 },
	};

	assert_int_equal(ob_conn_queue(rig->conn, &head, 1, NULL, 0), 0);
	assert_int_equal(ob_conn_queue_lent(rig->conn, rest, 2, 0xee), 0);
}

/* What is lent may change once it was flushed, taken or not. */
static void lent_is_given_back(void **state)
{
	struct rig *rig = *state;
	size_t size;
	uint8_t *bytes = message(1, 900000, &size);

	queue(rig, 0, 5, NULL);
	queue_lent(rig, bytes, size);
	queue(rig, 2, 5, NULL);
	assert_int_equal(ob_conn_flush(rig->conn), -EAGAIN);
	memset(bytes, 0, size);
	die_and_adopt(rig);
	get_message(rig, 0, 5);
	get_message(rig, 1, 900000);
	get_message(rig, 2, 5);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	free(bytes);
}

/* A second loan while there is one is a copy. */
static void lent_twice(void **state)
{
	struct rig *rig = *state;
	size_t size;
	uint8_t *bytes = message(1, 5000, &size);
	uint8_t *other = message(2, 5000, &size);

	queue_lent(rig, bytes, size);
	queue_lent(rig, other, size);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	get_message(rig, 1, 5000);
	get_message(rig, 2, 5000);
	free(bytes);
	free(other);
}

/* Who lent it has died: the length is right, and what is missing is filled. */
static void lent_and_died(void **state)
{
	struct rig *rig = *state;
	size_t size;
	uint8_t *bytes = message(1, 50000, &size);
	uint8_t *have = malloc(size);

	queue_lent(rig, bytes, size);
	queue(rig, 2, 5, NULL);
	die_and_adopt(rig);
	assert_int_equal(get(rig, have, size), -1);
	assert_memory_equal(have, bytes, 16);
	for (size_t i = 16; i < size; i++)
		assert_int_equal(have[i], 0xee);
	get_message(rig, 2, 5);
	free(bytes);
	free(have);
}

static size_t resident(const uint8_t *at, size_t size)
{
	size_t pages = size / 4096, n = 0;
	unsigned char *map = calloc(pages, 1);

	assert_int_equal(mincore((void *)at, size, map), 0);
	for (size_t i = 0; i < pages; i++)
		n += map[i] & 1;
	free(map);
	return n * 4096;
}

static void bursts_are_given_back(void **state)
{
	struct rig *rig = *state;
	size_t size, at = 0;
	uint8_t *bytes = message(1, 1000000, &size);
	bool drained;

	for (unsigned i = 0; i < 40; i++)
		queue(rig, i, 50000, NULL);
	for (unsigned i = 0; i < 40; i++)
		get_message(rig, i, 50000);
	assert_int_equal(ob_conn_flush(rig->conn), 0);
	assert_int_equal(resident(rig->memory.outbox, OUTBOX), 0);
	while (at < size) {
		at += put(rig, bytes + at, size - at, NULL, 0);
		while (at < size && ob_conn_fill(rig->conn, &drained) > 0)
			;
	}
	take_done(rig, 1, 1000000);
	for (unsigned i = 0; i < 100; i++) {
		put_message(rig, i, 5, NULL, 0);
		take_done(rig, i, 5);
		assert_int_equal(ob_conn_flush(rig->conn), 0);
	}
	assert_true(resident(rig->memory.inbox, INBOX) <= 64u << 10);
	free(bytes);
}

static void refuse(struct rig *rig, const char *field)
{
	struct ob_conn *conn = NULL;
	struct ob_err err = { "" };

	assert_int_equal(ob_conn_adopt(rig->own, MAX_MESSAGE, &rig->memory,
				       NULL, &conn, &err), -EINVAL);
	if (!strstr(err.msg, field))
		fail_msg("%s: %s", field, err.msg);
	memset(&rig->journal, 0, sizeof(rig->journal));
}

static void a_journal_that_lies(void **state)
{
	struct rig *rig = *state;
	struct ob_conn_journal *j = &rig->journal;

	die(rig);
	j->consumed = INBOX + 1;
	refuse(rig, "consumed");
	j->consumed = 3;
	j->held_fds = (uint64_t)0x41 << 40;
	refuse(rig, "held_fds");
	j->sent = 1;
	refuse(rig, "sent");
	j->queued = j->sent = 5;
	j->out_base = 6;
	refuse(rig, "out_base");
	j->queued = OUTBOX + 1;
	refuse(rig, "out_base");
	j->queued = 10;
	j->lent_from = 8;
	j->lent_to = 7;
	refuse(rig, "lent_from");
	j->queued = 10;
	j->lent_from = 3;
	j->lent_to = 11;
	refuse(rig, "lent_to");
	j->nr_fds = OB_KEPT_FDS + 1;
	refuse(rig, "nr_fds");
	adopt(rig);
}

/* It says that more is done than the socket ever had. */
static void done_without_bytes(void **state)
{
	struct rig *rig = *state;
	bool drained;

	die(rig);
	put_message(rig, 1, 5, NULL, 0);
	rig->journal.done = 1000;
	adopt(rig);
	assert_int_equal(ob_conn_fill(rig->conn, &drained), -EIO);
	die(rig);
	rig->journal.done = UINT64_MAX;
	adopt(rig);
	assert_int_equal(ob_conn_flush(rig->conn), -EIO);
}

/* Whatever it says: refused, or a connection that comes to an end. */
static void a_journal_of_noise(void **state)
{
	struct rig *rig = *state;
	unsigned seed = 1;

	die(rig);
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t *bytes = (uint8_t *)&rig->journal;
		struct ob_msg msg;
		bool drained;

		memset(bytes, 0, sizeof(rig->journal));
		for (unsigned n = 0; n < 1 + i % 6; n++)
			bytes[rand_r(&seed) % sizeof(rig->journal) &
			      ~(i % 2 ? 7 : 0)] = rand_r(&seed);
		put(rig, &seed, sizeof(seed), NULL, 0);
		if (ob_conn_adopt(dup(rig->own), MAX_MESSAGE, &rig->memory,
				  NULL, &rig->conn, NULL))
			continue;
		for (unsigned turn = 0; turn < 5; turn++) {
			while (ob_conn_next(rig->conn, &msg) == 1) {
				ob_msg_finish(&msg);
				ob_conn_done(rig->conn);
			}
			ob_conn_flush(rig->conn);
			ob_conn_fill(rig->conn, &drained);
		}
		die(rig);
	}
}

static void every_byte_has_a_row(void **state)
{
	struct ob_err err = { "" };

	(void)state;
	if (ob_table_check(&ob_conn_journal_table, &err))
		fail_msg("%s", err.msg);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)
	static const struct CMUnitTest tests[] = {
		T(answers_outlive),
		T(answers_that_nobody_reads),
		T(full),
		T(fds_by_name),
		T(lent_is_given_back),
		T(lent_twice),
		T(lent_and_died),
		T(bursts_are_given_back),
		T(a_journal_that_lies),
		T(done_without_bytes),
		T(a_journal_of_noise),
		cmocka_unit_test(every_byte_has_a_row),
	};

	return cmocka_run_group_tests_name("kept-out", tests, NULL, NULL);
}
