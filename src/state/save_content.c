// SPDX-License-Identifier: BSD-3-Clause
/*
 * Content out of its sources.  A run goes out from where it lies if the whole
 * section fits into what is left of the room: then nothing of it has to stay
 * as it is after this call.  A run that has to be cut, because the room ends
 * or the pieces do, is taken short and copied behind its header.  Zeros are a
 * header; neighbours among them become one.
 */
#include <string.h>

#include "state/content.h"
#include "state/save_priv.h"
#include "state/wire.h"

#define FRAME (OB_STREAM_SECTION + OB_STREAM_CONTENT)
/* Shorter than this a copy costs less than another piece. */
#define LEND_MIN 2048u
/* What a source may be asked for at the least. */
#define TAKE_MIN 4096u
/* Looking for what is not zero takes time: this much of it in one call. */
#define ZEROS_MAX (64u << 20)
#define TAKE_MAX ((OB_STREAM_PAYLOAD_MAX - OB_STREAM_CONTENT) & ~(TAKE_MIN - 1))

static uint8_t *put_frame(const struct ob_saver *s,
			  const struct ob_content_id *id, uint64_t offset,
			  uint64_t length)
{
	uint8_t *at = ob_saver_tail(s) + OB_STREAM_SECTION;

	ob_le_store(at, id->kind, 4);
	ob_le_store(at + 4, id->index, 4);
	ob_le_store(at + 8, offset, 8);
	ob_le_store(at + 16, length, 8);
	return ob_saver_tail(s);
}

static void flush_zeros(struct ob_saver *s)
{
	uint8_t *header = put_frame(s, &s->zeros_of, s->zeros_at, s->zeros_len);

	ob_saver_header(s, header, OB_STREAM_CONTENT_RUN,
			OB_STREAM_MUST | OB_STREAM_ZEROS, OB_STREAM_CONTENT,
			NULL, 0);
	s->zeros_len = 0;
}

static void keep_zeros(struct ob_saver *s, const struct ob_content_id *id,
		       const struct ob_content_run *run)
{
	if (s->zeros_len && ob_content_same(&s->zeros_of, id) &&
	    run->offset == s->zeros_at + s->zeros_len) {
		s->zeros_len += run->length;
		return;
	}
	if (s->zeros_len)
		flush_zeros(s);
	s->zeros_of = *id;
	s->zeros_at = run->offset;
	s->zeros_len = run->length;
}

static void put_run(struct ob_saver *s, struct ob_saver_out *out,
		    const struct ob_content_id *id,
		    const struct ob_content_run *run, bool lend)
{
	uint8_t *header;

	if (s->zeros_len)
		flush_zeros(s);
	header = put_frame(s, id, run->offset, run->length);
	ob_saver_header(s, header, OB_STREAM_CONTENT_RUN, OB_STREAM_MUST,
			OB_STREAM_CONTENT, run->data, run->length);
	if (lend && run->length >= LEND_MIN) {
		ob_saver_give_own(s, out);
		ob_saver_lend(out, run->data, run->length);
		return;
	}
	memcpy(ob_saver_tail(s), run->data, run->length);
	s->len += run->length;
}

/* The next run of the sources whose turn it is. */
static const struct ob_content_source *take(struct ob_saver *s, uint64_t max,
					    struct ob_content_run *run)
{
	const struct ob_content_source *source;
	unsigned tries;

	for (tries = 0; tries < s->plan.nr_contents; tries++) {
		source = &s->plan.contents[s->source];
		if ((s->stopped || source->live) &&
		    source->take(source->arg, max, run) && run->length)
			return source;
		s->source = (s->source + 1) % s->plan.nr_contents;
	}
	return NULL;
}

/* How long may a run be that goes out whole?  0: it has to be copied. */
static uint64_t lend_max(const struct ob_saver_out *out)
{
	/* Two frames: zeros may wait to be written before it. */
	uint64_t max = out->left > 2 * FRAME ? out->left - 2 * FRAME : 0;

	if (!ob_saver_can_lend(out))
		return 0;
	return max < TAKE_MAX ? max & ~(uint64_t)(TAKE_MIN - 1) : TAKE_MAX;
}

bool ob_saver_tired(const struct ob_saver_out *out)
{
	return out->zeros >= ZEROS_MAX;
}

int ob_saver_content(struct ob_saver *s, struct ob_saver_out *out)
{
	const struct ob_content_source *source = NULL;
	struct ob_content_run run = { 0 };
	uint64_t max = lend_max(out);
	int r = ob_saver_reserve(s, 2 * FRAME + TAKE_MIN);

	if (r)
		return r;
	if (!ob_saver_tired(out))
		source = take(s, max ? max : TAKE_MIN, &run);
	if (source && !run.data) {
		keep_zeros(s, &source->id, &run);
		out->zeros += source->knows_zeros ? 0 : run.length;
	} else if (source) {
		put_run(s, out, &source->id, &run, max != 0);
	} else if (s->zeros_len) {
		flush_zeros(s);
	} else {
		return 0;
	}
	return 1;
}

void ob_saver_content_left(const struct ob_saver *s, bool live_only,
			   uint64_t *initial, uint64_t *dirty)
{
	const struct ob_content_source *source;
	uint64_t first, again;
	unsigned i;

	*initial = *dirty = 0;
	for (i = 0; i < s->plan.nr_contents; i++) {
		source = &s->plan.contents[i];
		if (live_only && !source->live)
			continue;
		first = again = 0;
		source->left(source->arg, &first, &again);
		*initial += first;
		*dirty += again;
	}
}

uint64_t ob_saver_content_size(const struct ob_saver *s)
{
	uint64_t initial, dirty, bytes;

	ob_saver_content_left(s, false, &initial, &dirty);
	bytes = initial + dirty;
	return bytes + FRAME * (bytes / TAKE_MIN + (bytes != 0) +
				(s->zeros_len != 0));
}
