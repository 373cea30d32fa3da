// SPDX-License-Identifier: BSD-3-Clause
/*
 * The front of every drive: finds the type by the word before the colon,
 * checks requests, and delivers completions.
 *
 * Completions.  A type may finish a request before its submit returns (mem
 * and null always do).  The caller is promised that done never runs from
 * inside submit, so while a type's submit or cancel is on the stack (entered)
 * finished requests are queued and delivered by one deferred call in the next
 * turn of the loop; otherwise, which is the case for everything that the loop
 * completes, done runs straight away.  Whoever owns the last request may
 * close the drive in its done: nothing here touches the drive afterwards.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/block_backend.h>

#include "base/fd.h"
#include "block/content.h"
#include "block/record.h"

/* Longest part of a name that a message shows, so that the reason fits. */
#define NAME_SHOWN 120

int ob_drive_fail(const struct ob_drive *drive, struct ob_err *err,
		  int errnum, const char *fmt, ...)
{
	size_t len = strlen(drive->name);
	bool cut = len > NAME_SHOWN;
	char text[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ob_fail(err, errnum, "%s%s: %s", cut ? "..." : "",
		       drive->name + (cut ? len - NAME_SHOWN : 0), text);
}

static const struct ob_drive_type *type_by_name(const char *name, size_t len)
{
	for (size_t i = 0; ob_drive_types[i]; i++) {
		const char *known = ob_drive_types[i]->name;

		if (strlen(known) == len && !memcmp(known, name, len))
			return ob_drive_types[i];
	}
	return NULL;
}

static void list_types(char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; ob_drive_types[i] && at < size; i++)
		at += snprintf(buf + at, size - at, "%s%s", i ? ", " : "",
			       ob_drive_types[i]->name);
}

/*
 * Sets *type and *arg.  A word without a colon is a file's path, but the bare
 * name of a type is more likely a forgotten argument than such a file.
 */
static int parse_spec(const char *spec, const struct ob_drive_type **type,
		      const char **arg, struct ob_err *err)
{
	size_t word = strcspn(spec, ":/");
	char known[128];

	if (!*spec)
		return ob_fail(err, EINVAL, "a drive must be named: TYPE:ARGUMENT or a path");
	*type = type_by_name(spec, word);
	if (spec[word] == ':') {
		*arg = spec + word + 1;
		if (*type)
			return 0;
		list_types(known, sizeof(known));
		return ob_fail(err, EINVAL, "no drive type \"%.*s\" (known: %s); "
			       "a path with a colon is written file:PATH",
			       word > 40 ? 40 : (int)word, spec, known);
	}
	if (*type && !spec[word])
		return ob_fail(err, EINVAL, "%s needs an argument: %s",
			       (*type)->name, (*type)->syntax);
	*type = type_by_name("file", 4);
	*arg = spec;
	return 0;
}

static void deliver(struct ob_drive *drive, struct ob_block_request *req)
{
	assert(drive->in_flight);
	drive->in_flight--;
	req->done(req, req->rc);
}

static void deliver_queued(struct ob_deferred *deferred)
{
	struct ob_drive *drive = container_of(deferred, struct ob_drive,
					      done_soon);
	struct ob_block_request *req = drive->done_head, *next;

	drive->done_head = NULL;
	drive->done_tail = &drive->done_head;
	for (; req; req = next) {
		next = req->next;
		deliver(drive, req);
	}
}

static char *full_name(const struct ob_drive_type *type, const char *arg)
{
	char *name;

	return asprintf(&name, "%s:%s", type->name, arg) < 0 ? NULL : name;
}

static struct ob_drive *instance(const struct ob_drive_type *type,
				 struct ob_loop *loop)
{
	struct ob_drive *drive = calloc(1, type->instance_size);

	if (!drive)
		return NULL;
	drive->type = type;
	drive->loop = loop;
	drive->record = -1;
	drive->done_tail = &drive->done_head;
	drive->done_soon.run = deliver_queued;
	if (type->prepare)
		type->prepare(drive);
	return drive;
}

/* An instance of the type, not open; *arg is what its open is told. */
static int create(struct ob_loop *loop, const char *spec, const char *keep,
		  struct ob_drive **out, const char **arg, struct ob_err *err)
{
	const struct ob_drive_type *type = NULL;
	struct ob_drive *drive;
	int r = parse_spec(spec, &type, arg, err);

	if (r)
		return r;
	drive = instance(type, loop);
	if (!drive)
		return ob_fail(err, ENOMEM, "out of memory");
	drive->name = full_name(type, *arg);
	drive->keep = keep ? strdup(keep) : NULL;
	if (drive->name && (drive->keep || !keep)) {
		*out = drive;
		return 0;
	}
	ob_drive_close(drive);
	return ob_fail(err, ENOMEM, "out of memory");
}

static int open_type(struct ob_drive *drive, const char *arg, unsigned flags,
		     struct ob_err *err)
{
	drive->active = !(flags & OB_DRIVE_INCOMING);
	return drive->type->open(drive, arg, flags, err);
}

static int open_and_keep(struct ob_drive *drive, const char *arg,
			 unsigned flags, struct ob_err *err)
{
	int r = open_type(drive, arg, flags, err);

	if (!r)
		r = ob_record_begin(drive, err);
	if (r)
		ob_record_forget_new(drive);
	return r;
}

int ob_drive_open_kept(struct ob_loop *loop, const char *spec, unsigned flags,
		       const char *prefix, struct ob_drive **out,
		       struct ob_err *err)
{
	struct ob_drive *drive = NULL;
	const char *arg = NULL;
	int r = create(loop, spec, prefix, &drive, &arg, err);

