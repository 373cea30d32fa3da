// SPDX-License-Identifier: BSD-3-Clause
/*
 * Queues: the driver's hot path.
 *
 * Order.  Entries are written before the doorbell, by a release store when
 * the doorbell is memory, and by the system call when it is a message.  With
 * shadow doorbells the new value is stored, then, after a full fence, the
 * event index is loaded: the device stores the index, fences, and loads the
 * value, so that one of the two sees the other (7.13, 5.7).
 *
 * A completion is taken when its phase bit is the one of this pass; the rest
 * of the entry is loaded after that (4.6).
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "nvme_user.h"

#define PAGE 4096u
#define REG_DOORBELLS 0x1000u
#define SLOT_BITS 10
#define NR_TURNS 64u

void *nvme_user_alloc(struct nvme_user *dev, size_t size, uint64_t *addr)
{
	size_t at = dev->memory_used;

	size = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
	if (size > dev->memory_size - at)
		return NULL;
	dev->memory_used += size;
	*addr = dev->memory_addr + at;
	return dev->memory + at;
}

int nvme_user_get_reg(struct nvme_user *dev, uint32_t reg, uint64_t *value,
		      unsigned len, struct ob_err *err)
{
	*value = 0;
	return ob_client_read(dev->client, OB_CLIENT_BAR0, reg, value, len,
			      err);
}

int nvme_user_set_reg(struct nvme_user *dev, uint32_t reg, uint64_t value,
		      unsigned len, struct ob_err *err)
{
	return ob_client_write(dev->client, OB_CLIENT_BAR0, reg, &value, len,
			       err);
}

int nvme_user_queue_init(struct nvme_user *dev, struct nvme_user_queue *q,
			 uint16_t id, uint16_t entries, struct ob_err *err)
{
	*q = (struct nvme_user_queue){
		.dev = dev, .id = id, .entries = entries, .phase = 1,
		.eventfd = -1,
	};
	q->sq = nvme_user_alloc(dev, entries * sizeof(*q->sq), &q->sq_addr);
	q->cq = nvme_user_alloc(dev, entries * sizeof(*q->cq), &q->cq_addr);
	if (!q->sq || !q->cq)
		return ob_fail(err, ENOMEM, "no memory for queue %u", id);
	if (!id)
		return 0;
	q->buffers = nvme_user_alloc(dev, (size_t)dev->params.depth *
				     dev->params.buffer_size,
				     &q->buffers_addr);
	q->lists = nvme_user_alloc(dev, (size_t)dev->params.depth * PAGE,
				   &q->lists_addr);
	if (!q->buffers || !q->lists)
		return ob_fail(err, ENOMEM, "no memory for queue %u", id);
	/* A slot's list names every page of its buffer but the first. */
	for (unsigned slot = 0; slot < dev->params.depth; slot++)
		for (size_t page = 1;
		     page < dev->params.buffer_size / PAGE; page++)
			q->lists[slot * (PAGE / 8) + page - 1] =
				q->buffers_addr +
				slot * dev->params.buffer_size + page * PAGE;
	return 0;
}

static int send_doorbell(struct nvme_user *dev, unsigned index, uint16_t value,
			 struct ob_err *err)
{
	struct ob_client_reg_write write = {
		.offset = REG_DOORBELLS + index * dev->stride * 4,
		.region = OB_CLIENT_BAR0, .len = 4, .value = value,
	};
	int r;

	pthread_mutex_lock(&dev->lock);
	r = dev->how == NVME_USER_POSTED
		    ? ob_client_post(dev->client, &write, 1, err)
		    : nvme_user_set_reg(dev, (uint32_t)write.offset, value, 4,
					err);
	pthread_mutex_unlock(&dev->lock);
	return r;
}

static int write_doorbell(struct nvme_user_queue *q, unsigned index,
			  uint16_t value, struct ob_err *err)
{
	struct nvme_user *dev = q->dev;

	q->doorbell_writes++;
	if (dev->self) {
		dev->self(q);
		return 0;
	}
	if (dev->how != NVME_USER_MAPPED)
		return send_doorbell(dev, index, value, err);
	__atomic_store_n(&dev->doorbells[index * dev->stride], value,
			 __ATOMIC_RELEASE);
	return 0;
}

