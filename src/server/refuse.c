// SPDX-License-Identifier: BSD-3-Clause
/*
 * Saying no to a second client.
 *
 * QEMU 11.1 may abort, with its VM, when a connection ends where the answer to
 * VERSION should come; told EBUSY it reports an error and goes on.  So one who
 * is refused gets that answer to whatever its first message is, and then the
 * end.  Few are waited for at a time, and each for a short while.  For whom there is
 * no place, or no memory for one, gets the answer if the message is there already; it
 * cannot be given before, since it has the message's number.  Who is silent only
 * gets the end.
 *
 * A death must not take the answer with it: the message stays in the socket, and
 * the socket with the keeper, until the answer has been sent.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/keep.h"
#include "server/device_impl.h"

_Static_assert(OB_REFUSALS < OB_KEEP_NEW, "the keeper has more places");

#define PATIENCE_NS 1000000000u
#define LEFT_READS 16		/* of 4 KiB: more than any VERSION has */

/* The keeper has the socket as well, and the peer is to see its end now. */
static void hang_up(struct ob_device *dev, unsigned place, int fd)
{
	if (dev->kept)
		shutdown(fd, SHUT_RDWR);
	ob_fd_close(&fd);
	ob_listener_forget(dev, place);
}

static void forget(struct ob_refusal *ref)
{
	ob_watch_remove(ref->dev->loop, &ref->watch);
	ob_timer_cancel(ref->dev->loop, &ref->timer);
	ref->dev = NULL;
}

static void end(struct ob_refusal *ref)
{
	struct ob_device *dev = ref->dev;

	forget(ref);
	hang_up(dev, ref->place, ref->watch.fd);
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

static void answer(int fd, const uint8_t head[OB_HDR_SIZE])
{
	uint8_t reply[OB_HDR_SIZE + 4] = { 0 };
	struct ob_reader rd;
	struct ob_writer wr;
	struct ob_hdr hdr;

	ob_reader_init(&rd, head, OB_HDR_SIZE);
	ob_hdr_get(&rd, &hdr);
	if (hdr.flags & OB_HDR_NO_REPLY)
		return;
	hdr.size = sizeof(reply);
	hdr.flags = OB_HDR_REPLY | OB_HDR_ERROR;
	hdr.error = EBUSY;
	ob_writer_init(&wr, reply, sizeof(reply));
	ob_hdr_put(&wr, &hdr);
	send(fd, reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	read_left(fd);
}

/* False: there is no message yet.  Of a part of one its end comes, or its time. */
static bool answer_first(int fd)
{
	uint8_t head[OB_HDR_SIZE];
	ssize_t n = recv(fd, head, sizeof(head), MSG_DONTWAIT | MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0 && n < (ssize_t)sizeof(head))
		return false;
	if (n > 0)
		answer(fd, head);
	return true;
}

static void head_ready(struct ob_watch *watch, uint32_t events)
{
	(void)events;
	if (answer_first(watch->fd))
		end(container_of(watch, struct ob_refusal, watch));
}

static void too_long(struct ob_timer *timer)
{
	end(container_of(timer, struct ob_refusal, timer));
}

static struct ob_refusal *free_place(struct ob_listener *listener)
{
	struct ob_refusal *ref = listener->refusals;

	if (!ref)
		ref = listener->refusals = calloc(OB_REFUSALS, sizeof(*ref));
	for (unsigned i = 0; ref && i < OB_REFUSALS; i++)
		if (!ref[i].dev)
			return &ref[i];
	return NULL;
}

void ob_refuse(struct ob_device *dev, unsigned place, int fd)
{
	struct ob_refusal *ref = free_place(&dev->listener);

	if (!ref) {
		(void)answer_first(fd);
		hang_up(dev, place, fd);
		return;
	}
	*ref = (struct ob_refusal){
		.dev = dev,
		.place = place,
		.watch = { .fd = fd, .events = POLLIN, .ready = head_ready,
			   .edge = true },
		.timer = { .fire = too_long },
	};
	if (ob_watch_add(dev->loop, &ref->watch)) {
		(void)answer_first(fd);
		end(ref);
	} else {
		ob_timer_arm(dev->loop, &ref->timer, PATIENCE_NS);
	}
}

void ob_refusals_end(struct ob_device *dev, bool for_good)
{
	struct ob_refusal *refs = dev->listener.refusals, *ref;

	for (ref = refs; refs && ref < refs + OB_REFUSALS; ref++) {
		if (!ref->dev)
			continue;
		if (for_good) {
			end(ref);
			continue;
		}
		forget(ref);
		ob_fd_close(&ref->watch.fd);
	}
}
