/* SPDX-License-Identifier: BSD-3-Clause */
/* Dying at once, however much memory is mapped. */
#ifndef OB_BASE_LINGER_H
#define OB_BASE_LINGER_H

/*
 * From now on, when this process dies, its memory is taken apart by another
 * task that shares it and ends after us, so that whoever waits for our death
 * need not wait for that.  The task has none of our descriptors.  Where it
 * cannot be had, dying takes as long as it does.  Once, from the main thread.
 */
void ob_linger(void);

#endif
