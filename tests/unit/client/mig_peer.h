/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that migrates, as raw bytes, written from the specification's
 * tables and sharing nothing with the library.  It notes what it is asked in
 * a trace that both sides share, refuses what no VMM may do, and fails or
 * dies at the call that a test names.
 *
 * Its stream is `live` bytes that can go early, `again` more for every
 * report, `rest` bytes after the stop, and a last byte that a destination
 * waits for.  A destination looks at every byte.
 */
#ifndef TEST_MIG_PEER_H
#define TEST_MIG_PEER_H

#include <stdbool.h>

#include "peer.h"

#define MIG_XFER 4096u
#define MIG_PAGE 4096u
#define MIG_TRACE_MAX 1024

struct mig_trace {
	char lines[MIG_TRACE_MAX][32];
	unsigned count;
};
void mig_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Index of the first such line from `from` on, or -1. */
int mig_find(const char *line, int from);
extern struct mig_trace mig_trace_log;

enum mig_quirk {
	MIG_ECHO = 1 << 0,	/* SETs are answered with what they said */
	MIG_PAD = 1 << 1,	/* data is padded to the size asked for */
	MIG_ERROR_PAYLOAD = 1 << 2,	/* errors have a payload */
	MIG_NO_PRECOPY = 1 << 3, MIG_NO_P2P = 1 << 4,
	MIG_NO_EXTRAS = 1 << 5,	/* none of the optional keys */
	MIG_NO_SIZE = 1 << 6,	/* no MIG_DATA_SIZE */
	MIG_NO_LOG = 1 << 7, MIG_NO_MIGRATION = 1 << 8,
	MIG_REFUSE_LOAD = 1 << 9,	/* to ERROR, when asked to judge */
	MIG_KEEP_STOPPED = 1 << 10,	/* never goes back to RUNNING */
	MIG_BUSY_ONCE = 1 << 11,	/* not at the first try */
	MIG_SHORT = 1 << 12,	/* little at a time, while it runs */
};

struct mig_peer {
	struct peer peer;
	struct ob_client *client;
	const char *name;		/* in the trace */
	unsigned quirks;
	uint64_t live, again, rest;
	uint32_t xfer;			/* 0: MIG_XFER */
	unsigned busy_reads;		/* its drive is not free so often */

	int fail_at, die_at;		/* call number, from 0; -1: none */
	int calls;			/* behind VERSION */
	uint32_t state;
	bool in_error;			/* from an earlier load */
	bool logging, failed;
	unsigned resets, reports;
	uint64_t dirty_page;		/* reported every time */
	uint64_t at, live_left, rest_left, end_left;	/* the stream */
	uint64_t arrived;
	bool ended, loaded;
};

/* Before: name, quirks, sizes, state.  Attaches a client. */
void mig_peer_start(struct mig_peer *m);
void mig_peer_end(struct mig_peer *m);

#endif
