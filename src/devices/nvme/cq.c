// SPDX-License-Identifier: BSD-3-Clause
/*
 * Completion queues: posting.
 *
 * A finished command waits in its queue's list until some have come together;
 * then as many entries as have room are written, in order, and told by at
 * most one interrupt.  Position and phase are our own (R16).  With the queue
 * full the rest waits for the guest's head doorbell (R18).
 *
 * An entry becomes visible by the store of its last word, which holds the
 * phase tag: everything before it is older.  In memory that is reached by
 * messages one write carries whole entries, and the interrupt waits for its
 * completion.
 *
 * Before the guest can see any of a batch, each slot has its place on record;
 * when it can see all, one store of `posted` commits.  A successor that finds
 * places beyond `posted` writes the same entries there again, first of all: to
 * write one that the guest has consumed changes nothing, and what it has not
 * consumed it sees once.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static uint32_t room(const struct nvme *n, unsigned qid)
{
	const struct nvme_cq_hot *hot = &n->hot->cqs[qid];
	uint32_t entries = n->st->cqs[qid].entries;

	return (hot->head + entries - hot->tail - 1) % entries;
}

bool nvme_cq_unconsumed(const struct nvme *n, unsigned qid)
{
	return n->st->cqs[qid].created &&
	       n->hot->cqs[qid].head != n->hot->cqs[qid].tail;
}

void nvme_cq_queue(struct nvme_cq *cq)
{
	struct nvme_lane *lane = cq->lane;

	if (!cq->queued) {
		cq->queued = true;
		cq->next = lane->flush;
		lane->flush = cq;
	}
	/* A turn of work ends with a flush. */
	if (!lane->working)
		nvme_kick(lane);
}

void nvme_cq_add(struct nvme *n, unsigned qid, struct nvme_cmd *c)
{
	struct nvme_cq *cq = &n->cqs[qid];

	nvme_list_push(&cq->done, c);
	nvme_cq_queue(cq);
}

static struct nvme_cqe make_entry(const struct nvme *n,
				  const struct nvme_cmd *c, uint32_t phase)
{
	const struct nvme_slot *slot = c->slot;

	return (struct nvme_cqe){
		.result = slot->result,
		.sq_head = n->hot->sqs[slot->sqid].head,
		.sq_id = slot->sqid,
		.cid = slot->sqe.cid,
		.status = slot->status << 1 | (phase & 1),
	};
}

static void assign(struct nvme *n, unsigned qid, uint32_t count)
{
	struct nvme_cmd *c = n->cqs[qid].done.first;
	uint64_t post = n->hot->cqs[qid].posted;

	for (uint32_t i = 0; i < count; i++, c = c->next) {
		nvme_sq_tail_behind(n, c->slot->sqid);
		__atomic_store_n(&c->slot->post, ++post, __ATOMIC_RELEASE);
	}
	n->cqs[qid].assigned = count;
}

/* posted commits; tail is last, so what stands at it has the right phase. */
static void pass_entries(struct nvme *n, unsigned qid, uint32_t count)
{
	struct nvme_cq_hot *hot = &n->hot->cqs[qid];
	uint32_t tail = hot->tail + count;

	__atomic_store_n(&hot->posted, hot->posted + count, __ATOMIC_RELEASE);
	if (tail == n->st->cqs[qid].entries) {
		tail = 0;
		__atomic_store_n(&hot->phase, hot->phase ^ 1,
				 __ATOMIC_RELEASE);
	}
	__atomic_store_n(&hot->tail, tail, __ATOMIC_RELEASE);
}

/* The entries are in guest memory: free the slots. */
static void advance(struct nvme *n, unsigned qid, uint32_t count)
{
	pass_entries(n, qid, count);
	n->cqs[qid].assigned = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct nvme_cmd *c = nvme_list_pop(&n->cqs[qid].done);
		uint16_t sqid = c->slot->sqid;

		nvme_cmd_tell_end(c);
		nvme_cmd_release(c);
		nvme_sq_command_done(n, sqid);
	}
}

static void posted(struct nvme *n, unsigned qid, uint32_t count)
{
	advance(n, qid, count);
	nvme_irq_posted(&n->cqs[qid], count);
}

