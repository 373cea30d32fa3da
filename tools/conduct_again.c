// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream ends with the process that wrote or read it.  That process has a successor,
 * which knows the device's state, the log of pages and who owns the migration
 * (docs/crash-safety.md), so the stream begins anew: a state from its beginning,
 * pages with all that the successor's log says or the living end gave back.  What the
 * reader had of it is dropped when the next one comes.  With a file at the other end
 * (conduct_file.c) it is the same: there is nobody to be heard there.
 *
 * Which end died is not known at once: the living one may be the first to tell, of
 * a pipe that broke.  So the other has a moment to be heard, and a stream begins anew
 * only when both have let go of it and no step of the device is under way, which
 * could cross it.
 */
#include <errno.h>
#include <poll.h>

#include "conduct.h"

#define TRIES 16u			/* of one device: two streams broke 8 times */
#define LAST_WORDS_MS 300
#define AGAIN_MS 30000

/* A moment for the other end to say what it knows; what that was. */
static int hear_other_end(struct conduct_end *end, enum conduct_slot slot,
			  struct ob_err *why)
{
	struct conduct_call *call = &end->calls[slot];
	struct pollfd p = { .events = POLLIN };

	if (!call->due || !call->link)
		return 0;
	p.fd = control_fd(call->link);
	return poll(&p, 1, LAST_WORDS_MS) == 1 ?
		       conduct_look_at_call(end, call, why) : 0;
}

static int stream_broke(struct conductor *c, struct conduct_device *d,
			enum conduct_side side, enum conduct_slot slot, int r,
			struct ob_err *err)
{
	struct ob_err first = *err, why = { 0 };
	int other;

	if (d->again[slot])
		return 0;
	other = hear_other_end(&d->ends[!side], slot, &why);
	if (c->stream && d->tries < TRIES &&
	    (conduct_has_died(r) || conduct_has_died(other))) {
		d->tries++;
		d->again[slot] = true;
		return 0;
	}
	return other ? ob_fail(err, EIO, "%.120s; %.120s", first.msg, why.msg)
		     : r;
}

/* A successor knows of no stream that it could finish; that one begins anew. */
static bool finish_has_no_stream(struct conductor *c, struct conduct_device *d)
{
	struct ob_err why = { 0 };
	int r;

	if (!c->finishing || !c->stream)
		return false;
	r = hear_other_end(&d->ends[CONDUCT_FROM], CONDUCT_PAGES, &why);
	if (r)
		stream_broke(c, d, CONDUCT_FROM, CONDUCT_PAGES, r, &why);
	return d->again[CONDUCT_PAGES];
}

int conduct_broke(struct conductor *c, struct conduct_device *d,
		  enum conduct_side side, enum conduct_slot slot, int r,
		  struct ob_err *err)
{
	if (slot != CONDUCT_STEP)
		return stream_broke(c, d, side, slot, r, err);
	return side == CONDUCT_FROM && finish_has_no_stream(c, d) ? 0 : r;
}

static bool may_begin(const struct conduct_device *d, enum conduct_slot slot)
{
	for (unsigned side = 0; side < 2; side++)
		if (d->ends[side].calls[slot].due ||
		    d->ends[side].calls[CONDUCT_STEP].due)
			return false;
	return d->again[slot];
}

/* It may die again just now. */
static int begin_one(struct conductor *c, struct conduct_device *d,
		     enum conduct_slot slot, struct ob_err *err)
{
	int r;

	d->again[slot] = false;
	r = c->stream(c, d, slot, err);
	if (!conduct_has_died(r) || d->tries >= TRIES)
		return r;
	d->tries++;
	d->again[slot] = true;
	return 0;
}

int conduct_begin_again(struct conductor *c, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices; i++)
		for (unsigned slot = 0; slot < CONDUCT_STEP && !r; slot++) {
			struct conduct_device *d = &c->devices[i];

			if (may_begin(d, slot))
				r = begin_one(c, d, slot, err);
		}
	return r;
}

int conduct_pages_again(struct conductor *c, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = c->stream(c, &c->devices[i], CONDUCT_PAGES, err);
	for (unsigned side = 0; side < 2 && !r; side++)
		r = conduct_finish(c, side, CONDUCT_PAGES, AGAIN_MS, err);
	return r;
}
