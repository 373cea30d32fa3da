/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_SIGNALS_H
#define OB_DAEMON_SIGNALS_H

#include <outboard/loop.h>

/*
 * SIGTERM, SIGINT and SIGUSR1 as events of the loop.  Zero-initialise, set
 * asked.
 */
struct ob_signals {
	void (*asked)(struct ob_signals *signals, int signo);
	struct ob_watch watch;
};

/*
 * Blocks the signals in this thread and all it creates later, and ignores
 * SIGPIPE and SIGXFSZ.  Call it before there are threads.
 */
int ob_signals_block(struct ob_err *err);
int ob_signals_start(struct ob_loop *loop, struct ob_signals *signals,
		     struct ob_err *err);
void ob_signals_stop(struct ob_loop *loop, struct ob_signals *signals);

#endif
