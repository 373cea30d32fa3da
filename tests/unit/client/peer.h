/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A scripted server: a thread with the other end of a socket pair, which
 * writes raw bytes and shares no code with the library.  A script that finds
 * the client's bytes wrong sets peer->failure to what it missed, and the test
 * fails at peer_end.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>

struct peer_header {
	uint16_t id, cmd;
	uint32_t size, flags, error;
};

struct peer {
	int fd;
	int client_fd;
	pthread_t thread;
	void (*script)(struct peer *peer);
	const char *failure;
	struct peer_header hdr;		/* of the last message taken */
	uint8_t payload[1 << 17];
	size_t len;
	int fds[64];
	unsigned nr_fds;
	void *arg;
};

#define PEER_EXPECT(peer, condition) \
	do { \
		if (!(condition) && !(peer)->failure) \
			(peer)->failure = #condition; \
	} while (0)

void peer_start(struct peer *peer, void (*script)(struct peer *));
/* Joins the script; fails the test if the script was not content. */
void peer_end(struct peer *peer);

/* 0, or -1 at the end of the stream. */
int peer_take(struct peer *peer);
void peer_send(struct peer *peer, const void *bytes, size_t len);
void peer_send_fds(struct peer *peer, const void *bytes, size_t len,
		   const int *fds, unsigned nr_fds);
/* A reply to the message taken last. */
void peer_reply(struct peer *peer, const void *payload, size_t len);
void peer_error(struct peer *peer, uint32_t error);
/* Takes VERSION and answers it with this JSON (NULL: none). */
void peer_version(struct peer *peer, const char *json);

/* A client attached to the peer; fails the test if that is impossible. */
struct ob_client *peer_attach(struct peer *peer,
			      const struct ob_client_params *params);

#endif
