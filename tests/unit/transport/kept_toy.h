/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server that may be killed at any instruction, and a client that notices if
 * it was: for test_kept_death.c.
 *
 * The server's whole life is one step after the other on `struct life`, of
 * which there are two copies: a successor repairs and adopts its own and then
 * makes it the truth with one store.  Its answers contain a count and a chain
 * over everything that it ever handled, so that a message that is lost, doubled
 * or out of order shows.
 */
#ifndef OB_TESTS_KEPT_TOY_H
#define OB_TESTS_KEPT_TOY_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ring.h"
#include "transport/kept.h"

#define TOY_MAX_MESSAGE (64u << 10)
#define TOY_INBOX (64u << 10)
#define TOY_OUTBOX (256u << 10)
#define TOY_LONG 20000u
#define TOY_FILL 0xee
#define TOY_NAMES 4u

enum toy_kind {		/* hdr.cmd */
	TOY_PLAIN, TOY_FDS, TOY_ANSWER_FD, TOY_ANSWER_LENT, TOY_NO_ANSWER,
};

struct toy_life {
	struct ob_conn_journal journal;
	uint64_t count, chain;
};

struct toy {
	uint64_t truth;			/* generation << 1 | which life */
	struct toy_life lives[2];
	struct toy_life undo[2];
	uint32_t undo_is_on[2];
	uint64_t marker;		/* points that the tracer can run to */
	char failure[200];
	uint8_t content[TOY_LONG * 2];	/* of messages and long answers */
	uint8_t inbox[TOY_INBOX] __attribute__((aligned(4096)));
	uint8_t outbox[TOY_OUTBOX] __attribute__((aligned(4096)));
};

/* Descriptors that everyone inherits. */
struct toy_fds {
	int client, server;
	int keep_in, keep_out;	/* what was put into one is kept in the other */
	int names[TOY_NAMES];	/* files that hold TOY_NAME + i */
};
#define TOY_NAME 5000u

struct toy_answer {
	uint64_t count, chain;
	uint32_t is_right, nr_fds;
};

/* What message number `id` contains, and its files. */
static inline const uint8_t *toy_content(const struct toy *toy, unsigned id)
{
	return toy->content + id * 97 % TOY_LONG;
}

static inline uint32_t toy_file(unsigned id, unsigned k)
{
	return id * 16 + k;
}

static inline uint64_t toy_chain(uint64_t chain, unsigned id, unsigned nr_fds)
{
	return (chain + id) * 1000003 + nr_fds;
}

/* Notes what went wrong and ends the process. */
_Noreturn void toy_fail(struct toy *toy, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Serves until the client hangs up; old NULL: the first life. */
_Noreturn void toy_serve(struct toy *toy, const struct toy_fds *fds,
			 struct ob_rings *rings, const struct ob_rings *old);
/* One session with every kind of message in every kind of cut. */
_Noreturn void toy_client(struct toy *toy, const struct toy_fds *fds);

#endif
