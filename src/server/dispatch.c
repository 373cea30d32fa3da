// SPDX-License-Identifier: BSD-3-Clause
/*
 * One message, to its reply.
 *
 * A row for each command says who handles it and how many fds it may carry.
 * Whatever is wrong becomes an error reply, padded to the size of a success
 * (R37), never the end of the connection (R3); nobody is answered who said
 * No_reply (R4).
 *
 * A single fd on a message that takes none is closed and forgiven, because
 * real drivers send one; more are an error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/operator_impl.h"
#include "server/kept.h"
#include "server/session.h"

struct command {
	int (*handle)(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg);
	uint8_t max_fds;
};

static void log_failure(struct ob_session *s, const struct ob_hdr *hdr, int r)
{
	if (!s->err.msg[0])
		ob_fail(&s->err, -r, "%s", strerror(-r));
	ob_log(&s->dev->log, OB_LOG_GUEST, "%s (%u) refused: %s",
	       ob_cmd_name(hdr->cmd), hdr->cmd, s->err.msg);
	s->why = s->err;
	s->err.msg[0] = 0;
}

static int do_dma_map(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg)
{
	int fd = msg->nr_fds ? ob_msg_take_fd(msg, 0) : -1;
	int r;

	if (s->dev->dma.nr >= s->caps.max_dma_maps)
		r = ob_fail(&s->err, ENOSPC, "there are %u maps already",
			    s->dev->dma.nr);
	else
		r = ob_dma_map(s->dev, &req->map, &fd, &s->err);
	ob_fd_close(&fd);
	if (r)
		ob_err_prefix(&s->err, "%#llx bytes at %#llx",
			      (unsigned long long)req->map.size,
			      (unsigned long long)req->map.address);
	return r;
}

static int do_dma_unmap(struct ob_session *s, const struct ob_request *req,
			struct ob_msg *msg)
{
	const struct ob_dma_unmap *ask = &req->unmap;
	int r = ob_dma_unmap(s->dev, ask);

	(void)msg;
	if (r)
		return ob_fail(&s->err, -r, "%#llx bytes at %#llx, flags %#x: %s",
			       (unsigned long long)ask->size,
			       (unsigned long long)ask->address, ask->flags,
			       r == -ENOENT ? "no map is just that" :
			       strerror(-r));
	return ob_put_dma_unmap(&s->reply.wr, ask);
}

static int do_set_irqs(struct ob_session *s, const struct ob_request *req,
		       struct ob_msg *msg)
{
	const struct ob_set_irqs *ask = &req->set_irqs;
	int r = ob_irqs_set(s->dev, ask, req->data, msg->fds, msg->nr_fds);

	return r ? ob_fail(&s->err, -r, "flags %#x, index %u, %u from %u, %zu fds: %s",
			   ask->flags, ask->index, ask->count, ask->start,
			   msg->nr_fds, strerror(-r)) : 0;
}

static int check_access(struct ob_session *s,
			const struct ob_region_access *access, bool write)
{
	if (access->count <= s->caps.max_data_xfer_size &&
	    ob_region_check(s->dev, access, write) == 0)
		return 0;
	return ob_fail(&s->err, EINVAL, "no %u bytes at %#llx of region %u",
		       access->count, (unsigned long long)access->offset,
		       access->region);
}

static int do_region_read(struct ob_session *s, const struct ob_request *req,
			  struct ob_msg *msg)
{
	struct ob_reply *reply = &s->reply;
	const struct ob_region_access *access = &req->access;
	size_t count = access->count;
	int r;

	(void)msg;
	r = check_access(s, access, false);
	if (r)
		return r;
	r = ob_put_region_access(&reply->wr, access);
	if (r)
		return r;
	if (count <= (size_t)(reply->wr.end - reply->wr.at)) {
		ob_region_read(s->dev, access, reply->wr.at);
		reply->wr.at += count;
		return 0;
	}
	reply->bulk = malloc(count);
	if (!reply->bulk)
		return -ENOMEM;
	reply->bulk_len = count;
	ob_region_read(s->dev, access, reply->bulk);
	return 0;
}

static int do_region_write(struct ob_session *s, const struct ob_request *req,
			   struct ob_msg *msg)
{
	int r;

	(void)msg;
	r = check_access(s, &req->access, true);
	if (r)
		return r;
	if (req->access.count)
		ob_region_write(s->dev, &req->access, req->data);
	return ob_put_region_access(&s->reply.wr, &req->access);
}

static int write_entry(struct ob_session *s, struct ob_reader *rd)
{
	struct ob_region_access access;
	struct ob_write_entry entry;
	int r = ob_get_write_entry(rd, &entry);

	if (r)
		return r;
	if (entry.len == 0 || entry.len > sizeof(entry.data))
		return ob_fail(&s->err, EINVAL, "%u bytes", entry.len);
	access = (struct ob_region_access){
		entry.offset, entry.region, entry.len
	};
	r = check_access(s, &access, true);
	if (r == 0)
		ob_region_write(s->dev, &access, entry.data);
	return r;
}

/* In order, up to the first that is wrong; the reply counts those done. */
static int do_write_multi(struct ob_session *s, const struct ob_request *req,
			  struct ob_msg *msg)
{
	struct ob_reader rd;
	uint64_t done;
	int r = 0;

