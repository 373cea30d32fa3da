// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keeper's process: one epoll, which wakes for a worker's words or death,
 * for signals, for clients where the keeper accepts, and for deadlines, of
 * which there is none while the server is idle and well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/impl.h"

#define STOP_MS 10000u		/* the worker's own patience is 5 s */
#define SPARED_FDS (192u + OB_KEEPER_NEW)	/* rings, channels and the like */
#define RING_FDS 3u		/* of each further thread, in each generation */
#define EVENTS 32

struct ob_log ob_keeper_log = { .who = "keeper" };

uint64_t ob_keeper_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t ob_keeper_ms(void)
{
	return ob_keeper_us() / 1000u;
}

int ob_keeper_tell(struct ob_keeper *k, enum ob_keeper_event event,
		   const char *text)
{
	return k->opts->tell ? k->opts->tell(event, text) : 0;
}

int ob_keeper_watch(struct ob_keeper *k, int op, int fd, uint32_t events,
		    enum ob_keeper_source source, uint32_t number)
{
	struct epoll_event event = {
		.events = events,
		.data.u64 = (uint64_t)source << 32 | number,
	};

	return epoll_ctl(k->epoll, op, fd, &event) ? -errno : 0;
}

/* Ending */

static void begin_to_stop(struct ob_keeper *k, const char *why)
{
	SAY(INFO, "stopping: %s", why);
	ob_keeper_tell(k, OB_KEEPER_IS_STOPPING, "");
	k->stopping = true;
	k->stop_at = ob_keeper_ms() + STOP_MS;
	ob_upgrade_stop(k);
	ob_life_dismiss(&k->standby);
}

/*
 * Only who serves can end in order, and is told as soon as somebody does.  The
 * second time means now.
 */
void ob_keeper_stop(struct ob_keeper *k, const char *why)
{
	bool again = k->stopping;

	if (!again)
		begin_to_stop(k, why);
	if (k->active && k->active->state == OB_WORKER_SERVES)
		ob_worker_tell(k->active, OB_KEEPER_STOP, again, NULL, -1);
	else if (again || !k->was_ready)
		k->stop_at = ob_keeper_ms();
}

static void signal_came(struct ob_keeper *k)
{
	struct signalfd_siginfo info;

	if (read(k->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		ob_watchdog_children(k);
		ob_life_reap(k);
	} else if (info.ssi_signo == SIGHUP)
		ob_upgrade_begin(k, ob_midwife_open(k), 0, 0);
	else if (info.ssi_signo != SIGUSR1)
		ob_keeper_stop(k, strsignal((int)info.ssi_signo));
	else if (k->active && k->active->state == OB_WORKER_SERVES)
		ob_worker_signal(k->active, SIGUSR1);
}

/* Deadlines */

static void sooner(uint64_t *at, uint64_t other)
{
	if (other && (!*at || other < *at))
		*at = other;
}

static int time_left(const struct ob_keeper *k)
{
	uint64_t at = 0, now = ob_keeper_ms();

	sooner(&at, k->retry_at);
	sooner(&at, k->standby_at);
	sooner(&at, k->watch_at);
	sooner(&at, k->alive_at);
	sooner(&at, k->midwife_at);
	sooner(&at, k->upgrade.until);
	sooner(&at, k->stop_at);
	for (unsigned i = 0; i < OB_WORKERS; i++) {
		const struct ob_worker *w = &k->workers[i];

		if (w->state == OB_WORKER_NONE)
			continue;
		sooner(&at, w->kill_at);
		sooner(&at, w->push_at);
	}
	if (!at)
		return -1;
	return at > now ? (int)(at - now) : 0;
}

static bool is_due(uint64_t *at, uint64_t now)
{
	bool due = *at && now >= *at;

	if (due)
		*at = 0;
	return due;
}

static void worker_time(struct ob_keeper *k, struct ob_worker *w, uint64_t now)
{
	if (w->state == OB_WORKER_NONE)
		return;
	if (is_due(&w->kill_at, now)) {
		SAY(ERROR, "worker %d: %s for too long", (int)w->pid,
		    w->stopped ? "stopped" :
		    w->state == OB_WORKER_LOADS ? "loading" : "deaf");
		w->hung = w->state == OB_WORKER_LOADS && !w->stopped;
		ob_worker_signal(w, SIGKILL);
	}
	if (is_due(&w->push_at, now))
		ob_worker_push(k, w);
}

static void show_life(struct ob_keeper *k, uint64_t now)
{
	if (!k->opts->alive_ms || now < k->alive_at)
		return;
	k->alive_at = now + k->opts->alive_ms;
	ob_keeper_tell(k, OB_KEEPER_IS_ALIVE, "");
}

static void work_off_deadlines(struct ob_keeper *k)
{
	uint64_t now = ob_keeper_ms();

	for (unsigned i = 0; i < OB_WORKERS; i++)
		worker_time(k, &k->workers[i], now);
	ob_upgrade_time(k, now);
	show_life(k, now);
	if (is_due(&k->watch_at, now) && k->active)
		ob_watchdog_look(k, now);
	if (is_due(&k->retry_at, now) && !k->active)
		ob_life_succeed(k);
	if (is_due(&k->standby_at, now))
		ob_life_standby(k);
	if (is_due(&k->midwife_at, now))
		ob_midwife_replace(k);
	if (is_due(&k->stop_at, now))
		ob_life_end(k);
}

/* The loop */

static void channel_event(struct ob_keeper *k, struct ob_worker *w,
			  uint32_t events)
{
	if (w->state == OB_WORKER_NONE)
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		ob_worker_hear(k, w);
	if ((events & EPOLLOUT) && w->state != OB_WORKER_NONE)
		ob_worker_push(k, w);
}

static void dispatch(struct ob_keeper *k, const struct epoll_event *event)
{
	uint32_t number = (uint32_t)event->data.u64;

	switch ((enum ob_keeper_source)(event->data.u64 >> 32)) {
	case OB_FROM_SIGNALS:
		signal_came(k);
		break;
	case OB_FROM_PID:
		ob_life_died(k, &k->workers[number]);
		break;
	case OB_FROM_CHANNEL:
		channel_event(k, &k->workers[number], event->events);
		break;
	case OB_FROM_LISTENER:
		ob_accept_ready(k, number);
		break;
	case OB_FROM_MIDWIFE:
		ob_midwife_died(k, number);
		break;
	}
}

static void run(struct ob_keeper *k)
{
	struct epoll_event events[EVENTS];
	int n;

	ob_life_succeed(k);
	while (!k->done) {
		n = epoll_wait(k->epoll, events, EVENTS, time_left(k));
		for (int i = 0; i < n && !k->done; i++)
			dispatch(k, &events[i]);
		if (!k->done)
			work_off_deadlines(k);
	}
}

/* Beginning: all memory and descriptors that will ever be needed. */

static void count_threads(struct ob_keeper *k)
{
	unsigned n = k->opts->threads ? k->opts->threads : 1;

	k->threads = n < OB_THREADS ? n : OB_THREADS;
	n = OB_KEEPER_SETS / k->threads;
	k->rings_room = n < OB_RINGS_HELD ? n : OB_RINGS_HELD;
}

static uint32_t table_room(const struct ob_keeper *k)
{
	const rlim_t spared = SPARED_FDS + (k->threads - 1) *
		RING_FDS * (k->rings_room + OB_WORKERS);
	const rlim_t most = OB_HELD_MAX - OB_KEEPER_NEW;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur > most + spared)
		return (uint32_t)most;
	return (uint32_t)(limit.rlim_cur > 2 * spared ?
			  limit.rlim_cur - spared : limit.rlim_cur / 2);
}

