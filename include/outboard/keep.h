/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that outlive the process (docs/crash-safety.md).
 *
 * A server that runs under a keeper hands over what it must not lose, under
 * names; its successor finds it there, the same open file, locks and all.  In
 * a process without a keeper nothing is found and nothing is kept, so that
 * callers need not know.
 *
 * Names are paths of printable text, "nvme0/drive/0/image".  Drives use
 * ob_drive_keep and ob_drive_kept (block_backend.h), models nothing: their state
 * and their drives are kept for them.
 */
#ifndef OUTBOARD_KEEP_H
#define OUTBOARD_KEEP_H

#include <stdbool.h>

#include <outboard/loop.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define OB_KEEP_NAME_MAX 119u

/* Is there a keeper? */
bool ob_keep_is_on(const struct ob_loop *loop);
/*
 * Keeps a duplicate of fd; what had the name before is closed.  When it
 * returns 0 the descriptor survives whatever happens to this process.  0
 * without a keeper, too.  -ENAMETOOLONG; -ENFILE: the keeper's table is full.
 */
int ob_keep_put(struct ob_loop *loop, const char *name, int fd);
/* A descriptor of one's own of what is kept, close-on-exec; -ENOENT. */
int ob_keep_get(struct ob_loop *loop, const char *name);
/* Forgets the name, or with a '/' at its end everything below it. */
void ob_keep_drop(struct ob_loop *loop, const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
