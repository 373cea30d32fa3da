// SPDX-License-Identifier: BSD-3-Clause
/*
 * Saying no to a second client.
 *
 * QEMU 11.1 may abort, with its VM, when a connection ends where the answer to
 * VERSION should come; told EBUSY it reports an error and goes on.  So one who
 * is refused gets that answer to whatever its first message is, and then the
 * end.  Few are answered at a time and each for a short while: who is silent,
 * or comes when all places are taken, only gets the end.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "server/device_impl.h"

#define PATIENCE_NS 1000000000u
#define LEFT_READS 16		/* of 4 KiB: more than any VERSION has */

static void end(struct ob_refusal *ref)
{
	ob_watch_remove(ref->dev->loop, &ref->watch);
	ob_timer_cancel(ref->dev->loop, &ref->timer);
	ob_fd_close(&ref->watch.fd);
	ref->dev = NULL;
}

/* A peer that finds unread input at the end may lose the answer to it. */
static void read_left(int fd)
{
	char bytes[4096];
	int i = 0;

	while (i++ < LEFT_READS &&
	       recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void answer(struct ob_refusal *ref)
{
	uint8_t reply[OB_HDR_SIZE + 4] = { 0 };
	struct ob_reader rd;
	struct ob_writer wr;
	struct ob_hdr hdr;

	ob_reader_init(&rd, ref->head, sizeof(ref->head));
	ob_hdr_get(&rd, &hdr);
	if (hdr.flags & OB_HDR_NO_REPLY)
		return;
	hdr.size = sizeof(reply);
	hdr.flags = OB_HDR_REPLY | OB_HDR_ERROR;
	hdr.error = EBUSY;
	ob_writer_init(&wr, reply, sizeof(reply));
	ob_hdr_put(&wr, &hdr);
	read_left(ref->watch.fd);
	send(ref->watch.fd, reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void head_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_refusal *ref = container_of(watch, struct ob_refusal, watch);
	ssize_t n = recv(watch->fd, ref->head + ref->got,
			 sizeof(ref->head) - ref->got, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		ref->got += (size_t)n;
	if (n > 0 && ref->got < sizeof(ref->head))
		return;
	if (n > 0)
		answer(ref);
	end(ref);
}

static void too_long(struct ob_timer *timer)
{
	end(container_of(timer, struct ob_refusal, timer));
}

void ob_refuse(struct ob_device *dev, int fd)
{
	struct ob_refusal *ref = dev->listener.refusals;
	struct ob_refusal *last = ref + OB_REFUSALS;

	while (ref < last && ref->dev)
		ref++;
	if (ref == last) {
		ob_fd_close(&fd);
		return;
	}
	*ref = (struct ob_refusal){
		.dev = dev,
		.watch = { .fd = fd, .events = POLLIN, .ready = head_ready },
		.timer = { .fire = too_long },
	};
	if (ob_watch_add(dev->loop, &ref->watch))
		end(ref);
	else
		ob_timer_arm(dev->loop, &ref->timer, PATIENCE_NS);
}

void ob_refusals_end(struct ob_device *dev)
{
	struct ob_refusal *ref = dev->listener.refusals;

	for (; ref < dev->listener.refusals + OB_REFUSALS; ref++)
		if (ref->dev)
			end(ref);
}
