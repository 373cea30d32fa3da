/* SPDX-License-Identifier: BSD-3-Clause */
/* File descriptors: -1 is "none"; every fd has one owner. */
#ifndef OB_BASE_FD_H
#define OB_BASE_FD_H

#include <stddef.h>
#include <sys/types.h>

#include <outboard/error.h>

/* Closes *fd if it is one and sets it to -1; errno is preserved. */
void ob_fd_close(int *fd);
/* Returns *fd and sets it to -1: the caller takes over. */
int ob_fd_take(int *fd);
void ob_fds_close(int *fds, size_t count);

#define OB_CLEANUP_FD __attribute__((cleanup(ob_fd_close)))

void ob_cleanup_free(void *pointer_to_pointer);
#define OB_CLEANUP_FREE __attribute__((cleanup(ob_cleanup_free)))

/* A sealed-against-shrinking memfd of size bytes, or -errno. */
int ob_memfd_create(const char *name, off_t size);

/* A stream socket that is connected to the one at path, or -errno. */
int ob_fd_connect(const char *path, struct ob_err *err);

#endif
