// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest goes on with its I/O between the steps, until it is paused; what
 * it has in flight then moves with the device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hist.h"
#include "guest_move.h"

static const char *const names[MOVE_NR_STEPS] = {
	"connect", "log", "resuming", "pre-copy", "round", "p2p", "stop",
	"last pages", "data", "loaded", "switched",
};

const char *move_step_name(enum move_step step)
{
	return step < MOVE_NR_STEPS ? names[step] : "never";
}

struct move {
	struct guest *g;
	const struct move_plan *plan;
	struct ob_client *from, *to;
	uint8_t *buf;
	bool paused, refused, cut, no_way_back;
	uint64_t paused_at;
};

/* 1: here the move ends by plan. */
static int step(struct move *m, enum move_step which, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; !m->paused && i < 3 && !r; i++)
		r = guest_turn(m->g, 8, false, err);
	return r ? r : which == m->plan->cancel;
}

static int set(struct ob_client *client, enum ob_client_mig_state state,
	       struct ob_err *err)
{
	return ob_client_mig_set(client, state, err);
}

/* Errors of the destination are what the plan may want. */
static int refused(struct move *m, int r, struct ob_err *err)
{
	if (!r || !m->plan->refuse)
		return r;
	m->refused = true;
	*err = (struct ob_err){ 0 };
	return 1;
}

static int begin(struct move *m, const char *to, struct ob_err *err)
{
	unsigned side = !m->g->ram.side;
	int r = step(m, MOVE_CONNECT, err);

	if (r || (r = ob_client_connect(to, NULL, &m->to, err)))
		return r;
	guest_ram_begin(&m->g->ram);
	if ((r = guest_prepare(m->g, m->to, side, err)) ||
	    (r = step(m, MOVE_LOG, err)) ||
	    (r = ob_client_log_start(m->from, RAM_PAGE, NULL, 0, NULL, err)))
		return r;
	guest_ram_copy(&m->g->ram);
	if ((r = step(m, MOVE_RESUMING, err)))
		return r;
	return refused(m, set(m->to, OB_CLIENT_RESUMING, err), err);
}

/* Reads what there is, at most `limit` messages, and hands it on. */
static int transfer(struct move *m, unsigned limit, bool *more,
		    struct ob_err *err)
{
	size_t got = m->plan->chunk;
	int r = 0;

	while (got == m->plan->chunk && limit-- && !r) {
		r = ob_client_mig_read(m->from, m->buf, m->plan->chunk, &got,
				       err);
		if (!r && got)
			r = refused(m, ob_client_mig_write(m->to, m->buf, got,
							   err), err);
	}
	*more = got == m->plan->chunk;
	return r;
}

static int round_of_pages(struct move *m, struct ob_err *err)
{
	int r = guest_ram_collect(&m->g->ram, m->from, err);

	guest_ram_copy(&m->g->ram);
	return r;
}

static int pre_copy(struct move *m, struct ob_err *err)
{
	bool more;
	int r = step(m, MOVE_PRE_COPY, err);

	if (r || !m->plan->pre_copy)
		return r;
	r = set(m->from, OB_CLIENT_PRE_COPY, err);
	for (unsigned i = 0; i < m->plan->rounds && !r; i++) {
		r = transfer(m, 20, &more, err);
		if (!r)
			r = round_of_pages(m, err);
		if (!r)
			r = step(m, MOVE_ROUND, err);
	}
	return r;
}

static int to_p2p(struct move *m, struct ob_err *err)
{
	int r = step(m, MOVE_P2P, err);

	if (r || !m->plan->p2p)
		return r;
	return set(m->from, m->plan->pre_copy ? OB_CLIENT_PRE_COPY_P2P
					      : OB_CLIENT_RUNNING_P2P, err);
}

/* The guest rings once more before it is paused: R29. */
static int stop(struct move *m, struct ob_err *err)
{
	int r;

	if ((r = step(m, MOVE_STOP, err)) ||
	    (r = guest_turn(m->g, 8, false, err)))
		return r;
	m->paused = true;
	m->paused_at = now_ns();
	if ((r = set(m->from, OB_CLIENT_STOP_COPY, err)) ||
	    (r = step(m, MOVE_LAST_PAGES, err)))
		return r;
	return round_of_pages(m, err);
}

static int finish_data(struct move *m, struct ob_err *err)
{
	bool more = true;
	int r = step(m, MOVE_DATA, err);

	while (!r && more)
		r = transfer(m, 1000, &more, err);
	if (r || (r = step(m, MOVE_LOADED, err)))
		return r;
	r = refused(m, set(m->to, OB_CLIENT_STOP, err), err);
	return r ? r : step(m, MOVE_SWITCHED, err);
}

/* From here on there is no way back: the source is told to stay stopped. */
static int switch_over(struct move *m, struct ob_err *err)
{
	int r;

	m->no_way_back = true;
	if ((r = ob_client_log_stop(m->from, err)) ||
	    (r = set(m->from, OB_CLIENT_STOP, err)) ||
	    (r = set(m->to, OB_CLIENT_RUNNING, err)))
		return r;
	ob_client_destroy(m->from);
	r = guest_attach(m->g, m->to, err);
	m->to = NULL;
	return r;
}

/* The source goes on as if nothing had been. */
static int give_up(struct move *m, struct ob_err *err)
{
	enum ob_client_mig_state state;
	int r = 0;

	if (m->to)
		r = ob_client_reset(m->to, err);
	ob_client_destroy(m->to);
	m->to = NULL;
	if (r || (r = ob_client_mig_get(m->from, &state, err)) ||
	    (r = set(m->from, OB_CLIENT_RUNNING, err)))
		return r;
	ob_client_log_stop(m->from, NULL);	/* it may not have begun */
	return 0;
}

static int go(struct move *m, const char *to, struct ob_err *err)
{
	int r;

	if ((r = begin(m, to, err)) || (r = pre_copy(m, err)) ||
	    (r = to_p2p(m, err)) || (r = stop(m, err)) ||
	    (r = finish_data(m, err)))
		return r;
	return switch_over(m, err);
}

/* What a death in the middle may do to a stream; the connection it may not. */
static bool is_cut(struct move *m, int r)
{
	return r < 0 && m->plan->cut && !m->no_way_back && r != -ECONNRESET &&
	       r != -ENOTCONN && r != -EPROTO && r != -ETIMEDOUT;
}

int move_guest(struct guest *g, const char *to,
	       const struct move_plan *plan, enum move_end *end,
	       uint64_t *downtime_ns, struct ob_err *err)
{
	struct move m = { .g = g, .plan = plan, .from = g->disk->client };
	int r;

	m.buf = malloc(plan->chunk);
	if (!m.buf)
		return ob_fail(err, ENOMEM, "out of memory");
	r = go(&m, to, err);
	if (is_cut(&m, r)) {
		m.cut = true;
		*err = (struct ob_err){ 0 };
		r = 1;
	}
	if (r == 1)
		r = give_up(&m, err);
	else if (r == 0 && plan->refuse)
		r = ob_fail(err, EPROTO, "the destination did not refuse");
	*end = m.cut ? MOVE_CUT : m.refused ? MOVE_REFUSED :
	       g->disk->client == m.from ? MOVE_CANCELLED : MOVE_MOVED;
	*downtime_ns = m.paused ? now_ns() - m.paused_at : 0;
	if (r)
		ob_client_destroy(m.to);
	free(m.buf);
	return r;
}
