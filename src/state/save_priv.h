/* SPDX-License-Identifier: BSD-3-Clause */
/* What the saver (save.c) and the makers of its sections share. */
#ifndef OB_STATE_SAVE_PRIV_H
#define OB_STATE_SAVE_PRIV_H

#include "state/save.h"
#include "state/schema.h"
#include "state/table_io.h"

enum ob_saver_phase {
	OB_SAVER_CONTENT,		/* as long as there is any */
	OB_SAVER_PARTS,
	OB_SAVER_END,			/* all but END has been made */
	OB_SAVER_DONE,
};

/*
 * The call of ob_saver_read under way.  A piece of the saver's own bytes has
 * no base until the call ends, since the buffer may move while it grows; such
 * pieces follow each other in the buffer.
 */
struct ob_saver_out {
	struct iovec *iov;
	unsigned used, count;
	size_t left;			/* of the room */
	uint64_t zeros;			/* taken in this call */
};

struct ob_saver {
	struct ob_save_plan plan;
	enum ob_saver_phase phase;
	bool stopped, may_end;
	uint64_t sections, bytes;	/* made so far; bytes with the head */

	/* Own bytes: [given, len) has not been given out. */
	uint8_t *buf;
	size_t given, len, cap;
	size_t begin;			/* of the beginning, not given out */

	unsigned source;		/* whose turn it is */
	/* Zeros that were taken and not yet written: the next may join. */
	struct ob_content_id zeros_of;
	uint64_t zeros_at, zeros_len;

	unsigned part;
	struct ob_encode_at at;
};

/* Own bytes: room for len more, or -ENOMEM.  Then they are appended. */
int ob_saver_reserve(struct ob_saver *s, size_t len);
static inline uint8_t *ob_saver_tail(const struct ob_saver *s)
{
	return s->buf + s->len;
}
/* A section whose payload is own bytes, already behind its header. */
void ob_saver_seal(struct ob_saver *s, uint8_t *header, uint16_t type,
		   size_t payload);
/* The header of one whose payload continues elsewhere. */
void ob_saver_header(struct ob_saver *s, uint8_t *header, uint16_t type,
		     uint16_t flags, size_t own, const void *more,
		     size_t more_len);

/* save_begin.c: head, SCHEMA, IDENTITY, OBJECTS. */
int ob_saver_begin(struct ob_saver *s, struct ob_err *err);

/* save_content.c: one step on: 1; 0: nothing now; -ENOMEM. */
int ob_saver_content(struct ob_saver *s, struct ob_saver_out *out);
/* Bytes of content that are left, as initial and dirty. */
void ob_saver_content_left(const struct ob_saver *s, bool live_only,
			   uint64_t *initial, uint64_t *dirty);
/* The most that they need with their headers. */
uint64_t ob_saver_content_size(const struct ob_saver *s);

/* save.c: pieces.  Own bytes as far as there is room; then lent ones. */
void ob_saver_give_own(struct ob_saver *s, struct ob_saver_out *out);
bool ob_saver_can_lend(const struct ob_saver_out *out);
void ob_saver_lend(struct ob_saver_out *out, const void *data, size_t len);

#endif
