// SPDX-License-Identifier: BSD-3-Clause
/*
 * The source half: check, log, pre-copy, stop, the rest; then it waits for
 * the destination's word.  Going back is possible from everywhere and is the
 * same everywhere: whatever was begun is ended, every device gets the state
 * that it had, and then the guest goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/migrate.h"

#define SMALLEST_PIECE 4096u
#define PIECES_PER_S 20u	/* on a link with a limit */

static int set_state(struct ob_outgoing *out, unsigned i,
		     enum ob_migrate_step step,
		     enum ob_client_mig_state state, struct ob_err *err)
{
	int r = migrate_step(out->run, step, i, err);

	if (r)
		return r;
	out->devices[i].moved = true;
	r = ob_client_mig_set(out->devices[i].client, state, err);
	if (r)
		migrate_prefix(err, "source", i, out->count);
	return r;
}

static int check_offer(const struct ob_outgoing *out,
		       const struct out_device *dev, struct ob_err *err)
{
	const struct ob_migrate_params *params = out->run->params;

	if (!dev->mig.stop_copy)
		return ob_fail(err, EOPNOTSUPP, "it does not migrate");
	if (out->count > 1 && !dev->mig.p2p && !params->without_p2p)
		return ob_fail(err, EOPNOTSUPP,
			       "one of several devices, it has no P2P states");
	if (params->precopy && params->nr_ram && !dev->mig.logging)
		return ob_fail(err, EOPNOTSUPP,
			       "it has no log of the memory that it writes");
	if (dev->before != OB_CLIENT_RUNNING && dev->before != OB_CLIENT_STOP)
		return ob_fail(err, EBUSY, "it is in %s",
			       ob_client_mig_state_name(dev->before));
	return 0;
}

static int check(struct ob_outgoing *out, unsigned i, struct ob_err *err)
{
	struct out_device *dev = &out->devices[i];
	int r = migrate_step(out->run, OB_MIGRATE_CHECK, i, err);

	if (r)
		return r;
	r = ob_client_mig_info(dev->client, &dev->mig, err);
	if (!r && dev->mig.stop_copy)
		r = ob_client_mig_get(dev->client, &dev->before, err);
	if (!r)
		r = check_offer(out, dev, err);
	if (r)
		migrate_prefix(err, "source", i, out->count);
	return r;
}

static void destroy(struct ob_outgoing *out)
{
	ram_destroy(out);
	if (out->owns_run)
		free(out->run);
	free(out->devices);
	free(out);
}

int outgoing_create(struct migrate_run *run, struct ob_client *const *from,
		    unsigned count, struct ob_outgoing **made,
		    struct ob_err *err)
{
	struct ob_outgoing *out;
	int r;

	if (!count || count > OB_MIGRATE_MAX_DEVICES)
		return ob_fail(err, EINVAL, "%u devices", count);
	out = calloc(1, sizeof(*out));
	if (!out)
		return ob_fail(err, ENOMEM, "out of memory");
	out->run = run;
	out->count = count;
	out->devices = calloc(count, sizeof(*out->devices));
	r = out->devices ? ram_create(out, err)
			 : ob_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; !r && i < count; i++) {
		out->devices[i].client = from[i];
		r = check(out, i, err);
	}
	if (r)
		destroy(out);
	else
		*made = out;
	return r;
}

size_t out_piece(const struct ob_outgoing *out, size_t most)
{
	uint64_t limit = out->run->params->bandwidth / PIECES_PER_S;

	if (!out->run->params->bandwidth || out->guest_stopped ||
	    limit >= most)
		return most;
	return limit > SMALLEST_PIECE ? (size_t)limit : SMALLEST_PIECE;
}

int out_pace(struct ob_outgoing *out, uint64_t bytes, struct ob_err *err)
{
	uint64_t rate = out->run->params->bandwidth, now, due;
	int r = migrate_progress(out->run, err);

	if (r || !rate || out->guest_stopped)
		return r;
	out->paced_bytes += bytes;
	now = migrate_now(out->run);
	due = out->paced_from_ns +
	      (uint64_t)((double)out->paced_bytes * 1e9 / (double)rate);
	return due > now ? migrate_sleep(out->run, due - now, err) : 0;
}

static void count_bytes(struct ob_outgoing *out, enum ob_migrate_step step,
			uint64_t bytes)
{
	struct migrate_run *run = out->run;

	run->result->device_bytes += bytes;
	if (step == OB_MIGRATE_LAST_DATA)
		run->result->last_device_bytes += bytes;
	run->left -= bytes < run->left ? bytes : run->left;
}

