/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One memfd holds everything of a device that must survive its process:
 *
 *	header | core | model's plain part | model's hot part | DMA table
 *
 * Every section begins on a page of its own and is described by a table, the
 * library's as well as the model's.  The file is sparse: a section costs what
 * of it was ever written.
 */
#ifndef OB_STATE_STATE_MEM_H
#define OB_STATE_STATE_MEM_H

#include <outboard/state.h>

#define OB_STATE_MAGIC 0x315354534254554full	/* "OUTBSTS1" */
#define OB_STATE_LAYOUT 1u

enum ob_section {
	OB_SECTION_CORE,	/* configuration space, interrupts */
	OB_SECTION_PLAIN,	/* the model's registers */
	OB_SECTION_HOT,		/* the model's cursors and commands in flight */
	OB_SECTION_DMA,		/* what the client mapped */
	OB_NR_SECTIONS
};

struct ob_state_extent {
	uint64_t offset, size;	/* in the memfd; size 0: the section is absent */
};

/* At offset 0 of the memfd. */
struct ob_state_header {
	uint64_t magic;
	uint32_t layout;
	uint32_t nr_sections;
	uint64_t generation;	/* lives of this state, from 1 */
	uint64_t step;		/* odd while the device is inside a step */
	uint8_t release[32];	/* whose tables describe the sections */
	uint8_t model[32];
	struct ob_state_extent sections[OB_NR_SECTIONS];
};

extern const struct ob_table ob_state_header_table;

struct ob_state_mem {
	int fd;
	uint8_t *base;
	size_t size;
	unsigned depth;		/* steps may nest; only the outermost counts */
};

/* tables[i] describes section i and gives its size; NULL: absent. */
int ob_state_create(struct ob_state_mem *mem, const char *model,
		    const struct ob_table *const tables[OB_NR_SECTIONS],
		    struct ob_err *err);
/* Accepts what create left behind when it failed, and { .fd = -1 }. */
void ob_state_destroy(struct ob_state_mem *mem);

struct ob_state_header *ob_state_header(const struct ob_state_mem *mem);
/* NULL when the section is absent. */
void *ob_state_section(const struct ob_state_mem *mem, enum ob_section which);

/* Brackets every entry into device code. */
static inline void ob_step_begin(struct ob_state_mem *mem)
{
	if (mem->depth++ == 0)
		((struct ob_state_header *)mem->base)->step++;
}

static inline void ob_step_end(struct ob_state_mem *mem)
{
	if (--mem->depth == 0)
		((struct ob_state_header *)mem->base)->step++;
}

#endif
