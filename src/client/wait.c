// SPDX-License-Identifier: BSD-3-Clause
/*
 * Waiting.  While a reply is due, or a send is not finished, the client keeps
 * receiving: late replies of calls that gave up are dropped, commands of the
 * server are served.  What a server can make us keep is bounded: while
 * something waits to be sent, at most SERVE_WHILE_SENDING of its commands are
 * served, then we only send.
 *
 * How it sleeps.  A spinning client never does while a reply is due.  With
 * one socket and nothing left to send, a blocking receive is all there is,
 * one system call per reply; otherwise poll(2).  The deadline is taken from
 * the coarse clock when a wait begins, and looked at when nothing came or a
 * command was served; so a reply that is there costs one look at that clock.
 *
 * A reply's payload is borrowed from the connection's buffer, so nothing is
 * received any more once it has arrived.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "client/client.h"

#define SERVE_WHILE_SENDING 16
#define SPINS_PER_CLOCK 256

enum goal { WANT_SENT, WANT_REPLY, WANT_REQUEST };

struct wait {
	enum goal goal;
	unsigned served;	/* client->served at the start */
	unsigned seen;		/* ... when the clock was last looked at */
	unsigned spins;
	int64_t deadline_ms;	/* < 0: none */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int client_die(struct ob_client *client, int rc, struct ob_err *err,
	       const char *why)
{
	if (rc == -EPIPE)
		rc = -ECONNRESET;
	else if (rc == -EMSGSIZE)
		rc = -EPROTO;
	client->dead = rc;
	return ob_fail(err, -rc, "%s (%s)", why, strerror(-rc));
}

static bool pending(const struct ob_client *client)
{
	return ob_conn_pending(client->conn) ||
	       (client->twin && ob_conn_pending(client->twin));
}

static bool finished(const struct ob_client *client, const struct wait *w)
{
	if (pending(client))
		return false;
	switch (w->goal) {
	case WANT_SENT:
		return true;
	case WANT_REPLY:
		return client->want.arrived;
	case WANT_REQUEST:
		return client->served != w->served;
	}
	return true;
}

static bool may_take(struct ob_client *client)
{
	if (!pending(client))
		client->served_sending = 0;
	return client->served_sending < SERVE_WHILE_SENDING;
}

static int take_reply(struct ob_client *client, struct ob_msg *msg,
		      struct ob_err *err)
{
	struct client_want *want = &client->want;

	if (want->active && !want->arrived && msg->hdr.id == want->id) {
		want->arrived = true;
		want->msg = *msg;
		return 0;
	}
	ob_msg_finish(msg);
	for (unsigned i = 0; i < client->nr_abandoned; i++) {
		if (client->abandoned[i] != msg->hdr.id)
			continue;
		client->nr_abandoned--;
		client->abandoned[i] =
			client->abandoned[client->nr_abandoned];
		return 0;
	}
	return client_die(client, -EPROTO, err,
			  "the server sent a reply that nobody waits for");
}

static int take_message(struct ob_client *client, struct ob_conn *conn,
			struct ob_msg *msg, struct ob_err *err)
{
	switch (msg->hdr.flags & OB_HDR_TYPE) {
	case OB_HDR_REPLY:
		return take_reply(client, msg, err);
	case OB_HDR_COMMAND:
		client->served++;
		client->served_sending++;
		return client_serve(client, conn, msg, err);
	}
	ob_msg_finish(msg);
	return client_die(client, -EPROTO, err,
			  "the server sent a message of unknown type");
}

static int take_messages(struct ob_client *client, struct ob_conn *conn,
			 struct ob_err *err)
{
	struct ob_msg msg;
	int r;

	while (may_take(client)) {
		r = ob_conn_next(conn, &msg);
		if (r == 0)
			return 0;
		if (r < 0)
			return client_die(client, r, err,
					  "the server sent a message of an "
					  "impossible size");
		r = take_message(client, conn, &msg, err);
		if (r)
			return r;
	}
	return 0;
}

static int flush(struct ob_client *client, struct ob_conn *conn,
		 struct ob_err *err)
{
	int r = ob_conn_pending(conn) ? ob_conn_flush(conn) : 0;

	if (r && r != -EAGAIN)
		return client_die(client, r, err, "cannot send");
	return 0;
}