	(void)msg;
	if (!s->caps.write_multiple)
		return -ENOTSUP;
	ob_reader_init(&rd, req->data, req->data_len);
	for (done = 0; done < req->write_count; done++) {
		r = write_entry(s, &rd);
		if (r)
			break;
	}
	if (r)
		ob_err_prefix(&s->err, "entry %llu", (unsigned long long)done);
	if (r && done == 0)
		return r;
	if (r)
		log_failure(s, &req->hdr, r);
	return ob_put_u64(&s->reply.wr, done);
}

static int do_reset(struct ob_session *s, const struct ob_request *req,
		    struct ob_msg *msg)
{
	(void)req;
	(void)msg;
	ob_device_reset(s->dev, OB_RESET_DEVICE);
	ob_arrival_reset(s->dev);
	if (ob_mig_owner(s->dev) == OB_MIG_OPERATOR)
		ob_operator_was_reset(s->dev);
	else
		ob_mig_reset(s->dev);
	return 0;
}

static const struct command commands[OB_NR_CMDS] = {
	[OB_CMD_VERSION] = { ob_do_version, 0 },
	[OB_CMD_DMA_MAP] = { do_dma_map, 1 },
	[OB_CMD_DMA_UNMAP] = { do_dma_unmap, 0 },
	[OB_CMD_DEVICE_GET_INFO] = { ob_do_device_info, 0 },
	[OB_CMD_DEVICE_GET_REGION_INFO] = { ob_do_region_info, 0 },
	[OB_CMD_DEVICE_GET_REGION_IO_FDS] = { ob_do_region_io_fds, 0 },
	[OB_CMD_DEVICE_GET_IRQ_INFO] = { ob_do_irq_info, 0 },
	[OB_CMD_DEVICE_SET_IRQS] = { do_set_irqs, OB_MAX_MSG_FDS },
	[OB_CMD_REGION_READ] = { do_region_read, 0 },
	[OB_CMD_REGION_WRITE] = { do_region_write, 0 },
	[OB_CMD_DEVICE_RESET] = { do_reset, 0 },
	[OB_CMD_REGION_WRITE_MULTI] = { do_write_multi, 0 },
	[OB_CMD_DEVICE_FEATURE] = { ob_do_feature, 0 },
	[OB_CMD_MIG_DATA_READ] = { ob_do_mig_read, 0 },
	[OB_CMD_MIG_DATA_WRITE] = { ob_do_mig_write, 0 },
};

/*
 * Finds the row, checks what all commands have in common, runs it.  r is what
 * ob_request_get said.
 */
static int execute(struct ob_session *s, struct ob_request *req,
		   struct ob_msg *msg, int r)
{
	const struct command *command;