	if (r)
		return r;
	r = ob_record_find(drive, &flags, err);
	if (!r)
		r = open_and_keep(drive, arg, flags, err);
	if (r)
		ob_drive_close(drive);
	else
		*out = drive;
	return r;
}

int ob_drive_open(struct ob_loop *loop, const char *spec, unsigned flags,
		  struct ob_drive **out, struct ob_err *err)
{
	return ob_drive_open_kept(loop, spec, flags, NULL, out, err);
}

int ob_drive_open_inner(struct ob_drive *drive, const char *spec,
			unsigned flags, struct ob_err *err)
{
	struct ob_drive *inner = NULL;
	const char *arg = NULL;
	int r = create(drive->loop, spec, drive->keep, &inner, &arg, err);

	if (r)
		return r;
	inner->info.size = drive->info.size;
	r = open_type(inner, arg, flags, err);
	if (r)
		ob_drive_close(inner);
	else
		drive->inner = inner;
	return r;
}

static void join(struct ob_drive *branch, struct ob_drive *drive)
{
	branch->parent = drive;
	branch->next_branch = drive->branches;
	drive->branches = branch;
}

static void part(struct ob_drive *branch)
{
	struct ob_drive **at = &branch->parent->branches;

	while (*at != branch)
		at = &(*at)->next_branch;
	*at = branch->next_branch;
}

int ob_drive_branch(struct ob_drive *drive, struct ob_loop *loop,
		    uint32_t granule, struct ob_drive **out,
		    struct ob_err *err)
{
	struct ob_drive *branch;
	int r;

	if (!drive->type->branch)
		return ob_drive_fail(drive, err, EOPNOTSUPP,
				     "it can only be used by one thread");
	branch = instance(drive->type, loop);
	if (!branch)
		return ob_fail(err, ENOMEM, "out of memory");
	join(branch, drive);
	branch->name = strdup(drive->name);
	branch->info = drive->info;
	branch->active = drive->active;
	r = branch->name ? drive->type->branch(drive, branch, granule, err) :
			   ob_fail(err, ENOMEM, "out of memory");
	if (r)
		ob_drive_close(branch);
	else
		*out = branch;
	return r;
}

void ob_drive_close(struct ob_drive *drive)
{
	if (!drive)
		return;
	assert(!drive->in_flight && !drive->branches);
	if (drive->parent)
		part(drive);
	ob_content_drop(drive);
	drive->type->close(drive);
	ob_fd_close(&drive->record);
	free(drive->keep);
	free(drive->name);
	free(drive);
}

const struct ob_drive_info *ob_drive_info(const struct ob_drive *drive)
{
	return &drive->info;
}

const char *ob_drive_name(const struct ob_drive *drive)
{
	return drive->name;
}

size_t ob_drive_request_size(const struct ob_drive *drive)
{
	return sizeof(struct ob_block_request) + drive->request_size;
}

/* 0: the type's business; 1: there is nothing to do; or -errno. */
static int check(const struct ob_drive *drive,
		 const struct ob_block_request *req)
{
	const struct ob_drive_info *info = &drive->info;

	if (!ob_drive_is_active(drive))
		return req->op == OB_BLOCK_FLUSH ? 1 : -ESHUTDOWN;
	switch (req->op) {
	case OB_BLOCK_FLUSH:
		return 0;
	case OB_BLOCK_READ:
		break;
	case OB_BLOCK_DISCARD:
	case OB_BLOCK_WRITE_ZEROES:
		if (drive->parent)
			return -EOPNOTSUPP;
		__attribute__((fallthrough));
	case OB_BLOCK_WRITE:
		if (info->readonly)
			return -EROFS;
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (req->offset > info->size || req->length > info->size - req->offset)
		return -EINVAL;
	return req->length ? 0 : 1;
}

void ob_drive_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	int r = check(drive, req);

	drive->in_flight++;
	drive->entered++;
	req->queued = false;
	if (r)
		ob_drive_done(drive, req, r < 0 ? r : 0);
	else
		drive->type->submit(drive, req);
	drive->entered--;
}

void ob_drive_cancel(struct ob_drive *drive, struct ob_block_request *req)
{
	if (req->queued || !drive->type->cancel)
		return;
	drive->entered++;
	drive->type->cancel(drive, req);
	drive->entered--;
}

void ob_drive_done(struct ob_drive *drive, struct ob_block_request *req,
		   int rc)
{
	req->rc = rc;
	ob_content_note(drive, req);
	if (!drive->entered) {
		deliver(drive, req);
		return;
	}
	req->queued = true;
	req->next = NULL;
	*drive->done_tail = req;
	drive->done_tail = &req->next;
	ob_defer(drive->loop, &drive->done_soon);
}

void ob_drive_on_resize(struct ob_drive *drive, void (*fn)(void *arg),
			void *arg)
{
	drive->resized = fn;
	drive->resized_arg = arg;
}

void ob_drive_resized(struct ob_drive *drive, uint64_t size)
{
	if (size == drive->info.size)
		return;
	drive->info.size = size;
	for (struct ob_drive *b = drive->branches; b; b = b->next_branch)
		b->info.size = size;
	ob_record_note(drive);
	if (drive->resized)
		drive->resized(drive->resized_arg);
}

int ob_drive_refresh(struct ob_drive *drive, struct ob_err *err)
{
	return drive->type->refresh ? drive->type->refresh(drive, err) : 0;
}
