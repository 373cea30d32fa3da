// SPDX-License-Identifier: BSD-3-Clause
/*
 * The writing half of the QEMU profile; qemu.h has the layout.  Nothing is
 * kept of what was written but the length of each piece of content, for the
 * description at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ob_config.h"
#include "state/qemu_impl.h"

struct ob_qemu_writer {
	enum ob_qemu_form form;
	const struct ob_qemu_device *device;
	struct qemu_sink sink;
	uint32_t sections;
	bool has_device, has_hot, ended;
	uint32_t *data;			/* of each piece; 0: zeros */
	uint32_t nr_data, room;
};

static int sent(struct ob_qemu_writer *w, struct ob_err *err)
{
	int r = qemu_flush(&w->sink);

	return r ? ob_fail(err, -r, "cannot write: %s", strerror(-r)) : 0;
}

static int check_model(const struct ob_qemu_device *device, struct ob_err *err)
{
	size_t len = strlen(device->model);

	if (len == 0 || len >= OB_SIZEOF_FIELD(struct ob_stream_identity, model) ||
	    !strcmp(device->model, QEMU_CONTENT))
		return ob_fail(err, EINVAL, "'%.40s' is no name for a section",
			       device->model);
	return 0;
}

static void put_head(struct ob_qemu_writer *w)
{
	qemu_put_uint(&w->sink, QEMU_MAGIC, 4);
	qemu_put_uint(&w->sink, QEMU_FILE_VERSION, 4);
	qemu_put_uint(&w->sink, QEMU_CONFIGURATION, 1);
	qemu_put_uint(&w->sink, strlen(QEMU_MACHINE), 4);
	qemu_put(&w->sink, QEMU_MACHINE, strlen(QEMU_MACHINE));
}

int ob_qemu_writer_create(enum ob_qemu_form form,
			  const struct ob_qemu_device *device, ob_qemu_put put,
			  void *arg, struct ob_qemu_writer **out,
			  struct ob_err *err)
{
	struct ob_qemu_writer *w;
	int r = check_model(device, err);

	if (r)
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return ob_fail(err, ENOMEM, "out of memory");
	w->form = form;
	w->device = device;
	w->sink.put = put;
	w->sink.arg = arg;
	if (form == OB_QEMU_FILE)
		put_head(w);
	*out = w;
	return 0;
}

void ob_qemu_writer_destroy(struct ob_qemu_writer *w)
{
	if (!w)
		return;
	free(w->data);
	free(w);
}

/* Returns the section's number, which its footer repeats. */
static uint32_t begin_section(struct ob_qemu_writer *w, const char *name,
			      uint32_t instance)
{
	size_t prefix = strlen(QEMU_PREFIX);

	qemu_put_uint(&w->sink, QEMU_FULL, 1);
	qemu_put_uint(&w->sink, w->sections, 4);
	qemu_put_uint(&w->sink, prefix + strlen(name), 1);
	qemu_put(&w->sink, QEMU_PREFIX, prefix);
	qemu_put(&w->sink, name, strlen(name));
	qemu_put_uint(&w->sink, instance, 4);
	qemu_put_uint(&w->sink, QEMU_VMSD_VERSION, 4);
	return w->sections++;
}

static void end_section(struct ob_qemu_writer *w, uint32_t id)
{
	qemu_put_uint(&w->sink, QEMU_FOOTER, 1);
	qemu_put_uint(&w->sink, id, 4);
}

static void begin_subsection(struct ob_qemu_writer *w, const char *parent,
			     const char *name)
{
	qemu_put_uint(&w->sink, QEMU_SUBSECTION, 1);
	qemu_put_uint(&w->sink, strlen(parent) + 1 + strlen(name), 1);
	qemu_put(&w->sink, parent, strlen(parent));
	qemu_put(&w->sink, "/", 1);
	qemu_put(&w->sink, name, strlen(name));
	qemu_put_uint(&w->sink, QEMU_VMSD_VERSION, 4);
}

/* Content */

static int check_piece(const struct ob_qemu_writer *w,
		       const struct ob_qemu_content *piece, struct ob_err *err)
{
	if (w->form != OB_QEMU_FILE)
		return ob_fail(err, EINVAL, "content has no place in the bare form");
	if (piece->offset > piece->id.size ||
	    piece->length > piece->id.size - piece->offset)
		return ob_fail(err, EINVAL, "content beyond the end of its object");
	if (piece->data && piece->length > OB_QEMU_PIECE_MAX)
		return ob_fail(err, EINVAL, "a piece of content of more than %u bytes",
			       OB_QEMU_PIECE_MAX);
	if (w->nr_data == OB_QEMU_PIECES_MAX)
		return ob_fail(err, EFBIG, "more than %u pieces of content",
			       OB_QEMU_PIECES_MAX);
	return 0;
}

