// SPDX-License-Identifier: BSD-3-Clause
/*
 * The destination half.  A device is RESUMING while bytes come in; the arc
 * to STOP is where it judges them; the arc to RUNNING is where it takes its
 * drive.  What does not get there is reset, so that it can be tried again.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "client/client.h"
#include "client/migrate.h"

#define PULL_BYTES (1u << 20)

struct in_device {
	struct ob_client *client;
	bool touched;			/* a state was asked for */
	bool may_run;			/* it was asked to */
	bool p2p;
};

struct ob_incoming {
	struct migrate_run *run;
	bool owns_run;
	struct in_device *devices;
	unsigned count;
	bool runs;
};

static int set_state(struct ob_incoming *in, unsigned i,
		     enum ob_migrate_step step,
		     enum ob_client_mig_state state, struct ob_err *err)
{
	int r = migrate_step(in->run, step, i, err);

	if (r)
		return r;
	in->devices[i].touched = true;
	r = ob_client_mig_set(in->devices[i].client, state, err);
	if (r)
		migrate_prefix(err, "destination", i, in->count);
	return r;
}

/* What an earlier, failed load left behind is worth nothing. */
static int leave_error(struct in_device *dev, struct ob_err *err)
{
	enum ob_client_mig_state state;
	int r = ob_client_mig_get(dev->client, &state, err);

	if (!r && state == OB_CLIENT_ERROR)
		r = ob_client_reset(dev->client, err);
	return r;
}

static int prepare(struct ob_incoming *in, unsigned i, struct ob_err *err)
{
	struct in_device *dev = &in->devices[i];
	struct ob_client_mig mig;
	int r = ob_client_mig_info(dev->client, &mig, err);

	if (!r && !mig.stop_copy)
		r = ob_fail(err, EOPNOTSUPP, "it does not migrate");
	if (!r)
		r = leave_error(dev, err);
	if (r) {
		migrate_prefix(err, "destination", i, in->count);
		return r;
	}
	dev->p2p = mig.p2p;
	return set_state(in, i, OB_MIGRATE_PREPARE, OB_CLIENT_RESUMING, err);
}

static struct ob_incoming *allocate(struct migrate_run *run, unsigned count)
{
	struct ob_incoming *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->run = run;
	in->count = count;
	in->devices = calloc(count, sizeof(*in->devices));
	if (in->devices)
		return in;
	free(in);
	return NULL;
}

int incoming_begin(struct migrate_run *run, struct ob_client *const *to,
		   unsigned count, struct ob_incoming **made,
		   struct ob_err *err)
{
	struct ob_incoming *in;
	int r = 0;

	if (!count || count > OB_MIGRATE_MAX_DEVICES)
		return ob_fail(err, EINVAL, "%u devices", count);
	in = allocate(run, count);
	if (!in)
		return ob_fail(err, ENOMEM, "out of memory");
	for (unsigned i = 0; !r && i < count; i++) {
		in->devices[i].client = to[i];
		r = prepare(in, i, err);
	}
	if (r) {
		migrate_failed(run);
		ob_incoming_destroy(in, NULL);
	} else {
		*made = in;
	}
	return r;
}

int ob_incoming_begin(struct ob_client *const *to, unsigned count,
		      const struct ob_migrate_params *params,
		      struct ob_incoming **made,
		      struct ob_migrate_result *result, struct ob_err *err)
{
	struct migrate_run *run = calloc(1, sizeof(*run));
	int r;

	if (!run)
		return ob_fail(err, ENOMEM, "out of memory");
	migrate_run_init(run, params, result);
	r = incoming_begin(run, to, count, made, err);
	if (r)
		free(run);
	else
		(*made)->owns_run = true;
	return r;
}

int ob_incoming_put(void *arg, unsigned device, const void *bytes, size_t len,
		    struct ob_err *err)
{
	struct ob_incoming *in = arg;
	int r;

	if (device >= in->count)
		return ob_fail(err, EINVAL, "there is no device %u", device);
	r = ob_client_mig_write(in->devices[device].client, bytes, len, err);
	if (r)
		migrate_prefix(err, "destination", device, in->count);
	return r;
}

/* With a run of its own it counts what the source's half otherwise does. */
static int count_put(struct ob_incoming *in, size_t len, struct ob_err *err)
{
	in->run->result->device_bytes += len;
	return migrate_progress(in->run, err);
}

