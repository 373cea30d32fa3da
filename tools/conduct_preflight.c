// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is looked at before anything begins: are these two machines the same one, is
 * each of its devices served on both sides, and can all of it move?  Questions only;
 * whatever refuses says which of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "conduct.h"

/* -- the two together -------------------------------------------------- */

static uint32_t dword(const uint8_t *config, unsigned at)
{
	uint32_t value;

	memcpy(&value, config + at, sizeof(value));
	return value;
}

static int compare_configs(struct conduct_device *d, const uint8_t *there,
			   struct ob_err *err)
{
	static const struct { uint8_t at; const char *what; } same[] = {
		{ 0x00, "vendor and device" }, { 0x08, "class and revision" },
		{ 0x2c, "subsystem" },
	};

	for (unsigned i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (dword(d->repair.config, same[i].at) !=
		    dword(there, same[i].at))
			return ob_fail(err, EINVAL, "%s: %s differ: %#x and %#x",
				       d->ends[0].qdev, same[i].what,
				       dword(d->repair.config, same[i].at),
				       dword(there, same[i].at));
	return 0;
}

/* Keys that say where it is, and not what it is. */
static bool is_place(const char *key)
{
	static const char *const places[] = { "socket", "fd", "id", "drive",
					      "incoming", "drain", "thread" };

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!strcmp(key, places[i]))
			return true;
	return false;
}

static const char *first_of(const json_t *values)
{
	const char *text = json_string_value(json_array_get(values, 0));

	return text ? text : "?";
}

/* What only one side says is left to the judgement of what travels. */
static int compare_keys(const struct conduct_device *d, struct ob_err *err)
{
	json_t *value;
	const char *key;

	json_object_foreach(d->ends[CONDUCT_FROM].options, key, value) {
		const json_t *there = json_object_get(
			d->ends[CONDUCT_TO].options, key);

		if (there && !is_place(key) && !json_equal(value, there))
			return ob_fail(err, EINVAL, "%s has %.20s=%.40s, at the "
				       "destination %.40s", d->ends[0].qdev,
				       key, first_of(value), first_of(there));
	}
	return 0;
}

static const char *text_of(const json_t *drive, const char *key)
{
	return json_string_value(json_object_get(drive, key));
}

/*
 * One that is known to be the same has the same size, whatever either has heard of
 * it so far.  A folder's may be a copy.
 */
static int compare_drive(const struct conductor *c, const char *who,
			 const json_t *from, const json_t *to,
			 struct ob_err *err)
{
	const char *a = text_of(from, "identity"), *b = text_of(to, "identity");
	json_int_t size[2] = {
		json_integer_value(json_object_get(from, "bytes")),
		json_integer_value(json_object_get(to, "bytes")),
	};
	const char *name = text_of(to, "name"), *why = text_of(to, "problem");

	name = name ? name : "?";
	if (why)
		return ob_fail(err, ENOENT, "%s: the destination's drive %.60s: "
			       "%.80s", who, name, why);
	if (json_is_true(json_object_get(from, "travels")) !=
	    json_is_true(json_object_get(to, "travels")))
		return ob_fail(err, EINVAL, "%s: only one side has a drive whose "
			       "content travels: %.60s", who, name);
	if (a && b && c->qmp[CONDUCT_FROM] && strcmp(a, b))
		return ob_fail(err, EINVAL, "%s: the destination's drive %.60s is "
			       "another one: %.30s, at the source %.30s", who,
			       name, b, a);
	if (a && b && !strcmp(a, b))
		return 0;
	if (size[0] != size[1])
		return ob_fail(err, EINVAL, "%s: the drive has %lld bytes, %.60s "
			       "at the destination %lld", who,
			       (long long)size[0], name, (long long)size[1]);
	return 0;
}

/* Nothing is known of a server, or a folder, of an older release. */
static int compare_drives(const struct conductor *c,
			  const struct conduct_device *d, struct ob_err *err)
{
	const json_t *from = d->ends[CONDUCT_FROM].drives;
	const json_t *to = d->ends[CONDUCT_TO].drives;
	int r = 0;

	if (!json_is_array(from) || !json_is_array(to))
		return 0;
	if (json_array_size(from) != json_array_size(to))
		return ob_fail(err, EINVAL, "%s has %zu drives, at the destination "
			       "%zu", d->ends[CONDUCT_FROM].qdev,
			       json_array_size(from), json_array_size(to));
	for (size_t i = 0; i < json_array_size(from) && !r; i++)
		r = compare_drive(c, d->ends[CONDUCT_FROM].qdev,
				  json_array_get(from, i),
				  json_array_get(to, i), err);
	return r;
}

