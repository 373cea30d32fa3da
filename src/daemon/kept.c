// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keeper's process, as the user and the service manager see it.  It has read
 * the command line and nothing else: models and drives are the worker's, which
 * is started with the same words.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/slice.h"
#include "daemon/kept.h"
#include "daemon/limits.h"
#include "daemon/notify.h"
#include "keeper/keeper.h"
#include "keeper/wire.h"

#define PATH_ROOM 4096

static void notify(const char *state)
{
	int rc = ob_notify(state);

	if (rc)
		ob_log(NULL, OB_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
}

/* Without stdio, which would allocate a buffer. */
static int print(const char *text)
{
	size_t left = strlen(text);
	int r = 0;

	while (left && !r) {
		ssize_t n = write(STDOUT_FILENO, text, left);

		if (n < 0 && errno != EINTR)
			r = -errno;
		text += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	if (r)
		ob_log(NULL, OB_LOG_ERROR, "standard output: %s", strerror(-r));
	return r;
}

/* At once: who has seen the end of what it waits for may close its end. */
static int print_line(const char *text)
{
	char line[OB_KEEPER_TEXT + 1];

	snprintf(line, sizeof(line), "%s\n", text);
	return print(line);
}

/* The clock's reading is part of the protocol (sd_notify(3)). */
static void notify_reloading(void)
{
	struct timespec ts;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &ts);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)ts.tv_sec * 1000000u +
		 (unsigned long long)ts.tv_nsec / 1000u);
	notify(text);
}

static void notify_status(const char *text)
{
	int rc = ob_notify_status(text);

	if (rc)
		ob_log(NULL, OB_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
}

static int tell(enum ob_keeper_event event, const char *text)
{
	int r = 0;

	switch (event) {
	case OB_KEEPER_GETS_READY:
		r = print(text);
		break;
	case OB_KEEPER_IS_READY:
		r = print_line(text);
		if (!r)
			notify("READY=1");
		break;
	case OB_KEEPER_IS_RELOADING:
		notify_reloading();
		break;
	case OB_KEEPER_IS_RELOADED:
		notify("READY=1");
		break;
	case OB_KEEPER_IS_STOPPING:
		notify("STOPPING=1");
		break;
	case OB_KEEPER_IS_ALIVE:
		notify("WATCHDOG=1");
		break;
	case OB_KEEPER_HAS_TO_SAY:
		notify_status(text);
		break;
	}
	return r;
}

bool ob_serve_is_kept(const struct ob_serve_options *opts)
{
	return !opts->no_keeper && !getenv(OB_KEEPER_ENV);
}

/* The verb is the first word of ours, the second of the process. */
static char **worker_argv(const struct ob_serve_options *opts)
{
	size_t n = 0;
	char **argv;

	while (opts->argv[n])
		n++;
	argv = calloc(n + 2, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[0] = (char *)"outboard";
	memcpy(argv + 1, opts->argv, n * sizeof(*argv));
	return argv;
}

int ob_serve_kept(const struct ob_serve_options *opts, struct ob_err *err)
{
	static char path[PATH_ROOM];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char **argv = worker_argv(opts);
	struct ob_keeper_options keeper = {
		.argv = argv, .path = path, .tell = tell,
		.standby = opts->standby, .threads = opts->threads,
		.watchdog_ms = opts->watchdog_ms, .grace_ms = opts->grace_ms,
		.alive_ms = ob_notify_alive_ms(),
	};
	int r;

	ob_log_set_level(opts->log_level);
	ob_slice_short();
	ob_raise_fd_limit();
	ob_notify_open();
	keeper.binary = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	if (len < 0 || keeper.binary < 0 || !argv)
		r = ob_fail(err, argv ? errno : ENOMEM, "keeper: %s",
			    strerror(argv ? errno : ENOMEM));
	else
		r = ob_keeper_run(&keeper, err);
	free(argv);
	return r;
}
