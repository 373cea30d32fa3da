// SPDX-License-Identifier: BSD-3-Clause
/*
 * The QEMU profile's reader.  The first byte chooses between raw bytes and a
 * good file with some of its bytes replaced, cut or followed by more, which
 * gets behind the checksum of the layout.  What is accepted keeps to its
 * bounds, and content stays inside its object.
 */
#include <stdlib.h>
#include <string.h>

#include "state/qemu.h"
#include "state/table_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct part {
	uint8_t small;
	uint8_t reserved[3];
	uint32_t bounded[4];
	uint64_t wide;
};

static const struct ob_field rows[] = {
	OB_U8(1, struct part, small, "0.1", .max = 1),
	OB_RESERVED(struct part, reserved),
	OB_U32(2, struct part, bounded, "0.1", .max = 100),
	OB_U64(3, struct part, wide, "0.1", .def = 5),
	OB_END
};
static const struct ob_table table = { "part", sizeof(struct part), rows };

static struct part plain, hot;
static const struct ob_part parts[] = {
	{ "plain", &table, &plain }, { "hot", &table, &hot },
};
static const struct ob_qemu_device device = { "toy", "id", parts, 2 };

static uint8_t file[1 << 16];
static size_t file_len;

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int put(void *arg, const void *data, size_t len)
{
	(void)arg;
	require(len <= sizeof(file) - file_len);
	memcpy(file + file_len, data, len);
	file_len += len;
	return 0;
}

static int take(void *arg, const struct ob_qemu_content *piece)
{
	uint8_t *sum = arg;

	require(piece->offset + piece->length >= piece->offset);
	require(piece->offset + piece->length <= piece->id.size);
	for (uint64_t i = 0; piece->data && i < piece->length; i++)
		*sum += ((const uint8_t *)piece->data)[i];
	return 0;
}

static void write_good(enum ob_qemu_form form)
{
	static const struct ob_qemu_content pieces[] = {
		{ { OB_CONTENT_DRIVE, 0, 4096 }, 16, 8, "content!" },
		{ { OB_CONTENT_BAR, 2, 4096 }, 0, 4096, NULL },
	};
	struct ob_qemu_writer *w;

	file_len = 0;
	hot.wide = 6;		/* so that its subsection is there */
	require(!ob_qemu_writer_create(form, &device, put, NULL, &w, NULL));
	for (unsigned i = 0; i < 2 && form == OB_QEMU_FILE; i++)
		require(!ob_qemu_write_content(w, &pieces[i], NULL));
	require(!ob_qemu_write_device(w, NULL));
	require(!ob_qemu_writer_end(w, NULL));
	ob_qemu_writer_destroy(w);
}

/* Triples: where, and what; the last byte may cut or lengthen. */
static void spoil(const uint8_t *bytes, size_t len)
{
	for (; len >= 3; bytes += 3, len -= 3)
		file[(bytes[0] << 8 | bytes[1]) % file_len] = bytes[2];
	if (len == 1)
		file_len -= bytes[0] % file_len;
	if (len == 2)
		file_len += bytes[0];
}

static void read_it(const uint8_t *bytes, size_t len)
{
	struct ob_stream_identity identity;
	struct ob_err err = { 0 };
	uint8_t sum = 0;

	ob_table_defaults(&table, &plain);
	ob_table_defaults(&table, &hot);
	if (ob_qemu_read(&device, bytes, len, take, &sum, &err)) {
		require(err.msg[0] && memchr(err.msg, 0, sizeof(err.msg)));
		ob_qemu_identify(bytes, len, &identity, &err);
		return;
	}
	require(plain.small <= 1 && hot.small <= 1 && plain.bounded[3] <= 100);
	require(!ob_qemu_identify(bytes, len, &identity, NULL));
	require(!strcmp((char *)identity.model, "toy"));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t *copy;

	if (!len)
		return 0;
	ob_table_defaults(&table, &plain);
	ob_table_defaults(&table, &hot);
	if (bytes[0] & 1) {
		write_good(bytes[0] & 2 ? OB_QEMU_BARE : OB_QEMU_FILE);
		spoil(bytes + 1, len - 1);
		bytes = file;
		len = file_len;
	} else {
		bytes++;
		len--;
	}
	copy = malloc(len + !len);	/* so that overruns are seen */
	require(copy);
	memcpy(copy, bytes, len);
	read_it(copy, len);
	free(copy);
	return 0;
}
