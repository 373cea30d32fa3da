// SPDX-License-Identifier: BSD-3-Clause
/*
 * What has to hold of a dead process's state memory before anything of it is
 * used: that its parts lie where they can lie, that they have the sizes that
 * their tables say, and that what is to be undone lies in them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "state/old_priv.h"

#define SECTION_ALIGN 4096u

/* Text that may be printed, and ends. */
static bool is_text(const uint8_t *text, size_t size)
{
	size_t i;

	for (i = 0; i < size && text[i]; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	return i > 0 && i < size;
}

static bool overlaps(const struct ob_state_extent *a,
		     const struct ob_state_extent *b)
{
	return a->size && b->size && a->offset < b->offset + b->size &&
	       b->offset < a->offset + a->size;
}

static int check_extent(const struct ob_state_header *hdr, unsigned which,
			uint64_t size, struct ob_err *err)
{
	const struct ob_state_extent *ext = &hdr->sections[which];
	unsigned i;

	if (!ext->size && !ext->offset)
		return 0;
	if (ext->offset < sizeof(*hdr) || ext->offset % SECTION_ALIGN)
		return ob_fail(err, EINVAL, "section %s: cannot begin at %#" PRIx64,
			       ob_state_section_name(which), ext->offset);
	if (ext->offset > size || ext->size > size - ext->offset)
		return ob_fail(err, EINVAL, "section %s: %" PRIu64 " bytes at %#"
			       PRIx64 " leave the file of %" PRIu64,
			       ob_state_section_name(which), ext->size, ext->offset, size);
	for (i = 0; i < which; i++)
		if (overlaps(&hdr->sections[i], ext))
			return ob_fail(err, EINVAL, "section %s: lies over section %s",
				       ob_state_section_name(which), ob_state_section_name(i));
	return 0;
}

static int check_form(const struct ob_state_header *hdr, uint64_t size,
		      struct ob_err *err)
{
	if (hdr->magic != OB_STATE_MAGIC)
		return ob_fail(err, EINVAL, "magic: this is no state memory");
	if (hdr->layout != OB_STATE_LAYOUT || hdr->nr_sections != OB_NR_SECTIONS)
		return ob_fail(err, EINVAL, "layout: %u with %u sections; known here is "
			       "%u with %u", hdr->layout, hdr->nr_sections,
			       OB_STATE_LAYOUT, OB_NR_SECTIONS);
	if (size > OB_STATE_SIZE_MAX)
		return ob_fail(err, EINVAL, "size: %" PRIu64 " bytes are too many", size);
	if (!is_text(hdr->release, sizeof(hdr->release)))
		return ob_fail(err, EINVAL, "release: is not plain text");
	if (!is_text(hdr->model, sizeof(hdr->model)))
		return ob_fail(err, EINVAL, "model: is not plain text");
	return 0;
}

int ob_old_check_header(const struct ob_state_header *hdr, uint64_t size,
			struct ob_err *err)
{
	unsigned i;
	int r = check_form(hdr, size, err);

	for (i = 0; i < OB_NR_SECTIONS && !r; i++)
		r = check_extent(hdr, i, size, err);
	if (!r && !hdr->sections[OB_SECTION_SCHEMA].size)
		r = ob_fail(err, EINVAL, "section schema: is missing");
	if (!r && hdr->sections[OB_SECTION_UNDO].size != sizeof(struct ob_undo))
		r = ob_fail(err, EINVAL, "section undo: %" PRIu64 " bytes, not %zu",
			    hdr->sections[OB_SECTION_UNDO].size,
			    sizeof(struct ob_undo));
	return r;
}

int ob_old_check_tables(const struct ob_old_state *old, struct ob_err *err)
{
	const struct ob_table *table;
	uint64_t size;
	unsigned i;

	for (i = 0; i < OB_NR_TABLES; i++) {
		table = ob_schema_find(old->schema, ob_state_section_name(i));
		size = table ? table->size : 0;
		if (old->header.sections[i].size != size)
			return ob_fail(err, EINVAL, "section %s: %" PRIu64 " bytes, its "
				       "table says %" PRIu64, ob_state_section_name(i),
				       old->header.sections[i].size, size);
	}
	return 0;
}

static bool is_inside(const struct ob_state_extent *ext,
		      const struct ob_state_extent *sec)
{
	return ext->offset >= sec->offset &&
	       ext->offset - sec->offset <= sec->size &&
	       ext->size <= sec->size - (ext->offset - sec->offset);
}

/* Only what tables describe is ever undone.  OB_NR_TABLES: it lies nowhere. */
static unsigned section_of(const struct ob_state_header *hdr,
			   const struct ob_state_extent *ext)
{
	unsigned i;

	for (i = 0; i < OB_NR_TABLES; i++)
		if (is_inside(ext, &hdr->sections[i]))
			break;
	return i;
}

static int check_undo(const struct ob_old_state *old, const struct ob_undo *undo,
		      struct ob_err *err)
{
	uint64_t sum = 0;
	uint32_t i;

	if (undo->count > OB_UNDO_EXTENTS || undo->used > OB_UNDO_BYTES)
		return ob_fail(err, EINVAL, "undo: %u extents of %u bytes are not "
			       "possible", undo->count, undo->used);
	for (i = 0; i < undo->count; i++) {
		if (section_of(&old->header, &undo->extents[i]) == OB_NR_TABLES)
			return ob_fail(err, EINVAL, "undo: extent %u is in no section", i);
		sum += undo->extents[i].size;
		if (sum > undo->used)
			return ob_fail(err, EINVAL, "undo: extent %u has no bytes", i);
	}
	return 0;
}

static void put_back(struct ob_old_state *old, const struct ob_state_extent *ext,
		     const uint8_t *bytes)
{
	unsigned which = section_of(&old->header, ext);
	uint64_t end = ext->offset + ext->size -
		       old->header.sections[which].offset;

	memcpy(old->base + ext->offset, bytes, ext->size);
	if (end > old->data_end[which])
		old->data_end[which] = (uint32_t)end;
}

/*
 * From the last to the first, so that what was saved twice becomes what it was
 * at first.  The bytes of an extent begin where those before it end.
 */
int ob_old_undo(struct ob_old_state *old, struct ob_err *err)
{
	const struct ob_undo *undo = (const struct ob_undo *)
		(old->base + old->header.sections[OB_SECTION_UNDO].offset);
	uint64_t at = 0;
	uint32_t i;
	int r = undo->count ? check_undo(old, undo, err) : 0;

	if (r)
		return r;
	for (i = 0; i < undo->count; i++)
		at += undo->extents[i].size;
	while (i-- > 0) {
		at -= undo->extents[i].size;
		put_back(old, &undo->extents[i], undo->bytes + at);
	}
	return 0;
}
