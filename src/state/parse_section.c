// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sections of a stream: which may come when, and what is in them.  The
 * order is a small table; SCHEMA, IDENTITY and OBJECTS say what everything
 * after them means.
 */
#include "state/parse_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "state/content.h"
#include "state/schema_priv.h"
#include "state/table_io.h"
#include "state/wire.h"

#define OBJECT_BYTES 16u
#define END_BYTES 16u

static const struct {
	const char *name;
	uint32_t min, max;
} kinds[] = {
	[OB_STREAM_SCHEMA] = { "SCHEMA", 4, OB_SCHEMA_BYTES_MAX },
	[OB_STREAM_IDENTITY] = { "IDENTITY", 1, OB_STREAM_PART_MAX },
	[OB_STREAM_OBJECTS] = { "OBJECTS", 0, OB_STREAM_PART_MAX },
	[OB_STREAM_CONTENT_RUN] = { "CONTENT", OB_STREAM_CONTENT,
				    OB_STREAM_PAYLOAD_MAX },
	[OB_STREAM_PART] = { "PART", 4, OB_STREAM_PART_MAX },
	[OB_STREAM_END] = { "END", END_BYTES, END_BYTES },
};

const char *ob_section_name(uint16_t type)
{
	return type < sizeof(kinds) / sizeof(kinds[0]) ? kinds[type].name : NULL;
}

static int check_order(const struct ob_parser *p, struct ob_err *err)
{
	const uint16_t type = p->head.type;

	if (type == OB_STREAM_SCHEMA ? p->schema != NULL :
	    type == OB_STREAM_IDENTITY ? p->identified :
	    type == OB_STREAM_OBJECTS ? p->listed : false)
		return ob_fail(err, EINVAL, "a second one");
	if (type != OB_STREAM_SCHEMA && !p->schema)
		return ob_fail(err, EINVAL, "comes before SCHEMA");
	if (type > OB_STREAM_IDENTITY && !p->identified)
		return ob_fail(err, EINVAL, "comes before IDENTITY");
	if (type > OB_STREAM_OBJECTS && !p->listed)
		return ob_fail(err, EINVAL, "comes before OBJECTS");
	return 0;
}

static int check_unknown(const struct ob_parser *p, struct ob_err *err)
{
	if (p->head.flags & OB_STREAM_MUST)
		return ob_fail(err, ENOTSUP, "type %u has to be understood, and is"
			       " not known here", p->head.type);
	if (p->head.length > OB_STREAM_PAYLOAD_MAX)
		return ob_fail(err, EINVAL, "%u bytes are too many", p->head.length);
	return 0;
}

int ob_section_check(const struct ob_parser *p, struct ob_err *err)
{
	const struct ob_section_head *h = &p->head;
	uint16_t flags = OB_STREAM_MUST;

	if (h->sequence != (uint32_t)p->sections)
		return ob_fail(err, EINVAL, "has number %u: sections are missing, repeated"
			       " or out of order", h->sequence);
	if (!ob_section_name(h->type))
		return check_unknown(p, err);
	if (h->type == OB_STREAM_CONTENT_RUN)
		flags |= OB_STREAM_ZEROS;
	if (h->flags & ~flags)
		return ob_fail(err, EINVAL, "flags 0x%x are not known here", h->flags);
	if (h->length < kinds[h->type].min || h->length > kinds[h->type].max)
		return ob_fail(err, EINVAL, "%u bytes, should be %u to %u", h->length,
			       kinds[h->type].min, kinds[h->type].max);
	return check_order(p, err);
}

static int take_schema(struct ob_parser *p, struct ob_err *err)
{
	int r = ob_schema_get(p->buf, p->have, &p->schema, err);

	/* The schema is the largest of what is collected: give it back. */
	free(p->buf);
	p->buf = NULL;
	p->cap = 0;
	if (r || !p->ops->schema)
		return r;
	return p->ops->schema(p->arg, p->schema, err);
}

static bool is_text(const uint8_t *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size && bytes[i]; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			return false;
	return i < size;
}

static int take_identity(struct ob_parser *p, struct ob_err *err)
{
	const struct ob_table *theirs = ob_schema_find(p->schema, "identity");
	struct ob_stream_identity who;
	int r;

	if (!theirs)
		return ob_fail(err, EINVAL, "the schema has no identity");
	r = ob_table_begin(&ob_stream_identity_table, theirs, &who, "identity", err);
	if (!r)
		r = ob_table_decode(&ob_stream_identity_table, theirs, &who,
				    p->buf, p->have, "identity", err);
	if (r)
		return r;
	if (!is_text(who.model, sizeof(who.model)) ||
	    !is_text(who.release, sizeof(who.release)) ||
	    !is_text(who.id, sizeof(who.id)))
		return ob_fail(err, EINVAL, "identity: not plain text");
	p->identified = true;
	return p->ops->identity ? p->ops->identity(p->arg, &who, err) : 0;
}

