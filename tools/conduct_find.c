// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which devices a QEMU has, and who serves each of them.  QEMU does not tell a
 * device's socket, but names the device's memory after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conduct.h"
#include "control_client.h"

#define PERIPHERAL "/machine/peripheral"

const char *const conduct_sides[] = { "source", "destination" };

int conduct_ask(struct conductor *c, enum conduct_side side,
		const char *command, json_t *args, json_t **result,
		struct ob_err *err)
{
	int r = ob_qmp_call(c->qmp[side], command, args, result, err);

	if (r)
		ob_err_prefix(err, "the %s", conduct_sides[side]);
	return r;
}

int conduct_property(struct conductor *c, enum conduct_side side,
		     const char *path, const char *name, char *text,
		     size_t size, struct ob_err *err)
{
	json_t *value = NULL;
	int r = conduct_ask(c, side, "qom-get",
			    json_pack("{s:s, s:s}", "path", path, "property",
				      name), &value, err);

	if (!r && json_is_string(value))
		snprintf(text, size, "%s", json_string_value(value));
	else if (!r)
		snprintf(text, size, "%" JSON_INTEGER_FORMAT,
			 json_integer_value(value));
	json_decref(value);
	return r;
}

/* -- the devices of a QEMU --------------------------------------------- */

static int list_children(struct conductor *c, enum conduct_side side,
			 const char *path, json_t **list, struct ob_err *err)
{
	return conduct_ask(c, side, "qom-list",
			   json_pack("{s:s}", "path", path), list, err);
}

/* "vfio-user:\x2frun\x2fdisk.sock base BAR 0[0]" tells "/run/disk.sock". */
static bool take_path(const char *name, char *path, size_t size)
{
	static const char begin[] = "vfio-user:", stop[] = " base BAR ";
	const char *end = strstr(name, stop);
	unsigned byte;
	size_t n = 0;

	if (strncmp(name, begin, sizeof(begin) - 1) || !end)
		return false;
	for (name += sizeof(begin) - 1; name < end && n < size - 1; n++) {
		if (end - name >= 4 && sscanf(name, "\\x%2x", &byte) == 1) {
			path[n] = (char)byte;
			name += 4;
		} else {
			path[n] = *name++;
		}
	}
	path[n] = '\0';
	return true;
}

static int look_at_qdev(struct conductor *c, enum conduct_side side,
			struct conduct_end *end, struct ob_err *err)
{
	json_t *list = NULL, *property;
	char path[160];
	size_t i;
	int r;

	snprintf(path, sizeof(path), PERIPHERAL "/%s", end->qdev);
	r = list_children(c, side, path, &list, err);
	json_array_foreach(list, i, property) {
		const char *name = json_string_value(
			json_object_get(property, "name"));

		if (name && take_path(name, end->path, sizeof(end->path)))
			break;
	}
	json_decref(list);
	if (!r)
		r = conduct_property(c, side, path, "addr", end->addr,
				 sizeof(end->addr), err);
	if (!r)
		r = conduct_property(c, side, path, "parent_bus", end->bus,
				 sizeof(end->bus), err);
	return r;
}

static bool is_ours(const json_t *property)
{
	const char *type = json_string_value(json_object_get(property, "type"));

	return type && !strncmp(type, "child<vfio-user-pci", 19);
}

/* Without a name it cannot be found after its buses were numbered. */
static int refuse_nameless(struct conductor *c, enum conduct_side side,
			   struct ob_err *err)
{
	json_t *list = NULL, *property;
	size_t i;
	int r = list_children(c, side, PERIPHERAL "-anon", &list, err);

	json_array_foreach(list, i, property)
		if (!r && is_ours(property))
			r = ob_fail(err, EINVAL, "the %s's QEMU has a vfio-user "
				    "device without id=", conduct_sides[side]);
	json_decref(list);
	return r;
}

/* The name of number n; NULL: there are not as many. */
static const char *nth_of_ours(const json_t *list, unsigned n)
{
	const json_t *property;
	size_t i;

	json_array_foreach(list, i, property)
		if (is_ours(property) && !n--)
			return json_string_value(json_object_get(property,
								 "name"));
	return NULL;
}

static int name_end(struct conduct_end *end, const char *name,
		    struct ob_err *err)
{
	if (strlen(name) >= sizeof(end->qdev))
		return ob_fail(err, EINVAL, "%.40s...: too long a name", name);
	strcpy(end->qdev, name);
	return 0;
}

