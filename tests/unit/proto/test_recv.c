// SPDX-License-Identifier: BSD-3-Clause
/* Receiving: any cut of the stream, and which message the fds belong to. */
#include "conn_pair.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void send_message(struct pair *p, uint16_t id, uint32_t size, int fd,
			 size_t nr_fds)
{
	uint8_t bytes[4096];

	make_message(bytes, id, size);
	send_with_fds(p->peer, bytes, size, fd, nr_fds);
}

/* The next whole message, reading as often as that takes. */
static void next_message(struct pair *p, struct ob_msg *msg)
{
	bool drained;
	int r;

	while (!(r = ob_conn_next(p->conn, msg)))
		assert_true(ob_conn_fill(p->conn, &drained) > 0);
	assert_int_equal(r, 1);
}

static void expect(struct pair *p, uint16_t id, uint32_t size, size_t nr_fds)
{
	struct ob_msg msg;

	next_message(p, &msg);
	check_message(&msg, id, size);
	assert_int_equal(msg.nr_fds, nr_fds);
	assert_int_equal(msg.fds_dropped, 0);
	ob_msg_finish(&msg);
}

/* Closed by whom they come to, and the next message has its own. */
static void unwanted_fds(void **state)
{
	struct pair *p = *state;

	ob_conn_bytes_only(p->conn, true);
	send_message(p, 1, 64, p->peer, 3);
	send_message(p, 2, 32, p->peer, 0);
	expect(p, 1, 64, 0);
	expect(p, 2, 32, 0);
	ob_conn_bytes_only(p->conn, false);
	send_message(p, 3, 64, p->peer, 2);
	expect(p, 3, 64, 2);
}

/* Those that came with its begin stay a message's, however its rest is read. */
static void wanted_fds_and_unwanted(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[64];
	bool drained;

	make_message(bytes, 1, sizeof(bytes));
	send_with_fds(p->peer, bytes, 20, p->peer, 2);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 20);
	ob_conn_bytes_only(p->conn, true);
	send_with_fds(p->peer, bytes + 20, 44, p->peer, 1);
	expect(p, 1, 64, 2);
	assert_int_equal(ob_conn_fill(p->conn, &drained), -EAGAIN);
	assert_true(drained);
}

static void nothing_to_read(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;
	bool drained = false;

	assert_int_equal(ob_conn_next(p->conn, &msg), 0);
	assert_int_equal(ob_conn_fill(p->conn, &drained), -EAGAIN);
	assert_true(drained);
}

static void end_of_stream(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;
	bool drained;

	assert_int_equal(write(p->peer, "\1\2\3", 3), 3);
	close(p->peer);
	p->peer = -1;
	assert_int_equal(ob_conn_fill(p->conn, &drained), 3);
	assert_int_equal(ob_conn_next(p->conn, &msg), 0);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 0);
}

static void r5_byte_at_a_time(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;
	uint8_t bytes[80];
	bool drained;

	make_message(bytes, 5, 36);
	make_message(bytes + 36, 6, 44);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(write(p->peer, &bytes[i], 1), 1);
		assert_int_equal(ob_conn_fill(p->conn, &drained), 1);
		assert_true(drained);
		if (i + 1 != 36 && i + 1 != 80)
			assert_int_equal(ob_conn_next(p->conn, &msg), 0);
		else
			expect(p, i < 36 ? 5 : 6, i < 36 ? 36 : 44, 0);
	}
}

/* fds on the first byte, when not even the header is there. */
static void r1_fds_with_the_first_byte_alone(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[36];
	bool drained;

	make_message(bytes, 9, sizeof(bytes));
	send_with_fds(p->peer, bytes, 1, 0, 3);
	for (size_t i = 1; i < sizeof(bytes); i++) {
		assert_int_equal(ob_conn_fill(p->conn, &drained), 1);
		assert_int_equal(write(p->peer, &bytes[i], 1), 1);
	}
	expect(p, 9, sizeof(bytes), 3);
}

/* QEMU's UNMAP, MAP, UNMAP, MAP: only the maps carry an fd. */
static void r1_pipelined_fds_stay_with_their_message(void **state)
{
	struct pair *p = *state;

	for (int i = 0; i < 10; i++) {
		send_message(p, 2 * i, 40, -1, 0);
		send_message(p, 2 * i + 1, 48, 0, 1);
	}
	send_message(p, 20, 40, -1, 0);
	for (int i = 0; i < 10; i++) {
		expect(p, 2 * i, 40, 0);
		expect(p, 2 * i + 1, 48, 1);
	}
	expect(p, 20, 40, 0);
}

