// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream into fresh structures.  The parser knows the framing; this knows
 * what is expected: the parts and the content of the plan, no less.  Parts are
 * matched by name, fields by tag, content by kind, index and size.  A part
 * that only the writer has may go when everything in it is optional.
 */
#include "state/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/content.h"
#include "state/field.h"
#include "state/parse.h"
#include "state/schema_priv.h"
#include "state/table_io.h"

#define NO_PART UINT8_MAX

struct loaded_part {
	const struct ob_table *theirs;
	void *base;
	bool seen;			/* a PART of it came */
};

struct ob_loader {
	struct ob_load_plan plan;
	struct ob_parser *parser;
	const struct ob_schema *schema;
	struct ob_stream_identity who;
	bool known;			/* who is */
	struct loaded_part parts[OB_PARTS_MAX];
	uint8_t part_of_root[OB_SCHEMA_ROOTS_MAX];
};

static int match_part(struct ob_loader *l, unsigned i,
		      const struct ob_schema *schema, struct ob_err *err)
{
	const struct ob_part *ours = &l->plan.parts[i];
	unsigned root;

	for (root = 0; root < ob_schema_count(schema); root++)
		if (!strcmp(ob_schema_root(schema, root)->name, ours->name))
			break;
	if (root == ob_schema_count(schema))
		return ob_fail(err, EINVAL, "%s: the stream does not have this part",
			       ours->name);
	l->part_of_root[root] = (uint8_t)i;
	l->parts[i].theirs = ob_schema_root(schema, root)->table;
	return ob_table_begin(ours->table, l->parts[i].theirs, l->parts[i].base,
			      ours->name, err);
}

static int on_schema(void *arg, const struct ob_schema *schema,
		     struct ob_err *err)
{
	struct ob_loader *l = arg;
	unsigned i;
	int r = 0;

	l->schema = schema;
	for (i = 0; i < l->plan.nr_parts && !r; i++)
		r = match_part(l, i, schema, err);
	return r;
}

static int on_identity(void *arg, const struct ob_stream_identity *who,
		       struct ob_err *err)
{
	struct ob_loader *l = arg;

	l->who = *who;
	l->known = true;
	if (strcmp((const char *)who->model, l->plan.model))
		return ob_fail(err, EINVAL, "the device is of model %s here, of model %s in"
			       " the stream", l->plan.model,
			       (const char *)who->model);
	return 0;
}

static const struct ob_content_sink *find_sink(const struct ob_loader *l,
					       const struct ob_content_id *id)
{
	unsigned i;

	for (i = 0; i < l->plan.nr_sinks; i++)
		if (ob_content_same(&l->plan.sinks[i].id, id))
			return &l->plan.sinks[i];
	return NULL;
}

static int check_object(const struct ob_loader *l,
			const struct ob_content_id *theirs, struct ob_err *err)
{
	const struct ob_content_sink *sink = find_sink(l, theirs);
	char name[OB_CONTENT_TEXT], here[OB_CONTENT_TEXT], there[OB_CONTENT_TEXT];

	ob_content_name(theirs, name, sizeof(name));
	if (!sink)
		return ob_fail(err, EINVAL, "%s has content in the stream, not here", name);
	if (sink->id.size == theirs->size)
		return 0;
	return ob_fail(err, EINVAL, "%s has %s here, %s in the stream", name,
		       ob_content_size(sink->id.size, here, sizeof(here)),
		       ob_content_size(theirs->size, there, sizeof(there)));
}

static int check_sink(const struct ob_content_id *ours,
		      const struct ob_content_id *ids, unsigned count,
		      struct ob_err *err)
{
	char name[OB_CONTENT_TEXT];
	unsigned i;

	for (i = 0; i < count; i++)
		if (ob_content_same(&ids[i], ours))
			return 0;
	return ob_fail(err, EINVAL, "%s has content here, not in the stream",
		       ob_content_name(ours, name, sizeof(name)));
}

static int on_objects(void *arg, const struct ob_content_id *ids,
		      unsigned count, struct ob_err *err)
{
	struct ob_loader *l = arg;
	unsigned i;
	int r = 0;

	for (i = 0; i < count && !r; i++)
		r = check_object(l, &ids[i], err);
	for (i = 0; i < l->plan.nr_sinks && !r; i++)
		r = check_sink(&l->plan.sinks[i].id, ids, count, err);
	return r;
}

