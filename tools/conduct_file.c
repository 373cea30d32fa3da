// SPDX-License-Identifier: BSD-3-Clause
/*
 * A VM in a folder: "memory" is QEMU's stream, "ID.state" each device's, and
 * "vm.json", which is written last, what else there is to know.  A folder without
 * vm.json is none.
 *
 * Servers and QEMU write to and read from pipes; a thread for each carries it to
 * or from the file, so that nobody else has to be let into the folder.  A stream that
 * breaks because a server's worker died begins anew with the file
 * (conduct_again.c).
 */
#include "conduct_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "carry.h"
#include "out_file.h"
#include "vmm/hex.h"

#define CHANNEL "outboard-file"
#define SAVE_MS 3600000
#define FORMAT 1

/* Owns both descriptors. */
struct pump {
	pthread_t thread;
	bool is_there;
	int from, to;
	bool keep;			/* to is a file, which has to be on the disk */
	int error;
};

struct conduct_folder {
	const char *path;
	bool save;			/* otherwise it is read */
	struct pump devices[CONDUCT_DEVICES], qemu;
};

/* -- carrying ---------------------------------------------------------- */

static int carry_file(struct pump *p)
{
	int r = carry(p->from, p->to);

	return r ? r : p->keep && fsync(p->to) ? -errno : 0;
}

static void *run_pump(void *arg)
{
	struct pump *p = arg;

	p->error = carry_file(p);
	/* Whoever is at the other end of the pipe is to hear of it. */
	ob_fd_close(&p->from);
	ob_fd_close(&p->to);
	return NULL;
}

/* Takes both. */
static int start_pump(struct pump *p, int from, int to, bool keep,
		      struct ob_err *err)
{
	int r;

	/* An error unless it comes to its end. */
	*p = (struct pump){
		.from = from, .to = to, .keep = keep, .error = -ECANCELED,
	};
	r = pthread_create(&p->thread, NULL, run_pump, p);
	p->is_there = !r;
	if (r) {
		close(from);
		close(to);
		return ob_fail(err, r, "thread: %s", strerror(r));
	}
	return 0;
}

/* cancel: whoever is at the other end may never close it. */
static int end_pump(struct pump *p, bool cancel)
{
	if (!p->is_there)
		return 0;
	if (cancel)
		pthread_cancel(p->thread);
	pthread_join(p->thread, NULL);
	p->is_there = false;
	ob_fd_close(&p->from);
	ob_fd_close(&p->to);
	return p->error;
}

static int end_pumps(struct conduct_folder *f, bool cancel, struct ob_err *err)
{
	int r = end_pump(&f->qemu, cancel);

	for (unsigned i = 0; i < CONDUCT_DEVICES; i++) {
		int error = end_pump(&f->devices[i], cancel);

		r = r ? r : error;
	}
	return r ? ob_fail(err, -r, "%s: %s", f->path, strerror(-r)) : 0;
}

static int open_in(const struct conduct_folder *f, const char *name,
		   const char *suffix, int flags, int *fd, struct ob_err *err)
{
	OB_CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%s/%s%s", f->path, name, suffix) < 0) {
		path = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	*fd = open(path, flags | O_CLOEXEC, 0600);
	return *fd < 0 ? ob_fail(err, errno, "%s: %s", path, strerror(errno))
		       : 0;
}

/* A file, and a pipe's end for who fills it or empties it. */
static int attach(const struct conduct_folder *f, struct pump *pump,
		  const char *name, const char *suffix, int *end,
		  struct ob_err *err)
{
	int flags = f->save ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
	int fd = -1, ends[2], r = open_in(f, name, suffix, flags, &fd, err);

	if (r)
		return r;
	if (pipe2(ends, O_CLOEXEC)) {
		close(fd);
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	}
	*end = ends[f->save];
	r = f->save ? start_pump(pump, ends[0], fd, true, err)
		    : start_pump(pump, fd, ends[1], false, err);
	if (r)
		ob_fd_close(end);
	return r;
}

/* What carried a stream that broke is at its end, or stuck without a reader. */
static int attach_device(struct conductor *c, struct conduct_device *d,
			 enum conduct_slot slot, struct ob_err *err)
{
	struct conduct_folder *f = c->folder;
	struct pump *pump = &f->devices[d - c->devices];
	OB_CLEANUP_FD int end = -1;
	int r;

	end_pump(pump, true);
	r = attach(f, pump, d->ends[CONDUCT_FROM].qdev, ".state", &end, err);
	if (r)
		return r;
	if (!f->save)
		return conduct_start(&d->ends[CONDUCT_TO], slot, "device.load",
				     NULL, end, err);
	return conduct_start(&d->ends[CONDUCT_FROM], slot, "device.save",
			     json_pack("{s:b}", "live", false), end, err);
}

