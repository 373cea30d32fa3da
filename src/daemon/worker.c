// SPDX-License-Identifier: BSD-3-Clause
/*
 * A serving process with a keeper: what it does differently.
 *
 *	wait	everything that is slow and depends on nobody has been done
 *	loop	each on rings that outlive it; those of the dead are waited for
 *	begin	each device takes over what its predecessor left
 *	listen	the keeper accepts, and hands clients over
 *	ready	told to the keeper, which tells the world
 *	end	asked for by the keeper alone, told to it before the exit
 *
 * Rehearsals are in rehearse.c.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/fd.h"
#include "base/keep.h"
#include "base/linger.h"
#include "base/log.h"
#include "base/ring.h"
#include "daemon/control.h"
#include "daemon/limits.h"
#include "daemon/serve_impl.h"

#define TRIES 3u	/* to take a device over; then it begins anew */

/* There is time: for a rehearsal, or for the practice. */
static int use_time(struct serve *s, struct ob_err *err)
{
	/* Before there are threads. */
	int r = ob_signals_block(err);

	if (!r)
		r = ob_serve_make_loops(s, err);
	if (r)
		return r;
	ob_keep_memory();
	for (size_t i = 0; i < s->plan->count; i++)
		ob_device_get_warm(s->devices[i].dev);
	if (s->begin.rehearse)
		ob_worker_rehearse(s);
	else
		ob_worker_warm(s);
	return 0;
}

int ob_worker_wait(struct serve *s, struct ob_err *err)
{
	int r;

	ob_linger();
	r = ob_link_wait(s->link, &s->begin, err);
	while (!r && (s->begin.rehearse || s->begin.warm)) {
		r = use_time(s, err);
		if (!r)
			r = ob_link_wait(s->link, &s->begin, err);
	}
	return r;
}

/* The rings of the dead */

static void old_rings_over(struct ob_post *post)
{
	struct served *d = (struct served *)
		((char *)post - offsetof(struct served, over));

	ob_device_old_rings_over(d->dev);
}

/* Once, when the last of them is.  Nobody waits: there may be many, and busy. */
static void all_over(struct serve *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct served *d = &s->devices[i];

		d->over.run = old_rings_over;
		ob_served_tell(d, d->thread->loop, &d->over);
	}
}

/* A dead worker's are over when those of its last thread are. */
static bool has_rings(const struct serve *s, uint64_t generation)
{
	for (unsigned i = 0; i < s->nr_past; i++)
		if (s->past[i].rings && s->past[i].generation == generation)
			return true;
	return false;
}

static void past_over(void *arg)
{
	struct ob_past_rings *past = arg;
	struct serve *s = past->serve;

	ob_old_rings_close(past->rings);
	past->rings = NULL;
	if (!has_rings(s, past->generation))
		ob_link_rings_over(s->link, past->generation);
	if (--s->not_over == 0)
		all_over(s);
}

static int open_past(struct serve *s, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < s->begin.nr_old; i++) {
		struct ob_past_rings *past = &s->past[i];

		past->serve = s;
		past->generation = s->begin.old[i].generation;
		if (!r)
			r = ob_old_rings_open(s->loop, &s->begin.old[i],
					      past_over, past, &past->rings,
					      err);
		ob_rings_close(&s->begin.old[i]);
	}
	s->nr_past = s->not_over = s->begin.nr_old;
	return r;
}

/* The keeper's words */

static void stop_asked(void *arg, bool now)
{
	struct serve *s = arg;

	if (!s->stopping)
		ob_serve_stop(s);
	else if (now)
		ob_serve_give_up(s);
}

/* The name is the same as long as it listens. */
static struct served *device_of(struct serve *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *own = ob_device_listen_name(s->devices[i].dev);

		if (own && !strcmp(own, name))
			return &s->devices[i];
	}
	return NULL;
}

struct newcomer {
	unsigned place;
	int fd;
};

static int take_client(struct served *d, void *arg, struct ob_err *err)
{
	const struct newcomer *who = arg;

	(void)err;
	ob_device_client(d->dev, who->place, who->fd);
	return 0;
}

