// SPDX-License-Identifier: BSD-3-Clause
/*
 * Would this build go on with the devices of the one that serves?  Each is
 * built from the command line and judges a copy of its state; nothing is
 * changed, and nobody but the keeper hears of it.
 *
 * Whoever has done this once does it in half the time when it counts: code and
 * memory have been touched.  So a standby does it with a state of its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/keep.h"
#include "base/log.h"
#include "daemon/serve_impl.h"

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* The plan's options are for the real thing, so this makes its own. */
static int rehearse_all(struct serve *s, struct ob_loop *loop,
			struct ob_rehearsal *sum, struct ob_err *err)
{
	struct ob_plan plan;
	int r = ob_plan_make(&plan, s->opts, err);

	for (size_t i = 0; i < plan.count && !r; i++) {
		struct ob_options *opts = plan.devices[i].opts;
		struct ob_rehearsal one = { 0 };

		plan.devices[i].opts = NULL;
		r = ob_device_rehearse(loop, plan.devices[i].cls, opts,
				       sum ? &one : NULL, err);
		if (!sum)
			continue;
		sum->state_bytes += one.state_bytes;
		sum->in_flight += one.in_flight;
		if (one.oldest_ns > sum->oldest_ns)
			sum->oldest_ns = one.oldest_ns;
	}
	ob_plan_finish(&plan);
	return r;
}

/* sum == NULL: for the practice. */
static int rehearse(struct serve *s, struct ob_rehearsal *sum,
		    struct ob_err *err)
{
	struct ob_loop_params params = s->opts->loop;
	struct ob_loop *loop;
	int r;

	params.engine = OB_LOOP_POOL;
	r = ob_loop_create(&params, &loop, err);
	if (r)
		return r;
	ob_loop_set_keep(loop, ob_link_keep(s->link));
	r = rehearse_all(s, loop, sum, err);
	ob_loop_destroy(loop);
	return r;
}

void ob_worker_rehearse(struct serve *s)
{
	struct ob_rehearsal sum = { 0 };
	uint64_t start = now_us(), gap;
	struct ob_err err = { 0 };
	char text[OB_KEEPER_TEXT];

	if (rehearse(s, &sum, &err)) {
		ob_link_refused(s->link, err.msg);
		return;
	}
	gap = now_us() - start;
	snprintf(text, sizeof(text), "gap about %" PRIu64 " us, state %zu "
		 "bytes, %u drive requests in flight, the oldest for %" PRIu64
		 " us", gap, sum.state_bytes, sum.in_flight,
		 sum.oldest_ns / 1000u);
	ob_link_rehearsed(s->link, gap, text);
}

void ob_worker_warm(struct serve *s)
{
	struct ob_err err = { 0 };

	if (rehearse(s, NULL, &err))
		ob_log(NULL, OB_LOG_DEBUG, "the standby stays cold: %s",
		       err.msg);
}
