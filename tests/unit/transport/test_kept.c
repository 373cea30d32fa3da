// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection that outlives its process, inside of one: what leaves the socket
 * and when, what a successor finds, and a journal that lies.  Deaths at every
 * instruction are test_kept_death.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "../base/unit.h"

#include "base/fd.h"
#include "base/sure.h"
#include "transport/kept.h"

#define MAX_MESSAGE (1u << 20)
#define INBOX (MAX_MESSAGE + (64u << 10))
#define OUTBOX (4u << 20)

struct rig {
	struct ob_loop *loop;
	struct ob_conn_journal journal;
	struct ob_conn_memory memory;
	struct ob_conn *conn;
	int peer, own;			/* own: a duplicate that survives */
	int lent[OB_MAX_MSG_FDS];	/* what keep_fds took */
	size_t nr_lent;
	int name_fd;
	int refuse;			/* what keep_fds answers */
};

static int keep_fds(void *arg, size_t from, const int *fds, size_t nr)
{
	struct rig *rig = arg;

	if (rig->refuse)
		return rig->refuse;
	ob_fds_close(rig->lent + from, rig->nr_lent - from);
	for (size_t i = 0; i < nr; i++)
		rig->lent[from + i] = dup(fds[i]);
	rig->nr_lent = from + nr;
	return 0;
}

static size_t kept_fds(void *arg, int fds[OB_MAX_MSG_FDS])
{
	struct rig *rig = arg;

	for (size_t i = 0; i < rig->nr_lent; i++)
		fds[i] = dup(rig->lent[i]);
	return rig->nr_lent;
}

static void drop_fds(void *arg)
{
	struct rig *rig = arg;

	ob_fds_close(rig->lent, rig->nr_lent);
	rig->nr_lent = 0;
}

static int fd_of(void *arg, uint8_t name)
{
	struct rig *rig = arg;

	return name == 7 ? rig->name_fd : -1;
}

static uint8_t *box(size_t size)
{
	int fd = ob_memfd_create("box", size);
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   0);

	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}

