// SPDX-License-Identifier: BSD-3-Clause
/* Models for the tools that work on streams. */
#include <errno.h>
#include <stdlib.h>

#include "daemon/check_priv.h"

int ob_models_open(const char *const *loads, size_t nr_loads,
		   struct ob_models **out, struct ob_err *err)
{
	struct ob_models *models = calloc(1, sizeof(*models));
	size_t i;
	int r = 0;

	if (!models)
		return ob_fail(err, ENOMEM, "out of memory");
	ob_registry_init(&models->registry);
	for (i = 0; i < nr_loads && !r; i++)
		r = ob_registry_load(&models->registry, loads[i], err);
	if (r) {
		ob_err_prefix(err, "--load");
		ob_models_close(models);
		return r;
	}
	*out = models;
	return 0;
}

void ob_models_close(struct ob_models *models)
{
	if (!models)
		return;
	ob_registry_finish(&models->registry);
	free(models);
}

const char *ob_models_name(const struct ob_models *models, size_t i)
{
	return i < models->registry.count ? models->registry.models[i]->name
					  : NULL;
}

int ob_models_parts(const struct ob_models *models, const char *name,
		    struct ob_part parts[OB_PARTS_MAX], unsigned *count,
		    struct ob_err *err)
{
	const struct ob_device_class *cls =
		ob_registry_find(&models->registry, name, err);

	if (!cls)
		return -ENOENT;
	*count = ob_device_class_parts(cls, parts);
	return 0;
}
