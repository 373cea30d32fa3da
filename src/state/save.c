// SPDX-License-Identifier: BSD-3-Clause
/*
 * The saver makes one section after another and gives bytes out as they are
 * asked for.  What it makes itself (headers, the parts, runs that are cut)
 * lies in one buffer; a section that does not fit into a call stays there for
 * the next one.  So a call gives exactly the room, unless there is nothing:
 * a client may take fewer bytes than it asked for as the end.
 *
 *	CONTENT		until the device stands still and no source has more
 *	PARTS		each at least once, also when all is at its default
 *	END		not before it is allowed
 *
 * The buffer grows to what one call needs: the bytes that are not lent, and a
 * section that is cut.
 */
#include "state/save_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/field.h"
#include "state/wire.h"

/* Own sections near the end of the room are kept this short. */
#define PART_SHORT 4096u
#define PART_NUMBER 4u
#define END_PAYLOAD 16u

int ob_saver_reserve(struct ob_saver *s, size_t len)
{
	size_t cap = s->cap ? s->cap : 8192;
	uint8_t *buf;

	if (len <= s->cap - s->len)
		return 0;
	while (cap - s->len < len)
		cap *= 2;
	buf = realloc(s->buf, cap);
	if (!buf)
		return -ENOMEM;
	s->buf = buf;
	s->cap = cap;
	return 0;
}

void ob_saver_header(struct ob_saver *s, uint8_t *header, uint16_t type,
		     uint16_t flags, size_t own, const void *more,
		     size_t more_len)
{
	uint32_t crc;

	ob_le_store(header, type, 2);
	ob_le_store(header + 2, flags, 2);
	ob_le_store(header + 4, (uint32_t)s->sections, 4);
	ob_le_store(header + 8, own + more_len, 4);
	ob_le_store(header + 12, 0, 4);
	crc = ob_crc32c(0, header, OB_STREAM_SECTION + own);
	ob_le_store(header + 12, ob_crc32c(crc, more, more_len), 4);
	s->len += OB_STREAM_SECTION + own;
	s->sections++;
	s->bytes += OB_STREAM_SECTION + own + more_len;
}

void ob_saver_seal(struct ob_saver *s, uint8_t *header, uint16_t type,
		   size_t payload)
{
	ob_saver_header(s, header, type, OB_STREAM_MUST, payload, NULL, 0);
}

/* -- pieces ------------------------------------------------------------- */

static bool last_is_own(const struct ob_saver_out *out)
{
	return out->used && !out->iov[out->used - 1].iov_base;
}

/* A piece for the header, one for the data, and one for what follows. */
bool ob_saver_can_lend(const struct ob_saver_out *out)
{
	return out->used + !last_is_own(out) + 2 <= out->count;
}

void ob_saver_lend(struct ob_saver_out *out, const void *data, size_t len)
{
	out->iov[out->used++] = (struct iovec){
		.iov_base = (void *)(uintptr_t)data, .iov_len = len,
	};
	out->left -= len;
}

void ob_saver_give_own(struct ob_saver *s, struct ob_saver_out *out)
{
	size_t n = s->len - s->given;

	if (n > out->left)
		n = out->left;
	if (!n)
		return;
	if (!last_is_own(out))
		out->iov[out->used++] = (struct iovec){ NULL, 0 };
	out->iov[out->used - 1].iov_len += n;
	out->left -= n;
	s->given += n;
	s->begin -= n < s->begin ? n : s->begin;
}

/* Now that the buffer has stopped moving. */
static void settle(const struct ob_saver *s, struct ob_saver_out *out)
{
	uint8_t *at = s->buf;
	unsigned i;

	for (i = 0; i < out->used; i++) {
		if (out->iov[i].iov_base)
			continue;
		out->iov[i].iov_base = at;
		at += out->iov[i].iov_len;
	}
}

/* What the last call gave out is read by now. */
static void forget_given(struct ob_saver *s)
{
	if (s->given)
		memmove(s->buf, s->buf + s->given, s->len - s->given);
	s->len -= s->given;
	s->given = 0;
}

/* -- sections ----------------------------------------------------------- */

static int encode_part(struct ob_saver *s, size_t max)
{
	const struct ob_part *part = &s->plan.parts[s->part];
	struct ob_writer wr;
	uint8_t *payload;
	int r = ob_saver_reserve(s, OB_STREAM_SECTION + max);

	if (r)
		return r;
	payload = ob_saver_tail(s) + OB_STREAM_SECTION;
	ob_le_store(payload, s->part + 1, 2);	/* roots: identity is 0 */
	ob_le_store(payload + 2, 0, 2);
	ob_writer_init(&wr, payload + PART_NUMBER, max - PART_NUMBER);
	r = ob_table_encode(part->table, part->base, &s->at, &wr);
	if (!r)
		ob_saver_seal(s, ob_saver_tail(s), OB_STREAM_PART,
			      PART_NUMBER + ob_writer_len(&wr));
	return r;
}