static int set_up(void **state)
{
	static const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct rig *rig = calloc(1, sizeof(*rig));
	int pair[2];

	assert_int_equal(ob_loop_create(&params, &rig->loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	rig->peer = pair[0];
	rig->own = pair[1];
	rig->name_fd = -1;
	rig->memory = (struct ob_conn_memory){
		.journal = &rig->journal,
		.inbox = box(INBOX), .inbox_size = INBOX,
		.outbox = box(OUTBOX), .outbox_size = OUTBOX,
		.sure = ob_loop_sure(rig->loop),
		.keep_fds = keep_fds, .kept_fds = kept_fds,
		.drop_fds = drop_fds, .fd_of = fd_of, .arg = rig,
	};
	assert_int_equal(ob_conn_create_kept(dup(rig->own), MAX_MESSAGE,
					     &rig->memory, &rig->conn), 0);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	ob_conn_destroy(rig->conn);
	drop_fds(rig);
	munmap(rig->memory.inbox, INBOX);
	munmap(rig->memory.outbox, OUTBOX);
	ob_fd_close(&rig->peer);
	ob_fd_close(&rig->own);
	ob_fd_close(&rig->name_fd);
	ob_loop_destroy(rig->loop);
	free(rig);
	return 0;
}

/* Everything private is gone; what is shared is what it was. */
static void die(struct rig *rig)
{
	ob_conn_destroy(rig->conn);
	rig->conn = NULL;
}

static void adopt(struct rig *rig)
{
	assert_int_equal(ob_conn_adopt(dup(rig->own), MAX_MESSAGE,
				       &rig->memory, NULL, &rig->conn, NULL),
			 0);
}

static void die_and_adopt(struct rig *rig)
{
	die(rig);
	adopt(rig);
}

static uint8_t octet(unsigned id, size_t at)
{
	return id * 31 + at + at / 251;
}

/* A message of len payload bytes; malloced, its size in *size. */
static uint8_t *message(unsigned id, size_t len, size_t *size)
{
	uint8_t *bytes = malloc(OB_HDR_SIZE + len);
	struct ob_hdr hdr = {
		.id = id, .cmd = 10, .size = OB_HDR_SIZE + len,
	};
	struct ob_writer wr;

	ob_writer_init(&wr, bytes, OB_HDR_SIZE);
	assert_int_equal(ob_hdr_put(&wr, &hdr), 0);
	for (size_t i = 0; i < len; i++)
		bytes[OB_HDR_SIZE + i] = octet(id, i);
	*size = OB_HDR_SIZE + len;
	return bytes;
}

/* How many were taken. */
static ssize_t put(struct rig *rig, const void *bytes, size_t len,
		   const int *fds, size_t nr_fds)
{
	char control[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg = (struct cmsghdr *)control;

	if (nr_fds) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
	}
	return sendmsg(rig->peer, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void put_message(struct rig *rig, unsigned id, size_t len,
			const int *fds, size_t nr_fds)
{
	size_t size;
	uint8_t *bytes = message(id, len, &size);

	assert_int_equal(put(rig, bytes, size, fds, nr_fds), size);
	free(bytes);
}

/* Is anything in the socket that the server has not taken off? */
static bool is_empty(const struct rig *rig)
{
	int left;

	assert_int_equal(ioctl(rig->own, SIOCINQ, &left), 0);
	return !left;
}

static void expect(const struct ob_msg *msg, unsigned id, size_t len)
{
	assert_int_equal(msg->hdr.id, id);
	assert_int_equal(msg->len, len);
	for (size_t i = 0; i < len; i++)
		if (msg->payload[i] != octet(id, i))
			fail_msg("message %u differs at %zu", id, i);
}

static void take(struct rig *rig, struct ob_msg *msg)
{
	bool drained;
	int r = ob_conn_next(rig->conn, msg);

	while (r == 0) {
		r = ob_conn_fill(rig->conn, &drained);
		assert_true(r > 0);
		r = ob_conn_next(rig->conn, msg);
	}
	assert_int_equal(r, 1);
}

static void take_done(struct rig *rig, unsigned id, size_t len)
{
	struct ob_msg msg;

	take(rig, &msg);
	expect(&msg, id, len);
	ob_msg_finish(&msg);
	ob_conn_done(rig->conn);
}

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

static int numbered(unsigned number)
{
	int fd = ob_memfd_create("numbered", 4096);

	assert_int_equal(pwrite(fd, &number, sizeof(number), 0),
			 sizeof(number));
	return fd;
}

static unsigned number_of(int fd)
{
	unsigned number = 0;

	assert_int_equal(pread(fd, &number, sizeof(number), 0),
			 sizeof(number));
	return number;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
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
	unsigned before = open_fds();
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
	assert_int_equal(open_fds(), before);
}

/* Those of a message in pieces, some of them held and some in the socket. */
static void fds_of_pieces(void **state)
{
	struct rig *rig = *state;
	unsigned before = open_fds();
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
	assert_int_equal(open_fds(), before);
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
	assert_int_equal(keep_fds(rig, 1, fds + 1, 2), 0);
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

static void queue(struct rig *rig, unsigned id, size_t len, const uint8_t *name)
{
	size_t size;
	uint8_t *bytes = message(id, len, &size);
	struct iovec iov[2] = { { bytes, 10 }, { bytes + 10, size - 10 } };

	assert_int_equal(ob_conn_queue(rig->conn, iov, 2, name, !!name), 0);
	free(bytes);
}

/* Reads exactly len bytes; returns the fd that came, or -1. */
static int get(struct rig *rig, uint8_t *bytes, size_t len)
{
	int fd = -1;

	for (size_t at = 0; at < len; ) {
		char control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = { bytes + at, len - at };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(rig->peer, &mh, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			assert_int_equal(ob_conn_flush(rig->conn) & ~-EAGAIN,
					 0);
			continue;
		}
		assert_true(n > 0);
		at += n;
		if (mh.msg_controllen)
			memcpy(&fd, CMSG_DATA((struct cmsghdr *)control),
			       sizeof(fd));
	}
	return fd;
}

static int get_message(struct rig *rig, unsigned id, size_t len)
{
	size_t size;
	uint8_t *want = message(id, len, &size);
	uint8_t *have = malloc(size);
	int fd = get(rig, have, size);

	assert_memory_equal(have, want, size);
	free(want);
	free(have);
	return fd;
}

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
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
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

	return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
