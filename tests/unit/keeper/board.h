/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a test and the toy workers share: a page that tells workers what to do,
 * and where they write down what they saw.  Descriptors are inherited.
 */
#ifndef OB_TESTS_KEEPER_BOARD_H
#define OB_TESTS_KEEPER_BOARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/ring.h"
#include "keeper/keeper.h"
#include "keeper/wire.h"
#include "kernel.h"

#define BOARD_FD 100
#define BELL_FD 101		/* an eventfd: act now */
#define BIRTHS 1200

enum act {
	ACT_NONE, ACT_DIE, ACT_SPIN, ACT_STOP, ACT_GARBAGE, ACT_FILL,
	ACT_END, ACT_CLOSE, ACT_STATUS, ACT_UPGRADE_DRY, ACT_GET, ACT_TAKE,
	ACT_FLOOD, ACT_FILES, ACT_MEMORY, ACT_SPIN_THREAD, ACT_HAMMER,
};
enum answer { ANSWER_YES, ANSWER_NO, ANSWER_DIE, ANSWER_EXIT, ANSWER_CRASH };

struct birth {
	pid_t pid;
	uint64_t generation, at_ms, exe;	/* its binary's inode */
	unsigned deaths, nr_old;
	int signal;
	enum ob_start_why why;
	bool ready;
};

struct board {
	/* orders */
	unsigned die_early;	/* that many die before READY */
	unsigned die_ready;	/* that many die right after */
	unsigned line;		/* so long is its ready line; 0: as it says it */
	unsigned die_in_line;	/* that many die behind the first part of it */
	enum answer early, late;	/* how they die */
	enum act act;		/* at the bell */
	int32_t ticket;		/* of its upgrades */
	enum answer rehearsal;
	bool die_upgraded;	/* dies after an UPGRADE's READY */
	bool refuse_upgraded;
	bool refuse_back;	/* as the old binary, after a rollback */
	unsigned slow_upgraded_ms;	/* so long before its READY */
	bool uncounted;		/* some may die between birth and counting */
	unsigned die_stop;	/* that many die when asked to end */
	unsigned die_client;	/* that many die when told of a client */
	bool hoard;		/* clients stay with the keeper until ACT_TAKE */
	/* what was seen */
	unsigned births, rehearsals, warm, copies, clients, acts, stops;
	unsigned greeted;	/* clients that were kept for who came next */
	bool wrong;		/* something was not as kept */
	char what[120];
	unsigned left;		/* last words that were found */
	int filled;		/* names put until the table was full */
	int full;		/* how that was told */
	struct sockaddr_un address;	/* where it listens */
	socklen_t address_len;
	struct ob_keeper_status status;
	unsigned told[OB_KEEPER_GETS_READY + 1];	/* by the keeper */
	char said[4 * OB_KEEPER_TEXT];	/* the ready line, in its parts */
	struct kernel_plan kernel;
	struct birth birth[BIRTHS];
	/* threads: orders, then what was seen */
	unsigned threads;	/* that are started; 0: one */
	bool late_threads;	/* they are started at ACT_SPIN_THREAD */
	bool keep_rings;	/* those of the dead are never over */
	unsigned hammered;	/* threads that have done with it */
	uint64_t tag[OB_THREADS];	/* what the last one said, of each */
	uint64_t old;		/* a bit for each generation that was given */
};

#endif
