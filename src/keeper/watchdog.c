// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker must not hang.
 *
 * Its loop counts turns where the keeper can see it (struct ob_pulse).  The
 * keeper looks twice in the time that a turn may take.  A loop that sleeps
 * needs no watching: seen asleep in the same turn twice, the keeper leaves a
 * note of that turn and stops looking, and the loop says so when it wakes.  So
 * an idle server has no timer.
 *
 * A stopped worker does not turn either, whatever it was doing; the kernel
 * tells.
 */
#include <sys/wait.h>

#include "keeper/impl.h"

void ob_watchdog_start(struct ob_keeper *k)
{
	uint64_t now = ob_keeper_ms();

	if (!k->opts->watchdog_ms || !k->active ||
	    k->active->state != OB_WORKER_SERVES || k->watch_at)
		return;
	__atomic_store_n(&k->active->pulse->idle_seen, UINT64_MAX,
			 __ATOMIC_SEQ_CST);
	k->seen_turn = __atomic_load_n(&k->active->pulse->turn,
				       __ATOMIC_SEQ_CST);
	k->seen_at = now;
	k->watch_at = now + (k->opts->watchdog_ms + 1) / 2;
}

/* It may wake between the two looks: then the note is taken back. */
static bool may_rest(struct ob_pulse *pulse, uint64_t turn)
{
	__atomic_store_n(&pulse->idle_seen, turn, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&pulse->turn, __ATOMIC_SEQ_CST) == turn)
		return true;
	__atomic_store_n(&pulse->idle_seen, UINT64_MAX, __ATOMIC_SEQ_CST);
	return false;
}

void ob_watchdog_look(struct ob_keeper *k, uint64_t now)
{
	struct ob_pulse *pulse = k->active->pulse;
	uint64_t turn = __atomic_load_n(&pulse->turn, __ATOMIC_SEQ_CST);

	k->watch_at = now + (k->opts->watchdog_ms + 1) / 2;
	/* Who is stopped makes no turns; for that there is another deadline. */
	if (turn != k->seen_turn || k->active->stopped) {
		k->seen_turn = turn;
		k->seen_at = now;
	} else if (!(turn & 1)) {
		if (may_rest(pulse, turn))
			k->watch_at = 0;
	} else if (now - k->seen_at >= k->opts->watchdog_ms) {
		SAY(ERROR, "worker %d hangs: the same turn for %llu ms",
		    (int)k->active->pid, (unsigned long long)(now - k->seen_at));
		k->watch_at = 0;
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
