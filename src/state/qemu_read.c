// SPDX-License-Identifier: BSD-3-Clause
/*
 * The reading half of the QEMU profile.  The format has no lengths: where a
 * section ends is known by decoding it, and the footer is the only check.  So
 * everything here stops at the first thing that is not as our own tables say,
 * and nothing is skipped because it looks unimportant.
 *
 * The description at the end is not used, as in QEMU; only its length must be
 * that of the rest of the file.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "state/qemu_impl.h"
#include "state/table_io.h"

struct head {
	uint32_t id, instance, version;
	char name[QEMU_NAME_MAX + 1];
};

struct input {
	struct ob_reader rd;
	const uint8_t *start;
	struct ob_err *err;
	bool bare;

	const struct ob_qemu_device *device;	/* NULL: only identify */
	struct ob_stream_identity identity;
	bool has_device;
	uint32_t nr_content;
	ob_qemu_put_content put_content;
	void *arg;
};

static size_t position(const struct input *in)
{
	return (size_t)(in->rd.at - in->start);
}

static int cut(const struct input *in, const char *what)
{
	return ob_fail(in->err, EBADMSG, "the file ends inside %s", what);
}

static int get_u32(struct input *in, uint32_t *value, const char *what)
{
	uint64_t v = 0;
	int r = qemu_get_uint(&in->rd, &v, 4);

	*value = (uint32_t)v;
	return r ? cut(in, what) : 0;
}

/* Names are shown to people and end up in terminals. */
static void copy_name(char *to, const uint8_t *from, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		to[i] = isgraph(from[i]) ? (char)from[i] : '?';
	to[len] = '\0';
}

static int get_name(struct input *in, char name[QEMU_NAME_MAX + 1],
		    const char *what)
{
	const uint8_t *text;
	uint8_t len;

	if (ob_get_u8(&in->rd, &len) || ob_get_view(&in->rd, &text, len))
		return cut(in, what);
	if (memchr(text, 0, len))
		return ob_fail(in->err, EBADMSG, "%s has a zero byte in it", what);
	copy_name(name, text, len);
	return 0;
}

static int check_version(const struct input *in, uint32_t version)
{
	if (version > QEMU_VMSD_VERSION)
		return ob_fail(in->err, ENOTSUP,
			       "version %u is newer than %u, the one known here",
			       version, QEMU_VMSD_VERSION);
	if (version < QEMU_VMSD_VERSION)
		return ob_fail(in->err, ENOTSUP,
			       "version %u is older than %u, the oldest known here",
			       version, QEMU_VMSD_VERSION);
	return 0;
}

/*
 * Is there a subsection next?  A name that does not begin with the parent's
 * would belong to somebody further out; we have nobody there.
 */
static int get_subsection(struct input *in, const char *parent,
			  const char *name, bool *found)
{
	char text[QEMU_NAME_MAX + 1], known[QEMU_NAME_MAX + 1];
	uint32_t version;
	int r;

	*found = ob_reader_left(&in->rd) && *in->rd.at == QEMU_SUBSECTION;
	if (!*found)
		return 0;
	ob_skip(&in->rd, 1);
	if ((r = get_name(in, text, "a subsection's name")))
		return r;
	snprintf(known, sizeof(known), "%s/%s", parent, name);
	if (strcmp(text, known))
		return ob_fail(in->err, ENOENT, "unknown subsection '%.80s'",
			       text);
	r = get_u32(in, &version, "a subsection's version");
	if (r || (r = check_version(in, version)))
		ob_err_prefix(in->err, "subsection '%s'", known);
	return r;
}

/* Content */

static int get_u64(struct input *in, uint64_t *value)
{
	return qemu_get_uint(&in->rd, value, 8) ? cut(in, "its fields") : 0;
}

static int get_piece(struct input *in, struct ob_qemu_content *piece)
{
	int r;

	if ((r = get_u32(in, &piece->id.kind, "kind")) ||
	    (r = get_u32(in, &piece->id.index, "index")) ||
	    (r = get_u64(in, &piece->id.size)) ||
	    (r = get_u64(in, &piece->offset)))
		return r;
	return get_u64(in, &piece->length);
}