static int attach_devices(struct conductor *c, struct ob_err *err)
{
	c->stream = attach_device;
	for (unsigned i = 0; i < c->nr_devices; i++)
		c->devices[i].again[CONDUCT_STATE] = true;
	return conduct_begin_again(c, err);
}

static int attach_qemu(struct conductor *c, struct ob_err *err)
{
	struct conduct_folder *f = c->folder;
	enum conduct_side side = f->save ? CONDUCT_FROM : CONDUCT_TO;
	OB_CLEANUP_FD int end = -1;
	int r = attach(f, &f->qemu, "memory", "", &end, err);

	if (!r)
		r = ob_qmp_give_fd(c->qmp[side], CHANNEL, end, err);
	ob_fd_close(&end);
	c->migrating = f->save;
	return r ? r : ob_qmp_call(c->qmp[side],
				   f->save ? "migrate" : "migrate-incoming",
				   json_pack("{s:s}", "uri", "fd:" CHANNEL),
				   NULL, err);
}

/* All streams, from their beginning to their end. */
static int carry_all(struct conductor *c, struct ob_err *err)
{
	int r = attach_devices(c, err);

	if (!r)
		r = attach_qemu(c, err);
	if (!r)
		r = conduct_await_all(c, SAVE_MS, err);
	c->stream = NULL;
	return r;
}

/* -- vm.json ----------------------------------------------------------- */

