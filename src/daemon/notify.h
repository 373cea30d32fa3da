/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_NOTIFY_H
#define OB_DAEMON_NOTIFY_H

/*
 * Tells the service manager, when one listens (NOTIFY_SOCKET, sd_notify(3)).
 * 0: told, or nobody to tell; else -errno.
 */
int ob_notify(const char *state);

/* STATUS=, in one line whatever the text. */
int ob_notify_status(const char *text);

/* Its socket, for who may not make one later. */
int ob_notify_open(void);

/*
 * The manager's watchdog (WATCHDOG_USEC): how often it wants to hear
 * "WATCHDOG=1", twice as often as it must; 0: it does not.
 */
unsigned ob_notify_alive_ms(void);

#endif
