// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a device did last.  Times are told as before the last event: the clock
 * they were taken from may be that of another day.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <jansson.h>

#include "report.h"
#include "state/show.h"
#include "state_events.h"

struct events {
	struct ob_event_entry *list;
	size_t count;
	unsigned nr_sources;
	uint64_t last;
};

static int read_events(struct events *events,
		       const struct ob_recorder_bytes *recs, unsigned nr,
		       struct ob_err *err)
{
	*events = (struct events){ .nr_sources = nr };
	events->count = ob_recorder_read_all(recs, nr, &events->list);
	if (!events->list)
		return ob_fail(err, ENOMEM, "out of memory");
	if (events->count)
		events->last = events->list[events->count - 1].time;
	return 0;
}

static uint64_t age(const struct events *events, size_t i)
{
	uint64_t time = events->list[i].time;

	return events->last > time ? events->last - time : 0;
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
	if (events->nr_sources > 1)
		add_number(event, "recorder", e->source);
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

static json_t *events_json(const struct events *events)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < events->count; i++)
		json_array_append_new(list, event_json(events, i));
	return json_pack("{s:s, s:o}", "form", "recorder", "events", list);
}

static void print_line(const struct events *events, size_t i)
{
	const struct ob_event_entry *e = &events->list[i];
	char text[OB_EVENT_TEXT];

	if (events->nr_sources > 1)
		printf("%4u ", e->source);
	printf("%8" PRIu64 " %13.6f ms %4u  %s\n", e->number,
	       (double)age(events, i) / 1e6, e->generation,
	       ob_event_text(e, text, sizeof(text)));
}

static void print_lines(const struct events *events)
{
	size_t i;

	printf("%s  number   before the last life  event\n",
	       events->nr_sources > 1 ? "file " : "");
	for (i = 0; i < events->count; i++)
		print_line(events, i);
}

int state_events_print(const struct ob_recorder_bytes *recs, unsigned nr,
		       bool as_json, struct ob_err *err)
{
	struct events events;
	int r = read_events(&events, recs, nr, err);

	if (r)
		return r;
	if (as_json)
		r = report_print(stdout, events_json(&events), true, err);
	else
		print_lines(&events);
	free(events.list);
	return r;
}
