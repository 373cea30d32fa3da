/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One memfd holds everything of a device that must survive its process:
 *
 *	header | core | plain part | hot part | DMA table | session |
 *	the writer's schema | undo
 *
 * Every section begins on a page of its own; the first five are described by
 * tables, the library's as well as the model's.  The file is sparse: a section
 * costs what of it was ever written.  docs/crash-safety.md says who writes
 * what when.
 */
#ifndef OB_STATE_STATE_MEM_H
#define OB_STATE_STATE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>

#include <outboard/state.h>

#define OB_STATE_MAGIC 0x315354534254554full	/* "OUTBSTS1" */
#define OB_STATE_LAYOUT 2u

enum ob_section {
	OB_SECTION_CORE,	/* configuration space, interrupts */
	OB_SECTION_PLAIN,	/* the model's registers */
	OB_SECTION_HOT,		/* the model's cursors and commands in flight */
	OB_SECTION_DMA,		/* what the client mapped */
	OB_SECTION_SESSION,	/* the connections, as far as they outlive us */
	OB_SECTION_SCHEMA,	/* the tables of those above (schema.h), roots
				 * by the names of their sections */
	OB_SECTION_UNDO,	/* struct ob_undo */
	OB_NR_SECTIONS
};
#define OB_NR_TABLES OB_SECTION_SCHEMA	/* sections with a table */

/* "core", "plain", ...; also the root in the schema.  NULL: there is none. */
const char *ob_state_section_name(unsigned which);
/* "message", "work", ...; "?" for what a later release knows. */
const char *ob_step_kind_name(unsigned kind);

/* Everything that one file can hold, and more. */
#define OB_STATE_SIZE_MAX (512u << 20)

/* What the device was entered for. */
enum ob_step_kind {
	OB_STEP_NONE, OB_STEP_MESSAGE, OB_STEP_WORK, OB_STEP_DRIVE,
	OB_STEP_TIMER, OB_STEP_POLL, OB_STEP_ADMIN,
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
	uint32_t step_kind;	/* enum ob_step_kind, of the open or last one */
	/* For the fuse: deaths in a row in the same place, ours included. */
	uint32_t deaths;
	uint64_t died_at;	/* the place: journal.done, or the step */
	uint8_t release[32];	/* whose tables describe the sections */
	uint8_t model[32];
	struct ob_state_extent sections[OB_NR_SECTIONS];
	/* The only words that a successor writes here while this is the truth:
	 * that it takes it over, and how many in a row died of that. */
	uint32_t taking;	/* enum ob_taking */
	uint32_t takers;
};

/* TAKING: up to the hand-over, in the old memory; TAKEN: in the new one, until
 * the device serves. */
enum ob_taking { OB_TAKING_NOT, OB_TAKING, OB_TAKEN };

extern const struct ob_table ob_state_header_table;

/*
 * Bytes as they were before the step changed them.  An extent counts as soon
 * as `count` says so, which is before the first change to what it saves; count
 * = 0 commits.  Undoing goes from the last to the first.
 */
#define OB_UNDO_EXTENTS 16u
#define OB_UNDO_BYTES (192u << 10)
struct ob_undo {
	uint32_t count, used;	/* extents; bytes */
	struct ob_state_extent extents[OB_UNDO_EXTENTS];
	uint8_t bytes[OB_UNDO_BYTES];
};

struct ob_state_mem;

/*
 * Where steps begin and end with more than what is below: a device with lanes
 * (server/lane.c).  depth counts from STEPS_OWN there, so that the others do not
 * pay for the question.
 */
#define OB_STEPS_OWN (1u << 31)
struct ob_step_ops {
	/* depth has been changed; alone: nobody else may be in a step. */
	void (*begin)(struct ob_state_mem *mem, enum ob_step_kind kind,
		      bool alone);
	void (*end)(struct ob_state_mem *mem);
};

