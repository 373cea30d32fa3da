// SPDX-License-Identifier: BSD-3-Clause
/*
 * The destination is made whole and runs.  Until "cont" is sent the source can go on;
 * after it, only what the destination says counts.
 */
#include <errno.h>
#include <string.h>

#include "conduct.h"

#define RUN_MS 10000
#define APPLY_MS 10000
#define APPLY_TRIES 3u

int conduct_put(struct conductor *c, struct ob_err *err)
{
	struct ob_pci pci;
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices && !r; i++) {
		struct conduct_device *d = &c->devices[i];

		r = ob_pci_find(c->qmp[CONDUCT_TO], d->ends[CONDUCT_TO].qdev,
				&pci, err);
		if (!r)
			r = ob_repair_put(&pci, &d->repair, err);
		if (r)
			ob_err_prefix(err, "%s", d->ends[CONDUCT_TO].qdev);
	}
	conduct_mark(c, CONDUCT_REPAIRED);
	return r;
}

/* Those that are under way come to their end, well or not. */
static void let_steps_end(struct conductor *c)
{
	struct ob_err ignored = { 0 };

	for (unsigned i = 0; i < c->nr_devices; i++)
		conduct_finish(c, CONDUCT_TO, CONDUCT_STEP, APPLY_MS, &ignored);
}

/* Who was to apply pages keeps none: they went with the process that kept them. */
static bool has_lost_pages(struct conductor *c)
{
	bool lost = false;

	conduct_ask_servers(c, CONDUCT_TO);
	for (unsigned i = 0; i < c->nr_devices; i++) {
		const struct conduct_end *end = &c->devices[i].ends[CONDUCT_TO];

		lost |= !end->calls[CONDUCT_STEP].result && !end->keeps_pages;
	}
	return lost;
}

/* Again from the beginning does no harm: both VMs stand still. */
static int apply(struct conductor *c, struct ob_err *err)
{
	int r = conduct_step(c, CONDUCT_TO, "pages.apply", NULL, err);

	for (unsigned i = 0; i < APPLY_TRIES && r && r != -EINTR; i++) {
		let_steps_end(c);
		if (!has_lost_pages(c))
			break;
		r = conduct_pages_again(c, err);
		if (!r)
			r = conduct_step(c, CONDUCT_TO, "pages.apply", NULL,
					 err);
	}
	return r;
}

int conduct_repair(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "repair");
	r = apply(c, err);
	c->stream = NULL;
	conduct_mark(c, CONDUCT_APPLIED);
	return r ? r : conduct_put(c, err);
}

/* They take the drives, so one that fails leaves others that have theirs. */
static int resume_all(struct conductor *c, struct ob_err *err)
{
	int r;

	for (unsigned i = 0; i < c->nr_devices; i++)
		c->devices[i].ends[CONDUCT_TO].runs = true;
	r = conduct_step(c, CONDUCT_TO, "device.resume", NULL, err);
	conduct_mark(c, CONDUCT_RESUMED);
	return r;
}

/* 1: it runs, 0: it does not, or nobody knows. */
static int does_it_run(struct conductor *c, struct ob_err *err)
{
	json_t *status = NULL;
	int r = conduct_reach(c, CONDUCT_TO, err);
	bool runs;

	if (!r)
		r = ob_qmp_call(c->qmp[CONDUCT_TO], "query-status", NULL,
				&status, err);
	runs = json_is_true(json_object_get(status, "running"));

	json_decref(status);
	return r ? r : runs;
}

/*
 * The answer may be lost.  Who cannot be asked is taken for running: said_cont
 * stays, and the source does not go on.
 */
static int let_it_run(struct conductor *c, struct ob_err *err)
{
	struct ob_err lost = { 0 };
	int r, runs;

	c->said_cont = true;
	r = ob_qmp_call(c->qmp[CONDUCT_TO], "cont", NULL, NULL, err);
	if (!r)
		return 0;
	runs = does_it_run(c, &lost);
	if (runs == 1)
		return 0;
	if (runs == 0)
		c->said_cont = false;
	return r;
}

/* The event has the time; it comes with the answer or soon. */
static int until_it_runs(struct conductor *c, struct ob_err *err)
{
	uint64_t end = conduct_now() + RUN_MS * 1000;
	int r = conduct_turn(c, 0, err);

	while (!r && !c->marks[CONDUCT_RAN] && conduct_now() < end)
		r = conduct_turn(c, 10, err);
	if (!c->marks[CONDUCT_RAN])
		conduct_mark(c, CONDUCT_RAN);
	conduct_mark(c, CONDUCT_ENDED);
	return 0;		/* it runs, whatever else there is to say */
}

int conduct_run(struct conductor *c, struct ob_err *err)
{
	struct ob_err ignored = { 0 };
	int r;

	conduct_phase(c, "run");
	r = resume_all(c, err);
	if (!r)
		r = let_it_run(c, err);
	return r ? r : until_it_runs(c, &ignored);
}
