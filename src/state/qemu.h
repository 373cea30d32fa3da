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
 * vmdesc describes every byte between header and footer of each section.
 */
#ifndef OB_STATE_QEMU_H
#define OB_STATE_QEMU_H

#include "state/stream.h"

enum ob_qemu_form { OB_QEMU_FILE, OB_QEMU_BARE };

struct ob_qemu_device {
	const char *model, *id;
	const struct ob_part *parts;
	unsigned nr_parts;
};

/* One piece of content to be written; data of length bytes. */
struct ob_qemu_content {
	struct ob_content_id id;
	uint64_t offset;
	const void *data;
	uint32_t length;
};

/* A writer pushes bytes into put (0 or -errno). */
struct ob_qemu_writer;
typedef int (*ob_qemu_put)(void *arg, const void *bytes, size_t len);
int ob_qemu_writer_create(enum ob_qemu_form form,
			  const struct ob_qemu_device *device, ob_qemu_put put,
			  void *arg, struct ob_qemu_writer **out,
			  struct ob_err *err);
/* Before the device or after it; file form only. */
int ob_qemu_write_content(struct ob_qemu_writer *w,
			  const struct ob_qemu_content *piece,
			  struct ob_err *err);
int ob_qemu_write_device(struct ob_qemu_writer *w, struct ob_err *err);
/* EOF and, in the file form, the description. */
int ob_qemu_writer_end(struct ob_qemu_writer *w, struct ob_err *err);
void ob_qemu_writer_destroy(struct ob_qemu_writer *w);

/*
 * Reads either form from memory-mapped or collected bytes into the parts'
 * bases (fresh structures at their defaults), by our own tables; content
 * goes to put_content.  Sections of other devices end the read with an error
 * that names them, as does everything that does not decode.
 */
int ob_qemu_read(const struct ob_qemu_device *device, const void *bytes,
		 size_t len,
		 int (*put_content)(void *arg,
				    const struct ob_qemu_content *piece),
		 void *arg, struct ob_err *err);
/* The model named by the first device section; -EINVAL.  For tools. */
int ob_qemu_find_model(const void *bytes, size_t len, char model[32],
		       struct ob_err *err);

#endif
