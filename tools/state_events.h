/* SPDX-License-Identifier: BSD-3-Clause */
/* The events of a flight recorder, for people and as JSON. */
#ifndef TOOLS_STATE_EVENTS_H
#define TOOLS_STATE_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <outboard/error.h>

/* [{"number", "age", "generation", "event", ...}], oldest first; ages in
 * nanoseconds before the last.  Hostile bytes.  NULL: out of memory. */
json_t *state_events_json(const void *memory, size_t size);
/* To standard output: a line each, or {"form": "recorder", "events": ...}. */
int state_events_print(const void *memory, size_t size, bool as_json,
		       struct ob_err *err);

#endif