static void store_entry(struct nvme_cqe *to, const struct nvme_cqe *from)
{
	uint32_t words[4];

	memcpy(words, from, sizeof(words));
	memcpy(to, words, 12);
	__atomic_store_n((uint32_t *)to + 3, words[3], __ATOMIC_RELEASE);
}

static void store_entries(struct nvme *n, unsigned qid, void *to,
			  uint64_t addr, uint32_t count)
{
	struct nvme_cmd *c = n->cqs[qid].done.first;
	struct nvme_cqe *entries = to;

	for (uint32_t i = 0; i < count; i++, c = c->next) {
		struct nvme_cqe e = make_entry(n, c, n->hot->cqs[qid].phase);

		store_entry(&entries[i], &e);
	}
	ob_dma_wrote(n->cqs[qid].lane->dev, addr, count * sizeof(*entries));
}

static void sent(struct ob_dma_op *op, int rc)
{
	struct nvme_cq *cq = (struct nvme_cq *)
		((char *)op - offsetof(struct nvme_cq, dma));
	struct nvme *n = cq->n;
	uint32_t count = cq->posting;

	cq->posting = 0;
	cq->lane->nr_busy_dma--;
	nvme_settled(n);
	if (cq->stale) {
		cq->stale = false;
	} else if (n->draining && (rc == -ECANCELED || n->halted)) {
		return;		/* run looks at all queues again */
	} else if (rc && rc != -ECANCELED) {
		nvme_dma_status(cq->lane, rc);
		if (nvme_running(n))
			nvme_lane_fatal(cq->lane,
					"a completion queue cannot be written");
		return;
	} else if (!rc) {
		posted(n, cq - n->cqs, count);
	}
	nvme_cq_queue(cq);
}

static int send_entries(struct nvme *n, unsigned qid, uint64_t addr,
			uint32_t count)
{
	struct nvme_cq *cq = &n->cqs[qid];
	struct nvme_cmd *c = cq->done.first;
	struct ob_seg seg = { addr, count * sizeof(struct nvme_cqe) };
	int rc;

	for (uint32_t i = 0; i < count; i++, c = c->next)
		cq->batch[i] = make_entry(n, c, n->hot->cqs[qid].phase);
	memset(&cq->dma, 0, sizeof(cq->dma));
	cq->dma.done = sent;
	rc = ob_dma_write(cq->lane->dev, &seg, 1, cq->batch, &cq->dma);
	if (rc == -EINPROGRESS) {
		cq->posting = count;
		cq->lane->nr_busy_dma++;
	}
	return rc;
}

/*
 * How many can be written at once: with room, in one piece of the ring.  What
 * is assigned had room, though the head may have passed it already.
 */
static uint32_t batch_size(const struct nvme *n, unsigned qid)
{
	const struct nvme_cmd *c = n->cqs[qid].done.first;
	uint32_t limit = room(n, qid);
	uint32_t to_end = n->st->cqs[qid].entries - n->hot->cqs[qid].tail;
	uint32_t count = 0;

	if (n->cqs[qid].assigned)
		return n->cqs[qid].assigned;
	if (limit > to_end)
		limit = to_end;
	if (limit > NVME_POST)
		limit = NVME_POST;
	for (; c && count < limit; c = c->next)
		count++;
	return count;
}

/* What is left has ended, and waits for the guest. */
static void note_full(struct nvme_cq *cq)
{
	bool full = !nvme_list_empty(&cq->done);

	cq->lane->nr_full += full - cq->full;
	cq->full = full;
	for (struct nvme_cmd *c = cq->done.first; c; c = c->next)
		nvme_cmd_tell(c);
}

