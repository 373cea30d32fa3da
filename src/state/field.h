/* SPDX-License-Identifier: BSD-3-Clause */
/* One field of a structure in memory, for everything that walks tables. */
#ifndef OB_STATE_FIELD_H
#define OB_STATE_FIELD_H

#include <stdbool.h>
#include <string.h>

#include <outboard/state.h>

#include "state/stream.h"

/* Tables nest through sub; deeper than this is a mistake, or an attack. */
#define OB_TABLE_DEPTH 8
/* What a schema may hold, and so what a table must keep to. */
#define OB_TABLE_SIZE_MAX (64u << 20)
#define OB_TABLE_NAME_MAX 63u
#define OB_TABLE_SINCE_MAX 15u

/* Where a walk is; the text is made only when there is something to say. */
struct ob_field_path {
	const struct ob_field_path *up;
	const char *name;
	uint64_t index;
	bool array;
};
#define OB_FIELD_PATH_MAX 160u

const char *ob_field_path(const struct ob_field_path *path, char *buf,
			  size_t size);

static inline bool ob_field_is_int(const struct ob_field *f)
{
	return f->type >= OB_FIELD_U8 && f->type <= OB_FIELD_U64;
}

/* An integer of 1, 2, 4 or 8 bytes, of the host's order, at any address. */
uint64_t ob_int_load(const void *at, uint32_t size);
void ob_int_store(void *at, uint64_t v, uint32_t size);
bool ob_int_fits(uint64_t v, uint32_t size);

bool ob_all_zero(const void *at, size_t len);

static inline const uint8_t *ob_element(const struct ob_field *f,
					const void *base, uint32_t i)
{
	return (const uint8_t *)base + f->offset + (size_t)i * f->size;
}

static inline uint8_t *ob_element_mut(const struct ob_field *f, void *base,
				      uint32_t i)
{
	return (uint8_t *)base + f->offset + (size_t)i * f->size;
}

/* Are zeros the default of every element? */
bool ob_field_default_is_zero(const struct ob_field *f);
bool ob_element_is_default(const struct ob_field *f, const void *element);
void ob_element_set_default(const struct ob_field *f, void *element);
/* The first element from i that is not the default; count if none. */
uint32_t ob_field_next(const struct ob_field *f, const void *base,
		       uint32_t i, bool zero);

/* NULL when there is none; reserved rows are never found. */
const struct ob_field *ob_field_by_tag(const struct ob_table *table,
				       uint64_t tag);
/* No encoding of the table is longer. */
uint64_t ob_table_worst(const struct ob_table *table);

/*
 * What a structure of ours is before the first record of theirs: the writer's
 * defaults in fields that both have, since the writer left out what was equal
 * to them; ours elsewhere.  Fails where the two cannot be the same field.
 */
int ob_table_begin(const struct ob_table *ours, const struct ob_table *theirs,
		   void *base, const char *part, struct ob_err *err);

#endif
