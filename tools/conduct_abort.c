// SPDX-License-Identifier: BSD-3-Clause
/*
 * The way back: the destination ends, then the source goes on.  Each step is tried
 * whatever became of the one before, since a source that stands still for want of
 * politeness is an outage; but nothing runs here that may run there.
 *
 * A destination's device that runs has the drives.  It is told to save itself into
 * nothing, which hands them over, before its QEMU is told to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "conduct.h"
#include "control_client.h"

#define QUIT_MS 3000
#define CANCEL_US UINT64_C(10000000)
#define SAVE_MS 5000
#define SAVE_TRIES 5u
#define SAVE_AGAIN_NS 20000000

/* The first thing that could not be done is told. */
static void note(struct conductor *c, const struct ob_err *err)
{
	if (!c->note.msg[0])
		c->note = *err;
}

static void tell(struct conductor *c, const struct conduct_end *end,
		 const char *method, json_t *params)
{
	struct ob_err err = { 0 };
	json_t *result = NULL;

	if (!end->control) {
		json_decref(params);
		return;
	}
	json_object_set_new(params, "device", json_string(end->id));
	if (control_call(end->control, method, params, &result, &err)) {
		ob_err_prefix(&err, "%s of %s", method, end->id);
		note(c, &err);
	}
	json_decref(result);
}

/* -- the destination --------------------------------------------------- */

/* Reads the stream to its end. */
static void drain(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char bytes[65536];

	while (poll(&p, 1, SAVE_MS) == 1 && read(fd, bytes, sizeof(bytes)) > 0)
		;
}

/* False: it may still have them. */
static bool hand_over(const struct conduct_end *end)
{
	struct control_link *link = NULL;
	json_t *result = NULL;
	bool done = false;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	if (!control_open(end->control, &link, NULL) &&
	    !control_send(link, "device.save",
			  json_pack("{s:s, s:b}", "device", end->id, "live",
				    false), ends[1], NULL)) {
		ob_fd_close(&ends[1]);
		drain(ends[0]);
		done = !control_receive(link, SAVE_MS, &result, NULL);
	}
	json_decref(result);
	control_close(link);
	ob_fd_close(&ends[1]);
	close(ends[0]);
	return done;
}

/* The end of its QEMU, or of its process, may cut that short, so it is asked again. */
static void take_drives_back(const struct conduct_end *end)
{
	const struct timespec nap = { 0, SAVE_AGAIN_NS };

	if (!end->runs || !end->control)
		return;
	for (unsigned i = 0; i < SAVE_TRIES && !hand_over(end); i++)
		nanosleep(&nap, NULL);
}

/* It is no error if it has gone already. */
static void end_destination(struct conductor *c)
{
	for (unsigned i = 0; i < c->nr_devices; i++)
		take_drives_back(&c->devices[i].ends[CONDUCT_TO]);
	if (!c->params.qmp[CONDUCT_TO] || conduct_reach(c, CONDUCT_TO, NULL))
		return;
	ob_qmp_set_timeout(c->qmp[CONDUCT_TO], QUIT_MS);
	ob_qmp_call(c->qmp[CONDUCT_TO], "quit", NULL, NULL, NULL);
}

/* -- the source -------------------------------------------------------- */

static bool is_under_way(const char *status)
{
	static const char *const over[] = { "none", "completed", "failed",
					    "cancelled" };

	for (unsigned i = 0; i < 4; i++)
		if (!strcmp(status, over[i]))
			return false;
	return true;
}

/* "none" when there was none. */
static int migration_status(struct conductor *c, char status[32],
			    struct ob_err *err)
{
	json_t *now = NULL;
	int r = ob_qmp_call(c->qmp[CONDUCT_FROM], "query-migrate", NULL, &now,
			    err);
	const char *text = json_string_value(json_object_get(now, "status"));

	snprintf(status, 32, "%s", text ? text : "none");
	json_decref(now);
	return r;
}

static void cancel_migration(struct conductor *c)
{
	const struct timespec nap = { 0, 10000000 };
	uint64_t end = conduct_now() + CANCEL_US;
	struct ob_err err = { 0 };
	char status[32];
	int r = conduct_reach(c, CONDUCT_FROM, &err);

	if (!r)
		r = migration_status(c, status, &err);
	if (!r && is_under_way(status))
		r = ob_qmp_call(c->qmp[CONDUCT_FROM], "migrate_cancel", NULL,
				NULL, &err);
	while (!r && is_under_way(status) && conduct_now() < end) {
		nanosleep(&nap, NULL);
		r = migration_status(c, status, &err);
	}
	if (!r && is_under_way(status))
		r = ob_fail(&err, ETIMEDOUT, "QEMU does not end its migration");
	if (r)
		note(c, &err);
}

/* QEMU lets it run by itself when a migration ends before its end. */
static void let_source_run(struct conductor *c)
{
	struct ob_err err = { 0 };
	json_t *status = NULL;
	int r = ob_qmp_call(c->qmp[CONDUCT_FROM], "query-status", NULL, &status,
			    &err);

	if (!r && !json_is_true(json_object_get(status, "running")))
		r = ob_qmp_call(c->qmp[CONDUCT_FROM], "cont", NULL, NULL, &err);
	if (r)
		note(c, &err);
	json_decref(status);
}

/* The drives first: a VM that runs without them sees errors. */
static void revive_source(struct conductor *c)
{
	struct ob_err err = { 0 };

	if (!c->params.qmp[CONDUCT_FROM])
		return;
	cancel_migration(c);
	for (unsigned i = 0; i < c->nr_devices; i++) {
		struct conduct_end *end = &c->devices[i].ends[CONDUCT_FROM];

		tell(c, end, "device.log", json_pack("{s:b}", "on", false));
		tell(c, end, "device.resume", json_object());
	}
	if (c->qmp[CONDUCT_FROM] && !c->note.msg[0])
		let_source_run(c);
	if (!c->qmp[CONDUCT_FROM])
		return;
	conduct_restore_qemu(c);
	if (conduct_put_guard(c, &err))
		note(c, &err);
}

int conduct_abort(struct conductor *c)
{
	struct ob_err err = { 0 };

	conduct_drop_calls(c);
	if (c->said_cont) {
		ob_fail(&err, EBUSY, "the destination may run, so the source "
			"stays stopped; if it does not: vm-migrate --abort");
		note(c, &err);
		return -EBUSY;
	}
	conduct_phase(c, "go back");
	end_destination(c);
	revive_source(c);
	conduct_mark(c, CONDUCT_ENDED);
	return c->note.msg[0] ? -EIO : 0;
}

static bool is_running(struct ob_qmp *qmp)
{
	json_t *status = NULL;
	bool runs;

	ob_qmp_call(qmp, "query-status", NULL, &status, NULL);
	runs = json_is_true(json_object_get(status, "running"));
	json_decref(status);
	return runs;
}

/* A destination that is not named is taken for gone; locks tell if it is not. */
int conduct_abort_other(struct conductor *c, struct ob_err *err)
{
	int r = conduct_find(c, CONDUCT_FROM, err);

	if (!r && c->qmp[CONDUCT_TO] && is_running(c->qmp[CONDUCT_TO]))
		r = ob_fail(err, EBUSY, "the destination runs: it is the VM now");
	if (r)
		return r;
	if (c->qmp[CONDUCT_TO] && !conduct_find(c, CONDUCT_TO, NULL))
		for (unsigned i = 0; i < c->nr_devices; i++)
			c->devices[i].ends[CONDUCT_TO].runs = true;
	r = conduct_abort(c);
	return r ? ob_fail(err, -r, "%s", c->note.msg) : 0;
}
