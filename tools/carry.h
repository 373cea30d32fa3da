/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TOOLS_CARRY_H
#define TOOLS_CARRY_H

/* All bytes from one descriptor to the other, to their end.  0 or -errno. */
int carry(int from, int to);

#endif
