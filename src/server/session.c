// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client's connection, from accept to hang-up.
 *
 * One call of ob_session_run is one batch: what is left of the last read,
 * then one more read, each message dispatched as it is found; then DMA
 * messages, now that no answer is due.  After one read, or sooner if what was
 * asked is slow, the loop goes on to others, so that no client starves
 * another device; what is left then is worked off on the next turn.
 *
 * The watch is told of new input only (edge): a read that empties the socket
 * ends the matter.  A hang-up that was reported together with input would be
 * forgotten by that, hence it is kept in mind.
 *
 * Backpressure.  When the client does not take its answers the transport
 * keeps the one that did not fit, and we read nothing more until it has gone
 * (R5): the watch waits for room instead of input.
 *
 * Requests that take time.  A handler may leave its answer for later; what the
 * client sent behind such a request stays unread, as if we were slow, while
 * the loop serves others.  A client that hangs up meanwhile is not waited
 * for: what it left is not worked off either.
 *
 * A session is never freed under its own feet: whoever finds the connection
 * dead says so by a return value, and the outermost function ends it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/kept.h"
#include "server/lane.h"
#include "server/operator_impl.h"
#include "server/session.h"

/* Header and fixed part beside the data; VERSION's JSON is shorter. */
#define MAX_MESSAGE (OB_HDR_SIZE + OB_REGION_ACCESS_SIZE + OB_OUR_DATA_XFER)

/* The largest answer but a bitmap of dirty pages, and some to spare. */
#define SEND_ROOM (OB_OUR_DATA_XFER + OB_OUR_DATA_XFER / 4)

#define BATCH_NS 500000u	/* then others have their turn */
#define DRAIN_NS 20000000u	/* of a client that has gone */
#define LOOK_EVERY 8u		/* messages between looks at the clock */

static void main_ready(struct ob_watch *watch, uint32_t events);
static void twin_ready(struct ob_watch *watch, uint32_t events);
static void pump(struct ob_deferred *deferred);
static void run_again(struct ob_deferred *deferred);

/* Input, or room for output while some is kept. */
static uint32_t wanted(const struct ob_channel *ch)
{
	return ob_conn_pending(ch->conn) ? POLLOUT : POLLIN | POLLRDHUP;
}

static int conn_create(struct ob_device *dev, int fd, bool twin,
		       struct ob_conn **out)
{
	struct ob_conn_memory memory;

	if (!dev->kept)
		return ob_conn_create(fd, MAX_MESSAGE, out);
	ob_wire_memory(dev, twin, &memory);
	return ob_conn_create_kept(fd, MAX_MESSAGE, &memory, out);
}

static int channel_watch(struct ob_channel *ch, struct ob_loop *loop)
{
	int r;

	ob_conn_refuse_sockets(ch->conn);
	ob_conn_want_room(ch->conn, SEND_ROOM);
	ch->watch.fd = ob_conn_fd(ch->conn);
	ch->watch.events = wanted(ch);
	r = ob_watch_add(loop, &ch->watch);
	ch->watched = r == 0;
	return r;
}

static int channel_open(struct ob_device *dev, struct ob_channel *ch, int fd,
			bool twin)
{
	int r = conn_create(dev, fd, twin, &ch->conn);

	if (r)
		ob_fd_close(&fd);
	return r ? r : channel_watch(ch, dev->loop);
}

static void channel_close(struct ob_channel *ch, struct ob_loop *loop)
{
	if (ch->watched)
		ob_watch_remove(loop, &ch->watch);
	ch->watched = false;
	if (ch->conn)
		ob_conn_destroy(ch->conn);
	ch->conn = NULL;
}

static void channel_rewatch(struct ob_channel *ch, struct ob_loop *loop)
{
	uint32_t events = wanted(ch);

	if (ch->watched && ch->watch.events != events)
		ob_watch_modify(loop, &ch->watch, events);
}

static struct ob_session *session_new(struct ob_device *dev, pid_t pid)
{
	struct ob_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->dev = dev;
	s->pid = pid;
	s->twin_peer = -1;
	s->pump.run = pump;
	s->again.run = run_again;
	s->main.watch.edge = true;
	s->main.watch.ready = main_ready;
	s->twin.watch.ready = twin_ready;
	ob_caps_defaults(&s->caps);
	return s;
}

