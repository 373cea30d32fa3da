// SPDX-License-Identifier: BSD-3-Clause
/* Timers and deferred callbacks.  There are few: lists do. */
#include <base/loop_private.h>

#include <stddef.h>

static void unlink_timer(struct ob_timer *timer)
{
	if (!timer->pprev)
		return;
	*timer->pprev = timer->next;
	if (timer->next)
		timer->next->pprev = timer->pprev;
	timer->pprev = NULL;
}

void ob_timer_arm(struct ob_loop *loop, struct ob_timer *timer,
		  uint64_t delay_ns)
{
	struct ob_timer **at = &loop->timers;

	unlink_timer(timer);
	if (__builtin_add_overflow(ob_loop_now(loop), delay_ns, &timer->due))
		timer->due = UINT64_MAX;
	while (*at && (*at)->due <= timer->due)
		at = &(*at)->next;
	timer->next = *at;
	if (timer->next)
		timer->next->pprev = &timer->next;
	timer->pprev = at;
	*at = timer;
}

void ob_timer_cancel(struct ob_loop *loop, struct ob_timer *timer)
{
	(void)loop;
	unlink_timer(timer);
}

bool ob_timers_fire(struct ob_loop *loop)
{
	struct ob_timer *timer;
	bool any = false;
	uint64_t now;

	if (!loop->timers)
		return false;
	now = ob_loop_now(loop);
	while ((timer = loop->timers) && timer->due <= now) {
		unlink_timer(timer);
		timer->fire(timer);
		any = true;
	}
	return any;
}

int64_t ob_timers_left(const struct ob_loop *loop)
{
	uint64_t now, left;

	if (!loop->timers)
		return -1;
	now = ob_loop_now(loop);
	if (loop->timers->due <= now)
		return 0;
	left = loop->timers->due - now;
	return left > INT64_MAX ? INT64_MAX : (int64_t)left;
}

void ob_defer(struct ob_loop *loop, struct ob_deferred *deferred)
{
	if (deferred->queued)
		return;
	deferred->queued = true;
	deferred->next = NULL;
	*loop->deferred_tail = deferred;
	loop->deferred_tail = &deferred->next;
}

static bool take_out(struct ob_deferred **at, struct ob_deferred *deferred)
{
	while (*at && *at != deferred)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = deferred->next;
	return true;
}

void ob_defer_cancel(struct ob_loop *loop, struct ob_deferred *deferred)
{
	if (!deferred->queued)
		return;
	deferred->queued = false;
	if (take_out(&loop->running, deferred))
		return;
	take_out(&loop->deferred, deferred);
	loop->deferred_tail = &loop->deferred;
	while (*loop->deferred_tail)
		loop->deferred_tail = &(*loop->deferred_tail)->next;
}

/* Only those queued before this turn: one that queues itself does not spin. */
bool ob_deferred_run(struct ob_loop *loop)
{
	struct ob_deferred *deferred;
	bool any = loop->deferred;

	loop->running = loop->deferred;
	loop->deferred = NULL;
	loop->deferred_tail = &loop->deferred;
	while ((deferred = loop->running)) {
		loop->running = deferred->next;
		deferred->queued = false;
		deferred->run(deferred);
	}
	return any;
}
