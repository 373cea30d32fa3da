// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who kills.  Times are random between nothing and twice --every.  A worker
 * that has just begun is killed as well, but never three in a row without an
 * I/O completed between: a device that kills three workers in the same place
 * is meant to be given up (docs/crash-safety.md).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "control_client.h"
#include "torture.h"

#define IN_VAIN 2u			/* kills without progress between */
#define FIND_NS 10000000000ull		/* a keeper that has no worker for so long */
#define UPGRADE_SHARE 8u		/* one event in so many */

struct killer {
	struct torture *t;
	uint64_t random, done;
	unsigned in_vain;
	unsigned upgrade;		/* number of the next one */
	pid_t killed[2];		/* the last one of each server */
};

static bool stopped(const struct torture *t)
{
	return __atomic_load_n(&t->stop, __ATOMIC_ACQUIRE);
}

static void nap(uint64_t ns)
{
	const struct timespec pause = {
		(time_t)(ns / 1000000000u), (long)(ns % 1000000000u),
	};

	nanosleep(&pause, NULL);
}

/* In pieces, so that the end is noticed. */
static void wait_some(struct killer *k)
{
	uint64_t ns = (uint64_t)(k->t->opt.every * 2e9);
	uint64_t end = now_ns() + (ns ? guest_random(&k->random) % ns : 0);
	uint64_t now;

	while (!stopped(k->t) && (now = now_ns()) < end)
		nap(end - now < 100000000u ? end - now : 100000000u);
}

/* Has anything completed since the last kill?  Else it is one in vain.  What a
 * real guest does is not seen. */
static bool may_kill(struct killer *k, unsigned more)
{
	uint64_t done = __atomic_load_n(&k->t->guest->done, __ATOMIC_RELAXED);

	if (k->t->opt.vm)
		return true;
	if (done != k->done)
		k->in_vain = 0;
	k->done = done;
	return k->in_vain + more <= IN_VAIN;
}

static unsigned choose_server(struct killer *k)
{
	return k->t->nr_servers > 1 ? guest_random(&k->random) % 2 : 0;
}

/* The load sees that there was one, and of which kind. */
static void announce(struct torture *t, enum torture_event kind)
{
	__atomic_store_n(&t->kind, kind, __ATOMIC_RELAXED);
	__atomic_add_fetch(&t->events, 1, __ATOMIC_RELEASE);
}

/* And when the gap began. */
static void mark(struct torture *t, enum torture_event kind)
{
	__atomic_store_n(&t->gone_kind, kind, __ATOMIC_RELAXED);
	__atomic_store_n(&t->gone_ns, now_ns(), __ATOMIC_RELEASE);
}

/* Who serves, unless it is the one that was killed last and is still going. */
static pid_t victim(struct killer *k, unsigned which)
{
	pid_t pid = child_worker(&k->t->servers[which]);

	return pid == k->killed[which] ? 0 : pid;
}

/* A signal that reaches a process which is there is a kill. */
static void kill_process(struct killer *k, unsigned which, pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return;			/* it is gone already */
	announce(k->t, TORTURE_KILL);
	if (!syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0)) {
		__atomic_add_fetch(&k->t->kills, 1, __ATOMIC_RELAXED);
		mark(k->t, TORTURE_KILL);
		k->killed[which] = pid;
		k->in_vain++;
	}
	close(fd);
}

static int kill_one(struct killer *k, struct ob_err *err)
{
	struct torture *t = k->t;
	unsigned which = choose_server(k);
	uint64_t end = now_ns() + FIND_NS;
	pid_t pid;

	while (!(pid = victim(k, which))) {
		if (stopped(t))
			return 0;
		if (now_ns() > end)
			return ob_fail(err, ECHILD, "%s: no process serves it "
				       "(without a keeper there is none to kill)",
				       t->servers[which].path);
		nap(200000);
	}
	kill_process(k, which, pid);
	return 0;
}

/* -- upgrades ---------------------------------------------------------- */

struct disturbance {
	struct killer *k;
	unsigned which;
	uint64_t at;			/* 0: none, or it has been */
	bool been;
};

/* Any of its phases may be the one that is hit; the first ones are short. */
static uint64_t some_time(struct killer *k)
{
	uint64_t most = 1ull << guest_random(&k->random) % 28;	/* 134 ms */

	return guest_random(&k->random) % most;
}

