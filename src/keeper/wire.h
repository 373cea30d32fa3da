/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between keeper and worker: one message per datagram of a SOCK_SEQPACKET
 * pair, cut off behind its text, descriptors by SCM_RIGHTS.  The keeper trusts the
 * worker as little as it must: every field is bounded, and what does not fit
 * is logged and dropped.
 *
 * A worker of another release speaks the same: numbers are never reused, and
 * unknown operations are ignored.
 */
#ifndef OB_KEEPER_WIRE_H
#define OB_KEEPER_WIRE_H

#include <stdint.h>

#define OB_KEEPER_MAGIC 0x4f424b50u
#define OB_KEEPER_NAME 120u
#define OB_KEEPER_TEXT 3944u	/* the whole is 4 KiB */
#define OB_KEEPER_SETS 128u	/* of rings that are held: of generations, for
				   each of their threads */
#define OB_KEEPER_NEW 64u	/* clients that wait to be taken, of all sockets */

/*
 * Environment of a worker, set by the keeper before exec: descriptor numbers,
 * and how many names the keeper can hold beside OB_KEEPER_NEW of its own.
 *	OUTBOARD_KEEPER=CHANNEL,PULSE,ROOM
 */
#define OB_KEEPER_ENV "OUTBOARD_KEEPER"

enum ob_keeper_op {
	/* worker to keeper */
	OB_KEEPER_PUT = 1,	/* name, fd */
	OB_KEEPER_DROP,		/* name, or with '/' at its end all below */
	OB_KEEPER_ACCEPT,	/* name of a kept listening socket, value 0/1: the
				   keeper accepts there, keeps who comes and
				   tells with CLIENT */
	OB_KEEPER_READY,	/* loaded; with START: serves.  text: ready line.
				   With REHEARSE: value: the pause that it expects,
				   in microseconds; text: the rest, for people */
	OB_KEEPER_RINGS_OVER,	/* value: generation whose rings are not needed,
				   of any thread; the keeper passes it on to
				   those that wait */
	OB_KEEPER_REFUSED,	/* text: cannot serve, and why */
	OB_KEEPER_ENDED,	/* value: exit status; the whole server ends */
	OB_KEEPER_UPGRADE,	/* fd: the binary; value: enum ob_upgrade_flags;
				   number[0]: ticket, see ob_keeper_status */
	OB_KEEPER_STATUS,	/* asks for STATUS */
	OB_KEEPER_AWAKE,	/* it was idle: watch it again */
	OB_KEEPER_GET,		/* name: asks for a GIVE, without fd if unknown */
	OB_KEEPER_SAYS,		/* text: a line for the service manager */
	OB_KEEPER_READY_PART,	/* text: the beginning of a ready line that is too
				   long for READY, which has the rest */
	/* keeper to worker */
	OB_KEEPER_GIVE = 64,	/* name, fd; all that is kept, then START */
	OB_KEEPER_RINGS,	/* value: generation; number[]: loop, sure, journal
				   as inherited, or -1, thread; the last ones, of
				   one generation, are its own */
	OB_KEEPER_START,	/* value: generation; number[]: see below */
	OB_KEEPER_REHEARSE,	/* only ID/copy have been given: load them, say
				   READY or REFUSED, wait for START */
	OB_KEEPER_COPY,		/* put copies of every state as ID/copy, then PUT
				   "copied/" with the same value */
	OB_KEEPER_CLIENT,	/* name of the listening socket, value N, fd: it
				   is kept as NAME/new/N until that is dropped */
	OB_KEEPER_STATUS_IS,	/* struct ob_keeper_status in text */
	OB_KEEPER_STOP,		/* end; value 1: do not wait any longer */
	OB_KEEPER_WARM,		/* there is time before START: get warm */
};

enum ob_upgrade_flags { OB_UPGRADE_DRY_RUN = 1 };

struct ob_keeper_msg {
	uint32_t magic, op;
	uint64_t value;
	/* START: [0] deaths in a row, [1] signal of the last death, SIGALRM if the
	 * watchdog killed it, [2] its pid, [3] why: enum ob_start_why. */
	int32_t number[4];
	char name[OB_KEEPER_NAME];	/* NUL-terminated */
	char text[OB_KEEPER_TEXT];	/* NUL-terminated, for people */
};

enum ob_start_why { OB_START_FIRST, OB_START_DEATH, OB_START_UPGRADE,
		    OB_START_ROLLBACK };

/*
 * Memory shared with the keeper, for its watchdog; a page of these, one for each
 * thread, on lines of its own.  The loop adds 2 to `turn` in every turn that does
 * not sleep, 1 before it sleeps and 1 when it wakes.  Both sides store their own,
 * then load the other's, sequentially consistent: a loop that wakes and finds
 * idle_seen to be the turn it slept in says AWAKE.  A thread that has not begun
 * is one that sleeps in turn 0.
 */
struct ob_pulse {
	uint64_t turn;		/* of the loop; odd: awake */
	uint64_t idle_seen;	/* keeper: the turn at which it stopped looking */
	uint64_t unused[14];
};
#define OB_PULSE_PAGE 4096u

enum ob_upgrade_outcome {
	OB_UPGRADE_NONE, OB_UPGRADE_UNDER_WAY, OB_UPGRADE_DONE,
	OB_UPGRADE_REFUSED, OB_UPGRADE_REHEARSED,	/* the dry run was fine */
	OB_UPGRADE_SWITCHED	/* the new binary serves; it is still watched */
};

struct ob_keeper_status {
	uint64_t generation, deaths, upgrades, rollbacks;
	uint64_t last_gap_us;	/* from death noticed to READY */
	uint64_t estimated_gap_us;	/* what the last rehearsal said */
	int32_t worker_pid, last_signal;
	int32_t last_upgrade;	/* enum ob_upgrade_outcome */
	/* Which one that is: chosen by whoever asked for it; 0: a signal did.  The
	 * same ticket is not begun twice in a row, so that one who lost the answer
	 * may ask again. */
	int32_t ticket;
	char why[160];		/* of the last refusal or rollback; what the
				   last rehearsal said */
};

#endif
