// SPDX-License-Identifier: BSD-3-Clause
/* The state memfd: laid out once at creation, mapped for the device's life. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "ob_config.h"
#include "state/field.h"
#include "state/schema_priv.h"
#include "state/state_mem.h"

#define WARM_BYTES (8u << 10)

static const struct ob_field extent_rows[] = {
	OB_U64(1, struct ob_state_extent, offset, "0.1"),
	OB_U64(2, struct ob_state_extent, size, "0.1"),
	OB_END
};

static const struct ob_table extent_table = {
	"extent", sizeof(struct ob_state_extent), extent_rows
};

static const struct ob_field header_rows[] = {
	OB_U64(1, struct ob_state_header, magic, "0.1"),
	OB_U32(2, struct ob_state_header, layout, "0.1"),
	OB_U32(3, struct ob_state_header, nr_sections, "0.1"),
	OB_U64(4, struct ob_state_header, generation, "0.1"),
	OB_U64(5, struct ob_state_header, step, "0.1"),
	OB_U32(9, struct ob_state_header, step_kind, "0.3"),
	OB_U32(10, struct ob_state_header, deaths, "0.3"),
	OB_U64(11, struct ob_state_header, died_at, "0.3"),
	OB_BYTES(6, struct ob_state_header, release, "0.1"),
	OB_BYTES(7, struct ob_state_header, model, "0.1"),
	OB_STRUCTS(8, struct ob_state_header, sections, struct ob_state_extent,
		   &extent_table, "0.1"),
	OB_U32(12, struct ob_state_header, taking, "0.3"),
	OB_U32(13, struct ob_state_header, takers, "0.3"),
	OB_END
};

const struct ob_table ob_state_header_table = {
	"header", sizeof(struct ob_state_header), header_rows
};

static const char *const section_names[OB_NR_SECTIONS] = {
	[OB_SECTION_CORE] = "core", [OB_SECTION_PLAIN] = "plain",
	[OB_SECTION_HOT] = "hot", [OB_SECTION_DMA] = "dma",
	[OB_SECTION_SESSION] = "session", [OB_SECTION_SCHEMA] = "schema",
	[OB_SECTION_UNDO] = "undo",
};

const char *ob_state_section_name(unsigned which)
{
	return which < OB_NR_SECTIONS ? section_names[which] : NULL;
}

static const char *const step_names[] = {
	[OB_STEP_NONE] = "none", [OB_STEP_MESSAGE] = "message",
	[OB_STEP_WORK] = "work", [OB_STEP_DRIVE] = "drive",
	[OB_STEP_TIMER] = "timer", [OB_STEP_POLL] = "poll",
	[OB_STEP_ADMIN] = "admin",
};

const char *ob_step_kind_name(unsigned kind)
{
	return kind < sizeof(step_names) / sizeof(step_names[0]) ?
		step_names[kind] : "?";
}

static size_t page_up(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) & ~(page - 1);
}

static void put_extent(struct ob_state_header *hdr, unsigned which,
		       size_t *end, size_t size)
{
	hdr->sections[which].offset = *end;
	hdr->sections[which].size = size;
	*end += page_up(size);
}

/* Fills the extents and returns the file's length. */
static size_t lay_out(struct ob_state_header *hdr,
		      const struct ob_table *const tables[OB_NR_TABLES],
		      size_t schema)
{
	size_t end = page_up(sizeof(*hdr));
	unsigned i;

	for (i = 0; i < OB_NR_TABLES; i++)
		if (tables[i])
			put_extent(hdr, i, &end, tables[i]->size);
	put_extent(hdr, OB_SECTION_SCHEMA, &end, schema);
	put_extent(hdr, OB_SECTION_UNDO, &end, sizeof(struct ob_undo));
	return end;
}

/* What a step may change as a whole has to fit into the undo: a load that is
 * committed changes everything but the map. */
