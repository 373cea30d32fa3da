// SPDX-License-Identifier: BSD-3-Clause
/*
 * mem: as content that travels.
 *
 * Sending.  The kernel knows which pages exist.  SEEK_DATA leaps over holes of
 * any size, but the end of data it (SEEK_HOLE) only finds page by page to the
 * end, however far that is.  So mincore() is asked, for as many pages as
 * somebody wants.  It does not know of pages that were swapped out; where it
 * sees none, SEEK_DATA has the last word.
 *
 * Receiving.  The stage is a second memfd.  It is written with pwrite: per MiB
 * that takes 350 us where storing into a fresh mapping takes 620, since there
 * is no fault for each page and no page is cleared before it is overwritten.
 * Populating the mapping ahead, in any step, is no better than the faults, and
 * allocating ahead with fallocate costs what it saves.  commit maps the stage
 * in the place of the old content, so that the address stays.
 *
 * Giving pages back takes a third of the time that getting them took, too long
 * for one step if there are many.  So content that is no longer wanted is
 * punched by the loop's workers before it is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/mem.h"

/* Pages that mincore is asked about at once. */
#define PAGES 256u

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The first byte from there on that exists; the size when none does. */
static uint64_t seek_data(const struct mem_drive *mem, uint64_t from)
{
	off_t at = lseek(mem->fd, from, SEEK_DATA);

	if (at >= 0)
		return at;
	/* Never mind why it cannot tell: data then. */
	return errno == ENXIO ? mem->drive.info.size : from;
}

/* Where the first page at or after at (a page's) is that is missing, or end. */
static uint64_t seek_hole(const struct mem_drive *mem, uint64_t at,
			  uint64_t end, uint32_t page)
{
	uint8_t there[PAGES] = { 0 };

	for (unsigned i = 0; at < end; at += page, i++) {
		uint64_t len = min_u64(end - at, (uint64_t)PAGES * page);

		if (i % PAGES == 0 && mincore(mem->bytes + at, len, there))
			memset(there, 0, sizeof(there));
		if (!(there[i % PAGES] & 1) && seek_data(mem, at) != at)
			return at;
	}
	return end < at ? end : at;
}

/* Leaves out what is being punched, so that nobody changes what is found. */
static uint64_t skip_punching(const struct mem_drive *mem, uint64_t at)
{
	const struct mem_request *part = mem->punching;
	const struct ob_block_request *req;

	while (part) {
		req = OB_REQUEST_OF(part);
		part = part->next;
		if (at < req->offset || at - req->offset >= req->length)
			continue;
		at = req->offset + req->length;
		part = mem->punching;	/* another may begin right here */
	}
	return at;
}

static uint64_t stop_at_punching(const struct mem_drive *mem, uint64_t at,
				 uint64_t end)
{
	const struct mem_request *part = mem->punching;

	for (; part; part = part->next) {
		uint64_t offset = OB_REQUEST_OF(part)->offset;

		if (offset > at && offset < end)
			end = offset;
	}
	return end;
}

static void mem_find(struct ob_drive *drive, uint64_t from, uint64_t max,
		     uint64_t *start, uint64_t *length)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	uint32_t page = sysconf(_SC_PAGESIZE);
	uint64_t size = drive->info.size, end;

	do {
		*start = seek_data(mem, from);
		from = skip_punching(mem, *start);
	} while (from != *start && from < size);
	*start = from;
	*length = 0;
	if (from >= size)
		return;
	end = stop_at_punching(mem, from, from + min_u64(max, size - from));
	*length = seek_hole(mem, from - from % page + page, end, page) - from;
}

static uint64_t mem_allocated(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	struct stat st;

	if (fstat(mem->fd, &st))
		return drive->info.size;
	return min_u64((uint64_t)st.st_blocks * 512, drive->info.size);
}

static int mem_stage_begin(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;

	mem->stage = ob_memfd_create("drive", drive->info.size);
	return mem->stage < 0 ? mem->stage : 0;
}

static int mem_stage_put(struct ob_drive *drive, uint64_t offset,
			 const void *data, uint64_t length)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	const uint8_t *bytes = data;
	ssize_t n;

	if (!data)
		return fallocate(mem->stage, FALLOC_FL_PUNCH_HOLE |
				 FALLOC_FL_KEEP_SIZE, offset, length) ?
		       -errno : 0;
	for (; length; offset += n, bytes += n, length -= n) {
		n = pwrite(mem->stage, bytes, length, offset);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -ENOSPC;
		n = n < 0 ? 0 : n;
	}
	return 0;
}

struct mem_waste {
	struct ob_op op;
	int fd;
};

static void waste_punched(struct ob_op *op, int res)
{
	struct mem_waste *waste = container_of(op, struct mem_waste, op);

	(void)res;
	ob_fd_close(&waste->fd);
	free(waste);
}

/* Takes *fd.  The drive may be closed before this has ended. */
static void throw_away(struct mem_drive *mem, int *fd)
{
	struct mem_waste *waste = calloc(1, sizeof(*waste));

	if (!waste)
		return ob_fd_close(fd);
	waste->op.done = waste_punched;
	waste->fd = ob_fd_take(fd);
	ob_op_fallocate(mem->drive.loop, &waste->op, waste->fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			mem->drive.info.size);
}

bool mem_map_over(struct mem_drive *mem, int fd)
{
	uint64_t size = mem->drive.info.size;

	if (mmap(mem->bytes, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return false;
	madvise(mem->bytes, size, MADV_DONTDUMP);
	return true;
}

/*
 * A mapping that fails may have taken the old one away already.  Without
 * either, somebody else's memory could come to lie where the drive's was.
 */
static void map_back(struct mem_drive *mem)
{
	if (!mem_map_over(mem, mem->fd))
		abort();
}

/* A successor finds the one or the other; kept last, since it can be undone. */
static int mem_stage_commit(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	int r = mem_map_over(mem, mem->stage) ? 0 : -errno;

	if (!r)
		r = ob_drive_keep(drive, "memory", mem->stage);
	if (r) {
		map_back(mem);
		return r;
	}
	throw_away(mem, &mem->fd);
	mem->fd = ob_fd_take(&mem->stage);
	return 0;
}

static void mem_stage_abort(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;

	throw_away(mem, &mem->stage);
}

const struct ob_drive_content mem_content = {
	.find = mem_find,
	.allocated = mem_allocated,
	.stage_begin = mem_stage_begin,
	.stage_put = mem_stage_put,
	.stage_commit = mem_stage_commit,
	.stage_abort = mem_stage_abort,
};
