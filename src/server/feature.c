// SPDX-License-Identifier: BSD-3-Clause
/*
 * DEVICE_FEATURE: a row for each feature says what may be done with it and
 * who does it.  An unknown one, or one whose capability was not agreed on, is
 * -ENOTTY, as the kernel answers.
 *
 * GET and SET exclude each other; PROBE goes with either or both and asks
 * whether they would be possible at all, without doing anything.  The answer
 * carries its own full size in argsz; if that is more than the client has
 * room for, it gets the fixed part alone and asks again, and a GET that takes
 * something away (a dirty log) has then taken nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "server/device_impl.h"
#include "server/feature.h"
#include "server/session.h"

static const struct ob_feature_row *const rows[] = {
	&ob_feature_migration,
	&ob_feature_mig_state,
	&ob_feature_mig_size,
	&ob_feature_precopy_info,
	&ob_feature_error_text,
	&ob_feature_log_start,
	&ob_feature_log_stop,
	&ob_feature_log_report,
	NULL
};

static const struct ob_feature_row *find(const struct ob_session *s,
					 unsigned number)
{
	for (size_t i = 0; rows[i]; i++)
		if (rows[i]->number == number)
			return rows[i]->offered && !rows[i]->offered(s) ?
				NULL : rows[i];
	return NULL;
}

static int check(struct ob_session *s, const struct ob_feature_row *row,
		 const struct ob_feature *ask)
{
	bool get = ask->flags & OB_FEATURE_GET, set = ask->flags & OB_FEATURE_SET;
	bool probe = ask->flags & OB_FEATURE_PROBE;

	if (ask->argsz < OB_FEATURE_SIZE)
		return ob_fail(&s->err, EINVAL, "argsz %u", ask->argsz);
	if (ask->flags & ~(uint32_t)(OB_FEATURE_MASK | OB_FEATURE_GET |
				     OB_FEATURE_SET | OB_FEATURE_PROBE))
		return ob_fail(&s->err, EINVAL, "flags %#x", ask->flags);
	if (!row)
		return ob_fail(&s->err, ENOTTY, "no feature %u",
			       ask->flags & OB_FEATURE_MASK);
	if ((get && !row->get) || (set && !row->set))
		return ob_fail(&s->err, EINVAL, "%s has no %s", row->name,
			       get && !row->get ? "GET" : "SET");
	if (!probe && get == set)
		return ob_fail(&s->err, EINVAL, "%s: one of GET and SET",
			       row->name);
	return 0;
}

/* What did not fit goes, the size that would stays. */
static void cut(struct ob_reply *reply)
{
	free(reply->bulk);
	reply->bulk = NULL;
	reply->bulk_len = 0;
	reply->nr_more = 0;
	ob_writer_init(&reply->wr, reply->buf, sizeof(reply->buf));
	reply->wr.at += OB_HDR_SIZE + OB_FEATURE_SIZE;
}

static int finish(struct ob_session *s, const struct ob_feature *ask)
{
	struct ob_reply *reply = &s->reply;
	size_t len = ob_reply_len(reply) - OB_HDR_SIZE;
	struct ob_feature answer = { (uint32_t)len, ask->flags };
	struct ob_writer wr;

	if (len > ask->argsz)
		cut(reply);
	ob_writer_init(&wr, reply->buf + OB_HDR_SIZE, OB_FEATURE_SIZE);
	return ob_put_feature(&wr, &answer);
}

int ob_do_feature(struct ob_session *s, const struct ob_request *req,
		  struct ob_msg *msg)
{
	const struct ob_feature *ask = &req->feature;
	const struct ob_feature_row *row = find(s, ask->flags & OB_FEATURE_MASK);
	struct ob_reader rd;
	int r = check(s, row, ask);

	(void)msg;
	if (r || (r = ob_put_feature(&s->reply.wr, ask)))
		return r;
	if (ask->flags & OB_FEATURE_PROBE)
		return finish(s, ask);
	if ((ask->flags & OB_FEATURE_GET) &&
	    (req->hdr.flags & OB_HDR_NO_REPLY))
		return 0;	/* what it takes away would be lost */
	ob_reader_init(&rd, req->data, req->data_len);
	r = (ask->flags & OB_FEATURE_GET ? row->get : row->set)(s, ask, &rd);
	if (r == -EINPROGRESS)
		finish(s, ask);		/* it is sent as it is, later */
	else if (r)
		ob_err_prefix(&s->err, "%s", row->name);
	return r ? r : finish(s, ask);
}
