/* SPDX-License-Identifier: BSD-3-Clause */
/* The folder of a run: its image, socket and log. */
#ifndef OB_TESTS_CRASH_FOLDER_H
#define OB_TESTS_CRASH_FOLDER_H

#include <stddef.h>

#define FOLDER_ROOM 64

/* Below TMPDIR unless that is long, since sockets have short names. */
void folder_make(char folder[FOLDER_ROOM], const char *name);
/* With all that is in it. */
void folder_remove(const char *folder);

#endif
