// SPDX-License-Identifier: BSD-3-Clause
/*
 * How much is left of a stream.  The parts are encoded for it, into a buffer
 * that is used again and again; what the cutting into sections adds depends on
 * how the stream will be read, and is assumed to be a lot.
 */
#include <stdlib.h>

#include "state/field.h"
#include "state/save_priv.h"

/* Of a cut: the header of a section, and of a record that it divides. */
#define CUT (OB_STREAM_SECTION + 4u + OB_STREAM_RECORD)
#define CUT_EVERY 2048u
#define END_SIZE (OB_STREAM_SECTION + 16u)

static uint64_t encoded(const struct ob_part *part, struct ob_encode_at at,
			void *scratch)
{
	struct ob_writer wr;
	uint64_t sum = 0;

	while (!at.done) {
		ob_writer_init(&wr, scratch, OB_STREAM_PART_MAX);
		if (ob_table_encode(part->table, part->base, &at, &wr))
			break;
		sum += ob_writer_len(&wr);
	}
	return sum;
}

static uint64_t parts_size(const struct ob_saver *s)
{
	void *scratch = malloc(OB_STREAM_PART_MAX);
	struct ob_encode_at at = s->at;
	uint64_t sum = 0, bytes;
	unsigned i;

	for (i = s->part; i < s->plan.nr_parts; i++) {
		bytes = scratch ? encoded(&s->plan.parts[i], at, scratch) :
			ob_table_worst(s->plan.parts[i].table);
		sum += bytes + CUT * (bytes / CUT_EVERY + 1);
		at = (struct ob_encode_at){ 0 };
	}
	free(scratch);
	return sum;
}

uint64_t ob_saver_left(const struct ob_saver *s)
{
	uint64_t sum = s->len - s->given;

	if (s->phase != OB_SAVER_DONE)
		sum += END_SIZE + parts_size(s);
	if (s->phase == OB_SAVER_CONTENT)
		sum += ob_saver_content_size(s);
	return sum;
}

/*
 * The beginning is the first of the initial bytes.  Later, framing that waits
 * goes with what is still coming.
 */
void ob_saver_precopy_info(const struct ob_saver *s, uint64_t *initial,
			   uint64_t *dirty)
{
	uint64_t rest = s->len - s->given - s->begin;

	ob_saver_content_left(s, true, initial, dirty);
	*initial += s->begin;
	*(*initial ? initial : dirty) += rest;
}

uint64_t ob_save_size(const struct ob_save_plan *plan)
{
	struct ob_saver *s;
	uint64_t left;

	if (ob_saver_create(plan, &s, NULL))
		return 0;
	left = ob_saver_left(s);
	ob_saver_destroy(s);
	return left;
}