static int on_content(void *arg, const struct ob_content_id *id,
		      uint64_t offset, const void *data, uint64_t length,
		      struct ob_err *err)
{
	const struct ob_content_sink *sink = find_sink(arg, id);
	char name[OB_CONTENT_TEXT];
	int r = sink->put(sink->arg, offset, data, length);

	if (r < 0)
		return ob_fail(err, -r, "%s: %llu bytes at %llu: %s",
			       ob_content_name(id, name, sizeof(name)),
			       (unsigned long long)length,
			       (unsigned long long)offset, strerror(-r));
	return 0;
}

/* A part that we do not have: fine if it has nothing that we must know. */
static int skip_part(const struct ob_schema_root *root, const void *records,
		     size_t len, struct ob_err *err)
{
	static const struct ob_field none[] = { OB_END };
	static const struct ob_table nothing = { "nothing", 1, none };

	return ob_table_decode(&nothing, root->table, NULL, records, len,
			       root->name, err);
}

static int on_part(void *arg, unsigned root, const void *records, size_t len,
		   struct ob_err *err)
{
	struct ob_loader *l = arg;
	unsigned i = l->part_of_root[root];

	if (i == NO_PART)
		return skip_part(ob_schema_root(l->schema, root), records, len, err);
	l->parts[i].seen = true;
	return ob_table_decode(l->plan.parts[i].table, l->parts[i].theirs,
			       l->parts[i].base, records, len,
			       l->plan.parts[i].name, err);
}

static int on_end(void *arg, struct ob_err *err)
{
	struct ob_loader *l = arg;
	const struct ob_part *part;
	unsigned i;
	int r = 0;

	for (i = 0; i < l->plan.nr_parts && !r; i++) {
		part = &l->plan.parts[i];
		if (!l->parts[i].seen)
			return ob_fail(err, EINVAL, "no PART of %s came", part->name);
		r = ob_table_check_values(part->table, l->parts[i].base,
					  part->name, err);
	}
	return r;
}

static const struct ob_parser_ops loader_ops = {
	.schema = on_schema,
	.identity = on_identity,
	.objects = on_objects,
	.content = on_content,
	.part = on_part,
	.end = on_end,
};

static int make_part(struct ob_loader *l, unsigned i, struct ob_err *err)
{
	const struct ob_table *table = l->plan.parts[i].table;

	l->parts[i].base = calloc(1, table->size);
	if (!l->parts[i].base)
		return ob_fail(err, ENOMEM, "%s: no memory for %u bytes of state",
			       l->plan.parts[i].name, table->size);
	ob_table_defaults(table, l->parts[i].base);
	return 0;
}

int ob_loader_create(const struct ob_load_plan *plan, struct ob_loader **out,
		     struct ob_err *err)
{
	struct ob_loader *l;
	unsigned i;
	int r;

	if (plan->nr_parts > OB_PARTS_MAX)
		return ob_fail(err, E2BIG, "%u parts are more than %u",
			       plan->nr_parts, OB_PARTS_MAX);
	l = calloc(1, sizeof(*l));
	if (!l)
		return ob_fail(err, ENOMEM, "out of memory for a loader");
	l->plan = *plan;
	memset(l->part_of_root, NO_PART, sizeof(l->part_of_root));
	r = ob_parser_create(&loader_ops, l, &l->parser, err);
	for (i = 0; i < plan->nr_parts && !r; i++)
		r = make_part(l, i, err);
	if (r)
		ob_loader_destroy(l);
	else
		*out = l;
	return r;
}

void ob_loader_destroy(struct ob_loader *l)
{
	unsigned i;

	if (!l)
		return;
	for (i = 0; i < OB_PARTS_MAX; i++)
		free(l->parts[i].base);
	ob_parser_destroy(l->parser);
	free(l);
}

int ob_loader_write(struct ob_loader *l, const void *bytes, size_t len,
		    struct ob_err *err)
{
	return ob_parser_write(l->parser, bytes, len, err);
}

int ob_loader_finish(struct ob_loader *l, struct ob_err *err)
{
	return ob_parser_finish(l->parser, err);
}

void *ob_loader_part(struct ob_loader *l, unsigned i)
{
	return i < l->plan.nr_parts ? l->parts[i].base : NULL;
}

const struct ob_stream_identity *ob_loader_identity(const struct ob_loader *l)
{
	return l->known ? &l->who : NULL;
}
