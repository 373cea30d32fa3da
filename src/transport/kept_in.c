// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes that are looked at, and taken off the socket once they are done with.
 *
 * A look is a recvmsg with MSG_PEEK: SO_PEEK_OFF makes the next one go on where
 * it ended, so a batch costs one call as on any connection, and messages are
 * handed out where they lie, in the inbox.  What is done is taken off by a call
 * whose outcome a successor can learn, into the very place where the look had
 * put it: the same bytes, and nothing needs to be set aside for them.  If there
 * is an answer the two leave together; else that call goes along with the next
 * one that the loop makes, at the latest the one that sleeps, so that a sender
 * who waits for room gets it.
 *
 * Held.  A message that is not whole must leave the socket: its sender may be
 * waiting for room, and we for news.  It goes to the inbox's front.  Until it is
 * done nothing else is written there, and what of it is still to come is looked
 * at behind it, so that it looks like any other message.
 *
 * fds.  Each look at a segment gives new duplicates of its fds, even one that
 * begins inside of it; taking off a byte of it takes them away.  A look ends
 * behind a segment with fds.  So if it ended for lack of room, it may have ended
 * inside, and a message that is not whole may yet get more: both are taken off
 * first (take_first), and no fd is ever seen twice in one life.  What is held
 * has its fds with the keeper before its bytes leave the socket, and held_fds
 * tells a successor which of them will come again by the socket: those whose
 * bytes are still there.
 */
#include "transport/conn_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/sure.h"

#define SOME_LOST 0x80u

/* Of the message in the inbox, as in a half of held_fds. */
static unsigned held_fds(const struct ob_conn_journal *j)
{
	if (j->consumed <= j->done)
		return 0;
	if (j->consumed - j->done >= (uint32_t)j->held_fds)
		return (uint8_t)(j->held_fds >> 40);
	return (uint8_t)(j->held_fds >> 32);
}

static uint64_t held_fds_pack(uint64_t end, unsigned before, unsigned after)
{
	return (uint64_t)after << 40 | (uint64_t)before << 32 | end;
}

/* Garbage of old messages is given back when the inbox becomes small. */
uint8_t *kept_resize(struct ob_conn *conn, size_t cap)
{
	if (cap < conn->cap)
		(void)madvise(conn->buf + cap, conn->cap - cap, MADV_REMOVE);
	return conn->buf;
}

/* Where it goes, with its tag on record; *len bytes. */
static uint8_t *take_begin(struct ob_conn *conn, struct ob_sure_call *call,
			   uint64_t end, size_t *len)
{
	struct ob_conn_journal *j = conn->kept->journal;
	size_t at = j->consumed - (conn->received - conn->tail);
	size_t room = conn->kept->memory.inbox_size - at;

	*len = end - j->consumed < room ? end - j->consumed : room;
	call->tag = ob_sure_tag(conn->kept->memory.sure);
	kept_note(&j->take_from, j->consumed);
	kept_note(&j->take_tag, call->tag);
	return conn->buf + at;
}

void kept_take(struct ob_conn *conn, struct ob_sure_call *call, uint64_t end)
{
	size_t len;
	uint8_t *to = take_begin(conn, call, end, &len);

	ob_sure_recv(conn->kept->memory.sure, call, conn->fd, to, len);
}

static void note_taken(struct ob_conn_journal *j, const struct ob_sure_call *call)
{
	if (call->res > 0)
		kept_note(&j->consumed, j->take_from + call->res);
	kept_note(&j->take_tag, 0);
}

/*
 * At once, though nobody asks before the next look: that may be long from now, and
 * in the ring others' completions come in the place of this one.
 */
static void along_came(struct ob_sure_call *call)
{
	struct kept *kept = (struct kept *)
		((char *)call - offsetof(struct kept, along));

	note_taken(kept->journal, call);
}

void kept_take_along(struct ob_conn *conn)
{
	struct kept *kept = conn->kept;
	uint8_t *to;
	size_t len;

	if (kept->is_along || kept->journal->consumed >= kept->journal->done)
		return;
	kept->along.came = along_came;
	to = take_begin(conn, &kept->along, kept->journal->done, &len);
	ob_sure_recv_along(kept->memory.sure, &kept->along, conn->fd, to, len);
	kept->is_along = true;
}

int kept_settle(struct ob_conn *conn)
{
	struct kept *kept = conn->kept;

	if (!kept->is_along)
		return 0;
	ob_sure_await(kept->memory.sure, &kept->along);
	kept->is_along = false;
	return kept_taken(conn, &kept->along);
}

/*
 * What a predecessor left is taken off without having been looked at, while the
 * buffer is empty.  -EIO: the socket has not what it had, or should have.
 */
