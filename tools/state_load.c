// SPDX-License-Identifier: BSD-3-Clause
/*
 * A loader must be told which content a device has; here that is whatever the
 * stream says.  So its beginning is read twice: a parser looks for the list
 * of content, then a loader gets what was read so far and the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/parse.h"
#include "state_load.h"

/* Schema, identity and list are three sections of at most 1 MiB. */
#define HEAD_MAX (8u << 20)
#define CHUNK (256u << 10)

struct state_load_sink {
	struct state_load *load;
	struct ob_content_id id;
};

/* The beginning of a stream. */
struct beginning {
	struct state_load *load;
	uint8_t *bytes;
	size_t len, room;
	bool listed;
};

static int take_identity(void *arg, const struct ob_stream_identity *identity,
			 struct ob_err *err)
{
	struct state_load *load = ((struct beginning *)arg)->load;

	(void)err;
	load->identity = *identity;
	memcpy(load->model, identity->model, sizeof(identity->model));
	memcpy(load->id, identity->id, sizeof(identity->id));
	return 0;
}

static int take_objects(void *arg, const struct ob_content_id *ids,
			unsigned count, struct ob_err *err)
{
	struct beginning *b = arg;

	b->load->ids = calloc(count + 1, sizeof(*ids));
	if (!b->load->ids)
		return ob_fail(err, ENOMEM, "out of memory");
	if (count)
		memcpy(b->load->ids, ids, count * sizeof(*ids));
	b->load->nr_ids = count;
	b->listed = true;
	return 0;
}

static const struct ob_parser_ops ops = {
	.identity = take_identity, .objects = take_objects,
};

static int read_more(struct beginning *b, struct state_source *src,
		     struct ob_err *err)
{
	uint8_t *grown;
	int n;

	if (b->room - b->len < CHUNK) {
		if (b->room >= HEAD_MAX)
			return ob_fail(err, EFBIG,
				       "no list of content within %u bytes",
				       HEAD_MAX);
		grown = realloc(b->bytes, b->room + HEAD_MAX / 4);
		if (!grown)
			return ob_fail(err, ENOMEM, "out of memory");
		b->bytes = grown;
		b->room += HEAD_MAX / 4;
	}
	n = state_source_read(src, b->bytes + b->len, CHUNK);
	return n < 0 ? ob_fail(err, -n, "%s", strerror(-n)) : n;
}

static int read_beginning(struct beginning *b, struct state_source *src,
			  struct ob_err *err)
{
	struct ob_parser *parser;
	int n, r = ob_parser_create(&ops, b, &parser, err);

	while (!r && !b->listed) {
		n = read_more(b, src, err);
		if (n > 0)
			r = ob_parser_write(parser, b->bytes + b->len,
					    (size_t)n, err);
		else
			r = n ? n : ob_parser_finish(parser, err);
		if (n == 0 && !r)
			r = ob_fail(err, EINVAL, "it has no list of content");
		b->len += n > 0 ? (size_t)n : 0;
	}
	ob_parser_destroy(parser);
	return r;
}

/* The loader */

static int put_content(void *arg, uint64_t offset, const void *data,
		       uint64_t length)
{
	struct state_load_sink *sink = arg;
	struct state_load *load = sink->load;

	if (!load->ops || !load->ops->content)
		return 0;
	return load->ops->content(load, &sink->id, offset, data, length);
}

static int make_sinks(struct state_load *load, struct ob_err *err)
{
	unsigned i;

	load->sinks = calloc(load->nr_ids + 1, sizeof(*load->sinks));
	load->to = calloc(load->nr_ids + 1, sizeof(*load->to));
	if (!load->sinks || !load->to)
		return ob_fail(err, ENOMEM, "out of memory");
	for (i = 0; i < load->nr_ids; i++) {
		load->sinks[i] = (struct state_load_sink){ load, load->ids[i] };
		load->to[i] = (struct ob_content_sink){
			load->ids[i], put_content, &load->sinks[i]
		};
	}
	return 0;
}

static int make_loader(struct state_load *load, struct ob_err *err)
{
	struct ob_load_plan plan = { .model = load->model };
	int r;

	if ((r = ob_models_parts(load->models, load->model, load->parts,
				 &load->nr_parts, err)) ||
	    (r = make_sinks(load, err)))
		return r;
	plan.parts = load->parts;
	plan.nr_parts = load->nr_parts;
	plan.sinks = load->to;
	plan.nr_sinks = load->nr_ids;
	if (load->ops && load->ops->begin && (r = load->ops->begin(load, err)))
		return r;
	return ob_loader_create(&plan, &load->loader, err);
}

static int load_rest(struct state_load *load, struct beginning *b,
		     struct state_source *src, struct ob_err *err)
{
	int n, r = ob_loader_write(load->loader, b->bytes, b->len, err);

	while (!r && (n = state_source_read(src, b->bytes, CHUNK)) != 0)
		r = n > 0 ? ob_loader_write(load->loader, b->bytes, (size_t)n, err)
			  : ob_fail(err, -n, "%s", strerror(-n));
	return r ? r : ob_loader_finish(load->loader, err);
}

int state_load_read(struct state_load *load, struct state_source *src,
		    struct ob_err *err)
{
	struct beginning b = { .load = load };
	int r = read_beginning(&b, src, err);
	unsigned i;

	if (!r)
		r = make_loader(load, err);
	if (!r)
		r = load_rest(load, &b, src, err);
	for (i = 0; i < load->nr_parts && !r; i++)
		load->parts[i].base = ob_loader_part(load->loader, i);
	free(b.bytes);
	if (r)
		ob_err_prefix(err, "%.80s", state_source_name(src));
	return r;
}

void state_load_finish(struct state_load *load)
{
	ob_loader_destroy(load->loader);
	free(load->to);
	free(load->sinks);
	free(load->ids);
}
