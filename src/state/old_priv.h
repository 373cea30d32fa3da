/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files behind old.h share. */
#ifndef OB_STATE_OLD_PRIV_H
#define OB_STATE_OLD_PRIV_H

#include "state/old.h"
#include "state/schema.h"

struct ob_old_state {
	struct ob_state_header header;	/* checked */
	struct ob_schema *schema;
	uint8_t *base;			/* a copy of the file, as sparse */
	size_t size;
	/* Of each section: nothing but zeros from here on. */
	uint32_t data_end[OB_NR_SECTIONS];
	/* The writer's tables, without what is behind that; their rows. */
	struct ob_table tables[OB_NR_TABLES];
	struct ob_field *rows[OB_NR_TABLES];
};

/* Of a header that was read, for a file of that size: magic, layout, names,
 * extents. */
int ob_old_check_header(const struct ob_state_header *hdr, uint64_t size,
			struct ob_err *err);
/* Do the schema's tables describe the sections? */
int ob_old_check_tables(const struct ob_old_state *old, struct ob_err *err);
/* Puts back what an open step had changed, or says why that is nonsense. */
int ob_old_undo(struct ob_old_state *old, struct ob_err *err);

#endif
