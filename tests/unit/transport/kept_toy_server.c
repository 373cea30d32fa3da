// SPDX-License-Identifier: BSD-3-Clause
#include "kept_toy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sure.h"
#include "../open_fds.h"

#define FENCE() __atomic_signal_fence(__ATOMIC_SEQ_CST)

struct server {
	struct toy *toy;
	const struct toy_fds *fds;
	struct toy_life *life, *undo;
	uint32_t *undo_is_on;
	struct ob_loop *loop;
	struct ob_conn *conn;
};

void toy_fail(struct toy *toy, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!toy->failure[0])
		vsnprintf(toy->failure, sizeof(toy->failure), fmt, ap);
	va_end(ap);
	_exit(1);
}

/* The tracer stops us here. */
static void mark(struct toy *toy)
{
	__atomic_store_n(&toy->marker, toy->marker + 1, __ATOMIC_SEQ_CST);
	syscall(SYS_getppid);
}

/*
 * The keeper is a socket: what is put in stays there, is looked at by whoever
 * comes, and thrown away by reading.  One datagram for each call.
 */
static int keep_fds(void *arg, size_t from, const int *fds, size_t nr)
{
	struct server *s = arg;
	char control[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))] = { 0 };
	uint8_t byte = from;
	struct iovec iov = { &byte, 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, nr * sizeof(int));
	return sendmsg(s->fds->keep_in, &mh, MSG_DONTWAIT) == 1 ? 0 : -errno;
}

/* Puts one datagram's fds where they belong; how many there are then. */
static size_t place(int fds[OB_MAX_MSG_FDS], size_t nr, size_t from,
		    const struct cmsghdr *cmsg)
{
	size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	ob_fds_close(fds + from, nr > from ? nr - from : 0);
	memcpy(fds + from, CMSG_DATA(cmsg), count * sizeof(int));
	return from + count;
}

static size_t kept_fds(void *arg, int fds[OB_MAX_MSG_FDS])
{
	static const int begin;
	struct server *s = arg;
	size_t nr = 0;

	setsockopt(s->fds->keep_out, SOL_SOCKET, SO_PEEK_OFF, &begin,
		   sizeof(begin));
	for (;;) {
		char control[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))];
		uint8_t byte;
		struct iovec iov = { &byte, 1 };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};

		if (recvmsg(s->fds->keep_out, &mh, MSG_PEEK | MSG_DONTWAIT |
			    MSG_CMSG_CLOEXEC) != 1)
			return nr;
		nr = place(fds, nr, byte, CMSG_FIRSTHDR(&mh));
	}
}

static void drop_fds(void *arg)
{
	struct server *s = arg;
	uint8_t byte;

	while (recv(s->fds->keep_out, &byte, 1, MSG_DONTWAIT) == 1)
		;
}

static int fd_of(void *arg, uint8_t name)
{
	struct server *s = arg;

	return s->fds->names[name];
}

static void step_begin(struct server *s)
{
	*s->undo = *s->life;
	FENCE();
	*(volatile uint32_t *)s->undo_is_on = 1;
	FENCE();
}

static void step_end(struct server *s)
{
	FENCE();
	*(volatile uint32_t *)s->undo_is_on = 0;
	FENCE();
}

static bool files_are_right(const struct ob_msg *msg)
{
	uint32_t number;

	for (size_t k = 0; k < msg->nr_fds; k++)
		if (pread(msg->fds[k], &number, 4, 0) != 4 ||
		    number != toy_file(msg->hdr.id, k))
			return false;
	return msg->fds_dropped == 0;
}

static void answer(struct server *s, const struct ob_msg *msg)
{
	const uint8_t *content = toy_content(s->toy, msg->hdr.id);
	uint8_t head[OB_HDR_SIZE], name = msg->hdr.id % TOY_NAMES;
	bool is_long = msg->hdr.cmd == TOY_ANSWER_LENT;
	struct toy_answer body = {
		s->life->count, s->life->chain,
		files_are_right(msg) && !memcmp(msg->payload, content, msg->len),
		msg->nr_fds,
	};
	struct ob_hdr hdr = {
		.id = msg->hdr.id, .cmd = msg->hdr.cmd, .flags = OB_HDR_REPLY,
		.size = sizeof(head) + sizeof(body) + (is_long ? TOY_LONG : 0),
	};
	struct iovec iov[2] = { { head, sizeof(head) }, { &body, sizeof(body) } };
	struct iovec lent = { (uint8_t *)content, TOY_LONG };
	struct ob_writer wr;

	ob_writer_init(&wr, head, sizeof(head));
	ob_hdr_put(&wr, &hdr);
	if (ob_conn_queue(s->conn, iov, 2, &name,
			  msg->hdr.cmd == TOY_ANSWER_FD) ||
	    (is_long && ob_conn_queue_lent(s->conn, &lent, 1, TOY_FILL)))
		toy_fail(s->toy, "no room for answer %u", msg->hdr.id);
}

