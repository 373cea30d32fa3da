/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_NOTIFY_H
#define OB_DAEMON_NOTIFY_H

/*
 * Tells the service manager, when one listens (NOTIFY_SOCKET, sd_notify(3)).
 * 0: told, or nobody to tell; else -errno.
 */
int ob_notify(const char *state);

#endif
