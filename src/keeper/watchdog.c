// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker must not hang.
 *
 * Its loops count turns where the keeper can see it (struct ob_pulse).  The
 * keeper looks twice in the time that a turn may take.  A loop that sleeps
 * needs no watching: when it has seen all of them asleep in the same turn twice,
 * the keeper leaves a note of that turn with each and stops looking, and the one
 * that wakes says so.  So an idle server has no timer.
 *
 * A stopped worker does not turn either, whatever it was doing; the kernel
 * tells.
 */
#include <sys/wait.h>

#include "keeper/impl.h"

static uint64_t turn_of(const struct ob_pulse *pulse)
{
	return __atomic_load_n(&pulse->turn, __ATOMIC_SEQ_CST);
}

static void note(struct ob_pulse *pulse, uint64_t turn)
{
	__atomic_store_n(&pulse->idle_seen, turn, __ATOMIC_SEQ_CST);
}

static void see(struct ob_keeper *k, unsigned thread, uint64_t turn,
		uint64_t now)
{
	k->seen[thread].turn = turn;
	k->seen[thread].at = now;
}

void ob_watchdog_start(struct ob_keeper *k)
{
	uint64_t now = ob_keeper_ms();

	if (!k->opts->watchdog_ms || !k->active ||
	    k->active->state != OB_WORKER_SERVES || k->watch_at)
		return;
	for (unsigned i = 0; i < k->threads; i++) {
		note(&k->active->pulses[i], UINT64_MAX);
		see(k, i, turn_of(&k->active->pulses[i]), now);
	}
	k->watch_at = now + (k->opts->watchdog_ms + 1) / 2;
}

/* One may wake between the two looks: then all notes are taken back. */
static bool may_rest(const struct ob_keeper *k)
{
	struct ob_pulse *pulses = k->active->pulses;
	bool asleep = true;

	for (unsigned i = 0; i < k->threads; i++)
		note(&pulses[i], k->seen[i].turn);
	for (unsigned i = 0; i < k->threads; i++)
		asleep &= turn_of(&pulses[i]) == k->seen[i].turn;
	for (unsigned i = 0; i < k->threads && !asleep; i++)
		note(&pulses[i], UINT64_MAX);
	return asleep;
}

static bool hangs(const struct ob_keeper *k, unsigned thread, uint64_t now)
{
	uint64_t ms = now - k->seen[thread].at;

	if (!(k->seen[thread].turn & 1) || ms < k->opts->watchdog_ms)
		return false;
	SAY(ERROR, "worker %d hangs: thread %u is in the same turn for %llu ms",
	    (int)k->active->pid, thread, (unsigned long long)ms);
	return true;
}

/* Who is stopped makes no turns; for that there is another deadline. */
static bool look_at_thread(struct ob_keeper *k, unsigned thread, uint64_t now,
			   bool *asleep)
{
	uint64_t turn = turn_of(&k->active->pulses[thread]);
	bool moved = turn != k->seen[thread].turn || k->active->stopped;

	if (moved)
		see(k, thread, turn, now);
	*asleep &= !moved && !(turn & 1);
	return hangs(k, thread, now);
}

void ob_watchdog_look(struct ob_keeper *k, uint64_t now)
{
	bool hung = false, asleep = true;

	for (unsigned i = 0; i < k->threads && !hung; i++)
		hung = look_at_thread(k, i, now, &asleep);
	k->watch_at = hung || (asleep && may_rest(k)) ? 0 :
		now + (k->opts->watchdog_ms + 1) / 2;
	if (hung) {
		k->active->hung = true;
		ob_worker_signal(k->active, SIGKILL);
	}
}

static void look_at_child(struct ob_keeper *k, struct ob_worker *w)
{
	siginfo_t info = { 0 };

	while (!waitid(P_PIDFD, (id_t)w->pidfd, &info,
		       WSTOPPED | WCONTINUED | WNOHANG) && info.si_pid) {
		w->stopped = info.si_code == CLD_STOPPED;
		w->kill_at = w->stopped ?
			ob_keeper_ms() + k->opts->watchdog_ms : 0;
		info.si_pid = 0;
	}
}

/* Some child has changed; signals are not counted, so all are asked. */
void ob_watchdog_children(struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_WORKERS && k->opts->watchdog_ms; i++)
		if (k->workers[i].state != OB_WORKER_NONE)
			look_at_child(k, &k->workers[i]);
}
