// SPDX-License-Identifier: BSD-3-Clause
/* What the control socket can ask of this process, and of its keeper. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/control.h"
#include "daemon/notify.h"
#include "daemon/serve_impl.h"
#include "server/operator.h"

static struct ob_device *device_number(void *arg, size_t i)
{
	const struct serve *s = arg;

	return i < s->count ? s->devices[i].dev : NULL;
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

static void alarm_changed(void *arg, struct ob_device *dev, const char *alarm)
{
	struct serve *s = arg;
	char text[256] = "";
	int rc;

	if (alarm)
		snprintf(text, sizeof(text), "%s: %s", ob_dev_id(dev), alarm);
	rc = s->link ? ob_link_has_to_say(s->link, text) : ob_notify_status(text);
	if (rc)
		ob_log(NULL, OB_LOG_WARN, "the service manager: %s",
		       strerror(-rc));
}

void ob_serve_watch_alarms(struct serve *s)
{
	for (size_t i = 0; i < s->count; i++)
		ob_operator_on_alarm(s->devices[i].dev, alarm_changed, s);
}

int ob_serve_control_open(struct serve *s, struct ob_err *err)
{
	struct ob_control_host host = { .device = device_number, .arg = s };

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
