/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that exists only for tests of streams: two parts with every kind
 * of field, and content in memory.  Everything random comes from a seed.
 */
#ifndef TEST_STATE_SAMPLE_H
#define TEST_STATE_SAMPLE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "state/load.h"
#include "state/save.h"
#include "state/table_io.h"

struct sample_queue {
	uint64_t base;
	uint16_t sqid;			/* at most 64 */
	uint8_t created;
	uint8_t reserved;
	uint32_t limit;			/* 7 unless changed */
};

struct sample_hot {
	struct sample_queue slots[12];
	uint32_t numbers[40];
	uint8_t opaque[300];
	uint8_t tail[4];
};

struct sample_plain {
	uint8_t name[32];
	uint64_t big;
	uint32_t cc, csts;
	uint16_t halves[8];
	uint8_t bytes[5];
	uint8_t flag;			/* at most 1 */
	uint8_t reserved[2];
	struct sample_queue admin;
	uint32_t reserved2;
	uint32_t width;			/* 9 unless changed, at most 1000 */
};

extern const struct ob_table sample_queue_table, sample_hot_table,
	sample_plain_table;

struct sample_rng {
	uint64_t state;
};
uint64_t sample_random(struct sample_rng *rng);
/*
 * Fills a structure within the bounds of its table; reserved bytes are 0.
 * density: how many of 256 elements are not the default.
 */
void sample_fill(struct sample_rng *rng, const struct ob_table *table,
		 void *base, unsigned density);

/* Content: blocks of 4096 bytes with a mark for each. */
struct sample_content {
	struct ob_content_id id;
	uint8_t *bytes;
	uint64_t size;
	uint8_t *todo;			/* of each block: 0, 1 first, 2 again */
	uint64_t at;
	unsigned takes;
};
void sample_content_init(struct sample_content *c, uint32_t kind,
			 uint32_t index, uint64_t size);
void sample_content_destroy(struct sample_content *c);
struct ob_content_source sample_source(struct sample_content *c, bool live);
struct ob_content_sink sample_sink(struct sample_content *c);

/* Bytes that grow. */
struct sample_bytes {
	uint8_t *data;
	size_t len, cap;
};
void sample_append(struct sample_bytes *out, const void *data, size_t len);

/* One call of ob_saver_read, appended; returns its bytes. */
size_t sample_read(struct ob_saver *saver, size_t room, unsigned pieces,
		   struct sample_bytes *out);
/* The whole stream of a device that stands still. */
void sample_save(const struct ob_save_plan *plan, size_t room,
		 unsigned pieces, struct sample_bytes *out);
/* In pieces of step bytes; 0 or the error of the first call that failed. */
int sample_load(struct ob_loader *loader, const struct sample_bytes *in,
		size_t step, struct ob_err *err);

/* The sample device itself. */
struct sample {
	struct sample_plain plain;
	struct sample_hot hot;
	struct sample_content drive;
	struct ob_part parts[2];
	struct ob_content_source source;
	struct ob_content_sink sink;
	struct ob_save_plan save;
	struct ob_load_plan load;
};
void sample_init(struct sample *s, uint64_t seed, uint64_t drive_size);
void sample_destroy(struct sample *s);

/* Numbers of a section with the right checksum again. */
void sample_resign(uint8_t *section);
struct sample_section {
	uint16_t type;
	size_t at, len;			/* with the header */
};
unsigned sample_sections(const struct sample_bytes *stream,
			 struct sample_section *out, unsigned max);

#endif
