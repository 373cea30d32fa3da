// SPDX-License-Identifier: BSD-3-Clause
/*
 * The flight recorder.  Numbers never come again.  `next` in the memory is only
 * a hint for readers where the end is, and for a successor where to go on: what
 * a step records is beyond it until the step ends, and found by its numbers.
 *
 * An entry does not say whose it is.  Those behind a BORN are its generation's,
 * those before it the one's that it names; where the last BORN is out of
 * sight, all are of the generation that the head names.
 */
#include "state/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* At a thousand million events a second, 146 years. */
#define NUMBER_MAX (1ull << 62)

/* What is before the entries, in all releases. */
#define HEAD offsetof(struct ob_recorder_memory, entries)

static const struct ob_event_words words[OB_EVENT_NR] = {
	[OB_EVENT_NONE] = { "none", NULL, NULL, NULL },
	[OB_EVENT_BORN] = { "born", NULL, "after", "generation" },
	[OB_EVENT_ADOPTED] = { "adopted", NULL, "kind", "step" },
	[OB_EVENT_CLIENT] = { "client", NULL, "pid", NULL },
	[OB_EVENT_MESSAGE] = { "message", "command", "id", "end" },
	[OB_EVENT_ANSWER] = { "answer", "command", "error", "end" },
	[OB_EVENT_INTERRUPT] = { "interrupt", "index", "vector", NULL },
	[OB_EVENT_RESET] = { "reset", "kind", NULL, NULL },
	[OB_EVENT_FETCH] = { "fetch", "queue", "id", "opcode" },
	[OB_EVENT_DRIVE] = { "drive", "slot", "command", "offset" },
	[OB_EVENT_DRIVE_DONE] = { "drive-done", "slot", "error", NULL },
	[OB_EVENT_POST] = { "post", "queue", "id", "status" },
	[OB_EVENT_MODEL] = { "model", "what", "b", "c" },
	[OB_EVENT_AT_ONCE] = { "at-once", "queue", "id", "status-opcode" },
};

/* Of a kind that a later release brought. */
static const struct ob_event_words unknown = { "unknown", "a", "b", "c" };

const struct ob_event_words *ob_event_words(unsigned kind)
{
	return kind < OB_EVENT_NR ? &words[kind] : &unknown;
}

const char *ob_event_name(unsigned kind)
{
	return ob_event_words(kind)->name;
}

static size_t add_word(char *buf, size_t size, size_t len, const char *word,
		       uint64_t value)
{
	int n;

	if (!word || len >= size)
		return len;
	n = snprintf(buf + len, size - len, " %s=%" PRIu64, word, value);
	return len + (size_t)n;
}

const char *ob_event_text(const struct ob_event_entry *event, char *buf,
			  size_t size)
{
	const struct ob_event_words *w = ob_event_words(event->kind);
	size_t len = (size_t)snprintf(buf, size, "%s", w->name);

	if (w == &unknown)
		len = add_word(buf, size, len, "kind", event->kind);
	len = add_word(buf, size, len, w->a, event->a);
	len = add_word(buf, size, len, w->b, event->b);
	add_word(buf, size, len, w->c, event->c);
	return buf;
}

/* Opening */

static bool is_usable(const struct ob_recorder_memory *mem)
{
	return mem->magic == OB_RECORDER_MAGIC &&
	       mem->count == OB_RECORDER_EVENTS &&
	       mem->entry_size == sizeof(struct ob_event_place) &&
	       mem->next > 0 && mem->next < NUMBER_MAX;
}

/* A new one is zero: its pages are not touched before they are used. */
static void begin(struct ob_recorder_memory *mem, bool is_new)
{
	if (!is_new)
		memset(mem, 0, sizeof(*mem));
	mem->count = OB_RECORDER_EVENTS;
	mem->entry_size = sizeof(struct ob_event_place);
	mem->next = 1;
	mem->magic = OB_RECORDER_MAGIC;
}

