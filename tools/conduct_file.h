/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM saved to a folder, and from there into a QEMU that waits for it. */
#ifndef TOOLS_CONDUCT_FILE_H
#define TOOLS_CONDUCT_FILE_H

#include "conduct.h"

/*
 * The folder is made.  Afterwards the VM stands still; after a failure it goes on
 * and there is no folder.
 */
int conduct_save(struct conductor *c, const char *path, struct ob_err *err);
/* Afterwards it runs; after a failure the destination has ended. */
int conduct_restore(struct conductor *c, const char *path, struct ob_err *err);

#endif
