// SPDX-License-Identifier: BSD-3-Clause
/*
 * The live phase: logs on, streams from server to server, and then QEMU's own
 * pre-copy beside them, until QEMU finds that the rest goes within its downtime
 * limit, stops the machine and waits for us.
 *
 * The order matters in two places.  The log is on before QEMU reads the first page:
 * what a device writes later is ours, what it wrote before is QEMU's.  And QEMU
 * begins when what the drives have to say has gone for the most part, since it is
 * QEMU that decides when the machine stops, and it does not know of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "conduct.h"
#include "control_client.h"

#define CHANNEL "outboard-migration"
#define PIPE_BYTES (1 << 20)
#define SETTLED_BYTES (4u << 20)	/* goes in the pause without hurting */
#define LOOK_US UINT64_C(300000)
#define ROUNDS_MAX 3u			/* that did not shrink it */

/* -- QEMU's side ------------------------------------------------------- */

static json_t *capability(const char *name, bool on)
{
	return json_pack("{s:s, s:b}", "capability", name, "state", on);
}

static int set_caps(struct ob_qmp *qmp, bool pause, struct ob_err *err)
{
	return ob_qmp_call(qmp, "migrate-set-capabilities",
			   json_pack("{s:[o, o]}", "capabilities",
				     capability("events", true),
				     capability("pause-before-switchover",
						pause)), NULL, err);
}

static int set_params(struct conductor *c, enum conduct_side side,
		      struct ob_err *err)
{
	json_t *args = json_object();

	if (c->params.downtime_ms)
		json_object_set_new(args, "downtime-limit",
				    json_integer(c->params.downtime_ms));
	if (c->params.bandwidth)
		json_object_set_new(args, "max-bandwidth", json_integer(
			(json_int_t)c->params.bandwidth));
	if (json_object_size(args))
		return ob_qmp_call(c->qmp[side], "migrate-set-parameters", args,
				   NULL, err);
	json_decref(args);
	return 0;
}

/* What the source has is put back if it stays the source. */
static int remember(struct conductor *c, struct ob_err *err)
{
	int r = ob_qmp_call(c->qmp[CONDUCT_FROM], "query-migrate-capabilities",
			    NULL, &c->old_caps, err);

	return r ? r : ob_qmp_call(c->qmp[CONDUCT_FROM],
				   "query-migrate-parameters", NULL,
				   &c->old_params, err);
}

int conduct_set_up_qemu(struct conductor *c, enum conduct_side side, bool pause,
			struct ob_err *err)
{
	int r = side == CONDUCT_FROM ? remember(c, err) : 0;

	/* Before its stream comes: it does not run when that is complete. */
	if (!r && side == CONDUCT_TO)
		r = ob_qmp_call(c->qmp[side], "stop", NULL, NULL, err);
	if (!r && side == CONDUCT_FROM)
		r = conduct_lift_guard(c, err);
	if (!r)
		r = set_caps(c->qmp[side], pause, err);
	return r ? r : set_params(c, side, err);
}

void conduct_restore_qemu(struct conductor *c)
{
	json_t *args = json_object(), *old;
	static const char *const params[] = { "downtime-limit",
					      "max-bandwidth" };

	if (c->old_caps)
		ob_qmp_call(c->qmp[CONDUCT_FROM], "migrate-set-capabilities",
			    json_pack("{s:O}", "capabilities", c->old_caps),
			    NULL, NULL);
	for (unsigned i = 0; i < 2; i++)
		if ((old = json_object_get(c->old_params, params[i])))
			json_object_set(args, params[i], old);
	ob_qmp_call(c->qmp[CONDUCT_FROM], "migrate-set-parameters", args, NULL,
		    NULL);
}

/* -- streams between servers ------------------------------------------- */

static int make_pipe(int ends[2], struct ob_err *err)
{
	if (pipe2(ends, O_CLOEXEC))
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);	/* if it may be */
	return 0;
}

/* The reader first, so that the writer finds one. */
static int connect_servers(struct conduct_device *d, enum conduct_slot slot,
			   const char *out, json_t *how, const char *in,
			   struct ob_err *err)
{
	OB_CLEANUP_FD int read_end = -1;
	OB_CLEANUP_FD int write_end = -1;
	int ends[2], r = make_pipe(ends, err);

	if (r) {
		json_decref(how);
		return r;
	}
	read_end = ends[0];
	write_end = ends[1];
	r = conduct_start(&d->ends[CONDUCT_TO], slot, in, NULL, read_end,
			  err);
	if (r)
		json_decref(how);
	return r ? r : conduct_start(&d->ends[CONDUCT_FROM], slot, out, how,
				     write_end, err);
}

