// SPDX-License-Identifier: BSD-3-Clause
/*
 * VERSION: first and only once.  Everything in existence speaks 0.x; we
 * answer 0.1 or the older minor that was offered.
 *
 * Capabilities are narrowed to what both sides can do.  Two of them are each
 * side's own matter, what *it* takes in one message (max_msg_fds,
 * max_data_xfer_size); we announce ours, and for data the smaller of both
 * holds in both directions.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/kept.h"
#include "server/session.h"

/* More are taken (OB_MAX_MSG_FDS), but QEMU refuses a server that says so. */
#define OUR_MSG_FDS 16

/* Any page of at least 4 KiB; mappings of a file share one window anyway. */
#define OUR_PGSIZES (~(uint64_t)4095)

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void narrow(struct ob_session *s, const struct ob_caps *offer)
{
	struct ob_caps *caps = &s->caps;

	s->peer_fds = offer->max_msg_fds;
	caps->max_msg_fds = OUR_MSG_FDS;
	caps->max_data_xfer_size = smaller(offer->max_data_xfer_size,
					   OB_OUR_DATA_XFER);
	caps->max_dma_maps = smaller(offer->max_dma_maps, OB_DMA_MAPS_MAX);
	caps->pgsizes = offer->pgsizes & OUR_PGSIZES;
	if (caps->pgsizes == 0)
		caps->pgsizes = 4096;
	caps->write_multiple = offer->write_multiple;
	caps->precopy_info = offer->precopy_info;
	caps->error_text = offer->error_text;
	caps->twin_socket = offer->twin_socket && offer->max_msg_fds > 0;
	caps->twin_fd_index = -1;
}

/* Our end becomes the twin channel, the client's goes with the reply. */
static int open_twin(struct ob_session *s)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       pair) < 0)
		return -errno;
	s->twin_peer = pair[1];
	r = ob_session_open_twin(s, pair[0]);
	if (r || (r = ob_dev_keep(s->dev, pair[1], "twin-peer")))
		return r;
	s->caps.twin_fd_index = 0;
	s->reply.fds[0] = s->twin_peer;
	s->reply.fd_names[0] = OB_FD_TWIN_PEER;
	s->reply.nr_fds = 1;
	return 0;
}

static int put_reply(struct ob_session *s, const struct ob_version *ask)
{
	char json[1024];
	int len = ob_caps_format(&s->caps, json, sizeof(json));	/* with NUL */
	struct ob_version v = {
		.minor = ask->minor < 1 ? ask->minor : 1,
		.json = json,
		.json_len = (size_t)len - 1,
	};

	return len < 0 ? len : ob_put_version(&s->reply.wr, &v);
}

int ob_do_version(struct ob_session *s, const struct ob_request *req,
		  struct ob_msg *msg)
{
	struct ob_caps offer;
	int r;

	(void)msg;
	if (s->negotiated)
		return ob_fail(&s->err, EINVAL, "it was agreed already");
	s->closing = true;	/* unless all goes well */
	if (req->version.major != 0)
		return ob_fail(&s->err, EPROTONOSUPPORT,
			       "the client speaks version %u.%u, this is 0.1",
			       req->version.major, req->version.minor);
	r = ob_caps_parse(&offer, req->version.json, req->version.json_len,
			  &s->err);
	if (r)
		return r;
	narrow(s, &offer);
	if (s->caps.twin_socket && (r = open_twin(s)))
		return r;
	r = put_reply(s, &req->version);
	if (r)
		return r;
	s->dev->dma.pgsize = s->caps.pgsizes & -s->caps.pgsizes;
	s->negotiated = true;
	s->closing = false;
	ob_session_record(s);
	return 0;
}
