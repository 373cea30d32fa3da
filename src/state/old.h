/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state memory of a dead process, or of a live one's copy, read through
 * the tables of its writer.  Hostile bytes: it may have died anywhere, and
 * its guest may have made it.
 */
#ifndef OB_STATE_OLD_H
#define OB_STATE_OLD_H

#include "state/schema.h"
#include "state/state_mem.h"

struct ob_old_state;

/*
 * Copies what was written of fd's file, checks it, and undoes an open step in
 * the copy; the file is not changed, and may change.  fd stays the caller's.
 * -EINVAL with what does not fit: magic, layout, a section, the schema, undo.
 */
int ob_old_state_open(int fd, struct ob_old_state **out, struct ob_err *err);
void ob_old_state_close(struct ob_old_state *old);

/* Who wrote it, and where it stood (step, kind: before the undoing). */
const struct ob_state_header *ob_old_state_header(const struct ob_old_state *old);
/* The writer's tables: roots "core", "plain", "hot", "dma", "session". */
const struct ob_schema *ob_old_state_schema(const struct ob_old_state *old);
/* The section as its writer laid it out; NULL: it has none.  Not checked:
 * any value may be in it. */
const void *ob_old_state_section(const struct ob_old_state *old,
				 enum ob_section which);

/*
 * The section's table, its arrays cut behind the last element that says
 * something: for walks.  NULL: it has none.
 */
const struct ob_table *ob_old_state_table(const struct ob_old_state *old,
					  enum ob_section which);

/*
 * Converts one section to a structure of ours: fields by tag, with the rules
 * of ob_table_decode and the bounds of our rows; defaults where the writer
 * has nothing.  A section that the writer does not have is all defaults.
 *
 * base is all zeros, as calloc or a new file has it; what stays zero is not
 * touched, so that a DMA table of few entries costs few pages.  ours and base
 * NULL: we have no such section, and theirs must say nothing that has to be
 * understood.
 */
int ob_old_state_read(const struct ob_old_state *old, enum ob_section which,
		      const struct ob_table *ours, void *base,
		      struct ob_err *err);

#endif