/* The keeper has fd before the state says that somebody is connected. */
static int open_main(struct ob_session *s, int fd)
{
	struct ob_device *dev = s->dev;
	int r = ob_dev_keep(dev, fd, "client");

	if (r) {
		ob_fd_close(&fd);
		return r;
	}
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect(dev);
	r = channel_open(dev, &s->main, fd, false);
	dev->ss->pid = (uint32_t)s->pid;
	dev->ss->connected = r == 0;
	ob_dev_step_end(dev);
	return r;
}

int ob_session_create(struct ob_device *dev, int fd, pid_t pid,
		      struct ob_session **out)
{
	struct ob_session *s = session_new(dev, pid);
	int r;

	if (!s) {
		ob_fd_close(&fd);
		return -ENOMEM;
	}
	r = open_main(s, fd);
	if (r) {
		channel_close(&s->main, dev->loop);
		ob_dev_unkeep(dev, "client");
		free(s);
		return r;
	}
	ob_dev_note(dev, OB_EVENT_CLIENT, 0, (uint32_t)pid, 0);
	*out = s;
	return 0;
}

int ob_session_open_twin(struct ob_session *s, int fd)
{
	struct ob_device *dev = s->dev;
	int r = ob_dev_keep(dev, fd, "twin");

	if (r) {
		ob_fd_close(&fd);
		return r;
	}
	dev->ss->has_twin = 1;
	return channel_open(dev, &s->twin, fd, true);
}

/* Runtime only. */
static void session_free(struct ob_session *s)
{
	struct ob_device *dev = s->dev;

	ob_defer_cancel(dev->loop, &s->pump);
	ob_defer_cancel(dev->loop, &s->again);
	channel_close(&s->main, dev->loop);
	channel_close(&s->twin, dev->loop);
	ob_fd_close(&s->twin_peer);
	free(s);
}

/* There may be a thousand devices to which nobody is connected. */
static void cool(struct ob_device *dev)
{
	bool shut = ob_lanes_shut(dev);

	ob_state_clear(&dev->mem, OB_SECTION_DMA);	/* nothing is mapped */
	ob_state_cool(&dev->mem);
	ob_lanes_open(dev, shut);
	ob_wire_cool(dev);
}

/*
 * What of the client is in the state.  Its table of maps and its interrupts are
 * cleared in place: who dies here leaves a client whose end is found again.
 */
static void forget_client(struct ob_device *dev)
{
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect(dev);
	ob_dma_msg_fail_all(dev, -ECANCELED);
	ob_irqs_drop(dev);
	ob_dma_log_end(dev);
	ob_dma_clear(dev);
	if (dev->cls->disconnected)
		dev->cls->disconnected(dev);
	ob_mig_disconnected(dev);
	dev->ss->connected = dev->ss->negotiated = dev->ss->closing = 0;
	dev->ss->has_twin = 0;
	ob_dev_step_end(dev);
	ob_operator_client_gone(dev);
	ob_arrival_over(dev, false);
	ob_dev_unkeep_client(dev);
	cool(dev);
}

/* Others have the socket too, and the peer is to see its end now. */
static void hang_up(struct ob_session *s)
{
	if (!s->dev->kept)
		return;
	shutdown(ob_conn_fd(s->main.conn), SHUT_RDWR);
	if (s->twin.conn)
		shutdown(ob_conn_fd(s->twin.conn), SHUT_RDWR);
}

void ob_session_destroy(struct ob_session *s, const char *why)
{
	struct ob_device *dev = s->dev;

	ob_log(&dev->log, OB_LOG_GUEST, "client %d %s", (int)s->pid, why);
	ob_dev_note(dev, OB_EVENT_CLIENT, 0, 0, 0);
	dev->session = NULL;
	ob_mig_interrupt(dev);
	ob_poll_update(dev);
	hang_up(s);
	session_free(s);
	forget_client(dev);
}

