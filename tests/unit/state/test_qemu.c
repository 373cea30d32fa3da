// SPDX-License-Identifier: BSD-3-Clause
/*
 * The QEMU profile: what is written is read again, the bytes are those of the
 * format, and whatever is done to a file ends in a named refusal or in values
 * that keep to their bounds.
 */
#include "../base/unit.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "state/qemu.h"
#include "state/table_io.h"

struct inner {
	uint16_t a;
	uint8_t b[2];
	uint32_t c;
};

struct plain {
	uint8_t one;
	uint8_t reserved[3];
	uint32_t bounded;
	uint64_t wide[2];
	struct inner inner[3];
	uint8_t text[8];
};

struct hot {
	uint32_t cursor, def;
};

static const struct ob_field inner_rows[] = {
	OB_U16(1, struct inner, a, "0.1"),
	OB_BYTES(2, struct inner, b, "0.1"),
	OB_U32(3, struct inner, c, "0.1"),
	OB_END
};
static const struct ob_table inner_table = {
	"inner", sizeof(struct inner), inner_rows
};
static const struct ob_field plain_rows[] = {
	OB_U8(1, struct plain, one, "0.1", .max = 1),
	OB_RESERVED(struct plain, reserved),
	OB_U32(2, struct plain, bounded, "0.1", .max = 1000),
	OB_U64(3, struct plain, wide, "0.1"),
	OB_STRUCTS(4, struct plain, inner, struct inner, &inner_table, "0.1"),
	OB_BYTES(5, struct plain, text, "0.1"),
	OB_END
};
static const struct ob_table plain_table = {
	"plain", sizeof(struct plain), plain_rows
};
static const struct ob_field hot_rows[] = {
	OB_U32(1, struct hot, cursor, "0.1"),
	OB_U32(2, struct hot, def, "0.1", .def = 7),
	OB_END
};
static const struct ob_table hot_table = {
	"hot", sizeof(struct hot), hot_rows
};

struct dev {
	struct plain plain;
	struct hot hot;
	struct ob_part parts[2];
	struct ob_qemu_device device;
};

static void dev_init(struct dev *d)
{
	memset(d, 0, sizeof(*d));
	d->hot.def = 7;
	d->parts[0] = (struct ob_part){ "plain", &plain_table, &d->plain };
	d->parts[1] = (struct ob_part){ "hot", &hot_table, &d->hot };
	d->device = (struct ob_qemu_device){ "toy", "toy0", d->parts, 2 };
}

static void dev_fill(struct dev *d)
{
	static const struct plain plain = {
		.one = 1, .bounded = 999, .wide = { 0x0102030405060708, 5 },
		.inner = { { 1, "ab", 2 }, { 3, "cd", 4 }, { 5, "ef", 6 } },
		.text = "outboar",
	};

	dev_init(d);
	d->plain = plain;
	d->hot.cursor = 0x11223344;
}

/* A file in memory. */
struct file {
	uint8_t bytes[16384];
	size_t len, room;
};

static int put(void *arg, const void *bytes, size_t len)
{
	struct file *f = arg;

	if (len > f->room - f->len)
		return -ENOSPC;
	memcpy(f->bytes + f->len, bytes, len);
	f->len += len;
	return 0;
}

static int try_write(struct file *f, enum ob_qemu_form form,
		     const struct dev *d, const struct ob_qemu_content *pieces,
		     unsigned nr_pieces, struct ob_err *err)
{
	struct ob_qemu_writer *w = NULL;
	unsigned i;
	int r = ob_qemu_writer_create(form, &d->device, put, f, &w, err);

	for (i = 0; i < nr_pieces && !r; i++)
		r = ob_qemu_write_content(w, &pieces[i], err);
	if (!r)
		r = ob_qemu_write_device(w, err);
	if (!r)
		r = ob_qemu_writer_end(w, err);
	ob_qemu_writer_destroy(w);
	return r;
}

static void write_file(struct file *f, enum ob_qemu_form form,
		       const struct dev *d)
{
	f->len = 0;
	f->room = sizeof(f->bytes);
	assert_int_equal(try_write(f, form, d, NULL, 0, NULL), 0);
}

static int read_file(const struct file *f, struct dev *d, struct ob_err *err)
{
	dev_init(d);
	return ob_qemu_read(&d->device, f->bytes, f->len, NULL, NULL, err);
}

static void assert_same(const struct dev *a, const struct dev *b)
{
	assert_memory_equal(&a->plain, &b->plain, sizeof(a->plain));
	assert_memory_equal(&a->hot, &b->hot, sizeof(a->hot));
}

