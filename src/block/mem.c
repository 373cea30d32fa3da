// SPDX-License-Identifier: BSD-3-Clause
/*
 * mem:SIZE is a memfd, mapped.  Who can copies to and from info.memory; the
 * requests do the same for everybody else.
 *
 * DISCARD and WRITE_ZEROES may cover terabytes, so they are one hole punched
 * by the loop's workers instead of a memset here: the kernel frees the whole
 * pages and clears what the range covers of the others.
 *
 * Under a keeper the memfd outlives the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keep.h"
#include "block/mem.h"

static void mem_prepare(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;

	mem->fd = mem->stage = -1;
	drive->request_size = sizeof(struct mem_request);
}

/* Guest data must not end up in a core dump (rule R32). */
static int mem_map(struct mem_drive *mem, struct ob_err *err)
{
	uint64_t size = mem->drive.info.size;
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   mem->fd, 0);

	if (bytes == MAP_FAILED)
		return ob_drive_fail(&mem->drive, err, errno,
				     "cannot map %" PRIu64 " bytes: %s", size,
				     strerror(errno));
	mem->bytes = bytes;
	mem->drive.info.memory = bytes;
	madvise(bytes, size, MADV_DONTDUMP);
	return 0;
}

/* lived: there must be one; 1 when there is none. */
static int find_kept(struct mem_drive *mem, bool lived, struct ob_err *err)
{
	struct stat st;

	mem->fd = ob_drive_kept(&mem->drive, "memory");
	if (mem->fd == -ENOENT && !lived)
		return 1;
	if (mem->fd < 0)
		return ob_drive_fail(&mem->drive, err, -mem->fd,
				     "its content was not kept: %s",
				     strerror(-mem->fd));
	if (fstat(mem->fd, &st) || (uint64_t)st.st_size != mem->drive.info.size)
		return ob_drive_fail(&mem->drive, err, EINVAL,
				     "the content that was kept has another size");
	return 0;
}

static int get_memory(struct mem_drive *mem, bool lived, struct ob_err *err)
{
	uint64_t size = mem->drive.info.size;
	int r = find_kept(mem, lived, err);

	if (r <= 0)
		return r;
	mem->fd = ob_memfd_create("drive", size);
	r = mem->fd < 0 ? mem->fd : ob_drive_keep(&mem->drive, "memory", mem->fd);
	return r ? ob_drive_fail(&mem->drive, err, -r,
				 "cannot get %" PRIu64 " bytes of memory: %s",
				 size, strerror(-r)) : 0;
}

static int mem_open(struct ob_drive *drive, const char *arg, unsigned flags,
		    struct ob_err *err)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	bool lived = drive->info.size;
	int r = ob_drive_parse_size(drive, arg, &drive->info.size, err);

	if (r)
		return r;
	drive->info.block_size = OB_SECTOR;
	drive->info.discard_granularity = sysconf(_SC_PAGESIZE);
	drive->info.readonly = flags & OB_DRIVE_READONLY;
	r = get_memory(mem, lived, err);
	return r ? r : mem_map(mem, err);
}

/* A load that a living predecessor committed put another memory there. */
static int mem_recall(struct ob_drive *drive, struct ob_err *err)
{
	struct mem_drive *mem = (struct mem_drive *)drive;
	OB_CLEANUP_FD int old = -1;
	int r;

	if (ob_keep_is_sole(drive->loop))
		return 0;
	old = ob_fd_take(&mem->fd);
	r = find_kept(mem, true, err);
	if (!r && !mem_map_over(mem, mem->fd))
		r = ob_drive_fail(drive, err, errno, "cannot map its content: %s",
				  strerror(errno));
	return r;
}

/* The bytes stay where they are, whatever is mapped there later. */
static int mem_branch(struct ob_drive *drive, struct ob_drive *branch,
		      uint32_t granule, struct ob_err *err)
{
	(void)granule;
	(void)err;
	((struct mem_drive *)branch)->bytes = ((struct mem_drive *)drive)->bytes;
	return 0;
}

static void mem_close(struct ob_drive *drive)
{
	struct mem_drive *mem = (struct mem_drive *)drive;

	if (drive->parent)
		return;
	if (mem->bytes)
		munmap(mem->bytes, drive->info.size);
	if (mem->fd >= 0)
		ob_fd_close(&mem->fd);
}

static void mem_punched(struct ob_op *op, int res)
{
	struct mem_request *part = container_of(op, struct mem_request, op);

	*part->link = part->next;
	if (part->next)
		part->next->link = part->link;
	ob_drive_done(&part->mem->drive, OB_REQUEST_OF(part), res);
}

static void mem_punch(struct mem_drive *mem, struct ob_block_request *req)
{
	struct mem_request *part = (struct mem_request *)req->priv;

	*part = (struct mem_request){
		.op.done = mem_punched,
		.mem = mem, .next = mem->punching, .link = &mem->punching,
	};
	if (part->next)
		part->next->link = &part->next;
	mem->punching = part;
	ob_op_fallocate(mem->drive.loop, &part->op, mem->fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			req->offset, req->length);
}

static void mem_submit(struct ob_drive *drive, struct ob_block_request *req)
{
	struct mem_drive *mem = (struct mem_drive *)drive;

	switch (req->op) {
	case OB_BLOCK_READ:
		memcpy(req->buf, mem->bytes + req->offset, req->length);
		break;
	case OB_BLOCK_WRITE:
		memcpy(mem->bytes + req->offset, req->buf, req->length);
		break;
	case OB_BLOCK_FLUSH:
		break;
	case OB_BLOCK_DISCARD:
	case OB_BLOCK_WRITE_ZEROES:
		return mem_punch(mem, req);
	}
	ob_drive_done(drive, req, 0);
}

const struct ob_drive_type ob_drive_mem = {
	.size = sizeof(struct ob_drive_type),
	.abi = OB_DRIVE_ABI,
	.name = "mem",
	.syntax = "mem:SIZE",
	.summary = "memory, gone when the server ends",
	.instance_size = sizeof(struct mem_drive),
	.prepare = mem_prepare,
	.open = mem_open,
	.close = mem_close,
	.submit = mem_submit,
	.recall = mem_recall,
	.branch = mem_branch,
	.content = &mem_content,
};
