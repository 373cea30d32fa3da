/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What must survive the process, described field by field.
 *
 * State is plain old data: fixed-width integers, no pointers, no fds.  One
 * const table per structure names every byte of it; a byte that no row names
 * fails ob_table_check, which the unit tests and the start of every server
 * run.  Padding is spelled as a reserved row.
 */
#ifndef OUTBOARD_STATE_H
#define OUTBOARD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum ob_field_type {
	OB_FIELD_END,
	OB_FIELD_U8, OB_FIELD_U16, OB_FIELD_U32, OB_FIELD_U64,
	OB_FIELD_BYTES,		/* opaque octets, count of them */
	OB_FIELD_STRUCT,	/* sub names the rows of one element */
	OB_FIELD_RESERVED,	/* padding; zero, never saved */
};

struct ob_field {
	uint16_t tag;		/* stable for ever, unique in its table, not 0 */
	uint8_t type;
	const char *name;
	uint32_t offset;
	uint32_t size;		/* of one element, bytes */
	uint32_t count;		/* elements; 1 for a scalar */
	const char *since;	/* the release that brought it */
	uint64_t max;		/* largest value of an integer; 0: any */
	uint64_t def;		/* value when a stream does not carry it */
	bool optional;		/* a reader may skip it; else must understand */
	const struct ob_table *sub;
};

struct ob_table {
	const char *name;
	uint32_t size;		/* sizeof the structure */
	const struct ob_field *fields;	/* ends with OB_FIELD_END */
};

#define OB_SIZEOF_FIELD(s, f) sizeof(((s *)0)->f)
#define OB_ROW(tag_, kind_, s, f, elem_, count_, since_, ...)                 \
	{ .tag = (tag_), .type = (kind_), .name = #f,                         \
	  .offset = offsetof(s, f), .size = (elem_), .count = (count_),       \
	  .since = (since_), ##__VA_ARGS__ }
#define OB_U8(tag, s, f, since, ...)                                          \
	OB_ROW(tag, OB_FIELD_U8, s, f, 1, OB_SIZEOF_FIELD(s, f), since, ##__VA_ARGS__)
#define OB_U16(tag, s, f, since, ...)                                         \
	OB_ROW(tag, OB_FIELD_U16, s, f, 2, OB_SIZEOF_FIELD(s, f) / 2, since, ##__VA_ARGS__)
#define OB_U32(tag, s, f, since, ...)                                         \
	OB_ROW(tag, OB_FIELD_U32, s, f, 4, OB_SIZEOF_FIELD(s, f) / 4, since, ##__VA_ARGS__)
#define OB_U64(tag, s, f, since, ...)                                         \
	OB_ROW(tag, OB_FIELD_U64, s, f, 8, OB_SIZEOF_FIELD(s, f) / 8, since, ##__VA_ARGS__)
#define OB_BYTES(tag, s, f, since, ...)                                       \
	OB_ROW(tag, OB_FIELD_BYTES, s, f, 1, OB_SIZEOF_FIELD(s, f), since, ##__VA_ARGS__)
/* elem_ is the structure's type; one structure or an array of them. */
#define OB_STRUCTS(tag, s, f, elem_, table, since, ...)                       \
	OB_ROW(tag, OB_FIELD_STRUCT, s, f, sizeof(elem_),                     \
	       OB_SIZEOF_FIELD(s, f) / sizeof(elem_), since,                  \
	       .sub = (table), ##__VA_ARGS__)
#define OB_RESERVED(s, f)                                                     \
	OB_ROW(0, OB_FIELD_RESERVED, s, f, 1, OB_SIZEOF_FIELD(s, f), "")
#define OB_END { .type = OB_FIELD_END }

/*
 * Every byte in exactly one row, tags unique, sizes as the type says.
 * -EINVAL and a message that names the table, the row and the byte.
 */
int ob_table_check(const struct ob_table *table, struct ob_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
