// SPDX-License-Identifier: BSD-3-Clause
/* A migration's clock and account: steps, their times, progress, pauses. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/client.h"
#include "client/migrate.h"

#define NS_PER_S UINT64_C(1000000000)
#define WINDOW_NS UINT64_C(250000000)
#define NAP_NS UINT64_C(20000000)	/* a cancel is noticed as soon */
#define BUSY_S 10u

static const char *const step_names[OB_MIGRATE_NR_STEPS] = {
	[OB_MIGRATE_CHECK] = "check",
	[OB_MIGRATE_PREPARE] = "prepare",
	[OB_MIGRATE_LOG_START] = "log-start",
	[OB_MIGRATE_PRE_COPY] = "pre-copy",
	[OB_MIGRATE_RAM] = "ram",
	[OB_MIGRATE_DATA] = "data",
	[OB_MIGRATE_REPORT] = "report",
	[OB_MIGRATE_STOP_GUEST] = "stop-guest",
	[OB_MIGRATE_P2P] = "p2p",
	[OB_MIGRATE_STOP_COPY] = "stop-copy",
	[OB_MIGRATE_LAST_REPORT] = "last-report",
	[OB_MIGRATE_LAST_RAM] = "last-ram",
	[OB_MIGRATE_LAST_DATA] = "last-data",
	[OB_MIGRATE_LOAD] = "load",
	[OB_MIGRATE_RESTORE] = "restore",
	[OB_MIGRATE_LOG_STOP] = "log-stop",
	[OB_MIGRATE_STOP] = "stop",
	[OB_MIGRATE_RUN] = "run",
	[OB_MIGRATE_START_GUEST] = "start-guest",
	[OB_MIGRATE_DONE] = "done",
	[OB_MIGRATE_RESET] = "reset",
	[OB_MIGRATE_GO_BACK] = "go-back",
	[OB_MIGRATE_CONTINUE_GUEST] = "continue-guest",
};

const char *ob_migrate_step_name(enum ob_migrate_step step)
{
	return (unsigned)step < OB_MIGRATE_NR_STEPS ? step_names[step]
						    : "unknown";
}

