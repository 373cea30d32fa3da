// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a serving process.
 *
 *	plan	the words of the command line are checked
 *	create	loop, signals, devices with their drives
 *	listen	one socket per device; the ready line and READY=1
 *	run	the loop, until a signal asks for the end
 *	stop	every device stops listening, drops its client and lets what
 *		is in flight end; a drive that hangs is not waited for longer
 *		than DRAIN_SECONDS, nor past a second signal
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/notify.h"
#include "daemon/plan.h"
#include "daemon/serve.h"
#include "daemon/signals.h"
#include "server/server.h"

#define DRAIN_SECONDS 5

struct serve;

struct served {
	struct serve *serve;
	struct ob_device *dev;
	bool gone;
};

struct serve {
	struct ob_loop *loop;
	struct ob_plan *plan;
	struct served *devices;
	size_t count;		/* devices that exist */
	size_t gone;		/* devices without anything in flight */
	struct ob_signals signals;
	struct ob_control *control;
	struct ob_timer patience;
	bool stopping;
};

/* Every client brings descriptors of memory and interrupts with it. */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		ob_log(NULL, OB_LOG_WARN, "limit of open files stays: %s",
		       strerror(errno));
}

static void notify(const char *state)
{
	int rc = ob_notify(state);

	if (rc)
		ob_log(NULL, OB_LOG_WARN, "NOTIFY_SOCKET: %s", strerror(-rc));
}

/* Stopping */

static void device_gone(void *arg)
{
	struct served *d = arg;

	d->gone = true;
	if (++d->serve->gone == d->serve->count)
		ob_loop_stop(d->serve->loop);
}

static void give_up(struct serve *s)
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
	give_up((struct serve *)((char *)timer -
				 offsetof(struct serve, patience)));
}

static void stop_asked(struct serve *s, int signo)
{
	if (s->stopping) {
		give_up(s);
		return;
	}
	s->stopping = true;
	ob_log(NULL, OB_LOG_INFO, "stopping: %s", strsignal(signo));
	notify("STOPPING=1");
	s->patience.fire = patience_ended;
	ob_timer_arm(s->loop, &s->patience, DRAIN_SECONDS * 1000000000ull);
	for (size_t i = 0; i < s->count; i++)
		ob_device_shutdown(s->devices[i].dev, device_gone,
				   &s->devices[i]);
}

static void refresh_all(struct serve *s)
{
	for (size_t i = 0; i < s->count && !s->stopping; i++)
		ob_device_refresh(s->devices[i].dev);
}

static void signal_came(struct ob_signals *signals, int signo)
{
	struct serve *s = (struct serve *)
		((char *)signals - offsetof(struct serve, signals));

	if (signo == SIGUSR1)
		refresh_all(s);
	else
		stop_asked(s, signo);
}

/* Starting */

static int create_devices(struct serve *s, struct ob_err *err)
{
	struct ob_plan *plan = s->plan;

	s->devices = calloc(plan->count, sizeof(*s->devices));
	if (!s->devices)
		return ob_fail(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < plan->count; i++) {
		struct ob_planned *p = &plan->devices[i];
		struct ob_options *opts = p->opts;
		struct served *d = &s->devices[i];
		int rc;

		p->opts = NULL;
		d->serve = s;
		rc = ob_device_create(s->loop, p->cls, opts, &d->dev, err);
		if (rc)
			return rc;
		s->count++;
	}
	return 0;
}

static int listen_all(struct serve *s, struct ob_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		struct ob_device *dev = s->devices[i].dev;
		int rc = ob_device_listen(dev, err);

		if (rc)
			return rc;
	}
	return 0;
}

/* One line, whatever the number of devices; scripts wait for it. */
static int print_ready(const struct serve *s)
{
	printf("outboard: ready:");
	for (size_t i = 0; i < s->count; i++) {
		const struct ob_device *dev = s->devices[i].dev;

		printf("%s %s (%s) on %s", i ? "," : "", ob_dev_id(dev),
		       ob_dev_class(dev)->name, ob_device_address(dev));
	}
	printf("\n");
	return fflush(stdout) ? -errno : 0;
}

static struct ob_device *device_number(void *arg, size_t i)
{
	const struct serve *s = arg;

	return i < s->count ? s->devices[i].dev : NULL;
}

static int open_control(struct serve *s, const char *path, struct ob_err *err)
{
	const struct ob_control_host host = {
		.device = device_number, .arg = s,
	};

	return path ? ob_control_create(s->loop, path, &host, &s->control, err)
		    : 0;
}

static int start(struct serve *s, const struct ob_serve_options *opts,
		 struct ob_err *err)
{
	int rc;

	raise_fd_limit();
	if ((rc = ob_signals_block(err)) ||
	    (rc = ob_loop_create(&opts->loop, &s->loop, err)))
		return rc;
	s->signals.asked = signal_came;
	rc = ob_signals_start(s->loop, &s->signals, err);
	if (rc)
		return rc;
	if ((rc = create_devices(s, err)) || (rc = listen_all(s, err)) ||
	    (rc = open_control(s, opts->control, err)))
		return rc;
	rc = print_ready(s);
	if (rc)
		return ob_fail(err, -rc, "standard output: %s", strerror(-rc));
	notify("READY=1");
	return 0;
}

/* What is in flight owns its device, its drive, its model and the loop. */
static bool abandoned(const struct serve *s)
{
	return s->stopping && s->gone < s->count;
}

static void finish(struct serve *s)
{
	for (size_t i = 0; i < s->count; i++)
		ob_device_destroy(s->devices[i].dev);
	free(s->devices);
	if (!s->loop)
		return;
	ob_control_destroy(s->control, true);
	ob_timer_cancel(s->loop, &s->patience);
	if (s->signals.watch.ready)
		ob_signals_stop(s->loop, &s->signals);
	ob_loop_destroy(s->loop);
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

int ob_serve(const struct ob_serve_options *opts, bool *usage,
	     struct ob_err *err)
{
	struct ob_plan plan;
	struct serve s = { .plan = &plan };
	int rc;

	ob_log_set_level(opts->log_level);
	rc = ob_plan_make(&plan, opts, err);
	*usage = rc == -EINVAL;
	if (!rc)
		rc = start(&s, opts, err);
	if (!rc)
		rc = run(&s, err);
	if (abandoned(&s))
		return rc;
	finish(&s);
	ob_plan_finish(&plan);
	return rc;
}
