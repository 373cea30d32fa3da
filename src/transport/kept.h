/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection that outlives its process (docs/crash-safety.md, "A message").
 *
 * Where it stands is a journal in the device's state; what was received of a
 * message that is not whole, and what is to be sent, lies in memory that the
 * keeper holds.  Positions count bytes from the connection's begin.
 */
#ifndef OB_TRANSPORT_KEPT_H
#define OB_TRANSPORT_KEPT_H

#include <outboard/loop.h>
#include <outboard/state.h>

#include "transport/conn.h"

struct ob_sure;
struct ob_old_rings;

/*
 * Input.  [0, consumed) has been taken off the socket, of which the last
 * `held` bytes are at the begin of the inbox: a message that is not whole.
 * [0, done) has had its effect.  consumed - held <= done.
 *
 * Output.  [0, queued) was put into the outbox, [0, sent) has left.  Position
 * p lies at p - out_base in the outbox, or is filled (lent_*), if the process
 * that was to send it from elsewhere has died.
 *
 * take_tag and send_tag: the sure calls that are under way; 0: none.
 *
 * `done`, `queued`, lent_* and fds_* change within a step (protected); the
 * others outside of steps, each by one store.
 */
#define OB_KEPT_FDS 8
struct ob_conn_journal {
	uint64_t consumed, done;
	uint64_t take_tag, send_tag;
	uint64_t queued, sent, out_base;
	uint64_t lent_from, lent_to;	/* positions that are not in the outbox */
	uint64_t fds_at;		/* fds go with the byte here */
	uint32_t held;
	uint8_t lent_fill;		/* what is sent if the lender dies */
	uint8_t nr_fds;
	uint8_t fds[OB_KEPT_FDS];	/* the server's names for them */
	uint8_t reserved[2];
};
extern const struct ob_table ob_conn_journal_table;

struct ob_conn_memory {
	struct ob_conn_journal *journal;
	uint8_t *inbox, *outbox;
	size_t inbox_size, outbox_size;
	struct ob_sure *sure;
	/*
	 * Descriptors of a message that is taken off the socket before it is
	 * whole: keep them / give them back / forget them.
	 */
	int (*keep_fds)(void *arg, const int *fds, size_t nr);
	size_t (*kept_fds)(void *arg, int fds[OB_MAX_MSG_FDS]);
	void (*drop_fds)(void *arg);
	/* An own descriptor for a name in journal.fds; -1: gone. */
	int (*fd_of)(void *arg, uint8_t name);
	void *arg;
};

/* A new connection (journal zeroed here).  Takes fd unless it fails. */
int ob_conn_create_kept(int fd, size_t max_message,
			const struct ob_conn_memory *memory,
			struct ob_conn **out);
/*
 * One that a dead process had: learns from its rings (NULL: there were none)
 * what its last calls did, and goes on.  The journal has been checked for
 * nothing but what its table says; -EINVAL with the field's name if it does
 * not fit together.
 */
int ob_conn_adopt(int fd, size_t max_message,
		  const struct ob_conn_memory *memory,
		  const struct ob_old_rings *old, struct ob_conn **out,
		  struct ob_err *err);

/*
 * Within the step of the message that ob_conn_next gave last: it has had its
 * effect.  Committed with the step.
 */
void ob_conn_done(struct ob_conn *conn);
/*
 * Queues an answer, within the step: header and small data are copied, `more`
 * is lent, to be sent from where it lies by the next ob_conn_flush and filled
 * with `fill` if we do not live to.  fds by the server's names.  -ENOBUFS: the
 * outbox is too small.
 */
int ob_conn_queue(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		  const uint8_t *fds, unsigned nr_fds);
int ob_conn_queue_lent(struct ob_conn *conn, const struct iovec *more,
		       unsigned count, uint8_t fill);
/*
 * ob_conn_flush, outside of a step, sends what is queued and takes what is
 * done off the socket, in one system call.  ob_conn_send does not work on such
 * a connection; everything else of conn.h does.
 */

#endif
