// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who serves.
 *
 * A death is worked off in one order: what the dead one had said is heard to
 * its end (a descriptor that was sent counts), its rings stay, and its
 * successor starts: the standby if there is one, or a new process.
 *
 * Deaths before READY, and crashes soon after it, make the next try wait: three
 * at once, then 10 ms, doubling up to a second.  A worker that was READY and was
 * killed (SIGKILL) is followed at once, however often.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/impl.h"

#define FREE_TRIES 3u
#define RETRY_MIN_MS 10u
#define RETRY_MAX_MS 1000u
#define LIVED_MS 1000u		/* that long is no storm any more */
#define LOAD_MS 60000u		/* a successor that does not get ready */
#define STANDBY_AFTER_MS 10u
#define STANDBY_AGAIN_MS 1000u

void ob_life_dismiss(struct ob_worker **w)
{
	if (!*w)
		return;
	(*w)->state = OB_WORKER_DYING;
	(*w)->giving = false;
	ob_worker_signal(*w, SIGKILL);
	*w = NULL;
}

void ob_life_start(struct ob_keeper *k, struct ob_worker *w,
		   enum ob_start_why why)
{
	w->state = OB_WORKER_LOADS;
	w->why = why;
	if (k->was_ready)
		w->kill_at = ob_keeper_ms() + LOAD_MS;
	k->active = w;
	k->why = OB_START_DEATH;
	ob_rings_keep(k, w);
	ob_worker_give(k, w);
}

/* It was born before somebody who served, and lacks his rings. */
static bool is_outdated(const struct ob_keeper *k, const struct ob_worker *w)
{
	return k->nr_rings &&
	       k->rings[k->nr_rings - 1].generation > w->generation;
}