	if (r == -EINVAL)
		return ob_fail(&s->err, EINVAL, "%zu bytes are not what it has",
			       msg->len);
	if (r)
		return r;
	command = &commands[req->hdr.cmd];
	if (!command->handle)
		return -ENOSYS;
	if (!s->negotiated && req->hdr.cmd != OB_CMD_VERSION)
		return ob_fail(&s->err, EINVAL, "VERSION must come first");
	if (msg->fds_dropped)
		return ob_fail(&s->err, EINVAL, "%zu fds too many, sockets, "
			       "or more than we can open", msg->fds_dropped);
	if (msg->nr_fds > command->max_fds && msg->nr_fds > 1)
		return ob_fail(&s->err, EINVAL, "%zu fds where %u may be",
			       msg->nr_fds, command->max_fds);
	return command->handle(s, req, msg);
}

static void start_reply(struct ob_reply *reply)
{
	ob_writer_init(&reply->wr, reply->buf, sizeof(reply->buf));
	reply->wr.at += OB_HDR_SIZE;
	reply->bulk = NULL;
	reply->bulk_len = 0;
	reply->nr_more = 0;
	reply->lent = false;
	reply->nr_fds = 0;
}

/* Zeros as long as a success would be; a failed calloc sends fewer. */
static void pad_error(struct ob_session *s, const struct ob_request *req)
{
	size_t most = (size_t)s->caps.max_data_xfer_size + OB_REGION_ACCESS_SIZE;
	size_t pad = ob_reply_payload_size(req);
	struct ob_reply *reply = &s->reply;

	free(reply->bulk);
	start_reply(reply);
	if (pad > most)
		pad = most;
	if (ob_put_zeros(&reply->wr, pad) == 0)
		return;
	reply->bulk = calloc(1, pad);
	if (reply->bulk)
		reply->bulk_len = pad;
}

size_t ob_reply_len(const struct ob_reply *reply)
{
	size_t len = ob_writer_len(&reply->wr) + reply->bulk_len;

	for (unsigned i = 0; i < reply->nr_more; i++)
		len += reply->more[i].iov_len;
	return len;
}

/* The pieces of a reply, in order; their number. */
static unsigned pieces(const struct ob_reply *reply, struct iovec *iov)
{
	unsigned n = 0;

	iov[n].iov_base = (uint8_t *)reply->buf;
	iov[n++].iov_len = ob_writer_len(&reply->wr);
	if (reply->bulk_len) {
		iov[n].iov_base = reply->bulk;
		iov[n++].iov_len = reply->bulk_len;
	}
	for (unsigned i = 0; i < reply->nr_more; i++)
		iov[n++] = reply->more[i];
	return n;
}

/* Into the outbox, within the step. */
static int enqueue(struct ob_session *s, struct iovec *iov)
{
	struct ob_reply *reply = &s->reply;
	unsigned nr_more = reply->nr_more;
	int r;

	if (reply->lent)
		reply->nr_more = 0;
	r = ob_conn_queue(s->main.conn, iov, pieces(reply, iov),
			  reply->fd_names, reply->nr_fds);
	if (r || !reply->lent || !nr_more)
		return r;
	return ob_conn_queue_lent(s->main.conn, reply->more, nr_more,
				  reply->fill);
}

static int transmit(struct ob_session *s, struct iovec *iov)
{
	const struct ob_reply *reply = &s->reply;

	if (s->dev->kept)
		return enqueue(s, iov);
	return ob_conn_send(s->main.conn, iov, pieces(reply, iov), reply->fds,
			    reply->nr_fds);
}

/* Apart, so that a register access does not pay for 16 KiB of stack. */
static __attribute__((noinline)) int transmit_many(struct ob_session *s)
{
	struct iovec iov[2 + OB_REPLY_MORE];

	return transmit(s, iov);
}

static int send_reply(struct ob_session *s, const struct ob_hdr *asked,
		      int error)
{
	struct ob_reply *reply = &s->reply;
	struct ob_hdr hdr = {
		.id = asked->id,
		.cmd = asked->cmd,
		.size = (uint32_t)ob_reply_len(reply),
		.flags = OB_HDR_REPLY | (error ? OB_HDR_ERROR : 0u),
		.error = (uint32_t)-error,
	};
	struct iovec iov[3];
	struct ob_writer wr;

	ob_writer_init(&wr, reply->buf, OB_HDR_SIZE);
	ob_hdr_put(&wr, &hdr);
	return reply->nr_more > 1 ? transmit_many(s) : transmit(s, iov);
}

