// SPDX-License-Identifier: BSD-3-Clause
/*
 * Whole messages out, in order.  The socket takes a message at once as a
 * rule; what it does not take is copied and queued, and goes on at the byte
 * where it stopped.  fds travel with a message's first byte, so that a queued
 * message needs its own duplicates only if none of its bytes has left.
 */
#include "transport/conn_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

static void unsent_destroy(struct unsent *msg)
{
	ob_fds_close(msg->fds, msg->nr_fds);
	free(msg);
}

void conn_drop_unsent(struct ob_conn *conn)
{
	while (conn->first) {
		struct unsent *msg = conn->first;

		conn->first = msg->next;
		unsent_destroy(msg);
	}
	conn->last = &conn->first;
}

static ssize_t transmit_message(int sock, const struct iovec *iov,
				unsigned count, const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {
		.msg_iov = (struct iovec *)iov, .msg_iovlen = count,
	};

	if (nr_fds) {
		size_t len = nr_fds * sizeof(int);

		memset(&control, 0, CMSG_SPACE(len));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(len);
		memcpy(CMSG_DATA(&control.align), fds, len);
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(len);
	}
	return sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What is one piece, as most messages are, costs the kernel less. */
static ssize_t transmit(int sock, const struct iovec *iov, unsigned count,
			const int *fds, unsigned nr_fds)
{
	ssize_t n;

	do
		n = count == 1 && !nr_fds ?
			send(sock, iov->iov_base, iov->iov_len,
			     MSG_DONTWAIT | MSG_NOSIGNAL) :
			transmit_message(sock, iov, count, fds, nr_fds);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

size_t conn_iov_len(const struct iovec *iov, unsigned count)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

void conn_gather(uint8_t *dst, const struct iovec *iov, unsigned count,
		 size_t skip)
{
	for (unsigned i = 0; i < count; i++) {
		size_t len = iov[i].iov_len;
		size_t cut = skip < len ? skip : len;

		if (len > cut) {
			memcpy(dst, (const uint8_t *)iov[i].iov_base + cut,
			       len - cut);
			dst += len - cut;
		}
		skip -= cut;
	}
}

static int dup_fds(struct unsent *msg, const int *fds, unsigned count)
{
	while (msg->nr_fds < count) {
		int fd = fcntl(fds[msg->nr_fds], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		msg->fds[msg->nr_fds++] = fd;
	}
	return 0;
}

static int keep(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		size_t sent, const int *fds, unsigned nr_fds)
{
	size_t len = conn_iov_len(iov, count) - sent;
	struct unsent *msg = malloc(sizeof(*msg) + len);
	int r;

	if (!msg)
		return -ENOMEM;
	msg->next = NULL;
	msg->len = len;
	msg->sent = 0;
	msg->nr_fds = 0;
	conn_gather(msg->data, iov, count, sent);
	r = dup_fds(msg, fds, sent ? 0 : nr_fds);
	if (r) {
		unsent_destroy(msg);
		return r;
	}
	*conn->last = msg;
	conn->last = &msg->next;
	return 0;
}

int ob_conn_send(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		 const int *fds, unsigned nr_fds)
{
	ssize_t n;

	if (conn->kept || nr_fds > OB_MAX_MSG_FDS)
		return -EINVAL;
	if (conn->first)
		return keep(conn, iov, count, 0, fds, nr_fds);
	n = transmit(conn->fd, iov, count, fds, nr_fds);
	if (n == -EAGAIN)
		n = 0;
	if (n < 0)
		return n;
	if ((size_t)n == conn_iov_len(iov, count))
		return 0;
	return keep(conn, iov, count, n, fds, nr_fds);
}

void ob_conn_want_room(struct ob_conn *conn, size_t len)
{
	int size = len < INT_MAX ? (int)len : INT_MAX;

	setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* 0: all of it has left. */
static int continue_unsent(struct ob_conn *conn, struct unsent *msg)
{
	while (msg->sent < msg->len) {
		struct iovec iov = {
			msg->data + msg->sent, msg->len - msg->sent
		};
		ssize_t n = transmit(conn->fd, &iov, 1, msg->fds,
				     msg->nr_fds);

		if (n < 0)
			return n;
		msg->sent += n;
		ob_fds_close(msg->fds, msg->nr_fds);
		msg->nr_fds = 0;
	}
	return 0;
}

int ob_conn_flush(struct ob_conn *conn)
{
	if (conn->kept)
		return kept_flush(conn);
	while (conn->first) {
		struct unsent *msg = conn->first;
		int r = continue_unsent(conn, msg);

		if (r)
			return r;
		conn->first = msg->next;
		if (!conn->first)
			conn->last = &conn->first;
		unsent_destroy(msg);
	}
	return 0;
}

bool ob_conn_pending(const struct ob_conn *conn)
{
	return conn->kept ? conn->kept->stuck : !!conn->first;
}
