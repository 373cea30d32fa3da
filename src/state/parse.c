// SPDX-License-Identifier: BSD-3-Clause
/*
 * The framing of a stream: head, then sections with number, length and
 * checksum.  Bytes come in pieces of any size, so what is read is a step with
 * a number of bytes that it still wants.  Small sections are collected and
 * looked at when their checksum was right.  The bytes of CONTENT are handed
 * on at once, before its checksum is known: who takes them keeps them aside
 * until the end.
 */
#include "state/parse_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/wire.h"

static void expect(struct ob_parser *p, enum ob_parser_step step, size_t want)
{
	p->step = step;
	p->want = want;
	p->have = 0;
}

int ob_parser_create(const struct ob_parser_ops *ops, void *arg,
		     struct ob_parser **out, struct ob_err *err)
{
	struct ob_parser *p = calloc(1, sizeof(*p));

	if (!p)
		return ob_fail(err, ENOMEM, "out of memory for a stream");
	p->ops = ops;
	p->arg = arg;
	expect(p, OB_PARSER_HEAD, OB_STREAM_HEAD);
	*out = p;
	return 0;
}

void ob_parser_destroy(struct ob_parser *p)
{
	if (!p)
		return;
	ob_schema_destroy(p->schema);
	free(p->ids);
	free(p->buf);
	free(p);
}

static int parse_head(struct ob_parser *p, struct ob_err *err)
{
	uint64_t length = ob_le_load(p->small + 12, 4);

	if (ob_le_load(p->small, 8) != OB_STREAM_MAGIC)
		return ob_fail(err, EINVAL, "this is no stream of a device's state");
	if (ob_le_load(p->small + 8, 2) != OB_STREAM_MAJOR)
		return ob_fail(err, EINVAL, "a stream of version %u.%u, only version"
			       " %u is known here",
			       (unsigned)ob_le_load(p->small + 8, 2),
			       (unsigned)ob_le_load(p->small + 10, 2),
			       OB_STREAM_MAJOR);
	if (length < OB_STREAM_HEAD || length > OB_STREAM_HEAD_MAX)
		return ob_fail(err, EINVAL, "a head of %u bytes", (unsigned)length);
	p->left = length - OB_STREAM_HEAD;
	expect(p, OB_PARSER_HEAD_REST, 0);
	return 0;
}

/* Collected sections are short; the buffer grows with what really came. */
static int reserve(struct ob_parser *p, struct ob_err *err)
{
	size_t cap = p->cap ? p->cap : 4096;
	uint8_t *buf;

	if (p->have < p->cap)
		return 0;
	while (cap <= p->have)
		cap *= 2;
	buf = realloc(p->buf, cap);
	if (!buf)
		return ob_fail(err, ENOMEM, "out of memory for a section");
	p->buf = buf;
	p->cap = cap;
	return 0;
}

static int parse_section(struct ob_parser *p, struct ob_err *err)
{
	struct ob_section_head *h = &p->head;
	int r;

	h->type = (uint16_t)ob_le_load(p->small, 2);
	h->flags = (uint16_t)ob_le_load(p->small + 2, 2);
	h->sequence = (uint32_t)ob_le_load(p->small + 4, 4);
	h->length = (uint32_t)ob_le_load(p->small + 8, 4);
	h->crc = (uint32_t)ob_le_load(p->small + 12, 4);
	memset(p->small + 12, 0, 4);
	p->crc = ob_crc32c(0, p->small, OB_STREAM_SECTION);
	if ((r = ob_section_check(p, err)))
		return r;
	p->left = h->length;
	if (!ob_section_name(h->type))
		expect(p, OB_PARSER_SKIP, 0);
	else if (h->type == OB_STREAM_CONTENT_RUN)
		expect(p, OB_PARSER_RUN, OB_STREAM_CONTENT);
	else
		expect(p, OB_PARSER_COLLECT, h->length);
	return 0;
}

static int end_section(struct ob_parser *p, struct ob_err *err)
{
	int r = 0;

	if (p->crc != p->head.crc)
		return ob_fail(err, EINVAL, "wrong checksum");
	if (p->step == OB_PARSER_COLLECT)
		r = ob_section_take(p, err);
	if (r)
		return r;
	p->sections++;
	expect(p, p->ended ? OB_PARSER_DONE : OB_PARSER_SECTION,
	       OB_STREAM_SECTION);
	return 0;
}

/* Head and section headers, and the first bytes of CONTENT. */
static int take_small(struct ob_parser *p, const uint8_t *at, size_t len,
		      size_t *used, struct ob_err *err)
{
	*used = len < p->want - p->have ? len : p->want - p->have;
	memcpy(p->small + p->have, at, *used);
	p->have += *used;
	if (p->have < p->want)
		return 0;
	if (p->step == OB_PARSER_HEAD)
		return parse_head(p, err);
	if (p->step == OB_PARSER_SECTION)
		return parse_section(p, err);
	p->crc = ob_crc32c(p->crc, p->small, p->want);
	p->left -= p->want;
	p->want = 0;
	return ob_section_run(p, p->small, err);
}

