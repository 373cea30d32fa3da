/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flight recorder: the last events of a device, in a memfd of its own that
 * goes from worker to worker.  One writer; readers (inspect, state show, a
 * successor) may look at any time: an event is whole if its number is the one
 * that its place should have.
 */
#ifndef OB_STATE_RECORDER_H
#define OB_STATE_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

#define OB_RECORDER_MAGIC 0x3143455254554fu	/* "OUTREC1" */
#define OB_RECORDER_EVENTS 4096u
#define OB_RECORDER_BEHIND 256u

/* Stable numbers: a reader may be of another release. */
enum ob_event {
	OB_EVENT_NONE,
	OB_EVENT_BORN,		/* a generation begins; c: its number, b: of
				 * the one before */
	OB_EVENT_ADOPTED,	/* c: its predecessor's step; b: kind of step */
	OB_EVENT_CLIENT,	/* a client came (b: pid) or went (b: 0) */
	OB_EVENT_MESSAGE,	/* a: command; b: message id; c: its end */
	OB_EVENT_ANSWER,	/* a: command; b: error; c: the message's end */
	OB_EVENT_INTERRUPT,	/* a: index; b: vector */
	OB_EVENT_RESET,		/* a: enum ob_reset */
	OB_EVENT_FETCH,		/* a: queue; b: command id; c: opcode */
	OB_EVENT_DRIVE,		/* a: slot; b: queue << 16 | command id; c: offset */
	OB_EVENT_DRIVE_DONE,	/* a: slot; b: errno */
	OB_EVENT_POST,		/* a: queue; b: command id; c: status */
	OB_EVENT_MODEL,		/* the model's own; a: what */
	OB_EVENT_AT_ONCE,	/* fetched and posted; a: queue; b: command id;
				 * c: status << 8 | opcode */
	OB_EVENT_NR
};

/* As ob_recorder_read gives them. */
struct ob_event_entry {
	uint64_t number;	/* from 1 */
	uint64_t time;		/* CLOCK_MONOTONIC, ns */
	uint32_t generation;
	uint16_t kind, a;
	uint32_t b;
	uint32_t source;	/* of several recorders: which, from 0 */
	uint64_t c;
};

/* In memory.  Two share a cache line, since every command writes several. */
struct ob_event_place {
	uint64_t number;	/* written last; place = number % count */
	uint64_t time;
	uint16_t kind, a;
	uint32_t b;
	uint64_t c;
};

/* The step that its writer is in: of a lane, the device's own is in its state. */
struct ob_recorder_step {
	uint64_t step;		/* odd: inside */
	uint32_t step_kind;
	uint32_t generation;	/* of the state, in which that is */
};

struct ob_recorder_memory {
	uint64_t magic;
	uint32_t count, entry_size;
	uint64_t next;		/* number of the next event; a hint, behind
				 * by no more than BEHIND */
	uint64_t generation;	/* of the events after the last BORN */
	struct ob_recorder_step step;
	uint64_t reserved[2];	/* entries begin on a cache line */
	struct ob_event_place entries[OB_RECORDER_EVENTS];
};

struct ob_recorder {
	struct ob_recorder_memory *memory;	/* NULL: off */
	uint64_t next;				/* number of the next event */
	int fd;
};

/*
 * New, or (fd >= 0, taken even when it fails) the one that goes on; garbage in
 * it is cleared.
 */
int ob_recorder_open(struct ob_recorder *rec, int fd, struct ob_err *err);
/* Takes its pages: it will be written often from now on. */
void ob_recorder_get_warm(struct ob_recorder *rec);
/* Accepts what open left behind when it failed, and { .fd = -1 }. */
void ob_recorder_close(struct ob_recorder *rec);

/* At the end of a step: one store for all of its events. */
static inline void ob_recorder_settle(struct ob_recorder *rec)
{
	if (rec->memory)
		__atomic_store_n(&rec->memory->next, rec->next,
				 __ATOMIC_RELEASE);
}

/*
 * The number of a place is taken away before it is overwritten and put there
 * when it is whole again, so that a reader, or a death, in between finds one
 * without its number.
 */
static inline void ob_record(struct ob_recorder *rec, uint64_t time,
			     enum ob_event kind, uint16_t a, uint32_t b,
			     uint64_t c)
{
	struct ob_recorder_memory *mem = rec->memory;
	struct ob_event_place *place;
	uint64_t number;

	if (!mem)
		return;
	number = rec->next++;
	place = &mem->entries[number % OB_RECORDER_EVENTS];
	__atomic_store_n(&place->number, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	place->time = time;
	place->kind = (uint16_t)kind;
	place->a = a;
	place->b = b;
	place->c = c;
	__atomic_store_n(&place->number, number, __ATOMIC_RELEASE);
	if (number % OB_RECORDER_BEHIND == 0)
		ob_recorder_settle(rec);
}

/* What is recorded from here on is a new generation's. */
void ob_recorder_born(struct ob_recorder *rec, uint64_t time,
		      uint32_t generation);

/*
 * Copies the whole events of a recorder's memory, oldest first; how many.  The
 * newest ones when there is not room for all.  Hostile bytes; memory is
 * aligned to 8.
 */
size_t ob_recorder_read(const void *memory, size_t size,
			struct ob_event_entry *out, size_t room);

/*
 * The same of all recorders of a device with lanes, by time; those of one recorder
 * stay in order.  No more than a million of each.  *out is the
 * caller's to free; NULL and none when memory is short.
 */
struct ob_recorder_bytes {
	const void *memory;
	size_t size;
	int fd;			/* of the same, or -1 */
};
size_t ob_recorder_read_all(const struct ob_recorder_bytes *recs, unsigned nr,
			    struct ob_event_entry **out);

/* What an event is called, and what its numbers mean; NULL: nothing. */
struct ob_event_words {
	const char *name, *a, *b, *c;
};
const struct ob_event_words *ob_event_words(unsigned kind);
const char *ob_event_name(unsigned kind);
/* "message command=9 id=3 end=1024" */
#define OB_EVENT_TEXT 128u
const char *ob_event_text(const struct ob_event_entry *event, char *buf,
			  size_t size);

#endif
