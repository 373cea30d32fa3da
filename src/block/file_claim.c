// SPDX-License-Identifier: BSD-3-Clause
/*
 * A namespace has two devices: the one that takes commands, /dev/ngXnY, and a block
 * device, /dev/nvmeXnY.  Locks on the one are not seen by who uses the other.  So
 * whoever serves the first claims the second as well: it is opened for oneself alone
 * (O_EXCL), as a mounted file system, swap or a mapped volume does, so none of these
 * can have it meanwhile; and it has our locks (lock.c), for other servers and QEMU.
 * Whoever only opens it, to look, may.
 *
 * Who only reads leaves others alone that only read, and so has the locks alone.
 *
 * The block device may not be there (hidden, or not in this container), or be none that we
 * may open: then there is no claim, the operator is told, and his care has to do.
 *
 * It is kept like the image: from the first life on, until a hand-over.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "block/file.h"
#include "block/lock.h"

#define WORD "claim"

static int lock(struct file_drive *file, bool once, struct ob_err *err)
{
	bool readonly = file->drive.info.readonly;
	struct ob_err why = { 0 };
	int r = once ? ob_image_try_lock(file->claim, readonly,
					 err ? &why : NULL) :
		       ob_image_lock(file->claim, readonly, &why);

	return r ? ob_drive_fail(&file->drive, err, -r, "its block device: %s",
				 why.msg) : 0;
}

static void warn(const struct file_drive *file, int error)
{
	struct ob_log log = { .who = file->drive.name };

	ob_log(&log, OB_LOG_WARN, "the block device of this namespace is not "
	       "claimed (%s): nothing keeps others from mounting it or writing "
	       "to it while it is in use here", error == ENOENT ?
	       "none was found; it may be hidden, or not in this container" :
	       strerror(error));
}

int file_claim_take(struct file_drive *file, bool once, struct ob_err *err)
{
	int r;

	if (!file->is_nvme)
		return 0;
	r = file_nvme_node(file);
	if (r == -EBUSY)
		return ob_drive_fail(&file->drive, err, EBUSY,
				     "the system uses its block device "
				     "(as a file system, or in another device)");
	if (r < 0) {
		warn(file, -r);
		return 0;
	}
	file->claim = r;
	r = lock(file, once, err);
	if (!r && (r = ob_drive_keep(&file->drive, WORD, file->claim)))
		ob_drive_fail(&file->drive, err, -r, "cannot keep the claim: %s",
			      strerror(-r));
	if (r)
		file_claim_drop(file);
	return r;
}

/* Others may have the same open file: its locks do not go with ours. */
void file_claim_drop(struct file_drive *file)
{
	if (!file->is_nvme)
		return;
	ob_drive_forget(&file->drive, WORD);
	if (file->claim >= 0)
		ob_image_unlock(file->claim);
	file_claim_close(file);
}

bool file_claim_find(struct file_drive *file)
{
	int r;

	if (!file->is_nvme)
		return false;
	file_claim_close(file);
	r = ob_drive_kept(&file->drive, WORD);
	file->claim = r < 0 ? -1 : r;
	return r >= 0;
}

void file_claim_close(struct file_drive *file)
{
	if (file->claim >= 0)
		close(file->claim);
	file->claim = -1;
}