int out_send_piece(struct ob_outgoing *out, unsigned i,
		   enum ob_migrate_step step, uint64_t most, uint64_t *sent,
		   struct ob_err *err)
{
	struct ob_client *client = out->devices[i].client;
	size_t len = out_piece(out, ob_client_version(client)
						->max_data_xfer_size);
	const void *data;
	size_t got = 0;
	int r = migrate_step(out->run, step, i, err);

	if (r)
		return r;
	len = most < len ? (size_t)most : len;
	r = migrate_read(out->run, client, len, true, &data, &got, err);
	if (r) {
		migrate_prefix(err, "source", i, out->count);
		return r;
	}
	if (got && (r = out->put(out->put_arg, i, data, got, err)))
		return r;
	*sent = got;
	count_bytes(out, step, got);
	r = out_pace(out, got, err);
	return r ? r : got < len ? OUT_DRY : OUT_MORE;
}

static int start_log(struct ob_outgoing *out, unsigned i, struct ob_err *err)
{
	const struct ob_migrate_params *params = out->run->params;
	int r = migrate_step(out->run, OB_MIGRATE_LOG_START, i, err);

	if (r)
		return r;
	r = ob_client_log_start(out->devices[i].client, out->page,
				params->ram, params->nr_ram, NULL, err);
	/* If the answer is lost it may have begun all the same. */
	out->devices[i].logging = !r || r == -ETIMEDOUT;
	if (r)
		migrate_prefix(err, "source", i, out->count);
	return r;
}

/* A device that stands still, or has no PRE_COPY, sends nothing live. */
static int go_live(struct ob_outgoing *out, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; !r && out->run->params->nr_ram && i < out->count;
	     i++)
		r = start_log(out, i, err);
	for (unsigned i = 0; !r && i < out->count; i++) {
		struct out_device *dev = &out->devices[i];

		if (!dev->mig.pre_copy || dev->before == OB_CLIENT_STOP)
			continue;
		r = set_state(out, i, OB_MIGRATE_PRE_COPY, OB_CLIENT_PRE_COPY,
			      err);
		dev->saving = !r;
	}
	return r ? r : rounds_run(out, err);
}

static int stop_guest(struct ob_outgoing *out, struct ob_err *err)
{
	struct migrate_run *run = out->run;
	int r = migrate_step(run, OB_MIGRATE_STOP_GUEST, 0, err);

	if (r)
		return r;
	run->result->blackout_ns = migrate_now(run);
	out->guest_stopped = true;
	if (!run->ops->stop_guest)
		return 0;
	r = run->ops->stop_guest(run->params->arg, err);
	return r ? migrate_callback_failed(r, "the guest does not stop", err)
		 : 0;
}

static int stop_devices(struct ob_outgoing *out, struct ob_err *err)
{
	bool p2p = out->count > 1 && !out->run->params->without_p2p;
	int r = 0;

	for (unsigned i = 0; !r && p2p && i < out->count; i++)
		if (out->devices[i].before == OB_CLIENT_RUNNING)
			r = set_state(out, i, OB_MIGRATE_P2P,
				      out->devices[i].saving
					      ? OB_CLIENT_PRE_COPY_P2P
					      : OB_CLIENT_RUNNING_P2P, err);
	for (unsigned i = 0; !r && i < out->count; i++)
		r = set_state(out, i, OB_MIGRATE_STOP_COPY,
			      OB_CLIENT_STOP_COPY, err);
	return r;
}

/* All devices stand still before the log is asked for the last time. */
static int send_rest(struct ob_outgoing *out, struct ob_err *err)
{
	bool watched = out->run->ops->progress;
	int r = ram_collect(out, OB_MIGRATE_LAST_REPORT, err);

	if (r || (watched && (r = rounds_left(out, &out->run->left, err))) ||
	    (r = ram_send(out, OB_MIGRATE_LAST_RAM, err)))
		return r;
	for (unsigned i = 0; !r && i < out->count; i++) {
		uint64_t sent;

		do
			r = out_send_piece(out, i, OB_MIGRATE_LAST_DATA,
					   UINT64_MAX, &sent, err);
		while (r == OUT_MORE);
		r = r == OUT_DRY ? 0 : r;
	}
	return r;
}

