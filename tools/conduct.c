// SPDX-License-Identifier: BSD-3-Clause
/*
 * Everything that the phases wait for comes through one place, conduct_turn: events
 * of two QEMUs, answers of servers, the operator's Ctrl-C.  Whatever fails there
 * ends the phase.
 *
 * A step is a request that may be repeated: when the process that serves dies over
 * it, its successor is asked.  A stream is none; it has died with its process.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conduct.h"
#include "move.h"

#define STEP_TRY_US UINT64_C(15000000)
#define STEP_MS 20000
#define LOOK_MS 100			/* between two looks at progress */
#define NAP_MS 5

uint64_t conduct_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void conduct_mark(struct conductor *c, enum conduct_mark mark)
{
	c->marks[mark] = conduct_now();
}

void conduct_phase(struct conductor *c, const char *phase)
{
	c->now.phase = phase;
	conduct_progress(c);
}

int conduct_open(struct conductor *c, const struct conduct_params *params,
		 struct ob_err *err)
{
	int r = 0;

	*c = (struct conductor){ .params = *params, .view = c->view };
	for (unsigned side = 0; side < 2 && !r; side++)
		if (params->qmp[side])
			r = ob_qmp_connect(params->qmp[side], &c->qmp[side],
					   err);
	return r;
}

/* A monitor has one client, so the old one has to be gone first. */
int conduct_reach(struct conductor *c, enum conduct_side side,
		  struct ob_err *err)
{
	if (c->qmp[side] &&
	    !ob_qmp_call(c->qmp[side], "query-status", NULL, NULL, err))
		return 0;
	ob_qmp_close(c->qmp[side]);
	c->qmp[side] = NULL;
	return ob_qmp_connect(c->params.qmp[side], &c->qmp[side], err);
}

void conduct_close(struct conductor *c)
{
	conduct_drop_calls(c);
	ob_qmp_close(c->qmp[CONDUCT_FROM]);
	ob_qmp_close(c->qmp[CONDUCT_TO]);
	json_decref(c->old_caps);
	json_decref(c->old_params);
	json_decref(c->guard);
	for (unsigned i = 0; i < c->nr_devices; i++)
		for (unsigned side = 0; side < 2; side++) {
			json_decref(c->devices[i].ends[side].options);
			json_decref(c->devices[i].ends[side].drives);
		}
}

/* -- requests to servers ----------------------------------------------- */

static void end_call(struct conduct_call *call)
{
	control_close(call->link);
	json_decref(call->again);
	call->link = NULL;
	call->again = NULL;
	call->due = false;
}

void conduct_drop_calls(struct conductor *c)
{
	c->stream = NULL;
	for (unsigned i = 0; i < c->nr_devices; i++)
		for (unsigned k = 0; k < 2 * CONDUCT_SLOTS; k++) {
			struct conduct_call *call =
				&c->devices[i].ends[k / CONDUCT_SLOTS]
					 .calls[k % CONDUCT_SLOTS];

			end_call(call);
			json_decref(call->result);
			call->result = NULL;
			c->devices[i].again[k % CONDUCT_SLOTS] = false;
		}
}

static int send_call(const struct conduct_end *end, struct conduct_call *call,
		     json_t *params, int fd, struct ob_err *err)
{
	int r;

	control_close(call->link);
	call->link = NULL;
	r = control_open(end->control, &call->link, err);
	if (r)
		json_decref(params);
	else
		r = control_send(call->link, call->method, params, fd, err);
	call->due = !r;
	return r;
}

int conduct_start(struct conduct_end *end,
		  enum conduct_slot slot, const char *method, json_t *params,
		  int fd, struct ob_err *err)
{
	struct conduct_call *call = &end->calls[slot];
	int r;

	end_call(call);
	json_decref(call->result);
	call->result = NULL;
	call->method = method;
	if (!params)
		params = json_object();
	json_object_set_new(params, "device", json_string(end->id));
	if (slot == CONDUCT_STEP)
		call->again = json_deep_copy(params);
	call->end_us = conduct_now() + STEP_TRY_US;
	r = send_call(end, call, params, fd, err);
	if (r && slot == CONDUCT_STEP) {	/* somebody dies just now */
		call->due = true;
		return 0;
	}
	if (r)
		ob_err_prefix(err, "%s of %s", method, end->id);
	return r;
}

