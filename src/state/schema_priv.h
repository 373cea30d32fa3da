/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables as bytes (docs/stream.md, "Schema"):
 *
 *	u16 tables, u16 roots
 *	table...	u16 n, then n bytes: u32 size, u16 rows, name
 *		row...	u16 n, then n bytes: u16 tag, u8 type, u8 flags,
 *			u32 offset, u32 size, u32 count, u64 max, u64 default,
 *			u16 table of the elements or 0xffff, name, since
 *	root...		u16 n, then n bytes: u16 table, name
 *
 * A text is u8 length, the bytes, a 0.  A table names only tables before it,
 * so there is no way to write one that contains itself.  n may grow in later
 * releases; a reader passes over what it does not know.
 */
#ifndef OB_STATE_SCHEMA_PRIV_H
#define OB_STATE_SCHEMA_PRIV_H

#include "state/field.h"
#include "state/schema.h"

#define OB_SCHEMA_BYTES_MAX (256u << 10)
#define OB_SCHEMA_TABLES_MAX 256u
#define OB_SCHEMA_ROWS_MAX 4096u	/* of all tables together */
#define OB_SCHEMA_ROOTS_MAX 32u
#define OB_SCHEMA_NO_TABLE 0xffffu
#define OB_SCHEMA_OPTIONAL (1u << 0)

/* The tables that some roots reach, each once, those inside others first. */
struct ob_table_set {
	const struct ob_table *tables[OB_SCHEMA_TABLES_MAX];
	unsigned count;
};
/* -E2BIG when there are more than a schema holds. */
int ob_table_set_fill(struct ob_table_set *set,
		      const struct ob_schema_root *roots, unsigned count);
/* OB_SCHEMA_NO_TABLE when it is not in the set, or NULL. */
unsigned ob_table_set_find(const struct ob_table_set *set,
			   const struct ob_table *table);

#endif
