// SPDX-License-Identifier: BSD-3-Clause
/*
 * A structure to records.  Elements that have their default are left out; the
 * others go in runs.  A run goes on over a gap of defaults that is no longer
 * than the header of another record.  A record that does not fit is cut where
 * the room ends, and *at says how to go on.  Only an element that is a
 * structure goes out whole or not at all; ob_table_check has seen to it that
 * it fits into an empty PART.
 */
#include <errno.h>

#include "state/field.h"
#include "state/table_io.h"
#include "state/wire.h"

static int put_header(struct ob_writer *wr, const struct ob_field *f,
		      uint32_t first, uint32_t bytes)
{
	int r;

	if ((r = ob_put_le(wr, f->tag, 2)) || (r = ob_put_le(wr, 0, 2)) ||
	    (r = ob_put_le(wr, first, 4)))
		return r;
	return ob_put_le(wr, bytes, 4);
}

static size_t room(const struct ob_writer *wr)
{
	return (size_t)(wr->end - wr->at);
}

/* Behind the last element of the run that begins at i. */
static uint32_t run_end(const struct ob_field *f, const void *base, uint32_t i,
			uint32_t limit)
{
	uint32_t end = i + 1, at;

	for (at = end; at < limit; at++) {
		if (!ob_element_is_default(f, ob_element(f, base, at)))
			end = at + 1;
		else if ((uint64_t)(at + 1 - end) * f->size > OB_STREAM_RECORD)
			break;
	}
	return end;
}

static int put_run(struct ob_writer *wr, const struct ob_field *f,
		   const void *base, uint32_t first, uint32_t end)
{
	int r = put_header(wr, f, first, (end - first) * f->size);
	uint32_t i;

	if (r)
		return r;
	if (f->size == 1)
		return ob_put_bytes(wr, ob_element(f, base, first), end - first);
	for (i = first; i < end && !r; i++)
		r = ob_put_le(wr, ob_int_load(ob_element(f, base, i), f->size),
			      f->size);
	return r;
}

/* The run from element i, as far as there is room. */
static int encode_run(struct ob_writer *wr, const struct ob_field *f,
		      const void *base, uint32_t *i)
{
	size_t fits;
	uint32_t end;
	int r;

	if (room(wr) < OB_STREAM_RECORD + f->size)
		return -ENOSPC;
	fits = (room(wr) - OB_STREAM_RECORD) / f->size;
	end = run_end(f, base, *i,
		      fits < f->count - *i ? *i + (uint32_t)fits : f->count);
	r = put_run(wr, f, base, *i, end);
	if (!r)
		*i = end;
	return r;
}

static int encode_struct(struct ob_writer *wr, const struct ob_field *f,
			 const void *base, uint32_t *i)
{
	struct ob_encode_at at = { 0 };
	uint8_t *start = wr->at;
	int r;

	r = put_header(wr, f, *i, 0);
	if (!r)
		r = ob_table_encode(f->sub, ob_element(f, base, *i), &at, wr);
	if (!r && !at.done)
		r = -ENOSPC;
	if (r) {
		wr->at = start;
		return r;
	}
	ob_le_store(start + 8, (uint64_t)(wr->at - start) - OB_STREAM_RECORD, 4);
	(*i)++;
	return 0;
}

/* From element *i on; it says where it stopped. */
static int encode_field(struct ob_writer *wr, const struct ob_field *f,
			const void *base, uint32_t *i)
{
	bool zero = ob_field_default_is_zero(f);
	int r = 0;

	while (!r && (*i = ob_field_next(f, base, *i, zero)) < f->count)
		r = f->type == OB_FIELD_STRUCT ? encode_struct(wr, f, base, i) :
			encode_run(wr, f, base, i);
	return r;
}

int ob_table_encode(const struct ob_table *table, const void *base,
		    struct ob_encode_at *at, struct ob_writer *wr)
{
	const uint8_t *start = wr->at;
	const struct ob_field *f = table->fields + at->field;
	int r;

	for (; f->type != OB_FIELD_END; f++, at->field++, at->element = 0) {
		if (f->type == OB_FIELD_RESERVED)
			continue;
		r = encode_field(wr, f, base, &at->element);
		if (r)
			return wr->at > start ? 0 : r;
	}
	at->done = true;
	return 0;
}
