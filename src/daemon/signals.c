// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/signals.h"

static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR1);
}

int ob_signals_block(struct ob_err *err)
{
	sigset_t set;

	fill_set(&set);
	/* A peer that went and a file-size limit are error returns for us. */
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
	    signal(SIGXFSZ, SIG_IGN) == SIG_ERR ||
	    sigprocmask(SIG_BLOCK, &set, NULL))
		return ob_fail(err, errno, "signals: %s", strerror(errno));
	return 0;
}

static void ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_signals *signals = (struct ob_signals *)
		((char *)watch - offsetof(struct ob_signals, watch));
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		signals->asked(signals, info.ssi_signo);
}

int ob_signals_start(struct ob_loop *loop, struct ob_signals *signals,
		     struct ob_err *err)
{
	struct ob_watch *watch = &signals->watch;
	sigset_t set;
	int rc;

	fill_set(&set);
	watch->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch->fd < 0)
		return ob_fail(err, errno, "signalfd: %s", strerror(errno));
	watch->ready = ready;
	watch->events = POLLIN;
	rc = ob_watch_add(loop, watch);
	if (rc) {
		ob_fd_close(&watch->fd);
		return ob_fail(err, -rc, "signalfd: %s", strerror(-rc));
	}
	return 0;
}

void ob_signals_stop(struct ob_loop *loop, struct ob_signals *signals)
{
	ob_watch_remove(loop, &signals->watch);
	ob_fd_close(&signals->watch.fd);
}
