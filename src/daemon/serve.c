// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a serving process.
 *
 *	plan	the words of the command line are checked
 *	prepare	what devices need in every case
 *	begin	threads, signals, devices with their drives
 *	listen	one socket per device; the ready line and READY=1
 *	run	the loops, until a signal asks for the end
 *	stop	every device stops listening, drops its client and lets what
 *		is in flight end; a drive that hangs is not waited for longer
 *		than DRAIN_SECONDS, nor past a second signal
 *
 * All of this is the first thread's.  A device is its own thread's: what the
 * first one wants of it is a call there (ob_served_call), but for the end, which
 * it does not wait for; what a device says is a post (docs/threads.md).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/slice.h"
#include "daemon/limits.h"
#include "daemon/notify.h"
#include "daemon/serve.h"
#include "daemon/serve_impl.h"

#define DRAIN_SECONDS 5

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/* With a keeper it is the keeper that tells. */
static void notify(const struct serve *s, const char *state)
{
	int rc = s->link ? 0 : ob_notify(state);

	if (rc)
		ob_log(NULL, OB_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
}

/* Devices and their threads */

struct served_call {
	struct served *d;
	int (*fn)(struct served *d, void *arg, struct ob_err *err);
	void *arg;
	struct ob_err *err;
	int r;
};

static void run_call(void *arg)
{
	struct served_call *call = arg;

	call->r = call->fn(call->d, call->arg, call->err);
}

/* Before there are threads, everything is the first one's. */
int ob_served_call(struct served *d,
		   int (*fn)(struct served *d, void *arg, struct ob_err *err),
		   void *arg, struct ob_err *err)
{
	struct served_call call = { d, fn, arg, err, 0 };

	if (d->thread->loop)
		ob_loop_call(d->thread->loop, run_call, &call);
	else
		run_call(&call);
	/* Who was waited for is watched itself. */
	if (d->thread->number && d->serve->loop)
		ob_loop_progress(d->serve->loop);
	return call.r;
}

/* Those of one thread, in one call. */
struct served_each {
	struct serve *s;
	struct ob_thread *thread;
	int (*fn)(struct served *d, void *arg, struct ob_err *err);
	void *arg;
	struct ob_err *err;
	int r;
};

static void run_each(void *arg)
{
	struct served_each *each = arg;
	struct serve *s = each->s;

	for (size_t i = 0; i < s->count && !each->r; i++)
		if (s->devices[i].thread == each->thread)
			each->r = each->fn(&s->devices[i], each->arg,
					   each->err);
}

int ob_served_each(struct serve *s,
		   int (*fn)(struct served *d, void *arg, struct ob_err *err),
		   void *arg, struct ob_err *err)
{
	struct served_each each = { s, NULL, fn, arg, err, 0 };

	for (unsigned i = 0; i < s->opts->threads && !each.r; i++) {
		each.thread = &s->threads[i];
		ob_loop_call(each.thread->loop, run_each, &each);
		ob_loop_progress(s->loop);
	}
	return each.r;
}

void ob_served_tell(const struct served *d, struct ob_loop *loop,
		    struct ob_post *post)
{
	if (d->thread->number)
		ob_loop_post(loop, post);
	else
		post->run(post);
}

/* Stopping */

static void is_gone(struct ob_post *post)
{
	struct served *d = container_of(post, struct served, is_gone);

	d->gone = true;
	if (++d->serve->gone == d->serve->count)
		ob_loop_stop(d->serve->loop);
}

static void device_gone(void *arg)
{
	struct served *d = arg;

	ob_served_tell(d, d->serve->loop, &d->is_gone);
}

static void end_asked(struct ob_post *post)
{
	struct served *d = container_of(post, struct served, end);

	ob_device_shutdown(d->dev, device_gone, d);
}

void ob_serve_give_up(struct serve *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (!s->devices[i].gone)
			ob_log(NULL, OB_LOG_ERROR,
			       "%s: abandoned with operations in flight: its "
			       "drive does not answer",
			       ob_dev_id(s->devices[i].dev));
	ob_loop_stop(s->loop);
}

static void patience_ended(struct ob_timer *timer)
{
	ob_serve_give_up(container_of(timer, struct serve, patience));
}

void ob_serve_stop(struct serve *s)
{
	s->stopping = true;
	notify(s, "STOPPING=1");
	s->patience.fire = patience_ended;
	ob_timer_arm(s->loop, &s->patience, DRAIN_SECONDS * 1000000000ull);
	for (size_t i = 0; i < s->count; i++)
		ob_served_tell(&s->devices[i], s->devices[i].thread->loop,
		     &s->devices[i].end);
}

static void stop_asked(struct serve *s, int signo)
{
	if (s->stopping) {
		ob_serve_give_up(s);
		return;
	}
	ob_log(NULL, OB_LOG_INFO, "stopping: %s", strsignal(signo));
	ob_serve_stop(s);
}

static int refresh(struct served *d, void *arg, struct ob_err *err)
{
	(void)arg;
	(void)err;
	ob_device_refresh(d->dev);
	return 0;
}

static void signal_came(struct ob_signals *signals, int signo)
{
	struct serve *s = container_of(signals, struct serve, signals);

	/* With a keeper its word counts: a terminal signals both of us. */
	if (signo == SIGUSR1 && !s->stopping)
		ob_served_each(s, refresh, NULL, NULL);
	else if (signo != SIGUSR1 && !s->link)
		stop_asked(s, signo);
}

/* Starting */

static void init_device(struct serve *s, struct served *d,
			const struct ob_planned *planned)
{
	d->serve = s;
	d->thread = &s->threads[planned->thread];
	d->end.run = end_asked;
	d->is_gone.run = is_gone;
}

static int prepare_devices(struct serve *s, struct ob_err *err)
{
	struct ob_plan *plan = s->plan;
	int rc = 0;

	s->devices = calloc(plan->count, sizeof(*s->devices));
	if (!s->devices)
		return ob_fail(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < plan->count && !rc; i++) {
		struct ob_options *opts = plan->devices[i].opts;

		plan->devices[i].opts = NULL;
		init_device(s, &s->devices[i], &plan->devices[i]);
		rc = ob_device_prepare(plan->devices[i].cls, opts,
				       &s->devices[i].dev, err);
	}
	return rc;
}

int ob_serve_make_loops(struct serve *s, struct ob_err *err)
{
	int rc;

	if (s->loop)
		return 0;
	rc = ob_threads_begin(s->threads, s->opts->threads, &s->opts->loop,
			      s->link ? s->begin.rings : NULL, err);
	s->loop = s->threads[0].loop;
	return rc;
}

/* Lane 0 is on the device's thread, the others on those that follow. */
static void set_lanes(struct served *d)
{
	unsigned nr = d->serve->opts->threads;
	struct ob_loop *loops[OB_THREADS];

	for (unsigned i = 0; i < nr; i++)
		loops[i] = d->serve->threads[(d->thread->number + i) % nr].loop;
	ob_device_set_lanes(d->dev, loops, nr);
}

static int begin_device(struct served *d, void *arg, struct ob_err *err)
{
	int rc;

	set_lanes(d);
	rc = d->serve->link ? ob_worker_begin(d, err) :
		ob_device_begin(&d->dev, d->thread->loop, NULL, err);
	(void)arg;
	if (!rc)
		ob_serve_watch_alarm(d);
	return rc;
}

static int begin_devices(struct serve *s, struct ob_err *err)
{
	int rc = 0;

	while (s->count < s->plan->count && !rc) {
		rc = ob_served_call(&s->devices[s->count], begin_device, NULL,
				    err);
		s->count += !rc;
	}
	return rc;
}

static int listen_device(struct served *d, void *arg, struct ob_err *err)
{
	(void)arg;
	return ob_device_listen(d->dev, err);
}

/* One line, whatever the number of devices; scripts wait for it. */
static char *ready_line(const struct serve *s)
{
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		return NULL;
	fprintf(out, "outboard: ready:");
	for (size_t i = 0; i < s->count; i++) {
		const struct ob_device *dev = s->devices[i].dev;

		fprintf(out, "%s %s (%s) on %s", i ? "," : "", ob_dev_id(dev),
			ob_dev_class(dev)->name, ob_device_address(dev));
	}
	if (fclose(out)) {
		free(line);
		return NULL;
	}
	return line;
}

static int tell_ready(const struct serve *s, struct ob_err *err)
{
	OB_CLEANUP_FREE char *line = ready_line(s);

	if (!line)
		return ob_fail(err, ENOMEM, "out of memory");
	if (s->link)
		return ob_link_ready(s->link, line);
	if (printf("%s\n", line) < 0 || fflush(stdout))
		return ob_fail(err, errno, "standard output: %s",
			       strerror(errno));
	notify(s, "READY=1");
	return 0;
}

static int start(struct serve *s, struct ob_err *err)
{
	int rc;

	ob_raise_fd_limit();
	if ((rc = ob_signals_block(err)))
		return rc;
	rc = s->link ? ob_worker_loop(s, err) :
		       ob_serve_make_loops(s, err);
	if (rc)
		return rc;
	s->signals.asked = signal_came;
	rc = ob_signals_start(s->loop, &s->signals, err);
	if (rc)
		return rc;
	if ((rc = begin_devices(s, err)))
		return rc;
	if ((rc = ob_served_each(s, listen_device, NULL, err)) ||
	    (rc = ob_serve_control_open(s, err)))
		return rc;
	if (s->link && (rc = ob_worker_listen(s, err)))
		return rc;
	return tell_ready(s, err);
}

/* What is in flight owns its device, its drive, its model and the loop. */
static bool abandoned(const struct serve *s)
{
	return s->stopping && s->gone < s->count;
}

static int destroy_device(struct served *d, void *arg, struct ob_err *err)
{
	(void)arg;
	(void)err;
	ob_device_destroy(d->dev);
	return 0;
}

static void finish(struct serve *s)
{
	/* Before the devices, of which its clients may be waiting for something. */
	ob_serve_control_close(s);
	for (size_t i = 0; s->devices && i < s->plan->count; i++)
		if (s->devices[i].dev)
			ob_served_call(&s->devices[i], destroy_device, NULL,
				       NULL);
	if (!s->loop) {
		free(s->devices);
		return;
	}
	if (s->link)
		ob_worker_finish(s);
	ob_timer_cancel(s->loop, &s->patience);
	if (s->signals.watch.ready)
		ob_signals_stop(s->loop, &s->signals);
	ob_threads_end(s->threads, s->opts->threads);
	free(s->devices);
}

static int run(struct serve *s, struct ob_err *err)
{
	int rc = ob_loop_run(s->loop);

	if (rc)
		return ob_fail(err, -rc, "event loop: %s", strerror(-rc));
	if (abandoned(s))
		return ob_fail(err, ETIMEDOUT, "not everything ended in time");
	return 0;
}

/* From here on the outcome is known: the keeper's successors could do no more. */
static void tell_end(struct serve *s, bool started, int rc,
		     const struct ob_err *err)
{
	if (!s->link)
		return;
	if (started)
		ob_link_ended(s->link, rc ? 1 : 0);
	else if (s->begin.why != OB_START_FIRST)
		ob_link_refused(s->link, err->msg);
}

/* Those that have begun may have clients already, with commands in flight. */
static void stop_early(struct serve *s)
{
	ob_serve_stop(s);
	ob_loop_run(s->loop);
}

static int live(struct serve *s, struct ob_err *err)
{
	bool started = false;
	int rc = prepare_devices(s, err);

	if (!rc && s->link)
		rc = ob_worker_wait(s, err);
	if (!rc) {
		rc = start(s, err);
		started = !rc;
	}
	if (started)
		rc = run(s, err);
	else if (s->count && !s->link)
		stop_early(s);
	if (!abandoned(s))
		finish(s);
	tell_end(s, started, rc, err);
	return rc;
}

static int serve(struct serve *s, bool *usage, struct ob_err *err)
{
	struct ob_plan plan;
	int rc = ob_link_open(&s->link, err);

	if (rc)
		return rc;
	s->plan = &plan;
	rc = ob_plan_make(&plan, s->opts, err);
	*usage = rc == -EINVAL;
	if (!rc)
		rc = live(s, err);
	if (abandoned(s))
		return rc;
	ob_plan_finish(&plan);
	ob_link_close(s->link);
	return rc;
}

/* What is abandoned stays: other threads go on with it until the process ends. */
int ob_serve(const struct ob_serve_options *opts, bool *usage,
	     struct ob_err *err)
{
	struct serve *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return ob_fail(err, ENOMEM, "out of memory");
	s->opts = opts;
	ob_log_set_level(opts->log_level);
	ob_slice_short();
	rc = serve(s, usage, err);
	if (!abandoned(s))
		free(s);
	return rc;
}
