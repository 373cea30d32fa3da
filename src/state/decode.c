// SPDX-License-Identifier: BSD-3-Clause
/*
 * Records to a structure, through the tables of two builds.  The writer's
 * table says what the bytes are, ours says what may become of them; the tag
 * joins the two.  Every record is checked against both before it is used.
 */
#include <errno.h>
#include <inttypes.h>

#include "state/field.h"
#include "state/table_io.h"
#include "state/wire.h"

struct record {
	uint64_t tag, first, len;
	const uint8_t *data;
};

static int apply_records(const struct ob_table *ours,
			 const struct ob_table *theirs, void *base,
			 struct ob_reader *rd, const struct ob_field_path *path,
			 struct ob_err *err);

static int fail_at(struct ob_err *err, int errnum,
		   const struct ob_field_path *path, const char *why)
{
	char text[OB_FIELD_PATH_MAX];

	return ob_fail(err, errnum, "%s: %s",
		       ob_field_path(path, text, sizeof(text)), why);
}

static int parse_record(struct ob_reader *rd, struct record *rec,
			const struct ob_field_path *path, struct ob_err *err)
{
	uint64_t zero = 0;

	if (ob_get_le(rd, &rec->tag, 2) || ob_get_le(rd, &zero, 2) ||
	    ob_get_le(rd, &rec->first, 4) || ob_get_le(rd, &rec->len, 4) ||
	    ob_get_view(rd, &rec->data, rec->len))
		return fail_at(err, EINVAL, path, "a record is cut short");
	if (zero)
		return fail_at(err, EINVAL, path, "a record's reserved bytes are not 0");
	return 0;
}

/* Is the record what the writer's own table promises? */
static int check_record(const struct ob_field *f, const struct record *rec,
			const struct ob_field_path *path, struct ob_err *err)
{
	uint64_t n = f->type == OB_FIELD_STRUCT ? 1 : rec->len / f->size;

	if (f->type != OB_FIELD_STRUCT && (rec->len % f->size || !rec->len))
		return fail_at(err, EINVAL, path, "the record is no number of elements");
	if (rec->first >= f->count || n > f->count - rec->first)
		return fail_at(err, EINVAL, path,
			       "the record leaves the array of its own schema");
	return 0;
}

static bool same_kind(const struct ob_field *a, const struct ob_field *b)
{
	return a->type == b->type || (ob_field_is_int(a) && ob_field_is_int(b));
}

static int check_kind(const struct ob_field *ours, const struct ob_field *theirs,
		      const struct ob_field_path *path, struct ob_err *err)
{
	if (same_kind(ours, theirs))
		return 0;
	return fail_at(err, EINVAL, path, "is of another kind here than in the stream");
}

static int fail_value(struct ob_err *err, const struct ob_field_path *path,
		      uint64_t value, uint64_t most)
{
	char text[OB_FIELD_PATH_MAX];

	return ob_fail(err, EINVAL, "%s: %" PRIu64 " is more than %" PRIu64,
		       ob_field_path(path, text, sizeof(text)), value, most);
}

static int check_value(const struct ob_field *f, uint64_t value,
		       const struct ob_field_path *path, struct ob_err *err)
{
	if (f->max && value > f->max)
		return fail_value(err, path, value, f->max);
	if (!ob_int_fits(value, f->size))
		return fail_value(err, path, value, (1ull << (8 * f->size)) - 1);
	return 0;
}

/* An element that our shorter array has no place for. */
static int fail_count(const struct ob_field *ours,
		      const struct ob_field_path *path, struct ob_err *err)
{
	char text[OB_FIELD_PATH_MAX];

	return ob_fail(err, EINVAL, "%s: there are only %u here",
		       ob_field_path(path, text, sizeof(text)), ours->count);
}

static int apply_element(const struct ob_field *ours,
			 const struct ob_field *theirs, void *base,
			 uint64_t value, const struct ob_field_path *path,
			 struct ob_err *err)
{
	int r;

	if (path->index >= ours->count)
		return value == theirs->def ? 0 : fail_count(ours, path, err);
	if ((r = check_value(ours, value, path, err)))
		return r;
	ob_int_store(ob_element_mut(ours, base, (uint32_t)path->index), value,
		     ours->size);
	return 0;
}

/* Octets have no bounds but the array's; whether one is left out, the rest of
 * apply_run judges. */
static uint64_t copy_octets(const struct ob_field *ours, void *base,
			    const struct record *rec)
{
	uint64_t n = 0;

	if (ours->type == OB_FIELD_BYTES && rec->first < ours->count) {
		n = ours->count - rec->first < rec->len ?
			ours->count - rec->first : rec->len;
		memcpy(ob_element_mut(ours, base, (uint32_t)rec->first),
		       rec->data, n);
	}
	return n;
}

static int apply_run(const struct ob_field *ours, const struct ob_field *theirs,
		     void *base, const struct record *rec,
		     struct ob_field_path *path, struct ob_err *err)
{
	uint64_t i, n = rec->len / theirs->size;
	int r = 0;

	path->array = theirs->count > 1;
	for (i = copy_octets(ours, base, rec); i < n && !r; i++) {
		path->index = rec->first + i;
		r = apply_element(ours, theirs, base,
				  ob_le_load(rec->data + i * theirs->size,
					     theirs->size), path, err);
	}
	return r;
}

