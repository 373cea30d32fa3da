// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state convert.  From the native form into the QEMU profile the
 * bytes go through as they come: content is written when it arrives, in pieces
 * of up to 1 MiB, the device at the end.  The other way round the source does
 * the work (state_source.c) and what is left here is to write.  OUT appears
 * under its name when it is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "out_file.h"
#include "state.h"
#include "state/content.h"
#include "state/qemu.h"
#include "state_load.h"

#define CHUNK (256u << 10)

struct conversion {
	struct state_load load;		/* first: what callbacks get */
	struct out_file out;
	enum ob_qemu_form form;
	struct ob_qemu_device device;
	struct ob_qemu_writer *writer;
	struct ob_err why;		/* of a callback without a message */
	/* Content that may go on growing. */
	struct ob_qemu_content piece;
	uint8_t *data;
};

/* What went wrong is told by the conversion, not by who writes for it. */
static int output_put(void *arg, const void *bytes, size_t len)
{
	struct conversion *c = arg;

	return out_file_put(&c->out, bytes, len, &c->why);
}

/* To the QEMU profile */

static int flush_piece(struct conversion *c)
{
	int r = 0;

	if (c->piece.length)
		r = ob_qemu_write_content(c->writer, &c->piece, &c->why);
	c->piece.length = 0;
	return r;
}

/* Every object is named once, so that its size is known. */
static int begin(struct state_load *load, struct ob_err *err)
{
	struct conversion *c = (struct conversion *)load;
	unsigned i;
	int r;

	c->device = (struct ob_qemu_device){
		load->model, load->id, load->parts, load->nr_parts
	};
	r = ob_qemu_writer_create(c->form, &c->device, output_put, c,
				  &c->writer, err);
	for (i = 0; i < load->nr_ids && !r; i++) {
		struct ob_qemu_content empty = { .id = load->ids[i] };

		r = ob_qemu_write_content(c->writer, &empty, err);
	}
	return r;
}

static bool continues(const struct conversion *c,
		      const struct ob_content_id *id, uint64_t offset)
{
	const struct ob_qemu_content *p = &c->piece;

	return p->length && p->length < OB_QEMU_PIECE_MAX &&
	       ob_content_same(&p->id, id) && p->offset + p->length == offset;
}

static int put_zeros(struct conversion *c, const struct ob_content_id *id,
		     uint64_t offset, uint64_t length)
{
	const struct ob_qemu_content zeros = { *id, offset, length, NULL };
	int r = flush_piece(c);

	return r ? r : ob_qemu_write_content(c->writer, &zeros, &c->why);
}

static int put_content(struct state_load *load, const struct ob_content_id *id,
		       uint64_t offset, const void *data, uint64_t length)
{
	struct conversion *c = (struct conversion *)load;
	const uint8_t *at = data;
	uint64_t n;
	int r;

	if (!data)
		return put_zeros(c, id, offset, length);
	for (; length; length -= n, offset += n, at += n) {
		if (!continues(c, id, offset)) {
			if ((r = flush_piece(c)))
				return r;
			c->piece = (struct ob_qemu_content){
				*id, offset, 0, c->data
			};
		}
		n = OB_QEMU_PIECE_MAX - c->piece.length;
		n = n < length ? n : length;
		memcpy(c->data + c->piece.length, at, n);
		c->piece.length += n;
	}
	return 0;
}

static const struct state_load_ops ops = { begin, put_content };

static int to_qemu(struct conversion *c, struct state_source *src,
		   struct ob_err *err)
{
	int r;

	c->data = malloc(OB_QEMU_PIECE_MAX);
	if (!c->data)
		return ob_fail(err, ENOMEM, "out of memory");
	r = state_load_read(&c->load, src, err);
	if (!r && !(r = flush_piece(c)) &&
	    !(r = ob_qemu_write_device(c->writer, err)))
		r = ob_qemu_writer_end(c->writer, err);
	if (r && c->why.msg[0])
		*err = c->why;
	ob_qemu_writer_destroy(c->writer);
	state_load_finish(&c->load);
	free(c->data);
	return r;
}

/* To the native form */

static int to_native(struct out_file *out, struct state_source *src,
		     struct ob_err *err)
{
	uint8_t *buf = malloc(CHUNK);
	int n = 0, r = buf ? 0 : ob_fail(err, ENOMEM, "out of memory");

	while (!r && (n = state_source_read(src, buf, CHUNK)) > 0)
		r = out_file_put(out, buf, (size_t)n, err);
	free(buf);
	return r || !n ? r : ob_fail(err, -n, "%s", strerror(-n));
}

static int check_form(struct state_source *src, bool native,
		      struct ob_err *err)
{
	const char *name = state_source_name(src);
	const char *form = state_source_form(src);

	if (strcmp(form, native ? "native" : "qemu"))
		return 0;
	if (native && !state_source_is_native(src))
		return ob_fail(err, EINVAL, "%.80s: this is no stream of a "
			       "device's state", name);
	return ob_fail(err, EINVAL, "%.80s: is in this form already", name);
}

static int convert(struct conversion *c, const char *path,
		   struct state_source *src, bool native, struct ob_err *err)
{
	int r = check_form(src, native, err);

	if (r || (r = out_file_open(&c->out, path, err)))
		return r;
	r = native ? to_native(&c->out, src, err) : to_qemu(c, src, err);
	if (!r)
		r = out_file_keep(&c->out, err);
	out_file_drop(&c->out);
	return r;
}

int state_convert(const struct state_options *opts, struct ob_err *err)
{
	struct conversion c = {
		.load = { .ops = &ops, .models = opts->models },
		.out = OUT_FILE_NONE,
	};
	const char *to = opts->to ? opts->to : "";
	bool native = !strcmp(to, "native");
	struct state_source *src;
	int r;

	c.form = strcmp(to, "qemu-bare") ? OB_QEMU_FILE : OB_QEMU_BARE;
	if (!native && strcmp(to, "qemu") && c.form == OB_QEMU_FILE) {
		ob_fail(err, EINVAL, "--to must be native, qemu or qemu-bare");
		return TOOL_USAGE;
	}
	r = state_source_open(opts->words[0], opts->models, &src, err);
	if (r)
		return TOOL_FAILED;
	r = convert(&c, opts->words[1], src, native, err);
	state_source_close(src);
	return r ? TOOL_FAILED : TOOL_OK;
}
