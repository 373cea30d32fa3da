// SPDX-License-Identifier: BSD-3-Clause
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/models.h"
#include "devices/registry.h"

static const struct ob_device_class *const builtin[] = {
	&ob_nvme_class,
	&ob_edu_class,
	&ob_null_class,
};

_Static_assert(sizeof(builtin) / sizeof(builtin[0]) < OB_MAX_MODELS,
	       "room for loaded models");

void ob_registry_init(struct ob_registry *reg)
{
	*reg = (struct ob_registry){ 0 };
	for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++)
		reg->models[reg->count++] = builtin[i];
}

void ob_registry_finish(struct ob_registry *reg)
{
	while (reg->count) {
		reg->count--;
		if (reg->handles[reg->count])
			dlclose(reg->handles[reg->count]);
	}
}

static const struct ob_device_class *find(const struct ob_registry *reg,
					  const char *name)
{
	for (size_t i = 0; i < reg->count; i++)
		if (!strcmp(reg->models[i]->name, name))
			return reg->models[i];
	return NULL;
}

const struct ob_device_class *ob_registry_find(const struct ob_registry *reg,
					       const char *name,
					       struct ob_err *err)
{
	const struct ob_device_class *cls = find(reg, name);
	char known[160] = "";
	size_t at = 0;

	if (cls)
		return cls;
	for (size_t i = 0; i < reg->count && at < sizeof(known); i++)
		at += snprintf(known + at, sizeof(known) - at, "%s%s",
			       i ? ", " : "", reg->models[i]->name);
	ob_fail(err, ENOENT, "no model '%.32s' (known: %s)", name, known);
	return NULL;
}

/* The first two members are the same in every release, for this check. */
static int check_class(const struct ob_registry *reg, const char *file,
		       const struct ob_device_class *cls, struct ob_err *err)
{
	if (cls->abi != OB_DEVICE_ABI || cls->size != sizeof(*cls))
		return ob_fail(err, ENOEXEC,
			       "%s: the model is for interface %u (%u bytes), "
			       "this program has %u (%zu bytes)", file,
			       cls->abi, cls->size, OB_DEVICE_ABI,
			       sizeof(*cls));
	if (!cls->name || !*cls->name || !cls->summary || !cls->pci)
		return ob_fail(err, ENOEXEC,
			       "%s: the model lacks a name, a summary or a "
			       "PCI description", file);
	if (find(reg, cls->name))
		return ob_fail(err, EEXIST, "%s: there is a model '%s' already",
			       file, cls->name);
	return 0;
}

int ob_registry_load(struct ob_registry *reg, const char *file,
		     struct ob_err *err)
{
	const struct ob_device_class *cls;
	void *handle;
	int rc;

	if (reg->count == OB_MAX_MODELS)
		return ob_fail(err, ENOSPC, "%s: more than %d models", file,
			       OB_MAX_MODELS);
	handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (!handle)	/* dlerror names the file */
		return ob_fail(err, ENOENT, "%s", dlerror());
	cls = dlsym(handle, OB_CLASS_SYMBOL);
	rc = cls ? check_class(reg, file, cls, err)
		 : ob_fail(err, ENOEXEC, "%s: no symbol " OB_CLASS_SYMBOL,
			   file);
	if (rc) {
		dlclose(handle);
		return rc;
	}
	reg->models[reg->count] = cls;
	reg->handles[reg->count++] = handle;
	return 0;
}
