// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rounds while the guest runs, and when to end them (docs/migration.md,
 * "Pre-copy").  A round sends what was known at its beginning: the marked
 * pages of guest memory, and of every device as many bytes as it said, or
 * until it has no more.  Behind it stands what is left; the round after that
 * begins with it.
 *
 * The rate is measured without the pauses that keep to the bandwidth: those
 * are not made any more once the guest stands still.
 */
#include <errno.h>

#include "client/client.h"
#include "client/migrate.h"

#define STALLED_ROUNDS 3
/* A device that cannot tell sends this much a round at most. */
#define UNKNOWN_BYTES (UINT64_C(256) << 20)

/* What a device would send now; *told is false when it does not say. */
static int ask_left(const struct out_device *dev, uint64_t *left,
		    struct ob_err *err)
{
	uint64_t initial = 0, dirty = 0;
	int r;

	r = ob_client_mig_size(dev->client, left, NULL);
	if (!r || r == -ENOTCONN || r == -ECONNRESET || r == -ETIMEDOUT)
		return r ? ob_fail(err, -r, "no answer about the data left")
			 : 0;
	*left = 0;
	if (!dev->mig.precopy_info || !dev->saving)
		return 0;
	r = ob_client_mig_precopy(dev->client, &initial, &dirty, err);
	*left = initial + dirty;
	return r;
}

int rounds_left(struct ob_outgoing *out, uint64_t *left, struct ob_err *err)
{
	int r = 0;

	*left = ram_left(out);
	for (unsigned i = 0; !r && i < out->count; i++) {
		uint64_t bytes = 0;

		r = ask_left(&out->devices[i], &bytes, err);
		if (__builtin_add_overflow(*left, bytes, left))
			*left = UINT64_MAX;
	}
	return r;
}

/* What this round has to send of each device. */
static int plan_round(struct ob_outgoing *out, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; !r && i < out->count; i++) {
		struct out_device *dev = &out->devices[i];
		uint64_t initial = 0, dirty = 0;

		dev->known = 0;
		if (!dev->saving)
			continue;
		dev->known = UNKNOWN_BYTES;
		if (!dev->mig.precopy_info)
			continue;
		r = ob_client_mig_precopy(dev->client, &initial, &dirty, err);
		if (__builtin_add_overflow(initial, dirty, &dev->known))
			dev->known = UINT64_MAX;
	}
	return r;
}

/*
 * Framing comes on top of the bytes known: what is dry has sent them all.  A
 * short answer means "nothing more for now" and may mean "enough for one
 * answer"; while something is known only an empty one is believed.
 */
static int send_device(struct ob_outgoing *out, unsigned i,
		       struct ob_err *err)
{
	struct out_device *dev = &out->devices[i];
	uint64_t sent = 1;
	int r = OUT_MORE;

	while (r >= 0 && sent && dev->known) {
		sent = 0;
		r = out_send_piece(out, i, OB_MIGRATE_DATA, UINT64_MAX, &sent,
				   err);
		dev->known -= sent < dev->known ? sent : dev->known;
	}
	return r < 0 ? r : 0;
}

static void rate_of(struct migrate_run *run, uint64_t bytes, uint64_t ns)
{
	if (bytes && ns)
		run->result->rate = (double)bytes * 1e9 / (double)ns;
}

static int one_round(struct ob_outgoing *out, struct ob_migrate_round *round,
		     struct ob_err *err)
{
	struct ob_migrate_result *result = out->run->result;
	uint64_t device = result->device_bytes, ram = result->ram_bytes;
	uint64_t slept = out->run->slept_ns, before = out->run->left;
	uint64_t sent, now;
	int r = plan_round(out, err);

	out->paced_from_ns = round->start_ns;
	out->paced_bytes = 0;
	if (!r)
		r = ram_send(out, OB_MIGRATE_RAM, err);
	for (unsigned i = 0; !r && i < out->count; i++)
		r = send_device(out, i, err);
	now = migrate_now(out->run);
	round->ns = now - round->start_ns;
	round->device_bytes = result->device_bytes - device;
	round->ram_bytes = result->ram_bytes - ram;
	sent = round->device_bytes + round->ram_bytes;
	rate_of(out->run, sent, round->ns - (out->run->slept_ns - slept));
	if (r || (r = ram_collect(out, OB_MIGRATE_REPORT, err)) ||
	    (r = rounds_left(out, &round->left, err)))
		return r;
	before = before > sent ? before - sent : 0;
	if (round->ns && round->left > before)
		round->dirty_rate = (double)(round->left - before) * 1e9 /
				    (double)round->ns;
	out->run->dirty_rate = round->dirty_rate;
	out->run->left = round->left;
	return migrate_progress(out->run, err);
}

static bool fits(const struct ob_outgoing *out, uint64_t left)
{
	unsigned ms = out->run->params->downtime_ms;
	double rate = out->run->result->rate;

	ms = ms ? ms : OB_MIGRATE_DOWNTIME_MS;
	return !left || rate <= 0 || (double)left / rate * 1e3 <= ms;
}

static int give_up(struct ob_outgoing *out, uint64_t left, struct ob_err *err)
{
	const struct migrate_run *run = out->run;

	if (!run->params->must_converge)
		return 0;
	return ob_fail(err, ETIME,
		       "it does not converge: after %u rounds %llu MiB are "
		       "left, %.0f MiB/s go and %.0f MiB/s become dirty",
		       run->result->nr_rounds,
		       (unsigned long long)(left >> 20),
		       run->result->rate / 0x1p20, run->dirty_rate / 0x1p20);
}

static unsigned max_rounds(const struct ob_outgoing *out)
{
	unsigned max = out->run->params->max_rounds;

	return max && max < OB_MIGRATE_MAX_ROUNDS ? max
						  : OB_MIGRATE_MAX_ROUNDS;
}

int rounds_run(struct ob_outgoing *out, struct ob_err *err)
{
	struct ob_migrate_result *result = out->run->result;
	uint64_t before = 0;
	unsigned stalled = 0;
	int r = rounds_left(out, &before, err);

	out->run->left = before;
	while (!r) {
		struct ob_migrate_round *round =
			&result->rounds[result->nr_rounds++];

		round->start_ns = migrate_now(out->run);
		r = migrate_progress(out->run, err);
		if (!r)
			r = one_round(out, round, err);
		result->converged = !r && fits(out, round->left);
		if (r || result->converged)
			return r;
		stalled = (double)round->left > 0.9 * (double)before
				  ? stalled + 1 : 0;
		before = round->left;
		if (stalled == STALLED_ROUNDS ||
		    result->nr_rounds == max_rounds(out))
			return give_up(out, before, err);
	}
	return r;
}
