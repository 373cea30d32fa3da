/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_SERVE_H
#define OB_DAEMON_SERVE_H

#include "daemon/options.h"

/*
 * Serves until SIGTERM or SIGINT.  0: ended as asked.  -EINVAL before anything
 * was created: the command line is wrong (*usage is set then).  Else -errno.
 */
int ob_serve(const struct ob_serve_options *opts, bool *usage,
	     struct ob_err *err);

#endif
