// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes out, collected into pieces of a few KiB, so that a table of small
 * fields does not become a call for each.  Errors stay: the caller looks once,
 * at the end of a section.
 */
#include <string.h>

#include "state/qemu_impl.h"

static void hand_over(struct qemu_sink *sink, const void *bytes, size_t len)
{
	if (!sink->rc && len)
		sink->rc = sink->put(sink->arg, bytes, len);
}

int qemu_flush(struct qemu_sink *sink)
{
	hand_over(sink, sink->buf, sink->used);
	sink->used = 0;
	return sink->rc;
}

void qemu_put(struct qemu_sink *sink, const void *bytes, size_t len)
{
	if (len > sizeof(sink->buf) - sink->used)
		qemu_flush(sink);
	if (len > sizeof(sink->buf)) {
		hand_over(sink, bytes, len);
	} else if (len) {
		memcpy(sink->buf + sink->used, bytes, len);
		sink->used += len;
	}
}

void qemu_put_zeros(struct qemu_sink *sink, size_t len)
{
	static const uint8_t zeros[256];
	size_t n;

	for (; len; len -= n) {
		n = len < sizeof(zeros) ? len : sizeof(zeros);
		qemu_put(sink, zeros, n);
	}
}

void qemu_put_uint(struct qemu_sink *sink, uint64_t value, unsigned size)
{
	uint8_t bytes[8];
	unsigned i;

	for (i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
	qemu_put(sink, bytes, size);
}

void qemu_put_name(struct qemu_sink *sink, const char *name)
{
	size_t len = strnlen(name, QEMU_NAME_MAX);

	qemu_put_uint(sink, len, 1);
	qemu_put(sink, name, len);
}