static int check_piece(const struct input *in,
		       const struct ob_qemu_content *piece)
{
	if (piece->id.kind != OB_CONTENT_DRIVE && piece->id.kind != OB_CONTENT_BAR)
		return ob_fail(in->err, ENOTSUP, "kind: %u is unknown",
			       piece->id.kind);
	if (piece->offset > piece->id.size)
		return ob_fail(in->err, EINVAL, "offset: beyond size");
	if (piece->length > piece->id.size - piece->offset)
		return ob_fail(in->err, EINVAL, "length: beyond size");
	return 0;
}

static int get_data(struct input *in, struct ob_qemu_content *piece)
{
	const uint8_t *data;
	bool found;
	int r = get_subsection(in, QEMU_CONTENT, QEMU_DATA, &found);

	if (r || !found)
		return r;
	if (piece->length == 0 || piece->length > OB_QEMU_PIECE_MAX)
		return ob_fail(in->err, EINVAL,
			       "length: %llu is not within 1 and %u",
			       (unsigned long long)piece->length,
			       OB_QEMU_PIECE_MAX);
	if (ob_get_view(&in->rd, &data, (size_t)piece->length))
		return cut(in, "its data");
	piece->data = data;
	return 0;
}

static int read_content(struct input *in, const struct head *head)
{
	struct ob_qemu_content piece = { 0 };
	int r;

	if (in->bare)
		return ob_fail(in->err, EINVAL, "content has no place in the bare form");
	if (head->instance != in->nr_content)
		return ob_fail(in->err, EINVAL, "instance %u where %u was due",
			       head->instance, in->nr_content);
	if (in->nr_content++ == OB_QEMU_PIECES_MAX)
		return ob_fail(in->err, EFBIG, "more than %u pieces",
			       OB_QEMU_PIECES_MAX);
	if ((r = get_piece(in, &piece)) || (r = check_piece(in, &piece)) ||
	    (r = get_data(in, &piece)) || !in->put_content)
		return r;
	r = in->put_content(in->arg, &piece);
	return r ? ob_fail(in->err, -r, "content %u of kind %u: %s",
			   piece.id.index, piece.id.kind, strerror(-r)) : 0;
}

/* The device */

static bool is_text(const uint8_t *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size && bytes[i]; i++)
		if (!isprint(bytes[i]))
			return false;
	return i < size;
}

static int check_identity(const struct input *in, const char *model)
{
	const struct ob_stream_identity *who = &in->identity;

	if (!is_text(who->model, sizeof(who->model)) ||
	    !is_text(who->release, sizeof(who->release)) ||
	    !is_text(who->id, sizeof(who->id)))
		return ob_fail(in->err, EINVAL, "identity: not plain text");
	if (strcmp((const char *)who->model, model))
		return ob_fail(in->err, EINVAL,
			       "identity.model: %s is not the section's",
			       (const char *)who->model);
	return 0;
}

static int read_identity(struct input *in, const struct head *head)
{
	int r;

	if (in->has_device)
		return ob_fail(in->err, EEXIST, "the device a second time");
	in->has_device = true;
	if (head->instance)
		return ob_fail(in->err, EINVAL, "instance %u where 0 was due",
			       head->instance);
	r = qemu_get_table(&in->rd, &ob_stream_identity_table, &in->identity,
			   "identity", in->err);
	return r ? r : check_identity(in, head->name + strlen(QEMU_PREFIX));
}

static int check_layout(struct input *in)
{
	uint32_t ours = qemu_layout(in->device->parts, in->device->nr_parts);
	uint32_t theirs;
	int r = get_u32(in, &theirs, "layout");

	if (r || theirs == ours)
		return r;
	return ob_fail(in->err, ENOTSUP,
		       "layout: release %s had other fields; only a native stream tells them apart",
		       (const char *)in->identity.release);
}

