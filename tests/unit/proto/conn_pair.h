/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection under test, and the bare socket at its other end. */
#ifndef CONN_PAIR_H
#define CONN_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/conn.h"
#include "../open_fds.h"

#define MAX_MESSAGE (1u << 20)

struct pair {
	struct ob_conn *conn;
	int peer;
	size_t fds_before;
};

static inline int pair_setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	int fds[2];

	assert_non_null(p);
	p->fds_before = count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(ob_conn_create(fds[0], MAX_MESSAGE, &p->conn), 0);
	p->peer = fds[1];
	*state = p;
	return 0;
}

/* Every test ends with as many open fds as it began with (R1). */
static inline int pair_teardown(void **state)
{
	struct pair *p = *state;

	ob_conn_destroy(p->conn);
	if (p->peer >= 0)
		close(p->peer);
	assert_int_equal(count_fds(), p->fds_before);
	free(p);
	return 0;
}

/* A message of size bytes whose payload counts up from id. */
static inline void make_message(uint8_t *dst, uint16_t id, uint32_t size)
{
	struct ob_hdr hdr = { .id = id, .cmd = 10, .size = size };

	memcpy(dst, &hdr, sizeof(hdr));
	for (uint32_t i = OB_HDR_SIZE; i < size; i++)
		dst[i] = id + i;
}

static inline void check_message(const struct ob_msg *msg, uint16_t id,
				 uint32_t size)
{
	assert_int_equal(msg->hdr.id, id);
	assert_int_equal(msg->hdr.size, size);
	assert_int_equal(msg->len, size - OB_HDR_SIZE);
	for (uint32_t i = OB_HDR_SIZE; i < size; i++)
		if (msg->payload[i - OB_HDR_SIZE] != (uint8_t)(id + i))
			fail_msg("byte %u of message %u differs", i, id);
}

/* sendmsg with count copies of fd attached to the first byte. */
static inline bool try_send_with_fds(int sock, const void *bytes, size_t len,
				     int fd, size_t count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		for (size_t i = 0; i < count; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int),
			       &fd, sizeof(fd));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline void send_with_fds(int sock, const void *bytes, size_t len,
				 int fd, size_t count)
{
	assert_true(try_send_with_fds(sock, bytes, len, fd, count));
}

#endif