/* err names all the words. */
static void refused(const struct file *f, int errnum, const char *word)
{
	struct ob_err err = { "" };
	struct dev d;

	assert_int_equal(read_file(f, &d, &err), -errnum);
	if (!strstr(err.msg, word))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static uint8_t *find(struct file *f, const void *what, size_t len)
{
	return memmem(f->bytes, f->len, what, len);
}

static void insert(struct file *f, size_t at, const void *bytes, size_t len)
{
	memmove(f->bytes + at + len, f->bytes + at, f->len - at);
	memcpy(f->bytes + at, bytes, len);
	f->len += len;
}

static void cut_out(struct file *f, size_t at, size_t len)
{
	memmove(f->bytes + at, f->bytes + at + len, f->len - at - len);
	f->len -= len;
}

/* Where the device's section begins and ends in each form. */
#define FILE_HEAD (4 + 4 + 1 + 4 + 8)
#define SECTION_HEAD (1 + 4 + 1 + 12 + 4 + 4)
#define IDENTITY (128 + 4)

static void both_forms_come_back(void **state)
{
	struct file f;
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	assert_true(ob_qemu_is(f.bytes, f.len));
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
	write_file(&f, OB_QEMU_BARE, &a);
	assert_true(ob_qemu_is(f.bytes, f.len));
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
}

static void bare_form_is_section_footer_end(void **state)
{
	static const uint8_t head[] = {
		4, 0, 0, 0, 0, 12, 'o', 'u', 't', 'b', 'o', 'a', 'r', 'd', '/',
		't', 'o', 'y', 0, 0, 0, 0, 0, 0, 0, 1, 't', 'o', 'y', 0,
	};
	static const uint8_t body[] = {
		1, 0, 0, 0, 0, 0, 3, 231, 1, 2, 3, 4, 5, 6, 7, 8,
		0, 0, 0, 0, 0, 0, 0, 5,
		0, 1, 'a', 'b', 0, 0, 0, 2, 0, 3, 'c', 'd', 0, 0, 0, 4,
		0, 5, 'e', 'f', 0, 0, 0, 6,
		'o', 'u', 't', 'b', 'o', 'a', 'r', 0,
		5, 7, 't', 'o', 'y', '/', 'h', 'o', 't', 0, 0, 0, 1,
		0x11, 0x22, 0x33, 0x44, 0, 0, 0, 7,
		0x7e, 0, 0, 0, 0, 0,
	};
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	memset(a.plain.reserved, 0xee, sizeof(a.plain.reserved));
	write_file(&f, OB_QEMU_BARE, &a);
	assert_int_equal(f.len, SECTION_HEAD + IDENTITY + sizeof(body));
	assert_memory_equal(f.bytes, head, sizeof(head));
	assert_memory_equal(f.bytes + SECTION_HEAD + IDENTITY, body,
			    sizeof(body));
}

static void file_form_has_head_and_description(void **state)
{
	static const uint8_t head[] = {
		'Q', 'E', 'V', 'M', 0, 0, 0, 3, 7, 0, 0, 0, 8,
		'o', 'u', 't', 'b', 'o', 'a', 'r', 'd', 4,
	};
	struct file f;
	json_t *desc;
	uint8_t *brace;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	assert_memory_equal(f.bytes, head, sizeof(head));
	brace = find(&f, "{\"page_size\":4096", 17);
	assert_non_null(brace);
	assert_int_equal(brace[-5], 6);
	assert_int_equal(brace[-6], 0);
	assert_int_equal(brace[-4] << 24 | brace[-3] << 16 | brace[-2] << 8 |
			 brace[-1], f.bytes + f.len - brace);
	desc = json_loadb((char *)brace, (size_t)(f.bytes + f.len - brace), 0,
			  NULL);
	assert_int_equal(json_array_size(json_object_get(desc, "devices")), 1);
	json_decref(desc);
}

static void hot_part_at_its_defaults_is_left_out(void **state)
{
	struct file f;
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	a.hot.cursor = 0;
	write_file(&f, OB_QEMU_FILE, &a);
	assert_null(find(&f, "toy/hot", 7));
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
	a.hot.def = 0;		/* which is not its default */
	write_file(&f, OB_QEMU_FILE, &a);
	assert_non_null(find(&f, "toy/hot", 7));
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
}

static void reserved_bytes_do_not_travel(void **state)
{
	struct file f;
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	f.bytes[SECTION_HEAD + IDENTITY + 1] = 0xee;
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
}

static void writer_is_told_by_name(void **state)
{
	struct ob_stream_identity identity;
	struct ob_err err = { "" };
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	assert_int_equal(ob_qemu_identify(f.bytes, f.len, &identity, &err), 0);
	assert_string_equal((char *)identity.model, "toy");
	assert_string_equal((char *)identity.id, "toy0");
	assert_int_equal(identity.release[0], '0');
	a.device.model = "content";
	f.len = 0;
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, NULL, 0, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "'content'"));
}

