// SPDX-License-Identifier: BSD-3-Clause
/*
 * delay:MICROSECONDS:DRIVE holds every request that long before the inner
 * drive sees it; delay:hang:DRIVE holds it until it is cancelled.  For tests
 * of slow and frozen drives.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/wrap.h"

#define MAX_DELAY_US (3600ull * 1000 * 1000)

struct delay_drive {
	struct ob_drive drive;
	bool hang;
	uint64_t ns;
};

struct delay_request {
	struct ob_timer timer;
	bool held;
	struct ob_wrap_request pass;
};

static int parse_delay(struct delay_drive *delay, const char *text, size_t len,
		       struct ob_err *err)
{
	unsigned long long us;
	char *end;

	if (len == 4 && !memcmp(text, "hang", 4)) {
		delay->hang = true;
		return 0;
	}
	errno = 0;
	us = strtoull(text, &end, 10);
	if (!len || end != text + len || *text < '0' || *text > '9' || errno ||
	    us > MAX_DELAY_US)
		return ob_drive_fail(&delay->drive, err, EINVAL,
				     "bad delay \"%.*s\": expected 0 to %llu microseconds, or hang",
				     (int)len, text, MAX_DELAY_US);
	delay->ns = us * 1000;
	return 0;
}

static int delay_open(struct ob_drive *drive, const char *arg, unsigned flags,
		      struct ob_err *err)
{
	struct delay_drive *delay = (struct delay_drive *)drive;
	size_t len;
	int r;

	if ((r = ob_wrap_split(drive, arg, &len, err)) ||
	    (r = parse_delay(delay, arg, len, err)))
		return r;
	return ob_wrap_open(drive, arg + len + 1, flags,
			    offsetof(struct delay_request, pass), err);
}

static void delay_over(struct ob_timer *timer)
{
	struct delay_request *part = container_of(timer, struct delay_request,
						  timer);

	part->held = false;
	ob_wrap_pass(part->pass.drive, &part->pass, part->pass.outer);
}

static void delay_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	struct delay_drive *delay = (struct delay_drive *)drive;
	struct delay_request *part = (struct delay_request *)req->priv;

	part->held = true;
	part->pass.drive = drive;
	part->pass.outer = req;
	part->timer = (struct ob_timer){ .fire = delay_over };
	if (!delay->hang)
		ob_timer_arm(drive->loop, &part->timer, delay->ns);
}

static void delay_cancel(struct ob_drive *drive, struct ob_block_request *req)
{
	struct delay_drive *delay = (struct delay_drive *)drive;
	struct delay_request *part = (struct delay_request *)req->priv;

	if (!part->held) {
		ob_drive_cancel(drive->inner, &part->pass.inner);
		return;
	}
	if (!delay->hang)
		ob_timer_cancel(drive->loop, &part->timer);
	ob_drive_done(drive, req, -ECANCELED);
}

const struct ob_drive_type ob_drive_delay = {
	.size = sizeof(struct ob_drive_type),
	.abi = OB_DRIVE_ABI,
	.name = "delay",
	.syntax = "delay:MICROSECONDS|hang:DRIVE",
	.summary = "holds every request for a time, or until it is cancelled",
	.instance_size = sizeof(struct delay_drive),
	.open = delay_open,
	.close = ob_wrap_close,
	.submit = delay_submit,
	.cancel = delay_cancel,
	.refresh = ob_wrap_refresh,
};