/* A message cut behind its header, its fds, and the next one's fds. */
static void r1_fds_of_a_cut_message_and_of_the_next(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[48];
	bool drained;

	make_message(bytes, 1, sizeof(bytes));
	send_with_fds(p->peer, bytes, 20, 0, 2);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 20);
	assert_int_equal(write(p->peer, bytes + 20, 28), 28);
	send_message(p, 2, 36, -1, 0);
	send_message(p, 3, 36, 0, 1);
	expect(p, 1, 48, 2);
	expect(p, 2, 36, 0);
	expect(p, 3, 36, 1);
}

/* fds are not lost with a sender that attaches them late. */
static void r1_fds_in_the_middle_of_a_message(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[48];
	bool drained;

	make_message(bytes, 1, sizeof(bytes));
	send_with_fds(p->peer, bytes, 16, 0, 1);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 16);
	send_with_fds(p->peer, bytes + 16, 32, 0, 2);
	expect(p, 1, 48, 3);
}

/* Distinct files arrive in order. */
static void r1_order_of_fds(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;
	int ends[2], fd;
	struct stat a, b;

	assert_int_equal(pipe(ends), 0);
	send_message(p, 1, 16, ends[0], 1);
	send_message(p, 2, 16, ends[1], 1);
	next_message(p, &msg);
	fd = ob_msg_take_fd(&msg, 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstat(ends[0], &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fd);
	ob_msg_finish(&msg);
	next_message(p, &msg);
	assert_int_equal(fcntl(msg.fds[0], F_GETFL) & O_ACCMODE, O_WRONLY);
	ob_msg_finish(&msg);
	close(ends[0]);
	close(ends[1]);
}

static void r1_taken_fds_survive_the_message(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;
	int fd;

	send_message(p, 1, 16, 0, 3);
	next_message(p, &msg);
	fd = ob_msg_take_fd(&msg, 1);
	assert_true(fd >= 0);
	assert_int_equal(ob_msg_take_fd(&msg, 1), -1);
	assert_int_equal(ob_msg_take_fd(&msg, 3), -1);
	ob_msg_finish(&msg);
	ob_msg_finish(&msg);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);
}

/* As many as the kernel lets through: 64 are taken, the others closed. */
static void r1_excess_fds_are_closed(void **state)
{
	struct pair *p = *state;
	size_t before = count_fds();
	struct ob_msg msg;

	for (size_t n = 0; n <= 253; n++) {
		size_t kept = n < OB_MAX_MSG_FDS ? n : OB_MAX_MSG_FDS;

		send_message(p, n, 36, 0, n);
		next_message(p, &msg);
		check_message(&msg, n, 36);
		assert_int_equal(msg.nr_fds, kept);
		assert_int_equal(msg.fds_dropped, n - kept);
		assert_int_equal(count_fds(), before + kept);
		ob_msg_finish(&msg);
		assert_int_equal(count_fds(), before);
	}
}

/* Our table of fds is full: some arrive, MSG_CTRUNC tells of the others. */
static void r1_fds_that_did_not_fit_our_table(void **state)
{
	struct pair *p = *state;
	size_t before = count_fds();
	struct rlimit old, low;
	struct ob_msg msg;
	int top = dup(0);

	assert_true(top >= 0);
	close(top);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = top + 2;
	send_message(p, 1, 36, 0, 10);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	next_message(p, &msg);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	check_message(&msg, 1, 36);
	assert_int_equal(msg.nr_fds, 2);
	assert_true(msg.fds_dropped > 0);
	ob_msg_finish(&msg);
	assert_int_equal(count_fds(), before);
}

/* The connection goes away with fds received and not handed out. */
static void r1_fds_of_messages_never_read(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[48];
	bool drained;

	make_message(bytes, 1, sizeof(bytes));
	send_with_fds(p->peer, bytes, 20, 0, 7);
	assert_true(ob_conn_fill(p->conn, &drained) > 0);
	assert_int_equal(write(p->peer, bytes + 20, 28), 28);
	send_message(p, 2, 36, 0, 7);
	assert_true(ob_conn_fill(p->conn, &drained) > 0);
}