static int apply_struct(const struct ob_field *ours,
			const struct ob_field *theirs, void *base,
			const struct record *rec, struct ob_field_path *path,
			struct ob_err *err)
{
	struct ob_reader rd;

	path->array = theirs->count > 1;
	path->index = rec->first;
	if (rec->first >= ours->count)
		return rec->len ? fail_count(ours, path, err) : 0;
	ob_reader_init(&rd, rec->data, rec->len);
	return apply_records(ours->sub, theirs->sub,
			     ob_element_mut(ours, base, (uint32_t)rec->first),
			     &rd, path, err);
}

/* A field that only the writer has. */
static int skip_unknown(const struct ob_field *theirs,
			const struct ob_field_path *path, struct ob_err *err)
{
	char text[OB_FIELD_PATH_MAX];

	if (theirs->optional)
		return 0;
	return ob_fail(err, ENOTSUP, "%s: has to be understood, and is not known"
		       " here (it came with release %s)",
		       ob_field_path(path, text, sizeof(text)),
		       theirs->since[0] ? theirs->since : "?");
}

static int apply_record(const struct ob_table *ours,
			const struct ob_table *theirs, void *base,
			const struct record *rec, const struct ob_field_path *up,
			struct ob_err *err)
{
	const struct ob_field *their = ob_field_by_tag(theirs, rec->tag);
	struct ob_field_path path = { .up = up };
	const struct ob_field *our;
	int r;

	if (!their)
		return fail_at(err, EINVAL, up,
			       "a record of a field that its schema does not have");
	path.name = their->name;
	if ((r = check_record(their, rec, &path, err)))
		return r;
	our = ours ? ob_field_by_tag(ours, rec->tag) : NULL;
	if (!our)
		return skip_unknown(their, &path, err);
	if ((r = check_kind(our, their, &path, err)))
		return r;
	return our->type == OB_FIELD_STRUCT ?
		apply_struct(our, their, base, rec, &path, err) :
		apply_run(our, their, base, rec, &path, err);
}

static int apply_records(const struct ob_table *ours,
			 const struct ob_table *theirs, void *base,
			 struct ob_reader *rd, const struct ob_field_path *path,
			 struct ob_err *err)
{
	struct record rec;
	int r = 0;

	while (!r && ob_reader_left(rd)) {
		r = parse_record(rd, &rec, path, err);
		if (!r)
			r = apply_record(ours, theirs, base, &rec, path, err);
	}
	return r;
}

int ob_table_decode(const struct ob_table *ours, const struct ob_table *theirs,
		    void *base, const void *records, size_t len,
		    const char *part, struct ob_err *err)
{
	const struct ob_field_path path = { .name = part };
	struct ob_reader rd;

	ob_reader_init(&rd, records, len);
	return apply_records(ours, theirs, base, &rd, &path, err);
}

/* Memory is zeros; these are the others. */
static void set_defaults(const struct ob_table *table, void *base)
{
	const struct ob_field *f;
	uint32_t i;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		for (i = 0; !ob_field_default_is_zero(f) && i < f->count; i++)
			ob_element_set_default(f, ob_element_mut(f, base, i));
}

void ob_table_defaults(const struct ob_table *table, void *base)
{
	memset(base, 0, table->size);
	set_defaults(table, base);
}

static int begin_struct(const struct ob_table *ours,
			const struct ob_table *theirs, void *base,
			const struct ob_field_path *up, struct ob_err *err);

/* All elements begin alike, so one is made and the others are its copies. */
static int begin_field(const struct ob_field *ours, const struct ob_field *theirs,
		       void *base, const struct ob_field_path *path,
		       struct ob_err *err)
{
	uint32_t i, n = ours->count < theirs->count ? ours->count : theirs->count;
	uint8_t *first = ob_element_mut(ours, base, 0);
	int r = check_kind(ours, theirs, path, err);

	if (!r && ob_field_is_int(ours))
		r = check_value(ours, theirs->def, path, err);
	if (!r && ours->type == OB_FIELD_STRUCT)
		r = begin_struct(ours->sub, theirs->sub, first, path, err);
	else if (!r)
		ob_int_store(first, theirs->def, ours->size);
	if (r || (ob_field_default_is_zero(ours) && ob_all_zero(first, ours->size)))
		return r;
	for (i = 1; i < n; i++)
		memcpy(ob_element_mut(ours, base, i), first, ours->size);
	return 0;
}

static int begin_struct(const struct ob_table *ours,
			const struct ob_table *theirs, void *base,
			const struct ob_field_path *up, struct ob_err *err)
{
	struct ob_field_path path = { .up = up };
	const struct ob_field *our, *their;
	int r;

	for (our = ours->fields; our->type != OB_FIELD_END; our++) {
		if (our->type == OB_FIELD_RESERVED)
			continue;
		their = ob_field_by_tag(theirs, our->tag);
		path.name = our->name;
		if (their && (r = begin_field(our, their, base, &path, err)))
			return r;
	}
	return 0;
}

int ob_table_begin_zeroed(const struct ob_table *ours,
			  const struct ob_table *theirs, void *base,
			  const char *part, struct ob_err *err)
{
	const struct ob_field_path path = { .name = part };

	set_defaults(ours, base);
	return begin_struct(ours, theirs, base, &path, err);
}

int ob_table_begin(const struct ob_table *ours, const struct ob_table *theirs,
		   void *base, const char *part, struct ob_err *err)
{
	memset(base, 0, ours->size);
	return ob_table_begin_zeroed(ours, theirs, base, part, err);
}