/* Content */

struct got {
	uint8_t bytes[32];
	unsigned pieces, zeros;
	int rc;
};

static int take(void *arg, const struct ob_qemu_content *piece)
{
	struct got *got = arg;

	assert_int_equal(piece->id.kind, OB_CONTENT_DRIVE);
	assert_int_equal(piece->id.index, 2);
	assert_int_equal(piece->id.size, sizeof(got->bytes));
	assert_true(piece->offset + piece->length <= sizeof(got->bytes));
	got->pieces++;
	if (piece->data) {
		memcpy(got->bytes + piece->offset, piece->data, piece->length);
	} else {
		memset(got->bytes + piece->offset, 0, piece->length);
		got->zeros++;
	}
	return got->rc;
}

static const struct ob_qemu_content pieces[] = {
	{ { OB_CONTENT_DRIVE, 2, 32 }, 0, 0, NULL },
	{ { OB_CONTENT_DRIVE, 2, 32 }, 4, 8, "abcdefgh" },
	{ { OB_CONTENT_DRIVE, 2, 32 }, 6, 4, NULL },
	{ { OB_CONTENT_DRIVE, 2, 32 }, 31, 1, "\005" },
};

static void content_comes_in_order(void **state)
{
	struct got got = { .pieces = 0 };
	struct ob_err err = { "" };
	struct file f = { .room = sizeof(f.bytes) };
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	memset(got.bytes, 0, sizeof(got.bytes));
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, pieces, 4, NULL), 0);
	dev_init(&b);
	assert_int_equal(ob_qemu_read(&b.device, f.bytes, f.len, take, &got,
				      NULL), 0);
	assert_same(&a, &b);
	assert_int_equal(got.pieces, 4);
	assert_int_equal(got.zeros, 2);
	assert_memory_equal(got.bytes, "\0\0\0\0ab\0\0\0\0gh", 12);
	assert_int_equal(got.bytes[31], 5);
	got.rc = -ENOSPC;
	assert_int_equal(ob_qemu_read(&b.device, f.bytes, f.len, take, &got,
				      &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "content 2 of kind 1"));
}

static void content_out_of_place_is_refused(void **state)
{
	struct ob_qemu_content beyond = pieces[1];
	struct ob_err err = { "" };
	struct file f = { .room = sizeof(f.bytes) };
	struct dev a;

	(void)state;
	dev_fill(&a);
	assert_int_equal(try_write(&f, OB_QEMU_BARE, &a, pieces, 1, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "bare"));
	beyond.offset = 25;
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, &beyond, 1, &err),
			 -EINVAL);
	f.len = 0;
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, pieces, 4, &err), 0);
	/* kind, index, size, offset, length of the second piece */
	find(&f, "\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\10", 16)[7] = 25;
	refused(&f, EINVAL, "section 'outboard/content': length: beyond size");
}

static void repeated_piece_is_refused(void **state)
{
	struct file f = { .room = sizeof(f.bytes) };
	uint8_t copy[256], *at;
	struct dev a;
	size_t len;

	(void)state;
	dev_fill(&a);
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, pieces, 2, NULL), 0);
	at = f.bytes + FILE_HEAD;
	len = 1 + 4 + 1 + 16 + 4 + 4 + 32 + 5;
	memcpy(copy, at, len);
	insert(&f, FILE_HEAD, copy, len);
	refused(&f, EINVAL, "instance 0 where 1 was due");
}

/* Refusals */