static int run(struct ob_session *s, struct ob_request *req,
	       struct ob_msg *msg)
{
	struct ob_device *dev = s->dev;
	int r;

	if ((msg->hdr.flags & OB_HDR_TYPE) != OB_HDR_COMMAND)
		return -EINVAL;
	r = ob_request_get(req, msg->payload, msg->len);
	ob_step_begin_beside(&dev->mem, OB_STEP_MESSAGE);
	if (dev->judges && !(r == 0 && ob_request_is_hot(dev, req)))
		ob_step_protect(dev);
	r = dev->fused ? ob_fuse_message(dev, &msg->hdr) :
	    execute(s, req, msg, r);
	ob_dev_step_end(dev);
	return r;
}

static int finish(struct ob_session *s, const struct ob_request *req, int r)
{
	int sent = 0;

	ob_dev_note(s->dev, OB_EVENT_ANSWER, req->hdr.cmd, (uint32_t)-r,
		  s->dev->ss->main.done);
	if (r) {
		log_failure(s, &req->hdr, r);
		pad_error(s, req);
	}
	if (!(req->hdr.flags & OB_HDR_NO_REPLY))
		sent = send_reply(s, &req->hdr, r);
	free(s->reply.bulk);
	s->reply.bulk = NULL;
	if (!s->dev->kept)
		ob_fd_close(&s->twin_peer);
	return sent;
}

/* What is held has lost its message when it is answered. */
static void hold(struct ob_session *s, const struct ob_request *req)
{
	s->held = *req;
	s->held.data = NULL;
	s->held.data_len = 0;
	s->is_held = true;
}

static int answer(struct ob_session *s, struct ob_msg *msg)
{
	struct ob_request req = { .hdr = msg->hdr };
	int r;

	ob_dev_note(s->dev, OB_EVENT_MESSAGE, msg->hdr.cmd, msg->hdr.id,
		  s->dev->ss->main.done);
	start_reply(&s->reply);
	r = run(s, &req, msg);
	if (r != -EINPROGRESS)
		return finish(s, &req, r);
	hold(s, &req);
	return 0;
}

int ob_dispatch_held(struct ob_session *s, int r)
{
	s->is_held = false;
	r = finish(s, &s->held, r);
	if (s->dev->kept)
		ob_conn_done(s->main.conn);
	return r;
}

static int dispatch(struct ob_session *s, struct ob_msg *msg)
{
	int r = 0;

	if ((msg->hdr.flags & OB_HDR_TYPE) != OB_HDR_REPLY)
		r = answer(s, msg);
	else if (ob_dma_msg_reply(s, msg))
		/* Whoever answers what nobody asked cannot be told. */
		ob_log(&s->dev->log, OB_LOG_GUEST,
		       "reply to a command that was not sent (id %u)",
		       msg->hdr.id);
	ob_msg_finish(msg);
	return r;
}

/* Small answers may wait for the end of the batch. */
static bool leaves_now(const struct ob_reply *reply)
{
	return reply->lent || reply->nr_fds || reply->bulk_len;
}

/* A command that nobody waits for. */
static bool is_posted(const struct ob_hdr *hdr)
{
	return (hdr->flags & OB_HDR_TYPE) == OB_HDR_COMMAND &&
	       hdr->flags & OB_HDR_NO_REPLY;
}

/*
 * The message, its answer and the note that it is done are one step.  The answer
 * leaves after it, since what has left cannot be taken back.  With no answer
 * the note is one store, and commits by itself.
 */
static int dispatch_kept(struct ob_session *s, struct ob_msg *msg)
{
	struct ob_device *dev = s->dev;
	int r;

	ob_step_begin_beside(&dev->mem, OB_STEP_MESSAGE);
	if (!is_posted(&msg->hdr))
		ob_step_protect_journal(dev);
	r = dispatch(s, msg);
	dev->fused = false;
	if (!s->is_held)
		ob_conn_done(s->main.conn);
	dev->ss->closing = s->closing;
	ob_dev_step_end(dev);
	return r || !leaves_now(&s->reply) ? r : ob_session_flush(s);
}

int ob_dispatch(struct ob_session *s, struct ob_msg *msg)
{
	return s->dev->kept ? dispatch_kept(s, msg) : dispatch(s, msg);
}
