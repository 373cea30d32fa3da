/* SPDX-License-Identifier: BSD-3-Clause */
/* Structures to records and back, by their tables (stream.h). */
#ifndef OB_STATE_TABLE_IO_H
#define OB_STATE_TABLE_IO_H

#include <jansson.h>

#include "base/bytes.h"
#include "state/stream.h"

/* Where an encoding goes on; zero-initialise. */
struct ob_encode_at {
	uint32_t field, element;
	bool done;
};

/*
 * Appends as many records as fit; at->done when there are no more.  Elements
 * that have their default are left out.  Changes nothing of base.  -ENOSPC
 * when not even one record fits.
 */
int ob_table_encode(const struct ob_table *table, const void *base,
		    struct ob_encode_at *at, struct ob_writer *wr);

/* All fields at their defaults, reserved bytes zero. */
void ob_table_defaults(const struct ob_table *table, void *base);

/*
 * What a structure of ours is before the first record of theirs: the writer's
 * defaults in fields that both have, since the writer left out what was equal
 * to them; ours elsewhere.  Fails where the two cannot be the same field.
 */
int ob_table_begin(const struct ob_table *ours, const struct ob_table *theirs,
		   void *base, const char *part, struct ob_err *err);

/* As ob_table_begin, for memory that is all zeros: what stays zero is not
 * touched, so that a sparse file stays sparse. */
int ob_table_begin_zeroed(const struct ob_table *ours,
			  const struct ob_table *theirs, void *base,
			  const char *part, struct ob_err *err);

/*
 * Applies records that were written by another build with the table `theirs`
 * to a structure of ours.  Fields are matched by tag.  An integer may have
 * become wider or narrower, an array longer or shorter, as long as every
 * value fits and is within the bounds of our row.  A field that we do not
 * have is skipped if their row says optional, refused by name otherwise.
 * -EINVAL and a message "part.field[i]: reason"; -ENOTSUP for a field that we
 * must understand and do not.  Called as often as there are pieces, after
 * ob_table_begin; ours NULL: no field is known.
 */
int ob_table_decode(const struct ob_table *ours, const struct ob_table *theirs,
		    void *base, const void *records, size_t len,
		    const char *part, struct ob_err *err);

/* Do all values respect the bounds of their rows?  -EINVAL, by name. */
int ob_table_check_values(const struct ob_table *table, const void *base,
			  const char *part, struct ob_err *err);

/* {"field": value or [values]}; bytes as hexadecimal text. all: also what has
 * its default. */
json_t *ob_table_json(const struct ob_table *table, const void *base,
		      bool all);

/* Calls fn for each field and element in which a and b differ, by path
 * ("sqs[3].entries"); returns how many. */
unsigned ob_table_diff(const struct ob_table *table, const void *a,
		       const void *b,
		       void (*fn)(void *arg, const char *path, const char *a,
				  const char *b), void *arg);

#endif
