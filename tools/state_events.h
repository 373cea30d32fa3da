/* SPDX-License-Identifier: BSD-3-Clause */
/* The events of a device's flight recorders, for people and as JSON. */
#ifndef TOOLS_STATE_EVENTS_H
#define TOOLS_STATE_EVENTS_H

#include <stdbool.h>

#include <outboard/error.h>

#include "state/recorder.h"

/*
 * To standard output, oldest first: a line each, or {"form": "recorder", "events":
 * [{"number", "age", "generation", "event", ...}]}; ages in nanoseconds before the
 * last.  Of several recorders by time, and of each event which, from 0.  Hostile bytes.
 */
int state_events_print(const struct ob_recorder_bytes *recs, unsigned nr,
		       bool as_json, struct ob_err *err);

#endif
