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
	end->options = json_incref(json_object_get(result, "options"));
	json_decref(result);
	return r;
}

static uint64_t number(const json_t *device, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(device, key));

	return n > 0 ? (uint64_t)n : 0;
}

/* Whom it does not answer, it has told nothing new. */
void conduct_stream_status(const struct conduct_end *end, uint64_t *bytes,
			   uint64_t *left, uint64_t *pages)
{
	json_t *status = NULL, *device;
	size_t i;

	if (control_call(end->control, "status", NULL, &status, NULL))
		return;
	json_array_foreach(json_object_get(status, "devices"), i, device) {
		const json_t *move = json_object_get(device, "migration");
		const char *id = json_string_value(json_object_get(device,
								   "id"));

		if (!id || strcmp(id, end->id))
			continue;
		*bytes = number(move, "bytes");
		*left = number(move, "left");
		*pages = number(move, "pages moved");
	}
	json_decref(status);
}
