// SPDX-License-Identifier: BSD-3-Clause
/* What the control socket can ask of this process, and of its keeper. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/control.h"
#include "daemon/notify.h"
#include "daemon/serve_impl.h"
#include "server/operator.h"

#define ALARM_TEXT 256

static struct ob_device *device_number(void *arg, size_t i)
{
	const struct serve *s = arg;

	return i < s->count ? s->devices[i].dev : NULL;
}

struct control_errand {
	void (*fn)(void *arg);
	void *arg;
};

static int run_errand(struct served *d, void *arg, struct ob_err *err)
{
	const struct control_errand *errand = arg;

	(void)d;
	(void)err;
	errand->fn(errand->arg);
	return 0;
}

static void call_device(void *arg, size_t i, void (*fn)(void *fn_arg),
			void *fn_arg)
{
	struct serve *s = arg;
	struct control_errand errand = { fn, fn_arg };

	ob_served_call(&s->devices[i], run_errand, &errand, NULL);
}

struct control_round {
	void (*fn)(void *arg, size_t i, struct ob_device *dev);
	void *arg;
};

static int visit(struct served *d, void *arg, struct ob_err *err)
{
	const struct control_round *round = arg;

	(void)err;
	round->fn(round->arg, (size_t)(d - d->serve->devices), d->dev);
	return 0;
}

static void call_each(void *arg,
		      void (*fn)(void *fn_arg, size_t i, struct ob_device *dev),
		      void *fn_arg)
{
	struct control_round round = { fn, fn_arg };

	ob_served_each(arg, visit, &round, NULL);
}

static int ask_status(void *arg)
{
	return ob_link_ask_status(((struct serve *)arg)->link);
}

static int upgrade(void *arg, int binary, unsigned flags, int32_t ticket)
{
	return ob_link_upgrade(((struct serve *)arg)->link, binary, flags,
			       ticket);
}

static int let_accept(void *arg)
{
	return ob_link_accept(((struct serve *)arg)->link, OB_CONTROL_NAME,
			      true);
}

/* The device's alarm as a line, or "". */
static int get_alarm(struct served *d, void *arg, struct ob_err *err)
{
	struct ob_operator_status status;
	char *text = arg;

	(void)err;
	ob_operator_status(d->dev, &status);
	if (status.alarm)
		snprintf(text, ALARM_TEXT, "%s: %s", ob_dev_id(d->dev),
			 status.alarm);
	return 0;
}

static void tell_alarm(struct ob_post *post)
{
	struct served *d = (struct served *)
		((char *)post - offsetof(struct served, alarm));
	struct serve *s = d->serve;
	char text[ALARM_TEXT] = "";
	int rc;

	ob_served_call(d, get_alarm, text, NULL);
	rc = s->link ? ob_link_has_to_say(s->link, text) : ob_notify_status(text);
	if (rc)
		ob_log(NULL, OB_LOG_WARN, "the service manager: %s",
		       strerror(-rc));
}

/* On the device's thread. */
static void alarm_changed(void *arg, struct ob_device *dev, const char *alarm)
{
	struct served *d = arg;

	(void)dev;
	(void)alarm;
	ob_loop_post(d->serve->loop, &d->alarm);
}

void ob_serve_watch_alarm(struct served *d)
{
	d->alarm.run = tell_alarm;
	ob_operator_on_alarm(d->dev, alarm_changed, d);
}

int ob_serve_control_open(struct serve *s, struct ob_err *err)
{
	struct ob_control_host host = { .device = device_number,
				       .call = call_device,
				       .each = call_each, .arg = s };

	if (!s->opts->control)
		return 0;
	if (s->link) {
		host.ask_status = ask_status;
		host.upgrade = upgrade;
		host.accept = let_accept;
	}
	return ob_control_create(s->loop, s->opts->control, &host,
				 &s->control, err);
}

void ob_serve_control_close(struct serve *s)
{
	ob_control_destroy(s->control, s->stopping);
	s->control = NULL;
}
