// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes and fds in, whole messages out.
 *
 * The buffer is 64 KiB: about 1,800 posted writes of 36 bytes for one system
 * call.  Messages are handed out where they lie.  Before the next read the
 * one that is still incomplete moves to the front, so that it is copied at
 * most once, and if it is longer than the buffer, the buffer grows to fit it;
 * after some reads that did not need that it shrinks back.
 *
 * Which message do fds belong to?  A read ends behind the segment that
 * carried fds (net/unix/af_unix.c does not merge past it), a segment never
 * spans two sends, and a sender puts the fds on the first byte of a message.
 * So the last message that had begun when the read ended is theirs, however
 * many others without fds the same read brought before it.  It is remembered
 * by the place of its first byte in the stream, as its size, even its header,
 * may still be on the way.
 */
#include "transport/conn_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

#define KERNEL_MAX_FDS 253u	/* SCM_MAX_FD */
#define SMALL_READS_TO_SHRINK 64u

void conn_drop_slots(struct ob_conn *conn)
{
	for (unsigned i = 0; i < conn->nr_slots; i++)
		ob_fds_close(conn->slots[i].fds, conn->slots[i].nr);
	conn->nr_slots = 0;
}

int conn_header(const struct ob_conn *conn, size_t at, struct ob_hdr *hdr)
{
	struct ob_reader rd;

	ob_reader_init(&rd, conn->buf + at, conn->tail - at);
	if (ob_hdr_get(&rd, hdr))
		return 0;
	if (hdr->size < OB_HDR_SIZE)
		return -EPROTO;
	if (hdr->size > conn->max_message)
		return -EMSGSIZE;
	return conn->tail - at >= hdr->size;
}

static int resize(struct ob_conn *conn, size_t cap)
{
	uint8_t *buf = conn->kept ? kept_resize(conn, cap)
				  : realloc(conn->buf, cap);

	if (!buf)
		return -ENOMEM;
	conn->buf = buf;
	conn->cap = cap;
	conn->small_reads = 0;
	return 0;
}

void conn_to_front(struct ob_conn *conn)
{
	size_t left = conn->tail - conn->head;

	if (left && conn->head)
		memmove(conn->buf, conn->buf + conn->head, left);
	conn->head = 0;
	conn->tail = left;
}

/* Room for the rest of a message of `need` bytes, of which we have a part. */
static int make_room(struct ob_conn *conn, size_t need)
{
	size_t left = conn->tail - conn->head;

	conn_to_front(conn);
	if (need > conn->cap)
		return resize(conn, need);
	if (conn->cap == BUF_SIZE || need > BUF_SIZE || left > BUF_SIZE)
		conn->small_reads = 0;
	else if (++conn->small_reads == SMALL_READS_TO_SHRINK)
		return resize(conn, BUF_SIZE);
	return 0;
}

/* Where the last message begins that has begun, relative to the buffer. */
static size_t last_start(const struct ob_conn *conn)
{
	size_t at = conn->head;
	struct ob_hdr hdr;

	while (conn_header(conn, at, &hdr) == 1 && at + hdr.size < conn->tail)
		at += hdr.size;
	return at;
}

/* The slot of the message that begins at `start`; a new one if need be. */
struct slot *conn_slot(struct ob_conn *conn, uint64_t start)
{
	struct slot *slot;

	if (conn->nr_slots && conn->slots[conn->nr_slots - 1].start == start)
		return &conn->slots[conn->nr_slots - 1];
	slot = &conn->slots[conn->nr_slots++];
	slot->start = start;
	slot->nr = 0;
	slot->dropped = 0;
	return slot;
}

/* Not fstat, which may ask a file system that the peer runs. */
static bool is_socket(int fd)
{
	int type;
	socklen_t len = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
}

/* The peer may have told a socket to wait, when closed, for its data to go. */
static void drop_fd(int fd)
{
	static const struct linger off = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	ob_fd_close(&fd);
}

static void keep_fd(const struct ob_conn *conn, struct slot *slot, int fd)
{
	if (slot->nr < OB_MAX_MSG_FDS &&
	    !(conn->refuse_sockets && is_socket(fd))) {
		slot->fds[slot->nr++] = fd;
	} else {
		drop_fd(fd);
		slot->dropped++;
	}
}

static void keep_fds(const struct ob_conn *conn, struct slot *slot,
		     const struct cmsghdr *cmsg)
{
	size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
		keep_fd(conn, slot, fd);
	}
}

