// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client's stream through the transport, in pieces and with fds as the
 * input says: (length of the piece, number of fds), bytes, and again.  What
 * comes out must be the stream's messages, and every fd must be closed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/conn.h"

#define MAX_MESSAGE 100000u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* The lowest free descriptor: the same before and after. */
static int probe(void)
{
	int fd = dup(0);

	require(fd >= 0);
	close(fd);
	return fd;
}

static void send_piece(int sock, const uint8_t *bytes, size_t len,
		       unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
	}
	require(sendmsg(sock, &mh, MSG_DONTWAIT) == (ssize_t)len);
}

static bool take_messages(struct ob_conn *conn)
{
	struct ob_msg msg;
	int r;

	while ((r = ob_conn_next(conn, &msg)) == 1) {
		uint8_t sum = 0;

		require(msg.len + OB_HDR_SIZE == msg.hdr.size);
		require(msg.hdr.size <= MAX_MESSAGE);
		for (size_t i = 0; i < msg.len; i++)
			sum += msg.payload[i];
		if (sum & 1 && msg.nr_fds)
			close(ob_msg_take_fd(&msg, 0));
		ob_msg_finish(&msg);
	}
	return r == 0;
}

static void run(int sock, struct ob_conn *conn, const uint8_t *bytes,
		size_t len)
{
	while (len > 2) {
		size_t piece = bytes[0] * 4u + 1;
		unsigned nr_fds = bytes[1] & 0x80 ? 0 : bytes[1];
		bool drained;

		bytes += 2;
		len -= 2;
		if (piece > len)
			piece = len;
		send_piece(sock, bytes, piece, nr_fds);
		bytes += piece;
		len -= piece;
		if (ob_conn_fill(conn, &drained) <= 0 || !take_messages(conn))
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	int before = probe(), sv[2];
	struct ob_conn *conn;

	require(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	require(!ob_conn_create(sv[0], MAX_MESSAGE, &conn));
	run(sv[1], conn, bytes, len);
	ob_conn_destroy(conn);
	close(sv[1]);
	require(probe() == before);
	return 0;
}