/* Ends a call that waits; see accept.c. */
static void alarm_came(int signo)
{
	(void)signo;
}

static int open_signals(struct ob_keeper *k)
{
	const struct sigaction alarm = { .sa_handler = alarm_came };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
	    sigaction(SIGALRM, &alarm, NULL) ||
	    sigprocmask(SIG_BLOCK, &set, &k->mask))
		return -errno;
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (k->signals < 0)
		return -errno;
	return ob_keeper_watch(k, EPOLL_CTL_ADD, k->signals, EPOLLIN,
			       OB_FROM_SIGNALS, 0);
}

static int make_pulses(struct ob_keeper *k)
{
	for (unsigned i = 0; i < OB_WORKERS; i++) {
		struct ob_worker *w = &k->workers[i];

		w->pulse_fd = ob_memfd_create("outboard-pulse", OB_PULSE_PAGE);
		if (w->pulse_fd < 0)
			return w->pulse_fd;
		w->pulses = mmap(NULL, OB_PULSE_PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, w->pulse_fd, 0);
		if (w->pulses == MAP_FAILED)
			return -errno;
	}
	return 0;
}

static int make_env(struct ob_keeper *k)
{
	size_t n = 0, at = 0;

	while (environ[n])
		n++;
	k->env = calloc(n + 2, sizeof(*k->env));
	if (!k->env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], OB_KEEPER_ENV "=",
			    sizeof(OB_KEEPER_ENV)))
			k->env[at++] = environ[i];
	k->env[at] = k->env_link;
	return 0;
}

static int prepare(struct ob_keeper *k)
{
	int r;

	ob_log_never_wait();
	count_threads(k);
	k->epoll = epoll_create1(EPOLL_CLOEXEC);
	k->spare = eventfd(0, EFD_CLOEXEC);
	if (k->epoll < 0 || k->spare < 0)
		return -errno;
	if ((r = ob_held_init(&k->held, table_room(k) + OB_KEEPER_NEW)) ||
	    (r = make_env(k)) || (r = make_pulses(k)) ||
	    (r = open_signals(k)))
		return r;
	ob_confine_all();
	r = ob_midwife_start(k);
	ob_confine_memory();
	ob_confine_keeper();
	return r;
}

int ob_keeper_run(const struct ob_keeper_options *options, struct ob_err *err)
{
	static struct ob_keeper keeper;
	struct ob_keeper *k = &keeper;
	int r;

	*k = (struct ob_keeper){ .opts = options, .pid = getpid(),
				 .binary = options->binary, .other = -1,
				 .upgrade.binary = -1 };
	r = prepare(k);
	if (r)
		return ob_fail(err, -r, "keeper: %s", strerror(-r));
	run(k);
	ob_midwife_finish(k);
	return k->exit_status;
}