static int take_collect(struct ob_parser *p, const uint8_t *at, size_t len,
			size_t *used, struct ob_err *err)
{
	int r = reserve(p, err);
	size_t n = p->cap - p->have;

	if (r)
		return r;
	n = n < p->left ? n : p->left;
	*used = n = len < n ? len : n;
	memcpy(p->buf + p->have, at, n);
	p->crc = ob_crc32c(p->crc, at, n);
	p->have += n;
	p->left -= n;
	return 0;
}

/* Bytes of CONTENT, of a section that is skipped, or of a longer head. */
static int take_pass(struct ob_parser *p, const uint8_t *at, size_t len,
		     size_t *used, struct ob_err *err)
{
	size_t n = len < p->left ? len : p->left;
	int r = 0;

	*used = n;
	p->left -= n;
	if (p->step != OB_PARSER_HEAD_REST)
		p->crc = ob_crc32c(p->crc, at, n);
	if (p->step == OB_PARSER_RUN && n && p->ops->content)
		r = p->ops->content(p->arg, &p->run, p->run_at, at, n, err);
	if (p->step == OB_PARSER_RUN)
		p->run_at += n;
	return r;
}

static bool is_small(const struct ob_parser *p)
{
	return p->step == OB_PARSER_HEAD || p->step == OB_PARSER_SECTION ||
	       (p->step == OB_PARSER_RUN && p->want);
}

/* What a step does when it has all its bytes. */
static int end_step(struct ob_parser *p, struct ob_err *err)
{
	if (is_small(p) || p->step == OB_PARSER_DONE || p->left)
		return 0;
	if (p->step != OB_PARSER_HEAD_REST)
		return end_section(p, err);
	expect(p, OB_PARSER_SECTION, OB_STREAM_SECTION);
	return 0;
}

static int take(struct ob_parser *p, const uint8_t *at, size_t len,
		size_t *used, struct ob_err *err)
{
	int r;

	if (p->step == OB_PARSER_DONE)
		return ob_fail(err, EINVAL, "%zu bytes behind the end", len);
	if (p->step == OB_PARSER_SECTION && !p->have)
		p->section_at = p->at;
	if (is_small(p))
		r = take_small(p, at, len, used, err);
	else if (p->step == OB_PARSER_COLLECT)
		r = take_collect(p, at, len, used, err);
	else
		r = take_pass(p, at, len, used, err);
	p->at += *used;
	return r ? r : end_step(p, err);
}

static void say_where(const struct ob_parser *p, struct ob_err *err)
{
	const char *name = ob_section_name(p->head.type);
	unsigned long long number = p->sections, at = p->section_at;

	if (p->step <= OB_PARSER_HEAD_REST)
		ob_err_prefix(err, "head");
	else if (p->step == OB_PARSER_DONE)
		ob_err_prefix(err, "at byte %llu", (unsigned long long)p->at);
	else if (p->step == OB_PARSER_SECTION && p->have < p->want)
		ob_err_prefix(err, "section %llu at byte %llu", number,
			      p->have ? at : (unsigned long long)p->at);
	else
		ob_err_prefix(err, "section %llu (%s) at byte %llu", number,
			      name ? name : "unknown", at);
}

/* The first failure stays. */
static int fail_for_good(struct ob_parser *p, int r, const struct ob_err *why)
{
	p->failed = r;
	p->error = *why;
	say_where(p, &p->error);
	return r;
}

static int tell(const struct ob_parser *p, struct ob_err *err)
{
	return ob_fail(err, -p->failed, "%s", p->error.msg);
}

int ob_parser_write(struct ob_parser *p, const void *bytes, size_t len,
		    struct ob_err *err)
{
	const uint8_t *at = bytes;
	struct ob_err why = { "" };
	size_t used;
	int r;

	while (len && !p->failed) {
		used = 0;
		r = take(p, at, len, &used, &why);
		if (r)
			fail_for_good(p, r, &why);
		at += used;
		len -= used;
	}
	return p->failed ? tell(p, err) : 0;
}

int ob_parser_finish(struct ob_parser *p, struct ob_err *err)
{
	struct ob_err why;

	if (!p->failed && p->step != OB_PARSER_DONE)
		fail_for_good(p, ob_fail(&why, EINVAL, "the stream ends before its END,"
					 " after %llu bytes",
					 (unsigned long long)p->at), &why);
	return p->failed ? tell(p, err) : 0;
}
