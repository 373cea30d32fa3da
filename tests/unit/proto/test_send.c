// SPDX-License-Identifier: BSD-3-Clause
/* Sending to a peer that reads slowly, late, or never. */
#include "conn_pair.h"

#define BIG 300000u

/* The smallest socket buffer the kernel gives. */
static void shrink(struct pair *p)
{
	int one = 1;

	assert_int_equal(setsockopt(ob_conn_fd(p->conn), SOL_SOCKET, SO_SNDBUF,
				    &one, sizeof(one)), 0);
}

static int send_one(struct pair *p, uint16_t id, uint32_t size,
		    const int *fds, unsigned nr_fds)
{
	uint8_t *bytes = malloc(size);
	struct iovec iov[3];
	int r;

	assert_non_null(bytes);
	make_message(bytes, id, size);
	iov[0] = (struct iovec){ bytes, OB_HDR_SIZE };
	iov[1] = (struct iovec){ bytes + OB_HDR_SIZE, 0 };
	iov[2] = (struct iovec){ bytes + OB_HDR_SIZE, size - OB_HDR_SIZE };
	r = ob_conn_send(p->conn, iov, 3, fds, nr_fds);
	free(bytes);
	return r;
}

/* The peer reads with the code under test's other half. */
static void expect(struct ob_conn *reader, struct pair *p, uint16_t id,
		   uint32_t size, size_t nr_fds)
{
	struct ob_msg msg;
	bool drained;
	int r;

	while (!(r = ob_conn_next(reader, &msg))) {
		r = ob_conn_fill(reader, &drained);
		assert_true(r > 0 || r == -EAGAIN);
		r = ob_conn_flush(p->conn);
		assert_true(!r || r == -EAGAIN);
	}
	check_message(&msg, id, size);
	assert_int_equal(msg.nr_fds, nr_fds);
	ob_msg_finish(&msg);
}

static struct ob_conn *make_reader(struct pair *p)
{
	struct ob_conn *reader;

	assert_int_equal(ob_conn_create(p->peer, MAX_MESSAGE, &reader), 0);
	p->peer = -1;
	return reader;
}

static void goes_out_at_once(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[64], want[36];

	make_message(want, 7, sizeof(want));
	assert_int_equal(send_one(p, 7, 36, NULL, 0), 0);
	assert_false(ob_conn_pending(p->conn));
	assert_int_equal(ob_conn_flush(p->conn), 0);
	assert_int_equal(recv(p->peer, bytes, sizeof(bytes), MSG_DONTWAIT), 36);
	assert_memory_equal(bytes, want, 36);
}

static void fds_go_with_the_message_and_stay_ours(void **state)
{
	struct pair *p = *state;
	struct ob_conn *reader = make_reader(p);
	int fds[OB_MAX_MSG_FDS] = { 0 };

	assert_int_equal(send_one(p, 1, 36, NULL, 0), 0);
	assert_int_equal(send_one(p, 2, 36, fds, OB_MAX_MSG_FDS), 0);
	assert_int_equal(send_one(p, 3, 36, fds, 1), 0);
	expect(reader, p, 1, 36, 0);
	expect(reader, p, 2, 36, OB_MAX_MSG_FDS);
	expect(reader, p, 3, 36, 1);
	assert_true(fcntl(0, F_GETFD) >= 0);
	ob_conn_destroy(reader);
}

static void too_many_fds(void **state)
{
	struct pair *p = *state;
	int fds[OB_MAX_MSG_FDS + 1] = { 0 };

	assert_int_equal(send_one(p, 1, 36, fds, OB_MAX_MSG_FDS + 1), -EINVAL);
	assert_false(ob_conn_pending(p->conn));
}

/* Cut anywhere, several kept, all arrive whole and in order (R5). */
static void r5_continues_at_any_byte(void **state)
{
	struct pair *p = *state;
	struct ob_conn *reader = make_reader(p);
	int fd = 0;

	shrink(p);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(send_one(p, i, i % 2 ? BIG + i : 36 + i, &fd,
					  i % 3 == 0), 0);
	assert_true(ob_conn_pending(p->conn));
	for (unsigned i = 0; i < 20; i++)
		expect(reader, p, i, i % 2 ? BIG + i : 36 + i, i % 3 == 0);
	assert_int_equal(ob_conn_flush(p->conn), 0);
	assert_false(ob_conn_pending(p->conn));
	ob_conn_destroy(reader);
}

