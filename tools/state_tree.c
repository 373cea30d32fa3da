// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/content.h"
#include "state/table_io.h"
#include "state_tree.h"

#define CHUNK (256u << 10)
/* Of fields, and of values as JSON, which take some 40 bytes each. */
#define FIELDS_MAX (16u << 20)
#define VALUES_MAX (1u << 20)
#define VALUES_OF_OBJECT 16u
#define BYTES_OF_VALUE 16u

/*
 * What `times` such structures take from the values left; false: too much.  A
 * few hundred bytes of schema can describe millions of structures of one byte.
 */
static bool afford(const struct ob_table *table, uint64_t times,
		   uint64_t *left)
{
	const struct ob_field *f;
	uint64_t n;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		n = times * f->count;	/* of at most FIELDS_MAX bytes */
		if (f->type == OB_FIELD_STRUCT)
			n *= VALUES_OF_OBJECT;
		else if (f->type == OB_FIELD_BYTES ||
			 f->type == OB_FIELD_RESERVED)
			n = times + n / BYTES_OF_VALUE;
		if (n > *left)
			return false;
		*left -= n;
		if (f->type == OB_FIELD_STRUCT &&
		    !afford(f->sub, times * f->count, left))
			return false;
	}
	return true;
}

static int check_root(const struct ob_schema_root *root, uint64_t *bytes,
		      uint64_t *values, struct ob_err *err)
{
	if (root->table->size > *bytes)
		return ob_fail(err, EFBIG, "schema: more than %u bytes of fields",
			       FIELDS_MAX);
	*bytes -= root->table->size;
	return afford(root->table, 1, values) ? 0 :
		ob_fail(err, EFBIG, "schema: %s has too many values to show",
			root->name);
}

static int take_schema(void *arg, const struct ob_schema *schema,
		       struct ob_err *err)
{
	struct state_tree *tree = arg;
	unsigned i, count = ob_schema_count(schema);
	uint64_t bytes = FIELDS_MAX, values = VALUES_MAX;
	int r;

	if (count > STATE_ROOTS_MAX)
		return ob_fail(err, E2BIG, "schema: %u parts", count);
	tree->schema = schema;
	for (i = 0; i < count; i++) {
		const struct ob_table *table = ob_schema_root(schema, i)->table;

		r = check_root(ob_schema_root(schema, i), &bytes, &values, err);
		if (r)
			return r;
		tree->bases[i] = calloc(1, table->size);
		if (!tree->bases[i])
			return ob_fail(err, ENOMEM, "out of memory");
		ob_table_defaults(table, tree->bases[i]);
		tree->values[i] = tree->bases[i];
		tree->roots[i] = *ob_schema_root(schema, i);
	}
	tree->nr_roots = count;
	return 0;
}

static int take_identity(void *arg, const struct ob_stream_identity *identity,
			 struct ob_err *err)
{
	struct state_tree *tree = arg;

	(void)err;
	tree->identity = *identity;
	return 0;
}

static int take_objects(void *arg, const struct ob_content_id *ids,
			unsigned count, struct ob_err *err)
{
	struct state_tree *tree = arg;
	unsigned i;

	tree->contents = calloc(count + 1, sizeof(*tree->contents));
	if (!tree->contents)
		return ob_fail(err, ENOMEM, "out of memory");
	for (i = 0; i < count; i++) {
		struct state_content *c = &tree->contents[tree->nr_contents++];

		c->id = ids[i];
		c->fd = tree->keep ? memfd_create("outboard-content",
						  MFD_CLOEXEC) : -1;
		if (tree->keep && c->fd < 0)
			return ob_fail(err, errno, "cannot hold content: %s",
				       strerror(errno));
	}
	return 0;
}

/* Zeros are holes, so that a large empty drive costs nothing. */
static int keep_content(const struct state_content *c, uint64_t offset,
			const void *data, uint64_t length)
{
	const uint8_t *at = data;
	ssize_t n;

	if (!data)
		return fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)offset, (off_t)length) ? -errno : 0;
	for (; length; length -= (uint64_t)n, offset += (uint64_t)n, at += n) {
		n = pwrite(c->fd, at, length, (off_t)offset);
		if (n <= 0)
			return n ? -errno : -ENOSPC;
	}
	return 0;
}

