/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The QEMU profile: the same state in the format of QEMU's migration stream
 * (QEMU docs/devel/migration/main.rst; integers big-endian).
 *
 *	file form	QEVM, version 3, configuration, one FULL section for
 *			the device with the hot part as a subsection, FULL
 *			sections for content, EOF, description (vmdesc)
 *	bare form	the device's FULL section, footer, EOF: what the first
 *			proposal of such a system sent (docs/migration.md)
 *
 * The device's section is "outboard/MODEL", instance 0, version 1:
 *
 *	identity	struct ob_stream_identity: who wrote it
 *	layout		a checksum of the tables; must be equal, since fields
 *			have no tags here that would tell them apart
 *	parts		one structure for each, fields in the tables' order
 *	MODEL/hot	a subsection, left out while all of it has its default
 *
 * Content is "outboard/content", instances counted from 0: kind, index, size
 * of the whole, offset, length; its bytes are the subsection content/data,
 * left out for zeros.  Every object has at least one piece, if need be of
 * length 0, so that a reader knows its size.
 *
 * vmdesc describes every byte between header and footer of each section.
 */
#ifndef OB_STATE_QEMU_H
#define OB_STATE_QEMU_H

#include "state/stream.h"

enum ob_qemu_form { OB_QEMU_FILE, OB_QEMU_BARE };

/* The data of one piece of content, and how many pieces there may be. */
#define OB_QEMU_PIECE_MAX (1u << 20)
#define OB_QEMU_PIECES_MAX (1u << 20)

struct ob_qemu_device {
	const char *model, *id;
	const struct ob_part *parts;
	unsigned nr_parts;
};

/* One piece of content; data NULL: length zeros. */
struct ob_qemu_content {
	struct ob_content_id id;
	uint64_t offset, length;
	const void *data;
};

/* A writer pushes bytes into put (0 or -errno). */
struct ob_qemu_writer;
typedef int (*ob_qemu_put)(void *arg, const void *bytes, size_t len);
/* device, its parts and names are borrowed until destroy. */
int ob_qemu_writer_create(enum ob_qemu_form form,
			  const struct ob_qemu_device *device, ob_qemu_put put,
			  void *arg, struct ob_qemu_writer **out,
			  struct ob_err *err);
/* Before the device or after it; file form only. */
int ob_qemu_write_content(struct ob_qemu_writer *w,
			  const struct ob_qemu_content *piece,
			  struct ob_err *err);
/* Once. */
int ob_qemu_write_device(struct ob_qemu_writer *w, struct ob_err *err);
/* EOF and, in the file form, the description. */
int ob_qemu_writer_end(struct ob_qemu_writer *w, struct ob_err *err);
void ob_qemu_writer_destroy(struct ob_qemu_writer *w);

/* Do bytes (at least 4, or the whole file) begin like either form? */
bool ob_qemu_is(const void *bytes, size_t len);

/*
 * Reads either form from memory-mapped or collected bytes into the parts'
 * bases (fresh structures at their defaults), by our own tables; content
 * goes to put_content (NULL: nowhere).  Sections of other devices end the
 * read with an error that names them, as does everything that does not
 * decode.  device->id is not used.
 */
typedef int (*ob_qemu_put_content)(void *arg,
				   const struct ob_qemu_content *piece);
int ob_qemu_read(const struct ob_qemu_device *device, const void *bytes,
		 size_t len, ob_qemu_put_content put_content, void *arg,
		 struct ob_err *err);
/* Who wrote it: the head of the device's section.  For tools. */
int ob_qemu_identify(const void *bytes, size_t len,
		     struct ob_stream_identity *identity, struct ob_err *err);

#endif
