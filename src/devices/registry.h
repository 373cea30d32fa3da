/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The models that this program knows: those of one visible array in
 * registry.c, and those that were loaded from shared objects.
 */
#ifndef OB_DEVICES_REGISTRY_H
#define OB_DEVICES_REGISTRY_H

#include <outboard/device.h>

#define OB_MAX_MODELS 64

/*
 * What a shared object exports:
 *	const struct ob_device_class outboard_device_class = { ... };
 */
#define OB_CLASS_SYMBOL "outboard_device_class"

struct ob_registry {
	const struct ob_device_class *models[OB_MAX_MODELS];
	void *handles[OB_MAX_MODELS];	/* of loaded ones; else NULL */
	size_t count;
};

/* Fills in the built-in models. */
void ob_registry_init(struct ob_registry *reg);
/* Unloads; no device of a loaded model may exist any more. */
void ob_registry_finish(struct ob_registry *reg);

/*
 * -ENOENT: cannot be loaded.  -ENOEXEC: no model in it, or one that was built
 * for another release.  -EEXIST: its name is taken.  -ENOSPC.
 */
int ob_registry_load(struct ob_registry *reg, const char *file,
		     struct ob_err *err);
/* NULL and a message that lists the known models. */
const struct ob_device_class *ob_registry_find(const struct ob_registry *reg,
					       const char *name,
					       struct ob_err *err);

#endif