int kept_taken(struct ob_conn *conn, const struct ob_sure_call *call)
{
	struct ob_conn_journal *j = conn->kept->journal;

	note_taken(j, call);
	if (conn->received < j->consumed)
		conn->received = j->consumed;
	if (call->res > 0)
		return 0;
	return call->res == 0 || call->res == -EAGAIN ? -EIO : call->res;
}

static int take_up_to(struct ob_conn *conn, uint64_t end)
{
	int r = 0;

	while (!r && conn->kept->journal->consumed < end) {
		struct ob_sure_call call;

		kept_take(conn, &call, end);
		ob_sure_go(conn->kept->memory.sure);
		r = kept_taken(conn, &call);
	}
	return r;
}

/* The keeper has no more use for fds of a message that is done. */
static void forget_fds(struct kept *kept)
{
	if (kept->journal->held_fds &&
	    kept->journal->consumed <= kept->journal->done) {
		kept->memory.drop_fds(kept->memory.arg);
		kept_note(&kept->journal->held_fds, 0);
	}
}

/* Those of slot that the keeper does not have; they are lost if it fails. */
static void keep_new_fds(struct kept *kept, struct slot *slot, size_t from)
{
	size_t nr = slot->nr - from;

	if (!nr || !kept->memory.keep_fds(kept->memory.arg, from,
					  slot->fds + from, nr))
		return;
	ob_fds_close(slot->fds + from, nr);
	slot->nr = from;
	slot->dropped += nr;
}

/*
 * Before what is to be held leaves the socket.  held_fds is set before the
 * keeper gets any, so that it can be told to forget those that never counted.
 */
static void hold_fds(struct ob_conn *conn)
{
	struct ob_conn_journal *j = conn->kept->journal;
	struct slot *slot = conn->nr_slots && conn->slots[0].start == j->done
		? &conn->slots[0] : NULL;
	unsigned before = held_fds(j), after = before;
	uint64_t end = conn->received - j->done;

	if (slot) {
		kept_note(&j->held_fds, held_fds_pack(end, before, before));
		keep_new_fds(conn->kept, slot, before & ~SOME_LOST);
		after = slot->nr | (slot->dropped ? SOME_LOST : 0);
	}
	if (before != after)
		kept_note(&j->held_fds, held_fds_pack(end, before, after));
}

/* What was looked at of a message that is not whole goes to the inbox. */
static int hold(struct ob_conn *conn)
{
	struct ob_conn_journal *j = conn->kept->journal;

	conn->kept->take_first = false;
	if (conn->received == j->consumed)
		return 0;
	conn_to_front(conn);
	hold_fds(conn);
	return take_up_to(conn, conn->received);
}

int kept_before_look(struct ob_conn *conn)
{
	static const int begin;
	struct kept *kept = conn->kept;
	int r = kept_settle(conn);

	if (!r)
		r = take_up_to(conn, kept->journal->done);
	if (r)
		return r;
	if (kept->is_new && setsockopt(conn->fd, SOL_SOCKET, SO_PEEK_OFF,
				       &begin, sizeof(begin)))
		return -errno;
	kept->is_new = false;
	forget_fds(kept);
	assert(conn_position(conn) == kept->journal->done);
	return kept->take_first ? hold(conn) : 0;
}

void kept_saw_fds(struct ob_conn *conn, bool is_full, bool is_whole)
{
	conn->kept->take_first = is_full || !is_whole;
}

int kept_after_look(struct ob_conn *conn)
{
	struct ob_hdr hdr;

	forget_fds(conn->kept);
	if (!conn->kept->drained || conn_header(conn, conn->head, &hdr) ||
	    conn_position(conn) != conn->kept->journal->done)
		return 0;
	return hold(conn);
}

/* Of one that is adopted: what is held, and the fds that came with it. */
void kept_open_inbox(struct ob_conn *conn)
{
	struct kept *kept = conn->kept;
	struct ob_conn_journal *j = kept->journal;
	unsigned have = held_fds(j), nr = have & ~SOME_LOST;
	struct slot *slot;
	size_t got;

	conn->received = j->consumed;
	if (j->consumed <= j->done)
		return;
	conn->tail = j->consumed - j->done;
	if (conn->tail > conn->cap)
		conn->cap = conn->tail;
	if (!have)
		return;
	slot = conn_slot(conn, j->done);
	got = kept->memory.kept_fds(kept->memory.arg, slot->fds);
	slot->nr = got < nr ? got : nr;
	ob_fds_close(slot->fds + slot->nr, got - slot->nr);
	slot->dropped = nr - slot->nr + !!(have & SOME_LOST);
}
