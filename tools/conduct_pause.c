// SPDX-License-Identifier: BSD-3-Clause
/*
 * The VM stands still, and every microsecond counts.  The devices come to a
 * standstill together; what QEMU has of them is read; then QEMU's last pass, the
 * last pages and the rest of the devices' state go at the same time, since none of
 * them needs another.  Only what comes after is put in order again.
 *
 * A device's last interrupts are on their way into QEMU's main loop when it is
 * quiet.  The questions that conduct_take asks go through that loop, so that QEMU's
 * own state, saved after them, has those interrupts in it.
 */
#include <errno.h>
#include <string.h>

#include "conduct.h"

#define PAUSE_MS 30000

/* Both say it, in answers to different people. */
int conduct_quiet(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_mark(c, CONDUCT_SEEN);
	c->stood = true;
	r = conduct_step(c, CONDUCT_FROM, "device.quiesce", NULL, err);
	conduct_mark(c, CONDUCT_QUIET);
	return r;
}

int conduct_take(struct conductor *c, struct ob_err *err)
{
	uint8_t config[OB_REPAIR_CONFIG];
	int r = conduct_step(c, CONDUCT_FROM, "device.config", NULL, err);

	for (unsigned i = 0; i < c->nr_devices && !r; i++) {
		struct conduct_device *d = &c->devices[i];
		struct conduct_end *end = &d->ends[CONDUCT_FROM];

		r = conduct_parse_config(end->calls[CONDUCT_STEP].result,
					 config, err);
		if (!r)
			r = ob_repair_take(c->qmp[CONDUCT_FROM], config,
					   &d->repair, err);
		if (r)
			ob_err_prefix(err, "%s", end->qdev);
	}
	conduct_mark(c, CONDUCT_TAKEN);
	return r;
}

int conduct_pause(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "pause");
	r = conduct_quiet(c, err);
	if (!r)
		r = conduct_take(c, err);
	if (!r)
		r = ob_qmp_call(c->qmp[CONDUCT_FROM], "migrate-continue",
				json_pack("{s:s}", "state", "pre-switchover"),
				NULL, err);
	c->finishing = true;
	if (!r)
		r = conduct_step(c, CONDUCT_FROM, "pages.finish", NULL, err);
	return r ? r : conduct_await_all(c, PAUSE_MS, err);
}
