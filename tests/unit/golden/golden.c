// SPDX-License-Identifier: BSD-3-Clause
#include "golden.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/registry.h"
#include "server/device_impl.h"

#define MEMORY (2u << 20)

static void read_file(const char *path, struct stream *out)
{
	FILE *f = fopen(path, "re");

	if (!f)
		fail_msg("%s: cannot be read", path);
	out->room = 1u << 20;
	out->bytes = malloc(out->room);
	assert_non_null(out->bytes);
	out->len = fread(out->bytes, 1, out->room, f);
	assert_true(out->len < out->room);
	fclose(f);
}

static void read_golden(const char *path, struct golden *out)
{
	const char *base = strrchr(path, '/'), *folder = base;
	struct stream line;
	char beside[512];

	while (folder[-1] != '/')
		folder--;
	snprintf(out->name, sizeof(out->name), "%.*s",
		 (int)(strlen(folder) - strlen(".stream")), folder);
	read_file(path, &out->stream);
	snprintf(beside, sizeof(beside), "%.*s.device",
		 (int)(strlen(path) - strlen(".stream")), path);
	read_file(beside, &line);
	snprintf(out->device, sizeof(out->device), "%.*s",
		 (int)strcspn((char *)line.bytes, "\n"), (char *)line.bytes);
	stream_free(&line);
}

void golden_each(const char *top, const char *prefix,
		 void (*what)(const struct golden *golden))
{
	struct golden golden = { 0 };
	char pattern[512];
	glob_t found;
	size_t i;

	snprintf(pattern, sizeof(pattern), "%s/*/%s*.stream", top, prefix);
	if (glob(pattern, 0, NULL, &found))
		fail_msg("nothing at %s", pattern);
	for (i = 0; i < found.gl_pathc; i++) {
		read_golden(found.gl_pathv[i], &golden);
		what(&golden);
		stream_free(&golden.stream);
	}
	globfree(&found);
}

static void bring_memory(struct rig *rig)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEMORY), 0);
	assert_int_equal(rig_map(rig, 0, MEMORY, 0, 3, fd), 0);
	close(fd);
}

static void find_parts(struct golden_device *d)
{
	struct ob_device *dev = d->rig->dev;
	void *const bases[] = { dev->core, dev->plain, dev->hot };
	unsigned i;

	d->nr_parts = ob_device_class_parts(dev->cls, d->parts);
	for (i = 0; i < d->nr_parts; i++) {
		d->parts[i].base = bases[i];
		d->before[i] = malloc(d->parts[i].table->size);
		assert_non_null(d->before[i]);
	}
}

void golden_start(struct golden_device *d, const struct golden *golden)
{
	struct ob_registry models;
	struct ob_err err = { "" };
	char model[32];
	const struct ob_device_class *cls;

	snprintf(model, sizeof(model), "%.*s",
		 (int)strcspn(golden->device, ","), golden->device);
	ob_registry_init(&models);
	cls = ob_registry_find(&models, model, &err);
	if (!cls)
		fail_msg("%s", err.msg);
	d->rig = rig_start_model(cls, golden->device);
	rig_connect(d->rig);
	assert_int_equal(rig_version(d->rig, RIG_EXTENSIONS), 0);
	bring_memory(d->rig);
	find_parts(d);
}

void golden_end(struct golden_device *d)
{
	while (d->nr_parts)
		free(d->before[--d->nr_parts]);
	rig_end(d->rig);
}

void golden_remember(struct golden_device *d)
{
	unsigned i;

	for (i = 0; i < d->nr_parts; i++)
		memcpy(d->before[i], d->parts[i].base, d->parts[i].table->size);
}

bool golden_is_unchanged(const struct golden_device *d)
{
	unsigned i;

	for (i = 0; i < d->nr_parts; i++)
		if (memcmp(d->before[i], d->parts[i].base,
			   d->parts[i].table->size))
			return false;
	return true;
}
