// SPDX-License-Identifier: BSD-3-Clause
/* The methods of the control channel that only look (docs/control.md). */
#include <stdlib.h>
#include <unistd.h>

#include "daemon/control_priv.h"
#include "ob_config.h"
#include "server/server.h"

static json_t *describe_interrupts(const struct ob_device_status *s)
{
	return json_pack("{s:I, s:I, s:I, s:i, s:I}", "intx",
			 (json_int_t)s->intx, "msi", (json_int_t)s->msi, "msix",
			 (json_int_t)s->msix, "waiting", (int)s->waiting,
			 "unanswered", (json_int_t)s->unanswered);
}

static json_t *describe_device(struct ob_device *dev)
{
	struct ob_device_status status;

	ob_device_status(dev, &status);
	return json_pack("{s:o, s:s, s:o, s:i, s:I, s:I, s:I, s:i, s:b, s:I, s:o}",
			 "id",
			 control_text_of(status.id), "model", status.model, "address",
			 control_text_of(status.address),
			 "client", (int)status.client, "step",
			 (json_int_t)status.step, "in flight",
			 (json_int_t)status.in_flight, "state bytes",
			 (json_int_t)status.state_bytes, "lanes",
			 (int)status.lanes, "spread", status.spread, "visits",
			 (json_int_t)status.visits, "interrupts",
			 describe_interrupts(&status));
}

/* Of all devices, each asked on its thread. */
struct reports {
	json_t **of;			/* by number */
	json_t *(*ask)(struct ob_device *dev);
};

static void report(void *arg, size_t i, struct ob_device *dev)
{
	const struct reports *reports = arg;

	reports->of[i] = reports->ask(dev);
}

static json_t *ask_all(const struct ob_control_host *host,
		       json_t *(*ask)(struct ob_device *dev))
{
	struct reports reports = { .ask = ask };
	json_t *list = json_array();
	size_t count = 0;

	while (host->device(host->arg, count))
		count++;
	reports.of = calloc(count + 1, sizeof(json_t *));
	if (!reports.of)
		return list;
	host->each(host->arg, report, &reports);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, reports.of[i]);
	free(reports.of);
	return list;
}

static json_t *report_migration(struct ob_device *dev)
{
	json_t *of = describe_device(dev);

	json_object_set_new(of, "migration", control_describe_migration(dev));
	return of;
}

static const char *upgrade_word(int state)
{
	static const char *const words[] = {
		"none", "under way", "done", "refused", "rehearsed", "switched",
	};

	return state >= 0 && state < 6 ? words[state] : "unknown";
}

static json_t *describe_keeper(const struct ob_keeper_status *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:s, s:o}",
			 "generation", (json_int_t)s->generation, "deaths",
			 (json_int_t)s->deaths, "upgrades",
			 (json_int_t)s->upgrades, "rollbacks",
			 (json_int_t)s->rollbacks, "gap us",
			 (json_int_t)s->last_gap_us, "estimated gap us",
			 (json_int_t)s->estimated_gap_us, "worker", s->worker_pid,
			 "signal", s->last_signal, "ticket", s->ticket,
			 "upgrade", upgrade_word(s->last_upgrade), "why",
			 control_text_of(s->why));
}

static json_t *describe(const struct ob_control *control, json_t *keeper)
{
	return json_pack("{s:s, s:i, s:o, s:o}", "version", OB_VERSION, "pid",
			 (int)getpid(), "keeper", keeper, "devices",
			 ask_all(&control->host, report_migration));
}

void control_tell_status(struct control_client *c,
			 const struct ob_keeper_status *status)
{
	json_t *id = json_incref(c->waits);

	control_succeed(c, id, describe(c->control, describe_keeper(status)));
	json_decref(id);
}

void control_do_status(struct control_client *c,
		       const struct control_call *call)
{
	const struct ob_control_host *host = &c->control->host;

	if (!host->ask_status) {
		control_succeed(c, call->id, describe(c->control, json_null()));
	} else if (host->ask_status(host->arg)) {
		control_refuse(c, call->id, CONTROL_FAILED,
			       "the keeper cannot be asked");
	} else {
		control_wait(c, call->id);
		c->asks_keeper = true;
	}
}

static void add_inflight(void *arg, const struct ob_device_inflight *io)
{
	json_array_append_new(arg, json_pack(
		"{s:i, s:i, s:s, s:s, s:I, s:I, s:I}", "queue", io->queue,
		"command", io->command, "operation", io->operation, "phase",
		io->phase, "offset", (json_int_t)io->offset, "bytes",
		(json_int_t)io->bytes, "age us", (json_int_t)io->age_us));
}

static json_t *report_inflight(struct ob_device *dev)
{
	json_t *of = describe_device(dev), *list = json_array();

	ob_device_inflight(dev, add_inflight, list);
	json_object_set_new(of, "commands", list);
	return of;
}

void control_do_inflight(struct control_client *c,
			 const struct control_call *call)
{
	control_succeed(c, call->id, json_pack("{s:o}", "devices", ask_all(
		&c->control->host, report_inflight)));
}