/* What the destination calls it. */
static const char *partner(const struct conductor *c, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < c->params.nr_pairs; i++)
		if (!strncmp(c->params.pairs[i], name, len) &&
		    c->params.pairs[i][len] == '=')
			return c->params.pairs[i] + len + 1;
	return name;
}

/* One side decides which devices there are; the other has to have them. */
static int find_qdevs(struct conductor *c, enum conduct_side side,
		      struct ob_err *err)
{
	json_t *list = NULL;
	const char *name;
	int r = refuse_nameless(c, side, err);

	if (!r)
		r = list_children(c, side, PERIPHERAL, &list, err);
	for (unsigned i = 0; !r && (name = nth_of_ours(list, i)); i++) {
		if (i == CONDUCT_DEVICES) {
			r = ob_fail(err, E2BIG, "more than %u devices",
				    CONDUCT_DEVICES);
			break;
		}
		r = name_end(&c->devices[i].ends[side], name, err);
		if (!r)
			r = look_at_qdev(c, side, &c->devices[i].ends[side],
					 err);
		c->nr_devices = i + 1;
	}
	json_decref(list);
	if (!r && !c->nr_devices)
		r = ob_fail(err, ENOENT, "the %s's QEMU has no vfio-user device",
			    conduct_sides[side]);
	return r;
}

static unsigned count_of_ours(const json_t *list)
{
	unsigned n = 0;

	while (nth_of_ours(list, n))
		n++;
	return n;
}

/* The same devices, under the names that they have there. */
static int find_partners(struct conductor *c, struct ob_err *err)
{
	json_t *list = NULL;
	int r = refuse_nameless(c, CONDUCT_TO, err);

	if (!r)
		r = list_children(c, CONDUCT_TO, PERIPHERAL, &list, err);
	if (!r && count_of_ours(list) != c->nr_devices)
		r = ob_fail(err, EINVAL, "the source's QEMU has %u vfio-user "
			    "devices, the destination's %u", c->nr_devices,
			    count_of_ours(list));
	json_decref(list);
	for (unsigned i = 0; i < c->nr_devices && !r; i++) {
		struct conduct_device *d = &c->devices[i];

		r = name_end(&d->ends[CONDUCT_TO],
			     partner(c, d->ends[CONDUCT_FROM].qdev), err);
		if (!r)
			r = look_at_qdev(c, CONDUCT_TO, &d->ends[CONDUCT_TO],
					 err);
	}
	return r;
}

/* -- who serves them --------------------------------------------------- */

static bool is_same_file(const char *a, const char *b)
{
	struct stat one, other;

	return !strcmp(a, b) ||
	       (!stat(a, &one) && !stat(b, &other) &&
		one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

/* By its socket; where QEMU sees other paths than the server, by its name. */
static bool serves(const json_t *device, const struct conduct_end *end)
{
	const char *address = json_string_value(json_object_get(device,
								"address"));
	const char *id = json_string_value(json_object_get(device, "id"));

	if (address && !strncmp(address, "unix:", 5) &&
	    is_same_file(address + 5, end->path))
		return true;
	return id && !strcmp(id, end->qdev);
}

static void take_server(struct conduct_end *end, const json_t *device,
			const char *control)
{
	const char *model = json_string_value(json_object_get(device, "model"));

	snprintf(end->id, sizeof(end->id), "%s",
		 json_string_value(json_object_get(device, "id")));
	snprintf(end->model, sizeof(end->model), "%s", model ? model : "?");
	end->control = control;
}

static int ask_server(struct conductor *c, enum conduct_side side,
		      const char *control, struct ob_err *err)
{
	json_t *status = NULL, *device;
	int r = control_call(control, "status", NULL, &status, err);
	size_t i;

	json_array_foreach(json_object_get(status, "devices"), i, device)
		for (unsigned n = 0; n < c->nr_devices && !r; n++) {
			struct conduct_end *end = &c->devices[n].ends[side];

			if (!end->control && serves(device, end))
				take_server(end, device, control);
		}
	json_decref(status);
	return r;
}

static int find_servers(struct conductor *c, enum conduct_side side,
			struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->params.nr_controls[side] && !r; i++)
		r = ask_server(c, side, c->params.controls[side][i], err);
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		if (!c->devices[i].ends[side].control)
			r = ob_fail(err, ENOENT, "the %s's %s is served by none "
				    "of the control sockets given", conduct_sides[side],
				    c->devices[i].ends[side].qdev);
	return r;
}

int conduct_find(struct conductor *c, enum conduct_side side,
		 struct ob_err *err)
{
	int r = side == CONDUCT_FROM ? find_qdevs(c, side, err)
				     : find_partners(c, err);

	return r ? r : find_servers(c, side, err);
}
