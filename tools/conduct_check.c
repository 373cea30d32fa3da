// SPDX-License-Identifier: BSD-3-Clause
/*
 * The destination runs: do its interrupts arrive?  A repair that went wrong shows
 * nowhere else before the guest's own timeouts, half a minute later.
 *
 * What can be seen of a device from outside: signals that left, signals that are due
 * and cannot leave, commands in flight, and how often the guest was seen, at a
 * register or a doorbell.  So a device is well when both its signals and
 * the guest's visits move, or when nothing is due at all.
 *
 * A guest whose doorbells are in memory may have taken its last interrupt without a
 * visit.  A device that is stopped and runs again looks at its queues and signals
 * all that is not taken (`run` in outboard/device.h): if nothing is signalled
 * then, the guest has taken everything; otherwise it had another chance to hear.
 */
#include <errno.h>
#include <string.h>

#include "conduct.h"
#include "control_client.h"

#define LOOK_MS 20
#define FIRST_US UINT64_C(3000000)	/* for a guest on a slow host to come */
#define SECOND_US UINT64_C(3000000)	/* ... after it was told again */
#define CALM_LOOKS 3u			/* with nothing due: no accident */

const char *const conduct_answers[] = {
	[CONDUCT_UNSEEN] = "not looked at", [CONDUCT_HEARD] = "taken",
	[CONDUCT_IDLE] = "none due", [CONDUCT_UNHEARD] = "cannot leave",
	[CONDUCT_LOST] = "not taken", [CONDUCT_STUCK] = "commands do not end",
};

static uint64_t number(const json_t *of, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(of, key));

	return n > 0 ? (uint64_t)n : 0;
}

/* Requests for events are in flight as long as a guest lives. */
static unsigned count_commands(const json_t *device)
{
	const json_t *command;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(device, "commands"), i, command) {
		const char *what = json_string_value(
			json_object_get(command, "operation"));

		n += !what || strcmp(what, "await event") != 0;
	}
	return n;
}

static void take_signs(const json_t *device, struct conduct_signs *to)
{
	const json_t *irqs = json_object_get(device, "interrupts");

	*to = (struct conduct_signs){
		.known = json_is_object(irqs),
		.intx = number(irqs, "intx"), .msi = number(irqs, "msi"),
		.msix = number(irqs, "msix"),
		.waiting = number(irqs, "waiting"),
		.unanswered = number(irqs, "unanswered"),
		.visits = number(device, "visits"),
		.in_flight = count_commands(device),
	};
}

static void look_at(struct conduct_end *end)
{
	json_t *told = NULL, *device;
	size_t i;

	end->signs.known = false;
	if (control_call(end->control, "inflight", NULL, &told, NULL))
		return;
	json_array_foreach(json_object_get(told, "devices"), i, device) {
		const char *id = json_string_value(json_object_get(device,
								   "id"));

		if (id && !strcmp(id, end->id))
			take_signs(device, &end->signs);
	}
	json_decref(told);
}

static uint64_t signals(const struct conduct_signs *s)
{
	return s->intx + s->msi + s->msix;
}

/* Counts are of a process; its successor begins at 0. */
static void judge(struct conduct_device *d)
{
	struct conduct_signs *now = &d->ends[CONDUCT_TO].signs;
	struct conduct_signs *then = &d->first;

	if (!now->known)
		return;
	if (!then->known || signals(now) < signals(then) ||
	    now->visits < then->visits)
		*then = *now;
	if (signals(now) > signals(then) && now->visits > then->visits)
		d->answer = CONDUCT_HEARD;
	d->calm = now->unanswered || now->waiting || now->in_flight ?
		  0 : d->calm + 1;
	if (d->calm >= CALM_LOOKS)
		d->answer = signals(now) ? CONDUCT_HEARD : CONDUCT_IDLE;
}

static bool look_at_all(struct conductor *c)
{
	bool all = true;

	for (unsigned i = 0; i < c->nr_devices; i++) {
		struct conduct_device *d = &c->devices[i];

		if (d->answer != CONDUCT_UNSEEN)
			continue;
		look_at(&d->ends[CONDUCT_TO]);
		judge(d);
		all &= d->answer != CONDUCT_UNSEEN;
	}
	return all;
}