static int read_hot(struct input *in, const struct ob_part *hot)
{
	bool found;
	int r;

	if (!hot) {	/* any name is unknown then */
		if (ob_reader_left(&in->rd) && *in->rd.at == QEMU_SUBSECTION)
			return ob_fail(in->err, ENOENT,
				       "a subsection, and this model has none");
		return 0;
	}
	r = get_subsection(in, in->device->model, QEMU_HOT, &found);
	if (r || !found)
		return r;
	return qemu_get_table(&in->rd, hot->table, hot->base, hot->name,
			      in->err);
}

static int read_parts(struct input *in)
{
	const struct ob_qemu_device *device = in->device;
	const struct ob_part *hot = qemu_hot(device), *part;
	int r = check_layout(in);

	for (part = device->parts; part < device->parts + device->nr_parts && !r;
	     part++)
		if (part != hot)
			r = qemu_get_table(&in->rd, part->table, part->base,
					   part->name, in->err);
	return r ? r : read_hot(in, hot);
}

/* Sections */

static int get_head(struct input *in, struct head *head)
{
	int r;

	if ((r = get_u32(in, &head->id, "a section's number")) ||
	    (r = get_name(in, head->name, "a section's name")) ||
	    (r = get_u32(in, &head->instance, "a section's instance")))
		return r;
	return get_u32(in, &head->version, "a section's version");
}

static int get_footer(struct input *in, uint32_t id)
{
	uint8_t type;
	uint32_t again;
	int r;

	if (ob_get_u8(&in->rd, &type))
		return cut(in, "its footer");
	if (type != QEMU_FOOTER)
		return ob_fail(in->err, EBADMSG,
			       "0x%02x where the footer was due", type);
	if ((r = get_u32(in, &again, "its footer")))
		return r;
	return again == id ? 0 :
		ob_fail(in->err, EBADMSG, "the footer of section %u, not %u",
			again, id);
}

/* Is it ours, and what of ours? */
static int classify(const struct input *in, const struct head *head,
		    bool *content)
{
	const char *name = head->name + strlen(QEMU_PREFIX);

	*content = false;
	if (strncmp(head->name, QEMU_PREFIX, strlen(QEMU_PREFIX)) || !*name)
		return ob_fail(in->err, ENODEV,
			       "a section of a device that is not ours");
	*content = !strcmp(name, QEMU_CONTENT);
	if (!*content && in->device && strcmp(name, in->device->model))
		return ob_fail(in->err, ENODEV, "not the model %s",
			       in->device->model);
	return 0;
}

static int read_section_body(struct input *in, const struct head *head)
{
	bool content;
	int r;

	if ((r = classify(in, head, &content)) ||
	    (r = check_version(in, head->version)))
		return r;
	if (content)
		r = read_content(in, head);
	else if (!(r = read_identity(in, head)))
		r = in->device ? read_parts(in) : 0;
	if (r || (!in->device && !content))
		return r;
	return get_footer(in, head->id);
}

static int read_section(struct input *in)
{
	struct head head;
	int r = get_head(in, &head);

	if (r)
		return r;
	r = read_section_body(in, &head);
	if (r)
		ob_err_prefix(in->err, "section '%.80s'", head.name);
	return r;
}

/* A type byte that is neither a whole section nor the end. */
static int refuse_type(struct input *in, uint8_t type)
{
	struct head head;

	if (type == QEMU_START && !get_head(in, &head))
		return ob_fail(in->err, ENODEV,
			       "section '%.80s': a section in parts, of a device that is not ours",
			       head.name);
	if (type == QEMU_COMMAND)
		return ob_fail(in->err, ENOTSUP, "a command at byte %zu",
			       position(in) - 1);
	return ob_fail(in->err, EBADMSG, "0x%02x at byte %zu is no section",
		       type, position(in) - 1);
}

