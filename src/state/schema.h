/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A schema is a set of tables as data: what a writer's structures were, with
 * names, so that another release reads them field by field and a tool shows
 * them without knowing the model.  Parsed, it is ordinary struct ob_table,
 * offsets and sizes included, so that code which works from tables works
 * from a stranger's as well.
 */
#ifndef OB_STATE_SCHEMA_H
#define OB_STATE_SCHEMA_H

#include <jansson.h>

#include "base/bytes.h"
#include "state/stream.h"

struct ob_schema_root {
	const char *name;		/* "identity", "core", "plain", "hot" */
	const struct ob_table *table;
};

struct ob_schema;			/* owns what its tables point to */

/*
 * Writes the tables of the roots, each once however often it is nested.
 * -ENOSPC when wr is too small.
 */
int ob_schema_put(struct ob_writer *wr, const struct ob_schema_root *roots,
		  unsigned count);
/* Hostile bytes; bounded in rows, depth and memory. -EINVAL, -ENOMEM. */
int ob_schema_get(const void *bytes, size_t len, struct ob_schema **out,
		  struct ob_err *err);
void ob_schema_destroy(struct ob_schema *schema);

unsigned ob_schema_count(const struct ob_schema *schema);
const struct ob_schema_root *ob_schema_root(const struct ob_schema *schema,
					    unsigned i);
/* NULL when there is none of that name. */
const struct ob_table *ob_schema_find(const struct ob_schema *schema,
				      const char *name);

/* For the schema files in the repository and for people. */
json_t *ob_schema_json(const struct ob_schema_root *roots, unsigned count);

#endif