static uint64_t clock_now(const struct migrate_run *run)
{
	struct timespec ts;

	if (run->ops->now)
		return run->ops->now(run->params->arg);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void migrate_run_init(struct migrate_run *run,
		      const struct ob_migrate_params *params,
		      struct ob_migrate_result *result)
{
	static const struct ob_migrate_params no_params;
	static const struct ob_migrate_ops no_ops;

	*run = (struct migrate_run){
		.params = params ? params : &no_params,
		.result = result ? result : &run->own,
	};
	run->ops = run->params->ops ? run->params->ops : &no_ops;
	*run->result = (struct ob_migrate_result){ 0 };
	run->zero_ns = clock_now(run);
}

uint64_t migrate_now(struct migrate_run *run)
{
	return clock_now(run) - run->zero_ns;
}

void migrate_end_step(struct migrate_run *run)
{
	uint64_t now = migrate_now(run);

	run->result->total_ns = now;
	if (!run->in_step)
		return;
	run->result->steps[run->step].total_ns += now - run->step_ns;
	run->in_step = false;
}

int migrate_step(struct migrate_run *run, enum ob_migrate_step step,
		 unsigned device, struct ob_err *err)
{
	struct ob_migrate_span *span = &run->result->steps[step];
	int r;

	migrate_end_step(run);
	run->step = step;
	run->device = device;
	run->step_ns = run->result->total_ns;
	run->in_step = true;
	if (!span->count++)
		span->first_ns = run->step_ns;
	r = run->ops->step ? run->ops->step(run->params->arg, step, device)
			   : 0;
	if (!r)
		return 0;
	r = r < 0 ? r : -ECANCELED;
	return ob_fail(err, -r, "ended before step %s: %s", step_names[step],
		       strerror(-r));
}

void migrate_failed(struct migrate_run *run)
{
	if (run->failed)
		return;
	run->failed = true;
	run->result->failed_step = run->step;
	run->result->failed_device = run->device;
}

/* What goes now, pauses and all; the first window counts while it lasts. */
static double rate_of_now(struct migrate_run *run, uint64_t bytes,
			  uint64_t now)
{
	uint64_t ns = now - run->window_ns;
	double rate;

	if (!ns)
		return run->window_rate;
	rate = (double)(bytes - run->window_bytes) * 1e9 / (double)ns;
	if (ns < WINDOW_NS)
		return run->window_rate > 0 ? run->window_rate : rate;
	run->window_ns = now;
	run->window_bytes = bytes;
	run->window_rate = rate;
	return rate;
}

int migrate_progress(struct migrate_run *run, struct ob_err *err)
{
	struct ob_migrate_progress now = {
		.step = run->step, .device = run->device,
		.round = run->result->nr_rounds,
		.device_bytes = run->result->device_bytes,
		.ram_bytes = run->result->ram_bytes, .left = run->left,
		.dirty_rate = run->dirty_rate,
	};
	int r;

	if (!run->ops->progress)
		return 0;
	now.elapsed_ns = migrate_now(run);
	now.rate = rate_of_now(run, now.device_bytes + now.ram_bytes,
			       now.elapsed_ns);
	r = run->ops->progress(run->params->arg, &now);
	if (!r)
		return 0;
	r = r < 0 ? r : -ECANCELED;
	return ob_fail(err, -r, "ended in step %s: %s", step_names[run->step],
		       strerror(-r));
}

static void nap(const struct migrate_run *run, uint64_t ns)
{
	struct timespec ts = {
		(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S),
	};

	if (run->ops->sleep)
		run->ops->sleep(run->params->arg, ns);
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

int migrate_sleep(struct migrate_run *run, uint64_t ns, struct ob_err *err)
{
	int r = 0;

	while (!r && ns) {
		uint64_t piece = ns < NAP_NS ? ns : NAP_NS;
		uint64_t before = migrate_now(run);

		nap(run, piece);
		run->slept_ns += migrate_now(run) - before;
		ns -= piece;
		r = migrate_progress(run, err);
	}
	return r;
}

/* What was read goes on where it stopped, so asking again loses nothing. */
int migrate_read(struct migrate_run *run, struct ob_client *client,
		 size_t len, bool cancel, const void **data, size_t *got,
		 struct ob_err *err)
{
	uint64_t late = migrate_now(run) + BUSY_S * NS_PER_S;
	struct ob_err ignored = { 0 };
	int r = ob_client_mig_read_view(client, len, data, got, err), ended;

	while (r == -EBUSY && migrate_now(run) < late) {
		ended = migrate_sleep(run, NAP_NS, cancel ? err : &ignored);
		if (ended && cancel)
			return ended;
		r = ob_client_mig_read_view(client, len, data, got, err);
	}
	if (r == -EBUSY)
		ob_err_prefix(err, "not ready after %u s", BUSY_S);
	return r;
}

void migrate_note(struct migrate_run *run, const struct ob_err *err)
{
	char *note = run->result->note;
	size_t used = strlen(note), room = sizeof(run->result->note) - used;

	snprintf(note + used, room, "%s%s", used ? "; " : "", err->msg);
}

void migrate_prefix(struct ob_err *err, const char *side, unsigned device,
		    unsigned count)
{
	if (count == 1)
		ob_err_prefix(err, "%s", side);
	else
		ob_err_prefix(err, "%s device %u", side, device);
}

int migrate_callback_failed(int r, const char *what, struct ob_err *err)
{
	r = r < 0 ? r : -ECANCELED;
	if (err && !err->msg[0])
		ob_fail(err, -r, "%s", strerror(-r));
	ob_err_prefix(err, "%s", what);
	return r;
}
