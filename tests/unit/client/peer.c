// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"

static void *run(void *arg)
{
	struct peer *peer = arg;

	peer->script(peer);
	close(peer->fd);
	return NULL;
}

void peer_start(struct peer *peer, void (*script)(struct peer *))
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	peer->client_fd = pair[0];
	peer->fd = pair[1];
	peer->script = script;
	peer->failure = NULL;
	assert_int_equal(pthread_create(&peer->thread, NULL, run, peer), 0);
}

void peer_end(struct peer *peer)
{
	pthread_join(peer->thread, NULL);
	if (peer->failure)
		fail_msg("the server saw something else than: %s",
			 peer->failure);
}

/* Reads exactly len bytes; fds that come along are kept for the script. */
static int take_bytes(struct peer *peer, void *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(peer->fds))];
	} control;
	uint8_t *at = buf;

	while (len) {
		struct iovec iov = { at, len };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(peer->fd, &mh, 0);
		struct cmsghdr *cmsg;

		if (n <= 0)
			return -1;
		cmsg = CMSG_FIRSTHDR(&mh);
		if (cmsg) {
			peer->nr_fds = (unsigned)((cmsg->cmsg_len -
						   CMSG_LEN(0)) / sizeof(int));
			memcpy(peer->fds, CMSG_DATA(cmsg),
			       peer->nr_fds * sizeof(int));
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int peer_take(struct peer *peer)
{
	peer->nr_fds = 0;
	if (take_bytes(peer, &peer->hdr, sizeof(peer->hdr)))
		return -1;
	peer->len = peer->hdr.size - sizeof(peer->hdr);
	if (peer->len > sizeof(peer->payload)) {
		peer->failure = "a message that fits";
		return -1;
	}
	return take_bytes(peer, peer->payload, peer->len);
}

void peer_send_fds(struct peer *peer, const void *bytes, size_t len,
		   const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, nr_fds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
	}
	PEER_EXPECT(peer, sendmsg(peer->fd, &mh, MSG_NOSIGNAL) ==
				  (ssize_t)len);
}

void peer_send(struct peer *peer, const void *bytes, size_t len)
{
	peer_send_fds(peer, bytes, len, NULL, 0);
}

void peer_reply(struct peer *peer, const void *payload, size_t len)
{
	uint8_t bytes[sizeof(struct peer_header) + 8192];
	struct peer_header hdr = {
		.id = peer->hdr.id, .cmd = peer->hdr.cmd, .flags = 1,
		.size = (uint32_t)(sizeof(hdr) + len),
	};

	memcpy(bytes, &hdr, sizeof(hdr));
	if (len)
		memcpy(bytes + sizeof(hdr), payload, len);
	peer_send(peer, bytes, sizeof(hdr) + len);
}

void peer_error(struct peer *peer, uint32_t error)
{
	struct peer_header hdr = {
		.id = peer->hdr.id, .cmd = peer->hdr.cmd, .flags = 1 | 32,
		.size = sizeof(hdr), .error = error,
	};

	peer_send(peer, &hdr, sizeof(hdr));
}

void peer_version(struct peer *peer, const char *json)
{
	uint8_t bytes[4096] = { 0, 0, 1, 0 };
	size_t len = 4;

	PEER_EXPECT(peer, peer_take(peer) == 0 && peer->hdr.cmd == 1);
	if (json) {
		len += strlen(json) + 1;
		memcpy(bytes + 4, json, strlen(json) + 1);
	}
	peer_reply(peer, bytes, len);
}

struct ob_client *peer_attach(struct peer *peer,
			      const struct ob_client_params *params)
{
	struct ob_client *client = NULL;
	struct ob_err err = { 0 };
	int r = ob_client_attach(peer->client_fd, params, &client, &err);

	if (r)
		fail_msg("attach: %d %s", r, err.msg);
	return client;
}
