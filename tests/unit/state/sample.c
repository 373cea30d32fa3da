// SPDX-License-Identifier: BSD-3-Clause
#include "sample.h"

#include <stdlib.h>
#include <string.h>

#include "state/field.h"
#include "state/wire.h"

static const struct ob_field queue_rows[] = {
	OB_U64(1, struct sample_queue, base, "0.1"),
	OB_U16(2, struct sample_queue, sqid, "0.1", .max = 64),
	OB_U8(3, struct sample_queue, created, "0.1", .max = 1),
	OB_RESERVED(struct sample_queue, reserved),
	OB_U32(4, struct sample_queue, limit, "0.1", .def = 7),
	OB_END
};

const struct ob_table sample_queue_table = {
	"sample-queue", sizeof(struct sample_queue), queue_rows
};

static const struct ob_field hot_rows[] = {
	OB_STRUCTS(1, struct sample_hot, slots, struct sample_queue,
		   &sample_queue_table, "0.1"),
	OB_U32(2, struct sample_hot, numbers, "0.1"),
	OB_BYTES(3, struct sample_hot, opaque, "0.1"),
	OB_BYTES(4, struct sample_hot, tail, "0.1"),
	OB_END
};

const struct ob_table sample_hot_table = {
	"sample-hot", sizeof(struct sample_hot), hot_rows
};

static const struct ob_field plain_rows[] = {
	OB_BYTES(1, struct sample_plain, name, "0.1"),
	OB_U64(2, struct sample_plain, big, "0.1"),
	OB_U32(3, struct sample_plain, cc, "0.1"),
	OB_U32(4, struct sample_plain, csts, "0.1"),
	OB_U16(5, struct sample_plain, halves, "0.1"),
	OB_BYTES(6, struct sample_plain, bytes, "0.1"),
	OB_U8(7, struct sample_plain, flag, "0.1", .max = 1),
	OB_RESERVED(struct sample_plain, reserved),
	OB_STRUCTS(8, struct sample_plain, admin, struct sample_queue,
		   &sample_queue_table, "0.1"),
	OB_RESERVED(struct sample_plain, reserved2),
	OB_U32(9, struct sample_plain, width, "0.1", .max = 1000, .def = 9),
	OB_END
};

const struct ob_table sample_plain_table = {
	"sample", sizeof(struct sample_plain), plain_rows
};

uint64_t sample_random(struct sample_rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void fill_element(struct sample_rng *rng, const struct ob_field *f,
			 void *element)
{
	uint64_t top = f->size >= 8 ? UINT64_MAX : (1ull << (8 * f->size)) - 1;
	uint64_t v;

	if (f->max)
		top = f->max;
	do {
		v = top == UINT64_MAX ? sample_random(rng) :
			sample_random(rng) % (top + 1);
	} while (v == f->def);
	ob_int_store(element, v, f->size);
}

void sample_fill(struct sample_rng *rng, const struct ob_table *table,
		 void *base, unsigned density)
{
	const struct ob_field *f;
	uint32_t i;

	ob_table_defaults(table, base);
	for (f = table->fields; f->type != OB_FIELD_END; f++)
		for (i = 0; f->type != OB_FIELD_RESERVED && i < f->count; i++) {
			if (sample_random(rng) % 256 >= density)
				continue;
			if (f->type == OB_FIELD_STRUCT)
				sample_fill(rng, f->sub, ob_element_mut(f, base, i), density);
			else
				fill_element(rng, f, ob_element_mut(f, base, i));
		}
}

/* -- content ------------------------------------------------------------ */

#define BLOCK 4096u

void sample_content_init(struct sample_content *c, uint32_t kind,
			 uint32_t index, uint64_t size)
{
	*c = (struct sample_content){ .id = { kind, index, size }, .size = size };
	c->bytes = calloc(1, size + 1);
	c->todo = malloc(size / BLOCK + 1);
	memset(c->todo, 1, size / BLOCK + 1);
}

void sample_content_destroy(struct sample_content *c)
{
	free(c->bytes);
	free(c->todo);
}

/* A run of blocks that are to go and alike in being zeros. */
static bool take(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct sample_content *c = arg;
	uint64_t i = 0, n, end = c->size / BLOCK;
	bool zero;

	while (i < end && !c->todo[i])
		i++;
	if (i == end)
		return false;
	zero = ob_all_zero(c->bytes + i * BLOCK, BLOCK);
	for (n = 0; i + n < end && c->todo[i + n] && (n + 1) * BLOCK <= max; n++) {
		if (ob_all_zero(c->bytes + (i + n) * BLOCK, BLOCK) != zero)
			break;
		c->todo[i + n] = 0;
	}
	assert_true(n > 0);
	c->takes++;
	*run = (struct ob_content_run){
		.offset = i * BLOCK, .length = n * BLOCK,
		.data = zero ? NULL : c->bytes + i * BLOCK,
	};
	return true;
}

static void left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	const struct sample_content *c = arg;
	uint64_t i;

	*initial = *dirty = 0;
	for (i = 0; i < c->size / BLOCK; i++)
		*(c->todo[i] == 1 ? initial : dirty) += c->todo[i] ? BLOCK : 0;
}