/* Writes one batch; false when the queue has nothing more to do now. */
static bool flush_some(struct nvme *n, unsigned qid)
{
	struct nvme_cq *cq = &n->cqs[qid];
	uint64_t addr = n->st->cqs[qid].base +
			n->hot->cqs[qid].tail * sizeof(struct nvme_cqe);
	uint32_t count;
	void *to;

	if (nvme_list_empty(&cq->done) || cq->posting || !nvme_running(n))
		return false;
	if (!cq->assigned && !room(n, qid))
		nvme_cq_head_refresh(n, qid);
	count = batch_size(n, qid);
	if (!count)
		return false;
	nvme_cq_head_behind(n, qid);
	assign(n, qid, count);
	to = ob_dma_ptr(cq->lane->dev, addr, count * sizeof(struct nvme_cqe),
			true);
	if (to) {
		store_entries(n, qid, to, addr, count);
	} else {
		int rc = send_entries(n, qid, addr, count);

		if (rc == -EINPROGRESS || rc == -ECANCELED)
			return false;
		if (nvme_dma_status(cq->lane, rc)) {
			nvme_lane_fatal(cq->lane,
					"a completion queue cannot be written");
			return false;
		}
	}
	posted(n, qid, count);
	return true;
}

void nvme_cqs_flush(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	struct nvme_cq *cq;

	while ((cq = lane->flush)) {
		lane->flush = cq->next;
		cq->queued = false;
		while (flush_some(n, cq - n->cqs))
			;
		note_full(cq);
	}
}

/* None has anything to post any more. */
void nvme_cqs_forget(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		for (; lane->flush; lane->flush = lane->flush->next)
			lane->flush->queued = false;
}

/* After a time in which nothing could be posted. */
void nvme_cqs_revive(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_QIDS; i++)
		if (n->st->cqs[i].created &&
		    !nvme_list_empty(&n->cqs[i].done))
			nvme_cq_queue(&n->cqs[i]);
}

/* From now on the order of those that have ended is that of their ends. */
static void record_order(struct nvme *n, const struct nvme_cq *cq)
{
	for (struct nvme_cmd *c = cq->done.first; c; c = c->next)
		c->slot->order = nvme_next_order(n->lanes);
}

/*
 * Entries that have left by message are the guest's, although we have not
 * heard so yet: the client writes them before it sees the answer to whatever
 * made us stand still.  dma.rc says if something of them did not leave; then
 * all are posted again, at the same places: also elsewhere, for which their
 * order goes on record.  All that is not consumed will be told again, so
 * nothing waits for an interrupt.
 */
void nvme_cqs_halt(struct nvme *n)
{
	for (unsigned i = 0; i <= n->max_queues; i++) {
		struct nvme_cq *cq = &n->cqs[i];

		if (!n->st->cqs[i].created)
			continue;
		cq->waiting = 0;
		if (cq->posting && !cq->stale && !cq->dma.rc) {
			cq->stale = true;
			advance(n, i, cq->posting);
		}
		record_order(n, cq);
	}
}

void nvme_cq_renew(struct nvme *n, unsigned qid)
{
	struct nvme_cq *cq = &n->cqs[qid];

	nvme_list_init(&cq->done);
	if (cq->full)
		cq->lane->nr_full--;
	cq->full = false;
	cq->waiting = cq->assigned = 0;
	cq->sqs = 0;
	cq->bad_head = cq->refused = NVME_NO_VALUE;
	cq->stale = cq->posting != 0;
	cq->n = n;
	cq->lane = qid ? n->lanes : n->admin;
	cq->batch = n->batches->cq[qid];
}

void nvme_cq_reset(struct nvme *n, unsigned qid)
{
	n->hot->cqs[qid] = (struct nvme_cq_hot){ .phase = 1 };
	n->st->cqs[qid] = (struct nvme_cq_state){ 0 };
	if (qid <= n->max_queues && n->cqs[qid].n)
		nvme_cq_renew(n, qid);
}

/* After a client came back: is the memory of all queues there again? */
bool nvme_queues_mapped(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_QIDS; i++) {
		const struct nvme_sq_state *sq = &n->st->sqs[i];
		const struct nvme_cq_state *cq = &n->st->cqs[i];

		if (sq->created &&
		    ob_dma_check(n->dev, sq->base,
				 sq->entries * sizeof(struct nvme_sqe), false))
			return false;
		if (cq->created &&
		    ob_dma_check(n->dev, cq->base,
				 cq->entries * sizeof(struct nvme_cqe), true))
			return false;
	}
	return true;
}