static void handle(struct server *s, struct ob_msg *msg)
{
	mark(s->toy);
	step_begin(s);
	s->life->count++;
	s->life->chain = toy_chain(s->life->chain, msg->hdr.id, msg->nr_fds);
	if (msg->hdr.cmd != TOY_NO_ANSWER)
		answer(s, msg);
	ob_conn_done(s->conn);
	step_end(s);
	ob_msg_finish(msg);
}

static void wait_for(struct server *s, short events)
{
	struct pollfd pfd = { .fd = s->fds->server, .events = events };

	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
}

/* 1: more may be there; 0: wait for input; -1: the client has gone. */
static int turn(struct server *s)
{
	struct ob_msg msg;
	bool drained;
	int r = 0;

	while (ob_conn_has_room(s->conn, TOY_LONG + 200) &&
	       (r = ob_conn_next(s->conn, &msg)) == 1)
		handle(s, &msg);
	if (r < 0)
		toy_fail(s->toy, "next: %s", strerror(-r));
	r = ob_conn_flush(s->conn);
	if (r == -EAGAIN)
		wait_for(s, POLLOUT);
	else if (r && r != -EPIPE)
		toy_fail(s->toy, "flush: %s", strerror(-r));
	if (r || !ob_conn_has_room(s->conn, TOY_LONG + 200))
		return r == -EPIPE ? -1 : 1;
	r = ob_conn_fill(s->conn, &drained);
	if (r < 0 && r != -EAGAIN && r != -EBUSY)
		toy_fail(s->toy, "fill: %s", strerror(-r));
	return r == 0 ? -1 : r != -EAGAIN;
}

static void ignore(void *arg)
{
	(void)arg;
}

/* A life of our own from the one that is the truth. */
static void inherit(struct server *s)
{
	struct toy *toy = s->toy;
	unsigned from = toy->truth & 1, to = !from;

	toy->lives[to] = toy->undo_is_on[from] ? toy->undo[from]
					       : toy->lives[from];
	toy->undo_is_on[to] = 0;
	s->life = &toy->lives[to];
	s->undo = &toy->undo[to];
	s->undo_is_on = &toy->undo_is_on[to];
}

static void begin(struct server *s, uint64_t generation,
		  const struct ob_rings *rings)
{
	struct ob_conn_memory memory = {
		.journal = &s->life->journal,
		.inbox = s->toy->inbox, .inbox_size = TOY_INBOX,
		.outbox = s->toy->outbox, .outbox_size = TOY_OUTBOX,
		.sure = ob_loop_sure(s->loop),
		.keep_fds = keep_fds, .kept_fds = kept_fds,
		.drop_fds = drop_fds, .fd_of = fd_of, .arg = s,
	};
	int fd = fcntl(s->fds->server, F_DUPFD_CLOEXEC, 0), r;
	struct ob_old_rings *old = NULL;
	struct ob_err err = { "" };

	if (!rings) {
		r = ob_conn_create_kept(fd, TOY_MAX_MESSAGE, &memory, &s->conn);
	} else {
		r = ob_old_rings_open(s->loop, rings, ignore, NULL, &old, &err);
		mark(s->toy);
		if (!r)
			r = ob_conn_adopt(fd, TOY_MAX_MESSAGE, &memory, old,
					  &s->conn, &err);
	}
	if (r)
		toy_fail(s->toy, "begin: %s (%s)", strerror(-r), err.msg);
	FENCE();
	*(volatile uint64_t *)&s->toy->truth =
		generation << 1 | (s->life - s->toy->lives);
	FENCE();
	ob_old_rings_close(old);
}

void toy_serve(struct toy *toy, const struct toy_fds *fds,
	       struct ob_rings *rings, const struct ob_rings *old)
{
	static const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct server s = { .toy = toy, .fds = fds };
	uint64_t generation = rings->generation;
	unsigned before = count_fds() - 3;	/* without our rings */
	int r;

	if (ob_loop_create_on(&params, rings, &s.loop, NULL))
		toy_fail(toy, "no loop");
	inherit(&s);
	begin(&s, generation, old);
	while ((r = turn(&s)) >= 0) {
		mark(toy);
		if (r == 0)
			wait_for(&s, POLLIN);
	}
	drop_fds(&s);
	ob_conn_destroy(s.conn);
	ob_loop_destroy(s.loop);
	if (count_fds() != before)
		toy_fail(toy, "%u descriptors, %u before", count_fds(), before);
	_exit(0);
}
