// SPDX-License-Identifier: BSD-3-Clause
/*
 * file:PATH, a regular file, a block device, or an NVMe namespace by its character
 * device, which is no drive type of its own, because it is one more thing that a
 * path can name: what differs is how the bytes are reached (struct file_medium).
 *
 * The path is the operator's, so symbolic links are followed: /dev/disk/by-id
 * is made of them.  A path that a guest could influence does not exist here
 * (rule R36).  What is none of the three is refused before it is
 * opened, since opening alone may do things (a tape rewinds, a watchdog
 * starts, a FIFO waits).
 *
 * Under a keeper all that is done once in a device's life: its successors get
 * the open file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/file.h"
#include "block/lock.h"

static void file_prepare(struct ob_drive *drive)
{
	struct file_drive *file = (struct file_drive *)drive;

	file->fd = file->io_fd = file->claim = -1;
	file->medium = &file_medium_plain;
	drive->request_size = sizeof(struct file_request);
	file_gate_init(file);
}

static const char *kind_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFCHR:
		return "a character device";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	default:
		return "something unknown";
	}
}

static int check_kind(struct file_drive *file, const struct stat *st,
		      struct ob_err *err)
{
	file->block_device = S_ISBLK(st->st_mode);
	file->is_nvme = file_is_nvme(st);
	if (file->block_device || file->is_nvme || S_ISREG(st->st_mode))
		return 0;
	return ob_drive_fail(&file->drive, err, EINVAL,
			     "it is %s; a drive is a file, a block device or an NVMe namespace",
			     kind_name(st->st_mode));
}

static int fail_errno(struct file_drive *file, struct ob_err *err)
{
	int e = errno;

	return ob_drive_fail(&file->drive, err, e, "%s", strerror(e));
}

/* The second look is at what was opened, whatever the path names by now. */
static int open_path(struct file_drive *file, const char *path, bool readonly,
		     struct ob_err *err)
{
	struct stat st;
	int r;

	if (stat(path, &st))
		return fail_errno(file, err);
	r = check_kind(file, &st, err);
	if (r)
		return r;
	file->fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC |
			      O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0 || fstat(file->fd, &st))
		return fail_errno(file, err);
	r = check_kind(file, &st, err);
	if (r)
		return r;
	return fcntl(file->fd, F_SETFL, 0) ? fail_errno(file, err) : 0;
}

/*
 * The image of a former life, the same open file: its locks are ours already
 * and its path does not matter any more.  0, or -ENOENT when there is none.
 */
static int find_kept(struct file_drive *file, bool readonly,
		     struct ob_err *err)
{
	bool lived = file->drive.info.size;
	struct stat st;
	int r = ob_drive_kept(&file->drive, "image");

	if (r == -ENOENT && !lived)
		return r;
	if (r < 0)
		return ob_drive_fail(&file->drive, err, -r,
				     "its image was not kept: %s", strerror(-r));
	file->fd = r;
	if (fstat(file->fd, &st) || (r = fcntl(file->fd, F_GETFL)) < 0)
		return fail_errno(file, err);
	if ((r & O_ACCMODE) != (readonly ? O_RDONLY : O_RDWR))
		return ob_drive_fail(&file->drive, err, EINVAL,
				     "the image that was kept is open another way");
	return check_kind(file, &st, err);
}

static int lock_image(struct file_drive *file, bool readonly,
		      struct ob_err *err)
{
	struct ob_err why = { 0 };
	int r = ob_image_lock(file->fd, readonly, &why);

	return r ? ob_drive_fail(&file->drive, err, -r, "%s", why.msg) : 0;
}

/* Pages that the guest's data went through stay out of core dumps (R32). */
static int map_slots(struct file_drive *file, struct ob_err *err)
{
	size_t size = (FILE_NR_SLOTS + 1) * (size_t)FILE_SLOT_SIZE;
	void *slots = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slots == MAP_FAILED)
		return fail_errno(file, err);
	file->slots = slots;
	madvise(slots, size, MADV_DONTDUMP);
	return 0;
}

/*
 * Finds or opens the image; it is kept when it has its locks.  An active image
 * of a former life has them, and nothing is asked: another program that just
 * tries to get it, and will not, would be in the way.
 */
static int get_image(struct file_drive *file, const char *path,
		     unsigned flags, struct ob_err *err)
{
	bool readonly = flags & OB_DRIVE_READONLY, kept;
	int r = find_kept(file, readonly, err);

	kept = r == 0;
	if (r == -ENOENT && file->fd < 0 && !file->drive.info.size)
		r = open_path(file, path, readonly, err);
	if (!r && !(flags & OB_DRIVE_INCOMING) && !file->drive.info.size)
		r = lock_image(file, readonly, err);
	if (r || kept)
		return r;
	r = ob_drive_keep(&file->drive, "image", file->fd);
	return r ? ob_drive_fail(&file->drive, err, -r, "cannot keep it: %s",
				 strerror(-r)) : 0;
}

/* As the image: a former life's stays, and who is to come takes none. */
static int get_claim(struct file_drive *file, unsigned flags,
		     struct ob_err *err)
{
	if (file_claim_find(file) || flags & OB_DRIVE_INCOMING ||
	    file->drive.info.size)
		return 0;
	return file_claim_take(file, false, err);
}