static json_t *hex(const uint8_t *bytes, size_t len)
{
	char *text = malloc(2 * len + 1);
	json_t *string;

	for (size_t i = 0; text && i < len; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	if (text)
		text[2 * len] = '\0';
	string = json_string(text ? text : "");
	free(text);
	return string;
}

static json_t *describe_device(const struct conduct_device *d)
{
	const struct conduct_end *end = &d->ends[CONDUCT_FROM];

	return json_pack("{s:s, s:s, s:s, s:s, s:O*, s:O*, s:o, s:o}", "id",
			 end->qdev, "model", end->model, "bus", end->bus,
			 "addr", end->addr, "options", end->options, "drives",
			 end->drives, "config",
			 hex(d->repair.config, OB_REPAIR_CONFIG), "msix",
			 hex(d->repair.table, d->repair.table_len));
}

static json_t *describe(const struct conductor *c)
{
	json_t *devices = json_array();

	for (unsigned i = 0; i < c->nr_devices; i++)
		json_array_append_new(devices, describe_device(&c->devices[i]));
	return json_pack("{s:i, s:s, s:s, s:I, s:I, s:o}", "format", FORMAT,
			 "qemu", c->version[CONDUCT_FROM], "machine",
			 c->machine[CONDUCT_FROM], "memory",
			 (json_int_t)c->memory[CONDUCT_FROM], "cpus",
			 (json_int_t)c->cpus[CONDUCT_FROM], "devices", devices);
}

static int write_json(const struct conductor *c, const char *path,
		      struct ob_err *err)
{
	struct out_file file = OUT_FILE_NONE;
	OB_CLEANUP_FREE char *name = NULL;
	OB_CLEANUP_FREE char *text = NULL;
	json_t *tree = describe(c);
	int r;

	text = json_dumps(tree, JSON_INDENT(2));
	json_decref(tree);
	if (!text || asprintf(&name, "%s/vm.json", path) < 0) {
		name = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	r = out_file_open(&file, name, err);
	if (!r)
		r = out_file_put(&file, text, strlen(text), err);
	if (!r)
		r = out_file_keep(&file, err);
	out_file_drop(&file);
	return r;
}

static int take_text(const json_t *obj, const char *key, char *text,
		     size_t size)
{
	const char *value = json_string_value(json_object_get(obj, key));

	if (!value || strlen(value) >= size)
		return -EINVAL;
	strcpy(text, value);
	return 0;
}

/* It names a file, so it names nothing else. */
static bool is_plain(const char *name)
{
	return *name && *name != '.' && !strchr(name, '/');
}

static int take_device(const json_t *obj, struct conduct_device *d)
{
	struct conduct_end *end = &d->ends[CONDUCT_FROM];
	const char *config = json_string_value(json_object_get(obj, "config"));
	const char *table = json_string_value(json_object_get(obj, "msix"));
	size_t len = table ? strlen(table) / 2 : 0;

	if (take_text(obj, "id", end->qdev, sizeof(end->qdev)) ||
	    take_text(obj, "model", end->model, sizeof(end->model)) ||
	    take_text(obj, "bus", end->bus, sizeof(end->bus)) ||
	    take_text(obj, "addr", end->addr, sizeof(end->addr)) ||
	    !is_plain(end->qdev) || !config || !table || len > OB_REPAIR_TABLE ||
	    ob_hex_read(config, d->repair.config, OB_REPAIR_CONFIG) ||
	    ob_hex_read(table, d->repair.table, len))
		return -EINVAL;
	d->repair.table_len = len;
	end->options = json_incref(json_object_get(obj, "options"));
	end->drives = json_incref(json_object_get(obj, "drives"));
	return 0;
}

static int take_vm(struct conductor *c, const json_t *tree)
{
	const json_t *devices = json_object_get(tree, "devices"), *device;
	size_t i;

	if (json_integer_value(json_object_get(tree, "format")) != FORMAT ||
	    take_text(tree, "qemu", c->version[0], sizeof(c->version[0])) ||
	    take_text(tree, "machine", c->machine[0], sizeof(c->machine[0])) ||
	    !json_array_size(devices) ||
	    json_array_size(devices) > CONDUCT_DEVICES)
		return -EINVAL;
	c->memory[0] = json_integer_value(json_object_get(tree, "memory"));
	c->cpus[0] = json_integer_value(json_object_get(tree, "cpus"));
	json_array_foreach(devices, i, device) {
		if (take_device(device, &c->devices[i]))
			return -EINVAL;
		c->nr_devices = (unsigned)i + 1;
	}
	return 0;
}

static int read_json(struct conductor *c, const char *path, struct ob_err *err)
{
	OB_CLEANUP_FREE char *name = NULL;
	json_error_t why;
	json_t *tree;
	int r;

	if (asprintf(&name, "%s/vm.json", path) < 0) {
		name = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	tree = json_load_file(name, JSON_REJECT_DUPLICATES, &why);
	if (!tree)
		return ob_fail(err, EINVAL, "%s: %.120s", name, why.text);
	r = take_vm(c, tree);
	json_decref(tree);
	return r ? ob_fail(err, EINVAL, "%s: not what vm-save writes", name) : 0;
}

/* -- saving ------------------------------------------------------------ */

/* Stops it first, so that QEMU writes all of memory after the devices stand still. */
static int stand_still(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "stop");
	conduct_mark(c, CONDUCT_BEGAN);
	c->began = true;
	r = conduct_set_up_qemu(c, CONDUCT_FROM, false, err);
	if (!r)
		r = ob_qmp_call(c->qmp[CONDUCT_FROM], "stop", NULL, NULL, err);
	if (!r)
		r = conduct_quiet(c, err);
	return r ? r : conduct_take(c, err);
}

static int make_folder(const char *path, struct ob_err *err)
{
	if (!mkdir(path, 0700))
		return 0;
	return ob_fail(err, errno, "%s: %s", path, strerror(errno));
}

static void remove_file(const struct conduct_folder *f, const char *name,
			const char *suffix)
{
	OB_CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%s/%s%s", f->path, name, suffix) < 0)
		path = NULL;
	else
		unlink(path);
}

static void remove_folder(const struct conductor *c,
			  const struct conduct_folder *f)
{
	for (unsigned i = 0; i < c->nr_devices; i++)
		remove_file(f, c->devices[i].ends[CONDUCT_FROM].qdev, ".state");
	remove_file(f, "memory", "");
	rmdir(f->path);
}

static int save(struct conductor *c, struct ob_err *err)
{
	int r = stand_still(c, err);

	conduct_phase(c, "save");
	return r ? r : carry_all(c, err);
}

int conduct_save(struct conductor *c, const char *path, struct ob_err *err)
{
	static struct conduct_folder f;
	int r = conduct_look(c, CONDUCT_FROM, err);

	f.path = path;
	f.save = true;
	c->folder = &f;
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = conduct_config(&c->devices[i].ends[CONDUCT_FROM],
				   c->devices[i].repair.config, err);
	if (!r)
		r = make_folder(path, err);
	if (r)
		return r;
	r = save(c, err);
	if (!r)
		r = end_pumps(&f, false, err);
	if (!r)
		r = write_json(c, path, err);
	if (r) {
		conduct_abort(c);
		end_pumps(&f, true, NULL);
		remove_folder(c, &f);
	}
	conduct_mark(c, CONDUCT_ENDED);
	return r;
}

/* -- restoring --------------------------------------------------------- */

static int restore(struct conductor *c, struct ob_err *err)
{
	int r;

	conduct_phase(c, "load");
	conduct_mark(c, CONDUCT_BEGAN);
	c->began = true;
	r = conduct_set_up_qemu(c, CONDUCT_TO, false, err);
	if (!r)
		r = carry_all(c, err);
	conduct_phase(c, "repair");
	if (!r)
		r = conduct_put(c, err);
	return r ? r : conduct_run(c, err);
}

int conduct_restore(struct conductor *c, const char *path, struct ob_err *err)
{
	static struct conduct_folder f;
	int r = read_json(c, path, err);

	f.path = path;
	c->folder = &f;
	if (!r)
		r = conduct_match(c, err);
	if (!r)
		r = restore(c, err);
	if (r && c->began)
		conduct_abort(c);
	end_pumps(&f, true, NULL);
	return r;
}
