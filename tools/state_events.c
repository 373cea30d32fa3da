// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a device did last.  Times are told as before the last event: the clock
 * they were taken from may be that of another day.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "report.h"
#include "state/recorder.h"
#include "state/show.h"
#include "state_events.h"

/* Of a file: no recorder of ours is longer. */
#define EVENTS_MAX (1u << 20)

struct events {
	struct ob_event_entry *list;
	size_t count;
};

static bool read_events(struct events *events, const void *memory, size_t size)
{
	size_t room = size / sizeof(*events->list);

	room = room < EVENTS_MAX ? room : EVENTS_MAX;
	events->list = calloc(room + 1, sizeof(*events->list));
	if (!events->list)
		return false;
	events->count = ob_recorder_read(memory, size, events->list, room);
	return true;
}

static uint64_t age(const struct events *events, size_t i)
{
	uint64_t last = events->list[events->count - 1].time;

	return last > events->list[i].time ? last - events->list[i].time : 0;
}

static void add_number(json_t *event, const char *name, uint64_t value)
{
	if (name)
		json_object_set_new(event, name, ob_json_u64(value));
}

static json_t *event_json(const struct events *events, size_t i)
{
	const struct ob_event_entry *e = &events->list[i];
	const struct ob_event_words *words = ob_event_words(e->kind);
	json_t *event = json_object(), *values = json_object();

	add_number(event, "number", e->number);
	add_number(event, "age", age(events, i));
	add_number(event, "generation", e->generation);
	add_number(event, "kind", e->kind);
	json_object_set_new(event, "event", json_string(words->name));
	add_number(values, words->a, e->a);
	add_number(values, words->b, e->b);
	add_number(values, words->c, e->c);
	json_object_set_new(event, "values", values);
	return event;
}

json_t *state_events_json(const void *memory, size_t size)
{
	struct events events;
	json_t *list;
	size_t i;

	if (!read_events(&events, memory, size))
		return NULL;
	list = json_array();
	for (i = 0; i < events.count; i++)
		json_array_append_new(list, event_json(&events, i));
	free(events.list);
	return list;
}

static void print_line(const struct events *events, size_t i)
{
	const struct ob_event_entry *e = &events->list[i];
	char text[OB_EVENT_TEXT];

	printf("%8" PRIu64 " %13.6f ms %4u  %s\n", e->number,
	       (double)age(events, i) / 1e6, e->generation,
	       ob_event_text(e, text, sizeof(text)));
}

int state_events_print(const void *memory, size_t size, bool as_json,
		       struct ob_err *err)
{
	struct events events;
	size_t i;

	if (as_json)
		return report_print(stdout,
				    json_pack("{s:s, s:o}", "form", "recorder",
					      "events",
					      state_events_json(memory, size)),
				    true, err);
	if (!read_events(&events, memory, size))
		return ob_fail(err, ENOMEM, "out of memory");
	printf("  number   before the last life  event\n");
	for (i = 0; i < events.count; i++)
		print_line(&events, i);
	free(events.list);
	return 0;
}
