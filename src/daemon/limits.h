/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_LIMITS_H
#define OB_DAEMON_LIMITS_H

/* As far as it is allowed: every client brings descriptors with it. */
void ob_raise_fd_limit(void);
/*
 * What is freed is not given back to the kernel: who tries something out touches
 * the memory that will be wanted when it is done.
 */
void ob_keep_memory(void);

#endif
