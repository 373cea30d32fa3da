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

static void kept_destroy(struct kept *kept)
{
	ob_fds_close(kept->fds, kept->nr_fds);
	free(kept);
}

void conn_drop_kept(struct ob_conn *conn)
{
	while (conn->first) {
		struct kept *kept = conn->first;

		conn->first = kept->next;
		kept_destroy(kept);
	}
	conn->last = &conn->first;
}

static ssize_t transmit(int sock, const struct iovec *iov, unsigned count,
			const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {
		.msg_iov = (struct iovec *)iov, .msg_iovlen = count,
	};
	ssize_t n;

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
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static size_t total(const struct iovec *iov, unsigned count)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

/* Everything behind the first `skip` bytes. */
static void gather(uint8_t *dst, const struct iovec *iov, unsigned count,
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

static int dup_fds(struct kept *kept, const int *fds, unsigned count)
{
	while (kept->nr_fds < count) {
		int fd = fcntl(fds[kept->nr_fds], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		kept->fds[kept->nr_fds++] = fd;
	}
	return 0;
}

static int keep(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		size_t sent, const int *fds, unsigned nr_fds)
{
	size_t len = total(iov, count) - sent;
	struct kept *kept = malloc(sizeof(*kept) + len);
	int r;

	if (!kept)
		return -ENOMEM;
	kept->next = NULL;
	kept->len = len;
	kept->sent = 0;
	kept->nr_fds = 0;
	gather(kept->data, iov, count, sent);
	r = dup_fds(kept, fds, sent ? 0 : nr_fds);
	if (r) {
		kept_destroy(kept);
		return r;
	}
	*conn->last = kept;
	conn->last = &kept->next;
	return 0;
}

int ob_conn_send(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		 const int *fds, unsigned nr_fds)
{
	ssize_t n;

	if (nr_fds > OB_MAX_MSG_FDS)
		return -EINVAL;
	if (conn->first)
		return keep(conn, iov, count, 0, fds, nr_fds);
	n = transmit(conn->fd, iov, count, fds, nr_fds);
	if (n == -EAGAIN)
		n = 0;
	if (n < 0)
		return n;
	if ((size_t)n == total(iov, count))
		return 0;
	return keep(conn, iov, count, n, fds, nr_fds);
}

void ob_conn_want_room(struct ob_conn *conn, size_t len)
{
	int size = len < INT_MAX ? (int)len : INT_MAX;

	setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* 0: all of it has left. */
static int continue_kept(struct ob_conn *conn, struct kept *kept)
{
	while (kept->sent < kept->len) {
		struct iovec iov = {
			kept->data + kept->sent, kept->len - kept->sent
		};
		ssize_t n = transmit(conn->fd, &iov, 1, kept->fds,
				     kept->nr_fds);

		if (n < 0)
			return n;
		kept->sent += n;
		ob_fds_close(kept->fds, kept->nr_fds);
		kept->nr_fds = 0;
	}
	return 0;
}

int ob_conn_flush(struct ob_conn *conn)
{
	while (conn->first) {
		struct kept *kept = conn->first;
		int r = continue_kept(conn, kept);

		if (r)
			return r;
		conn->first = kept->next;
		if (!conn->first)
			conn->last = &conn->first;
		kept_destroy(kept);
	}
	return 0;
}

bool ob_conn_pending(const struct ob_conn *conn)
{
	return conn->first;
}
