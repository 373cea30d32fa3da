// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard inspect: what a client sees of a served device.  Reads only, so a
 * device that waits for its client is left as it was; one that has a client
 * refuses us.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/client.h>

#include "connect.h"
#include "control_client.h"
#include "pci_decode.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

#define CONFIG_MAX 4096u
#define IRQS_MAX 32u

static const char *region_name(uint32_t index)
{
	static const char *const names[] = {
		"BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM",
		"config", "VGA",
	};

	return index < sizeof(names) / sizeof(names[0]) ? names[index]
							: "other";
}

static const char *irq_name(uint32_t index)
{
	static const char *const names[] = {
		"INTx", "MSI", "MSI-X", "ERR", "REQ",
	};

	return index < sizeof(names) / sizeof(names[0]) ? names[index]
							: "other";
}

static json_t *describe_version(struct ob_client *client)
{
	const struct ob_client_version *v = ob_client_version(client);
	json_t *said = json_loads(v->json, 0, NULL);
	json_t *obj = json_pack("{s:o}", "version",
				json_sprintf("%u.%u", v->major, v->minor));
	json_t *caps = json_pack("{s:I, s:I, s:I, s:o, s:b, s:b}",
		"max_msg_fds", (json_int_t)v->max_msg_fds,
		"max_data_xfer_size", (json_int_t)v->max_data_xfer_size,
		"max_dma_maps", (json_int_t)v->max_dma_maps,
		"pgsizes", json_sprintf("0x%" PRIx64, v->pgsizes),
		"write_multiple", v->write_multiple,
		"twin_socket", v->twin_socket);

	json_object_set_new(obj, "capabilities", caps);
	if (said)
		json_object_set(obj, "offered",
				json_object_get(said, "capabilities"));
	json_decref(said);
	return obj;
}

static json_t *describe_region(const struct ob_client_region *info)
{
	json_t *obj = json_pack("{s:i, s:s, s:I, s:b, s:b, s:b}",
				"index", (int)info->index,
				"name", region_name(info->index),
				"size", (json_int_t)info->size,
				"read", info->readable,
				"write", info->writable,
				"mmap", info->mappable);
	json_t *areas = json_array();

	for (uint32_t i = 0; i < info->nr_areas; i++)
		json_array_append_new(areas,
			json_pack("{s:o, s:I}", "offset",
				  json_sprintf("0x%" PRIx64,
					       info->areas[i].offset),
				  "size", (json_int_t)info->areas[i].size));
	if (info->nr_areas)
		json_object_set_new(obj, "mappable areas", areas);
	else
		json_decref(areas);
	return obj;
}

static int describe_regions(struct ob_client *client, uint32_t count,
			    json_t *list, struct ob_err *err)
{
	if (count > OB_CLIENT_MAX_REGIONS)
		count = OB_CLIENT_MAX_REGIONS;
	for (uint32_t i = 0; i < count; i++) {
		const struct ob_client_region *info;
		int r = ob_client_region_info(client, i, &info, err);

		if (r)
			return r;
		if (info->size)
			json_array_append_new(list, describe_region(info));
	}
	return 0;
}

static int describe_irqs(struct ob_client *client, uint32_t count,
			 json_t *list, struct ob_err *err)
{
	if (count > IRQS_MAX)
		count = IRQS_MAX;
	for (uint32_t i = 0; i < count; i++) {
		struct ob_client_irq info;
		int r = ob_client_irq_info(client, i, &info, err);

		if (r)
			return r;
		if (!info.count)
			continue;
		json_array_append_new(list,
			json_pack("{s:i, s:s, s:I, s:b, s:b, s:b, s:b}",
				  "index", (int)i, "name", irq_name(i),
				  "count", (json_int_t)info.count,
				  "eventfd", info.eventfd,
				  "maskable", info.maskable,
				  "automasked", info.automasked,
				  "noresize", info.noresize));
	}
	return 0;
}

static int describe_config(struct ob_client *client, json_t *tree,
			   struct ob_err *err)
{
	const struct ob_client_region *info;
	uint8_t config[CONFIG_MAX];
	size_t len = CONFIG_MAX;
	int r = ob_client_region_info(client, OB_CLIENT_CONFIG, &info, err);