int outgoing_send_all(struct ob_outgoing *out, ob_migrate_put put,
		      void *put_arg, struct ob_err *err)
{
	struct migrate_run *run = out->run;
	int r = 0;

	out->put = put;
	out->put_arg = put_arg;
	run->result->converged = true;
	if (run->params->precopy)
		r = go_live(out, err);
	if (r || (r = stop_guest(out, err)) ||
	    (r = stop_devices(out, err)) || (r = send_rest(out, err)))
		return r;
	run->left = 0;
	migrate_end_step(run);
	run->result->downtime_ns = run->result->total_ns -
				   run->result->blackout_ns;
	run->result->outcome = OB_MIGRATE_SENT;
	return 0;
}

static int stop_logs(struct ob_outgoing *out, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < out->count; i++) {
		if (!out->devices[i].logging)
			continue;
		r = migrate_step(out->run, OB_MIGRATE_LOG_STOP, i, err);
		if (!r)
			r = ob_client_log_stop(out->devices[i].client, err);
		out->devices[i].logging = r;
	}
	return r;
}

int ob_outgoing_done(struct ob_outgoing *out, struct ob_err *err)
{
	int r = stop_logs(out, err);

	for (unsigned i = 0; !r && i < out->count; i++)
		r = set_state(out, i, OB_MIGRATE_STOP, OB_CLIENT_STOP, err);
	if (r)
		migrate_failed(out->run);
	else
		out->run->result->outcome = OB_MIGRATE_MOVED;
	migrate_end_step(out->run);
	out->decided = !r;
	return r;
}

/*
 * A device that has just given its drive away may need a moment to get it
 * back, and one that did not answer may have arrived all the same: asked a
 * second time it is there, or says why not.
 */
static int go_back(struct ob_outgoing *out, unsigned i, struct ob_err *err)
{
	struct out_device *dev = &out->devices[i];
	struct ob_err ignored = { 0 };
	int r;

	if (!dev->moved && !dev->logging)
		return 0;
	migrate_step(out->run, OB_MIGRATE_GO_BACK, i, &ignored);
	if (dev->logging)
		ob_client_log_stop(dev->client, NULL);
	dev->logging = false;
	if (!dev->moved)
		return 0;
	r = ob_client_mig_set(dev->client, dev->before, err);
	if (r)
		r = ob_client_mig_set(dev->client, dev->before, err);
	dev->moved = r;
	return r;
}

static void note_stuck(struct ob_outgoing *out, unsigned i,
		       struct ob_err *why)
{
	enum ob_client_mig_state state;

	if (!ob_client_mig_get(out->devices[i].client, &state, NULL))
		ob_err_prefix(why, "in %s", ob_client_mig_state_name(state));
	migrate_prefix(why, "source", i, out->count);
	migrate_note(out->run, why);
}

int ob_outgoing_undo(struct ob_outgoing *out, struct ob_err *err)
{
	struct migrate_run *run = out->run;
	struct ob_err ignored = { 0 };
	int result = 0;

	for (unsigned i = 0; i < out->count; i++) {
		struct ob_err why = { 0 };
		int r = go_back(out, i, &why);

		if (!r)
			continue;
		note_stuck(out, i, &why);
		if (!result)
			result = ob_fail(err, -r, "%s", why.msg);
	}
	run->result->outcome = result ? OB_MIGRATE_STUCK : OB_MIGRATE_STAYED;
	if (!result && out->guest_stopped) {
		migrate_step(run, OB_MIGRATE_CONTINUE_GUEST, 0, &ignored);
		if (run->ops->continue_guest)
			run->ops->continue_guest(run->params->arg);
		run->result->downtime_ns = migrate_now(run) -
					   run->result->blackout_ns;
	}
	migrate_end_step(run);
	out->decided = true;
	return result;
}

void ob_outgoing_destroy(struct ob_outgoing *out)
{
	if (!out)
		return;
	if (!out->decided)
		ob_outgoing_undo(out, NULL);
	destroy(out);
}

int ob_outgoing_send(struct ob_client *const *from, unsigned count,
		     const struct ob_migrate_params *params,
		     ob_migrate_put put, void *put_arg,
		     struct ob_outgoing **made,
		     struct ob_migrate_result *result, struct ob_err *err)
{
	struct migrate_run *run = calloc(1, sizeof(*run));
	struct ob_outgoing *out = NULL;
	int r;

	if (!run)
		return ob_fail(err, ENOMEM, "out of memory");
	migrate_run_init(run, params, result);
	r = outgoing_create(run, from, count, &out, err);
	if (!r)
		r = outgoing_send_all(out, put, put_arg, err);
	if (!r) {
		out->owns_run = true;
		*made = out;
		return 0;
	}
	migrate_failed(run);
	ob_outgoing_destroy(out);
	migrate_end_step(run);
	free(run);
	return r;
}