/* Sends what is kept and takes what has been received already. */
static int work(struct ob_client *client, struct ob_err *err)
{
	int r;

	if ((r = flush(client, client->conn, err)) ||
	    (r = take_messages(client, client->conn, err)))
		return r;
	if (!client->twin)
		return 0;
	r = flush(client, client->twin, err);
	return r ? r : take_messages(client, client->twin, err);
}

/* 0: something came; -EAGAIN: nothing. */
static int receive(struct ob_client *client, struct ob_conn *conn, bool block,
		   struct ob_err *err)
{
	bool drained;
	int r = block ? ob_conn_fill_wait(conn, &drained)
		      : ob_conn_fill(conn, &drained);

	if (r > 0)
		return 0;
	if (r == -EAGAIN || r == -EINTR)
		return -EAGAIN;
	if (r == 0)
		return client_die(client, -ECONNRESET, err,
				  "the server closed the connection");
	return client_die(client, r, err, "cannot receive");
}

static int receive_any(struct ob_client *client, const struct wait *w,
		       struct ob_err *err)
{
	bool block = w->goal == WANT_REPLY && !client->spin && !client->twin &&
		     !pending(client);
	int r = receive(client, client->conn, block, err);

	if (r == -EAGAIN && client->twin)
		r = receive(client, client->twin, false, err);
	return r;
}

static int sleep_on_sockets(struct ob_client *client, const struct wait *w,
			    bool receiving)
{
	struct ob_conn *conns[2] = { client->conn, client->twin };
	struct pollfd fds[2] = { { .fd = -1 }, { .fd = -1 } };
	int64_t left = -1;
	int r;

	for (unsigned i = 0; i < 2 && conns[i]; i++) {
		fds[i].fd = ob_conn_fd(conns[i]);
		fds[i].events = receiving ? POLLIN : 0;
		if (ob_conn_pending(conns[i]))
			fds[i].events |= POLLOUT;
	}
	if (w->deadline_ms >= 0) {
		left = w->deadline_ms - now_ms();
		left = left < 0 ? 0 : left;
	}
	r = poll(fds, 2, (int)left);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r ? 0 : -ETIMEDOUT;
}

static bool expired(const struct wait *w)
{
	return w->deadline_ms >= 0 && now_ms() >= w->deadline_ms;
}

/* A server that asks and asks must not keep us for ever. */
static bool asked_too_long(const struct ob_client *client, struct wait *w)
{
	if (client->served == w->seen)
		return false;
	w->seen = client->served;
	return expired(w);
}

/* Spins or sleeps once.  0: look again; -ETIMEDOUT. */
static int idle(struct ob_client *client, struct wait *w, bool receiving)
{
	if (!client->spin || w->goal != WANT_REPLY || !receiving)
		return sleep_on_sockets(client, w, receiving);
	if (++w->spins % SPINS_PER_CLOCK)
		return 0;
	return expired(w) ? -ETIMEDOUT : 0;
}

static int wait_for(struct ob_client *client, enum goal goal, int timeout_ms,
		    struct ob_err *err)
{
	struct wait w = {
		.goal = goal, .served = client->served, .seen = client->served,
	};
	bool receiving;
	int r;

	w.deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	for (;;) {
		r = work(client, err);
		if (r)
			return r;
		if (finished(client, &w))
			return 0;
		receiving = may_take(client) && !client->want.arrived;
		r = receiving ? receive_any(client, &w, err) : -EAGAIN;
		if (r == -EAGAIN)
			r = idle(client, &w, receiving);
		else if (!r && asked_too_long(client, &w))
			r = -ETIMEDOUT;
		if (r == -ETIMEDOUT)
			return ob_fail(err, ETIMEDOUT,
				       "no answer from the server within "
				       "%d ms", timeout_ms);
		if (r)
			return r;
	}
}

int client_wait_sent(struct ob_client *client, struct ob_err *err)
{
	client->want.arrived = false;
	return wait_for(client, WANT_SENT, client->timeout_ms, err);
}

int client_wait_reply(struct ob_client *client, struct ob_err *err)
{
	return wait_for(client, WANT_REPLY, client->timeout_ms, err);
}

int ob_client_poll(struct ob_client *client, int timeout_ms,
		   struct ob_err *err)
{
	unsigned before = client->served;
	int r;

	if (client->dead)
		return ob_fail(err, ENOTCONN, "the connection has ended");
	client->want.arrived = false;
	r = wait_for(client, WANT_REQUEST, timeout_ms, err);
	if (r && r != -ETIMEDOUT)
		return r;
	return (int)(client->served - before);
}