static int put(void *arg, uint64_t offset, const void *data, uint64_t length)
{
	struct sample_content *c = arg;

	assert_true(offset <= c->size && length <= c->size - offset);
	if (data)
		memcpy(c->bytes + offset, data, length);
	else
		memset(c->bytes + offset, 0, length);
	return 0;
}

struct ob_content_source sample_source(struct sample_content *c, bool live)
{
	return (struct ob_content_source){
		.id = c->id, .live = live, .take = take, .left = left, .arg = c,
	};
}

struct ob_content_sink sample_sink(struct sample_content *c)
{
	return (struct ob_content_sink){ c->id, put, c };
}

/* -- streams ------------------------------------------------------------ */

void sample_append(struct sample_bytes *out, const void *data, size_t len)
{
	if (out->cap - out->len < len) {
		out->cap = 2 * (out->cap + len);
		out->data = realloc(out->data, out->cap);
		assert_non_null(out->data);
	}
	memcpy(out->data + out->len, data, len);
	out->len += len;
}

size_t sample_read(struct ob_saver *saver, size_t room, unsigned pieces,
		   struct sample_bytes *out)
{
	struct iovec iov[600];
	unsigned i, count = pieces;
	size_t n, sum = 0;

	assert_true(pieces <= 600);
	n = ob_saver_read(saver, room, iov, &count);
	assert_true(n <= room && count <= pieces);
	for (i = 0; i < count; i++) {
		assert_true(iov[i].iov_len > 0);
		sum += iov[i].iov_len;
		sample_append(out, iov[i].iov_base, iov[i].iov_len);
	}
	assert_int_equal(sum, n);
	return n;
}

void sample_save(const struct ob_save_plan *plan, size_t room,
		 unsigned pieces, struct sample_bytes *out)
{
	struct ob_saver *saver;

	assert_int_equal(ob_saver_create(plan, &saver, NULL), 0);
	ob_saver_stopped(saver);
	ob_saver_allow_end(saver);
	while (sample_read(saver, room, pieces, out) == room)
		;
	assert_true(ob_saver_done(saver));
	assert_int_equal(ob_saver_left(saver), 0);
	ob_saver_destroy(saver);
}

int sample_load(struct ob_loader *loader, const struct sample_bytes *in,
		size_t step, struct ob_err *err)
{
	size_t at, n;
	int r = 0;

	for (at = 0; at < in->len && !r; at += n) {
		n = in->len - at < step ? in->len - at : step;
		r = ob_loader_write(loader, in->data + at, n, err);
	}
	return r ? r : ob_loader_finish(loader, err);
}

/* -- the device --------------------------------------------------------- */

void sample_init(struct sample *s, uint64_t seed, uint64_t drive_size)
{
	struct sample_rng rng = { seed };
	uint64_t i;

	memset(s, 0, sizeof(*s));
	sample_fill(&rng, &sample_plain_table, &s->plain, seed ? 160 : 0);
	sample_fill(&rng, &sample_hot_table, &s->hot, seed ? 100 : 0);
	sample_content_init(&s->drive, OB_CONTENT_DRIVE, 0, drive_size);
	for (i = 0; seed && i < drive_size; i += 8)
		if (i / 16384 % 3 != 1)
			ob_int_store(s->drive.bytes + i, sample_random(&rng), 8);
	s->parts[0] = (struct ob_part){ "plain", &sample_plain_table, &s->plain };
	s->parts[1] = (struct ob_part){ "hot", &sample_hot_table, &s->hot };
	s->source = sample_source(&s->drive, true);
	s->sink = sample_sink(&s->drive);
	s->save = (struct ob_save_plan){
		"sample", "sample0", s->parts, 2, &s->source, drive_size != 0,
	};
	s->load = (struct ob_load_plan){
		"sample", s->parts, 2, &s->sink, drive_size != 0,
	};
}

void sample_destroy(struct sample *s)
{
	sample_content_destroy(&s->drive);
}

void sample_resign(uint8_t *section)
{
	size_t len = OB_STREAM_SECTION + ob_le_load(section + 8, 4);

	ob_le_store(section + 12, 0, 4);
	ob_le_store(section + 12, ob_crc32c(0, section, len), 4);
}

unsigned sample_sections(const struct sample_bytes *stream,
			 struct sample_section *out, unsigned max)
{
	size_t at = OB_STREAM_HEAD;
	unsigned n;

	for (n = 0; at < stream->len; n++) {
		assert_true(n < max);
		out[n].type = (uint16_t)ob_le_load(stream->data + at, 2);
		out[n].at = at;
		out[n].len = OB_STREAM_SECTION + ob_le_load(stream->data + at + 8, 4);
		at += out[n].len;
	}
	assert_int_equal(at, stream->len);
	return n;
}
