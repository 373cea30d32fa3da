// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "rig.h"

const enum ob_loop_engine rig_uring = OB_LOOP_URING, rig_pool = OB_LOOP_POOL;

static uint64_t seed = 0x2545f4914f6cdd1d;

uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

void rnd_fill(void *buf, size_t len)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++)
		bytes[i] = rnd() >> 24;
}

bool all_bytes_are(const void *buf, uint8_t value, size_t len)
{
	const uint8_t *bytes = buf;

	return !len || (bytes[0] == value &&
			!memcmp(bytes, bytes + 1, len - 1));
}

void *page_alloc(size_t len)
{
	void *p = aligned_alloc(4096, (len + 4095) / 4096 * 4096);

	assert_non_null(p);
	return p;
}

void rig_start(struct rig *rig, void **state)
{
	struct ob_loop_params params = {
		.engine = *(const enum ob_loop_engine *)*state,
	};
	struct ob_err err = { 0 };
	int r;

	memset(rig, 0, sizeof(*rig));
	r = ob_loop_create(&params, &rig->loop, &err);
	if (r && params.engine == OB_LOOP_URING) {
		print_message("no io_uring here: %s\n", err.msg);
		skip();
	}
	if (r)
		fail_msg("%s", err.msg);
}

const char *rig_disk(void)
{
	const char *dir = getenv("TMPDIR");

	return dir ? dir : "/var/tmp";
}

void rig_make_image(struct rig *rig, const char *folder, uint64_t size)
{
	int fd;

	snprintf(rig->path, sizeof(rig->path), "%s/outboard-test-XXXXXX",
		 folder);
	fd = mkostemp(rig->path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

void rig_open(struct rig *rig, const char *spec, bool readonly)
{
	struct ob_err err = { 0 };

	if (ob_drive_open(rig->loop, spec, readonly ? OB_DRIVE_READONLY : 0,
			  &rig->drive, &err))
		fail_msg("%s", err.msg);
}

void rig_open_image(struct rig *rig, bool readonly)
{
	char spec[sizeof(rig->path) + 8];

	snprintf(spec, sizeof(spec), "file:%s", rig->path);
	rig_open(rig, spec, readonly);
}

const char *rig_open_fails(struct rig *rig, const char *spec, bool readonly,
			   int errnum)
{
	static struct ob_err err;
	struct ob_drive *drive = NULL;
	int r;

	memset(&err, 0, sizeof(err));
	r = ob_drive_open(rig->loop, spec, readonly ? OB_DRIVE_READONLY : 0,
			  &drive, &err);
	if (r != -errnum)
		fail_msg("\"%s\": %d instead of %d (%s)", spec, r, -errnum,
			 err.msg);
	assert_null(drive);
	return err.msg;
}

void rig_close(struct rig *rig)
{
	ob_drive_close(rig->drive);
	rig->drive = NULL;
}

void rig_stop(struct rig *rig)
{
	rig_close(rig);
	ob_loop_destroy(rig->loop);
	if (rig->path[0])
		unlink(rig->path);
}

struct owned_request {
	struct io *io;
	max_align_t req[];
};

static void io_done(struct ob_block_request *req, int rc)
{
	struct owned_request *owned = (struct owned_request *)
		((char *)req - offsetof(struct owned_request, req));

	assert_false(owned->io->done);
	owned->io->done = true;
	owned->io->rc = rc;
}

void io_start(struct rig *rig, struct io *io, enum ob_block_op op,
	      uint32_t flags, uint64_t offset, uint64_t length, void *buf)
{
	struct owned_request *owned =
		malloc(sizeof(*owned) + ob_drive_request_size(rig->drive));
	struct ob_block_request *req = (struct ob_block_request *)owned->req;

	/* What an earlier user left there must not matter. */
	memset(owned, 0xa5,
	       sizeof(*owned) + ob_drive_request_size(rig->drive));
	owned->io = io;
	*io = (struct io){ .req = req };
	req->op = op;
	req->flags = flags;
	req->offset = offset;
	req->length = length;
	req->buf = buf;
	req->done = io_done;
	ob_drive_submit(rig->drive, req);
	assert_false(io->done);
}

int io_wait(struct rig *rig, struct io *io)
{
	while (!io->done)
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
	free((char *)io->req - offsetof(struct owned_request, req));
	return io->rc;
}

int io_run(struct rig *rig, enum ob_block_op op, uint32_t flags,
	   uint64_t offset, uint64_t length, void *buf)
{
	struct io io;

	io_start(rig, &io, op, flags, offset, length, buf);
	return io_wait(rig, &io);
}

int io_read(struct rig *rig, uint64_t offset, uint64_t length, void *buf)
{
	return io_run(rig, OB_BLOCK_READ, 0, offset, length, buf);
}

int io_write(struct rig *rig, uint64_t offset, uint64_t length, void *buf)
{
	return io_run(rig, OB_BLOCK_WRITE, 0, offset, length, buf);
}

int io_flush(struct rig *rig)
{
	return io_run(rig, OB_BLOCK_FLUSH, 0, 0, 0, NULL);
}
