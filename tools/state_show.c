// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state show.  Everything is told by the stream's own schema, so
 * that of a stream of another release, or of a model that this build does not
 * have, as much is seen as of ours.
 */
#include <errno.h>
#include <string.h>

#include "report.h"
#include "state.h"
#include "state/content.h"
#include "state/show.h"
#include "state_events.h"
#include "state_tree.h"

#define TEXT_MAX 66		/* 32 bytes in hexadecimal digits */

/* Fixed fields of text; what is no text becomes question marks. */
static json_t *text(const uint8_t *from, size_t size)
{
	char to[sizeof(struct ob_stream_identity) + 1];
	size_t i, len = strnlen((const char *)from, size);

	for (i = 0; i < len; i++)
		to[i] = from[i] >= ' ' && from[i] < 127 ? (char)from[i] : '?';
	to[len] = '\0';
	return json_string(to);
}

static void add_identity(json_t *tree, const struct ob_stream_identity *who)
{
	json_object_set_new(tree, "model",
			    text(who->model, sizeof(who->model)));
	json_object_set_new(tree, "release",
			    text(who->release, sizeof(who->release)));
	if (who->id[0])		/* memory has none */
		json_object_set_new(tree, "id", text(who->id, sizeof(who->id)));
}

static json_t *contents(const struct state_tree *tree)
{
	json_t *list = json_array();
	char name[OB_CONTENT_TEXT];
	unsigned i;

	for (i = 0; i < tree->nr_contents; i++) {
		const struct state_content *c = &tree->contents[i];

		ob_content_name(&c->id, name, sizeof(name));
		json_array_append_new(list,
			json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", name,
				  "size", ob_json_u64(c->id.size),
				  "data", ob_json_u64(c->data),
				  "zeros", ob_json_u64(c->zeros),
				  "pieces", ob_json_u64(c->pieces)));
	}
	return list;
}

static json_t *schema(const struct state_tree *tree, bool whole)
{
	struct ob_schema_root roots[STATE_ROOTS_MAX];
	unsigned i, count = ob_schema_count(tree->schema);
	json_t *brief = json_object();

	for (i = 0; i < count; i++) {
		roots[i] = *ob_schema_root(tree->schema, i);
		json_object_set_new(brief, roots[i].name,
			json_pack("{s:s, s:I}", "table", roots[i].table->name,
				  "bytes", (json_int_t)roots[i].table->size));
	}
	if (!whole)
		return brief;
	json_decref(brief);
	return ob_schema_json(roots, count);
}

/* Bytes that nobody reads to their end. */
static void shorten(json_t *value)
{
	const char *key, *full;
	char brief[TEXT_MAX + 40];
	json_t *item;
	size_t i;

	if (json_is_string(value) && json_string_length(value) > TEXT_MAX) {
		full = json_string_value(value);
		snprintf(brief, sizeof(brief), "%.*s... (%zu bytes)", TEXT_MAX,
			 full, (strlen(full) - 2) / 2);
		json_string_set(value, brief);
	}
	json_array_foreach(value, i, item)
		shorten(item);
	json_object_foreach(value, key, item)
		shorten(item);
}

/* The life that wrote it, and where it stood. */
static json_t *life(const struct ob_state_header *hdr)
{
	return json_pack("{s:o, s:o, s:s, s:b, s:I, s:o}",
			 "generation", ob_json_u64(hdr->generation),
			 "step", ob_json_u64(hdr->step),
			 "kind", ob_step_kind_name(hdr->step_kind),
			 "open", (int)(hdr->step & 1),
			 "deaths", (json_int_t)hdr->deaths,
			 "died_at", ob_json_u64(hdr->died_at));
}

static json_t *undone_extent(const struct ob_state_header *hdr,
			     const struct ob_state_extent *ext)
{
	unsigned i;

	for (i = 0; i + 1 < OB_NR_TABLES; i++)
		if (ext->offset - hdr->sections[i].offset < hdr->sections[i].size)
			break;
	return json_pack("{s:s, s:o, s:o}", "name", ob_state_section_name(i),
			 "offset", ob_json_u64(ext->offset -
					       hdr->sections[i].offset),
			 "bytes", ob_json_u64(ext->size));
}

/* What the open step had saved; it has been put back in what is shown. */
static json_t *undone(const struct ob_old_state *old)
{
	const struct ob_undo *undo = ob_old_state_section(old, OB_SECTION_UNDO);
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < undo->count; i++)
		json_array_append_new(list,
				      undone_extent(ob_old_state_header(old),
						    &undo->extents[i]));
	return list;
}

static void add_memory(json_t *tree, const struct ob_old_state *old)
{
	json_object_set_new(tree, "life", life(ob_old_state_header(old)));
	json_object_set_new(tree, "undone", undone(old));
}

static json_t *describe(const struct state_tree *tree,
			const struct state_source *src,
			const struct state_options *opts)
{
	const struct ob_stream_identity *qemu = state_source_qemu(src);
	const struct ob_old_state *memory = state_source_memory(src);
	json_t *root = json_pack("{s:s}", "form", state_source_form(src));
	json_t *parts;

	add_identity(root, qemu ? qemu : &tree->identity);
	if (memory)
		add_memory(root, memory);
	json_object_set_new(root, "schema", schema(tree, opts->json));
	if (!memory)
		json_object_set_new(root, "content", contents(tree));
	parts = state_tree_parts(tree, opts->json || opts->all);
	if (!opts->json && !opts->all)
		shorten(parts);
	json_object_set_new(root, "parts", parts);
	return root;
}

static int show_state(const struct state_options *opts,
		      struct state_source *src, struct ob_err *err)
{
	struct state_tree tree;
	int r = state_tree_read(&tree, src, false, err);

	if (!r)
		r = report_print(stdout, describe(&tree, src, opts),
				 opts->json, err);
	state_tree_finish(&tree);
	return r;
}

static void close_all(struct state_source **srcs, unsigned nr)
{
	while (nr)
		state_source_close(srcs[--nr]);
}

/* A device with lanes has several recorders; of anything else one is enough. */
static int show_recorders(const struct state_options *opts,
			  struct state_source **srcs, unsigned nr,
			  struct ob_err *err)
{
	struct ob_recorder_bytes recs[STATE_SHOW_MAX];

	for (unsigned i = 0; i < nr; i++) {
		recs[i].memory = state_source_recorder(srcs[i], &recs[i].size);
		if (!recs[i].memory)
			return ob_fail(err, EINVAL, "%.80s: is no flight recorder; "
				       "of other files one is shown at a time",
				       state_source_name(srcs[i]));
	}
	return state_events_print(recs, nr, opts->json, err);
}

int state_show(const struct state_options *opts, struct ob_err *err)
{
	struct state_source *srcs[STATE_SHOW_MAX];
	unsigned nr = 0;
	size_t size;
	int r = 0;

	for (; nr < opts->nr_words && !r; nr += !r)
		r = state_source_open_any(opts->words[nr], opts->models,
					  &srcs[nr], err);
	if (!r)
		r = nr == 1 && !state_source_recorder(srcs[0], &size) ?
			show_state(opts, srcs[0], err) :
			show_recorders(opts, srcs, nr, err);
	close_all(srcs, nr);
	return r ? TOOL_FAILED : TOOL_OK;
}