static int remember(struct ob_qemu_writer *w, uint32_t data)
{
	uint32_t room = w->room ? 2 * w->room : 64;
	uint32_t *grown;

	if (w->nr_data == w->room) {
		grown = realloc(w->data, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->data = grown;
		w->room = room;
	}
	w->data[w->nr_data++] = data;
	return 0;
}

int ob_qemu_write_content(struct ob_qemu_writer *w,
			  const struct ob_qemu_content *piece,
			  struct ob_err *err)
{
	uint32_t data = piece->data ? (uint32_t)piece->length : 0, id;
	int r = check_piece(w, piece, err);

	if (r)
		return r;
	if (remember(w, data))
		return ob_fail(err, ENOMEM, "out of memory");
	id = begin_section(w, QEMU_CONTENT, w->nr_data - 1);
	qemu_put_uint(&w->sink, piece->id.kind, 4);
	qemu_put_uint(&w->sink, piece->id.index, 4);
	qemu_put_uint(&w->sink, piece->id.size, 8);
	qemu_put_uint(&w->sink, piece->offset, 8);
	qemu_put_uint(&w->sink, piece->length, 8);
	if (data) {
		begin_subsection(w, QEMU_CONTENT, QEMU_DATA);
		qemu_put(&w->sink, piece->data, data);
	}
	end_section(w, id);
	return sent(w, err);
}

/* The device */

static void put_identity(struct ob_qemu_writer *w)
{
	struct ob_stream_identity identity = { 0 };
	const struct ob_qemu_device *device = w->device;

	memcpy(identity.model, device->model, strlen(device->model));
	memcpy(identity.release, OB_VERSION,
	       strnlen(OB_VERSION, sizeof(identity.release) - 1));
	if (device->id)
		memcpy(identity.id, device->id,
		       strnlen(device->id, sizeof(identity.id)));
	qemu_put_table(&w->sink, &ob_stream_identity_table, &identity);
	qemu_put_uint(&w->sink, qemu_layout(device->parts, device->nr_parts), 4);
}

int ob_qemu_write_device(struct ob_qemu_writer *w, struct ob_err *err)
{
	const struct ob_qemu_device *device = w->device;
	const struct ob_part *hot = qemu_hot(device);
	uint32_t id;
	unsigned i;

	if (w->has_device)
		return ob_fail(err, EINVAL, "the device was written already");
	w->has_device = true;
	id = begin_section(w, device->model, 0);
	put_identity(w);
	for (i = 0; i < device->nr_parts; i++)
		if (&device->parts[i] != hot)
			qemu_put_table(&w->sink, device->parts[i].table,
				       device->parts[i].base);
	w->has_hot = hot && !qemu_is_default(hot->table, hot->base);
	if (w->has_hot) {
		begin_subsection(w, device->model, QEMU_HOT);
		qemu_put_table(&w->sink, hot->table, hot->base);
	}
	end_section(w, id);
	return sent(w, err);
}

/* The end */

static int count_text(void *arg, const char *text, size_t len)
{
	uint64_t *total = arg;

	(void)text;
	*total += len;
	return 0;
}

static int put_text(void *arg, const char *text, size_t len)
{
	struct qemu_sink *sink = arg;

	qemu_put(sink, text, len);
	return sink->rc;
}

static bool has_brace(uint64_t len)
{
	for (; len; len >>= 8)
		if ((len & 0xff) == '{')
			return true;
	return false;
}

/*
 * Readers look for the description from the end of the file: the first brace
 * after the last zero byte.  The length stands just before it, so that it must
 * not have a brace in it; ends of line at the end of the text see to that.
 */
static int put_description(struct ob_qemu_writer *w)
{
	const struct qemu_written written = {
		w->device, w->has_hot, w->data, w->nr_data
	};
	uint64_t text = 0, len;
	int r = qemu_describe(&written, count_text, &text);

	for (len = text; has_brace(len); len++)
		;
	if (r || len > UINT32_MAX)
		return r ? r : -EFBIG;
	qemu_put_uint(&w->sink, QEMU_DESCRIPTION, 1);
	qemu_put_uint(&w->sink, len, 4);
	r = qemu_describe(&written, put_text, &w->sink);
	for (; text < len; text++)
		qemu_put(&w->sink, "\n", 1);
	return r;
}

int ob_qemu_writer_end(struct ob_qemu_writer *w, struct ob_err *err)
{
	int r;

	if (!w->has_device || w->ended)
		return ob_fail(err, EINVAL, w->ended ? "ended already" :
			       "the device was not written");
	w->ended = true;
	qemu_put_uint(&w->sink, QEMU_EOF, 1);
	if (w->form == OB_QEMU_FILE && (r = put_description(w)))
		return ob_fail(err, -r, "cannot write the description: %s",
			       strerror(-r));
	return sent(w, err);
}