static int take_content(void *arg, const struct ob_content_id *id,
			uint64_t offset, const void *data, uint64_t length,
			struct ob_err *err)
{
	struct state_tree *tree = arg;
	struct state_content *c = tree->contents;
	char name[OB_CONTENT_TEXT];
	int r;

	while (c->id.kind != id->kind || c->id.index != id->index)
		c++;	/* the parser passes only what OBJECTS named */
	*(data ? &c->data : &c->zeros) += length;
	c->pieces++;
	if (!tree->keep || !length)
		return 0;
	r = keep_content(c, offset, data, length);
	return r ? ob_fail(err, -r, "%s: %s", ob_content_name(id, name, sizeof(name)),
			   strerror(-r)) : 0;
}

static int take_part(void *arg, unsigned root, const void *records, size_t len,
		     struct ob_err *err)
{
	struct state_tree *tree = arg;
	const struct ob_schema_root *r = &tree->roots[root];

	return ob_table_decode(r->table, r->table, tree->bases[root], records,
			       len, r->name, err);
}

static const struct ob_parser_ops ops = {
	.schema = take_schema,
	.identity = take_identity,
	.objects = take_objects,
	.content = take_content,
	.part = take_part,
};

static int feed(struct state_tree *tree, struct state_source *src,
		struct ob_err *err)
{
	uint8_t *buf = malloc(CHUNK);
	int n = 0, r = buf ? 0 : ob_fail(err, ENOMEM, "out of memory");

	while (!r && (n = state_source_read(src, buf, CHUNK)) > 0)
		r = ob_parser_write(tree->parser, buf, (size_t)n, err);
	free(buf);
	if (!r && n < 0)
		return ob_fail(err, -n, "%s", strerror(-n));
	return r ? r : ob_parser_finish(tree->parser, err);
}

/*
 * The sections as they are: a value out of bounds is shown, not refused.  Of
 * the many slots of the DMA table those that are used.
 */
static int take_memory(struct state_tree *tree, const struct ob_old_state *old,
		       struct ob_err *err)
{
	const struct ob_state_header *hdr = ob_old_state_header(old);
	uint64_t bytes = FIELDS_MAX, values = VALUES_MAX;
	unsigned i, n = 0;
	int r = 0;

	tree->schema = ob_old_state_schema(old);
	tree->is_memory = true;
	memcpy(tree->identity.model, hdr->model, sizeof(hdr->model));
	memcpy(tree->identity.release, hdr->release, sizeof(hdr->release));
	for (i = 0; i < OB_NR_TABLES && !r; i++) {
		const char *name = ob_state_section_name(i);
		const struct ob_table *table = i == OB_SECTION_DMA ?
			ob_old_state_table(old, i) :
			ob_schema_find(tree->schema, name);

		if (!table)
			continue;
		tree->roots[n] = (struct ob_schema_root){ name, table };
		tree->values[n] = ob_old_state_section(old, i);
		r = check_root(&tree->roots[n++], &bytes, &values, err);
	}
	tree->nr_roots = n;
	return r;
}

static int take_stream(struct state_tree *tree, struct state_source *src,
		       struct ob_err *err)
{
	int r = ob_parser_create(&ops, tree, &tree->parser, err);

	return r ? r : feed(tree, src, err);
}

int state_tree_read(struct state_tree *tree, struct state_source *src,
		    bool keep, struct ob_err *err)
{
	const struct ob_old_state *old = state_source_memory(src);
	int r;

	*tree = (struct state_tree){ .keep = keep };
	r = old ? take_memory(tree, old, err) : take_stream(tree, src, err);
	if (r)
		ob_err_prefix(err, "%.80s", state_source_name(src));
	return r;
}

void state_tree_finish(struct state_tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->nr_contents; i++)
		if (tree->contents[i].fd >= 0)
			close(tree->contents[i].fd);
	for (i = 0; i < STATE_ROOTS_MAX; i++)
		free(tree->bases[i]);
	free(tree->contents);
	ob_parser_destroy(tree->parser);
	*tree = (struct state_tree){ 0 };
}

/* The first root describes the identity, which is told apart. */
json_t *state_tree_parts(const struct state_tree *tree, bool all)
{
	json_t *parts = json_object();
	unsigned i;

	for (i = 0; i < tree->nr_roots; i++) {
		const struct ob_schema_root *root = &tree->roots[i];

		if (strcmp(root->name, "identity"))
			json_object_set_new(parts, root->name,
				ob_table_json(root->table, tree->values[i], all));
	}
	return parts;
}
