/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session of a client with an NVMe disk that contains every kind of message,
 * admin command and I/O, one after another, so that each run of it asks for
 * the same and must be told the same.
 */
#ifndef CRASH_SESSION_H
#define CRASH_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_RECORDS 2048u

struct session_record {
	char label[28];
	uint32_t crc;			/* of what was told */
};

/* What an undisturbed disk sends when it is to go elsewhere. */
struct session_stream {
	bool is_whole;
	uint32_t len;
	uint64_t asq;			/* a register of it */
	uint8_t data[1 << 20];
};

/* Shared with who watches. */
struct session {
	uint64_t op;			/* the step that it is at; 0: none yet */
	uint32_t count;			/* records */
	int done;			/* all of it */
	uint32_t loaded;		/* streams that came in to their end */
	char error[256];		/* why not */
	struct session_stream stream;	/* given, or filled */
	struct session_record records[SESSION_RECORDS];
};

/* In a process of its own.  0, or 1 with an error. */
int session_run(struct session *s, const char *path);

#endif
