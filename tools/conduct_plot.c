// SPDX-License-Identifier: BSD-3-Clause
/*
 * The picture of a VM's migration: that of a device's, with the same four parts of
 * the blackout, since it is the same story.
 */
#include "conduct_view.h"
#include "move.h"

/* Which of ours are in which of theirs (move_phases). */
static const struct {
	enum conduct_mark from, to;
} parts[] = {
	{ CONDUCT_STOPPED, CONDUCT_TAKEN },	/* stop */
	{ CONDUCT_TAKEN, CONDUCT_STREAMS },	/* rest */
	{ CONDUCT_STREAMS, CONDUCT_REPAIRED },	/* load */
	{ CONDUCT_REPAIRED, CONDUCT_RAN },	/* run */
};

static uint64_t between_ns(const struct conductor *c, enum conduct_mark from,
			   enum conduct_mark to)
{
	uint64_t a = c->marks[from], b = c->marks[to];

	return a && b > a ? (b - a) * 1000 : 0;
}

static void fill_result(const struct conductor *c,
			struct ob_migrate_result *result)
{
	*result = (struct ob_migrate_result){
		.outcome = c->marks[CONDUCT_RAN] ? OB_MIGRATE_MOVED
						 : OB_MIGRATE_STAYED,
		.total_ns = between_ns(c, CONDUCT_BEGAN, CONDUCT_ENDED),
		.blackout_ns = between_ns(c, CONDUCT_BEGAN, CONDUCT_STOPPED),
		.downtime_ns = conduct_blackout_us(c) * 1000,
		.device_bytes = c->now.device_sent,
		.ram_bytes = c->now.ram_sent,
	};
	for (unsigned i = 0; i < 4 && move_phases[i].name; i++)
		result->steps[move_phases[i].first].total_ns =
			between_ns(c, parts[i].from, parts[i].to);
}

static void fill_view(const struct conductor *c, struct move_view *view)
{
	uint64_t began = c->marks[CONDUCT_BEGAN];

	move_view_init(view, c->params.verb);
	for (unsigned i = 0; i < c->view->nr_samples; i++) {
		const struct conduct_sample *s = &c->view->samples[i];

		if (s->us >= began && view->nr_samples < MOVE_MAX_SAMPLES)
			view->samples[view->nr_samples++] =
				(struct move_sample){ (s->us - began) * 1000,
						      s->sent, s->left };
	}
}

int conduct_plot(const struct conductor *c, FILE *f, struct ob_err *err)
{
	static struct ob_migrate_result result;
	static struct move_view view;

	fill_result(c, &result);
	fill_view(c, &view);
	return move_plot(f, &result, &view, err);
}
