// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connecting, calling, ending.  A call is a command and its reply; at most
 * one is outstanding, so a reply with another id is either late (its call
 * has timed out) or wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/client.h"

static struct timeval to_timeval(int timeout_ms)
{
	struct timeval tv = { 0 };	/* no limit */

	if (timeout_ms >= 0) {
		tv.tv_sec = timeout_ms / 1000;
		tv.tv_usec = timeout_ms % 1000 * 1000;
	}
	return tv;
}

static int timeout_of(const struct ob_client_params *params)
{
	return params && params->timeout_ms ? params->timeout_ms
					    : OB_CLIENT_TIMEOUT_MS;
}

/* A server that accepts nobody makes connect(2) wait as a send would. */
static int open_socket(const char *path, int timeout_ms, struct ob_err *err)
{
	struct timeval limit = to_timeval(timeout_ms);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return ob_fail(err, ENAMETOOLONG,
			       "%s: a socket path has at most %zu bytes", path,
			       sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ob_fail(err, errno, "socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return ob_fail(err, errno, "SO_SNDTIMEO: %s", strerror(errno));
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (r < 0 && errno == EAGAIN)
		return ob_fail(err, ETIMEDOUT,
			       "cannot connect to %s: nobody accepts within "
			       "%d ms", path, timeout_ms);
	if (r < 0)
		return ob_fail(err, errno, "cannot connect to %s: %s", path,
			       strerror(errno));
	return ob_fd_take(&fd);
}

int ob_client_connect(const char *path, const struct ob_client_params *params,
		      struct ob_client **out, struct ob_err *err)
{
	int fd = open_socket(path, timeout_of(params), err), r;

	if (fd < 0)
		return fd;
	r = ob_client_attach(fd, params, out, err);
	if (r)
		ob_err_prefix(err, "%s", path);
	return r;
}

/* The kernel ends a blocking receive by itself; wait.c knows the deadline. */
static void limit_receive(const struct ob_client *client)
{
	struct timeval limit = to_timeval(client->timeout_ms);

	/* Without it the deadline is noticed by poll(2) alone. */
	(void)setsockopt(ob_conn_fd(client->conn), SOL_SOCKET, SO_RCVTIMEO,
			 &limit, sizeof(limit));
}

void ob_client_set_timeout(struct ob_client *client, int timeout_ms)
{
	client->timeout_ms = timeout_ms ? timeout_ms : OB_CLIENT_TIMEOUT_MS;
	limit_receive(client);
}

void ob_client_set_spin(struct ob_client *client, bool spin)
{
	client->spin = spin;
}

static const struct ob_client_params default_params;

int ob_client_attach(int fd, const struct ob_client_params *params,
		     struct ob_client **out, struct ob_err *err)
{
	OB_CLEANUP_FD int owned = fd;
	struct ob_client *client;
	uint32_t max_xfer;
	int r;

	if (!params)
		params = &default_params;
	max_xfer = params->max_data_xfer_size;
	if (!max_xfer)
		max_xfer = 1u << 20;
	if (max_xfer > 64u << 20)
		return ob_fail(err, EINVAL, "max_data_xfer_size is over 64 MiB");
	client = calloc(1, sizeof(*client));
	if (!client)
		return ob_fail(err, ENOMEM, "out of memory");
	client->dma_ops = params->dma_ops;
	client->dma_arg = params->dma_arg;
	client->spin = params->spin;
	client->max_accepted = max_xfer;
	r = ob_conn_create(owned, (size_t)max_xfer + CLIENT_MSG_SLACK,
			   &client->conn);
	if (r) {
		ob_fail(err, -r, "cannot set up the connection: %s",
			strerror(-r));
		goto fail;
	}
	ob_fd_take(&owned);
	ob_client_set_timeout(client, timeout_of(params));
	r = client_negotiate(client, params->twin_socket, max_xfer, err);
	if (r)
		goto fail;
	*out = client;
	return 0;
fail:
	ob_client_destroy(client);
	return r;
}

static void free_region(struct client_region *region)
{
	if (!region)
		return;
	ob_fd_close(&region->info.fd);
	free(region);
}

void ob_client_destroy(struct ob_client *client)
{
	if (!client)
		return;
	for (unsigned i = 0; i < OB_CLIENT_MAX_REGIONS; i++)
		free_region(client->regions[i]);
	ob_conn_destroy(client->twin);
	ob_conn_destroy(client->conn);
	free(client->memory);
	free(client->bounce);
	free(client->json);
	free(client);
}

const struct ob_client_version *ob_client_version(const struct ob_client *c)
{
	return &c->version;
}

int ob_client_fd(const struct ob_client *client)
{
	return ob_conn_fd(client->conn);
}

int ob_client_twin_fd(const struct ob_client *client)
{
	return client->twin ? ob_conn_fd(client->twin) : -1;
}

static bool is_abandoned(const struct ob_client *client, uint16_t id)
{
	for (unsigned i = 0; i < client->nr_abandoned; i++)
		if (client->abandoned[i] == id)
			return true;
	return false;
}

uint16_t client_new_id(struct ob_client *client)
{
	while (is_abandoned(client, client->next_id))
		client->next_id++;
	return client->next_id++;
}

/* What an earlier call could not send goes first, so that little is kept. */
static int send_pieces(struct ob_client *client, const struct iovec *iov,
		       unsigned nr_iov, const int *fds, unsigned nr_fds,
		       struct ob_err *err)
{
	int r;

	if (client->dead)
		return ob_fail(err, ENOTCONN, "the connection has ended");
	if (ob_conn_pending(client->conn) &&
	    (r = client_wait_sent(client, err)))
		return r;
	r = ob_conn_send(client->conn, iov, nr_iov, fds, nr_fds);
	if (r)
		return client_die(client, r, err, "cannot send");
	if (!ob_conn_pending(client->conn))
		return 0;
	return client_wait_sent(client, err);
}

int client_send(struct ob_client *client, uint16_t cmd, uint32_t flags,
		struct iovec *iov, unsigned nr_iov, const int *fds,
		unsigned nr_fds, uint16_t *id, struct ob_err *err)
{
	struct ob_hdr hdr = {
		.id = client_new_id(client), .cmd = cmd, .flags = flags,
	};
	struct ob_writer wr;
	size_t size = 0;
	int r;

	for (unsigned i = 0; i < nr_iov; i++)
		size += iov[i].iov_len;
	if (size > UINT32_MAX)
		return ob_fail(err, EINVAL, "message too long");
	hdr.size = (uint32_t)size;
	ob_writer_init(&wr, iov[0].iov_base, iov[0].iov_len);
	r = ob_hdr_put(&wr, &hdr);
	if (r)
		return ob_fail(err, -r, "no room for a header");
	if (id)
		*id = hdr.id;
	return send_pieces(client, iov, nr_iov, fds, nr_fds, err);
}

int client_send_bytes(struct ob_client *client, const void *bytes, size_t len,
		      struct ob_err *err)
{
	struct iovec iov = { (void *)bytes, len };

	return send_pieces(client, &iov, 1, NULL, 0, err);
}

/* The errno in an error reply is the peer's word: keep it in range. */
static int reply_errno(const struct ob_hdr *hdr)
{
	return hdr->error > 0 && hdr->error < 4096 ? -(int)hdr->error : -EIO;
}

static int check_reply(struct ob_client *client, const struct ob_msg *msg,
		       size_t min_reply, struct ob_err *err)
{
	uint16_t cmd = msg->hdr.cmd;

	if (msg->hdr.flags & OB_HDR_ERROR) {
		int r = reply_errno(&msg->hdr);

		return ob_fail(err, -r, "the server refuses %s: %s",
			       ob_cmd_name(cmd), strerror(-r));
	}
	if (cmd != client->want.cmd)
		return client_die(client, -EPROTO, err,
				  "the reply is to another command");
	if (msg->len < min_reply)
		return ob_fail(err, EPROTO,
			       "the reply to %s has %zu bytes of payload, "
			       "%zu are needed",
			       ob_cmd_name(cmd), msg->len, min_reply);
	return 0;
}

/* Gives up on the reply: its id is not used again until it has come. */
static int abandon(struct ob_client *client, struct ob_err *err)
{
	if (client->nr_abandoned == CLIENT_MAX_ABANDONED)
		return client_die(client, -ETIMEDOUT, err,
				  "too many calls remain unanswered");
	client->abandoned[client->nr_abandoned++] = client->want.id;
	return -ETIMEDOUT;
}

static int send_and_wait(struct ob_client *client, struct iovec *iov,
			 unsigned nr_iov, const int *fds, unsigned nr_fds,
			 struct ob_err *err)
{
	struct client_want *want = &client->want;
	int r;

	want->active = true;
	want->arrived = false;
	r = client_send(client, want->cmd, OB_HDR_COMMAND, iov, nr_iov, fds,
			nr_fds, &want->id, err);
	if (!r)
		r = client_wait_reply(client, err);
	want->active = false;
	if (!r)
		return 0;
	if (want->arrived)
		ob_msg_finish(&want->msg);
	else if (r == -ETIMEDOUT)
		r = abandon(client, err);
	ob_err_prefix(err, "%s", ob_cmd_name(want->cmd));
	return r;
}

int client_call(struct ob_client *client, uint16_t cmd, struct iovec *iov,
		unsigned nr_iov, const int *fds, unsigned nr_fds,
		size_t min_reply, struct ob_msg *reply, struct ob_err *err)
{
	struct client_want *want = &client->want;
	int r;

	reply->hdr.size = 0;
	want->cmd = cmd;
	r = send_and_wait(client, iov, nr_iov, fds, nr_fds, err);
	if (r)
		return r;
	reply->hdr = want->msg.hdr;
	reply->payload = want->msg.payload;
	reply->len = want->msg.len;
	reply->nr_fds = want->msg.nr_fds;
	reply->fds_dropped = want->msg.fds_dropped;
	for (size_t i = 0; i < reply->nr_fds; i++)
		reply->fds[i] = ob_msg_take_fd(&want->msg, i);
	return check_reply(client, reply, min_reply, err);
}

int client_command(struct ob_client *client, uint16_t cmd, const void *payload,
		   size_t len, const int *fds, unsigned nr_fds,
		   struct ob_err *err)
{
	uint8_t header[OB_HDR_SIZE];
	struct iovec iov[2] = {
		{ header, sizeof(header) }, { (void *)payload, len },
	};
	struct ob_msg reply;
	int r = client_call(client, cmd, iov, len ? 2 : 1, fds, nr_fds, 0,
			    &reply, err);

	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}

int client_query(struct ob_client *client, uint16_t cmd, void *bytes,
		 size_t len, struct ob_err *err)
{
	uint8_t header[OB_HDR_SIZE];
	struct iovec iov[2] = { { header, sizeof(header) }, { bytes, len } };
	struct ob_msg reply;
	int r = client_call(client, cmd, iov, 2, NULL, 0, len, &reply, err);

	if (!r)
		memcpy(bytes, reply.payload, len);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}

int ob_client_reset(struct ob_client *client, struct ob_err *err)
{
	return client_command(client, OB_CMD_DEVICE_RESET, NULL, 0, NULL, 0,
			      err);
}

static void copy_raw_reply(struct ob_client_raw *call, struct ob_msg *reply)
{
	size_t room = call->reply_size < reply->len ? call->reply_size
						    : reply->len;

	if (room)
		memcpy(call->reply, reply->payload, room);
	call->reply_len = reply->len;
	for (size_t i = 0; i < reply->nr_fds && i < call->reply_fds_max; i++)
		call->reply_fds[call->nr_reply_fds++] =
			ob_msg_take_fd(reply, i);
	ob_msg_finish(reply);
}

int ob_client_raw(struct ob_client *client, struct ob_client_raw *call,
		  struct ob_err *err)
{
	uint8_t header[OB_HDR_SIZE];
	struct iovec iov[2] = {
		{ header, sizeof(header) },
		{ (void *)call->request, call->request_len },
	};
	unsigned nr_iov = call->request_len ? 2 : 1;
	struct ob_msg reply;
	int r;

	call->reply_len = 0;
	call->nr_reply_fds = 0;
	if (call->no_reply)
		return client_send(client, call->command,
				   OB_HDR_COMMAND | OB_HDR_NO_REPLY, iov,
				   nr_iov, call->fds, call->nr_fds, NULL, err);
	r = client_call(client, call->command, iov, nr_iov, call->fds,
			call->nr_fds, 0, &reply, err);
	if (reply.hdr.size)
		copy_raw_reply(call, &reply);
	return r;
}