struct ob_state_mem {
	int fd;
	uint8_t *base;
	size_t size;
	unsigned depth;		/* steps may nest; only the outermost counts */
	uint32_t saved;		/* the undo's count: who looks there makes a page of it */
	struct ob_undo *undo;
	const struct ob_step_ops *ops;	/* when depth says so */
};

/*
 * tables[i] describes section i and gives its size; NULL: absent.  -E2BIG when
 * core, plain, hot and session together do not fit into the undo.
 */
int ob_state_create(struct ob_state_mem *mem, const char *model,
		    const struct ob_table *const tables[OB_NR_TABLES],
		    struct ob_err *err);
/* Accepts what create left behind when it failed, and { .fd = -1 }. */
void ob_state_destroy(struct ob_state_mem *mem);
/* Takes the pages that every life writes, before it has to be quick. */
void ob_state_get_warm(struct ob_state_mem *mem);

/*
 * Outside of steps: gives back the pages that hold nothing but zeros (whoever reads
 * a section takes those that it had never touched) and what the undo had needed.
 */
void ob_state_cool(struct ob_state_mem *mem);
/* How much of the section, from its begin, up to the last page that was written. */
size_t ob_state_written(const struct ob_state_mem *mem, enum ob_section which);
/* All of the section becomes zeros, and costs nothing. */
void ob_state_clear(struct ob_state_mem *mem, enum ob_section which);
/* The section becomes these bytes, as many as it has; what is zero of it and was
 * never written stays untouched. */
void ob_state_fill(struct ob_state_mem *mem, enum ob_section which,
		   const void *bytes);

struct ob_state_header *ob_state_header(const struct ob_state_mem *mem);
/* NULL when the section is absent. */
void *ob_state_section(const struct ob_state_mem *mem, enum ob_section which);

static inline bool ob_step_is_open(const struct ob_state_mem *mem)
{
	return mem->depth && mem->depth != OB_STEPS_OWN;
}

/* What the outermost one does to the header. */
static inline void ob_step_open(struct ob_state_mem *mem, enum ob_step_kind kind)
{
	struct ob_state_header *hdr = (struct ob_state_header *)mem->base;

	hdr->step_kind = kind;
	hdr->step++;
	atomic_signal_fence(memory_order_seq_cst);
}

/* state/undo.c: one that is not the outermost, or has more to it. */
__attribute__((cold)) void ob_step_began(struct ob_state_mem *mem,
					 enum ob_step_kind kind, bool alone);
__attribute__((cold)) void ob_step_ended(struct ob_state_mem *mem);

/* Brackets every entry into device code; the end commits what was added to
 * the undo. */
static inline void ob_step_begin(struct ob_state_mem *mem,
				 enum ob_step_kind kind)
{
	if (__builtin_expect(mem->depth++ == 0, 1))
		ob_step_open(mem, kind);
	else
		ob_step_began(mem, kind, true);
}

/* The same of a step that disturbs nobody in another lane. */
static inline void ob_step_begin_beside(struct ob_state_mem *mem,
					enum ob_step_kind kind)
{
	if (__builtin_expect(mem->depth++ == 0, 1))
		ob_step_open(mem, kind);
	else
		ob_step_began(mem, kind, false);
}

/*
 * From here on the bytes [at, at + len) of this memory are as now until the
 * step, or ob_undo_commit, commits.  Adding the same extent again in a step
 * costs nothing and saves nothing.  Too much for the undo is a mistake of the
 * caller's and stops the process; OB_UNDO_BYTES is above all of core, plain and hot.
 */
void ob_undo_add(struct ob_state_mem *mem, const void *at, size_t len);
void ob_undo_commit(struct ob_state_mem *mem);

static inline void ob_step_close(struct ob_state_mem *mem)
{
	if (mem->saved)
		ob_undo_commit(mem);
	atomic_signal_fence(memory_order_seq_cst);
	((struct ob_state_header *)mem->base)->step++;
}

static inline void ob_step_end(struct ob_state_mem *mem)
{
	if (__builtin_expect(--mem->depth == 0, 1))
		ob_step_close(mem);
	else
		ob_step_ended(mem);
}

#endif