/*
 * A section that ends where the room ends, if there is enough of it; else a
 * short one, so that little is left for the next call.  An element that does
 * not fit into either gets a section of full length.
 */
static bool make_part(struct ob_saver *s, size_t room)
{
	size_t max = room > PART_SHORT + OB_STREAM_SECTION ?
		     room - OB_STREAM_SECTION : PART_SHORT;
	int r;

	if (s->part == s->plan.nr_parts) {
		s->phase = OB_SAVER_END;
		return true;
	}
	r = encode_part(s, max < OB_STREAM_PART_MAX ? max : OB_STREAM_PART_MAX);
	if (r == -ENOSPC)
		r = encode_part(s, OB_STREAM_PART_MAX);
	if (r)
		return false;
	if (s->at.done) {
		s->part++;
		s->at = (struct ob_encode_at){ 0 };
	}
	return true;
}

static bool make_end(struct ob_saver *s)
{
	uint8_t *payload;

	if (!s->may_end || ob_saver_reserve(s, OB_STREAM_SECTION + END_PAYLOAD))
		return false;
	payload = ob_saver_tail(s) + OB_STREAM_SECTION;
	ob_le_store(payload, s->sections, 8);
	ob_le_store(payload + 8, s->bytes, 8);
	ob_saver_seal(s, ob_saver_tail(s), OB_STREAM_END, END_PAYLOAD);
	s->phase = OB_SAVER_DONE;
	return true;
}

/* Have the sources really no more, now that the device stands still? */
static bool end_content(struct ob_saver *s)
{
	uint64_t initial, dirty;

	ob_saver_content_left(s, false, &initial, &dirty);
	if (!s->stopped || initial || dirty)
		return false;
	s->phase = OB_SAVER_PARTS;
	return true;
}

/* One step on; false when nothing can be made now. */
static bool make(struct ob_saver *s, struct ob_saver_out *out)
{
	int r;

	switch (s->phase) {
	case OB_SAVER_CONTENT:
		r = ob_saver_content(s, out);
		return r ? r > 0 : end_content(s);
	case OB_SAVER_PARTS:
		return make_part(s, out->left);
	case OB_SAVER_END:
		return make_end(s);
	default:
		return false;
	}
}

size_t ob_saver_read(struct ob_saver *s, size_t room, struct iovec *iov,
		     unsigned *count)
{
	struct ob_saver_out out = {
		.iov = iov, .count = *count, .left = *count ? room : 0,
	};
	size_t all = out.left;

	forget_given(s);
	ob_saver_give_own(s, &out);
	while (out.left && make(s, &out))
		ob_saver_give_own(s, &out);
	settle(s, &out);
	*count = out.used;
	return all - out.left;
}

/* -- life --------------------------------------------------------------- */

static int check_plan(const struct ob_save_plan *plan, struct ob_err *err)
{
	if (plan->nr_parts > OB_PARTS_MAX ||
	    plan->nr_contents > OB_STREAM_PART_MAX / 16)
		return ob_fail(err, E2BIG, "%u parts and %u pieces of content are"
			       " too many", plan->nr_parts, plan->nr_contents);
	if (strlen(plan->model) >= OB_SIZEOF_FIELD(struct ob_stream_identity, model))
		return ob_fail(err, EINVAL, "model %s: the name is too long",
			       plan->model);
	return 0;
}

int ob_saver_create(const struct ob_save_plan *plan, struct ob_saver **out,
		    struct ob_err *err)
{
	struct ob_saver *s;
	int r = check_plan(plan, err);

	if (r)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ob_fail(err, ENOMEM, "out of memory for a saver");
	s->plan = *plan;
	r = ob_saver_begin(s, err);
	s->begin = s->len;
	if (r)
		ob_saver_destroy(s);
	else
		*out = s;
	return r;
}

void ob_saver_destroy(struct ob_saver *s)
{
	if (!s)
		return;
	free(s->buf);
	free(s);
}

void ob_saver_stopped(struct ob_saver *s)
{
	s->stopped = true;
}

bool ob_saver_wants_end(const struct ob_saver *s)
{
	return s->phase == OB_SAVER_END && s->given == s->len && !s->may_end;
}

void ob_saver_allow_end(struct ob_saver *s)
{
	s->may_end = true;
}

bool ob_saver_done(const struct ob_saver *s)
{
	return s->phase == OB_SAVER_DONE && s->given == s->len;
}
