// SPDX-License-Identifier: BSD-3-Clause
/*
 * "$packet#sum" with two hexadecimal digits, acknowledged by "+"; of all the
 * protocol only what is needed: memory as hexadecimal digits, physical addresses
 * by QEMU's own packet.  The stub is never told to detach, since that lets the
 * machine run.
 */
#include "vmm/gdb.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/hex.h"

#define NAME "outboard-gdb"
#define ANSWER_MS 5000
#define PIECE 1024u			/* bytes of memory in one packet */
#define PACKET (2 * PIECE + 64)

struct ob_gdb {
	struct ob_qmp *qmp;
	int fd;
	bool up;			/* the stub has its chardev, and ends it */
	char in[PACKET];
	size_t got;
};

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -ECONNRESET;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_packet(struct ob_gdb *gdb, const char *words)
{
	char text[PACKET + 8];
	uint8_t sum = 0;
	int len;

	for (const char *at = words; *at; at++)
		sum = (uint8_t)(sum + (uint8_t)*at);
	len = snprintf(text, sizeof(text), "$%s#%02x", words, sum);
	return send_all(gdb->fd, text, (size_t)len);
}

static int receive(struct ob_gdb *gdb)
{
	struct pollfd p = { .fd = gdb->fd, .events = POLLIN };
	ssize_t n;
	int r;

	if (gdb->got == sizeof(gdb->in) - 1)
		return -EPROTO;
	do
		r = poll(&p, 1, ANSWER_MS);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return -ETIMEDOUT;
	n = recv(gdb->fd, gdb->in + gdb->got, sizeof(gdb->in) - 1 - gdb->got, 0);
	if (n <= 0)
		return -ECONNRESET;
	gdb->got += (size_t)n;
	gdb->in[gdb->got] = '\0';
	return 0;
}

/* A whole packet is at *words; what comes before it is acknowledgement. */
static int receive_packet(struct ob_gdb *gdb, const char **words)
{
	char *begin, *end;
	int r;

	gdb->got = 0;
	gdb->in[0] = '\0';
	for (;;) {
		begin = strchr(gdb->in, '$');
		end = begin ? strchr(begin, '#') : NULL;
		if (end && strlen(end) >= 3)
			break;
		if ((r = receive(gdb)))
			return r;
	}
	*end = '\0';
	*words = begin + 1;
	return send_all(gdb->fd, "+", 1);
}

static int ask(struct ob_gdb *gdb, const char *words, const char **answer,
	       struct ob_err *err)
{
	int r = send_packet(gdb, words);

	if (!r)
		r = receive_packet(gdb, answer);
	return r ? ob_fail(err, -r, "QEMU's gdb stub: %s", strerror(-r)) : 0;
}

static int expect_ok(struct ob_gdb *gdb, const char *words, struct ob_err *err)
{
	const char *answer;
	int r = ask(gdb, words, &answer, err);

	if (!r && strcmp(answer, "OK"))
		r = ob_fail(err, EIO, "QEMU's gdb stub refuses %.20s: %.40s",
			    words, answer);
	return r;
}

static int read_piece(struct ob_gdb *gdb, uint64_t addr, uint8_t *buf,
		      size_t len, struct ob_err *err)
{
	const char *answer;
	char words[64];
	int r;

	snprintf(words, sizeof(words), "m%" PRIx64 ",%zx", addr, len);
	r = ask(gdb, words, &answer, err);
	if (!r && ob_hex_read(answer, buf, len))
		r = ob_fail(err, EIO, "QEMU's gdb stub cannot read at %#" PRIx64
			    ": %.40s", addr, answer);
	return r;
}

static int write_piece(struct ob_gdb *gdb, uint64_t addr, const uint8_t *buf,
		       size_t len, struct ob_err *err)
{
	char words[PACKET];
	int at = snprintf(words, sizeof(words), "M%" PRIx64 ",%zx:", addr, len);

	for (size_t i = 0; i < len; i++)
		at += snprintf(words + at, sizeof(words) - (size_t)at, "%02x",
			       buf[i]);
	return expect_ok(gdb, words, err);
}

static size_t piece(size_t left)
{
	return left < PIECE ? left : PIECE;
}

int ob_gdb_read(struct ob_gdb *gdb, uint64_t addr, void *buf, size_t len,
		struct ob_err *err)
{
	uint8_t *at = buf;
	int r = 0;

	for (size_t n; !r && len; at += n, addr += n, len -= n) {
		n = piece(len);
		r = read_piece(gdb, addr, at, n, err);
	}
	return r;
}

int ob_gdb_write(struct ob_gdb *gdb, uint64_t addr, const void *buf, size_t len,
		 struct ob_err *err)
{
	const uint8_t *at = buf;
	int r = 0;

	for (size_t n; !r && len; at += n, addr += n, len -= n) {
		n = piece(len);
		r = write_piece(gdb, addr, at, n, err);
	}
	return r;
}

/* -- the stub ---------------------------------------------------------- */

static int add_chardev(struct ob_qmp *qmp, int fd, struct ob_err *err)
{
	int r = ob_qmp_give_fd(qmp, NAME, fd, err);

	return r ? r : ob_qmp_call(qmp, "chardev-add",
		json_pack("{s:s, s:{s:s, s:{s:b, s:{s:s, s:{s:s}}}}}",
			  "id", NAME, "backend", "type", "socket", "data",
			  "server", 0, "addr", "type", "fd", "data", "str",
			  NAME), NULL, err);
}

static int start_stub(struct ob_gdb *gdb, int theirs, struct ob_err *err)
{
	char *said;
	int r = add_chardev(gdb->qmp, theirs, err);

	if (!r)
		r = ob_qmp_hmp(gdb->qmp, &said, err, "gdbserver chardev:" NAME);
	if (r)
		return r;
	free(said);
	gdb->up = true;
	return expect_ok(gdb, "Qqemu.PhyMemMode:1", err);
}

int ob_gdb_open(struct ob_qmp *qmp, struct ob_gdb **out, struct ob_err *err)
{
	struct ob_gdb *gdb = calloc(1, sizeof(*gdb));
	OB_CLEANUP_FD int theirs = -1;
	int pair[2], r;

	if (!gdb)
		return ob_fail(err, ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		free(gdb);
		return ob_fail(err, errno, "socketpair: %s", strerror(errno));
	}
	gdb->qmp = qmp;
	gdb->fd = pair[0];
	theirs = pair[1];
	r = start_stub(gdb, theirs, err);
	if (r)
		ob_gdb_close(gdb);
	else
		*out = gdb;
	return r;
}

void ob_gdb_close(struct ob_gdb *gdb)
{
	char *said = NULL;

	if (!gdb)
		return;
	if (gdb->up)
		ob_qmp_hmp(gdb->qmp, &said, NULL, "gdbserver none");
	else
		ob_qmp_call(gdb->qmp, "chardev-remove",
			    json_pack("{s:s}", "id", NAME), NULL, NULL);
	free(said);
	close(gdb->fd);
	free(gdb);
}
