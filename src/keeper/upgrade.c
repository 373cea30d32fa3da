// SPDX-License-Identifier: BSD-3-Clause
/*
 * Another binary takes over.
 *
 *	COPIES		the new one waits; the old one is asked for copies of its state
 *	REHEARSAL	the new one loads them and says yes or no
 *	SWITCH		the old one is killed: an upgrade is a death whose successor
 *			is warm, so there is nothing that only upgrades do
 *	GRACE		the new one loads and serves; should it refuse or die now,
 *			or not get ready, the old binary, which is still open,
 *			takes over in the same way
 *
 * Until SWITCH nothing has changed for the clients, and a refusal costs nothing.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define REHEARSAL_MS 30000u
#define READY_MS 5000u

static void forget_copies(struct ob_keeper *k)
{
	struct ob_held_entry *entry = ob_held_next(&k->held, NULL), *next;

	for (; entry; entry = next) {
		next = ob_held_next(&k->held, entry);
		if (ob_is_copy(entry))
			ob_held_forget(k, entry);
	}
}

static void finish(struct ob_keeper *k, enum ob_upgrade_outcome outcome,
		   const char *why)
{
	k->status.last_upgrade = outcome;
	snprintf(k->status.why, sizeof(k->status.why), "%.159s", why);
	k->upgrade.state = OB_UPGRADE_OFF;
	k->upgrade.until = 0;
	ob_fd_close(&k->upgrade.binary);
	ob_life_dismiss(&k->next);
	forget_copies(k);
	ob_keeper_tell(k, OB_KEEPER_IS_RELOADED, why);
}

static void take_back(struct ob_keeper *k, const char *why)
{
	SAY(ERROR, "upgrade taken back: %s", why);
	k->status.rollbacks++;
	k->why = OB_START_ROLLBACK;
	k->other = ob_fd_take(&k->upgrade.binary);
	finish(k, OB_UPGRADE_REFUSED, why);
	/* It may be alive still; its death lets the old binary follow. */
	if (k->active)
		ob_worker_signal(k->active, SIGKILL);
}

/*
 * The old binary does not understand what the new one has made of the state;
 * then the new one is the only one that can go on, however it ended before.
 */
void ob_upgrade_no_way_back(struct ob_keeper *k, const char *text)
{
	size_t len = strlen(k->status.why);
	int binary = k->binary;

	if (k->other < 0)
		return;
	SAY(ERROR, "no way back: the other binary goes on");
	snprintf(k->status.why + len, sizeof(k->status.why) - len,
		 "; no way back: %s", text);
	k->binary = k->other;
	k->other = binary;
}

void ob_upgrade_fail(struct ob_keeper *k, const char *fmt, ...)
{
	char why[sizeof(k->status.why)];
	va_list ap;

	if (k->upgrade.state == OB_UPGRADE_OFF)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (k->upgrade.state >= OB_UPGRADE_SWITCH) {
		take_back(k, why);
		return;
	}
	SAY(ERROR, "upgrade refused: %s", why);
	finish(k, OB_UPGRADE_REFUSED, why);
}

/* A second one does not disturb the first. */
static bool is_possible(const struct ob_keeper *k, int binary)
{
	const char *why = NULL;

	if (k->upgrade.state != OB_UPGRADE_OFF)
		why = "another one is under way";
	else if (k->stopping || !k->active ||
		 k->active->state != OB_WORKER_SERVES)
		why = "nobody serves";
	else if (binary < 0)
		why = strerror(-binary);
	if (why)
		SAY(ERROR, "upgrade refused: %s", why);
	return !why;
}

/* Who asked waits for both words, also when nothing comes of it. */
static bool admit(struct ob_keeper *k, int binary)
{
	bool possible = is_possible(k, binary);

	if (k->was_ready)
		ob_keeper_tell(k, OB_KEEPER_IS_RELOADING, "");
	if (k->was_ready && !possible && k->upgrade.state == OB_UPGRADE_OFF)
		ob_keeper_tell(k, OB_KEEPER_IS_RELOADED, "");
	return possible;
}

