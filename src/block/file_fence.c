// SPDX-License-Identifier: BSD-3-Clause
/*
 * No command of a dead process may come after one of ours (R26).
 *
 * Other requests are in the loop's ring, which the keeper has, and in which a
 * successor sees them end.  The ring of NVMe commands is the process's own
 * (base/loop_wide.c) and ends with it, while the device may still be at work.
 * But the kernel holds the file of a request until it has ended.  So each
 * life that is going to write opens the device once more, gives its commands to
 * that open file alone, and has a lock on one byte there.  Nobody keeps it: it
 * is closed by the death, or by the end of the last command, whichever is later, and
 * the lock goes then.  Who has the lock may write; before that requests wait, in
 * the queue of file_gate.c.
 *
 * That also covers a process that was killed without a keeper, whose locks on
 * the image are free at once, and calls of threads, which are over with their
 * process anyway.
 *
 * The lock is tried for when the first request comes, not when the drive
 * is opened: a predecessor may be alive then.  Nothing tells when it becomes
 * free, but who had it is dead, so that takes as long as the device takes for what it
 * has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "block/file.h"

#define FENCE_BYTE	300		/* beyond those of lock.c */
#define LOOK_AGAIN_NS	UINT64_C(2000000)

static bool has_fence(const struct file_drive *file)
{
	return file->io_fd >= 0 && file->io_fd != file->fd;
}

static bool set_lock(const struct file_drive *file, int type)
{
	struct flock fl = {
		.l_type = (short)type, .l_whence = SEEK_SET,
		.l_start = FENCE_BYTE, .l_len = 1,
	};

	return !fcntl(file->io_fd, F_OFD_SETLK, &fl);
}

bool file_fence_pass(struct file_drive *file)
{
	file->fenced = !set_lock(file, F_WRLCK);
	if (file->fenced)
		ob_timer_arm(file->drive.loop, &file->fence, LOOK_AGAIN_NS);
	return !file->fenced;
}

static void look_again(struct ob_timer *timer)
{
	struct file_drive *file = container_of(timer, struct file_drive, fence);

	if (file_fence_pass(file))
		file_gate_look(file);
}

/* By the open file, whatever its path names by now. */
int file_fence_open(struct file_drive *file, struct ob_err *err)
{
	char path[32];

	file->fence.fire = look_again;
	if (file->drive.info.readonly) {
		file->io_fd = file->fd;	/* what is read harms nobody */
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	file->io_fd = open(path, O_RDWR | O_CLOEXEC);
	if (file->io_fd < 0)
		return ob_drive_fail(&file->drive, err, errno,
				     "cannot open it once more: %s",
				     strerror(errno));
	file->fenced = true;
	return 0;
}

void file_fence_raise(struct file_drive *file)
{
	if (!has_fence(file))
		return;
	ob_timer_cancel(file->drive.loop, &file->fence);
	set_lock(file, F_UNLCK);
	file->fenced = true;
}

void file_fence_close(struct file_drive *file)
{
	if (!has_fence(file))
		return;
	ob_timer_cancel(file->drive.loop, &file->fence);
	ob_fd_close(&file->io_fd);
}