/* Its own end of the connection, which would keep it open for ever. */
static void r1_sockets_are_refused(void **state)
{
	struct pair *p = *state;
	size_t before = count_fds();
	struct ob_msg msg;
	bool drained;

	send_message(p, 1, 36, p->peer, 2);
	next_message(p, &msg);
	assert_int_equal(msg.nr_fds, 2);
	ob_msg_finish(&msg);
	ob_conn_refuse_sockets(p->conn);
	send_message(p, 2, 36, p->peer, 2);
	send_message(p, 3, 36, 0, 2);
	next_message(p, &msg);
	assert_int_equal(msg.nr_fds, 0);
	assert_int_equal(msg.fds_dropped, 2);
	assert_int_equal(count_fds(), before);
	expect(p, 3, 36, 2);
	send_with_fds(p->peer, "half", 4, p->peer, 1);
	close(p->peer);
	p->peer = -1;
	assert_int_equal(ob_conn_fill(p->conn, &drained), 4);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 0);
}

/*
 * A socket with unsent data, told to wait for an hour when it is closed, and whose
 * last owner we are.
 */
static int make_lingering_socket(int listener)
{
	struct linger hour = { .l_onoff = 1, .l_linger = 3600 };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	static char bytes[65536];

	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len),
			 0);
	if (connect(sock, (struct sockaddr *)&addr, len))
		assert_int_equal(errno, EINPROGRESS);
	assert_int_equal(poll(&(struct pollfd){ sock, POLLOUT, 0 }, 1, 5000),
			 1);
	while (send(sock, bytes, sizeof(bytes), 0) > 0)
		;
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_LINGER, &hour,
				    sizeof(hour)), 0);
	return sock;
}

static void r8_a_refused_socket_does_not_linger(void **state)
{
	struct pair *p = *state;
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0), sock;
	struct ob_msg msg;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr,
			      sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	sock = make_lingering_socket(listener);
	ob_conn_refuse_sockets(p->conn);
	send_message(p, 1, 36, sock, 1);
	close(sock);
	next_message(p, &msg);
	assert_int_equal(msg.fds_dropped, 1);
	close(listener);
}

static void r1_fds_on_a_bad_header(void **state)
{
	struct pair *p = *state;
	const uint32_t zeros[4] = { 0 };
	struct ob_msg msg;
	bool drained;

	send_message(p, 1, 36, -1, 0);
	send_with_fds(p->peer, zeros, sizeof(zeros), 0, 5);
	assert_true(ob_conn_fill(p->conn, &drained) > 0);
	assert_int_equal(ob_conn_next(p->conn, &msg), 1);
	assert_int_equal(msg.nr_fds, 0);
	assert_int_equal(ob_conn_next(p->conn, &msg), -EPROTO);
	assert_int_equal(ob_conn_next(p->conn, &msg), -EPROTO);
	assert_int_equal(ob_conn_fill(p->conn, &drained), -EPROTO);
}

/* Returns what ob_conn_next says to a header with this size field. */
static int next_of_size(struct pair *p, uint32_t size)
{
	struct ob_hdr hdr = { .cmd = 9, .size = size };
	struct ob_msg msg;
	bool drained;

	assert_int_equal(write(p->peer, &hdr, sizeof(hdr)), sizeof(hdr));
	assert_int_equal(ob_conn_fill(p->conn, &drained), sizeof(hdr));
	return ob_conn_next(p->conn, &msg);
}

static void r2_sizes_at_the_bounds(void **state)
{
	static const struct { uint32_t size; int result; } cases[] = {
		{ 0, -EPROTO }, { 1, -EPROTO }, { 15, -EPROTO }, { 16, 1 },
		{ 17, 0 }, { MAX_MESSAGE, 0 }, { MAX_MESSAGE + 1, -EMSGSIZE },
		{ 1u << 30, -EMSGSIZE }, { 0x7fffffff, -EMSGSIZE },
		{ 0x80000000, -EMSGSIZE }, { 0xffffffff, -EMSGSIZE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *p;

		pair_setup(&p);
		assert_int_equal(next_of_size(p, cases[i].size),
				 cases[i].result);
		pair_teardown(&p);
	}
}

static void limit_can_be_raised(void **state)
{
	struct pair *p = *state;
	struct ob_msg msg;

	ob_conn_set_max_message(p->conn, 100);
	assert_int_equal(next_of_size(p, 101), -EMSGSIZE);
	ob_conn_set_max_message(p->conn, 101);
	assert_int_equal(ob_conn_next(p->conn, &msg), 0);
}

/* One read, hundreds of messages, none of them moved. */
static void many_messages_in_one_read(void **state)
{
	struct pair *p = *state;
	const uint8_t *previous = NULL;
	struct ob_msg msg;
	bool drained;

	for (int i = 0; i < 200; i++)
		send_message(p, i, 36, -1, 0);
	assert_int_equal(ob_conn_fill(p->conn, &drained), 200 * 36);
	assert_true(drained);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(ob_conn_next(p->conn, &msg), 1);
		check_message(&msg, i, 36);
		if (previous)
			assert_ptr_equal(msg.payload, previous + 36);
		previous = msg.payload;
	}
	assert_int_equal(ob_conn_next(p->conn, &msg), 0);
}

