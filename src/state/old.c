// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state memory of another process.  It is copied first, and the copy is
 * what is checked and used: whoever has the file may still write to it, or
 * shorten it.  Only what was ever written is copied, so the 2 MiB of an empty
 * DMA table cost nothing, here and in everything that walks the copy.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/field.h"
#include "state/old_priv.h"
#include "state/table_io.h"

/* One field by name and element: must do for any nested structure. */
#define RECORDS OB_STREAM_PART_MAX

static int read_at(int fd, void *to, size_t len, uint64_t at)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = pread(fd, (uint8_t *)to + got, len - got, (off_t)(at + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		got += (size_t)n;
	}
	return 0;
}

/* The next bytes of [from, to) that are no hole; false: none. */
static bool next_data(int fd, uint64_t *from, uint64_t *end, uint64_t to)
{
	off_t data = lseek(fd, (off_t)*from, SEEK_DATA), hole;

	*end = to;
	if (data < 0)
		return errno != ENXIO;	/* a file that cannot tell: all of it */
	if ((uint64_t)data >= to)
		return false;
	*from = (uint64_t)data;
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole > data && (uint64_t)hole < to)
		*end = (uint64_t)hole;
	return true;
}

static int copy_section(struct ob_old_state *old, int fd, unsigned which,
			struct ob_err *err)
{
	const struct ob_state_extent *ext = &old->header.sections[which];
	uint64_t at = ext->offset, to = ext->offset + ext->size, end;
	int r;

	for (; at < to && next_data(fd, &at, &end, to); at = end) {
		r = read_at(fd, old->base + at, end - at, at);
		if (r)
			return ob_fail(err, -r, "section %s: cannot be read: %s",
				       ob_state_section_name(which), strerror(-r));
		old->data_end[which] = (uint32_t)(end - ext->offset);
	}
	return 0;
}

static int read_header(struct ob_old_state *old, int fd, struct ob_err *err)
{
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return ob_fail(err, errno, "cannot be read: %s", strerror(errno));
	if (st.st_size < (off_t)sizeof(old->header))
		return ob_fail(err, EINVAL, "magic: this is no state memory");
	r = read_at(fd, &old->header, sizeof(old->header), 0);
	if (r)
		return ob_fail(err, -r, "cannot be read: %s", strerror(-r));
	old->size = (size_t)st.st_size;
	return ob_old_check_header(&old->header, (uint64_t)st.st_size, err);
}

static int copy_all(struct ob_old_state *old, int fd, struct ob_err *err)
{
	unsigned i;
	void *base = mmap(NULL, old->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r = 0;

	if (base == MAP_FAILED)
		return ob_fail(err, ENOMEM, "out of memory for %zu bytes of state",
			       old->size);
	old->base = base;
	for (i = 0; i < OB_NR_SECTIONS && !r; i++)
		r = copy_section(old, fd, i, err);
	return r;
}

static int get_schema(struct ob_old_state *old, struct ob_err *err)
{
	const struct ob_state_extent *ext =
		&old->header.sections[OB_SECTION_SCHEMA];
	int r = ob_schema_get(old->base + ext->offset, ext->size, &old->schema,
			      err);

	if (r)
		ob_err_prefix(err, "section schema");
	return r ? r : ob_old_check_tables(old, err);
}

int ob_old_state_open(int fd, struct ob_old_state **out, struct ob_err *err)
{
	struct ob_old_state *old = calloc(1, sizeof(*old));
	int r;

	if (!old)
		return ob_fail(err, ENOMEM, "out of memory");
	if ((r = read_header(old, fd, err)) || (r = copy_all(old, fd, err)) ||
	    (r = get_schema(old, err)) || (r = ob_old_undo(old, err))) {
		ob_old_state_close(old);
		return r;
	}
	*out = old;
	return 0;
}

void ob_old_state_close(struct ob_old_state *old)
{
	if (!old)
		return;
	ob_schema_destroy(old->schema);
	if (old->base)
		munmap(old->base, old->size);
	free(old);
}

const struct ob_state_header *ob_old_state_header(const struct ob_old_state *old)
{
	return &old->header;
}

const struct ob_schema *ob_old_state_schema(const struct ob_old_state *old)
{
	return old->schema;
}

const void *ob_old_state_section(const struct ob_old_state *old,
				 enum ob_section which)
{
	const struct ob_state_extent *ext = &old->header.sections[which];

	return ext->size ? old->base + ext->offset : NULL;
}

/* Reading */

/*
 * The rows of a table, without elements that are nothing but zeros, and zeros
 * their default.  A walk does not even look at them.
 */
static void cut_rows(const struct ob_table *table, uint32_t data_end,
		     struct ob_field *rows)
{
	uint32_t i, used;

	for (i = 0; table->fields[i].type != OB_FIELD_END; i++) {
		const struct ob_field *f = &table->fields[i];

		rows[i] = *f;
		if (f->count == 1 || !ob_field_default_is_zero(f))
			continue;
		used = f->offset < data_end ? data_end - f->offset : 0;
		used = used / f->size + (used % f->size != 0);
		rows[i].count = used < f->count ? used : f->count;
	}
	rows[i] = table->fields[i];
}

static int convert(const struct ob_table *theirs, const struct ob_table *cut,
		   const void *from, const struct ob_table *ours, void *base,
		   const char *part, struct ob_err *err)
{
	struct ob_encode_at at = { 0 };
	struct ob_writer wr;
	uint8_t *records = malloc(RECORDS);
	int r = records ? 0 : ob_fail(err, ENOMEM, "%s: out of memory", part);

	while (!r && !at.done) {
		ob_writer_init(&wr, records, RECORDS);
		r = ob_table_encode(cut, from, &at, &wr);
		if (r)
			ob_fail(err, -r, "%s: does not fit into records", part);
		else
			r = ob_table_decode(ours, theirs, base, records,
					    ob_writer_len(&wr), part, err);
	}
	free(records);
	return r;
}

static int convert_cut(const struct ob_old_state *old, enum ob_section which,
		       const struct ob_table *theirs,
		       const struct ob_table *ours, void *base,
		       struct ob_err *err)
{
	struct ob_field rows[OB_TABLE_ROWS_MAX + 1];
	const struct ob_table cut = { theirs->name, theirs->size, rows };

	cut_rows(theirs, old->data_end[which], rows);
	return convert(theirs, &cut, ob_old_state_section(old, which), ours,
		       base, ob_state_section_name(which), err);
}

int ob_old_state_read(const struct ob_old_state *old, enum ob_section which,
		      const struct ob_table *ours, void *base,
		      struct ob_err *err)
{
	const char *part = ob_state_section_name(which);
	const struct ob_table *theirs = ob_schema_find(old->schema, part);
	int r = 0;

	if (!theirs) {
		if (ours)
			ob_table_begin_zeroed(ours, ours, base, part, NULL);
		return 0;
	}
	if (ours)
		r = ob_table_begin_zeroed(ours, theirs, base, part, err);
	return r ? r : convert_cut(old, which, theirs, ours, base, err);
}
