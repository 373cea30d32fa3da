/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pipe or a stream socket that somebody handed over, written or read without
 * ever waiting for it, and without changing what others see of the file.
 */
#ifndef OB_SERVER_FLOW_H
#define OB_SERVER_FLOW_H

#include <sys/types.h>
#include <sys/uio.h>

#include <outboard/error.h>
#include <outboard/loop.h>

struct ob_flow {
	struct ob_loop *loop;
	struct ob_watch watch;		/* its fd; -1: closed */
	void (*ready)(struct ob_flow *flow, bool gone);
	bool is_socket, is_out, watched;
};

/* Takes fd.  Nothing is watched until start. */
int ob_flow_open(struct ob_flow *flow, struct ob_loop *loop, int fd,
		 bool is_out,
		 void (*ready)(struct ob_flow *flow, bool gone),
		 struct ob_err *err);
/*
 * From now on ready is called when there is something to read, or room, or the
 * other side has gone (there may be something to read all the same).
 */
int ob_flow_start(struct ob_flow *flow, struct ob_err *err);
/* Again, and of one that failed to open or is all zeros with fd -1: fine. */
void ob_flow_close(struct ob_flow *flow);
bool ob_flow_is_open(const struct ob_flow *flow);
/* Off: ready is only called when the other side has gone. */
int ob_flow_want(struct ob_flow *flow, bool on);
/* An error of the two below, or -EPIPE for who has gone, in words; returns it. */
int ob_flow_failed(const struct ob_flow *flow, int r, struct ob_err *err);
/* Bytes, -EAGAIN, or another error. */
ssize_t ob_flow_write(struct ob_flow *flow, const struct iovec *iov,
		      unsigned count);
/* Bytes, 0: the end, -EAGAIN, or another error. */
ssize_t ob_flow_read(struct ob_flow *flow, void *buf, size_t len);

#endif