/* Fills the socket, so that what follows is kept from its first byte. */
static void fill_socket(struct pair *p)
{
	shrink(p);
	while (!ob_conn_pending(p->conn))
		assert_int_equal(send_one(p, 0, 2000, NULL, 0), 0);
}

/* A kept message's fds are its own: the caller may close at once. */
static void r1_kept_fds_are_duplicates(void **state)
{
	struct pair *p = *state;
	struct ob_conn *reader = make_reader(p);
	int ends[2], r = 0;
	struct ob_msg msg;
	bool drained;

	fill_socket(p);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(send_one(p, 99, 36, &ends[1], 1), 0);
	close(ends[1]);
	do {
		while (!ob_conn_next(reader, &msg)) {
			ob_conn_fill(reader, &drained);
			ob_conn_flush(p->conn);
		}
		r++;
	} while (msg.hdr.id != 99);
	assert_true(r > 1);
	assert_int_equal(msg.nr_fds, 1);
	assert_int_equal(write(msg.fds[0], "x", 1), 1);
	ob_msg_finish(&msg);
	close(ends[0]);
	ob_conn_destroy(reader);
}

/* Teardown compares the number of open fds. */
static void r1_fds_of_messages_never_sent(void **state)
{
	struct pair *p = *state;
	int fds[5] = { 0 };

	fill_socket(p);
	for (int i = 0; i < 10; i++)
		assert_int_equal(send_one(p, i, 36, fds, 5), 0);
}

/* There is room again, but what is kept goes first. */
static void r5_nothing_overtakes_what_is_kept(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[65536];
	struct ob_conn *reader;
	struct ob_msg msg;
	size_t got = 0;
	ssize_t n;

	shrink(p);
	assert_int_equal(send_one(p, 1, 65536, NULL, 0), 0);
	assert_true(ob_conn_pending(p->conn));
	while ((n = recv(p->peer, bytes + got, sizeof(bytes) - got,
			 MSG_DONTWAIT)) > 0)
		got += n;
	assert_in_range(got, 1, sizeof(bytes) - 1);
	assert_int_equal(send_one(p, 2, 36, NULL, 0), 0);
	while (got < sizeof(bytes)) {
		ob_conn_flush(p->conn);
		n = recv(p->peer, bytes + got, sizeof(bytes) - got, 0);
		assert_true(n > 0);
		got += n;
	}
	msg.payload = bytes + OB_HDR_SIZE;
	msg.len = sizeof(bytes) - OB_HDR_SIZE;
	memcpy(&msg.hdr, bytes, OB_HDR_SIZE);
	check_message(&msg, 1, 65536);
	reader = make_reader(p);
	expect(reader, p, 2, 36, 0);
	ob_conn_destroy(reader);
}

static void r5_a_peer_that_never_reads(void **state)
{
	struct pair *p = *state;

	fill_socket(p);
	for (int i = 0; i < 100; i++)
		assert_int_equal(ob_conn_flush(p->conn), -EAGAIN);
	assert_true(ob_conn_pending(p->conn));
}

/* No signal, an error instead; O_NONBLOCK does not matter (R6). */
static void a_peer_that_is_gone(void **state)
{
	struct pair *p = *state;

	assert_int_equal(fcntl(ob_conn_fd(p->conn), F_SETFL, 0), 0);
	fill_socket(p);
	close(p->peer);
	p->peer = -1;
	assert_int_equal(ob_conn_flush(p->conn), -EPIPE);
}

static void first_send_to_a_peer_that_is_gone(void **state)
{
	struct pair *p = *state;

	close(p->peer);
	p->peer = -1;
	assert_int_equal(send_one(p, 1, 36, NULL, 0), -EPIPE);
	assert_false(ob_conn_pending(p->conn));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(goes_out_at_once),
		TEST(fds_go_with_the_message_and_stay_ours),
		TEST(too_many_fds),
		TEST(r5_continues_at_any_byte),
		TEST(r1_kept_fds_are_duplicates),
		TEST(r1_fds_of_messages_never_sent),
		TEST(r5_nothing_overtakes_what_is_kept),
		TEST(r5_a_peer_that_never_reads),
		TEST(a_peer_that_is_gone),
		TEST(first_send_to_a_peer_that_is_gone),
	};

	return cmocka_run_group_tests_name("send", tests, NULL, NULL);
}
