// SPDX-License-Identifier: BSD-3-Clause
/*
 * QEMU's programs agree on who may open an image through locks on single bytes
 * of it (the bytes need not exist).  There is a list of permissions.  Whoever
 * uses permission p of an image holds a read lock on byte 100 + p; whoever
 * does not want others to use p holds one on byte 200 + p.  Only read locks
 * are ever taken, so taking them always succeeds; afterwards everybody looks
 * whether somebody else's lock contradicts: for each p that I use byte 200 + p
 * must be free, for each p that I do not share byte 100 + p.  Two that come at
 * once may both be refused, but never both be let in.
 *
 * They are open file description locks: unlike POSIX locks they conflict
 * inside one process too and do not vanish with the close of some other
 * descriptor of the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "block/holder.h"
#include "block/lock.h"

enum perm {
	PERM_READ, PERM_WRITE, PERM_WRITE_UNCHANGED, PERM_RESIZE, NR_PERMS
};

#define USED_BASE 100
#define UNSHARED_BASE 200
#define PATIENCE_MS 500
#define PAUSE_MS 20

static const char *const perm_names[NR_PERMS] = {
	"consistent read", "write", "write unchanged", "resize",
};

/*
 * Nobody else may write or resize what we serve, even if we only read: the
 * guest would see its disk change underneath.
 */
static const unsigned unshared = 1 << PERM_WRITE | 1 << PERM_RESIZE;

static int lock_byte(int fd, off_t byte)
{
	struct flock fl = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET,
		.l_start = byte, .l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

/* 1 when another holds a lock there. */
static int byte_is_taken(int fd, off_t byte)
{
	struct flock fl = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = byte, .l_len = 1,
	};

	return fcntl(fd, F_OFD_GETLK, &fl) ? -errno : fl.l_type != F_UNLCK;
}

/*
 * -EBUSY, or -EAGAIN when nobody alive is seen to hold it.  Nobody is looked
 * for when there is no message to put the answer in.
 */
static int fail_busy(int fd, off_t byte, const char *what, int perm,
		     struct ob_err *err)
{
	struct ob_holder holder;
	char who[64] = "another program";
	bool known = err && ob_holder_find(fd, byte, &holder);

	if (known) {
		if (holder.self)
			snprintf(who, sizeof(who), "another drive of this server");
		else
			snprintf(who, sizeof(who), "pid %d (%s)",
				 (int)holder.pid, holder.name);
	}
	ob_fail(err, EBUSY, "in use by %s: it %s \"%s\"", who, what,
		perm_names[perm]);
	return known ? -EBUSY : -EAGAIN;
}

/* Only a program that has its own idea of locks can be in the way here. */
static int lock_bytes(int fd, unsigned perms, off_t base, struct ob_err *err)
{
	for (int p = 0; p < NR_PERMS; p++) {
		int r = perms & 1u << p ? lock_byte(fd, base + p) : 0;

		if (r == -EAGAIN || r == -EACCES)
			return fail_busy(fd, base + p,
					 "holds an exclusive lock on", p, err);
		if (r)
			return ob_fail(err, -r, "cannot lock the image: %s",
				       strerror(-r));
	}
	return 0;
}

static int check_bytes(int fd, unsigned perms, off_t base, const char *what,
		       struct ob_err *err)
{
	for (int p = 0; p < NR_PERMS; p++) {
		int r = perms & 1u << p ? byte_is_taken(fd, base + p) : 0;

		if (r < 0)
			return ob_fail(err, -r, "cannot look for locks: %s",
				       strerror(-r));
		if (r)
			return fail_busy(fd, base + p, what, p, err);
	}
	return 0;
}

static unsigned used_by(bool readonly)
{
	return 1 << PERM_READ | (readonly ? 0 : 1 << PERM_WRITE);
}

static int look(int fd, unsigned used, struct ob_err *err)
{
	int r = check_bytes(fd, unshared, USED_BASE, "holds a lock on", err);

	return r ? r : check_bytes(fd, used, UNSHARED_BASE, "does not share",
				   err);
}

static int try_lock(int fd, bool readonly, struct ob_err *err)
{
	unsigned used = used_by(readonly);
	int r;

	if ((r = lock_bytes(fd, used, USED_BASE, err)) ||
	    (r = lock_bytes(fd, unshared, UNSHARED_BASE, err)))
		return r;
	return look(fd, used, err);
}

/*
 * A server that was killed a moment ago is gone, but the kernel keeps its file
 * and the lock until the last request in its ring has ended.
 */
int ob_image_lock(int fd, bool readonly, struct ob_err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000 };
	int r = try_lock(fd, readonly, err);

	for (int i = 0; r == -EAGAIN && i < PATIENCE_MS / PAUSE_MS; i++) {
		nanosleep(&pause, NULL);
		r = try_lock(fd, readonly, err);
	}
	return r == -EAGAIN ? -EBUSY : r;
}

/* One call for all bytes, so that it is done or not. */
int ob_image_unlock(int fd)
{
	struct flock fl = {
		.l_type = F_UNLCK, .l_whence = SEEK_SET,
		.l_start = USED_BASE,
		.l_len = UNSHARED_BASE + NR_PERMS - USED_BASE,
	};

	return fcntl(fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

/*
 * This is tried again and again while another owns the image, who must not
 * notice: a lock of ours, however short, could make a third program fail.  So
 * it looks before it takes anything.
 */
int ob_image_try_lock(int fd, bool readonly, struct ob_err *err)
{
	int r = look(fd, used_by(readonly), err);

	if (!r) {
		r = try_lock(fd, readonly, err);
		if (r)
			ob_image_unlock(fd);
	}
	return r == -EAGAIN ? -EBUSY : r;
}