static void no_read_while_a_message_waits(void **state)
{
	struct pair *p = *state;
	bool drained;

	send_message(p, 1, 36, 0, 1);
	assert_true(ob_conn_fill(p->conn, &drained) > 0);
	send_message(p, 2, 36, 0, 1);
	assert_int_equal(ob_conn_fill(p->conn, &drained), -EBUSY);
	expect(p, 1, 36, 1);
	expect(p, 2, 36, 1);
}

/*
 * A child writes messages of growing and shrinking size, up to the limit and
 * in odd pieces; fds on some of them.  It ends when nobody reads any more.
 */
static bool write_message(int sock, uint8_t *bytes, unsigned i, size_t size)
{
	size_t at = i % 3 + 1, piece;

	make_message(bytes, i, size);
	if (!try_send_with_fds(sock, bytes, at, 0, i % 5))
		return false;
	for (; at < size; at += piece) {
		piece = 1 + (i * 31 + at) % 50000;
		if (piece > size - at)
			piece = size - at;
		if (!try_send_with_fds(sock, bytes + at, piece, -1, 0))
			return false;
	}
	return true;
}

static size_t size_of(unsigned i)
{
	return i % 100 == 50 ? MAX_MESSAGE - i : 16 + (i * 7919u) % 3000;
}

static _Noreturn void write_stream(struct pair *p)
{
	static uint8_t bytes[MAX_MESSAGE];
	unsigned i = 0;

	close(ob_conn_fd(p->conn));
	while (i < 400 && write_message(p->peer, bytes, i, size_of(i)))
		i++;
	_exit(i < 400);
}

static void wait_readable(struct pair *p)
{
	char c;

	assert_true(recv(ob_conn_fd(p->conn), &c, 1, MSG_PEEK) == 1);
}

static void r5_messages_of_all_sizes_in_odd_pieces(void **state)
{
	struct pair *p = *state;
	pid_t child = fork();
	int status = -1;
	bool drained;

	assert_true(child >= 0);
	if (!child)
		write_stream(p);
	for (unsigned i = 0; i < 400; i++) {
		struct ob_msg msg;

		while (!ob_conn_next(p->conn, &msg)) {
			wait_readable(p);
			assert_true(ob_conn_fill(p->conn, &drained) > 0);
		}
		check_message(&msg, i, size_of(i));
		assert_int_equal(msg.nr_fds, i % 5);
		ob_msg_finish(&msg);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* O_NONBLOCK belongs to the peer as much as to us (R6). */
static void r6_a_blocking_socket_does_not_block_us(void **state)
{
	struct pair *p = *state;
	bool drained;

	assert_int_equal(fcntl(ob_conn_fd(p->conn), F_SETFL, 0), 0);
	assert_int_equal(ob_conn_fill(p->conn, &drained), -EAGAIN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_read),
		TEST(unwanted_fds),
		TEST(wanted_fds_and_unwanted),
		TEST(end_of_stream),
		TEST(r5_byte_at_a_time),
		TEST(r1_fds_with_the_first_byte_alone),
		TEST(r1_pipelined_fds_stay_with_their_message),
		TEST(r1_fds_of_a_cut_message_and_of_the_next),
		TEST(r1_fds_in_the_middle_of_a_message),
		TEST(r1_order_of_fds),
		TEST(r1_taken_fds_survive_the_message),
		TEST(r1_excess_fds_are_closed),
		TEST(r1_fds_that_did_not_fit_our_table),
		TEST(r1_fds_of_messages_never_read),
		TEST(r1_sockets_are_refused),
		TEST(r8_a_refused_socket_does_not_linger),
		TEST(r1_fds_on_a_bad_header),
		cmocka_unit_test(r2_sizes_at_the_bounds),
		TEST(limit_can_be_raised),
		TEST(many_messages_in_one_read),
		TEST(no_read_while_a_message_waits),
		TEST(r5_messages_of_all_sizes_in_odd_pieces),
		TEST(r6_a_blocking_socket_does_not_block_us),
	};

	return cmocka_run_group_tests_name("recv", tests, NULL, NULL);
}
