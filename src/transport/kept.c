// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection that outlives its process: its begin, its adoption by a
 * successor, and its journal.  kept_in.c reads, kept_out.c writes.
 *
 * A journal that is adopted was written by a process that died anywhere, and
 * may be garbage.  So first what it says is compared with itself, then the
 * results of its last calls are added, then the whole is compared again; only
 * after that a position is used to reach memory.
 */
#include "transport/conn_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/ring.h"

#define J struct ob_conn_journal
static const struct ob_field fields[] = {
	OB_U64(1, J, consumed, "0.3"),
	OB_U64(2, J, done, "0.3"),
	OB_U64(3, J, take_from, "0.3"),
	OB_U64(4, J, take_tag, "0.3"),
	OB_U64(5, J, held_fds, "0.3"),
	OB_U64(6, J, queued, "0.3"),
	OB_U64(7, J, sent, "0.3"),
	OB_U64(8, J, out_base, "0.3"),
	OB_U64(9, J, send_from, "0.3"),
	OB_U64(10, J, send_tag, "0.3"),
	OB_U64(11, J, lent_from, "0.3"),
	OB_U64(12, J, lent_to, "0.3"),
	OB_U64(13, J, fds_at, "0.3"),
	OB_U8(14, J, lent_fill, "0.3"),
	OB_U8(15, J, nr_fds, "0.3", .max = OB_KEPT_FDS),
	OB_BYTES(16, J, fds, "0.3"),
	OB_RESERVED(J, reserved),
	OB_END
};
#undef J

const struct ob_table ob_conn_journal_table = {
	.name = "conn_journal",
	.size = sizeof(struct ob_conn_journal),
	.fields = fields,
};

static int create(int fd, size_t max_message,
		  const struct ob_conn_memory *memory, struct ob_conn **out)
{
	struct ob_conn *conn;

	if (memory->inbox_size < OB_INBOX_MIN ||
	    memory->inbox_size < max_message)
		return -EINVAL;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return -ENOMEM;
	conn->kept = calloc(1, sizeof(*conn->kept));
	if (!conn->kept) {
		free(conn);
		return -ENOMEM;
	}
	conn->kept->memory = *memory;
	conn->kept->journal = memory->journal;
	conn->buf = memory->inbox;
	conn->cap = OB_INBOX_MIN;
	conn->fd = fd;
	conn->max_message = max_message;
	conn->last = &conn->first;
	*out = conn;
	return 0;
}

int ob_conn_create_kept(int fd, size_t max_message,
			const struct ob_conn_memory *memory,
			struct ob_conn **out)
{
	static const int begin;

	if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &begin, sizeof(begin)))
		return -errno;
	memset(memory->journal, 0, sizeof(*memory->journal));
	return create(fd, max_message, memory, out);
}

/* Field `name`, which is `value`, does not fit what the others say. */
static int misfit(struct ob_err *err, const char *name, uint64_t value)
{
	return ob_fail(err, EINVAL, "connection: %s %" PRIu64 " does not fit",
		       name, value);
}

static int check_input(const struct ob_conn_journal *j, size_t inbox_size,
		       struct ob_err *err)
{
	if (j->consumed > j->done && j->consumed - j->done > inbox_size)
		return misfit(err, "consumed", j->consumed);
	if ((uint8_t)(j->held_fds >> 32 & ~0x80) > OB_MAX_MSG_FDS ||
	    (uint8_t)(j->held_fds >> 40 & ~0x80) > OB_MAX_MSG_FDS)
		return misfit(err, "held_fds", j->held_fds);
	return 0;
}

static int check_output(const struct ob_conn_journal *j, size_t outbox_size,
			struct ob_err *err)
{
	if (j->sent > j->queued)
		return misfit(err, "sent", j->sent);
	if (j->out_base > j->sent || j->queued - j->out_base > outbox_size)
		return misfit(err, "out_base", j->out_base);
	if (j->lent_from > j->lent_to)
		return misfit(err, "lent_from", j->lent_from);
	if (j->lent_from < j->lent_to &&
	    (j->lent_from < j->out_base || j->lent_to > j->queued))
		return misfit(err, "lent_to", j->lent_to);
	if (j->nr_fds > OB_KEPT_FDS)
		return misfit(err, "nr_fds", j->nr_fds);
	return 0;
}

/*
 * The result of the call with that tag is added to the position at which it
 * began, unless its caller has still done so.  Where nobody knows it, since
 * there was no ring, the position stays.
 */
static int resolve(const struct ob_old_rings *old, uint64_t *position,
		   uint64_t from, uint64_t *tag, const char *name,
		   struct ob_err *err)
{
	int n = old ? ob_old_rings_sure(old, *tag) : -ENXIO;
	bool is_known = n != -ENXIO;
	uint64_t then = from + (n > 0 ? n : 0);

	if (!*tag)
		return 0;
	if (is_known && *position != from && *position != then)
		return misfit(err, name, from);
	if (is_known)
		*position = then;
	*tag = 0;
	return 0;
}

static int resolve_both(struct ob_conn_journal *j,
			const struct ob_old_rings *old, struct ob_err *err)
{
	int r = resolve(old, &j->consumed, j->take_from, &j->take_tag,
			"take_from", err);

	return r ? r : resolve(old, &j->sent, j->send_from, &j->send_tag,
			       "send_from", err);
}

static int check(const struct ob_conn_memory *memory, struct ob_err *err)
{
	int r = check_input(memory->journal, memory->inbox_size, err);

	return r ? r : check_output(memory->journal, memory->outbox_size, err);
}

int ob_conn_adopt(int fd, size_t max_message,
		  const struct ob_conn_memory *memory,
		  const struct ob_old_rings *old, struct ob_conn **out,
		  struct ob_err *err)
{
	struct ob_conn_journal *j = memory->journal;
	int r = check(memory, err);

	if (!r)
		r = resolve_both(j, old, err);
	if (!r)
		r = check(memory, err);
	if (r)
		return r;
	r = create(fd, max_message, memory, out);
	if (r)
		return ob_fail(err, -r, "connection: %s", strerror(-r));
	(*out)->kept->is_new = true;
	(*out)->kept->out_used = j->queued - j->out_base;
	kept_open_inbox(*out);
	return 0;
}

void ob_conn_done(struct ob_conn *conn)
{
	kept_note(&conn->kept->journal->done, conn_position(conn));
}
