// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <jansson.h>
#include <outboard/block_backend.h>

#include "daemon/models.h"
#include "devices/registry.h"
#include "server/server.h"

static const char *const type_words[] = {
	[OB_OPT_STRING] = "text",
	[OB_OPT_UINT] = "number",
	[OB_OPT_SIZE] = "size",
	[OB_OPT_BOOL] = "switch",
	[OB_OPT_CHOICE] = "choice",
};

/* What stands behind the equals sign: the choices, or the type. */
static const char *placeholder(const struct ob_option *o)
{
	if (o->type == OB_OPT_CHOICE)
		return o->choices;
	return o->type == OB_OPT_BOOL ? "on|off" : type_words[o->type];
}

static void print_option(FILE *out, const struct ob_option *o)
{
	char head[80];

	snprintf(head, sizeof(head), "%s=%s", o->name, placeholder(o));
	fprintf(out, "    %-34s %s", head, o->help ? o->help : "");
	if (o->def)
		fprintf(out, " (default %s)", o->def);
	if (o->required)
		fprintf(out, " (required)");
	if (o->list)
		fprintf(out, " (may repeat)");
	fputc('\n', out);
}

static void print_options(FILE *out, const struct ob_option *o)
{
	for (; o && o->name; o++)
		print_option(out, o);
}

static void print_all(FILE *out, const struct ob_registry *reg)
{
	fprintf(out, "Models, and the keys of each:\n");
	for (size_t i = 0; i < reg->count; i++) {
		fprintf(out, "  %-36s %s\n", reg->models[i]->name,
			reg->models[i]->summary);
		print_options(out, reg->models[i]->options);
	}
	fprintf(out, "\nKeys of every device:\n");
	print_options(out, ob_device_common_options);
	fprintf(out, "\nDrives:\n");
	for (unsigned i = 0; ob_drive_types[i]; i++)
		fprintf(out, "  %-36s %s\n", ob_drive_types[i]->syntax,
			ob_drive_types[i]->summary);
}

/* A NULL text becomes null. */
static json_t *option_json(const struct ob_option *o)
{
	return json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:b, s:b}",
			 "name", o->name, "type", type_words[o->type],
			 "choices", o->choices, "default", o->def,
			 "help", o->help, "required", o->required,
			 "list", o->list);
}

static json_t *options_json(const struct ob_option *o)
{
	json_t *array = json_array();

	for (; o && o->name; o++)
		json_array_append_new(array, option_json(o));
	return array;
}

static json_t *models_json(const struct ob_registry *reg)
{
	json_t *array = json_array();

	for (size_t i = 0; i < reg->count; i++) {
		const struct ob_device_class *cls = reg->models[i];

		json_array_append_new(array,
			json_pack("{s:s, s:s, s:i, s:i, s:o}",
				  "name", cls->name, "summary", cls->summary,
				  "vendor", cls->pci->vendor,
				  "device", cls->pci->device,
				  "keys", options_json(cls->options)));
	}
	return array;
}

static json_t *drives_json(void)
{
	json_t *array = json_array();

	for (unsigned i = 0; ob_drive_types[i]; i++)
		json_array_append_new(array,
			json_pack("{s:s, s:s, s:s}",
				  "name", ob_drive_types[i]->name,
				  "syntax", ob_drive_types[i]->syntax,
				  "summary", ob_drive_types[i]->summary));
	return array;
}

static int print_json(FILE *out, const struct ob_registry *reg,
		      struct ob_err *err)
{
	json_t *root = json_pack("{s:o, s:o, s:o}",
				 "models", models_json(reg),
				 "keys", options_json(ob_device_common_options),
				 "drives", drives_json());
	int rc = root ? json_dumpf(root, out, JSON_INDENT(2)) : -1;

	json_decref(root);
	fputc('\n', out);
	return rc ? ob_fail(err, EIO, "cannot write JSON") : 0;
}

static int init_registry(const char *const *loads, size_t nr_loads,
			 struct ob_registry *reg, struct ob_err *err)
{
	int rc = 0;

	ob_registry_init(reg);
	for (size_t i = 0; i < nr_loads && !rc; i++)
		rc = ob_registry_load(reg, loads[i], err);
	return rc;
}

int ob_models_print(FILE *out, const char *const *loads, size_t nr_loads,
		    struct ob_err *err)
{
	struct ob_registry reg;
	int rc = init_registry(loads, nr_loads, &reg, err);

	if (!rc)
		print_all(out, &reg);
	ob_registry_finish(&reg);
	return rc;
}

int ob_models_json(FILE *out, const char *const *loads, size_t nr_loads,
		   struct ob_err *err)
{
	struct ob_registry reg;
	int rc = init_registry(loads, nr_loads, &reg, err);

	if (!rc)
		rc = print_json(out, &reg, err);
	ob_registry_finish(&reg);
	return rc;
}