	if (r)
		return r;
	if (info->size < len)
		len = info->size;
	if (len < 64)
		return ob_fail(err, EPROTO,
			       "the configuration space has only %zu bytes",
			       len);
	r = ob_client_read(client, OB_CLIENT_CONFIG, 0, config, len, err);
	if (r)
		return r;
	json_object_set_new(tree, "config", pci_decode(config, len));
	return 0;
}

/* What another server would be sent now, and where the device is. */
static int describe_migration(struct ob_client *client, json_t *tree,
			      struct ob_err *err)
{
	enum ob_client_mig_state state;
	struct ob_client_mig mig;
	uint64_t bytes;
	int r;

	if ((r = ob_client_mig_info(client, &mig, err)) || !mig.stop_copy ||
	    (r = ob_client_mig_get(client, &state, err)))
		return r;
	/* The size is not in every specification. */
	if (ob_client_mig_size(client, &bytes, NULL))
		bytes = 0;
	json_object_set_new(tree, "migration",
		json_pack("{s:s, s:I, s:b, s:b, s:b, s:b}", "state",
			  ob_client_mig_state_name(state), "size",
			  (json_int_t)bytes, "stop_copy", mig.stop_copy,
			  "p2p", mig.p2p, "pre_copy", mig.pre_copy,
			  "dirty_log", mig.logging));
	return 0;
}

static int describe(struct ob_client *client, json_t *tree,
		    struct ob_err *err)
{
	json_t *regions = json_array(), *irqs = json_array();
	struct ob_client_device info;
	int r = ob_client_device_info(client, &info, err);

	json_object_set_new(tree, "protocol", describe_version(client));
	json_object_set_new(tree, "regions", regions);
	json_object_set_new(tree, "interrupts", irqs);
	if (r)
		return r;
	json_object_set_new(tree, "device",
		json_pack("{s:b, s:b, s:I, s:I}", "pci", info.pci, "reset",
			  info.resettable, "regions",
			  (json_int_t)info.nr_regions, "irqs",
			  (json_int_t)info.nr_irqs));
	if ((r = describe_regions(client, info.nr_regions, regions, err)) ||
	    (r = describe_irqs(client, info.nr_irqs, irqs, err)) ||
	    (r = describe_migration(client, tree, err)))
		return r;
	return info.pci ? describe_config(client, tree, err) : 0;
}

static int inspect(const char *path, bool as_json)
{
	struct ob_client *client = NULL;
	struct ob_err err = { 0 };
	json_t *tree = json_pack("{s:s}", "socket", path);
	int r = tool_connect(path, &client, &err);

	if (!r)
		r = describe(client, tree, &err);
	ob_client_destroy(client);
	if (r)
		json_decref(tree);
	else
		r = report_print(stdout, tree, as_json, &err);
	return r ? tool_failed("inspect", &err) : TOOL_OK;
}

/* What the server's devices are at, over its control socket. */
static int inspect_inflight(const char *path, bool as_json)
{
	struct ob_err err = { 0 };
	json_t *tree = NULL;
	int r = control_call(path, "inflight", NULL, &tree, &err);

	if (!r)
		r = report_print(stdout, tree, as_json, &err);
	return r ? tool_failed("inspect", &err) : TOOL_OK;
}

struct options {
	bool json, inflight;
};

OB_ARG_FLAG(json, struct options, json)
OB_ARG_FLAG(inflight, struct options, inflight)

static const struct ob_arg args[] = {
	{ "inflight", NULL, "of a control socket: commands begun and not ended",
	  set_inflight },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_inspect_help(FILE *out)
{
	ob_args_help(args, out);
}

int tool_inspect(int argc, char **argv)
{
	struct options opt = { 0 };
	const char *path;

	if (tool_socket_args(args, &opt, argc, argv, &path))
		return TOOL_USAGE;
	return opt.inflight ? inspect_inflight(path, opt.json)
			    : inspect(path, opt.json);
}
