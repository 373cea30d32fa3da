// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client writes a script of pieces and checks one answer after the other,
 * both whenever the socket lets it, so that neither waits for the other.
 */
#include "kept_toy.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "base/fd.h"

struct piece {
	uint8_t *bytes;
	size_t len, sent;
	int fds[4];
	unsigned nr_fds;
	bool alone;	/* not before the server took off what it was sent */
};

struct asked {
	unsigned id, kind, nr_fds;
};

#define MAX_PIECES 64u
#define MAX_ASKED 64u
struct client {
	struct toy *toy;
	int fd;
	struct piece pieces[MAX_PIECES];
	unsigned nr_pieces, next_piece;
	struct asked asked[MAX_ASKED];
	unsigned nr_asked, next_answer;
	uint64_t count, chain;		/* as they should be */
	uint8_t in[OB_HDR_SIZE + sizeof(struct toy_answer) + TOY_LONG];
	size_t have;
	int in_fd;
};

static int file_of(unsigned id, unsigned k)
{
	uint32_t number = toy_file(id, k);
	int fd = ob_memfd_create("toy", 4);

	return pwrite(fd, &number, 4, 0) == 4 ? fd : -1;
}

static struct piece *piece(struct client *c, const uint8_t *bytes, size_t len)
{
	struct piece *p = &c->pieces[c->nr_pieces++];

	p->bytes = malloc(len);
	p->len = len;
	memcpy(p->bytes, bytes, len);
	return p;
}

static void add_files(struct piece *p, unsigned id, unsigned first, unsigned nr)
{
	while (nr--) {
		p->fds[p->nr_fds++] = file_of(id, first++);
	}
}

/* The bytes of the next message; nr_fds is what the answer should say. */
static size_t ask(struct client *c, uint8_t *bytes, enum toy_kind kind,
		  size_t len, unsigned nr_fds)
{
	unsigned id = c->nr_asked + 1;
	struct ob_hdr hdr = {
		.id = id, .cmd = kind, .size = OB_HDR_SIZE + len,
	};
	struct ob_writer wr;

	ob_writer_init(&wr, bytes, OB_HDR_SIZE);
	ob_hdr_put(&wr, &hdr);
	memcpy(bytes + OB_HDR_SIZE, toy_content(c->toy, id), len);
	c->asked[c->nr_asked++] = (struct asked){ id, kind, nr_fds };
	return hdr.size;
}

static void ask_whole(struct client *c, enum toy_kind kind, size_t len,
		      unsigned nr_fds)
{
	static uint8_t bytes[TOY_MAX_MESSAGE];
	size_t size = ask(c, bytes, kind, len, nr_fds);

	add_files(piece(c, bytes, size), c->nr_asked, 0, nr_fds);
}

/* In cuts of these lengths, each with a file. */
static void ask_cut(struct client *c, size_t len, const size_t *cuts,
		    unsigned nr_cuts)
{
	static uint8_t bytes[TOY_MAX_MESSAGE];
	size_t size = ask(c, bytes, TOY_FDS, len, nr_cuts + 1), at = 0;

	for (unsigned i = 0; i <= nr_cuts; i++) {
		size_t n = i < nr_cuts ? cuts[i] : size - at;
		struct piece *p = piece(c, bytes + at, n);

		add_files(p, c->nr_asked, i, 1);
		p->alone = i > 0;
		at += n;
	}
}

/* Several in one segment, of which the last has come in part only. */
static void ask_batch(struct client *c)
{
	static uint8_t bytes[TOY_MAX_MESSAGE];
	size_t len = 0, part;

	for (unsigned i = 0; i < 3; i++)
		len += ask(c, bytes + len, i ? TOY_PLAIN : TOY_NO_ANSWER,
			   10 * i, 0);
	part = len + 20;
	len += ask(c, bytes + len, TOY_PLAIN, 50, 0);
	piece(c, bytes, part);
	piece(c, bytes + part, len - part)->alone = true;
}

static void write_script(struct client *c)
{
	static const size_t cuts[] = { 1, 20 }, first[] = { 16 };

	ask_whole(c, TOY_PLAIN, 8, 0);
	ask_whole(c, TOY_FDS, 30, 2);
	ask_whole(c, TOY_ANSWER_FD, 3, 0);
	ask_batch(c);
	ask_cut(c, 100, cuts, 2);
	ask_whole(c, TOY_PLAIN, TOY_LONG, 0);
	ask_whole(c, TOY_FDS, TOY_LONG, 1);
	ask_cut(c, TOY_LONG, first, 1);
	ask_whole(c, TOY_ANSWER_LENT, 5, 0);
	ask_whole(c, TOY_NO_ANSWER, 5, 0);
	ask_whole(c, TOY_ANSWER_FD, 5, 0);
	ask_whole(c, TOY_ANSWER_LENT, 6, 0);
	ask_whole(c, TOY_PLAIN, 1, 0);
}

static int taken_off(const struct client *c)
{
	int left;

	return !ioctl(c->fd, SIOCOUTQ, &left) && !left;
}