static int stream(struct conductor *c, struct conduct_device *d,
		  enum conduct_slot slot, struct ob_err *err)
{
	if (slot == CONDUCT_PAGES)
		return connect_servers(d, slot, "pages.out",
				       json_pack("{s:b}", "last",
						 c->finishing),
				       "pages.in", err);
	return connect_servers(d, slot, "device.save",
			       json_pack("{s:b}", "live", true), "device.load",
			       err);
}

static int start_streams(struct conductor *c, struct ob_err *err)
{
	int r = 0;

	c->stream = stream;
	for (unsigned i = 0; i < c->nr_devices && !r; i++) {
		r = stream(c, &c->devices[i], CONDUCT_PAGES, err);
		if (!r)
			r = stream(c, &c->devices[i], CONDUCT_STATE, err);
	}
	return r;
}

/* -- until the drives have settled ------------------------------------- */

/* What the source's servers tell of their streams. */
static uint64_t look_at_devices(struct conductor *c)
{
	uint64_t left = 0, sent = 0, pages = 0;

	conduct_ask_servers(c, CONDUCT_FROM);
	for (unsigned i = 0; i < c->nr_devices; i++) {
		const struct conduct_device *d = &c->devices[i];

		left += d->left;
		sent += d->bytes;
		pages += d->pages;
	}
	c->now.device_left = left;
	c->now.device_sent = sent;
	c->now.pages = pages;
	return left;
}

/* Small enough, or as small as it gets. */
static int settle(struct conductor *c, struct ob_err *err)
{
	uint64_t best = UINT64_MAX, left;
	unsigned rounds = 0;
	int r = 0;

	while (!r && (left = look_at_devices(c)) > SETTLED_BYTES) {
		uint64_t end = conduct_now() + LOOK_US;

		rounds = left < best - best / 10 ? 0 : rounds + 1;
		best = left < best ? left : best;
		if (rounds > ROUNDS_MAX)
			break;
		conduct_progress(c);
		while (!r && conduct_now() < end)
			r = conduct_turn(c, (int)(LOOK_US / 1000), err);
	}
	return r;
}

/* -- QEMU's own -------------------------------------------------------- */

static int give_channel(struct conductor *c, struct ob_err *err)
{
	int pair[2], r;

	if (c->params.uri)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return ob_fail(err, errno, "socketpair: %s", strerror(errno));
	r = ob_qmp_give_fd(c->qmp[CONDUCT_FROM], CHANNEL, pair[0], err);
	if (!r)
		r = ob_qmp_give_fd(c->qmp[CONDUCT_TO], CHANNEL, pair[1], err);
	close(pair[0]);
	close(pair[1]);
	return r;
}

static int start_qemu(struct conductor *c, struct ob_err *err)
{
	const char *uri = c->params.uri ? c->params.uri : "fd:" CHANNEL;
	int r = give_channel(c, err);

	if (!r)
		r = ob_qmp_call(c->qmp[CONDUCT_TO], "migrate-incoming",
				json_pack("{s:s}", "uri", uri), NULL, err);
	if (r)
		return r;
	c->migrating = true;
	return ob_qmp_call(c->qmp[CONDUCT_FROM], "migrate",
			   json_pack("{s:s}", "uri", uri), NULL, err);
}

static int until_it_stands(struct conductor *c, struct ob_err *err)
{
	uint64_t next = 0;
	int r = 0;

	while (!r && strcmp(c->status[CONDUCT_FROM], "pre-switchover")) {
		if (conduct_now() > next) {
			look_at_devices(c);
			next = conduct_now() + LOOK_US;
		}
		conduct_progress(c);
		r = conduct_turn(c, 100, err);
	}
	return r;
}

int conduct_live(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "live");
	conduct_mark(c, CONDUCT_BEGAN);
	c->began = true;
	r = conduct_set_up_qemu(c, CONDUCT_FROM, true, err);
	if (!r)
		r = conduct_set_up_qemu(c, CONDUCT_TO, false, err);
	if (!r)
		r = conduct_step(c, CONDUCT_FROM, "device.log",
				 json_pack("{s:b}", "on", true), err);
	if (!r)
		r = start_streams(c, err);
	if (!r)
		r = settle(c, err);
	if (!r)
		r = start_qemu(c, err);
	return r ? r : until_it_stands(c, err);
}
