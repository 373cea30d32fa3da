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

/* For records: any nested structure fits. */
#define RECORDS OB_STREAM_PART_MAX
#define BLOCK 4096u

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

/* Bytes [from, from + len) of a section. */
static int copy_bytes(struct ob_old_state *old, int fd, unsigned which,
		      uint64_t from, uint64_t len, struct ob_err *err)
{
	const struct ob_state_extent *ext = &old->header.sections[which];
	uint64_t at = ext->offset + from, to = at + len, end;
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

/* What older steps left in it is not worth its pages. */
static int copy_undo(struct ob_old_state *old, int fd, struct ob_err *err)
{
	const size_t head = offsetof(struct ob_undo, bytes);
	const struct ob_undo *undo = (const struct ob_undo *)
		(old->base + old->header.sections[OB_SECTION_UNDO].offset);
	int r = copy_bytes(old, fd, OB_SECTION_UNDO, 0, head, err);

	if (r || !undo->count)
		return r;
	return copy_bytes(old, fd, OB_SECTION_UNDO, head,
			  undo->used < OB_UNDO_BYTES ? undo->used : OB_UNDO_BYTES,
			  err);
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
	for (i = 0; i < OB_SECTION_UNDO && !r; i++)
		r = copy_bytes(old, fd, i, 0, old->header.sections[i].size, err);
	return r ? r : copy_undo(old, fd, err);
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

/* Cutting */

static void find_end(struct ob_old_state *old, unsigned which)
{
	const uint8_t *at = old->base + old->header.sections[which].offset;
	uint32_t end = old->data_end[which];

	while (end >= BLOCK && ob_all_zero(at + end - BLOCK, BLOCK))
		end -= BLOCK;
	while (end && !at[end - 1])
		end--;
	old->data_end[which] = end;
}

/* Elements that are nothing but zeros, and zeros their default, at the end. */
static uint32_t used_of(const struct ob_field *f, uint32_t data_end)
{
	uint32_t used = f->offset < data_end ? data_end - f->offset : 0;

	used = used / f->size + (used % f->size != 0);
	if (f->count == 1 || used >= f->count || !ob_field_default_is_zero(f))
		return f->count;
	return used;
}

static int cut_table(struct ob_old_state *old, unsigned which,
		     struct ob_err *err)
{
	const char *name = ob_state_section_name(which);
	const struct ob_table *whole = ob_schema_find(old->schema, name);
	struct ob_field *rows;
	unsigned n = 0, i;

	if (!whole)
		return 0;
	while (whole->fields[n].type != OB_FIELD_END)
		n++;
	rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		return ob_fail(err, ENOMEM, "out of memory for tables");
	for (i = 0; i < n; i++) {
		rows[i] = whole->fields[i];
		rows[i].count = used_of(&rows[i], old->data_end[which]);
	}
	old->rows[which] = rows;
	old->tables[which] = (struct ob_table){ whole->name, whole->size, rows };
	return 0;
}

static int cut_all(struct ob_old_state *old, struct ob_err *err)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < OB_NR_TABLES && !r; i++) {
		find_end(old, i);
		r = cut_table(old, i, err);
	}
	return r;
}

int ob_old_state_open(int fd, struct ob_old_state **out, struct ob_err *err)
{
	struct ob_old_state *old = calloc(1, sizeof(*old));
	int r;

	if (!old)
		return ob_fail(err, ENOMEM, "out of memory");
	if ((r = read_header(old, fd, err)) || (r = copy_all(old, fd, err)) ||
	    (r = get_schema(old, err)) || (r = ob_old_undo(old, err)) ||
	    (r = cut_all(old, err))) {
		ob_old_state_close(old);
		return r;
	}
	*out = old;
	return 0;
}

void ob_old_state_close(struct ob_old_state *old)
{
	unsigned i;

	if (!old)
		return;
	for (i = 0; i < OB_NR_TABLES; i++)
		free(old->rows[i]);
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

const struct ob_table *ob_old_state_table(const struct ob_old_state *old,
					  enum ob_section which)
{
	return old->rows[which] ? &old->tables[which] : NULL;
}

/* Reading */

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

int ob_old_state_read(const struct ob_old_state *old, enum ob_section which,
		      const struct ob_table *ours, void *base,
		      struct ob_err *err)
{
	const char *part = ob_state_section_name(which);
	const struct ob_table *theirs = ob_schema_find(old->schema, part);
	int r;

	if (!theirs)
		return ours ? ob_table_begin_zeroed(ours, ours, base, part, err) : 0;
	if (ours && (r = ob_table_begin_zeroed(ours, theirs, base, part, err)))
		return r;
	return convert(theirs, ob_old_state_table(old, which),
		       ob_old_state_section(old, which), ours, base, part, err);
}