static void close_client(struct serve *s, const char *name, unsigned place,
			 int fd)
{
	ob_fd_close(&fd);
	ob_keep_drop_new(s->loop, name, place);
}

static void client_came(void *arg, const char *name, unsigned place, int fd)
{
	struct serve *s = arg;
	struct served *d = device_of(s, name);
	struct newcomer who = { place, fd };

	if (s->stopping)
		close_client(s, name, place, fd);
	else if (d)
		ob_served_call(d, take_client, &who, NULL);
	else if (s->control && !strcmp(name, OB_CONTROL_NAME))
		ob_control_client(s->control, place, fd);
	else
		close_client(s, name, place, fd);
}

static void status_came(void *arg, const struct ob_keeper_status *status)
{
	struct serve *s = arg;

	if (s->control)
		ob_control_status(s->control, status);
}

static int copy(struct served *d, void *arg, struct ob_err *err)
{
	(void)arg;
	return ob_device_copy(d->dev, err);
}

static void copy_asked(void *arg, uint64_t value)
{
	struct serve *s = arg;
	struct ob_err err = { 0 };

	if (ob_served_each(s, copy, NULL, &err))
		ob_log(NULL, OB_LOG_ERROR, "no copy for a rehearsal: %s",
		       err.msg);
	else
		ob_link_copied(s->link, value);
}

/* Of a thread that is not the first. */
struct linked {
	struct ob_link *link;
	struct ob_thread *thread;
};

static void join(void *arg)
{
	const struct linked *to = arg;

	ob_loop_set_keep(to->thread->loop, ob_link_keep(to->link));
	ob_link_pulse(to->link, to->thread->number, to->thread->loop);
}

static void leave(void *arg)
{
	const struct linked *to = arg;

	ob_link_no_pulse(to->link, to->thread->number, to->thread->loop);
}

static void call_others(struct serve *s, void (*fn)(void *arg))
{
	for (unsigned i = 1; i < s->opts->threads; i++) {
		struct linked to = { s->link, &s->threads[i] };

		if (to.thread->loop)
			ob_loop_call(to.thread->loop, fn, &to);
	}
}

int ob_worker_loop(struct serve *s, struct ob_err *err)
{
	const struct ob_link_events events = {
		.client = client_came, .copy = copy_asked,
		.status = status_came, .stop = stop_asked, .arg = s,
	};
	int r = ob_serve_make_loops(s, err);

	if (r)
		return r;
	call_others(s, join);
	ob_loop_set_keep(s->loop, ob_link_keep(s->link));
	r = ob_link_watch(s->link, s->loop, &events);
	if (r)
		return ob_fail(err, -r, "keeper: %s", strerror(-r));
	return open_past(s, err);
}

int ob_worker_begin(struct served *d, struct ob_err *err)
{
	struct serve *s = d->serve;
	const struct ob_old_rings *rings[OB_LINK_RINGS];
	struct ob_past past = {
		.rings = rings, .signal = s->begin.signal,
		.generation = s->begin.generation,
		.last_try = s->begin.why == OB_START_DEATH &&
			s->begin.deaths >= TRIES,
	};

	for (unsigned i = 0; i < s->nr_past; i++)
		if (s->past[i].rings)
			rings[past.nr_rings++] = s->past[i].rings;
	return ob_device_begin(&d->dev, d->thread->loop, &past, err);
}

int ob_worker_listen(struct serve *s, struct ob_err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *name = ob_device_listen_name(s->devices[i].dev);
		int r = name ? ob_link_accept(s->link, name, true) : 0;

		if (r)
			return ob_fail(err, -r, "%s: %s", name, strerror(-r));
	}
	return 0;
}

void ob_worker_finish(struct serve *s)
{
	for (unsigned i = 0; i < s->nr_past; i++)
		if (s->past[i].rings)
			ob_old_rings_close(s->past[i].rings);
	call_others(s, leave);
	ob_link_unwatch(s->link);
}
