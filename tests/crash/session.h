/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session of a client with an NVMe disk that contains every kind of message,
 * admin command and I/O, one after another, so that each run of it asks for
 * the same and must be told the same.
 */
#ifndef CRASH_SESSION_H
#define CRASH_SESSION_H

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_RECORDS 2048u
#define SESSIONS_MAX 2u		/* at a time */
#define SESSION_BLOCK 4096u
#define SESSION_OWED 6u		/* reads of an arrival that are in flight */

struct session_record {
	char label[28];
	uint32_t crc;			/* of what was told */
};

/* What an undisturbed disk sends when it is to go elsewhere. */
struct session_stream {
	bool is_whole;
	uint32_t len;
	uint64_t asq;			/* a register of it */
	/* Of an arrival: its guest's memory, and where what is owed goes. */
	uint64_t memory_addr, memory_size, buffers_addr;
	uint8_t data[1 << 20];
};

/* Of two that go on in turns, a step each. */
struct session_turns {
	sem_t turn[SESSIONS_MAX];
	bool gone[SESSIONS_MAX];
};

/* Shared with who watches. */
struct session {
	uint64_t op;			/* the step that it is at; 0: none yet */
	uint32_t number;		/* of the disk */
	uint32_t load;			/* arrival: which one becomes the device's
					 * state in this step; 0: none */
	struct session_turns *turns;	/* NULL: goes on when it likes */
	bool is_brief;			/* of records only the first */
	uint32_t count;			/* records */
	int done;			/* all of it */
	uint32_t loaded;		/* streams that came in to their end */
	char error[320];		/* why not */
	struct session_stream stream;	/* given, or filled */
	struct session_record records[SESSION_RECORDS];
};

/*
 * In a process of its own.  0, or 1 with an error.  In the folder are the server's
 * sockets: disk0 and disk1 for run; in0, in1, op0, op1, out and control for arrival.
 */
int session_run(struct session *s, const char *folder);
int session_arrival(struct session *s, const char *folder);

#endif
