/* SPDX-License-Identifier: BSD-3-Clause */
/* What writer and reader of the QEMU profile share. */
#ifndef OB_STATE_QEMU_IMPL_H
#define OB_STATE_QEMU_IMPL_H

#include <jansson.h>

#include "base/bytes.h"
#include "state/qemu.h"

#define QEMU_MAGIC 0x5145564du		/* "QEVM" */
#define QEMU_FILE_VERSION 3u
#define QEMU_MACHINE "outboard"		/* in the configuration section */
#define QEMU_PREFIX "outboard/"
#define QEMU_CONTENT "content"		/* no model may have that name */
#define QEMU_DATA "data"
#define QEMU_HOT "hot"
#define QEMU_VMSD_VERSION 1u
#define QEMU_NAME_MAX 255u

enum qemu_type {
	QEMU_EOF, QEMU_START, QEMU_PART, QEMU_END, QEMU_FULL, QEMU_SUBSECTION,
	QEMU_DESCRIPTION, QEMU_CONFIGURATION, QEMU_COMMAND,
	QEMU_FOOTER = 0x7e,
};

/* qemu_sink.c: bytes out, big-endian; the first error stays in rc. */
struct qemu_sink {
	ob_qemu_put put;
	void *arg;
	int rc;
	size_t used;
	uint8_t buf[4096];
};
void qemu_put(struct qemu_sink *sink, const void *bytes, size_t len);
void qemu_put_zeros(struct qemu_sink *sink, size_t len);
void qemu_put_uint(struct qemu_sink *sink, uint64_t value, unsigned size);
/* A length of one byte, then the text. */
void qemu_put_name(struct qemu_sink *sink, const char *name);
int qemu_flush(struct qemu_sink *sink);

/* qemu_fields.c: structures out and in, by their tables. */
void qemu_put_table(struct qemu_sink *sink, const struct ob_table *table,
		    const void *base);
/* -EBADMSG with the field's path, which begins with name, when bytes lack. */
int qemu_get_table(struct ob_reader *rd, const struct ob_table *table,
		   void *base, const char *name, struct ob_err *err);
int qemu_get_uint(struct ob_reader *rd, uint64_t *value, unsigned size);
bool qemu_is_default(const struct ob_table *table, const void *base);
/* The same for all builds whose parts have the same bytes on the wire. */
uint32_t qemu_layout(const struct ob_part *parts, unsigned nr_parts);
/* The part that travels as a subsection; NULL: none. */
const struct ob_part *qemu_hot(const struct ob_qemu_device *device);

/* qemu_desc.c */
/* What was written, for the description; data: of each piece, 0: zeros. */
struct qemu_written {
	const struct ob_qemu_device *device;
	bool hot;
	const uint32_t *data;
	uint32_t nr_data;
};
/* The description as text, through put. */
int qemu_describe(const struct qemu_written *written,
		  int (*put)(void *arg, const char *text, size_t len),
		  void *arg);

#endif