/*
 * That configuration cycles reach it.  Behind a bridge nobody can tell before
 * QEMU's stream has numbered the buses.
 */
static int try_cycles(struct conductor *c, const struct conduct_end *end,
		      const uint8_t *config, struct ob_err *err)
{
	struct ob_pci pci;
	uint32_t id = 0;
	int r = ob_pci_find(c->qmp[CONDUCT_TO], end->qdev, &pci, err);

	if (r)
		return r == -ENOENT ? 0 : r;
	r = ob_pci_begin(&pci, err);
	if (!r)
		r = ob_pci_read(&pci, 0, 4, &id, err);
	if (!r)
		r = ob_pci_end(&pci, err);
	if (!r && id != dword(config, 0))
		r = ob_fail(err, ENOTSUP, "%s: configuration cycles do not reach "
			    "it: is this no PC?", end->qdev);
	return r;
}

static int compare_device(struct conductor *c, struct conduct_device *d,
			  struct ob_err *err)
{
	const struct conduct_end *from = &d->ends[CONDUCT_FROM];
	struct conduct_end *to = &d->ends[CONDUCT_TO];
	uint8_t there[OB_REPAIR_CONFIG];
	int r;

	if (strcmp(from->addr, to->addr) || strcmp(from->bus, to->bus))
		return ob_fail(err, EINVAL, "%s is at %.40s %s, and at %.40s %s "
			       "at the destination", from->qdev, from->bus,
			       from->addr, to->bus, to->addr);
	if (strcmp(from->model, to->model))
		return ob_fail(err, EINVAL, "%s is served by the model %s, at "
			       "the destination by %s", from->qdev, from->model,
			       to->model);
	r = conduct_config(to, there, err);
	if (!r)
		r = compare_configs(d, there, err);
	if (!r)
		r = compare_keys(d, err);
	if (!r)
		r = compare_drives(c, d, err);
	return r ? r : try_cycles(c, to, there, err);
}

/* -- the machines ------------------------------------------------------ */

static int look_at_machine(struct conductor *c, enum conduct_side side,
			   struct ob_err *err)
{
	json_t *memory = NULL, *cpus = NULL;
	json_int_t bytes = 0;
	int r = conduct_property(c, side, "/machine", "type", c->machine[side],
			     sizeof(c->machine[side]), err);

	snprintf(c->version[side], sizeof(c->version[side]), "%s",
		 ob_qmp_version(c->qmp[side]));
	if (!r)
		r = conduct_ask(c, side, "query-memory-size-summary", NULL,
				&memory, err);
	if (!r)
		r = conduct_ask(c, side, "query-cpus-fast", NULL, &cpus, err);
	json_unpack(memory, "{s:I}", "base-memory", &bytes);
	c->memory[side] = bytes;
	c->cpus[side] = (int64_t)json_array_size(cpus);
	json_decref(memory);
	json_decref(cpus);
	return r;
}

/* A server maps only what is shared. */
static int check_shared(struct conductor *c, enum conduct_side side,
			struct ob_err *err)
{
	json_t *list = NULL, *one;
	size_t i;
	int r = conduct_ask(c, side, "query-memdev", NULL, &list, err);

	if (!r && !json_array_size(list))
		r = ob_fail(err, EINVAL, "the %s has no memory backend, "
			    "share=on", conduct_sides[side]);
	json_array_foreach(list, i, one)
		if (!r && !json_is_true(json_object_get(one, "share")))
			r = ob_fail(err, EINVAL, "the %s's memory %s is not "
				    "share=on", conduct_sides[side],
				    json_string_value(json_object_get(one,
								      "id")));
	json_decref(list);
	return r;
}

static bool is_old(const struct ob_qmp *qmp)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(ob_qmp_version(qmp), "%d.%d.%d", &major, &minor, &micro);
	return major < 10 || (major == 10 && (minor < 1 ||
					      (minor == 1 && micro < 1)));
}

