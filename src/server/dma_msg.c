// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guest memory that only the client can reach: DMA_READ and DMA_WRITE.
 *
 * A client that waits for our answer serves nothing else meanwhile, so a
 * request of ours must never stand between its request and our answer (R9).
 * Transfers are therefore queued where they arise and leave from the event
 * loop, after the answers of the current batch; and no answer of ours ever
 * waits for one of the client's.  Where a twin socket was agreed they use
 * that, which only changes the socket.
 *
 * Nor do any leave while the device comes to a standstill: the client waits for
 * the answer to that.
 *
 * A transfer is cut into messages of the agreed size; few are under way at a
 * time, the others wait here.  A reply is matched by its id and command and
 * must say what was asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/session.h"

#define MAX_SENT 16

struct ob_dma_msg {
	struct ob_dma_msg *next;
	struct ob_dma_op *op;
	uint64_t addr, len;	/* while it waits: what is left to send */
	uint8_t *buf;
	bool write;
	uint16_t id;
};

static void run_done(struct ob_deferred *deferred);

static void reset_waiting(struct ob_dma_queue *q)
{
	q->waiting = NULL;
	q->waiting_tail = &q->waiting;
}

static void reset_done(struct ob_dma_queue *q)
{
	q->done = NULL;
	q->done_tail = &q->done;
}

void ob_dma_queue_init(struct ob_dma_queue *q)
{
	reset_waiting(q);
	reset_done(q);
	q->run.run = run_done;
}

static void run_done(struct ob_deferred *deferred)
{
	struct ob_device *dev = container_of(deferred, struct ob_device,
					     dma_queue.run);
	struct ob_dma_op *op = dev->dma_queue.done, *next;

	reset_done(&dev->dma_queue);
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	for (; op; op = next) {
		next = op->next;
		op->done(op, op->rc);
	}
	ob_dev_step_end(dev);
}

/* One of op's messages is over. */
static void settle(struct ob_device *dev, struct ob_dma_msg *m, int rc)
{
	struct ob_dma_queue *q = &dev->dma_queue;
	struct ob_dma_op *op = m->op;

	free(m);
	if (rc && !op->rc)
		op->rc = rc;
	if (--op->pending)
		return;
	op->next = NULL;
	*q->done_tail = op;
	q->done_tail = &op->next;
	ob_defer(dev->loop, &q->run);
}

static void append(struct ob_dma_queue *q, struct ob_dma_msg *m)
{
	m->next = NULL;
	*q->waiting_tail = m;
	q->waiting_tail = &m->next;
}

int ob_dma_msg_add(struct ob_device *dev, struct ob_dma_op *op, bool write,
		   uint64_t addr, uint8_t *buf, uint64_t len)
{
	struct ob_dma_msg *m;

	if (dev->lane)
		return -EAGAIN;
	if (dev->home)
		dev = dev->home;
	if (!op || !dev->session || ob_config_hits_bar(dev, addr, len))
		return -EFAULT;
	if (dev->mig.stopping)
		return -ECANCELED;	/* it would not leave any more */
	m = malloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct ob_dma_msg){
		.op = op, .addr = addr, .len = len, .buf = buf, .write = write,
	};
	append(&dev->dma_queue, m);
	if (op->pending++ == 0)
		op->rc = 0;
	ob_session_want_pump(dev->session);
	return 0;
}

void ob_dma_msg_revoke(struct ob_device *dev, struct ob_dma_op *op)
{
	struct ob_dma_queue *q = &(dev->home ? dev->home : dev)->dma_queue;
	struct ob_dma_msg *m = q->waiting, *next;

	reset_waiting(q);
	for (; m; m = next) {
		next = m->next;
		if (m->op == op)
			free(m);
		else
			append(q, m);
	}
	op->pending = 0;
}

/* The next message to send, cut off the head of the queue; NULL: no memory. */
static struct ob_dma_msg *cut(struct ob_dma_queue *q, uint64_t limit)
{
	struct ob_dma_msg *head = q->waiting, *m;

	if (head->len <= limit) {
		q->waiting = head->next;
		if (!q->waiting)
			q->waiting_tail = &q->waiting;
		return head;
	}
	m = malloc(sizeof(*m));
	if (!m)
		return NULL;
	*m = *head;
	m->len = limit;
	m->op->pending++;
	head->addr += limit;
	head->buf += limit;
	head->len -= limit;
	return m;
}

static int send_plainly(struct ob_conn *conn, const struct iovec *iov,
			unsigned count)
{
	return ob_conn_send(conn, iov, count, NULL, 0);
}

/*
 * The id of a dead process's message is not used again soon, so that its answer
 * is nobody's.
 */