static void other_devices_are_named(void **state)
{
	static const uint8_t ram[] = { 1, 0, 0, 0, 9, 3, 'r', 'a', 'm',
				       0, 0, 0, 0, 0, 0, 0, 4 };
	static const uint8_t e1000[] = { 4, 0, 0, 0, 9, 5, 'e', '1', '0', '0', '0',
					 0, 0, 0, 0, 0, 0, 0, 1 };
	static const uint8_t command[] = { 8, 0, 1, 0, 0 };
	struct ob_err err = { "" };
	struct file f;
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	insert(&f, FILE_HEAD, ram, sizeof(ram));
	refused(&f, ENODEV, "'ram'");
	write_file(&f, OB_QEMU_FILE, &a);
	insert(&f, FILE_HEAD, e1000, sizeof(e1000));
	refused(&f, ENODEV, "'e1000'");
	write_file(&f, OB_QEMU_FILE, &a);
	insert(&f, FILE_HEAD, command, sizeof(command));
	refused(&f, ENOTSUP, "command at byte 21");
	write_file(&f, OB_QEMU_FILE, &a);
	dev_init(&b);
	b.device.model = "top";
	assert_int_equal(ob_qemu_read(&b.device, f.bytes, f.len, NULL, NULL,
				      &err), -ENODEV);
	assert_string_equal(err.msg, "section 'outboard/toy': not the model top");
}

static void device_twice_or_never_is_refused(void **state)
{
	static const uint8_t nothing[] = { 'Q', 'E', 'V', 'M', 0, 0, 0, 3, 0 };
	struct file f;
	uint8_t copy[512];
	struct dev a;
	size_t len;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	len = f.len - 1;
	memcpy(copy, f.bytes, len);
	insert(&f, 0, copy, len);
	refused(&f, EEXIST, "a second time");
	memcpy(f.bytes, nothing, sizeof(nothing));
	f.len = sizeof(nothing);
	refused(&f, ENODEV, "no section of a device of ours");
}

static void heads_are_judged(void **state)
{
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	f.bytes[SECTION_HEAD - 1] = 2;
	refused(&f, ENOTSUP, "version 2 is newer");
	f.bytes[SECTION_HEAD - 1] = 0;
	refused(&f, ENOTSUP, "version 0 is older");
	f.bytes[SECTION_HEAD - 1] = 1;
	f.bytes[SECTION_HEAD - 5] = 1;
	refused(&f, EINVAL, "instance 1 where 0");
	f.bytes[SECTION_HEAD - 5] = 0;
	f.bytes[SECTION_HEAD] = 'T';
	refused(&f, EINVAL, "identity.model");
	f.bytes[SECTION_HEAD] = 't';
	f.bytes[f.len - 2] = 1;
	refused(&f, EBADMSG, "the footer of section 1, not 0");
	f.bytes[f.len - 6] = 0x7d;
	refused(&f, EBADMSG, "0x7d where the footer was due");
	f.bytes[7] = 0;
	refused(&f, EBADMSG, "zero byte");
}

static void other_tables_are_refused(void **state)
{
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	f.bytes[SECTION_HEAD + 128] ^= 1;
	refused(&f, ENOTSUP, "section 'outboard/toy': layout: release 0.");
}

static void unknown_subsection_is_named(void **state)
{
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	find(&f, "toy/hot", 7)[6] = 'p';
	refused(&f, ENOENT, "unknown subsection 'toy/hop'");
	write_file(&f, OB_QEMU_BARE, &a);
	find(&f, "toy/hot", 7)[10] = 3;
	refused(&f, ENOTSUP, "subsection 'toy/hot': version 3 is newer");
	write_file(&f, OB_QEMU_BARE, &a);
	a.device.nr_parts = 1;	/* now a model without a hot part */
	write_file(&f, OB_QEMU_BARE, &a);
	insert(&f, f.len - 6, "\5\7toy/hot\0\0\0\1", 13);
	{
		struct ob_err err = { "" };

		assert_int_equal(ob_qemu_read(&a.device, f.bytes, f.len, NULL,
					      NULL, &err), -ENOENT);
	}
}

static void bounds_hold(void **state)
{
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	a.plain.bounded = 1001;
	write_file(&f, OB_QEMU_FILE, &a);
	refused(&f, EINVAL, "plain.bounded");
}

static void configuration_is_optional(void **state)
{
	struct file f;
	struct dev a, b;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	find(&f, "outboard", 8)[0] = 'i';
	refused(&f, ENODEV, "of the machine 'iutboard'");
	cut_out(&f, 8, FILE_HEAD - 8);
	assert_int_equal(read_file(&f, &b, NULL), 0);
	assert_same(&a, &b);
	f.bytes[7] = 2;
	refused(&f, ENOTSUP, "version 2 of the format");
}

static void trailing_bytes_are_refused(void **state)
{
	struct file f;
	struct dev a;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_BARE, &a);
	f.bytes[f.len++] = 0;
	refused(&f, EBADMSG, "1 bytes behind the end");
	write_file(&f, OB_QEMU_FILE, &a);
	f.bytes[f.len++] = ' ';
	refused(&f, EBADMSG, "1 bytes behind the end");
}