/* Is the index that the device waits for among those just passed? */
static bool wanted(uint16_t event, uint16_t value, uint16_t old)
{
	return (uint16_t)(value - event - 1) < (uint16_t)(value - old);
}

static void publish(const struct nvme_user_shadow *shadow, uint16_t value)
{
	if (shadow->value)
		__atomic_store_n(shadow->value, value, __ATOMIC_RELEASE);
}

/* After the fence. */
static int tell(struct nvme_user_queue *q,
		const struct nvme_user_shadow *shadow, unsigned index,
		uint16_t value, uint16_t old, struct ob_err *err)
{
	if (value == old)
		return 0;
	if (shadow->value &&
	    !wanted((uint16_t)__atomic_load_n(shadow->event, __ATOMIC_RELAXED),
		    value, old))
		return 0;
	return write_doorbell(q, index, value, err);
}

/* Room for completions first: what is submitted then may need it. */
int nvme_user_ring(struct nvme_user_queue *q, struct ob_err *err)
{
	uint16_t tail = q->rung_tail, head = q->rung_head;
	int r;

	if (q->tail == tail && q->head == head)
		return 0;
	publish(&q->cq_shadow, q->head);
	publish(&q->sq_shadow, q->tail);
	if (q->sq_shadow.value)
		atomic_thread_fence(memory_order_seq_cst);
	q->rung_tail = q->tail;
	q->rung_head = q->head;
	r = tell(q, &q->cq_shadow, 2u * q->id + 1, q->head, head, err);
	return r ? r : tell(q, &q->sq_shadow, 2u * q->id, q->tail, tail, err);
}

static void set_data(struct nvme_user_queue *q, struct nvme_user_sqe *sqe,
		     unsigned slot, size_t len)
{
	sqe->prp1 = q->buffers_addr + slot * q->dev->params.buffer_size;
	if (len > 2 * PAGE)
		sqe->prp2 = q->lists_addr + slot * PAGE;
	else if (len > PAGE)
		sqe->prp2 = sqe->prp1 + PAGE;
}

void nvme_user_submit(struct nvme_user_queue *q, unsigned slot, uint8_t opcode,
		      uint64_t lba, uint32_t blocks)
{
	struct nvme_user_sqe sqe = {
		.opcode = opcode, .nsid = q->dev->params.nsid,
	};
	uint8_t turn = ++q->turns[slot] % NR_TURNS;

	sqe.cid = (uint16_t)(turn << SLOT_BITS | slot);

	if (opcode != NVME_USER_FLUSH) {
		set_data(q, &sqe, slot, (size_t)blocks * q->dev->lba_size);
		sqe.cdw10 = (uint32_t)lba;
		sqe.cdw11 = (uint32_t)(lba >> 32);
		sqe.cdw12 = blocks - 1;
	}
	q->sq[q->tail] = sqe;
	if (++q->tail == q->entries)
		q->tail = 0;
}

unsigned nvme_user_take(struct nvme_user_queue *q, struct nvme_user_done *done,
			unsigned max)
{
	unsigned n = 0;

	while (n < max) {
		struct nvme_user_cqe *cqe = &q->cq[q->head];
		uint16_t status = __atomic_load_n(&cqe->status,
						  __ATOMIC_ACQUIRE);

		if ((status & 1) != q->phase)
			break;
		done[n].slot = cqe->cid % NVME_USER_MAX_DEPTH;
		done[n].stale = cqe->cid >> SLOT_BITS !=
				q->turns[done[n].slot] % NR_TURNS;
		done[n++].status = status >> 1 & 0x7ff;
		if (++q->head == q->entries) {
			q->head = 0;
			q->phase ^= 1;
		}
	}
	return n;
}

int nvme_user_poll(struct nvme_user_queue *q, struct nvme_user_done *done,
		   unsigned max, struct ob_err *err)
{
	unsigned n = nvme_user_take(q, done, max);
	int r = n ? nvme_user_ring(q, err) : 0;

	return r ? r : (int)n;
}
