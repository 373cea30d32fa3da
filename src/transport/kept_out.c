// SPDX-License-Identifier: BSD-3-Clause
/*
 * The outbox of a connection that outlives its process.
 *
 * Answers are put there within the step that makes them, so they exist if the
 * step has happened, and leave afterwards.  Position p has its place at
 * p - out_base; once all has left, the next begins at the front again.
 *
 * A part that is lent is sent from where it lies.  It has its place in the
 * outbox as well, which costs no memory as long as nothing is written there.
 * What of it does not leave with the first flush is copied there then; and if
 * who lent it has died, the place is filled.
 *
 * fds go with the first byte of the sendmsg that has them, so what is in front
 * of their message is sent by one of its own.
 */
#include "transport/conn_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/sure.h"

#define WORTH_GIVING_BACK (64u << 10)

static uint8_t *place(const struct kept *kept, uint64_t position)
{
	return kept->memory.outbox + (position - kept->journal->out_base);
}

static bool fds_wait(const struct ob_conn_journal *j)
{
	return j->nr_fds && j->fds_at >= j->sent && j->fds_at < j->queued;
}

static bool is_lent(const struct ob_conn_journal *j)
{
	return j->lent_from < j->lent_to;
}

static size_t room(const struct kept *kept)
{
	const struct ob_conn_journal *j = kept->journal;

	return kept->memory.outbox_size - (j->queued - j->out_base);
}

bool ob_conn_has_room(const struct ob_conn *conn, size_t len)
{
	return room(conn->kept) >= len && !fds_wait(conn->kept->journal);
}

int ob_conn_queue(struct ob_conn *conn, const struct iovec *iov, unsigned count,
		  const uint8_t *fds, unsigned nr_fds)
{
	struct ob_conn_journal *j = conn->kept->journal;
	size_t len = conn_iov_len(iov, count);

	if (nr_fds > OB_KEPT_FDS || (nr_fds && !len))
		return -EINVAL;
	if (room(conn->kept) < len || (nr_fds && fds_wait(j)))
		return -ENOBUFS;
	conn_gather(place(conn->kept, j->queued), iov, count, 0);
	conn->kept->out_used += len;
	if (nr_fds) {
		memcpy(j->fds, fds, nr_fds);
		j->nr_fds = nr_fds;
		j->fds_at = j->queued;
	}
	j->queued += len;
	return 0;
}

int ob_conn_queue_lent(struct ob_conn *conn, const struct iovec *iov,
		       unsigned count, uint8_t fill)
{
	struct ob_conn_journal *j = conn->kept->journal;
	size_t len = conn_iov_len(iov, count);

	if (is_lent(j) || count > NR_LENT)
		return ob_conn_queue(conn, iov, count, NULL, 0);
	if (room(conn->kept) < len)
		return -ENOBUFS;
	memcpy(conn->kept->lent, iov, count * sizeof(*iov));
	conn->kept->nr_lent = count;
	j->lent_from = j->queued;
	j->lent_to = j->queued + len;
	j->lent_fill = fill;
	j->queued += len;
	return 0;
}

/* What was lent and has not left is in its place from here on. */
static void end_loan(struct kept *kept)
{
	struct ob_conn_journal *j = kept->journal;
	uint64_t from = j->sent > j->lent_from ? j->sent : j->lent_from;

	if (!is_lent(j))
		return;
	if (from < j->lent_to) {
		kept->out_used += j->lent_to - from;
		if (kept->nr_lent)
			conn_gather(place(kept, from), kept->lent,
				    kept->nr_lent, from - j->lent_from);
		else
			memset(place(kept, from), j->lent_fill,
			       j->lent_to - from);
	}
	kept->nr_lent = 0;
	kept_note(&j->lent_from, j->lent_to);
}

/* One sendmsg under way. */
struct sending {
	struct ob_sure_call call;
	struct msghdr mh;
	struct iovec iov[NR_LENT + 2];
	size_t len;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(OB_KEPT_FDS * sizeof(int))];
	} control;
};

static void add_piece(struct sending *s, void *at, size_t len)
{
	if (!len)
		return;
	s->iov[s->mh.msg_iovlen++] = (struct iovec){ at, len };
	s->len += len;
}

/* The lent pieces, without their first `skip` bytes. */
static void add_lent(struct sending *s, const struct kept *kept, size_t skip)
{
	for (unsigned i = 0; i < kept->nr_lent; i++) {
		const struct iovec *iov = &kept->lent[i];
		size_t cut = skip < iov->iov_len ? skip : iov->iov_len;

		add_piece(s, (uint8_t *)iov->iov_base + cut,
			  iov->iov_len - cut);
		skip -= cut;
	}
}

static void add_placed(struct sending *s, const struct kept *kept,
		       uint64_t from, uint64_t to)
{
	if (from < to)
		add_piece(s, place(kept, from), to - from);
}