uint64_t ob_life_delay_ms(unsigned deaths)
{
	uint64_t ms = RETRY_MIN_MS;

	if (deaths < FREE_TRIES)
		return 0;
	for (unsigned i = FREE_TRIES; i < deaths && ms < RETRY_MAX_MS; i++)
		ms *= 2;
	return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static uint64_t delay(const struct ob_keeper *k)
{
	return ob_life_delay_ms(k->failures + k->crashes);
}

static void retry_later(struct ob_keeper *k, uint64_t ms)
{
	k->retry_at = ob_keeper_ms() + ms;
}

static void finish(struct ob_keeper *k, int status)
{
	k->done = true;
	k->exit_status = k->failed ? 1 : status;
}

void ob_life_succeed(struct ob_keeper *k)
{
	struct ob_worker *w = k->standby;

	k->retry_at = 0;
	k->standby = NULL;
	if (w && is_outdated(k, w))
		ob_life_dismiss(&w);
	if (!w)
		w = ob_worker_spawn(k, k->binary);
	if (w) {
		ob_life_start(k, w, k->why);
		return;
	}
	if (ob_midwife_is_none(k)) {
		finish(k, 1);
		return;
	}
	k->failures++;
	retry_later(k, delay(k) ? delay(k) : RETRY_MIN_MS);
}

/* Not at once: the one that has just got ready is busy, and its guest waits. */
static void standby_later(struct ob_keeper *k)
{
	if (k->opts->standby)
		k->standby_at = ob_keeper_ms() + STANDBY_AFTER_MS;
}

void ob_life_standby(struct ob_keeper *k)
{
	k->standby_at = 0;
	if (!k->opts->standby || k->standby || k->stopping || !k->active ||
	    k->active->state != OB_WORKER_SERVES ||
	    k->upgrade.state >= OB_UPGRADE_SWITCH)
		return;
	k->standby = ob_worker_spawn(k, k->binary);
	if (!k->standby)
		k->standby_at = ob_keeper_ms() + STANDBY_AGAIN_MS;
	else
		ob_worker_tell(k->standby, OB_KEEPER_WARM, 0, NULL, -1);
}

static void measure_gap(struct ob_keeper *k, const struct ob_worker *w)
{
	if (!k->died_us)
		return;
	k->status.last_gap_us = ob_keeper_us() - k->died_us;
	k->died_us = 0;
	SAY(WARN, "worker %d, generation %llu, serves after %llu us",
	    (int)w->pid, (unsigned long long)w->generation,
	    (unsigned long long)k->status.last_gap_us);
}

/* What is left of the line of one that died over it is a line of its own. */
static int tell_ready(struct ob_keeper *k, const struct ob_worker *w,
		      enum ob_keeper_event event, const char *text)
{
	if (k->line_of && k->line_of != w->generation)
		ob_keeper_tell(k, OB_KEEPER_GETS_READY, "\n");
	k->line_of = w->generation;
	return ob_keeper_tell(k, event, text);
}

void ob_life_ready_part(struct ob_keeper *k, struct ob_worker *w,
			const char *text)
{
	if (w->state == OB_WORKER_LOADS && !k->was_ready)
		tell_ready(k, w, OB_KEEPER_GETS_READY, text);
}

void ob_life_ready(struct ob_keeper *k, struct ob_worker *w, const char *text)
{
	if (w->state != OB_WORKER_LOADS)
		return;
	w->state = OB_WORKER_SERVES;
	w->kill_at = 0;
	w->ready_at = ob_keeper_ms();
	k->failures = 0;
	k->served = w->generation;
	measure_gap(k, w);
	if (!k->was_ready && tell_ready(k, w, OB_KEEPER_IS_READY, text)) {
		k->failed = true;	/* whatever the worker ends with */
		ob_keeper_stop(k, "nobody can be told");
	}
	k->was_ready = true;
	if (k->stopping)
		ob_worker_tell(w, OB_KEEPER_STOP, 0, NULL, -1);
	ob_upgrade_ready(k);
	ob_watchdog_start(k);
	standby_later(k);
}

/* Dying */

static void log_death(const struct ob_keeper *k, const struct ob_worker *w,
		      const siginfo_t *info)
{
	char how[80];

	if (info->si_code == CLD_EXITED)
		snprintf(how, sizeof(how), "exit status %d", info->si_status);
	else
		snprintf(how, sizeof(how), "signal %d (%s)", info->si_status,
			 strsignal(info->si_status));
	SAY(WARN, "worker %d died: %s, generation %llu, %s, death %u in a row",
	    (int)w->pid, how, (unsigned long long)w->generation,
	    w->state == OB_WORKER_SERVES ? "serving" : "loading", k->deaths);
}

/* Its successor need not wait. */
static bool was_killed(const struct ob_worker *w, const siginfo_t *info)
{
	return w->state == OB_WORKER_SERVES && info->si_code == CLD_KILLED &&
	       info->si_status == SIGKILL;
}

static void count_death(struct ob_keeper *k, const struct ob_worker *w,
			const siginfo_t *info)
{
	bool served = w->state == OB_WORKER_SERVES;

	if (!k->died_us)
		k->died_us = ob_keeper_us();
	k->last_pid = w->pid;
	k->last_signal = info->si_code == CLD_EXITED ? 0 :
			 w->hung ? SIGALRM : info->si_status;
	if (k->upgrade.state == OB_UPGRADE_SWITCH)
		return;		/* killed by us, for no fault of its own */
	if (served && ob_keeper_ms() - w->ready_at >= LIVED_MS)
		k->deaths = k->crashes = 0;
	k->deaths++;
	k->failures += !served;
	k->crashes += served && !was_killed(w, info);
	k->status.deaths++;
	k->status.last_signal = k->last_signal;
}

/* Is that the end of the server?  A wrong command line, and what was asked. */
static bool is_the_end(struct ob_keeper *k, const siginfo_t *info)
{
	int status = info->si_code == CLD_EXITED ? info->si_status : 1;

	if (k->ended)
		finish(k, k->exit_status);
	else if (k->stopping && !k->stop_at)
		finish(k, 1);
	else if (!k->was_ready && (info->si_code == CLD_EXITED ||
				   k->deaths >= FREE_TRIES))
		finish(k, status ? status : 1);
	return k->done;
}

/* Nobody ended in order in the time for that. */
void ob_life_end(struct ob_keeper *k)
{
	if (!k->active) {
		finish(k, k->was_ready);
		return;
	}
	SAY(ERROR, "worker %d does not end", (int)k->active->pid);
	ob_worker_signal(k->active, SIGKILL);
}

static void follow(struct ob_keeper *k, bool at_once)
{
	if (k->upgrade.state == OB_UPGRADE_SWITCH) {
		ob_upgrade_switch(k);
		return;
	}
	ob_upgrade_fail(k, "the worker died (signal %d)", k->last_signal);
	if (at_once || !delay(k))
		ob_life_succeed(k);
	else
		retry_later(k, delay(k));
}

/* The log comes last: who reads it may be slow, and the guest waits. */
static void active_died(struct ob_keeper *k, struct ob_worker *w,
			const siginfo_t *info)
{
	const struct ob_worker was = *w;
	bool meant = k->ended || k->upgrade.state == OB_UPGRADE_SWITCH;

	count_death(k, w, info);
	k->active = NULL;
	k->watch_at = 0;
	ob_accept_none(k);
	ob_worker_close(w);
	if (!is_the_end(k, info))
		follow(k, was_killed(&was, info));
	if (!meant)
		log_death(k, &was, info);
}

static void other_died(struct ob_keeper *k, struct ob_worker *w,
		       const siginfo_t *info)
{
	bool was_next = w == k->next, was_standby = w == k->standby;

	ob_worker_close(w);
	if (was_next) {
		k->next = NULL;
		ob_upgrade_fail(k, "the new binary died (%s %d)",
				info->si_code == CLD_EXITED ? "exit status" :
				"signal", info->si_status);
	}
	if (was_standby) {
		SAY(WARN, "the standby died");
		k->standby = NULL;
		k->standby_at = ob_keeper_ms() + STANDBY_AGAIN_MS;
	}
}

static bool is_worker(const struct ob_keeper *k, pid_t pid)
{
	for (unsigned i = 0; i < OB_WORKERS; i++)
		if (k->workers[i].state != OB_WORKER_NONE &&
		    k->workers[i].pid == pid)
			return true;
	return false;
}

/* One of ours in front is asked about by its pidfd, and then this again. */
void ob_life_reap(struct ob_keeper *k)
{
	siginfo_t info = { 0 };

	while (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) &&
	       info.si_pid && !is_worker(k, info.si_pid)) {
		waitid(P_PID, (id_t)info.si_pid, &info,
		       WEXITED | WNOHANG | __WALL);
		info.si_pid = 0;
	}
}

void ob_life_died(struct ob_keeper *k, struct ob_worker *w)
{
	siginfo_t info = { 0 };

	if (w->state == OB_WORKER_NONE ||
	    waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED | WNOHANG) ||
	    !info.si_pid)
		return;
	w->giving = false;
	ob_worker_drain(k, w);
	if (w == k->active)
		active_died(k, w, &info);
	else
		other_died(k, w, &info);
	ob_life_reap(k);
}