void ob_session_lost(struct ob_device *dev)
{
	ob_dev_note(dev, OB_EVENT_CLIENT, 0, 0, 0);
	forget_client(dev);
}

void ob_session_abandon(struct ob_session *s)
{
	s->dev->session = NULL;
	ob_poll_update(s->dev);
	session_free(s);
}

static const struct {
	uint8_t bit;
	size_t at;
} cap_bits[] = {
	{ OB_CAP_WRITE_MULTIPLE, offsetof(struct ob_caps, write_multiple) },
	{ OB_CAP_PRECOPY_INFO, offsetof(struct ob_caps, precopy_info) },
	{ OB_CAP_ERROR_TEXT, offsetof(struct ob_caps, error_text) },
	{ OB_CAP_TWIN_SOCKET, offsetof(struct ob_caps, twin_socket) },
};
#define NR_CAP_BITS (sizeof(cap_bits) / sizeof(cap_bits[0]))

static bool *cap_of(struct ob_caps *caps, unsigned i)
{
	return (bool *)((char *)caps + cap_bits[i].at);
}

void ob_session_record(struct ob_session *s)
{
	struct ob_session_state *ss = s->dev->ss;

	ss->caps = 0;
	for (unsigned i = 0; i < NR_CAP_BITS; i++)
		if (*cap_of(&s->caps, i))
			ss->caps |= cap_bits[i].bit;
	ss->peer_fds = s->peer_fds;
	ss->max_msg_fds = s->caps.max_msg_fds;
	ss->max_data_xfer_size = s->caps.max_data_xfer_size;
	ss->max_dma_maps = s->caps.max_dma_maps;
	ss->pgsizes = s->caps.pgsizes;
	ss->negotiated = 1;
}

/* The other way round. */
static void recall(struct ob_session *s)
{
	const struct ob_session_state *ss = s->dev->ss;

	s->closing = ss->closing;
	s->negotiated = ss->negotiated;
	if (!s->negotiated)
		return;
	for (unsigned i = 0; i < NR_CAP_BITS; i++)
		*cap_of(&s->caps, i) = ss->caps & cap_bits[i].bit;
	s->peer_fds = ss->peer_fds;
	s->caps.max_msg_fds = ss->max_msg_fds;
	s->caps.max_data_xfer_size = ss->max_data_xfer_size;
	s->caps.max_dma_maps = ss->max_dma_maps;
	s->caps.pgsizes = ss->pgsizes;
}

static int adopt_channel(struct ob_device *dev, struct ob_channel *ch, int fd,
			 bool twin, struct ob_err *err)
{
	struct ob_conn_memory memory;
	int r;

	ob_wire_memory(dev, twin, &memory);
	r = ob_conn_adopt(fd, MAX_MESSAGE, &memory,
			  ob_past_rings(dev->past, memory.journal), &ch->conn,
			  err);
	if (r)
		ob_fd_close(&fd);
	return r;
}

static int adopt_channels(struct ob_session *s, int fd, struct ob_err *err)
{
	struct ob_device *dev = s->dev;
	int r = adopt_channel(dev, &s->main, fd, false, err), twin;

	if (r || !dev->ss->has_twin)
		return r;
	twin = ob_dev_kept(dev, "twin");
	if (twin < 0)
		return ob_fail(err, -twin, "the twin socket: %s",
			       strerror(-twin));
	r = adopt_channel(dev, &s->twin, twin, true, err);
	if (r)
		ob_err_prefix(err, "twin");
	return r;
}

int ob_session_adopt(struct ob_device *dev, int fd, struct ob_session **out,
		     struct ob_err *err)
{
	struct ob_session *s = session_new(dev, (pid_t)dev->ss->pid);
	int r;

