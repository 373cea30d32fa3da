/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kept connection and its peer in one process, for test_kept_*.c.  "Dying"
 * loses everything private; what is shared with a successor is what it was.
 */
#ifndef OB_TESTS_KEPT_RIG_H
#define OB_TESTS_KEPT_RIG_H

#include <sys/types.h>

#include "../base/unit.h"

#include "transport/kept.h"

#include "../open_fds.h"

#define MAX_MESSAGE (1u << 20)
#define INBOX (MAX_MESSAGE + (64u << 10))
#define OUTBOX (4u << 20)

struct rig {
	struct ob_loop *loop;
	struct ob_conn_journal journal;
	struct ob_conn_memory memory;
	struct ob_conn *conn;
	int peer, own;			/* own: a duplicate that survives */
	int lent[OB_MAX_MSG_FDS];	/* what keep_fds took */
	size_t nr_lent;
	int name_fd;
	int refuse;			/* what keep_fds answers */
};
/* A cmocka fixture: *state is a struct rig. */
int rig_set_up(void **state);
int rig_tear_down(void **state);
int rig_keep_fds(void *arg, size_t from, const int *fds, size_t nr);

void die(struct rig *rig);
void adopt(struct rig *rig);
void die_and_adopt(struct rig *rig);

/* A message of len payload bytes; malloced, its size in *size. */
uint8_t *message(unsigned id, size_t len, size_t *size);
/* The peer sends; put: how many bytes were taken. */
ssize_t put(struct rig *rig, const void *bytes, size_t len, const int *fds,
	    size_t nr_fds);
void put_message(struct rig *rig, unsigned id, size_t len, const int *fds,
		 size_t nr_fds);
/* Has the server taken everything off its socket? */
bool is_empty(const struct rig *rig);

/* The server's next message, which must come; take_done: and is done. */
void take(struct rig *rig, struct ob_msg *msg);
void take_done(struct rig *rig, unsigned id, size_t len);
void expect(const struct ob_msg *msg, unsigned id, size_t len);

/* The server queues message(id, len), with the descriptor of that name. */
void queue(struct rig *rig, unsigned id, size_t len, const uint8_t *name);
/* The peer reads exactly len bytes; the fd that came, or -1. */
int get(struct rig *rig, uint8_t *bytes, size_t len);
int get_message(struct rig *rig, unsigned id, size_t len);

/* Files that can be told apart. */
int numbered(unsigned number);
unsigned number_of(int fd);

#endif
