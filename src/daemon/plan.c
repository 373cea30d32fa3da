// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"
#include "daemon/plan.h"
#include "server/server.h"

/* The model's name: the text up to the first comma. */
static const struct ob_device_class *
find_model(const struct ob_registry *reg, const char *text, struct ob_err *err)
{
	char name[64];
	size_t len = strcspn(text, ",");

	if (len >= sizeof(name))
		len = sizeof(name) - 1;
	memcpy(name, text, len);
	name[len] = '\0';
	return ob_registry_find(reg, name, err);
}

/* A name or a place to listen that two devices cannot share. */
static int check_unique(const struct ob_plan *plan,
			const struct ob_options *opts, const char *key,
			struct ob_err *err)
{
	const char *value = ob_options_str(opts, key);

	for (size_t i = 0; value && i < plan->count; i++) {
		const char *other = ob_options_str(plan->devices[i].opts, key);

		if (other && !strcmp(other, value))
			return ob_fail(err, EINVAL,
				       "another device has %s=%s", key, value);
	}
	return 0;
}

static int plan_device(struct ob_plan *plan, const char *text,
		       struct ob_err *err)
{
	struct ob_planned *p = &plan->devices[plan->count];
	const struct ob_option *tables[3] = { ob_device_common_options };
	int rc;

	p->cls = find_model(&plan->registry, text, err);
	if (!p->cls)
		return -EINVAL;
	tables[1] = p->cls->options;
	rc = ob_options_parse(text, tables, &p->opts, err);
	if (rc)
		return rc;
	if ((rc = check_unique(plan, p->opts, "id", err)) ||
	    (rc = check_unique(plan, p->opts, "socket", err)) ||
	    (rc = check_unique(plan, p->opts, "fd", err)))
		ob_options_destroy(p->opts);
	else
		plan->count++;
	return rc;
}

static int load_all(struct ob_plan *plan, const struct ob_serve_options *opts,
		    struct ob_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < opts->nr_loads && !rc; i++) {
		rc = ob_registry_load(&plan->registry, opts->loads[i], err);
		if (rc)
			ob_err_prefix(err, "--load");
	}
	return rc;
}

/* Where an option says, or on the one that has the fewest. */
static int place_device(struct ob_planned *p, unsigned *load, unsigned threads,
			struct ob_err *err)
{
	unsigned thread = 0;

	p->lanes = ob_device_lanes(p->opts);
	if (p->lanes > threads)
		return ob_fail(err, EINVAL, "lanes=%u: there are --threads %u",
			       p->lanes, threads);
	if (ob_options_count(p->opts, "thread")) {
		uint64_t wanted = ob_options_u64(p->opts, "thread");

		if (wanted >= threads)
			return ob_fail(err, EINVAL, "thread=%u: --threads %u "
				       "are 0 to %u", (unsigned)wanted, threads,
				       threads - 1);
		thread = (unsigned)wanted;
	} else {
		for (unsigned i = 1; i < threads; i++)
			if (load[i] < load[thread])
				thread = i;
	}
	p->thread = thread;
	for (unsigned i = 0; i < p->lanes; i++)
		load[(thread + i) % threads]++;
	return 0;
}

/* Those that say where go first. */
static int place_all(struct ob_plan *plan, const struct ob_serve_options *opts,
		     struct ob_err *err)
{
	unsigned load[OB_THREADS] = { 0 };

	for (unsigned i = 0; i < 2 * plan->count; i++) {
		struct ob_planned *p = &plan->devices[i % plan->count];
		bool says = ob_options_count(p->opts, "thread") > 0;
		int rc;

		if (says != (i < plan->count))
			continue;
		rc = place_device(p, load, opts->threads, err);
		if (rc) {
			ob_err_prefix(err, "--device %.80s",
				      opts->devices[i % plan->count]);
			return rc;
		}
	}
	return 0;
}

int ob_plan_make(struct ob_plan *plan, const struct ob_serve_options *opts,
		 struct ob_err *err)
{
	int rc;

	*plan = (struct ob_plan){ 0 };
	ob_registry_init(&plan->registry);
	plan->devices = calloc(opts->nr_devices, sizeof(*plan->devices));
	if (!plan->devices)
		return ob_fail(err, ENOMEM, "out of memory");
	rc = load_all(plan, opts, err);
	for (size_t i = 0; i < opts->nr_devices && !rc; i++) {
		rc = plan_device(plan, opts->devices[i], err);
		if (rc)
			ob_err_prefix(err, "--device %.80s",
				      opts->devices[i]);
	}
	return rc ? rc : place_all(plan, opts, err);
}

void ob_plan_finish(struct ob_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		ob_options_destroy(plan->devices[i].opts);
	free(plan->devices);
	ob_registry_finish(&plan->registry);
	*plan = (struct ob_plan){ 0 };
}
