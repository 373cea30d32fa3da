// SPDX-License-Identifier: BSD-3-Clause
/* What a file is: its size, whether direct I/O works, what its medium does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/file.h"

/* Buffers are cut at pages, slots are the longest bounce. */
#define MAX_MEM_ALIGN 4096u
#define MAX_OFFSET_ALIGN FILE_SLOT_SIZE

static int read_size(struct file_drive *file, uint64_t *size,
		     struct ob_err *err)
{
	struct stat st = { 0 };

	if (file->is_nvme)
		return file_nvme_size(file, size, err);
	if (file->block_device ? ioctl(file->fd, BLKGETSIZE64, size) :
				 fstat(file->fd, &st))
		return ob_drive_fail(&file->drive, err, errno,
				     "cannot tell its size: %s",
				     strerror(errno));
	if (!file->block_device)
		*size = st.st_size;
	return 0;
}

int file_probe_size(struct file_drive *file, uint64_t *size,
		    struct ob_err *err)
{
	uint32_t unit = file->direct && file->offset_align > OB_SECTOR ?
			file->offset_align : OB_SECTOR;
	int r = read_size(file, size, err);

	if (r)
		return r;
	if (!*size)
		return ob_drive_fail(&file->drive, err, EINVAL,
				     "the image is empty");
	if (*size % unit)
		return ob_drive_fail(&file->drive, err, EINVAL,
				     "its size, %" PRIu64 " bytes, is no multiple of %u",
				     *size, unit);
	return 0;
}

/* Linux 6.1 tells, for most file systems.  -ENODATA: not for this one. */
static int ask_alignment(struct file_drive *file)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN) {
		file->mem_align = stx.stx_dio_mem_align;
		file->offset_align = stx.stx_dio_offset_align;
		return 0;
	}
#endif
	return -ENODATA;
}

/* Elsewhere a read tells; file->fd is in direct mode. */
static void try_alignment(struct file_drive *file)
{
	static const uint32_t tries[] = { 512, 4096 };

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		if (pread(file->fd, file->slots, tries[i], 0) <= 0)
			continue;
		file->mem_align = file->offset_align = tries[i];
		return;
	}
}

/* A last block that is cut off could not be written without growing. */
static bool alignment_is_usable(const struct file_drive *file)
{
	uint32_t mem = file->mem_align, offset = file->offset_align;

	return mem && offset && !(mem & (mem - 1)) &&
	       !(offset & (offset - 1)) && mem <= MAX_MEM_ALIGN &&
	       offset <= MAX_OFFSET_ALIGN &&
	       !(file->drive.info.size % offset);
}

void file_probe_direct(struct file_drive *file)
{
	file->mem_align = file->offset_align = 0;
	if (!fcntl(file->fd, F_SETFL, O_DIRECT)) {
		if (ask_alignment(file))
			try_alignment(file);
		file->direct = alignment_is_usable(file);
		if (!file->direct)
			fcntl(file->fd, F_SETFL, 0);
	}
	if (!file->direct)
		file->mem_align = file->offset_align = 1;
}

/*
 * A medium that does not answer had an answer once; whole pages are good for
 * any of them.
 */
void file_probe_kept(struct file_drive *file)
{
	int flags = fcntl(file->fd, F_GETFL);

	file->mem_align = file->offset_align = 0;
	file->direct = flags >= 0 && flags & O_DIRECT;
	if (file->direct && ask_alignment(file))
		try_alignment(file);
	if (file->direct && !alignment_is_usable(file)) {
		file->mem_align = MAX_MEM_ALIGN;
		file->offset_align = file->drive.info.size % 4096 ? OB_SECTOR
								  : 4096;
	}
	if (!file->direct)
		file->mem_align = file->offset_align = 1;
}

/* A number of a block device's queue; a partition's is its disk's. */
static bool read_queue(dev_t dev, const char *name, uint64_t *value)
{
	static const char *const places[] = { "", "../" };
	char path[128], text[32];
	ssize_t n;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		OB_CLEANUP_FD int fd = -1;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s",
			 major(dev), minor(dev), places[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		if (n <= 0)
			continue;
		text[n] = '\0';
		*value = strtoull(text, NULL, 10);
		return true;
	}
	return false;
}

/*
 * Punching beyond the end changes nothing and tells whether it could.  On a
 * device, the queue says.  A file of another who may be growing it is not
 * punched at all: that it could be is then assumed, and a DISCARD that finds
 * out otherwise does nothing.
 */
static uint64_t discard_unit(const struct file_drive *file,
			     const struct stat *st, bool incoming)
{
	uint64_t unit = 0;

	if (file->drive.info.readonly)
		return 0;
	if (file->block_device)
		return read_queue(st->st_rdev, "discard_granularity", &unit) ?
		       unit : 0;
	if (!incoming &&
	    fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      st->st_size, st->st_blksize))
		return 0;
	return st->st_blksize;
}

void file_probe_medium(struct file_drive *file, bool incoming)
{
	struct ob_drive_info *info = &file->drive.info;
	uint64_t rotational, unit;
	struct stat st;

	info->write_cache = true;
	info->block_size = file->offset_align > OB_SECTOR ?
			   file->offset_align : OB_SECTOR;
	if (fstat(file->fd, &st))
		return;
	if (read_queue(file->block_device ? st.st_rdev : st.st_dev,
		       "rotational", &rotational))
		info->rotational = rotational;
	unit = discard_unit(file, &st, incoming);
	info->discard_granularity = unit > UINT32_MAX ? 0 :
				    unit && unit < info->block_size ?
				    info->block_size : unit;
}