int ob_incoming_pull(struct ob_incoming *in, ob_migrate_get get, void *arg,
		     struct ob_err *err)
{
	OB_CLEANUP_FREE uint8_t *buf = malloc(PULL_BYTES);
	unsigned device = 0;
	size_t got = 1;
	int r = 0;

	if (!buf)
		return ob_fail(err, ENOMEM, "out of memory");
	while (!r && got) {
		r = migrate_step(in->run, OB_MIGRATE_DATA, device, err);
		if (!r)
			r = get(arg, &device, buf, PULL_BYTES, &got, err);
		if (!r && got)
			r = ob_incoming_put(in, device, buf, got, err);
		if (!r)
			r = count_put(in, got, err);
	}
	if (r)
		migrate_failed(in->run);
	return r;
}

int ob_incoming_load(struct ob_incoming *in, struct ob_err *err)
{
	const struct ob_migrate_ops *ops = in->run->ops;
	int r = 0;

	for (unsigned i = 0; !r && i < in->count; i++)
		r = set_state(in, i, OB_MIGRATE_LOAD, OB_CLIENT_STOP, err);
	if (!r)
		r = migrate_step(in->run, OB_MIGRATE_RESTORE, 0, err);
	if (!r && ops->restore) {
		r = ops->restore(in->run->params->arg, err);
		if (r)
			r = migrate_callback_failed(r, "the VMM's view of the "
						    "devices", err);
	}
	if (r)
		migrate_failed(in->run);
	migrate_end_step(in->run);
	return r;
}

static int run_devices(struct ob_incoming *in, struct ob_err *err)
{
	bool p2p = in->count > 1 && !in->run->params->without_p2p;
	int r = 0;

	for (unsigned i = 0; !r && p2p && i < in->count; i++)
		if (in->devices[i].p2p) {
			in->devices[i].may_run = true;
			r = set_state(in, i, OB_MIGRATE_RUN,
				      OB_CLIENT_RUNNING_P2P, err);
		}
	for (unsigned i = 0; !r && i < in->count; i++) {
		in->devices[i].may_run = true;
		r = set_state(in, i, OB_MIGRATE_RUN, OB_CLIENT_RUNNING, err);
	}
	return r;
}

int ob_incoming_run(struct ob_incoming *in, struct ob_err *err)
{
	struct migrate_run *run = in->run;
	int r = run_devices(in, err);

	if (!r)
		r = migrate_step(run, OB_MIGRATE_START_GUEST, 0, err);
	if (!r && run->ops->start_guest) {
		r = run->ops->start_guest(run->params->arg, err);
		if (r)
			r = migrate_callback_failed(r, "the guest does not "
						    "start", err);
	}
	if (r)
		migrate_failed(run);
	migrate_end_step(run);
	in->runs = !r;
	if (in->runs)
		run->result->outcome = OB_MIGRATE_MOVED;
	return r;
}

/*
 * One that was asked to run may hold its drive, which the source needs.  Who
 * has given away the whole of its state has given its drive away, so it is
 * asked for that; nobody wants the bytes.
 */
static void free_drive(struct ob_incoming *in, struct ob_client *client)
{
	uint32_t most = ob_client_version(client)->max_data_xfer_size;
	size_t got = most;
	const void *data;

	if (ob_client_mig_set(client, OB_CLIENT_STOP_COPY, NULL))
		return;
	while (got == most &&
	       !migrate_read(in->run, client, most, false, &data, &got, NULL))
		;
}

static int reset(struct ob_incoming *in, unsigned i, struct ob_err *err)
{
	struct in_device *dev = &in->devices[i];
	struct ob_err why = { 0 };
	int r;

	if (!dev->touched)
		return 0;
	migrate_step(in->run, OB_MIGRATE_RESET, i, &why);
	if (dev->may_run)
		free_drive(in, dev->client);
	r = ob_client_reset(dev->client, &why);
	if (!r)
		return 0;
	migrate_prefix(&why, "destination", i, in->count);
	migrate_note(in->run, &why);
	return ob_fail(err, -r, "%s", why.msg);
}

int ob_incoming_destroy(struct ob_incoming *in, struct ob_err *err)
{
	int r = 0, one;

	if (!in)
		return 0;
	for (unsigned i = 0; !in->runs && i < in->count; i++) {
		one = reset(in, i, r ? NULL : err);
		r = r ? r : one;
	}
	migrate_end_step(in->run);
	if (in->owns_run)
		free(in->run);
	free(in->devices);
	free(in);
	return r;
}