void ob_upgrade_begin(struct ob_keeper *k, int binary, unsigned flags,
		      int32_t ticket)
{
	if ((ticket && ticket == k->status.ticket) || !admit(k, binary)) {
		ob_fd_close(&binary);
		return;
	}
	k->upgrade.state = OB_UPGRADE_COPIES;
	k->upgrade.binary = binary;
	k->upgrade.dry = flags & OB_UPGRADE_DRY_RUN;
	k->upgrade.until = ob_keeper_ms() + REHEARSAL_MS;
	k->upgrade.token++;
	k->status.last_upgrade = OB_UPGRADE_UNDER_WAY;
	k->status.ticket = ticket;
	k->next = ob_worker_spawn(k, binary);
	if (!k->next)
		ob_upgrade_fail(k, "the new binary cannot be started");
	else if (!ob_worker_tell(k->active, OB_KEEPER_COPY, k->upgrade.token,
				 NULL, -1))
		ob_upgrade_fail(k, "the worker cannot be asked for copies");
}

void ob_upgrade_copied(struct ob_keeper *k, uint64_t token)
{
	if (k->upgrade.state != OB_UPGRADE_COPIES ||
	    token != k->upgrade.token)
		return;
	k->upgrade.state = OB_UPGRADE_REHEARSAL;
	k->next->state = OB_WORKER_REHEARSES;
	ob_worker_give(k, k->next);
}

/*
 * To die takes a CPU.  If it is waiting for one that others keep busy, it is
 * moved to ours, which is about to be free; else nothing happened until the
 * scheduler's next tick.
 */
static void kill_at_once(struct ob_worker *w)
{
	int cpu = sched_getcpu();
	cpu_set_t here;

	ob_worker_signal(w, SIGKILL);
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	sched_setaffinity(w->pid, sizeof(here), &here);
}

void ob_upgrade_answer(struct ob_keeper *k, const struct ob_keeper_msg *msg)
{
	if (k->upgrade.state != OB_UPGRADE_REHEARSAL)
		return;
	if (msg->op != OB_KEEPER_READY) {
		ob_upgrade_fail(k, "the new binary refuses: %.120s", msg->text);
		return;
	}
	SAY(INFO, "upgrade: %.400s", msg->text);
	k->status.estimated_gap_us = msg->value;
	if (k->upgrade.dry) {
		finish(k, OB_UPGRADE_REHEARSED, msg->text);
		return;
	}
	k->upgrade.state = OB_UPGRADE_SWITCH;
	k->upgrade.until = 0;
	k->next->state = OB_WORKER_WAITS;
	kill_at_once(k->active);
}

void ob_upgrade_switch(struct ob_keeper *k)
{
	struct ob_worker *w = k->next;

	k->next = NULL;
	if (!w) {		/* it died while the old one did */
		ob_upgrade_fail(k, "the new binary died");
		ob_life_succeed(k);
		return;
	}
	k->upgrade.state = OB_UPGRADE_GRACE;
	k->upgrade.until = ob_keeper_ms() + READY_MS;
	ob_life_start(k, w, OB_START_UPGRADE);
}

void ob_upgrade_ready(struct ob_keeper *k)
{
	ob_fd_close(&k->other);
	if (k->upgrade.state != OB_UPGRADE_GRACE)
		return;
	k->upgrade.until = ob_keeper_ms() + k->opts->grace_ms;
	k->status.last_upgrade = OB_UPGRADE_SWITCHED;
}

static void confirm(struct ob_keeper *k)
{
	ob_fd_close(&k->binary);
	k->binary = ob_fd_take(&k->upgrade.binary);
	k->status.upgrades++;
	SAY(INFO, "upgrade done: worker %d, generation %llu",
	    (int)k->active->pid, (unsigned long long)k->active->generation);
	finish(k, OB_UPGRADE_DONE, "");
	ob_life_dismiss(&k->standby);
	ob_life_standby(k);
}

/* The server ends: in order, if somebody serves. */
void ob_upgrade_stop(struct ob_keeper *k)
{
	if (k->upgrade.state == OB_UPGRADE_GRACE && k->active &&
	    k->active->state == OB_WORKER_SERVES)
		confirm(k);
	else
		ob_upgrade_fail(k, "the server is stopped");
}

void ob_upgrade_time(struct ob_keeper *k, uint64_t now)
{
	if (!k->upgrade.until || now < k->upgrade.until)
		return;
	if (k->upgrade.state == OB_UPGRADE_GRACE && k->active &&
	    k->active->state == OB_WORKER_SERVES)
		confirm(k);
	else
		ob_upgrade_fail(k, "not ready in time");
}
