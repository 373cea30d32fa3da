/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks on images, in the scheme that QEMU's programs use for theirs. */
#ifndef OB_BLOCK_LOCK_H
#define OB_BLOCK_LOCK_H

#include <stdbool.h>

#include <outboard/error.h>

/*
 * Locks fd's file until fd is closed: exclusively, or shared with others that
 * only read.  -EBUSY with a message that names the holder when that can be
 * found out.  May read all of /proc then, so only for opening.
 */
int ob_image_lock(int fd, bool readonly, struct ob_err *err);

/*
 * The same, once and without waiting, and nothing is held after a failure.
 * Reads /proc only if err is given.
 */
int ob_image_try_lock(int fd, bool readonly, struct ob_err *err);
int ob_image_unlock(int fd);

#endif