/* Sends what the socket takes; false: nothing now. */
static bool send_some(struct client *c)
{
	struct piece *p = &c->pieces[c->next_piece];
	char control[CMSG_SPACE(sizeof(p->fds))] = { 0 };
	struct cmsghdr *cmsg = (struct cmsghdr *)control;
	struct iovec iov = { p->bytes + p->sent, p->len - p->sent };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (p->alone && !p->sent && !taken_off(c))
		return false;
	if (!p->sent && p->nr_fds) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(p->nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), p->fds, p->nr_fds * sizeof(int));
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(p->nr_fds * sizeof(int));
	}
	n = sendmsg(c->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		toy_fail(c->toy, "client's send: %s", strerror(errno));
	if (n <= 0)
		return false;
	p->sent += n;
	if (p->sent == p->len)
		c->next_piece++;
	return true;
}

/* Right up to some byte, and filled from there on. */
static void check_long(struct client *c, unsigned id)
{
	const uint8_t *in = c->in + OB_HDR_SIZE + sizeof(struct toy_answer);
	const uint8_t *want = toy_content(c->toy, id);
	size_t at = 0;

	while (at < TOY_LONG && in[at] == want[at])
		at++;
	while (at < TOY_LONG && in[at] == TOY_FILL)
		at++;
	if (at < TOY_LONG)
		toy_fail(c->toy, "answer %u is wrong at byte %zu", id, at);
}

static void check_fd(struct client *c, const struct asked *asked)
{
	uint32_t number = 0;

	if ((c->in_fd >= 0) != (asked->kind == TOY_ANSWER_FD))
		toy_fail(c->toy, "answer %u: fd %d", asked->id, c->in_fd);
	if (c->in_fd >= 0 &&
	    (pread(c->in_fd, &number, 4, 0) != 4 ||
	     number != TOY_NAME + asked->id % TOY_NAMES))
		toy_fail(c->toy, "answer %u: the wrong fd", asked->id);
	ob_fd_close(&c->in_fd);
}

static void check_answer(struct client *c, const struct ob_hdr *hdr)
{
	const struct asked *asked = &c->asked[c->next_answer];
	struct toy_answer body;

	while (asked->kind == TOY_NO_ANSWER) {
		c->chain = toy_chain(c->chain, asked->id, asked->nr_fds);
		c->count++;
		asked = &c->asked[++c->next_answer];
	}
	c->chain = toy_chain(c->chain, asked->id, asked->nr_fds);
	c->count++;
	memcpy(&body, c->in + OB_HDR_SIZE, sizeof(body));
	if (hdr->id != asked->id || body.count != c->count ||
	    body.chain != c->chain || !body.is_right ||
	    body.nr_fds != asked->nr_fds)
		toy_fail(c->toy, "answer %u for %u: count %u for %u, chain %s, "
			 "content %s, %u fds for %u", hdr->id, asked->id,
			 (unsigned)body.count, (unsigned)c->count,
			 body.chain == c->chain ? "right" : "wrong",
			 body.is_right ? "right" : "wrong", body.nr_fds,
			 asked->nr_fds);
	check_fd(c, asked);
	if (asked->kind == TOY_ANSWER_LENT)
		check_long(c, asked->id);
	c->next_answer++;
	c->have = 0;
}

/* How many bytes of the answer there should be. */
static size_t answer_size(struct client *c, struct ob_hdr *hdr)
{
	struct ob_reader rd;

	if (c->have < OB_HDR_SIZE)
		return OB_HDR_SIZE;
	ob_reader_init(&rd, c->in, OB_HDR_SIZE);
	ob_hdr_get(&rd, hdr);
	if (hdr->size < OB_HDR_SIZE + sizeof(struct toy_answer) ||
	    hdr->size > sizeof(c->in) ||
	    c->next_answer == c->nr_asked)
		toy_fail(c->toy, "an answer of %u bytes", hdr->size);
	return hdr->size;
}

static bool receive_some(struct client *c)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct ob_hdr hdr;
	size_t size = answer_size(c, &hdr);
	struct iovec iov = { c->in + c->have, size - c->have };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(c->fd, &mh, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		toy_fail(c->toy, "client's read: %zd, %s", n, strerror(errno));
	if (mh.msg_controllen) {
		if (c->have || c->in_fd >= 0)
			toy_fail(c->toy, "a descriptor too many");
		memcpy(&c->in_fd, CMSG_DATA((struct cmsghdr *)control), 4);
	}
	c->have += n;
	if (c->have >= OB_HDR_SIZE && answer_size(c, &hdr) == c->have)
		check_answer(c, &hdr);
	return true;
}

void toy_client(struct toy *toy, const struct toy_fds *fds)
{
	static struct client c;

	c.toy = toy;
	c.fd = fds->client;
	c.in_fd = -1;
	write_script(&c);
	while (c.next_answer < c.nr_asked || c.next_piece < c.nr_pieces) {
		static const struct timespec soon = { .tv_nsec = 50000 };
		struct pollfd pfd = { .fd = c.fd, .events = POLLIN };
		bool sent = c.next_piece < c.nr_pieces && send_some(&c);

		if (receive_some(&c) || sent)
			continue;
		/* SIOCOUTQ cannot be waited for: look again soon. */
		ppoll(&pfd, 1, &soon, NULL);
	}
	_exit(0);
}
