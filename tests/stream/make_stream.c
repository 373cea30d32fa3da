// SPDX-License-Identifier: BSD-3-Clause
/*
 * Streams for the tests of `outboard state`, without a server:
 *
 *	make_stream OPTION... >FILE
 *
 *	--device MODEL,KEY=VALUE,...	the state of such a device, just reset
 *	--fill N	every field a value of its own that respects its bounds
 *	--as NAME	a model of that name, as if another build had it
 *	--content KIND:INDEX:SIZE	content; every third block is zeros
 *	--content-fill N	other bytes
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/registry.h"
#include "server/device_impl.h"
#include "server/server.h"
#include "state/save.h"

#define BLOCK 4096u

static uint64_t seed, content_seed = 1;

struct content {
	struct ob_content_id id;
	uint8_t *bytes;
	uint64_t at;
};

static _Noreturn void die(const char *what, const struct ob_err *err)
{
	fprintf(stderr, "make_stream: %s: %s\n", what, err ? err->msg : "");
	exit(1);
}

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 20;
}

static void fill(const struct ob_table *table, uint8_t *base)
{
	const struct ob_field *f;
	uint32_t i;

	for (f = table->fields; f->type != OB_FIELD_END; f++)
		for (i = 0; i < f->count; i++) {
			uint8_t *at = base + f->offset + i * f->size;
			uint64_t value = next(&seed);

			if (f->type == OB_FIELD_STRUCT)
				fill(f->sub, at);
			if (f->max)
				value %= f->max + 1;
			if (f->type != OB_FIELD_STRUCT &&
			    f->type != OB_FIELD_RESERVED)
				memcpy(at, &value, f->size);
		}
}

static bool take(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct content *c = arg;
	uint64_t n = c->id.size - c->at;

	if (!n)
		return false;
	n = n < max ? n : max;
	n = n < BLOCK ? n : BLOCK;
	*run = (struct ob_content_run){ c->at, n, c->bytes + c->at };
	if (c->at / BLOCK % 3 == 2)
		run->data = NULL;
	c->at += n;
	return true;
}

static void left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	struct content *c = arg;

	*initial = c->id.size - c->at;
	*dirty = 0;
}

static struct content *make_content(const char *text)
{
	struct content *c = calloc(1, sizeof(*c));
	unsigned long long size;

	if (!c || sscanf(text, "%u:%u:%llu", &c->id.kind, &c->id.index, &size) != 3)
		die(text, NULL);
	c->id.size = size;
	c->bytes = malloc(size + 8);
	if (!c->bytes)
		die(text, NULL);
	for (uint64_t i = 0; i < size; i += 8) {
		uint64_t value = next(&content_seed);

		memcpy(c->bytes + i, &value, sizeof(value));
	}
	return c;
}

static struct ob_device *make_device(struct ob_loop **loop, const char *text)
{
	const struct ob_option *tables[3] = { ob_device_common_options };
	const struct ob_device_class *cls;
	struct ob_loop_params params = { 0 };
	struct ob_registry registry;
	struct ob_options *opts;
	struct ob_device *dev;
	struct ob_err err = { "" };
	char name[32], whole[512];

	snprintf(whole, sizeof(whole), "%s,socket=unused,id=disk", text);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, ","), text);
	ob_registry_init(&registry);
	cls = ob_registry_find(&registry, name, &err);
	tables[1] = cls ? cls->options : NULL;
	if (!cls || ob_options_parse(whole, tables, &opts, &err) ||
	    ob_loop_create(&params, loop, &err) ||
	    ob_device_create(*loop, cls, opts, &dev, &err))
		die(text, &err);
	return dev;
}

static void write_all(struct ob_saver *saver)
{
	struct iovec iov[8];
	unsigned count, i;

	ob_saver_stopped(saver);
	while (!ob_saver_done(saver)) {
		if (ob_saver_wants_end(saver))
			ob_saver_allow_end(saver);
		count = 8;
		ob_saver_read(saver, 50000, iov, &count);
		for (i = 0; i < count; i++)
			fwrite(iov[i].iov_base, 1, iov[i].iov_len, stdout);
	}
	if (fflush(stdout))
		die("cannot write", NULL);
}

static void save(struct ob_device *dev, const char *model,
		 struct content **contents, unsigned nr_contents)
{
	void *const bases[] = { dev->core, dev->plain, dev->hot };
	struct ob_content_source sources[8];
	struct ob_part parts[OB_PARTS_MAX];
	struct ob_save_plan plan = {
		.model = model ? model : ob_dev_class(dev)->name,
		.id = ob_dev_id(dev), .parts = parts, .contents = sources,
		.nr_contents = nr_contents,
	};
	struct ob_saver *saver;
	struct ob_err err = { "" };
	unsigned i;

	plan.nr_parts = ob_device_class_parts(ob_dev_class(dev), parts);
	for (i = 0; i < plan.nr_parts; i++) {
		parts[i].base = bases[i];
		if (seed)
			fill(parts[i].table, parts[i].base);
	}
	for (i = 0; i < nr_contents; i++)
		sources[i] = (struct ob_content_source){
			.id = contents[i]->id, .take = take, .left = left,
			.arg = contents[i],
		};
	if (ob_saver_create(&plan, &saver, &err))
		die("saver", &err);
	write_all(saver);
	ob_saver_destroy(saver);
}

int main(int argc, char **argv)
{
	const char *device = "null", *model = NULL;
	struct content *contents[8];
	struct ob_device *dev;
	struct ob_loop *loop;
	unsigned nr = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		const char *value = argv[i + 1];

		if (!strcmp(argv[i], "--device"))
			device = value;
		else if (!strcmp(argv[i], "--fill"))
			seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--as"))
			model = value;
		else if (!strcmp(argv[i], "--content-fill"))
			content_seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--content") && nr < 8)
			contents[nr++] = make_content(value);
		else
			die(argv[i], NULL);
	}
	dev = make_device(&loop, device);
	save(dev, model, contents, nr);
	ob_device_destroy(dev);
	ob_loop_destroy(loop);
	while (nr) {
		free(contents[--nr]->bytes);
		free(contents[nr]);
	}
	return 0;
}
