/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole messages with their fds over a stream socket.
 *
 * Reading.  One recvmsg takes as much as fits, so that many posted writes
 * cost one system call.  The kernel ends a read behind the segment that
 * carried fds, and a sender puts a message's fds on its first bytes;
 * therefore fds belong to the last message that starts in the bytes of that
 * read.  Every fd is owned by exactly one slot and closed when the message is
 * done with (R1).  Nothing here ever blocks, and no flag of the socket is
 * trusted (R6): every call says MSG_DONTWAIT.
 *
 * Writing.  A message goes out at once if the socket takes it; the rest is
 * kept and continues at any byte (R5).  While something is kept the session
 * reads no further requests, so what is kept is bounded.
 */
#ifndef OB_TRANSPORT_CONN_H
#define OB_TRANSPORT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/proto.h"

#define OB_MAX_MSG_FDS 64	/* taken of one message; more are closed */

struct ob_conn;

/* Takes fd, unless it fails.  max_message bounds hdr.size of what is received. */
int ob_conn_create(int fd, size_t max_message, struct ob_conn **out);
void ob_conn_destroy(struct ob_conn *conn);
int ob_conn_fd(const struct ob_conn *conn);
void ob_conn_set_max_message(struct ob_conn *conn, size_t max_message);
/*
 * Sockets among received fds are dropped from now on.  A peer that passes its
 * own end of the connection and exits would otherwise keep it open for ever:
 * we would hold the last reference to what we wait on.
 */
void ob_conn_refuse_sockets(struct ob_conn *conn);
/*
 * While it is on nobody wants fds: what comes is closed and not counted, and a
 * read costs less.  Not of a kept connection.
 */
void ob_conn_bytes_only(struct ob_conn *conn, bool on);

/*
 * One read, when ob_conn_next has returned 0.  Bytes taken (> 0), 0 at the
 * end of the stream, -EAGAIN, -EBUSY if a whole message still waits, or
 * another -errno.  Pointers of earlier messages are void afterwards.  drained
 * tells that the socket was empty afterwards, so another call is pointless.
 */
int ob_conn_fill(struct ob_conn *conn, bool *drained);
/*
 * The same, but waits for bytes as the socket's own flags and SO_RCVTIMEO
 * say.  For clients, which have nothing else to do; a server never waits.
 */
int ob_conn_fill_wait(struct ob_conn *conn, bool *drained);

/* payload is borrowed until the next ob_conn_fill; fds are the slot's. */
struct ob_msg {
	struct ob_hdr hdr;
	const uint8_t *payload;
	size_t len;
	int fds[OB_MAX_MSG_FDS];
	size_t nr_fds;
	size_t fds_dropped;	/* beyond OB_MAX_MSG_FDS, cut, or refused */
};

/*
 * 1: the next whole message, consumed; 0: none whole yet; -EPROTO: size field
 * below 16; -EMSGSIZE: above the limit.  After an error the stream is lost.
 */
int ob_conn_next(struct ob_conn *conn, struct ob_msg *msg);
/* Takes fd number index out of the slot (-1 there afterwards). */
int ob_msg_take_fd(struct ob_msg *msg, size_t index);
/* Closes what was not taken. */
void ob_msg_finish(struct ob_msg *msg);

/*
 * Asks the kernel for room to take len bytes at once: what it does not take is
 * copied and goes out in small pieces as the peer reads, which costs more than
 * the peer's reading.  The kernel may grant less, and then that is how it is.
 */
void ob_conn_want_room(struct ob_conn *conn, size_t len);
/*
 * Sends one message, header included, from several pieces; fds stay the
 * caller's (the kernel has its own reference when this returns 0; kept
 * messages hold duplicates).  0 or -errno; the connection is dead then.
 */
int ob_conn_send(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		 const int *fds, unsigned nr_fds);
/* 0: nothing is kept any more; -EAGAIN: some is; or the connection's end. */
int ob_conn_flush(struct ob_conn *conn);
bool ob_conn_pending(const struct ob_conn *conn);

#endif
