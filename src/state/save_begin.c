// SPDX-License-Identifier: BSD-3-Clause
/* The beginning of a stream: what a reader must know before all else. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ob_config.h"
#include "state/save_priv.h"
#include "state/schema_priv.h"
#include "state/wire.h"

static int put_head(struct ob_saver *s)
{
	struct ob_writer wr;
	int r = ob_saver_reserve(s, OB_STREAM_HEAD);

	if (r)
		return r;
	ob_writer_init(&wr, ob_saver_tail(s), OB_STREAM_HEAD);
	if ((r = ob_put_le(&wr, OB_STREAM_MAGIC, 8)) ||
	    (r = ob_put_le(&wr, OB_STREAM_MAJOR, 2)) ||
	    (r = ob_put_le(&wr, OB_STREAM_MINOR, 2)) ||
	    (r = ob_put_le(&wr, OB_STREAM_HEAD, 4)))
		return r;
	s->len += OB_STREAM_HEAD;
	s->bytes += OB_STREAM_HEAD;
	return 0;
}

/* A section of at most max bytes, written by put. */
static int put_section(struct ob_saver *s, uint16_t type, size_t max,
		       int (*put)(const struct ob_saver *s,
				  struct ob_writer *wr))
{
	struct ob_writer wr;
	int r = ob_saver_reserve(s, OB_STREAM_SECTION + max);

	if (r)
		return r;
	ob_writer_init(&wr, ob_saver_tail(s) + OB_STREAM_SECTION, max);
	r = put(s, &wr);
	if (!r)
		ob_saver_seal(s, ob_saver_tail(s), type, ob_writer_len(&wr));
	return r;
}

static int put_schema(const struct ob_saver *s, struct ob_writer *wr)
{
	struct ob_schema_root roots[OB_PARTS_MAX + 1] = {
		{ "identity", &ob_stream_identity_table },
	};
	unsigned i;

	for (i = 0; i < s->plan.nr_parts; i++)
		roots[i + 1] = (struct ob_schema_root){
			s->plan.parts[i].name, s->plan.parts[i].table,
		};
	return ob_schema_put(wr, roots, s->plan.nr_parts + 1);
}

static int put_identity(const struct ob_saver *s, struct ob_writer *wr)
{
	struct ob_stream_identity who = { { 0 }, { 0 }, { 0 } };
	struct ob_encode_at at = { 0 };

	snprintf((char *)who.model, sizeof(who.model), "%s", s->plan.model);
	snprintf((char *)who.release, sizeof(who.release), "%s", OB_VERSION);
	snprintf((char *)who.id, sizeof(who.id), "%s", s->plan.id);
	return ob_table_encode(&ob_stream_identity_table, &who, &at, wr);
}

static int put_objects(const struct ob_saver *s, struct ob_writer *wr)
{
	const struct ob_content_id *id;
	unsigned i;
	int r;

	for (i = 0; i < s->plan.nr_contents; i++) {
		id = &s->plan.contents[i].id;
		if ((r = ob_put_le(wr, id->kind, 4)) ||
		    (r = ob_put_le(wr, id->index, 4)) ||
		    (r = ob_put_le(wr, id->size, 8)))
			return r;
	}
	return 0;
}

/*
 * The schema is tried in a small buffer first: most are a few KiB, and the
 * buffer stays for the saver's life.
 */
static int put_schema_section(struct ob_saver *s)
{
	size_t max = 16u << 10;
	int r;

	do {
		r = put_section(s, OB_STREAM_SCHEMA, max, put_schema);
		max *= 2;
	} while (r == -ENOSPC && max <= OB_SCHEMA_BYTES_MAX);
	return r;
}

int ob_saver_begin(struct ob_saver *s, struct ob_err *err)
{
	int r;

	if ((r = put_head(s)) || (r = put_schema_section(s)) ||
	    (r = put_section(s, OB_STREAM_IDENTITY, 512, put_identity)) ||
	    (r = put_section(s, OB_STREAM_OBJECTS, 16u * s->plan.nr_contents,
			     put_objects)))
		return ob_fail(err, -r, "the beginning of the stream: %s",
			       strerror(-r));
	return 0;
}