static int check_status(struct conductor *c, enum conduct_side side,
			struct ob_err *err)
{
	const char *want = side == CONDUCT_FROM ? "running" : "inmigrate";
	json_t *status = NULL;
	const char *now;
	int r = conduct_ask(c, side, "query-status", NULL, &status, err);

	now = json_string_value(json_object_get(status, "status"));
	if (!r && (!now || strcmp(now, want)))
		r = ob_fail(err, EINVAL, side == CONDUCT_FROM ?
			    "the source is not running: %s" :
			    "the destination does not wait with -incoming "
			    "defer: %s", now ? now : "?");
	json_decref(status);
	return r;
}

static bool is_over(const char *status)
{
	static const char *const over[] = { "none", "completed", "failed",
					    "cancelled" };

	for (unsigned i = 0; i < 4; i++)
		if (!strcmp(status, over[i]))
			return true;
	return false;
}

/* The first that is not lifted with the guard. */
static const char *find_reason(const json_t *now)
{
	const json_t *reason;
	size_t i;

	json_array_foreach(json_object_get(now, "blocked-reasons"), i, reason)
		if (!conduct_is_guard(json_string_value(reason)))
			return json_string_value(reason);
	return NULL;
}

static int check_migration(struct conductor *c, enum conduct_side side,
			   struct ob_err *err)
{
	json_t *now = NULL;
	const char *status, *reason;
	int r = conduct_ask(c, side, "query-migrate", NULL, &now, err);

	status = json_string_value(json_object_get(now, "status"));
	reason = find_reason(now);
	if (!r && status && !is_over(status))
		r = ob_fail(err, EBUSY, "the %s has another migration: %s",
			    conduct_sides[side], status);
	if (!r && reason && side == CONDUCT_FROM)
		r = ob_fail(err, EBUSY, "the %s does not migrate: %.150s",
			    conduct_sides[side], reason);
	json_decref(now);
	return r;
}

static int check_side(struct conductor *c, enum conduct_side side,
		      struct ob_err *err)
{
	int r = 0;

	if (is_old(c->qmp[side]))
		return ob_fail(err, ENOTSUP, "the %s's QEMU is %s, older than "
			       "10.1.1", conduct_sides[side],
			       ob_qmp_version(c->qmp[side]));
	r = check_status(c, side, err);
	if (!r)
		r = check_migration(c, side, err);
	if (!r)
		r = check_shared(c, side, err);
	return r ? r : look_at_machine(c, side, err);
}

static int version_number(const char *version)
{
	int major = 0, minor = 0;

	sscanf(version, "%d.%d", &major, &minor);
	return major * 1000 + minor;
}

static int compare_machines(struct conductor *c, struct ob_err *err)
{
	if (version_number(c->version[1]) < version_number(c->version[0]))
		return ob_fail(err, EINVAL, "the source's QEMU is %s, the "
			       "destination's %s, which is older",
			       c->version[0], c->version[1]);
	if (strcmp(c->machine[0], c->machine[1]))
		return ob_fail(err, EINVAL, "the source is a %s, the destination "
			       "a %s", c->machine[0], c->machine[1]);
	if (c->memory[0] != c->memory[1])
		return ob_fail(err, EINVAL, "the source has %" PRId64 " bytes of "
			       "memory, the destination %" PRId64, c->memory[0],
			       c->memory[1]);
	if (c->cpus[0] != c->cpus[1])
		return ob_fail(err, EINVAL, "the source has %" PRId64 " CPUs, "
			       "the destination %" PRId64, c->cpus[0],
			       c->cpus[1]);
	return 0;
}

int conduct_look(struct conductor *c, enum conduct_side side,
		 struct ob_err *err)
{
	int r = check_side(c, side, err);

	return r ? r : conduct_find(c, side, err);
}

int conduct_match(struct conductor *c, struct ob_err *err)
{
	int r = check_side(c, CONDUCT_TO, err);

	if (!r)
		r = compare_machines(c, err);
	if (!r)
		r = conduct_find(c, CONDUCT_TO, err);
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = compare_device(c, &c->devices[i], err);
	return r;
}

int conduct_preflight(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "preflight");
	r = conduct_look(c, CONDUCT_FROM, err);
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = conduct_config(&c->devices[i].ends[CONDUCT_FROM],
				   c->devices[i].repair.config, err);
	return r ? r : conduct_match(c, err);
}
