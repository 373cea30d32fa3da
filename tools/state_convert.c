// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state convert.  From the native form into the QEMU profile the
 * bytes go through as they come: content is written when it arrives, in pieces
 * of up to 1 MiB, the device at the end.  The other way round the source does
 * the work (state_source.c) and what is left here is to write.  OUT appears
 * under its name when it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"
#include "state/content.h"
#include "state/qemu.h"
#include "state_load.h"

#define CHUNK (256u << 10)

struct output {
	const char *path;
	char *temporary;		/* NULL: standard output */
	int fd;
};

struct conversion {
	struct state_load load;		/* first: what callbacks get */
	struct output out;
	enum ob_qemu_form form;
	struct ob_qemu_device device;
	struct ob_qemu_writer *writer;
	struct ob_err why;		/* of a callback without a message */
	/* Content that may go on growing. */
	struct ob_qemu_content piece;
	uint8_t *data;
};

/* The file */

static int output_open(struct output *out, struct ob_err *err)
{
	out->fd = STDOUT_FILENO;
	if (!strcmp(out->path, "-"))
		return 0;
	if (asprintf(&out->temporary, "%s.XXXXXX", out->path) < 0) {
		out->temporary = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	out->fd = mkostemp(out->temporary, O_CLOEXEC);
	if (out->fd >= 0)
		return 0;
	free(out->temporary);
	out->temporary = NULL;
	return ob_fail(err, errno, "%.80s: %s", out->path, strerror(errno));
}

static int output_put(void *arg, const void *bytes, size_t len)
{
	const struct output *out = arg;
	const uint8_t *at = bytes;
	ssize_t n;

	for (; len; len -= (size_t)n, at += n) {
		n = write(out->fd, at, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n ? -errno : -ENOSPC;
	}
	return 0;
}

/* mkostemp made it for its owner alone; the umask decides. */
static int give_name(const struct output *out)
{
	mode_t mask = umask(0);

	umask(mask);
	if (fchmod(out->fd, 0666 & ~mask) || fsync(out->fd) ||
	    rename(out->temporary, out->path))
		return -errno;
	return 0;
}

/* r: what came before; the file stays only if that is 0. */
static int output_close(struct output *out, int r, struct ob_err *err)
{
	if (!out->temporary)
		return r;
	if (!r && (r = give_name(out)))
		ob_fail(err, -r, "%.80s: %s", out->path, strerror(-r));
	close(out->fd);
	if (r)
		unlink(out->temporary);
	free(out->temporary);
	return r;
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
	r = ob_qemu_writer_create(c->form, &c->device, output_put, &c->out,
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

static int to_native(struct output *out, struct state_source *src,
		     struct ob_err *err)
{
	uint8_t *buf = malloc(CHUNK);
	int n = 0, r = buf ? 0 : -ENOMEM;

	while (!r && (n = state_source_read(src, buf, CHUNK)) > 0)
		r = output_put(out, buf, (size_t)n);
	free(buf);
	r = r ? r : n;
	return r ? ob_fail(err, -r, "%s", strerror(-r)) : 0;
}

static int convert(struct conversion *c, struct state_source *src, bool native,
		   struct ob_err *err)
{
	int r;

	if (native == !state_source_qemu(src))
		return ob_fail(err, EINVAL, "%.80s: is in this form already",
			       state_source_name(src));
	r = output_open(&c->out, err);
	if (r)
		return r;
	r = native ? to_native(&c->out, src, err) : to_qemu(c, src, err);
	return output_close(&c->out, r, err);
}

int state_convert(const struct state_options *opts, struct ob_err *err)
{
	struct conversion c = {
		.load = { .ops = &ops, .models = opts->models },
		.out = { .path = opts->words[1] },
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
	r = convert(&c, src, native, err);
	state_source_close(src);
	return r ? TOOL_FAILED : TOOL_OK;
}