	if (!s) {
		ob_fd_close(&fd);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	recall(s);
	s->twin_peer = ob_dev_kept(dev, "twin-peer");
	if (s->twin_peer < 0)
		s->twin_peer = -1;
	r = adopt_channels(s, fd, err);
	if (r)
		session_free(s);
	else
		*out = s;
	return r;
}

/* The next turn looks at everything, the end of the stream included. */
void ob_session_resume(struct ob_session *s)
{
	struct ob_device *dev = s->dev;
	int r = channel_watch(&s->main, dev->loop);

	if (r == 0 && s->twin.conn)
		r = channel_watch(&s->twin, dev->loop);
	if (r)
		ob_log(&dev->log, OB_LOG_ERROR, "client %d: %s", (int)s->pid,
		       strerror(-r));
	ob_defer(dev->loop, &s->again);
	ob_poll_update(dev);
}

static const char *reason(int r)
{
	switch (r) {
	case -ESHUTDOWN:
	case -ECONNRESET:
	case -EPIPE:
		return "has gone";
	case -EPROTO:
		return "was dropped: a message is shorter than its header";
	case -EMSGSIZE:
		return "was dropped: a message is too long";
	case -ECONNABORTED:
		return "was dropped: nothing was agreed";
	default:
		return strerror(-r);
	}
}

int ob_session_flush(struct ob_session *s)
{
	int r = ob_conn_flush(s->main.conn);

	/* The client's end of the twin has left with its answer. */
	if (r == 0 && s->dev->kept && s->twin_peer >= 0) {
		ob_fd_close(&s->twin_peer);
		ob_dev_unkeep(s->dev, "twin-peer");
	}
	return r == -EAGAIN ? 0 : r;
}

/* Has the batch, of which n messages are done, lasted long enough? */
static bool is_long(const struct ob_session *s, unsigned n, uint64_t *end)
{
	uint64_t now;

	if (n % LOOK_EVERY)
		return false;
	now = ob_loop_now(s->dev->loop);
	if (!*end)
		*end = now + BATCH_NS;
	return now >= *end;
}

/* Why nothing was agreed is still told, if the socket takes it. */
static int close_kept(struct ob_session *s)
{
	if (s->dev->kept)
		ob_session_flush(s);
	return -ECONNABORTED;
}

/* For the longest answer that is copied. */
static int make_room(struct ob_session *s)
{
	return !s->dev->kept || ob_conn_has_room(s->main.conn, SEND_ROOM) ?
		0 : ob_session_flush(s);
}

/*
 * Dispatches what is read.  0; 1 when that takes too long for one turn;
 * -errno when the connection is over.
 */
static int work_off(struct ob_session *s)
{
	struct ob_msg msg;
	uint64_t end = 0;
	unsigned n = 0;
	int r;

	while (!ob_conn_pending(s->main.conn) && !s->is_held) {
		r = make_room(s);
		if (r || ob_conn_pending(s->main.conn))
			return r;
		r = ob_conn_next(s->main.conn, &msg);
		if (r <= 0)
			return r;
		r = ob_dispatch(s, &msg);
		if (r)
			return r;
		if (s->closing)
			return close_kept(s);
		if (is_long(s, ++n, &end))
			return 1;
	}
	return 0;
}

/* One read, and what it brought.  As batch, but 2: there is more. */
static int read_on(struct ob_session *s)
{
	bool drained;
	int r = ob_conn_fill(s->main.conn, &drained);

	if (r == 0)
		return -ESHUTDOWN;
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	r = work_off(s);
	if (r < 0)
		return r;
	return r || !drained || s->hung_up ? 2 : 1;
}

/* One batch.  1: something was there; 0: nothing; -errno: over. */
static int batch(struct ob_session *s)
{
	struct ob_conn *conn = s->main.conn;
	int r = ob_session_flush(s);

	if (r || ob_conn_pending(conn))
		return r;
	if (s->closing)
		return -ECONNABORTED;
	if (s->is_held)
		return 0;
	r = work_off(s);
	if (r > 0)
		r = 2;
	else if (r == 0)
		r = ob_conn_pending(conn) || s->is_held ? 1 : read_on(s);
	if (r == 2 && !ob_conn_pending(conn) && !s->is_held)
		ob_defer(s->dev->loop, &s->again);
	return r < 2 ? r : 1;
}

static void end(struct ob_session *s, int r)
{
	ob_session_destroy(s, reason(r));
}

bool ob_session_run(struct ob_session *s)
{
	int r = batch(s), flushed = 0;

	if (r >= 0 && s->is_held && s->hung_up)
		r = -ESHUTDOWN;
	if (r >= 0 && s->dev->kept)
		flushed = ob_session_flush(s);
	if (r < 0 || flushed) {
		end(s, flushed ? flushed : r);
		return true;
	}
	ob_dma_msg_pump(s);
	channel_rewatch(&s->main, s->dev->loop);
	return r;
}

int ob_session_answer(struct ob_session *s, int r)
{
	return ob_dispatch_held(s, r);
}

void ob_session_answered(struct ob_session *s, int r)
{
	if (r == 0)
		r = ob_session_flush(s);
	if (r) {
		end(s, r);
		return;
	}
	channel_rewatch(&s->main, s->dev->loop);
	ob_defer(s->dev->loop, &s->again);	/* what came meanwhile */
}

void ob_session_drain(struct ob_session *s)
{
	uint64_t until = ob_loop_now(s->dev->loop) + DRAIN_NS;
	int r;

	/* Nobody adds to it any more, but what is there may be slow. */
	do
		r = batch(s);
	while (r > 0 && ob_loop_now(s->dev->loop) < until);
	end(s, r < 0 ? r : -ESHUTDOWN);
}

static void main_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_session *s = container_of(watch, struct ob_session,
					    main.watch);