/* The one that goes on: as long as ours, and it cannot become shorter. */
static int check_fd(int fd, struct ob_err *err)
{
	const off_t size = sizeof(struct ob_recorder_memory);
	struct stat st;
	int seals;

	if (fstat(fd, &st))
		return ob_fail(err, errno, "the recorder cannot be read: %s",
			       strerror(errno));
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return ob_fail(err, EINVAL, "the recorder is no memory file");
	if (st.st_size < size && ftruncate(fd, size))
		return ob_fail(err, errno, "the recorder is too short: %s",
			       strerror(errno));
	return 0;
}

/* Its writer may have died before the hint was right. */
static uint64_t find_end(const struct ob_recorder_memory *mem)
{
	uint64_t next = mem->next;

	while (mem->entries[next % OB_RECORDER_EVENTS].number == next)
		next++;
	return next;
}

static int map(struct ob_recorder *rec, bool is_new, struct ob_err *err)
{
	void *at = mmap(NULL, sizeof(*rec->memory), PROT_READ | PROT_WRITE,
			MAP_SHARED, rec->fd, 0);

	if (at == MAP_FAILED)
		return ob_fail(err, errno, "the recorder cannot be mapped: %s",
			       strerror(errno));
	rec->memory = at;
	if (!is_usable(rec->memory))
		begin(rec->memory, is_new);
	rec->next = find_end(rec->memory);
	ob_recorder_settle(rec);
	return 0;
}

int ob_recorder_open(struct ob_recorder *rec, int fd, struct ob_err *err)
{
	bool is_new = fd < 0;
	int r = 0;

	*rec = (struct ob_recorder){ .fd = fd };
	if (fd >= 0)
		r = check_fd(fd, err);
	else
		rec->fd = ob_memfd_create("outboard-recorder",
					  sizeof(*rec->memory));
	if (rec->fd < 0)
		r = ob_fail(err, -rec->fd, "no memory for the recorder: %s",
			    strerror(-rec->fd));
	if (!r)
		r = map(rec, is_new, err);
	if (r)
		ob_recorder_close(rec);
	return r;
}

void ob_recorder_get_warm(struct ob_recorder *rec)
{
	if (rec->memory)
		madvise(rec->memory, sizeof(*rec->memory),
			MADV_POPULATE_WRITE);
}

void ob_recorder_close(struct ob_recorder *rec)
{
	if (rec->memory)
		munmap(rec->memory, sizeof(*rec->memory));
	ob_fd_close(&rec->fd);
	*rec = (struct ob_recorder){ .fd = -1 };
}

/* Of the events before it a reader learns the generation from `before`. */
void ob_recorder_born(struct ob_recorder *rec, uint64_t time,
		      uint32_t generation)
{
	uint32_t before;

	if (!rec->memory)
		return;
	before = (uint32_t)rec->memory->generation;
	ob_record(rec, time, OB_EVENT_BORN, 0, before, generation);
	ob_recorder_settle(rec);
	__atomic_store_n(&rec->memory->generation, generation,
			 __ATOMIC_RELEASE);
}

/* Reading */

#define EVENTS_MAX (1u << 20)	/* no recorder of ours is longer */

struct view {
	const uint8_t *entries;
	uint64_t next, generation;
	uint32_t count, entry_size;
};

/* The memory may be of another release, changing, or nonsense. */
static bool look(struct view *view, const void *memory, size_t size)
{
	const struct ob_recorder_memory *mem = memory;

	if (size < HEAD || mem->magic != OB_RECORDER_MAGIC)
		return false;
	view->count = __atomic_load_n(&mem->count, __ATOMIC_RELAXED);
	view->entry_size = __atomic_load_n(&mem->entry_size, __ATOMIC_RELAXED);
	view->next = __atomic_load_n(&mem->next, __ATOMIC_ACQUIRE);
	view->generation = __atomic_load_n(&mem->generation, __ATOMIC_ACQUIRE);
	view->entries = (const uint8_t *)memory + HEAD;
	return view->entry_size >= sizeof(struct ob_event_place) &&
	       view->entry_size % 8 == 0 && view->count > 0 &&
	       view->count <= (size - HEAD) / view->entry_size &&
	       view->next < NUMBER_MAX;
}