static int check_undo(const struct ob_table *const tables[OB_NR_TABLES],
		      struct ob_err *err)
{
	static const enum ob_section whole[] = {
		OB_SECTION_CORE, OB_SECTION_PLAIN, OB_SECTION_HOT,
		OB_SECTION_SESSION,
	};
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		sum += tables[whole[i]] ? tables[whole[i]]->size : 0;
	if (sum <= OB_UNDO_BYTES)
		return 0;
	return ob_fail(err, E2BIG, "the state is too large: with the library's it "
		       "has %llu bytes, and a step can undo %u",
		       (unsigned long long)sum, OB_UNDO_BYTES);
}

/* A buffer for any schema costs only the pages that are written; of the
 * allocator it would become memory that others get, and have to clear. */
static int write_schema(struct ob_writer *wr,
			const struct ob_table *const tables[OB_NR_TABLES],
			struct ob_err *err)
{
	struct ob_schema_root roots[OB_NR_TABLES];
	void *bytes = mmap(NULL, OB_SCHEMA_BYTES_MAX, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned i, n = 0;
	int r;

	if (bytes == MAP_FAILED)
		return ob_fail(err, ENOMEM, "out of memory for a schema");
	ob_writer_init(wr, bytes, OB_SCHEMA_BYTES_MAX);
	for (i = 0; i < OB_NR_TABLES; i++)
		if (tables[i])
			roots[n++] = (struct ob_schema_root){
				section_names[i], tables[i]
			};
	r = ob_schema_put(wr, roots, n);
	return r ? ob_fail(err, -r, "the tables are too many for a schema") : 0;
}

static int map_memory(struct ob_state_mem *mem, struct ob_err *err)
{
	void *base;

	mem->fd = ob_memfd_create("outboard-state", (off_t)mem->size);
	if (mem->fd < 0)
		return ob_fail(err, -mem->fd, "state memory of %zu bytes: %s",
			       mem->size, strerror(-mem->fd));
	base = mmap(NULL, mem->size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE, mem->fd, 0);
	if (base == MAP_FAILED)
		return ob_fail(err, errno, "mapping %zu bytes of state: %s",
			       mem->size, strerror(errno));
	mem->base = base;
	return 0;
}

static int create_with(struct ob_state_mem *mem, const char *model,
		       const struct ob_table *const tables[OB_NR_TABLES],
		       const struct ob_writer *schema, struct ob_err *err)
{
	struct ob_state_header hdr = {
		.magic = OB_STATE_MAGIC,
		.layout = OB_STATE_LAYOUT,
		.nr_sections = OB_NR_SECTIONS,
		.generation = 1,
	};
	int r;

	snprintf((char *)hdr.release, sizeof(hdr.release), "%s", OB_VERSION);
	snprintf((char *)hdr.model, sizeof(hdr.model), "%s", model);
	mem->size = lay_out(&hdr, tables, ob_writer_len(schema));
	if ((r = map_memory(mem, err)))
		return r;
	memcpy(mem->base, &hdr, sizeof(hdr));
	memcpy(ob_state_section(mem, OB_SECTION_SCHEMA), schema->start,
	       ob_writer_len(schema));
	mem->undo = ob_state_section(mem, OB_SECTION_UNDO);
	return 0;
}

int ob_state_create(struct ob_state_mem *mem, const char *model,
		    const struct ob_table *const tables[OB_NR_TABLES],
		    struct ob_err *err)
{
	struct ob_writer schema = { 0 };
	int r;

