// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "move.h"
#include "state/qemu.h"
#include "state/recorder.h"
#include "state/save.h"
#include "state/table_io.h"
#include "state/wire.h"
#include "state_source.h"

#define PEEK 8u
/* Of a pipe in the QEMU profile; a file may be longer. */
#define COLLECT_MAX (4ull << 30)
#define PIECES 16u
#define OBJECTS_MAX 256u

/* One piece of content in the mapped file. */
struct piece {
	struct ob_qemu_content content;
	uint64_t taken;
};

/* One object: its pieces are those of its id, from next on. */
struct object {
	struct state_source *src;
	struct ob_content_id id;
	size_t next;
	uint64_t left;
};

enum form { FORM_NATIVE, FORM_QEMU, FORM_MEMORY, FORM_RECORDER };

struct state_source {
	const char *name;
	enum form form;
	int fd;
	uint8_t peeked[PEEK];
	size_t nr_peeked, given;

	struct ob_old_state *memory;
	uint8_t *map;			/* of the QEMU profile, a recorder */
	size_t size;
	struct ob_stream_identity identity;
	char id[OB_SIZEOF_FIELD(struct ob_stream_identity, id) + 1];
	struct ob_part parts[OB_PARTS_MAX];
	unsigned nr_parts;
	struct piece *pieces;
	size_t nr_pieces, room;
	struct object *objects;
	struct ob_content_source *sources;
	unsigned nr_objects;
	struct ob_save_plan plan;
	struct ob_saver *saver;
};

static ssize_t read_full(int fd, void *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = move_read(fd, (uint8_t *)buf + got, len - got);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* Collecting and mapping */

static int copy_to(int to, struct state_source *src)
{
	uint8_t buf[65536];
	uint64_t total = 0;
	int n;

	while ((n = state_source_read(src, buf, sizeof(buf))) > 0) {
		total += (uint64_t)n;
		if (total > COLLECT_MAX)
			return -EFBIG;
		if (write(to, buf, (size_t)n) != n)
			return errno ? -errno : -ENOSPC;
	}
	return n;
}

/* A pipe cannot be mapped: its bytes move into a file without a name. */
static int collect(struct state_source *src, struct ob_err *err)
{
	int fd = memfd_create("outboard-state", MFD_CLOEXEC), r;

	if (fd < 0)
		return ob_fail(err, errno, "cannot hold it: %s", strerror(errno));
	errno = 0;
	r = copy_to(fd, src);
	if (r) {
		close(fd);
		return ob_fail(err, -r, "cannot hold it: %s", strerror(-r));
	}
	close(src->fd);
	src->fd = fd;
	return 0;
}

static int hold_file(struct state_source *src, struct ob_err *err)
{
	struct stat st;

	if (fstat(src->fd, &st))
		return ob_fail(err, errno, "%s", strerror(errno));
	return S_ISREG(st.st_mode) ? 0 : collect(src, err);
}

static int map_file(struct state_source *src, struct ob_err *err)
{
	struct stat st;
	void *map;
	int r;

	if ((r = hold_file(src, err)))
		return r;
	if (fstat(src->fd, &st))
		return ob_fail(err, errno, "%s", strerror(errno));
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, src->fd, 0);
	if (map == MAP_FAILED)
		return ob_fail(err, errno, "cannot map it: %s", strerror(errno));
	src->map = map;
	src->size = (size_t)st.st_size;
	return 0;
}

/* Content: a list of what lies where in the map */