static bool disturb(void *arg, const json_t *keeper)
{
	struct disturbance *d = arg;
	pid_t pid;

	(void)keeper;
	if (!d->at || now_ns() < d->at || stopped(d->k->t))
		return false;
	d->at = 0;
	nap(some_time(d->k) / 16);
	pid = victim(d->k, d->which);
	if (pid)
		kill_process(d->k, d->which, pid);
	d->been = pid;
	return false;
}

/*
 * Every other one is cut short by a death, which may be its end; a refusal
 * without such a reason is a failure.
 */
static int upgrade_one(struct killer *k, struct ob_err *err)
{
	struct torture *t = k->t;
	struct disturbance d = { .k = k, .which = choose_server(k) };
	struct torture_watch watch;
	const struct control_upgrade up = {
		.binary = k->upgrade % 2 ? t->binary : t->other,
		.look = disturb, .arg = &d,
	};
	json_t *status = NULL;
	int r;

	if (!t->opt.no_kills && k->upgrade / 2 % 2)
		d.at = now_ns() + some_time(k);
	k->upgrade++;
	announce(t, TORTURE_UPGRADE);
	__atomic_store_n(&t->gone_kind, TORTURE_UPGRADE, __ATOMIC_RELAXED);
	k->in_vain++;			/* the old one's death */
	torture_watch_start(&watch, child_worker(&t->servers[d.which]),
			    &t->gone_ns);
	r = control_upgrade(t->controls[d.which], &up, &status, err);
	torture_watch_stop(&watch);
	json_decref(status);
	if (!r)
		__atomic_add_fetch(&t->upgrades, 1, __ATOMIC_RELAXED);
	if (r != -ECANCELED || !d.been)
		return r;
	__atomic_add_fetch(&t->refused, 1, __ATOMIC_RELAXED);
	*err = (struct ob_err){ 0 };
	return 0;
}

static enum torture_event next_event(struct killer *k)
{
	const struct torture_options *opt = &k->t->opt;

	if (opt->no_kills)
		return opt->upgrade ? TORTURE_UPGRADE : TORTURE_NOTHING;
	if (opt->upgrade && guest_random(&k->random) % UPGRADE_SHARE == 0)
		return TORTURE_UPGRADE;
	return TORTURE_KILL;
}

static int happen(struct killer *k, enum torture_event event,
		  struct ob_err *err)
{
	if (event == TORTURE_UPGRADE)
		return upgrade_one(k, err);
	if (event == TORTURE_KILL)
		return kill_one(k, err);
	k->t->nothings++;
	announce(k->t, event);
	mark(k->t, event);
	return 0;
}

static bool has_more(const struct torture *t)
{
	return !stopped(t) &&
	       t->kills + t->upgrades + t->nothings < t->opt.kills;
}

static void *killer_main(void *arg)
{
	struct torture *t = arg;
	struct killer k = {
		.t = t, .random = t->opt.seed * 0xbf58476d1ce4e5b9ull | 1,
	};
	int r = 0;

	while (!r && has_more(t)) {
		enum torture_event event = next_event(&k);

		wait_some(&k);
		/* An upgrade is a death, too, and may be cut short by another. */
		while (!stopped(t) &&
		       !may_kill(&k, event == TORTURE_UPGRADE ? 2 : 1))
			nap(1000000);
		if (stopped(t))
			break;
		r = happen(&k, event, &t->killer_err);
	}
	__atomic_store_n(&t->failed, r ? r : 1, __ATOMIC_RELEASE);
	return NULL;
}

int torture_killer_start(struct torture *t, struct ob_err *err)
{
	int r;

	if (!t->opt.kills)
		return 0;
	r = pthread_create(&t->killer, NULL, killer_main, t);
	if (r)
		return ob_fail(err, r, "thread: %s", strerror(r));
	t->killing = true;
	return 0;
}

bool torture_killer_ended(const struct torture *t)
{
	return t->killing && __atomic_load_n(&t->failed, __ATOMIC_ACQUIRE);
}

void torture_killer_stop(struct torture *t)
{
	__atomic_store_n(&t->stop, 1, __ATOMIC_RELEASE);
}

int torture_killer_join(struct torture *t, struct ob_err *err)
{
	if (!t->killing)
		return 0;
	torture_killer_stop(t);
	pthread_join(t->killer, NULL);
	t->killing = false;
	if (t->failed < 0)
		*err = t->killer_err;
	return t->failed < 0 ? t->failed : 0;
}