	*mem = (struct ob_state_mem){ .fd = -1 };
	if ((r = check_undo(tables, err)))
		return r;
	r = write_schema(&schema, tables, err);
	if (!r)
		r = create_with(mem, model, tables, &schema, err);
	if (schema.start)
		munmap(schema.start, OB_SCHEMA_BYTES_MAX);
	return r;
}

/* The begin of a section is in use as a rule; what is behind comes when it is
 * written, and in an idle device never. */
static void take_pages(struct ob_state_mem *mem, enum ob_section which)
{
	const struct ob_state_extent *ext = &ob_state_header(mem)->sections[which];
	size_t size = ext->size < WARM_BYTES ? ext->size : WARM_BYTES;

	if (size)
		madvise(mem->base + ext->offset, page_up(size),
			MADV_POPULATE_WRITE);
}

void ob_state_get_warm(struct ob_state_mem *mem)
{
	take_pages(mem, OB_SECTION_CORE);
	take_pages(mem, OB_SECTION_PLAIN);
	take_pages(mem, OB_SECTION_HOT);
	take_pages(mem, OB_SECTION_SESSION);
}

/* Calls each for every page of [at, end) of the file that is no hole. */
static void each_page(struct ob_state_mem *mem, size_t at, size_t end,
		      void (*each)(struct ob_state_mem *mem, size_t at))
{
	const size_t page = page_up(1);

	while (at < end) {
		off_t data = lseek(mem->fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 || (size_t)data >= end)
			break;
		hole = lseek(mem->fd, data, SEEK_HOLE);
		for (at = (size_t)data; at < end && (off_t)at < hole; at += page)
			each(mem, at);
	}
}

size_t ob_state_written(const struct ob_state_mem *mem, enum ob_section which)
{
	const struct ob_state_extent *ext = &ob_state_header(mem)->sections[which];
	off_t at = (off_t)ext->offset, end = at + (off_t)ext->size, hole = at;

	while (at >= 0 && at < end) {
		hole = lseek(mem->fd, at, SEEK_HOLE);
		at = hole < 0 ? -1 : lseek(mem->fd, hole, SEEK_DATA);
	}
	return hole < 0 || hole > end ? ext->size : (size_t)hole - ext->offset;
}

static void give_back(struct ob_state_mem *mem, size_t at)
{
	const size_t page = page_up(1);

	if (ob_all_zero(mem->base + at, page))
		madvise(mem->base + at, page, MADV_REMOVE);
}

void ob_state_cool(struct ob_state_mem *mem)
{
	const struct ob_state_extent *undo =
		&ob_state_header(mem)->sections[OB_SECTION_UNDO];
	const size_t page = page_up(1);

	if (ob_step_is_open(mem) || mem->saved)
		return;
	madvise(mem->base + undo->offset, page_up(undo->size), MADV_REMOVE);
	each_page(mem, page, undo->offset, give_back);
}

void ob_state_clear(struct ob_state_mem *mem, enum ob_section which)
{
	const struct ob_state_extent *ext = &ob_state_header(mem)->sections[which];

	if (madvise(mem->base + ext->offset, page_up(ext->size), MADV_REMOVE))
		memset(mem->base + ext->offset, 0, ext->size);
}

static void clear(struct ob_state_mem *mem, size_t at)
{
	memset(mem->base + at, 0, page_up(1));
}

void ob_state_fill(struct ob_state_mem *mem, enum ob_section which,
		   const void *bytes)
{
	const struct ob_state_extent *ext = &ob_state_header(mem)->sections[which];
	const size_t page = page_up(1);
	const uint8_t *from = bytes;
	size_t at, len;

	each_page(mem, ext->offset, ext->offset + ext->size, clear);
	for (at = 0; at < ext->size; at += page) {
		len = ext->size - at < page ? ext->size - at : page;
		if (!ob_all_zero(from + at, len))
			memcpy(mem->base + ext->offset + at, from + at, len);
	}
}

void ob_state_destroy(struct ob_state_mem *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	ob_fd_close(&mem->fd);
	*mem = (struct ob_state_mem){ .fd = -1 };
}

struct ob_state_header *ob_state_header(const struct ob_state_mem *mem)
{
	return (struct ob_state_header *)mem->base;
}

void *ob_state_section(const struct ob_state_mem *mem, enum ob_section which)
{
	const struct ob_state_extent *ext = &ob_state_header(mem)->sections[which];

	return ext->size ? mem->base + ext->offset : NULL;
}
