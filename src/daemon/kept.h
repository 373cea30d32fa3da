/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_KEPT_H
#define OB_DAEMON_KEPT_H

#include "daemon/options.h"

/*
 * Is this process to be a keeper: neither told not to, nor started by one?
 */
bool ob_serve_is_kept(const struct ob_serve_options *opts);
/*
 * Keeps a process that does what ob_serve does.  The server's exit status, or
 * -errno and a message when there is none.
 */
int ob_serve_kept(const struct ob_serve_options *opts, struct ob_err *err);

#endif
