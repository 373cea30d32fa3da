// SPDX-License-Identifier: BSD-3-Clause
/*
 * A VM in a folder: "memory" is QEMU's stream, "ID.state" each device's, and
 * "vm.json", which is written last, what else there is to know.  A folder without
 * vm.json is none.
 *
 * Servers and QEMU write to and read from pipes; a thread for each carries it to
 * or from the file, so that nobody else has to be let into the folder.
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
	int from, to;
	bool keep;			/* to is a file, which has to be on the disk */
	int error;
};

struct conduct_folder {
	const char *path;
	struct pump pumps[CONDUCT_DEVICES + 1];
	unsigned nr_pumps;
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
static int start_pump(struct conduct_folder *f, int from, int to, bool keep,
		      struct ob_err *err)
{
	struct pump *p = &f->pumps[f->nr_pumps];
	int r;

	p->from = from;
	p->to = to;
	p->keep = keep;
	p->error = -ECANCELED;		/* unless it comes to its end */
	r = pthread_create(&p->thread, NULL, run_pump, p);
	if (r) {
		close(from);
		close(to);
		return ob_fail(err, r, "thread: %s", strerror(r));
	}
	f->nr_pumps++;
	return 0;
}

/* cancel: whoever is at the other ends may never close them. */
static int end_pumps(struct conduct_folder *f, bool cancel, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < f->nr_pumps; i++) {
		struct pump *p = &f->pumps[i];

		if (cancel)
			pthread_cancel(p->thread);
		pthread_join(p->thread, NULL);
		ob_fd_close(&p->from);
		ob_fd_close(&p->to);
		if (p->error && !r)
			r = ob_fail(err, -p->error, "%s: %s", f->path,
				    strerror(-p->error));
	}
	f->nr_pumps = 0;
	return r;
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
static int attach(struct conduct_folder *f, const char *name,
		  const char *suffix, bool save, int *end, struct ob_err *err)
{
	int flags = save ? O_WRONLY | O_CREAT | O_EXCL : O_RDONLY;
	int fd = -1, ends[2], r = open_in(f, name, suffix, flags, &fd, err);

	if (r)
		return r;
	if (pipe2(ends, O_CLOEXEC)) {
		close(fd);
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	}
	*end = ends[save];
	r = save ? start_pump(f, ends[0], fd, true, err)
		 : start_pump(f, fd, ends[1], false, err);
	if (r)
		ob_fd_close(end);
	return r;
}

static int attach_devices(struct conductor *c, struct conduct_folder *f,
			  bool save, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < c->nr_devices && !r; i++) {
		struct conduct_device *d = &c->devices[i];
		OB_CLEANUP_FD int end = -1;

		r = attach(f, d->ends[CONDUCT_FROM].qdev, ".state", save, &end,
			   err);
		if (!r && save)
			r = conduct_start(&d->ends[CONDUCT_FROM],
					  CONDUCT_STATE, "device.save",
					  json_pack("{s:b}", "live", false),
					  end, err);
		else if (!r)
			r = conduct_start(&d->ends[CONDUCT_TO],
					  CONDUCT_STATE, "device.load", NULL,
					  end, err);
	}
	return r;
}

static int attach_qemu(struct conductor *c, struct conduct_folder *f, bool save,
		       struct ob_err *err)
{
	enum conduct_side side = save ? CONDUCT_FROM : CONDUCT_TO;
	OB_CLEANUP_FD int end = -1;
	int r = attach(f, "memory", "", save, &end, err);

	if (!r)
		r = ob_qmp_give_fd(c->qmp[side], CHANNEL, end, err);
	ob_fd_close(&end);
	c->migrating = save;
	return r ? r : ob_qmp_call(c->qmp[side],
				   save ? "migrate" : "migrate-incoming",
				   json_pack("{s:s}", "uri", "fd:" CHANNEL),
				   NULL, err);
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

static int save(struct conductor *c, struct conduct_folder *f,
		struct ob_err *err)
{
	int r = stand_still(c, err);

	conduct_phase(c, "save");
	if (!r)
		r = attach_devices(c, f, true, err);
	if (!r)
		r = attach_qemu(c, f, true, err);
	return r ? r : conduct_await_all(c, SAVE_MS, err);
}

int conduct_save(struct conductor *c, const char *path, struct ob_err *err)
{
	static struct conduct_folder f;
	int r = conduct_look(c, CONDUCT_FROM, err);

	f.path = path;
	for (unsigned i = 0; i < c->nr_devices && !r; i++)
		r = conduct_config(&c->devices[i].ends[CONDUCT_FROM],
				   c->devices[i].repair.config, err);
	if (!r)
		r = make_folder(path, err);
	if (r)
		return r;
	r = save(c, &f, err);
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

static int restore(struct conductor *c, struct conduct_folder *f,
		   struct ob_err *err)
{
	int r;

	conduct_phase(c, "load");
	conduct_mark(c, CONDUCT_BEGAN);
	c->began = true;
	r = conduct_set_up_qemu(c, CONDUCT_TO, false, err);
	if (!r)
		r = attach_devices(c, f, false, err);
	if (!r)
		r = attach_qemu(c, f, false, err);
	if (!r)
		r = conduct_await_all(c, SAVE_MS, err);
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
	if (!r)
		r = conduct_match(c, err);
	if (!r)
		r = restore(c, &f, err);
	if (r && c->began)
		conduct_abort(c);
	end_pumps(&f, true, NULL);
	return r;
}