/* 1: all are well; 0: the time is up; or the operator has seen enough. */
static int look_for(struct conductor *c, uint64_t us, struct ob_err *err)
{
	uint64_t end = conduct_now() + us;
	int r = 0;

	while (!r && !look_at_all(c)) {
		if (conduct_now() > end)
			return 0;
		r = conduct_turn(c, LOOK_MS, err);
	}
	return r ? r : 1;
}

static int nudge_one(struct conduct_device *d, struct ob_err *err)
{
	static const char *const methods[] = { "device.quiesce",
					       "device.resume" };
	struct conduct_end *end = &d->ends[CONDUCT_TO];
	int r = 0;

	for (unsigned i = 0; i < 2 && !r; i++) {
		json_t *result = NULL;

		r = control_call(end->control, methods[i],
				 json_pack("{s:s}", "device", end->id),
				 &result, err);
		json_decref(result);
	}
	return r;
}

/* Who has signals without a visit afterwards, and nothing else to wait for. */
static int nudge(struct conduct_device *d, struct ob_err *err)
{
	struct conduct_signs *now = &d->ends[CONDUCT_TO].signs;
	uint64_t before = signals(now);
	int r;

	if (d->answer != CONDUCT_UNSEEN || !now->known || now->waiting ||
	    now->in_flight)
		return 0;
	r = nudge_one(d, err);
	if (r)
		return r;
	look_at(&d->ends[CONDUCT_TO]);
	d->first = *now;
	if (now->known && signals(now) == before)
		d->answer = CONDUCT_HEARD;
	return 0;
}

static void give_verdict(struct conduct_device *d)
{
	const struct conduct_signs *now = &d->ends[CONDUCT_TO].signs;

	if (d->answer != CONDUCT_UNSEEN || !now->known)
		return;
	if (now->waiting)
		d->answer = CONDUCT_UNHEARD;
	else if (now->visits > d->first.visits)
		d->answer = CONDUCT_HEARD;
	else if (now->in_flight)
		d->answer = CONDUCT_STUCK;
	else
		d->answer = CONDUCT_LOST;
}

void conduct_check(struct conductor *c)
{
	struct ob_err err = { 0 };
	int r;

	conduct_phase(c, "check");
	r = look_for(c, FIRST_US, &err);
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = nudge(&c->devices[i], &err);
	if (!r)
		r = look_for(c, SECOND_US, &err);
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		give_verdict(&c->devices[i]);
}

/* -- what is told ------------------------------------------------------ */

static void describe_count(const struct conduct_signs *s, char *text,
			   size_t size)
{
	snprintf(text, size, "%llu signalled, %llu since the guest was seen",
		 (unsigned long long)signals(s),
		 (unsigned long long)s->unanswered);
}

static bool warn(const struct conduct_device *d, char *text, size_t size)
{
	const struct conduct_end *end = &d->ends[CONDUCT_TO];
	const struct conduct_signs *s = &end->signs;
	char count[80];

	describe_count(s, count, sizeof(count));
	switch (d->answer) {
	case CONDUCT_UNHEARD:
		snprintf(text, size, "%s: %llu interrupts are due and QEMU does "
			 "not listen to them, or the guest has them masked: "
			 "the guest waits for its disk", end->qdev,
			 (unsigned long long)s->waiting);
		return true;
	case CONDUCT_LOST:
		snprintf(text, size, "%s: the guest does not take its interrupts "
			 "(%s)", end->qdev, count);
		return true;
	case CONDUCT_STUCK:
		snprintf(text, size, "%s: none of %llu commands has ended so far "
			 "(%s)", end->qdev, (unsigned long long)s->in_flight,
			 count);
		return true;
	case CONDUCT_UNSEEN:
		snprintf(text, size, "%s: it was not seen whether interrupts "
			 "arrive", end->qdev);
		return true;
	default:
		return false;
	}
}

json_t *conduct_warnings(const struct conductor *c)
{
	json_t *list = json_array();
	char text[240];

	for (unsigned i = 0; i < c->nr_devices; i++)
		if (warn(&c->devices[i], text, sizeof(text)))
			json_array_append_new(list, json_string(text));
	return list;
}

void conduct_warn(const struct conductor *c)
{
	json_t *list = conduct_warnings(c), *text;
	size_t i;

	json_array_foreach(list, i, text)
		fprintf(stderr, "outboard %s: it runs, but %s\n",
			c->params.verb, json_string_value(text));
	json_decref(list);
}