bool conduct_has_died(int r)
{
	return r == -ECONNRESET || r == -EPIPE || r == -ECONNREFUSED;
}

static int ask_again(const struct conduct_end *end, struct conduct_call *call,
		     int r)
{
	const struct timespec nap = { 0, NAP_MS * 1000000L };

	if (!call->again || !conduct_has_died(r) || conduct_now() > call->end_us)
		return r;
	nanosleep(&nap, NULL);
	send_call(end, call, json_deep_copy(call->again), -1, NULL);
	call->due = true;
	return 0;
}

int conduct_look_at_call(struct conduct_end *end, struct conduct_call *call,
			 struct ob_err *err)
{
	int r = call->link ? control_receive(call->link, 0, &call->result, err)
			   : -ECONNRESET;

	if (r == -ETIMEDOUT)
		return 0;
	if (r)
		r = ask_again(end, call, r);
	else
		end_call(call);
	if (r) {
		call->due = false;
		ob_err_prefix(err, "%s of %s", call->method, end->id);
	}
	return r;
}

/* -- events of QEMU ---------------------------------------------------- */

static uint64_t event_us(json_t *event)
{
	json_int_t s = 0, us = 0;

	json_unpack(event, "{s:{s:I, s:I}}", "timestamp", "seconds", &s,
		    "microseconds", &us);
	return (uint64_t)s * 1000000 + (uint64_t)us;
}

static int see_status(struct conductor *c, enum conduct_side side,
		      const char *status, uint64_t us, struct ob_err *err)
{
	snprintf(c->status[side], sizeof(c->status[side]), "%s", status);
	/* The later of the two. */
	if (!strcmp(status, "completed"))
		c->marks[CONDUCT_QEMU] = us;
	if (strcmp(status, "failed") && strcmp(status, "cancelled"))
		return 0;
	return ob_fail(err, EIO, "QEMU's migration %s at the %s",
		       !strcmp(status, "failed") ? "failed" : "was cancelled",
		       conduct_sides[side]);
}

static int see_event(struct conductor *c, enum conduct_side side,
		     json_t *event, struct ob_err *err)
{
	const char *name = json_string_value(json_object_get(event, "event"));
	const char *status = NULL;

	if (!strcmp(name, "MIGRATION") &&
	    !json_unpack(event, "{s:{s:s}}", "data", "status", &status))
		return see_status(c, side, status, event_us(event),
				  err);
	if (!strcmp(name, "STOP") && side == CONDUCT_FROM) {
		c->marks[CONDUCT_STOPPED] = event_us(event);
		c->stopped = true;
	}
	if (!strcmp(name, "RESUME") && side == CONDUCT_TO)
		c->marks[CONDUCT_RAN] = event_us(event);
	if (!strcmp(name, "RESUME") && side == CONDUCT_FROM)
		c->stopped = false;
	return 0;
}

static int see_events(struct conductor *c, enum conduct_side side,
		      struct ob_err *err)
{
	json_t *event;
	int r;

	if (!c->qmp[side])
		return 0;
	while (!(r = ob_qmp_event(c->qmp[side], 0, &event, err))) {
		r = see_event(c, side, event, err);
		json_decref(event);
		if (r)
			return r;
	}
	if (r == -ETIMEDOUT)
		return 0;
	ob_err_prefix(err, "the %s", conduct_sides[side]);
	return r;
}

/* -- waiting ----------------------------------------------------------- */

static int look_at_device(struct conductor *c, struct conduct_device *d,
			  struct ob_err *err)
{
	int r = 0;

	for (unsigned k = 0; k < 2 * CONDUCT_SLOTS && !r; k++) {
		unsigned side = k / CONDUCT_SLOTS, slot = k % CONDUCT_SLOTS;
		struct conduct_end *end = &d->ends[side];

		if (end->calls[slot].due)
			r = conduct_look_at_call(end, &end->calls[slot], err);
		if (r)
			r = conduct_broke(c, d, side, slot, r, err);
	}
	return r;
}

static int look_at_calls(struct conductor *c, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = look_at_device(c, &c->devices[i], err);
	return r ? r : conduct_begin_again(c, err);
}

