/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the client library.  Everything that talks goes through client_call
 * (or client_send for what is posted), everything that arrives through
 * wait.c, which is the only place that sleeps.
 */
#ifndef OB_CLIENT_CLIENT_H
#define OB_CLIENT_CLIENT_H

#include <sys/uio.h>

#include <outboard/client.h>

#include "base/bytes.h"
#include "proto/proto.h"
#include "transport/conn.h"

#define CLIENT_MAX_ABANDONED 16
/* Replies carry at most this beside an access's data (VERSION's JSON). */
#define CLIENT_MSG_SLACK (128u << 10)

struct client_region {
	struct ob_client_region info;
	struct ob_client_area areas[];
};

/* Guest memory that has no fd: served from here by serve.c. */
struct client_memory {
	uint64_t addr, size;
	uint8_t *base;
	bool readable, writable;
};

/* The one reply that a call waits for. */
struct client_want {
	bool active, arrived;
	uint16_t id, cmd;
	struct ob_msg msg;
};

struct ob_client {
	struct ob_conn *conn;
	struct ob_conn *twin;		/* NULL: none */
	int timeout_ms;
	bool spin;
	int dead;			/* 0, or why it ended: -errno */
	uint16_t next_id;
	struct client_want want;
	/* Ids of calls that gave up; their late replies are dropped. */
	uint16_t abandoned[CLIENT_MAX_ABANDONED];
	unsigned nr_abandoned;
	unsigned served;		/* requests of the server, ever */
	unsigned served_sending;	/* of them, since all was sent */

	struct ob_client_version version;
	bool precopy_info, error_text;	/* what Outboard's servers add */
	char *json;
	struct client_region *regions[OB_CLIENT_MAX_REGIONS];

	const struct ob_client_dma_ops *dma_ops;
	void *dma_arg;
	struct client_memory *memory;	/* sorted by addr */
	size_t nr_memory, room_memory;
	uint8_t *bounce;		/* for replies to DMA_READ */
	uint32_t max_accepted;		/* data bytes per DMA message */
};

/*
 * Sends a command.  iov[0] is room for the header and has OB_HDR_SIZE bytes;
 * the rest is the payload.  Gives the id that its reply will carry.
 */
int client_send(struct ob_client *client, uint16_t cmd, uint32_t flags,
		struct iovec *iov, unsigned nr_iov, const int *fds,
		unsigned nr_fds, uint16_t *id, struct ob_err *err);

/* Whole messages, headers included, for which no reply comes. */
int client_send_bytes(struct ob_client *client, const void *bytes, size_t len,
		      struct ob_err *err);
uint16_t client_new_id(struct ob_client *client);

/*
 * Sends and waits for the reply, whose payload has at least min_reply bytes
 * unless it is an error.  *reply is the caller's to ob_msg_finish whenever
 * it was filled (reply->hdr.size is not 0 then); its payload is borrowed
 * until the next call.
 */
int client_call(struct ob_client *client, uint16_t cmd, struct iovec *iov,
		unsigned nr_iov, const int *fds, unsigned nr_fds,
		size_t min_reply, struct ob_msg *reply, struct ob_err *err);

/* The same for a small request in one piece whose reply says nothing. */
int client_command(struct ob_client *client, uint16_t cmd, const void *payload,
		   size_t len, const int *fds, unsigned nr_fds,
		   struct ob_err *err);

/* A question of len bytes whose answer is as long and takes their place. */
int client_query(struct ob_client *client, uint16_t cmd, void *bytes,
		 size_t len, struct ob_err *err);

/*
 * migration.c: DEVICE_FEATURE.  flags: the feature with GET, SET or PROBE;
 * room: payload that the answer may have behind struct ob_feature.  min_reply
 * and *reply as for client_call, min_reply without struct ob_feature; with 0
 * the answer may be empty.
 */
int client_feature(struct ob_client *client, uint32_t flags, const void *data,
		   size_t len, size_t room, size_t min_reply,
		   struct ob_msg *reply, struct ob_err *err);
/* After reply was an error: adds the server's own words to err. */
void client_add_error_text(struct ob_client *client,
			   const struct ob_msg *reply, struct ob_err *err);
/* Is the feature there?  No answer but an error is an error here. */
int client_probe(struct ob_client *client, uint32_t feature, bool *there,
		 struct ob_err *err);

/* wait.c: sends what is kept; or waits until want has arrived. */
int client_wait_sent(struct ob_client *client, struct ob_err *err);
int client_wait_reply(struct ob_client *client, struct ob_err *err);
/* Ends the connection for good; returns rc, or what is meant by it. */
int client_die(struct ob_client *client, int rc, struct ob_err *err,
	       const char *why);

/* serve.c: answers a command of the server on conn. */
int client_serve(struct ob_client *client, struct ob_conn *conn,
		 struct ob_msg *msg, struct ob_err *err);
int client_memory_add(struct ob_client *client,
		      const struct ob_client_dma *map, struct ob_err *err);
void client_memory_remove(struct ob_client *client, uint64_t addr,
			  uint64_t size);

/* version.c */
int client_negotiate(struct ob_client *client, bool twin, uint32_t max_xfer,
		     struct ob_err *err);

#endif
