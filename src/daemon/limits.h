/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_LIMITS_H
#define OB_DAEMON_LIMITS_H

/* As far as it is allowed: every client brings descriptors with it. */
void ob_raise_fd_limit(void);

#endif
