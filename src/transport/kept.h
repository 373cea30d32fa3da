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
 * Input.  [0, consumed) has been taken off the socket, [0, done) has had its
 * effect.  If consumed is ahead, a message that is not whole was taken off:
 * its bytes [done, consumed) are at the begin of the inbox.
 *
 * Output.  [0, queued) was put into the outbox, [0, sent) has left.  Position
 * p lies at p - out_base in the outbox.  What is lent, [lent_from, lent_to),
 * has its place there, too, but is sent from elsewhere; if the process that was
 * to do that has died, its place is filled with lent_fill.
 *
 * Calls under way: take_tag and send_tag are the sure calls' (0: none), each
 * written after the position at which the call began.  So the result can be
 * added to it any number of times.
 *
 * held_fds, of the message in the inbox: bits 0 to 31 are an end, counted from
 * done; once [done, done + end) has been taken off, the keeper's descriptors
 * are as many as bits 40 to 47 say, before as many as bits 32 to 39.  In each
 * count 0x80 says that some were lost.  0: the keeper has none.
 *
 * done, queued, lent_* and fds_* change within a step (protected); the others
 * outside of steps, each by one store.  lent_from does both: it becomes
 * lent_to once nothing is lent any more.
 */
#define OB_KEPT_FDS 8
struct ob_conn_journal {
	uint64_t consumed, done;
	uint64_t take_from, take_tag;
	uint64_t held_fds;
	uint64_t queued, sent, out_base;
	uint64_t send_from, send_tag;
	uint64_t lent_from, lent_to;
	uint64_t fds_at;		/* fds go with the byte here */
	uint8_t lent_fill;
	uint8_t nr_fds;
	uint8_t fds[OB_KEPT_FDS];	/* the server's names for them */
	uint8_t reserved[6];
};
extern const struct ob_table ob_conn_journal_table;

/*
 * Inbox and outbox begin on a page and are shared memory of a memfd; what is
 * not in use of them is given back to it.  The inbox has room for max_message
 * and for OB_INBOX_MIN, the outbox for all answers of a batch, lent ones
 * included (address space; what is lent and leaves at once costs no memory).
 */
#define OB_INBOX_MIN (64u << 10)
struct ob_conn_memory {
	struct ob_conn_journal *journal;
	uint8_t *inbox, *outbox;
	size_t inbox_size, outbox_size;
	struct ob_sure *sure;
	/*
	 * Descriptors of a message that is taken off the socket before it is
	 * whole.  They are numbered from 0; keep_fds adds those from number
	 * `from` on, in place of what was there (-errno: the message is handed
	 * out without them), kept_fds gives them all back as the caller's own,
	 * drop_fds forgets them.
	 */
	int (*keep_fds)(void *arg, size_t from, const int *fds, size_t nr);
	size_t (*kept_fds)(void *arg, int fds[OB_MAX_MSG_FDS]);
	void (*drop_fds)(void *arg);
	/* The descriptor of a name in journal.fds, borrowed; -1: gone. */
	int (*fd_of)(void *arg, uint8_t name);
	void *arg;
};

/*
 * A new connection (journal zeroed here).  Takes fd unless it fails; -EINVAL:
 * the inbox is too small; or what the kernel says to SO_PEEK_OFF.
 */
int ob_conn_create_kept(int fd, size_t max_message,
			const struct ob_conn_memory *memory,
			struct ob_conn **out);
/*
 * One that a dead process had: learns from its rings (NULL: there were none)
 * what its last calls did, and notes it.  memory.journal is the successor's
 * own copy, of which nothing was checked but what its table says; -EINVAL with
 * the field's name if it does not fit together.  Takes fd unless it fails.
 *
 * Nothing but *journal is changed, so that this can be done before the
 * hand-over; the socket and the boxes are touched from the first fill or flush
 * on.
 */
int ob_conn_adopt(int fd, size_t max_message,
		  const struct ob_conn_memory *memory,
		  const struct ob_old_rings *old, struct ob_conn **out,
		  struct ob_err *err);

/*
 * Within the step of the message that ob_conn_next gave last: it has had its
 * effect.  Committed with the step.  Every message must be, answered or not,
 * before the next ob_conn_fill.  By one store, so where nothing was queued
 * the journal need not be protected.
 */
void ob_conn_done(struct ob_conn *conn);
/*
 * Queues a message, or a part of it, within a step; fds, by the server's
 * names, go with its first byte.  The bytes are copied.  -ENOBUFS if there is
 * no room, see below; nothing is queued then.
 */
int ob_conn_queue(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		  const uint8_t *fds, unsigned nr_fds);
/*
 * The same, but what is at iov is lent: it is sent from where it lies by the
 * next ob_conn_flush, and is the caller's again when that returns.  If we do
 * not live to that, `fill` is sent instead.
 */
int ob_conn_queue_lent(struct ob_conn *conn, const struct iovec *iov,
		       unsigned count, uint8_t fill);
/*
 * Is there room for len bytes and a set of fds?  If not: flush, and if
 * something is pending then, wait as for any connection.
 */
bool ob_conn_has_room(const struct ob_conn *conn, size_t len);
/*
 * ob_conn_flush, outside of a step, sends what is queued and takes what is
 * done off the socket, in one system call.  With nothing to send the take goes
 * along with the loop's next call, so inbox, journal and loop stay until
 * ob_conn_destroy has returned.  ob_conn_pending tells whether that
 * left something; what was merely queued since does not count.  ob_conn_send is
 * refused (-EINVAL) on such a connection; everything else of conn.h works.
 */

#endif