static int add_object(struct state_source *src, const struct ob_content_id *id)
{
	struct object *grown;
	unsigned i;

	for (i = 0; i < src->nr_objects; i++)
		if (src->objects[i].id.kind == id->kind &&
		    src->objects[i].id.index == id->index)
			return src->objects[i].id.size == id->size ? 0 : -EINVAL;
	if (src->nr_objects == OBJECTS_MAX)
		return -E2BIG;
	grown = reallocarray(src->objects, src->nr_objects + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	src->objects = grown;
	grown[src->nr_objects++] = (struct object){ .src = src, .id = *id };
	return 0;
}

static int add_piece(void *arg, const struct ob_qemu_content *content)
{
	struct state_source *src = arg;
	size_t room = src->room ? 2 * src->room : 256;
	struct piece *grown;

	if (src->nr_pieces == src->room) {
		grown = reallocarray(src->pieces, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		src->pieces = grown;
		src->room = room;
	}
	src->pieces[src->nr_pieces++] = (struct piece){ .content = *content };
	return add_object(src, &content->id);
}

static bool is_of(const struct piece *p, const struct object *o)
{
	return p->content.id.kind == o->id.kind &&
	       p->content.id.index == o->id.index;
}

/* The next one of this object with something left; NULL: none. */
static struct piece *next_piece(struct object *o)
{
	for (; o->next < o->src->nr_pieces; o->next++) {
		struct piece *p = &o->src->pieces[o->next];

		if (is_of(p, o) && p->taken < p->content.length)
			return p;
	}
	return NULL;
}

static bool take_run(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct object *o = arg;
	struct piece *p = next_piece(o);

	if (!p)
		return false;
	run->length = p->content.length - p->taken;
	/* Zeros are a few bytes here and there: cut, they would be more. */
	if (p->content.data && run->length > max)
		run->length = max;
	run->offset = p->content.offset + p->taken;
	run->data = p->content.data ?
		(const uint8_t *)p->content.data + p->taken : NULL;
	p->taken += run->length;
	o->left -= run->length;
	return true;
}

static void tell_left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	const struct object *o = arg;

	*initial = o->left;
	*dirty = 0;
}

static int make_sources(struct state_source *src, struct ob_err *err)
{
	unsigned i;
	size_t p;

	src->sources = calloc(src->nr_objects + 1, sizeof(*src->sources));
	if (!src->sources)
		return ob_fail(err, ENOMEM, "out of memory");
	for (i = 0; i < src->nr_objects; i++) {
		struct object *o = &src->objects[i];

		for (p = 0; p < src->nr_pieces; p++)
			if (is_of(&src->pieces[p], o))
				o->left += src->pieces[p].content.length;
		src->sources[i] = (struct ob_content_source){
			.id = o->id, .knows_zeros = true, .take = take_run,
			.left = tell_left, .arg = o,
		};
	}
	return 0;
}

/* From the one form into the other */

static int make_parts(struct state_source *src, const struct ob_models *models,
		      struct ob_err *err)
{
	const char *model = (const char *)src->identity.model;
	int r = ob_models_parts(models, model, src->parts, &src->nr_parts, err);
	unsigned i;

	for (i = 0; i < src->nr_parts && !r; i++) {
		struct ob_part *part = &src->parts[i];

		part->base = calloc(1, part->table->size);
		if (!part->base)
			return ob_fail(err, ENOMEM, "out of memory");
		ob_table_defaults(part->table, part->base);
	}
	return r;
}

static int make_saver(struct state_source *src, const char *model,
		      struct ob_err *err)
{
	int r;

	src->plan = (struct ob_save_plan){
		.model = model, .id = src->id,
		.parts = src->parts, .nr_parts = src->nr_parts,
		.contents = src->sources, .nr_contents = src->nr_objects,
	};
	r = ob_saver_create(&src->plan, &src->saver, err);
	if (!r)
		ob_saver_stopped(src->saver);
	return r;
}

static int open_qemu(struct state_source *src, const struct ob_models *models,
		     struct ob_err *err)
{
	struct ob_qemu_device device;
	int r;

	if ((r = map_file(src, err)) ||
	    (r = ob_qemu_identify(src->map, src->size, &src->identity, err)) ||
	    (r = make_parts(src, models, err)))
		return r;
	memcpy(src->id, src->identity.id, sizeof(src->identity.id));
	device = (struct ob_qemu_device){
		(const char *)src->identity.model, src->id, src->parts,
		src->nr_parts
	};
	r = ob_qemu_read(&device, src->map, src->size, add_piece, src, err);
	if (r || (r = make_sources(src, err)))
		return r;
	return make_saver(src, (const char *)src->identity.model, err);
}

/* The parts that streams have; base is not changed by a saver. */
static void add_section(struct state_source *src, enum ob_section which)
{
	const char *name = ob_state_section_name(which);
	const struct ob_table *table =
		ob_schema_find(ob_old_state_schema(src->memory), name);

	if (table)
		src->parts[src->nr_parts++] = (struct ob_part){
			name, table,
			(void *)ob_old_state_section(src->memory, which)
		};
}

static int open_memory(struct state_source *src, struct ob_err *err)
{
	const struct ob_state_header *hdr;
	int r;

	if ((r = hold_file(src, err)) ||
	    (r = ob_old_state_open(src->fd, &src->memory, err)))
		return r;
	add_section(src, OB_SECTION_CORE);
	add_section(src, OB_SECTION_PLAIN);
	add_section(src, OB_SECTION_HOT);
	hdr = ob_old_state_header(src->memory);
	return make_saver(src, (const char *)hdr->model, err);
}

static int read_saver(struct state_source *src, void *buf, size_t len)
{
	struct iovec iov[PIECES];
	unsigned count = PIECES, i;
	uint8_t *to = buf;

	if (ob_saver_wants_end(src->saver))
		ob_saver_allow_end(src->saver);
	ob_saver_read(src->saver, len, iov, &count);
	for (i = 0; i < count; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return (int)(to - (uint8_t *)buf);
}

/* Either form */

static int open_fd(struct state_source *src, struct ob_err *err)
{
	ssize_t n;

	src->fd = strcmp(src->name, "-") ? open(src->name, O_RDONLY | O_CLOEXEC)
					 : dup(STDIN_FILENO);
	if (src->fd < 0)
		return ob_fail(err, errno, "%s", strerror(errno));
	n = read_full(src->fd, src->peeked, PEEK);
	if (n < 0)
		return ob_fail(err, (int)-n, "%s", strerror((int)-n));
	src->nr_peeked = (size_t)n;
	return 0;
}

static int open_form(struct state_source *src, const struct ob_models *models,
		     struct ob_err *err)
{
	uint64_t magic = src->nr_peeked == PEEK ? ob_le_load(src->peeked, PEEK) : 0;

	if (ob_qemu_is(src->peeked, src->nr_peeked)) {
		src->form = FORM_QEMU;
		return open_qemu(src, models, err);
	}
	if (magic == OB_STATE_MAGIC) {
		src->form = FORM_MEMORY;
		return open_memory(src, err);
	}
	if (magic == OB_RECORDER_MAGIC) {
		src->form = FORM_RECORDER;
		return map_file(src, err);
	}
	return 0;
}

int state_source_open_any(const char *path, const struct ob_models *models,
			  struct state_source **out, struct ob_err *err)
{
	struct state_source *src = calloc(1, sizeof(*src));
	int r;

	if (!src)
		return ob_fail(err, ENOMEM, "out of memory");
	src->name = path;
	src->fd = -1;
	r = open_fd(src, err);
	if (!r)
		r = open_form(src, models, err);
	if (r) {
		ob_err_prefix(err, "%.80s", state_source_name(src));
		state_source_close(src);
		return r;
	}
	*out = src;
	return 0;
}

int state_source_open(const char *path, const struct ob_models *models,
		      struct state_source **out, struct ob_err *err)
{
	int r = state_source_open_any(path, models, out, err);

	if (r || (*out)->form != FORM_RECORDER)
		return r;
	r = ob_fail(err, EINVAL, "%.80s: is a flight recorder, which can only be shown",
		    state_source_name(*out));
	state_source_close(*out);
	*out = NULL;
	return r;
}

void state_source_close(struct state_source *src)
{
	unsigned i;

	if (!src)
		return;
	ob_saver_destroy(src->saver);
	for (i = 0; i < src->nr_parts && !src->memory; i++)
		free(src->parts[i].base);
	ob_old_state_close(src->memory);
	free(src->sources);
	free(src->objects);
	free(src->pieces);
	if (src->map)
		munmap(src->map, src->size);
	if (src->fd >= 0)
		close(src->fd);
	free(src);
}

int state_source_read(void *arg, void *buf, size_t len)
{
	struct state_source *src = arg;
	size_t n = src->nr_peeked - src->given;

	if (src->saver)
		return read_saver(src, buf, len);
	if (n) {
		n = n < len ? n : len;
		memcpy(buf, src->peeked + src->given, n);
		src->given += n;
		return (int)n;
	}
	return (int)read_full(src->fd, buf, len);
}

const char *state_source_name(const struct state_source *src)
{
	return strcmp(src->name, "-") ? src->name : "standard input";
}

const struct ob_stream_identity *
state_source_qemu(const struct state_source *src)
{
	return src->form == FORM_QEMU ? &src->identity : NULL;
}

const struct ob_old_state *state_source_memory(const struct state_source *src)
{
	return src->memory;
}

const void *state_source_recorder(const struct state_source *src, size_t *size)
{
	*size = src->size;
	return src->form == FORM_RECORDER ? src->map : NULL;
}

const char *state_source_form(const struct state_source *src)
{
	static const char *const names[] = {
		[FORM_NATIVE] = "native", [FORM_QEMU] = "qemu",
		[FORM_MEMORY] = "memory", [FORM_RECORDER] = "recorder",
	};

	return names[src->form];
}

bool state_source_is_native(const struct state_source *src)
{
	return src->nr_peeked == PEEK &&
	       ob_le_load(src->peeked, PEEK) == OB_STREAM_MAGIC;
}
