// SPDX-License-Identifier: BSD-3-Clause
/*
 * Both halves together.  The order at the end is what keeps a device from
 * running twice: the destination has judged the state, then the source says
 * that it stands still for good, then the destination runs.  On the way back
 * likewise: the destination is reset, which frees its drives, before the
 * source asks for them again.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/client.h"
#include "client/migrate.h"

static int move(struct ob_outgoing *out, struct ob_incoming *in,
		struct ob_err *err)
{
	int r = outgoing_send_all(out, ob_incoming_put, in, err);

	if (r || (r = ob_incoming_load(in, err)) ||
	    (r = ob_outgoing_done(out, err)))
		return r;
	return ob_incoming_run(in, err);
}

static void moved(struct migrate_run *run)
{
	struct ob_err ignored = { 0 };

	run->result->downtime_ns = migrate_now(run) -
				   run->result->blackout_ns;
	migrate_step(run, OB_MIGRATE_DONE, 0, &ignored);
	migrate_end_step(run);
}

static int migrate(struct migrate_run *run, struct ob_client *const *from,
		   struct ob_client *const *to, unsigned count,
		   struct ob_err *err)
{
	struct ob_outgoing *out = NULL;
	struct ob_incoming *in = NULL;
	int r = outgoing_create(run, from, count, &out, err);

	if (!r)
		r = incoming_begin(run, to, count, &in, err);
	if (!r)
		r = move(out, in, err);
	if (r)
		migrate_failed(run);
	ob_incoming_destroy(in, NULL);
	if (r && out)
		ob_outgoing_undo(out, NULL);
	ob_outgoing_destroy(out);
	if (!r)
		moved(run);
	migrate_end_step(run);
	return r;
}

int ob_migrate(struct ob_client *const *from, struct ob_client *const *to,
	       unsigned count, const struct ob_migrate_params *params,
	       struct ob_migrate_result *result, struct ob_err *err)
{
	struct migrate_run *run = calloc(1, sizeof(*run));
	int r;

	if (!run)
		return ob_fail(err, ENOMEM, "out of memory");
	migrate_run_init(run, params, result);
	r = migrate(run, from, to, count, err);
	free(run);
	return r;
}
