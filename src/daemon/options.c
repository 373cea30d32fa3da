// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"
#include "daemon/args.h"
#include "daemon/options.h"

#define WATCHDOG_MS 2000u
#define GRACE_MS 5000u
#define MAX_MS 3600000u

static int set_device(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;

	(void)err;
	opts->devices[opts->nr_devices++] = value;
	return 0;
}

static int set_load(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;

	(void)err;
	opts->loads[opts->nr_loads++] = value;
	return 0;
}

static int set_engine(void *into, const char *value, struct ob_err *err)
{
	static const char *const words[] = {
		[OB_LOOP_AUTO] = "auto",
		[OB_LOOP_URING] = "uring",
		[OB_LOOP_POOL] = "threads",
	};
	struct ob_serve_options *opts = into;

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(value, words[i])) {
			opts->loop.engine = (enum ob_loop_engine)i;
			return 0;
		}
	}
	return ob_fail(err, EINVAL, "'%s' is none of auto, uring, threads",
		       value);
}

static int set_log_level(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;

	if (!ob_log_parse_level(value, &opts->log_level))
		return 0;
	return ob_fail(err, EINVAL, "'%s' is none of error, warn, info, debug",
		       value);
}

OB_ARG_FLAG(busy_poll, struct ob_serve_options, loop.busy_poll)
OB_ARG_FLAG(no_keeper, struct ob_serve_options, no_keeper)
OB_ARG_FLAG(standby, struct ob_serve_options, standby)
OB_ARG_TEXT(control, struct ob_serve_options, control)

static int set_ms(unsigned *ms, const char *value, struct ob_err *err)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || n > MAX_MS)
		return ob_fail(err, EINVAL, "'%s' is no number up to %u",
			       value, MAX_MS);
	*ms = (unsigned)n;
	return 0;
}

static int set_watchdog(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;

	return set_ms(&opts->watchdog_ms, value, err);
}

static int set_grace(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;

	return set_ms(&opts->grace_ms, value, err);
}

static int set_threads(void *into, const char *value, struct ob_err *err)
{
	struct ob_serve_options *opts = into;
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || !n ||
	    n > OB_THREADS)
		return ob_fail(err, EINVAL, "'%s' is no number from 1 to %u",
			       value, OB_THREADS);
	opts->threads = (unsigned)n;
	return 0;
}

static const struct ob_arg args[] = {
	{ "device", "MODEL,KEY=VALUE,...",
	  "a device to serve (repeat)", set_device },
	{ "load", "FILE", "a shared object with a model (repeat)", set_load },
	{ "threads", "N", "spread the devices over N threads, 1 to 16 (1)",
	  set_threads },
	{ "busy-poll", NULL, "never sleep; for a core of one's own",
	  set_busy_poll },
	{ "io-engine", "ENGINE", "auto, uring or threads (auto)", set_engine },
	{ "control", "PATH", "a socket for status and upgrades", set_control },
	{ "log-level", "LEVEL", "error, warn, info or debug (info)",
	  set_log_level },
	{ "standby", NULL, "a warm process waits for the serving one's death",
	  set_standby },
	{ "watchdog", "MS", "kill a process that hangs this long; 0: never (2000)",
	  set_watchdog },
	{ "grace", "MS", "take an upgrade back that dies this soon (5000)",
	  set_grace },
	{ "no-keeper", NULL, "one process, which nobody survives; to debug",
	  set_no_keeper },
	{ 0 }
};

static int parse(struct ob_serve_options *opts, int argc, char **argv,
		 struct ob_err *err)
{
	int first = ob_args_parse(args, opts, argc, argv, err);

	if (first < 0)
		return first;
	if (first < argc)
		return ob_fail(err, EINVAL, "unexpected argument '%s'",
			       argv[first]);
	if (!opts->nr_devices)
		return ob_fail(err, EINVAL,
			       "no device: give --device at least once");
	return 0;
}

int ob_serve_options_parse(struct ob_serve_options *opts, int argc,
			   char **argv, struct ob_err *err)
{
	*opts = (struct ob_serve_options){
		.log_level = OB_LOG_INFO, .watchdog_ms = WATCHDOG_MS,
		.grace_ms = GRACE_MS, .threads = 1, .argv = argv,
	};
	/* Every option is at least one word of argv. */
	opts->devices = calloc(argc, sizeof(*opts->devices));
	opts->loads = calloc(argc, sizeof(*opts->loads));
	if (!opts->devices || !opts->loads)
		return ob_fail(err, ENOMEM, "out of memory");
	return parse(opts, argc, argv, err);
}

void ob_serve_options_finish(struct ob_serve_options *opts)
{
	free(opts->devices);
	free(opts->loads);
	*opts = (struct ob_serve_options){ 0 };
}

void ob_serve_options_help(FILE *out)
{
	ob_args_help(args, out);
}
