// SPDX-License-Identifier: BSD-3-Clause
/*
 * Negotiation: we offer 0.1 and what we can do; the server answers with the
 * same major version and narrows the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "client/client.h"
#include "proto/caps.h"

#define OFFER_MAX_FDS 16
#define OFFER_MAX_MAPS 65535
#define OFFER_SIZE 1024

static int format_offer(uint8_t *buf, size_t *len, bool twin,
			uint32_t max_xfer, struct ob_err *err)
{
	struct ob_caps caps;
	char json[OFFER_SIZE - 8];
	struct ob_version version = { .minor = 1, .json = json };
	struct ob_writer wr;
	int r;

	ob_caps_defaults(&caps);
	caps.max_msg_fds = OFFER_MAX_FDS;
	caps.max_data_xfer_size = max_xfer;
	caps.max_dma_maps = OFFER_MAX_MAPS;
	caps.write_multiple = true;
	caps.precopy_info = caps.error_text = true;
	caps.twin_socket = twin;
	r = ob_caps_format(&caps, json, sizeof(json));
	if (r < 0)
		return ob_fail(err, -r, "cannot encode the capabilities");
	version.json_len = strlen(json);
	ob_writer_init(&wr, buf, OFFER_SIZE);
	r = ob_put_version(&wr, &version);
	if (r)
		return ob_fail(err, -r, "cannot encode the version");
	*len = ob_writer_len(&wr);
	return 0;
}

static int take_twin(struct ob_client *client, const struct ob_caps *caps,
		     struct ob_msg *reply, struct ob_err *err)
{
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (caps->twin_fd_index < 0)
		return 0;
	if ((size_t)caps->twin_fd_index >= reply->nr_fds)
		return ob_fail(err, EPROTO,
			       "the twin socket's fd did not come along");
	fd = ob_msg_take_fd(reply, (size_t)caps->twin_fd_index);
	if (fd < 0)
		return ob_fail(err, EPROTO, "the twin socket has no fd");
	r = ob_conn_create(fd, (size_t)client->max_accepted + CLIENT_MSG_SLACK,
			   &client->twin);
	if (r)
		return ob_fail(err, -r, "cannot use the twin socket: %s",
			       strerror(-r));
	ob_fd_take(&fd);
	client->version.twin_socket = true;
	return 0;
}

static void agree(struct ob_client_version *version,
		  const struct ob_version *answer, const struct ob_caps *caps,
		  uint32_t max_xfer)
{
	version->major = answer->major;
	version->minor = answer->minor;
	version->max_msg_fds = caps->max_msg_fds;
	version->max_data_xfer_size = caps->max_data_xfer_size < max_xfer
					      ? caps->max_data_xfer_size
					      : max_xfer;
	version->max_dma_maps = caps->max_dma_maps;
	version->pgsizes = caps->pgsizes;
	version->write_multiple = caps->write_multiple;
}

static int take_answer(struct ob_client *client, struct ob_msg *reply,
		       bool twin, uint32_t max_xfer, struct ob_err *err)
{
	struct ob_version answer;
	struct ob_reader rd;
	struct ob_caps caps;
	int r;

	ob_reader_init(&rd, reply->payload, reply->len);
	r = ob_get_version(&rd, &answer);
	if (r)
		return ob_fail(err, EPROTO, "the server's version is malformed");
	if (answer.major != 0)
		return ob_fail(err, EPROTO,
			       "the server speaks version %u.%u, we speak 0.1",
			       answer.major, answer.minor);
	r = ob_caps_parse(&caps, answer.json, answer.json_len, err);
	if (r) {
		ob_err_prefix(err, "the server's capabilities");
		return r;
	}
	client->json = strndup(answer.json ? answer.json : "",
			       answer.json_len);
	if (!client->json)
		return ob_fail(err, ENOMEM, "out of memory");
	client->version.json = client->json;
	agree(&client->version, &answer, &caps, max_xfer);
	client->precopy_info = caps.precopy_info;
	client->error_text = caps.error_text;
	return twin && caps.twin_socket ? take_twin(client, &caps, reply, err)
					: 0;
}

int client_negotiate(struct ob_client *client, bool twin, uint32_t max_xfer,
		     struct ob_err *err)
{
	uint8_t header[OB_HDR_SIZE], offer[OFFER_SIZE];
	struct iovec iov[2] = { { header, sizeof(header) }, { offer, 0 } };
	struct ob_msg reply;
	int r;

	r = format_offer(offer, &iov[1].iov_len, twin, max_xfer, err);
	if (r)
		return r;
	r = client_call(client, OB_CMD_VERSION, iov, 2, NULL, 0, 4, &reply,
			err);
	if (!r)
		r = take_answer(client, &reply, twin, max_xfer, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	if (r == -ECONNRESET)
		return ob_fail(err, ECONNRESET,
			       "the server closed the connection at once; it "
			       "may be serving another client");
	if (r == -EBUSY)
		return ob_fail(err, EBUSY, "the server serves another client");
	return r;
}