static const struct ob_content_id *find_id(const struct ob_parser *p,
					   const struct ob_content_id *id)
{
	unsigned i;

	for (i = 0; i < p->nr_ids; i++)
		if (ob_content_same(&p->ids[i], id))
			return &p->ids[i];
	return NULL;
}

static int take_object(struct ob_parser *p, const uint8_t *at,
		       struct ob_err *err)
{
	const struct ob_content_id id = {
		.kind = (uint32_t)ob_le_load(at, 4),
		.index = (uint32_t)ob_le_load(at + 4, 4),
		.size = ob_le_load(at + 8, 8),
	};
	char name[OB_CONTENT_TEXT];

	if (find_id(p, &id))
		return ob_fail(err, EINVAL, "%s is there twice",
			       ob_content_name(&id, name, sizeof(name)));
	p->ids[p->nr_ids++] = id;
	return 0;
}

static int take_objects(struct ob_parser *p, struct ob_err *err)
{
	size_t i, count = p->have / OBJECT_BYTES;
	int r = 0;

	if (p->have % OBJECT_BYTES)
		return ob_fail(err, EINVAL, "%zu bytes are no number of objects", p->have);
	p->ids = calloc(count + 1, sizeof(*p->ids));
	if (!p->ids)
		return ob_fail(err, ENOMEM, "out of memory for %zu objects", count);
	for (i = 0; i < count && !r; i++)
		r = take_object(p, p->buf + i * OBJECT_BYTES, err);
	p->listed = true;
	if (r || !p->ops->objects)
		return r;
	return p->ops->objects(p->arg, p->ids, p->nr_ids, err);
}

static int take_part(struct ob_parser *p, struct ob_err *err)
{
	unsigned root = (unsigned)ob_le_load(p->buf, 2);
	const struct ob_schema_root *what = ob_schema_root(p->schema, root);

	if (!what || what->table == ob_schema_find(p->schema, "identity"))
		return ob_fail(err, EINVAL, "there is no part %u", root);
	if (ob_le_load(p->buf + 2, 2))
		return ob_fail(err, EINVAL, "reserved bytes are not 0");
	return p->ops->part ? p->ops->part(p->arg, root, p->buf + 4,
					   p->have - 4, err) : 0;
}

static int take_end(struct ob_parser *p, struct ob_err *err)
{
	uint64_t sections = ob_le_load(p->buf, 8);
	uint64_t bytes = ob_le_load(p->buf + 8, 8);

	if (sections != p->sections || bytes != p->section_at)
		return ob_fail(err, EINVAL, "after %llu sections and %llu bytes, not %llu"
			       " and %llu", (unsigned long long)p->sections,
			       (unsigned long long)p->section_at,
			       (unsigned long long)sections,
			       (unsigned long long)bytes);
	p->ended = true;
	return p->ops->end ? p->ops->end(p->arg, err) : 0;
}

int ob_section_take(struct ob_parser *p, struct ob_err *err)
{
	switch (p->head.type) {
	case OB_STREAM_SCHEMA:
		return take_schema(p, err);
	case OB_STREAM_IDENTITY:
		return take_identity(p, err);
	case OB_STREAM_OBJECTS:
		return take_objects(p, err);
	case OB_STREAM_PART:
		return take_part(p, err);
	default:
		return take_end(p, err);
	}
}

static int check_run(const struct ob_parser *p, const struct ob_content_id *id,
		     uint64_t length, struct ob_err *err)
{
	bool zeros = p->head.flags & OB_STREAM_ZEROS;
	char name[OB_CONTENT_TEXT];

	ob_content_name(&p->run, name, sizeof(name));
	if (!id)
		return ob_fail(err, EINVAL, "%s is not among the objects", name);
	if (!length || p->run_at > id->size || length > id->size - p->run_at)
		return ob_fail(err, EINVAL, "%s: %llu bytes at %llu, it has %llu", name,
			       (unsigned long long)length,
			       (unsigned long long)p->run_at,
			       (unsigned long long)id->size);
	if (p->left != (zeros ? 0 : length))
		return ob_fail(err, EINVAL, "%s: %llu bytes follow, not %llu", name,
			       (unsigned long long)p->left,
			       (unsigned long long)(zeros ? 0 : length));
	return 0;
}

int ob_section_run(struct ob_parser *p, const uint8_t *bytes,
		   struct ob_err *err)
{
	uint64_t length = ob_le_load(bytes + 16, 8);
	const struct ob_content_id *id;
	int r;

	p->run.kind = (uint32_t)ob_le_load(bytes, 4);
	p->run.index = (uint32_t)ob_le_load(bytes + 4, 4);
	p->run_at = ob_le_load(bytes + 8, 8);
	id = find_id(p, &p->run);
	r = check_run(p, id, length, err);
	if (r)
		return r;
	p->run.size = id->size;
	if (p->left)
		return 0;
	return p->ops->content ? p->ops->content(p->arg, &p->run, p->run_at, NULL,
						 length, err) : 0;
}