static unsigned gather(struct conductor *c, struct pollfd *fds)
{
	unsigned n = 0;

	for (unsigned side = 0; side < 2; side++)
		if (c->qmp[side])
			fds[n++].fd = ob_qmp_fd(c->qmp[side]);
	for (unsigned i = 0; i < c->nr_devices; i++)
		for (unsigned k = 0; k < 2 * CONDUCT_SLOTS; k++) {
			const struct conduct_call *call =
				&c->devices[i].ends[k / CONDUCT_SLOTS]
					 .calls[k % CONDUCT_SLOTS];

			if (call->due && call->link)
				fds[n++].fd = control_fd(call->link);
		}
	for (unsigned i = 0; i < n; i++)
		fds[i].events = POLLIN;
	return n;
}

/* One that came with an answer is not to be waited for. */
static bool has_event(const struct conductor *c)
{
	for (unsigned side = 0; side < 2; side++)
		if (c->qmp[side] && ob_qmp_has_event(c->qmp[side]))
			return true;
	return false;
}

int conduct_turn(struct conductor *c, int timeout_ms, struct ob_err *err)
{
	struct pollfd fds[2 + CONDUCT_DEVICES * 2 * CONDUCT_SLOTS];
	int r = 0;

	if (move_interrupted())
		return ob_fail(err, EINTR, "interrupted");
	if (timeout_ms && !has_event(c))
		poll(fds, gather(c, fds), timeout_ms);
	for (unsigned side = 0; side < 2 && !r; side++)
		r = see_events(c, side, err);
	return r ? r : look_at_calls(c, err);
}

static bool is_due(struct conductor *c, enum conduct_side side,
		   enum conduct_slot slot)
{
	for (unsigned i = 0; i < c->nr_devices; i++)
		if (c->devices[i].ends[side].calls[slot].due ||
		    c->devices[i].again[slot])
			return true;
	return false;
}

/* Events that came with an answer are looked at before anything is waited for. */
static int wait_a_bit(struct conductor *c, uint64_t end, int timeout_ms,
		      const char *what, struct ob_err *err)
{
	if (timeout_ms >= 0 && conduct_now() > end)
		return ob_fail(err, ETIMEDOUT, "%s takes longer than %d s", what,
			       timeout_ms / 1000);
	conduct_progress(c);
	return conduct_turn(c, LOOK_MS, err);
}

static uint64_t end_of(int timeout_ms)
{
	return conduct_now() + (uint64_t)timeout_ms * 1000;
}

int conduct_finish(struct conductor *c, enum conduct_side side,
		   enum conduct_slot slot, int timeout_ms, struct ob_err *err)
{
	uint64_t end = end_of(timeout_ms);
	int r = conduct_turn(c, 0, err);

	while (!r && is_due(c, side, slot))
		r = wait_a_bit(c, end, timeout_ms, "a device", err);
	return r;
}

int conduct_await(struct conductor *c, enum conduct_side side,
		  const char *status, int timeout_ms, struct ob_err *err)
{
	uint64_t end = end_of(timeout_ms);
	int r = conduct_turn(c, 0, err);

	while (!r && strcmp(c->status[side], status))
		r = wait_a_bit(c, end, timeout_ms, "QEMU's migration", err);
	return r;
}

int conduct_step(struct conductor *c, enum conduct_side side,
		 const char *method, json_t *params, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = conduct_start(&c->devices[i].ends[side], CONDUCT_STEP,
				  method, params ? json_deep_copy(params) : NULL,
				  -1, err);
	json_decref(params);
	return r ? r : conduct_finish(c, side, CONDUCT_STEP, STEP_MS, err);
}

int conduct_await_all(struct conductor *c, int timeout_ms, struct ob_err *err)
{
	int r = 0;

	for (unsigned side = 0; side < 2 && !r; side++)
		r = conduct_finish(c, side, CONDUCT_PAGES, timeout_ms, err);
	for (unsigned side = 0; side < 2 && !r; side++)
		r = conduct_finish(c, side, CONDUCT_STATE, timeout_ms, err);
	for (unsigned side = 0; side < 2 && !r; side++)
		if (c->qmp[side])
			r = conduct_await(c, side, "completed", timeout_ms, err);
	conduct_mark(c, CONDUCT_STREAMS);
	return r;
}
