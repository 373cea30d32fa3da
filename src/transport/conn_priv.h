/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection, shared by its two directions: recv.c and send.c. */
#ifndef OB_TRANSPORT_CONN_PRIV_H
#define OB_TRANSPORT_CONN_PRIV_H

#include "transport/conn.h"

#define BUF_SIZE (64u << 10)

/* fds that came for the message whose first byte is `start` of the stream. */
struct slot {
	uint64_t start;
	size_t nr, dropped;
	int fds[OB_MAX_MSG_FDS];
};

/*
 * At most two messages have fds at a time: the one that was incomplete when
 * the last read began, and the last that began in it.
 */
#define NR_SLOTS 2u

/* What a socket did not take, from `sent` on; fds until a byte has left. */
struct unsent {
	struct unsent *next;
	size_t len, sent;
	unsigned nr_fds;
	int fds[OB_MAX_MSG_FDS];
	uint8_t data[];
};

struct ob_conn {
	int fd;
	size_t max_message;
	bool refuse_sockets;

	/* buf[head .. tail) is received and not handed out. */
	uint8_t *buf;
	size_t cap, head, tail;
	unsigned small_reads;	/* in a row, into a buffer that has grown */
	uint64_t received;	/* bytes of the stream up to tail */
	struct slot slots[NR_SLOTS];
	unsigned nr_slots;

	struct unsent *first, **last;
};

/* Closes and frees everything that waits to be received or sent. */
void conn_drop_slots(struct ob_conn *conn);
void conn_drop_unsent(struct ob_conn *conn);

#endif
