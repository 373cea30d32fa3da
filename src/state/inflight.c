// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands in flight, by what happened to them.  A command is known by queue
 * and id, which its guest may use again as soon as it was told the end; so an
 * end takes away the one that is open, and a fetching of an id that is still open
 * (its controller was reset in between) takes its place.
 *
 * The events are hostile: all of it may be nonsense, none of it is an index.
 */
#include "state/inflight.h"

#include <stdlib.h>
#include <string.h>

struct table {
	struct ob_inflight *rows;
	size_t room, used, more;	/* more: open ones without a row */
};

const char *ob_inflight_phase_name(unsigned phase)
{
	static const char *const names[OB_INFLIGHT_NR_PHASES] = {
		"fetched", "at drive", "drive done",
	};

	return phase < OB_INFLIGHT_NR_PHASES ? names[phase] : "unknown";
}

static struct ob_inflight *find(struct table *t, unsigned queue, uint32_t id)
{
	for (size_t i = 0; i < t->used; i++)
		if (t->rows[i].queue == queue && t->rows[i].id == id)
			return &t->rows[i];
	return NULL;
}

static struct ob_inflight *find_slot(struct table *t, unsigned slot)
{
	for (size_t i = 0; i < t->used; i++)
		if (t->rows[i].slot == slot &&
		    t->rows[i].phase == OB_INFLIGHT_DRIVE)
			return &t->rows[i];
	return NULL;
}

/* What is left stays in order. */
static bool remove_row(struct table *t, const struct ob_event_entry *event)
{
	struct ob_inflight *row = find(t, event->a, event->b);

	if (!row)
		return false;
	t->used--;
	memmove(row, row + 1,
		(size_t)(t->rows + t->used - row) * sizeof(*row));
	return true;
}

static void fetched(struct table *t, const struct ob_event_entry *event)
{
	remove_row(t, event);
	if (t->used == t->room) {
		t->more++;
		return;
	}
	t->rows[t->used++] = (struct ob_inflight){
		.queue = event->a, .id = event->b, .opcode = event->c,
		.since = event->time, .phase_since = event->time,
		.born = event->generation, .begun = event->generation,
	};
}

/* Its slot is its own until it is posted, unless it was begun again. */
static void at_drive(struct table *t, const struct ob_event_entry *event)
{
	struct ob_inflight *row = find(t, event->b >> 16, event->b & 0xffff);

	if (!row)
		return;
	row->phase = OB_INFLIGHT_DRIVE;
	row->phase_since = event->time;
	row->slot = event->a;
	row->offset = event->c;
	row->begun = event->generation;
	row->error = 0;
}

static void drive_done(struct table *t, const struct ob_event_entry *event)
{
	struct ob_inflight *row = find_slot(t, event->a);

	if (!row)
		return;
	row->phase = OB_INFLIGHT_ENDED;
	row->phase_since = event->time;
	row->error = event->b < 4096 ? (int)event->b : 4095;
}

/* One without a row ended, as far as it was fetched within what is seen. */
static void posted(struct table *t, const struct ob_event_entry *event)
{
	if (!remove_row(t, event) && t->more)
		t->more--;
}

size_t ob_inflight_find(const struct ob_event_entry *events, size_t count,
			struct ob_inflight *out, size_t room)
{
	struct table t = { .rows = out, .room = room };

	for (size_t i = 0; i < count; i++) {
		switch (events[i].kind) {
		case OB_EVENT_FETCH:
			fetched(&t, &events[i]);
			break;
		case OB_EVENT_DRIVE:
			at_drive(&t, &events[i]);
			break;
		case OB_EVENT_DRIVE_DONE:
			drive_done(&t, &events[i]);
			break;
		case OB_EVENT_POST:
			posted(&t, &events[i]);
			break;
		case OB_EVENT_AT_ONCE:
			remove_row(&t, &events[i]);
			break;
		case OB_EVENT_RESET:
			t.used = t.more = 0;
			break;
		}
	}
	return t.used + t.more;
}

void ob_inflight_read(const struct ob_recorder_bytes *recs, unsigned nr,
		      struct ob_inflight_list *out)
{
	struct ob_event_entry *events;
	size_t n = ob_recorder_read_all(recs, nr, &events);

	*out = (struct ob_inflight_list){ 0 };
	if (events)
		out->rows = calloc(n + 1, sizeof(*out->rows));
	if (out->rows)
		out->count = ob_inflight_find(events, n, out->rows, n);
	free(events);
}