/* Up to EOF; when only identifying, up to the device. */
static int read_sections(struct input *in)
{
	uint8_t type;
	int r;

	while (in->device || !in->has_device) {
		if (ob_get_u8(&in->rd, &type))
			return ob_fail(in->err, EBADMSG,
				       "the file ends without an end mark");
		if (type == QEMU_EOF)
			break;
		if (type != QEMU_FULL)
			return refuse_type(in, type);
		if ((r = read_section(in)))
			return r;
	}
	return in->has_device ? 0 :
		ob_fail(in->err, ENODEV, "no section of a device of ours");
}

/* The file */

static int read_configuration(struct input *in)
{
	char name[QEMU_NAME_MAX + 1];
	const uint8_t *text;
	uint32_t len;
	int r;

	if (!ob_reader_left(&in->rd) || *in->rd.at != QEMU_CONFIGURATION)
		return 0;
	ob_skip(&in->rd, 1);
	r = get_u32(in, &len, "the configuration");
	if (r || ob_get_view(&in->rd, &text, len))
		return r ? r : cut(in, "the configuration");
	copy_name(name, text, len < QEMU_NAME_MAX ? len : QEMU_NAME_MAX);
	if (len != strlen(QEMU_MACHINE) || strcmp(name, QEMU_MACHINE))
		return ob_fail(in->err, ENODEV,
			       "of the machine '%.80s', not of " QEMU_MACHINE,
			       name);
	return 0;
}

static int read_head(struct input *in)
{
	uint32_t magic, version;
	int r;

	if (in->bare)
		return 0;
	if ((r = get_u32(in, &magic, "its magic number")) ||
	    (r = get_u32(in, &version, "its version")))
		return r;
	if (version != QEMU_FILE_VERSION)
		return ob_fail(in->err, ENOTSUP, "version %u of the format; %u is known here",
			       version, QEMU_FILE_VERSION);
	return read_configuration(in);
}

static int read_end(struct input *in)
{
	uint32_t len;
	int r;

	if (!in->bare && ob_reader_left(&in->rd) &&
	    *in->rd.at == QEMU_DESCRIPTION) {
		ob_skip(&in->rd, 1);
		r = get_u32(in, &len, "the description");
		if (r || ob_skip(&in->rd, len))
			return r ? r : cut(in, "the description");
	}
	if (ob_reader_left(&in->rd))
		return ob_fail(in->err, EBADMSG, "%zu bytes behind the end",
			       ob_reader_left(&in->rd));
	return 0;
}

bool ob_qemu_is(const void *bytes, size_t len)
{
	struct ob_reader rd;
	uint64_t magic;

	ob_reader_init(&rd, bytes, len);
	return len && (*(const uint8_t *)bytes == QEMU_FULL ||
		       (!qemu_get_uint(&rd, &magic, 4) && magic == QEMU_MAGIC));
}

static int begin(struct input *in, const void *bytes, size_t len)
{
	if (!ob_qemu_is(bytes, len))
		return ob_fail(in->err, EINVAL, "not in QEMU's format");
	ob_reader_init(&in->rd, bytes, len);
	in->start = in->rd.at;
	in->bare = *in->rd.at == QEMU_FULL;
	return read_head(in);
}

int ob_qemu_read(const struct ob_qemu_device *device, const void *bytes,
		 size_t len, ob_qemu_put_content put_content, void *arg,
		 struct ob_err *err)
{
	struct input in = {
		.err = err, .device = device, .put_content = put_content,
		.arg = arg,
	};
	unsigned i;
	int r;

	if ((r = begin(&in, bytes, len)) || (r = read_sections(&in)) ||
	    (r = read_end(&in)))
		return r;
	for (i = 0; i < device->nr_parts && !r; i++)
		r = ob_table_check_values(device->parts[i].table,
					  device->parts[i].base,
					  device->parts[i].name, err);
	return r;
}

int ob_qemu_identify(const void *bytes, size_t len,
		     struct ob_stream_identity *identity, struct ob_err *err)
{
	struct input in = { .err = err };
	int r;

	if ((r = begin(&in, bytes, len)) || (r = read_sections(&in)))
		return r;
	*identity = in.identity;
	return 0;
}
