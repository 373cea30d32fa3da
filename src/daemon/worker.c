// SPDX-License-Identifier: BSD-3-Clause
/*
 * A serving process with a keeper: what it does differently.
 *
 *	wait	everything that is slow and depends on nobody has been done
 *	loop	on rings that outlive it; those of the dead are waited for
 *	ready	told to the keeper, which tells the world
 *	end	asked for by the keeper alone, told to it before the exit
 */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/keep.h"
#include "base/log.h"
#include "base/ring.h"
#include "daemon/control.h"
#include "daemon/serve_impl.h"

/* Rehearsing and waiting */

int ob_worker_wait(struct serve *s, struct ob_err *err)
{
	return ob_link_wait(s->link, &s->begin, err);
}

/* The rings of the dead */

static void past_over(void *arg)
{
	struct ob_past_rings *past = arg;
	struct serve *s = past->serve;

	ob_link_rings_over(s->link, past->generation);
	ob_old_rings_close(past->rings);
	past->rings = NULL;
	s->not_over--;
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

static void client_came(void *arg, const char *name, int fd)
{
	struct serve *s = arg;

	if (s->control && !strcmp(name, OB_CONTROL_NAME))
		ob_control_client(s->control, fd);
	else
		ob_fd_close(&fd);
}

static void status_came(void *arg, const struct ob_keeper_status *status)
{
	struct serve *s = arg;

	if (s->control)
		ob_control_status(s->control, status);
}

int ob_worker_loop(struct serve *s, struct ob_err *err)
{
	const struct ob_link_events events = {
		.client = client_came, .status = status_came,
		.stop = stop_asked, .arg = s,
	};
	int r = ob_loop_create_on(&s->opts->loop, &s->begin.rings, &s->loop,
				  err);

	if (r)
		return r;
	ob_loop_set_keep(s->loop, ob_link_keep(s->link));
	r = ob_link_watch(s->link, s->loop, &events);
	if (r)
		return ob_fail(err, -r, "keeper: %s", strerror(-r));
	return open_past(s, err);
}

int ob_worker_listen(struct serve *s, struct ob_err *err)
{
	(void)s;
	(void)err;
	return 0;
}

void ob_worker_finish(struct serve *s)
{
	for (unsigned i = 0; i < s->nr_past; i++)
		if (s->past[i].rings)
			ob_old_rings_close(s->past[i].rings);
	ob_link_unwatch(s->link);
}
