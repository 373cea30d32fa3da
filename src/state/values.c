// SPDX-License-Identifier: BSD-3-Clause
/* Are all values of a structure within the bounds of its table? */
#include <errno.h>
#include <inttypes.h>

#include "state/field.h"
#include "state/table_io.h"

static int check_struct(const struct ob_table *table, const void *base,
			const struct ob_field_path *up, struct ob_err *err);

static int check_int(const struct ob_field *f, const void *element,
		     const struct ob_field_path *path, struct ob_err *err)
{
	uint64_t value = ob_int_load(element, f->size);
	char text[OB_FIELD_PATH_MAX];

	if (value <= f->max)
		return 0;
	return ob_fail(err, EINVAL, "%s: %" PRIu64 " is more than %" PRIu64,
		       ob_field_path(path, text, sizeof(text)), value, f->max);
}

static int check_field(const struct ob_field *f, const void *base,
		       struct ob_field_path *path, struct ob_err *err)
{
	uint32_t i;
	int r = 0;

	path->array = f->count > 1;
	for (i = 0; i < f->count && !r; i++) {
		path->index = i;
		r = f->type == OB_FIELD_STRUCT ?
			check_struct(f->sub, ob_element(f, base, i), path, err) :
			check_int(f, ob_element(f, base, i), path, err);
	}
	return r;
}

/* Only structures and integers with a maximum can be wrong. */
static int check_struct(const struct ob_table *table, const void *base,
			const struct ob_field_path *up, struct ob_err *err)
{
	struct ob_field_path path = { .up = up };
	const struct ob_field *f;
	int r;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		if (f->type != OB_FIELD_STRUCT && !(ob_field_is_int(f) && f->max))
			continue;
		path.name = f->name;
		if ((r = check_field(f, base, &path, err)))
			return r;
	}
	return 0;
}

int ob_table_check_values(const struct ob_table *table, const void *base,
			  const char *part, struct ob_err *err)
{
	const struct ob_field_path path = { .name = part };

	return check_struct(table, base, &path, err);
}
