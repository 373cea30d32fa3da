/* SPDX-License-Identifier: BSD-3-Clause */
/* One message over the channel between keeper and worker; both ends use it. */
#ifndef OB_KEEPER_MSG_H
#define OB_KEEPER_MSG_H

#include <stddef.h>

#include "keeper/wire.h"

/* Zeroed, with magic and op; name may be NULL. */
void ob_msg_init(struct ob_keeper_msg *msg, enum ob_keeper_op op,
		 const char *name);
/* The text, cut to what fits. */
void ob_msg_text(struct ob_keeper_msg *msg, const char *text);

/*
 * extra is how many bytes of text are binary (else 0); fd -1: none; flags of
 * send(2).  0 or -errno.
 */
int ob_msg_send(int channel, const struct ob_keeper_msg *msg, size_t extra,
		int fd, int flags);
/*
 * 1: a message, checked as far as its form goes; *fd is the caller's, -1 if it
 * came without.  0: the other end is closed.  -EBADMSG: not one of ours, it
 * is gone.  Else -errno.
 */
int ob_msg_recv(int channel, struct ob_keeper_msg *msg, int *fd, int flags);

#endif
