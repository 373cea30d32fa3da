/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a worker outlives it, seen from outside: the begin of every section of
 * its devices' states, their headers, whether anything is in the undo, and the
 * journals of its rings.
 */
#ifndef CRASH_WATCH_H
#define CRASH_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WATCH_FILES 32u
#define WATCH_PLACES 256u

struct watch {
	struct {
		const uint8_t *base;
		size_t size;
	} files[WATCH_FILES];
	struct {
		const uint8_t *at;
		uint8_t *was;
		size_t size;
		const uint64_t *step;	/* only while this is odd; NULL: always */
	} places[WATCH_PLACES];
	unsigned nr_files, nr_places;
};

/* Of that process, as it stands. */
void watch_open(struct watch *watch, pid_t pid);
void watch_close(struct watch *watch);
/* Since it was asked last. */
bool watch_changed(struct watch *watch);

#endif