static int send_kept(struct ob_device *dev, struct ob_conn *conn,
		     const struct iovec *iov, unsigned count)
{
	int r;

	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect_journal(dev);
	dev->ss->next_dma_id = dev->dma_queue.next_id;
	r = ob_conn_queue(conn, iov, count, NULL, 0);
	ob_dev_step_end(dev);
	if (r == 0)
		r = ob_conn_flush(conn);
	return r == -EAGAIN ? 0 : r;
}

static int send_one(struct ob_device *dev, struct ob_conn *conn,
		    const struct ob_dma_msg *m)
{
	uint8_t head[OB_HDR_SIZE + OB_DMA_ACCESS_SIZE];
	struct ob_hdr hdr = {
		.id = m->id,
		.cmd = m->write ? OB_CMD_DMA_WRITE : OB_CMD_DMA_READ,
		.size = (uint32_t)(sizeof(head) + (m->write ? m->len : 0)),
		.flags = OB_HDR_COMMAND,
	};
	struct ob_dma_access access = { .address = m->addr, .count = m->len };
	struct iovec iov[2] = { { head, sizeof(head) }, { m->buf, m->len } };
	struct ob_writer wr;
	int r;

	ob_writer_init(&wr, head, sizeof(head));
	if ((r = ob_hdr_put(&wr, &hdr)) || (r = ob_put_dma_access(&wr, &access)))
		return r;
	return dev->kept ? send_kept(dev, conn, iov, m->write ? 2 : 1) :
		send_plainly(conn, iov, m->write ? 2 : 1);
}

void ob_dma_msg_pump(struct ob_session *s)
{
	struct ob_dma_queue *q = &s->dev->dma_queue;
	struct ob_conn *conn = s->twin.conn ? s->twin.conn : s->main.conn;
	struct ob_dma_msg *m;

	if (s->is_held)
		return;		/* an answer is due */
	while (q->waiting && q->nr_sent < MAX_SENT && !ob_conn_pending(conn)) {
		m = cut(q, s->caps.max_data_xfer_size);
		if (!m)
			return;	/* tried again with the next reply or batch */
		m->id = q->next_id++;
		m->next = q->sent;
		q->sent = m;
		q->nr_sent++;
		if (send_one(s->dev, conn, m))
			return;	/* dead: the next read says so and ends it */
	}
}

static struct ob_dma_msg *take_sent(struct ob_dma_queue *q,
				    const struct ob_hdr *hdr)
{
	struct ob_dma_msg **at, *m;

	for (at = &q->sent; (m = *at); at = &m->next) {
		if (m->id != hdr->id ||
		    hdr->cmd != (m->write ? OB_CMD_DMA_WRITE : OB_CMD_DMA_READ))
			continue;
		*at = m->next;
		q->nr_sent--;
		return m;
	}
	return NULL;
}

/* Of an error reply.  -ECANCELED is ours: such a transfer is begun again. */
static int take_error(uint32_t error)
{
	if (!error || error >= 4096 || error == ECANCELED ||
	    error == EINPROGRESS)
		return -EIO;
	return -(int)error;
}

/* Does it answer what was asked?  A write's answer may be the header alone. */
static int take_answer(const struct ob_dma_msg *m, const struct ob_msg *msg)
{
	struct ob_dma_access access;
	struct ob_reader rd;

	if (msg->hdr.flags & OB_HDR_ERROR)
		return take_error(msg->hdr.error);
	ob_reader_init(&rd, msg->payload, msg->len);
	if (m->write && msg->len < OB_DMA_ACCESS_SIZE)
		return 0;
	if (ob_get_dma_access(&rd, &access) || access.count != m->len)
		return -EPROTO;
	if (m->write)
		return 0;
	return access.address == m->addr && !ob_get_bytes(&rd, m->buf, m->len) ?
		0 : -EPROTO;
}

int ob_dma_msg_reply(struct ob_session *s, const struct ob_msg *msg)
{
	struct ob_dma_msg *m = take_sent(&s->dev->dma_queue, &msg->hdr);

	if (!m)
		return -ENOENT;
	settle(s->dev, m, take_answer(m, msg));
	return 0;
}

void ob_dma_msg_drop(struct ob_device *dev, uint64_t first, uint64_t last,
		     int rc)
{
	struct ob_dma_queue *q = &dev->dma_queue;
	struct ob_dma_msg *m = q->waiting, *next;

	reset_waiting(q);
	for (; m; m = next) {
		next = m->next;
		if (first <= m->addr + (m->len - 1) && m->addr <= last)
			settle(dev, m, rc);
		else
			append(q, m);
	}
}

void ob_dma_msg_fail_all(struct ob_device *dev, int rc)
{
	struct ob_dma_queue *q = &dev->dma_queue;
	struct ob_dma_msg *m;

	ob_dma_msg_drop(dev, 0, UINT64_MAX, rc);
	while ((m = q->sent)) {
		q->sent = m->next;
		settle(dev, m, rc);
	}
	q->nr_sent = 0;
}