	if (events & (POLLHUP | POLLRDHUP | POLLERR))
		s->hung_up = true;
	/* Many sends may be told of one by one; their turn is the next. */
	if (!s->again.queued)
		ob_session_run(s);
}

static void run_again(struct ob_deferred *deferred)
{
	ob_session_run(container_of(deferred, struct ob_session, again));
}

static void take_reply(struct ob_session *s, struct ob_msg *msg)
{
	struct ob_device *dev = s->dev;

	ob_step_begin(&dev->mem, OB_STEP_MESSAGE);
	ob_step_protect_journal(dev);
	if ((msg->hdr.flags & OB_HDR_TYPE) != OB_HDR_REPLY ||
	    ob_dma_msg_reply(s, msg))
		ob_log(&dev->log, OB_LOG_GUEST,
		       "unexpected message on the twin socket");
	ob_msg_finish(msg);
	if (dev->kept)
		ob_conn_done(s->twin.conn);
	ob_dev_step_end(dev);
}

/* The twin socket carries replies only; a client that closes it ends. */
static int read_twin(struct ob_session *s)
{
	struct ob_conn *conn = s->twin.conn;
	struct ob_msg msg;
	bool drained;
	int r = ob_conn_flush(conn);

	if (r == 0)
		r = ob_conn_fill(conn, &drained);
	if (r == -EAGAIN)
		return 0;
	if (r <= 0)
		return r ? r : -ESHUTDOWN;
	while ((r = ob_conn_next(conn, &msg)) > 0)
		take_reply(s, &msg);
	if (r == 0 && s->dev->kept)
		r = ob_conn_flush(conn);
	return r == -EAGAIN ? 0 : r;
}

static void twin_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_session *s = container_of(watch, struct ob_session,
					    twin.watch);
	int r;

	(void)events;
	r = read_twin(s);
	if (r) {
		end(s, r);
		return;
	}
	ob_dma_msg_pump(s);
	channel_rewatch(&s->twin, s->dev->loop);
}

static void pump(struct ob_deferred *deferred)
{
	struct ob_session *s = container_of(deferred, struct ob_session, pump);

	ob_dma_msg_pump(s);
	channel_rewatch(&s->main, s->dev->loop);
	if (s->twin.conn)
		channel_rewatch(&s->twin, s->dev->loop);
}

void ob_session_want_pump(struct ob_session *s)
{
	ob_defer(s->dev->loop, &s->pump);
}

void ob_session_spin(struct ob_session *s, bool on)
{
	struct ob_channel *ch = &s->main;

	if (on == s->spinning)
		return;
	s->spinning = on;
	if (on) {
		ob_watch_remove(s->dev->loop, &ch->watch);
		ch->watched = false;
	} else {
		ch->watch.events = wanted(ch);
		ch->watched = ob_watch_add(s->dev->loop, &ch->watch) == 0;
	}
}
