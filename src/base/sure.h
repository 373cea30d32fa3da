/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket calls whose outcome a successor can learn.
 *
 * Such a call goes through a ring that outlives the process.  With
 * MSG_DONTWAIT it runs to its end inside the submission, and its result stays in
 * the completion queue, under a tag, whether or not anybody lives to read it.
 * The caller writes the tag where its successor looks before the call.
 *
 * Calls that are queued and started together run in their order and cost one
 * system call.  One that goes along costs none: it is in the loop's ring and
 * leaves with whatever the loop hands to the kernel next.  Without io_uring all
 * are made one by one, plainly; then a death between a call and the note of its
 * result is in doubt (docs/crash-safety.md).
 */
#ifndef OB_BASE_SURE_H
#define OB_BASE_SURE_H

#include <stdint.h>
#include <sys/socket.h>

#include <outboard/loop.h>

#define OB_SURE_CALLS 4u	/* that can be queued */

struct ob_sure_call {
	uint64_t tag;		/* of ob_sure_tag */
	int res;		/* bytes or -errno, after ob_sure_go */
	struct ob_sure_call *next;	/* ours, of those that go along */
	/* Of one that goes along, or NULL: res is known, and its place in the ring
	 * will be used again.  Whoever does not write it down now loses it. */
	void (*came)(struct ob_sure_call *call);
};

struct ob_sure;

/* The loop's; exists as long as it does. */
struct ob_sure *ob_loop_sure(struct ob_loop *loop);

/* Never the same twice under one keeper, whichever thread asks; never 0. */
uint64_t ob_sure_tag(struct ob_sure *sure);
/* call, msg and buf stay until ob_sure_go returns.  MSG_DONTWAIT and
 * MSG_NOSIGNAL are added. */
void ob_sure_sendmsg(struct ob_sure *sure, struct ob_sure_call *call, int fd,
		     const struct msghdr *msg);
void ob_sure_recv(struct ob_sure *sure, struct ob_sure_call *call, int fd,
		  void *buf, size_t len);
void ob_sure_go(struct ob_sure *sure);

/*
 * As ob_sure_recv, but it leaves with the loop's next system call, at the
 * latest with the one that sleeps.  res is -EINPROGRESS until it is known; call,
 * buf and fd stay until ob_sure_await has returned.
 */
void ob_sure_recv_along(struct ob_sure *sure, struct ob_sure_call *call, int fd,
			void *buf, size_t len);
/* Now, if it has not left: the result is known when this returns. */
void ob_sure_await(struct ob_sure *sure, struct ob_sure_call *call);

#endif