static int become_nvme(struct file_drive *file, struct ob_err *err)
{
	int r = ob_loop_nvme(file->drive.loop);

	if (r == -EOPNOTSUPP)
		return ob_drive_fail(&file->drive, err, EOPNOTSUPP,
				     "io_uring of this kernel has no NVMe commands "
				     "(Linux 5.19 has); threads have");
	if (r)
		return ob_drive_fail(&file->drive, err, -r,
				     "no ring for NVMe commands: %s", strerror(-r));
	file->medium = &file_medium_nvme;
	file->drive.request_size = file_nvme_request_size();
	r = file_nvme_probe(file, err);
	return r ? r : file_fence_open(file, err);
}

/* info.size is that of a former life, or 0. */
static int probe(struct file_drive *file, unsigned flags, struct ob_err *err)
{
	uint64_t *size = &file->drive.info.size;
	bool lived = *size;
	int r = file->is_nvme ? become_nvme(file, err) : 0;

	if (!r && !lived && file->is_nvme)
		r = file_nvme_may_read(file, err);
	if (!r && !lived)
		r = file_probe_size(file, size, err);
	if (r || (r = map_slots(file, err)) || file->is_nvme)
		return r;
	if (lived)
		file_probe_kept(file);
	else
		file_probe_direct(file);
	file_probe_medium(file, flags & OB_DRIVE_INCOMING);
	return 0;
}

static int file_open(struct ob_drive *drive, const char *path, unsigned flags,
		     struct ob_err *err)
{
	struct file_drive *file = (struct file_drive *)drive;
	int r;

	drive->info.readonly = flags & OB_DRIVE_READONLY;
	r = get_image(file, path, flags, err);
	if (!r)
		r = get_claim(file, flags, err);
	return r ? r : probe(file, flags, err);
}

/*
 * Of a branch the gate is its own: where all requests are whole blocks, nobody waits
 * in one but for a buffer, of which it has its own as well.
 */
static int file_branch(struct ob_drive *drive, struct ob_drive *branch,
		       uint32_t granule, struct ob_err *err)
{
	const struct file_drive *file = (struct file_drive *)drive;
	struct file_drive *own = (struct file_drive *)branch;

	if (file->is_nvme)
		return ob_drive_fail(drive, err, EOPNOTSUPP,
				     "an NVMe namespace is used by one thread");
	if (granule % file->offset_align)
		return ob_drive_fail(drive, err, EOPNOTSUPP, "it has blocks of "
				     "%u bytes", file->offset_align);
	own->fd = file->fd;
	own->block_device = file->block_device;
	own->direct = file->direct;
	own->mem_align = file->mem_align;
	own->offset_align = file->offset_align;
	return map_slots(own, err);
}

static void file_close(struct ob_drive *drive)
{
	struct file_drive *file = (struct file_drive *)drive;

	if (file->slots)
		munmap(file->slots, (FILE_NR_SLOTS + 1) *
				    (size_t)FILE_SLOT_SIZE);
	file_fence_close(file);
	file_claim_close(file);
	if (!drive->parent)
		ob_fd_close(&file->fd);
}

static int file_refresh(struct ob_drive *drive, struct ob_err *err)
{
	struct file_drive *file = (struct file_drive *)drive;
	uint64_t size;
	int r = file_probe_size(file, &size, err);

	if (!r)
		ob_drive_resized(drive, size);
	return r;
}

static int file_release(struct ob_drive *drive, struct ob_err *err)
{
	struct file_drive *file = (struct file_drive *)drive;
	int r = ob_image_unlock(file->fd);

	if (r)
		return ob_drive_fail(drive, err, -r,
				     "cannot unlock the image: %s", strerror(-r));
	file_fence_raise(file);
	file_claim_drop(file);
	return 0;
}

/*
 * The descriptor is the image, whatever its path names by now: the lock is on
 * the file, and who gave it away meant the file.
 *
 * What the page cache knows of it may be from before another host wrote it.
 * Nothing in there is ours and unwritten, and direct I/O does not look there.
 */
static int file_acquire(struct ob_drive *drive, struct ob_err *err)
{
	struct file_drive *file = (struct file_drive *)drive;
	struct ob_err why = { 0 };
	int r = ob_image_try_lock(file->fd, drive->info.readonly,
				  err ? &why : NULL);

	if (r)
		return ob_drive_fail(drive, err, -r, "%s", why.msg);
	r = file_claim_take(file, true, err);
	if (r) {
		ob_image_unlock(file->fd);
		return r;
	}
	if (!file->direct)
		posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

/* An inactive image has no locks, unless its release was cut short. */
static int file_recall(struct ob_drive *drive, struct ob_err *err)
{
	if (!drive->active)
		return file_release(drive, err);
	file_claim_find((struct file_drive *)drive);
	return 0;
}

const struct ob_drive_type ob_drive_file = {
	.size = sizeof(struct ob_drive_type),
	.abi = OB_DRIVE_ABI,
	.name = "file",
	.syntax = "file:PATH",
	.summary = "a raw image file, a block device, or an NVMe namespace",
	.instance_size = sizeof(struct file_drive),
	.prepare = file_prepare,
	.open = file_open,
	.close = file_close,
	.submit = file_submit,
	.cancel = file_cancel,
	.refresh = file_refresh,
	.recall = file_recall,
	.release = file_release,
	.acquire = file_acquire,
	.branch = file_branch,
};