static bool take(const struct view *view, uint64_t number,
		 struct ob_event_entry *out)
{
	const struct ob_event_place *place = (const struct ob_event_place *)
		(view->entries + number % view->count * view->entry_size);

	if (__atomic_load_n(&place->number, __ATOMIC_ACQUIRE) != number)
		return false;
	*out = (struct ob_event_entry){
		.number = number, .time = place->time, .kind = place->kind,
		.a = place->a, .b = place->b, .c = place->c,
	};
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&place->number, __ATOMIC_RELAXED) == number;
}

static void name_generations(const struct view *view,
			     struct ob_event_entry *events, size_t n)
{
	uint32_t generation = (uint32_t)view->generation;
	size_t i;

	for (i = 0; i < n && events[i].kind != OB_EVENT_BORN; i++)
		;
	if (i < n)
		generation = events[i].b;
	for (i = 0; i < n; i++) {
		if (events[i].kind == OB_EVENT_BORN)
			generation = (uint32_t)events[i].c;
		events[i].generation = generation;
	}
}

size_t ob_recorder_read(const void *memory, size_t size,
			struct ob_event_entry *out, size_t room)
{
	struct ob_event_entry last;
	uint64_t at, most;
	struct view view;
	size_t n = 0;

	if (!look(&view, memory, size) || !view.next)
		return 0;
	/* The hint may be behind, by no more than all. */
	for (most = view.count; most && take(&view, view.next, &last); most--)
		view.next++;
	most = room < view.count ? room : view.count;
	at = view.next > most ? view.next - most : 1;
	for (; at < view.next; at++)
		if (take(&view, at, &out[n]))
			n++;
	name_generations(&view, out, n);
	return n;
}

/* Of one recorder, on the way into the others. */
struct source {
	struct ob_event_entry *events;
	size_t at, count;
};

static struct source *earliest(struct source *sources, unsigned nr)
{
	struct source *first = NULL;

	for (unsigned i = 0; i < nr; i++) {
		struct source *s = &sources[i];

		if (s->at < s->count &&
		    (!first || s->events[s->at].time < first->events[first->at].time))
			first = s;
	}
	return first;
}

static size_t merge(struct source *sources, unsigned nr,
		    struct ob_event_entry *out)
{
	struct source *s;
	size_t n = 0;

	while ((s = earliest(sources, nr))) {
		out[n] = s->events[s->at++];
		out[n++].source = (uint32_t)(s - sources);
	}
	return n;
}

/* Of another release there may be more than of ours. */
static size_t room_for(const struct ob_recorder_bytes *rec)
{
	size_t room = rec->size / sizeof(struct ob_event_place);

	return room < EVENTS_MAX ? room : EVENTS_MAX;
}

static void read_source(const struct ob_recorder_bytes *rec,
			struct ob_event_entry *events, struct source *out)
{
	*out = (struct source){
		.events = events,
		.count = ob_recorder_read(rec->memory, rec->size, events,
					  room_for(rec)),
	};
}

size_t ob_recorder_read_all(const struct ob_recorder_bytes *recs, unsigned nr,
			    struct ob_event_entry **out)
{
	struct source *sources = calloc(nr + 1, sizeof(*sources));
	struct ob_event_entry *events;
	size_t room = 1, n = 0;

	for (unsigned i = 0; i < nr; i++)
		room += room_for(&recs[i]);
	events = calloc(room, sizeof(*events));
	*out = calloc(room, sizeof(**out));
	if (events && sources && *out) {
		room = 0;
		for (unsigned i = 0; i < nr; i++) {
			read_source(&recs[i], events + room, &sources[i]);
			room += room_for(&recs[i]);
		}
		n = merge(sources, nr, *out);
	} else {
		free(*out);
		*out = NULL;
	}
	free(sources);
	free(events);
	return n;
}
