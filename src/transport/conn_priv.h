/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection, shared by its directions and its two kinds. */
#ifndef OB_TRANSPORT_CONN_PRIV_H
#define OB_TRANSPORT_CONN_PRIV_H

#include "base/sure.h"
#include "transport/kept.h"

#define BUF_SIZE OB_INBOX_MIN

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

/* What a connection has that outlives its process: kept*.c. */
#define NR_LENT 8u
struct kept {
	struct ob_conn_memory memory;
	struct ob_conn_journal *journal;	/* memory's */
	bool is_new;		/* the peek offset is not ours yet */
	bool drained;		/* the last look came to the socket's end */
	bool take_first;	/* before the next look, see kept_in.c */
	bool stuck;		/* the last flush left something */
	bool is_along;		/* the call `along` takes what is done */
	struct ob_sure_call along;
	size_t out_used;	/* of the outbox, since it was given back */
	struct iovec lent[NR_LENT];
	unsigned nr_lent;	/* 0: whoever lent has died */
};

struct ob_conn {
	int fd;
	size_t max_message;
	bool refuse_sockets, bytes_only;

	/* buf[head .. tail) is received and not handed out. */
	uint8_t *buf;
	size_t cap, head, tail;
	unsigned small_reads;	/* in a row, into a buffer that has grown */
	uint64_t received;	/* bytes of the stream up to tail */
	struct slot slots[NR_SLOTS];
	unsigned nr_slots;

	struct unsent *first, **last;

	struct kept *kept;	/* NULL: it ends with the process */
};

/* Closes and frees everything that waits to be received or sent. */
void conn_drop_slots(struct ob_conn *conn);
void conn_drop_unsent(struct ob_conn *conn);

/* As ob_conn_next, and takes nothing; at: where in buf the header would be. */
int conn_header(const struct ob_conn *conn, size_t at, struct ob_hdr *hdr);
/* Where in the stream buf[head] is. */
static inline uint64_t conn_position(const struct ob_conn *conn)
{
	return conn->received - (conn->tail - conn->head);
}
/* What is not handed out goes to the front of buf. */
void conn_to_front(struct ob_conn *conn);
struct slot *conn_slot(struct ob_conn *conn, uint64_t start);

size_t conn_iov_len(const struct iovec *iov, unsigned count);
/* Copies everything behind the first `skip` bytes. */
void conn_gather(uint8_t *dst, const struct iovec *iov, unsigned count,
		 size_t skip);

/* Of a kept connection: kept_in.c. */
uint8_t *kept_resize(struct ob_conn *conn, size_t cap);
/* Takes off the socket what must be before one looks on. */
int kept_before_look(struct ob_conn *conn);
/* The last look brought fds: was there no more room, is their message whole? */
void kept_saw_fds(struct ob_conn *conn, bool is_full, bool is_whole);
/* Takes off a message that is not whole, if the socket has no more of it. */
int kept_after_look(struct ob_conn *conn);
/* Queues the call that takes off bytes up to `end`; notes what it did. */
void kept_take(struct ob_conn *conn, struct ob_sure_call *call, uint64_t end);
int kept_taken(struct ob_conn *conn, const struct ob_sure_call *call);
/* The same with a system call that is made anyway, soon... */
void kept_take_along(struct ob_conn *conn);
/* ... unless this comes first: before the socket or the inbox is touched. */
int kept_settle(struct ob_conn *conn);
void kept_open_inbox(struct ob_conn *conn);

/* kept_out.c */
int kept_flush(struct ob_conn *conn);

/*
 * Every change of the journal outside of steps: in the order in which it is
 * written, by one store.
 */
static inline void kept_note(uint64_t *field, uint64_t value)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#endif