/* A file is whole also where the description was left out. */
static void test_r25_every_truncation_is_refused(void **state)
{
	struct file f;
	struct dev a, b;
	size_t len, end;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	end = (size_t)(find(&f, "{\"page_size", 11) - f.bytes) - 5;
	len = f.len;
	for (f.len = 0; f.len < len; f.len++) {
		struct ob_err err = { "" };
		int r = read_file(&f, &b, &err);

		assert_true(f.len == end ? r == 0 : r < 0 && err.msg[0]);
	}
	write_file(&f, OB_QEMU_BARE, &a);
	f.len = SECTION_HEAD + IDENTITY + 30;
	refused(&f, EBADMSG, "plain.inner[0].c: the file ends here");
}

static void check_flipped(const struct file *f)
{
	struct ob_err err = { "" };
	struct dev b;

	if (read_file(f, &b, &err)) {
		assert_true(err.msg[0]);
		return;
	}
	assert_int_equal(ob_table_check_values(&plain_table, &b.plain, "p", NULL), 0);
	assert_int_equal(b.plain.reserved[0] | b.plain.reserved[1] |
			 b.plain.reserved[2], 0);
}

static void test_r25_every_flip_is_refused_or_in_bounds(void **state)
{
	struct file f;
	struct dev a;
	size_t i, bit;

	(void)state;
	dev_fill(&a);
	f.room = sizeof(f.bytes);
	f.len = 0;
	assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, pieces, 4, NULL), 0);
	for (i = 0; i < f.len; i++)
		for (bit = 0; bit < 8; bit++) {
			f.bytes[i] ^= (uint8_t)(1 << bit);
			check_flipped(&f);
			f.bytes[i] ^= (uint8_t)(1 << bit);
		}
}

/* A full disk, at every byte. */
static void failed_writes_are_told(void **state)
{
	struct file f;
	struct dev a;
	size_t len;

	(void)state;
	dev_fill(&a);
	write_file(&f, OB_QEMU_FILE, &a);
	len = f.len;
	for (f.room = 0; f.room < len; f.room += 97) {
		struct ob_err err = { "" };

		f.len = 0;
		assert_int_equal(try_write(&f, OB_QEMU_FILE, &a, NULL, 0, &err),
				 -ENOSPC);
		assert_non_null(strstr(err.msg, "No space"));
	}
}

static void order_of_writing_is_kept(void **state)
{
	struct file f = { .room = sizeof(f.bytes) };
	struct ob_qemu_writer *w;
	struct dev a;

	(void)state;
	dev_fill(&a);
	assert_int_equal(ob_qemu_writer_create(OB_QEMU_FILE, &a.device, put, &f,
					       &w, NULL), 0);
	assert_int_equal(ob_qemu_writer_end(w, NULL), -EINVAL);
	assert_int_equal(ob_qemu_write_device(w, NULL), 0);
	assert_int_equal(ob_qemu_write_device(w, NULL), -EINVAL);
	assert_int_equal(ob_qemu_write_content(w, &pieces[1], NULL), 0);
	assert_int_equal(ob_qemu_writer_end(w, NULL), 0);
	assert_int_equal(ob_qemu_writer_end(w, NULL), -EINVAL);
	ob_qemu_writer_destroy(w);
	dev_init(&a);
	assert_int_equal(read_file(&f, &a, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms_come_back),
		cmocka_unit_test(bare_form_is_section_footer_end),
		cmocka_unit_test(file_form_has_head_and_description),
		cmocka_unit_test(hot_part_at_its_defaults_is_left_out),
		cmocka_unit_test(reserved_bytes_do_not_travel),
		cmocka_unit_test(writer_is_told_by_name),
		cmocka_unit_test(content_comes_in_order),
		cmocka_unit_test(content_out_of_place_is_refused),
		cmocka_unit_test(repeated_piece_is_refused),
		cmocka_unit_test(other_devices_are_named),
		cmocka_unit_test(device_twice_or_never_is_refused),
		cmocka_unit_test(heads_are_judged),
		cmocka_unit_test(other_tables_are_refused),
		cmocka_unit_test(unknown_subsection_is_named),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(configuration_is_optional),
		cmocka_unit_test(trailing_bytes_are_refused),
		cmocka_unit_test(test_r25_every_truncation_is_refused),
		cmocka_unit_test(test_r25_every_flip_is_refused_or_in_bounds),
		cmocka_unit_test(failed_writes_are_told),
		cmocka_unit_test(order_of_writing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
