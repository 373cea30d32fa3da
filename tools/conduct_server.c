// SPDX-License-Identifier: BSD-3-Clause
/* What a server tells about one of its devices. */
#include <errno.h>
#include <string.h>

#include "conduct.h"
#include "control_client.h"
#include "vmm/hex.h"

int conduct_parse_config(const json_t *result, uint8_t config[OB_REPAIR_CONFIG],
			 struct ob_err *err)
{
	const char *text = json_string_value(json_object_get(result, "config"));

	if (!text || ob_hex_read(text, config, OB_REPAIR_CONFIG))
		return ob_fail(err, EPROTO, "device.config: no configuration "
			       "space of %u bytes", OB_REPAIR_CONFIG);
	return 0;
}

int conduct_config(struct conduct_end *end, uint8_t config[OB_REPAIR_CONFIG],
		   struct ob_err *err)
{
	json_t *result = NULL;
	int r = control_call(end->control, "device.config",
			     json_pack("{s:s}", "device", end->id), &result,
			     err);

	if (!r)
		r = conduct_parse_config(result, config, err);
	if (r)
		ob_err_prefix(err, "%s", end->id);
	json_decref(end->options);
	json_decref(end->drives);
	end->options = json_incref(json_object_get(result, "options"));
	end->drives = json_incref(json_object_get(result, "drives"));
	json_decref(result);
	return r;
}

static uint64_t number(const json_t *device, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(device, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void take_progress(const json_t *device, struct conduct_device *d)
{
	const json_t *move = json_object_get(device, "migration");

	d->bytes = number(move, "bytes");
	d->left = number(move, "left");
	d->pages = number(move, "pages moved");
}

static void take_status(const json_t *device, struct conduct_device *d,
			enum conduct_side side)
{
	const json_t *move = json_object_get(device, "migration");
	const char *pages = json_string_value(json_object_get(move, "pages"));

	d->ends[side].keeps_pages = pages && strcmp(pages, "none") != 0;
	if (side == CONDUCT_FROM)
		take_progress(device, d);
}

/* Each server is asked once, whatever it serves. */
static void ask_server(struct conductor *c, enum conduct_side side,
		       const char *control)
{
	json_t *status = NULL, *device;
	size_t k;

	if (control_call(control, "status", NULL, &status, NULL))
		return;
	json_array_foreach(json_object_get(status, "devices"), k, device)
		for (unsigned i = 0; i < c->nr_devices; i++) {
			struct conduct_end *end = &c->devices[i].ends[side];
			const char *id = json_string_value(
				json_object_get(device, "id"));

			if (id && end->control && !strcmp(id, end->id) &&
			    !strcmp(end->control, control))
				take_status(device, &c->devices[i], side);
		}
	json_decref(status);
}

void conduct_ask_servers(struct conductor *c, enum conduct_side side)
{
	for (unsigned i = 0; i < c->params.nr_controls[side]; i++)
		ask_server(c, side, c->params.controls[side][i]);
}