/* Up to the next fds, which never lie in or before what is lent. */
static void add_pieces(struct sending *s, const struct kept *kept)
{
	const struct ob_conn_journal *j = kept->journal;
	uint64_t from = j->sent, to = j->queued;

	if (fds_wait(j) && j->fds_at > from)
		to = j->fds_at;
	if (!is_lent(j) || j->lent_to <= from || j->lent_from >= to) {
		add_placed(s, kept, from, to);
		return;
	}
	add_placed(s, kept, from, j->lent_from);
	add_lent(s, kept, from > j->lent_from ? from - j->lent_from : 0);
	add_placed(s, kept, from > j->lent_to ? from : j->lent_to, to);
}

/* One whose descriptor is gone travels without it. */
static void add_fds(struct sending *s, const struct kept *kept)
{
	const struct ob_conn_journal *j = kept->journal;
	int fds[OB_KEPT_FDS];
	unsigned nr = 0;

	for (unsigned i = 0; i < j->nr_fds; i++) {
		int fd = kept->memory.fd_of(kept->memory.arg, j->fds[i]);

		if (fd >= 0)
			fds[nr++] = fd;
	}
	if (!nr)
		return;
	memset(&s->control, 0, sizeof(s->control));
	s->control.align.cmsg_level = SOL_SOCKET;
	s->control.align.cmsg_type = SCM_RIGHTS;
	s->control.align.cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(&s->control.align), fds, nr * sizeof(int));
	s->mh.msg_control = &s->control;
	s->mh.msg_controllen = CMSG_SPACE(nr * sizeof(int));
}

static void send_begin(struct ob_conn *conn, struct sending *s)
{
	struct kept *kept = conn->kept;
	struct ob_conn_journal *j = kept->journal;

	memset(&s->mh, 0, sizeof(s->mh));
	s->mh.msg_iov = s->iov;
	s->len = 0;
	add_pieces(s, kept);
	if (fds_wait(j) && j->fds_at == j->sent)
		add_fds(s, kept);
	s->call.tag = ob_sure_tag(kept->memory.sure);
	kept_note(&j->send_from, j->sent);
	kept_note(&j->send_tag, s->call.tag);
	ob_sure_sendmsg(kept->memory.sure, &s->call, conn->fd, &s->mh);
}

/* 0; -EAGAIN: the socket took less than that; the connection's end. */
static int send_end(struct kept *kept, const struct sending *s)
{
	struct ob_conn_journal *j = kept->journal;

	if (s->call.res > 0)
		kept_note(&j->sent, j->send_from + s->call.res);
	kept_note(&j->send_tag, 0);
	if (s->call.res < 0)
		return s->call.res;
	return (size_t)s->call.res < s->len ? -EAGAIN : 0;
}

/* One call of both directions; may_send becomes false when it need not try
 * again. */
static int exchange(struct ob_conn *conn, bool *may_send)
{
	struct ob_conn_journal *j = conn->kept->journal;
	bool sends = *may_send && j->sent < j->queued;
	bool takes = j->consumed < j->done;
	struct sending sending;
	struct ob_sure_call take;
	int sent = 0, taken = 0;

	if (sends)
		send_begin(conn, &sending);
	if (takes)
		kept_take(conn, &take, j->done);
	ob_sure_go(conn->kept->memory.sure);
	if (sends)
		sent = send_end(conn->kept, &sending);
	if (takes)
		taken = kept_taken(conn, &take);
	if (sent == -EAGAIN) {
		*may_send = false;
		sent = 0;
	}
	return sent ? sent : taken;
}

/*
 * Space for what will be queued: everything starts anew when nothing is left,
 * and what is left moves to the front when it fits there without touching
 * itself, so that it is whole in either place.
 */
static void tidy(struct kept *kept)
{
	struct ob_conn_journal *j = kept->journal;
	uint64_t left = j->queued - j->sent;

	if (left > j->sent - j->out_base)
		return;
	if (left)
		memcpy(kept->memory.outbox, place(kept, j->sent), left);
	else if (kept->out_used > WORTH_GIVING_BACK)
		(void)madvise(kept->memory.outbox, kept->memory.outbox_size,
			      MADV_REMOVE);
	if (!left)
		kept->out_used = 0;
	if (j->out_base != j->sent)
		kept_note(&j->out_base, j->sent);
}

/* Nothing to send with what is taken off, and no part of a message to hold. */
static bool may_go_along(const struct ob_conn *conn)
{
	const struct kept *kept = conn->kept;
	const struct ob_conn_journal *j = kept->journal;

	return j->sent == j->queued && !is_lent(j) && !j->held_fds &&
		!kept->is_new && !kept->take_first && conn->head == conn->tail;
}

int kept_flush(struct ob_conn *conn)
{
	struct kept *kept = conn->kept;
	struct ob_conn_journal *j = kept->journal;
	bool may_send = true;
	int r = 0;

	if (!kept->nr_lent)
		end_loan(kept);
	if (may_go_along(conn)) {
		kept_take_along(conn);
		kept->stuck = false;
		return 0;
	}
	r = kept_settle(conn);
	while (!r && (j->consumed < j->done || (may_send && j->sent < j->queued)))
		r = exchange(conn, &may_send);
	if (r)
		return r;
	end_loan(kept);
	tidy(kept);
	kept->stuck = j->sent < j->queued;
	r = kept_after_look(conn);
	return r ? r : kept->stuck ? -EAGAIN : 0;
}