/* MSG_CTRUNC: our table of fds is full, and the kernel closed the others. */
static void take_control(struct ob_conn *conn, struct msghdr *mh)
{
	uint64_t start = conn->received - (conn->tail - last_start(conn));
	struct slot *slot = conn_slot(conn, start);
	struct cmsghdr *cmsg;

	for (cmsg = CMSG_FIRSTHDR(mh); cmsg; cmsg = CMSG_NXTHDR(mh, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET &&
		    cmsg->cmsg_type == SCM_RIGHTS)
			keep_fds(conn, slot, cmsg);
	if (mh->msg_flags & MSG_CTRUNC)
		slot->dropped++;
}

static void advance(struct ob_conn *conn, size_t n)
{
	conn->tail += n;
	conn->received += n;
}

/* n bytes have come with what mh says; room was for so many. */
static void received(struct ob_conn *conn, struct msghdr *mh, size_t n,
		     size_t room, bool *drained)
{
	bool has_control = mh->msg_controllen || mh->msg_flags & MSG_CTRUNC;
	struct ob_hdr hdr;

	advance(conn, n);
	if (has_control)
		take_control(conn, mh);
	*drained = !has_control && n < room;
	if (conn->kept && has_control)
		kept_saw_fds(conn, n == room,
			     conn_header(conn, last_start(conn), &hdr) == 1);
}

static ssize_t receive(struct ob_conn *conn, int flags, bool *drained)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(KERNEL_MAX_FDS * sizeof(int))];
	} control;
	size_t room = conn->cap - conn->tail;
	struct iovec iov = { conn->buf + conn->tail, room };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(conn->fd, &mh, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		received(conn, &mh, (size_t)n, room, drained);
	return n < 0 ? -errno : n;
}

/* The same where nobody wants fds: the kernel closes what comes, and tells
 * nobody, so that a short read says nothing of what is behind it. */
static ssize_t receive_bytes(struct ob_conn *conn, int flags)
{
	size_t room = conn->cap - conn->tail;
	ssize_t n;

	do
		n = recv(conn->fd, conn->buf + conn->tail, room, flags);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		advance(conn, (size_t)n);
	return n < 0 ? -errno : n;
}

/* One look at a socket that keeps its bytes until they are done with. */
static int look(struct ob_conn *conn, int flags, bool *drained)
{
	int n = receive(conn, flags | MSG_PEEK, drained);
	int r;

	if (n == -EAGAIN)
		*drained = true;
	conn->kept->drained = *drained;
	if (n <= 0 && n != -EAGAIN)
		return n;
	r = kept_after_look(conn);
	return r ? r : n;
}

static int fill(struct ob_conn *conn, int flags, bool *drained)
{
	struct ob_hdr hdr = { .size = 0 };
	int r;

	*drained = false;
	r = conn_header(conn, conn->head, &hdr);
	if (r)
		return r < 0 ? r : -EBUSY;
	r = conn->kept ? kept_before_look(conn) : 0;
	if (!r)
		r = make_room(conn, hdr.size ? hdr.size : OB_HDR_SIZE);
	if (r)
		return r;
	if (conn->kept)
		return look(conn, flags, drained);
	r = conn->bytes_only ? receive_bytes(conn, flags) :
		receive(conn, flags, drained);
	if (r == -EAGAIN)
		*drained = true;
	return r;
}

int ob_conn_fill(struct ob_conn *conn, bool *drained)
{
	return fill(conn, MSG_DONTWAIT, drained);
}

int ob_conn_fill_wait(struct ob_conn *conn, bool *drained)
{
	return fill(conn, 0, drained);
}

/* Few messages carry fds; this stays out of the way of the others. */
static __attribute__((noinline)) void take_slot(struct ob_conn *conn,
						struct ob_msg *msg)
{
	struct slot *slot = &conn->slots[0];

	if (slot->start != conn->received - (conn->tail - conn->head))
		return;
	msg->nr_fds = slot->nr;
	msg->fds_dropped = slot->dropped;
	memcpy(msg->fds, slot->fds, slot->nr * sizeof(int));
	if (--conn->nr_slots)
		conn->slots[0] = conn->slots[1];
}

int ob_conn_next(struct ob_conn *conn, struct ob_msg *msg)
{
	int r = conn_header(conn, conn->head, &msg->hdr);

	if (r <= 0)
		return r;
	msg->payload = conn->buf + conn->head + OB_HDR_SIZE;
	msg->len = msg->hdr.size - OB_HDR_SIZE;
	msg->nr_fds = 0;
	msg->fds_dropped = 0;
	if (conn->nr_slots)
		take_slot(conn, msg);
	conn->head += msg->hdr.size;
	return 1;
}
