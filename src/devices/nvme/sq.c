// SPDX-License-Identifier: BSD-3-Clause
/*
 * Submission queues: fetching.
 *
 * Entries are copied once, a batch at a time, into the queue's private array
 * (R13) and dispatched from there.  The head that the guest is told moves
 * when an entry has got its slot.  With no slot free the rest of a batch
 * stays where it is; a command that ends gives a kick (R18).
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static uint32_t queued_entries(const struct nvme *n, unsigned qid)
{
	const struct nvme_sq_hot *hot = &n->hot->sqs[qid];
	uint32_t entries = n->st->sqs[qid].entries;

	return (hot->tail + entries - hot->head) % entries;
}

/* With none left, the next command that ends gives a kick. */
static bool slots_left(struct nvme_lane *lane)
{
	if (nvme_slots_left(lane))
		return true;
	lane->starved = true;
	return false;
}

static void fetched(struct ob_dma_op *op, int rc)
{
	struct nvme_sq *sq = (struct nvme_sq *)
		((char *)op - offsetof(struct nvme_sq, dma));
	struct nvme *n = sq->n;
	uint16_t count = sq->fetching;

	sq->fetching = 0;
	sq->lane->nr_busy_dma--;
	/* What standing still cancelled or overtook is fetched again. */
	nvme_settled(n);
	if (!sq->stale && rc != -ECANCELED && !n->halted) {
		if (nvme_dma_status(sq->lane, rc)) {
			if (nvme_running(n))
				nvme_lane_fatal(sq->lane,
						"a submission queue cannot be read");
			return;
		}
		sq->pos = 0;
		sq->count = count;
	}
	sq->stale = false;
	nvme_kick(sq->lane);
}

/* How many entries may be copied at once: up to the end of the ring. */
static uint32_t batch_size(const struct nvme *n, unsigned qid)
{
	uint32_t count = queued_entries(n, qid);
	uint32_t to_end = n->st->sqs[qid].entries - n->hot->sqs[qid].head;

	if (count > to_end)
		count = to_end;
	return count < NVME_FETCH ? count : NVME_FETCH;
}

static int fetch_by_request(struct nvme *n, struct nvme_sq *sq, uint64_t addr,
			    uint32_t count)
{
	struct ob_seg seg = { addr, count * sizeof(struct nvme_sqe) };
	int rc;

	memset(&sq->dma, 0, sizeof(sq->dma));
	sq->dma.done = fetched;
	sq->n = n;
	rc = ob_dma_read(sq->lane->dev, &seg, 1, sq->batch, &sq->dma);
	if (rc == -EINPROGRESS) {
		sq->fetching = count;
		sq->lane->nr_busy_dma++;
	}
	return rc;
}

/*
 * Where the entry behind these will be, for whoever looks at doorbells: on its way
 * already when its doorbell comes, it need not be waited for.  Nothing but a
 * hint, the memory may have gone.
 */
static void expect(struct nvme *n, unsigned qid, const void *entries,
		   uint32_t count)
{
	uint32_t left = n->st->sqs[qid].entries - n->hot->sqs[qid].head - count;
	const struct nvme_sqe *first = entries;

	n->sqs[qid].lane->expected =
		left ? first + count : first - n->hot->sqs[qid].head;
}

/* Fills the batch; false when there is nothing, or not yet. */
static bool fetch(struct nvme *n, unsigned qid)
{
	struct nvme_sq *sq = &n->sqs[qid];
	uint32_t count = batch_size(n, qid);
	size_t bytes = count * sizeof(struct nvme_sqe);
	uint64_t addr = n->st->sqs[qid].base +
			n->hot->sqs[qid].head * sizeof(struct nvme_sqe);
	const void *entries;
	int rc;

	if (!count)
		return false;
	entries = ob_dma_ptr(sq->lane->dev, addr, bytes, false);
	if (entries) {
		memcpy(sq->batch, entries, bytes);
		expect(n, qid, entries, count);
	} else {
		rc = fetch_by_request(n, sq, addr, count);
		if (rc == -EINPROGRESS || rc == -ECANCELED)
			return false;
		if (nvme_dma_status(sq->lane, rc)) {
			nvme_lane_fatal(sq->lane,
					"a submission queue cannot be read");
			return false;
		}
	}
	sq->pos = 0;
	sq->count = count;
	if (qid)
		nvme_io_fetched(n, sq->batch, count);
	return true;
}

/* The slot has the entry: it is taken by the first store. */
static void pass_entry(struct nvme *n, unsigned qid)
{
	struct nvme_sq_hot *hot = &n->hot->sqs[qid];
	uint32_t head = hot->head + 1;

	if (head == n->st->sqs[qid].entries)
		head = 0;
	__atomic_store_n(&hot->fetched, hot->fetched + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&hot->head, head, __ATOMIC_RELEASE);
}

static bool dispatch(struct nvme *n, unsigned qid)
{
	struct nvme_sq *sq = &n->sqs[qid];
	struct nvme_cmd *c = nvme_cmd_take(n, qid, &sq->batch[sq->pos]);

	if (!c)
		return false;
	sq->pos++;
	pass_entry(n, qid);
	if (n->spread && qid)
		nvme_note_load(sq->lane, sq, &c->slot->sqe);
	if (qid && sq->pos < sq->count)
		nvme_io_ahead(n, &sq->batch[sq->pos]);
	nvme_cmd_begin(c);
	return true;
}

/* Dispatches up to *budget commands, and not beyond the bytes of a turn; true
 * if there were any. */
bool nvme_sq_serve(struct nvme_lane *lane, unsigned qid, unsigned *budget)
{
	struct nvme *n = lane->n;
	struct nvme_sq *sq = &n->sqs[qid];
	bool did = false;

	while (*budget && !nvme_turn_is_over(lane) && n->st->sqs[qid].created &&
	       !sq->deleter && !sq->fetching && nvme_running(n) &&
	       !n->draining &&
	       !(n->nr_owed && nvme_owed_is_before(lane))) {
		if (sq->pos == sq->count && !queued_entries(n, qid))
			break;
		if (!slots_left(lane))
			break;
		if (sq->pos == sq->count && !fetch(n, qid))
			break;
		if (!dispatch(n, qid))
			break;
		did = true;
		/* The guest goes on with these while we do the next. */
		if (--*budget % NVME_POST_EVERY == 0)
			nvme_post(lane);
		/* A message waits for this turn's end. */
		if (*budget % NVME_HEAR_EVERY == 0 &&
		    ob_loop_has_news(lane->loop))
			*budget = 0;
	}
	return did;
}

void nvme_sq_renew(struct nvme *n, unsigned qid)
{
	struct nvme_sq *sq = &n->sqs[qid];

	sq->pos = sq->count = 0;
	sq->in_flight = 0;
	sq->deleter = NULL;
	sq->bad_tail = sq->refused = NVME_NO_VALUE;
	sq->load = 0;
	sq->stale = sq->fetching != 0;
	sq->n = n;
	sq->lane = qid ? n->lanes : n->admin;
	sq->batch = n->batches->sq[qid];
}

void nvme_sq_reset(struct nvme *n, unsigned qid)
{
	n->st->sqs[qid] = (struct nvme_sq_state){ 0 };
	if (qid > n->max_queues)
		return;		/* its cursors are zeros that were never written */
	n->hot->sqs[qid] = (struct nvme_sq_hot){ 0 };
	if (n->sqs[qid].n)
		nvme_sq_renew(n, qid);
}

/*
 * Entries without a slot are still the guest's: the head has not passed them.
 * A deletion that waits is begun again and waits again.
 */
void nvme_sqs_halt(struct nvme *n)
{
	for (unsigned i = 0; i <= n->max_queues; i++) {
		if (!n->st->sqs[i].created)
			continue;
		n->sqs[i].pos = n->sqs[i].count = 0;
		n->sqs[i].deleter = NULL;
	}
}

void nvme_sq_command_done(struct nvme *n, unsigned qid)
{
	struct nvme_sq *sq = &n->sqs[qid];

	if (--sq->in_flight == 0 && sq->deleter)
		nvme_ask(n, NVME_WANT_DELETED);
}

void nvme_sqs_deleted(struct nvme *n)
{
	for (unsigned i = 0; i <= n->max_queues; i++) {
		struct nvme_cmd *deleter = n->sqs[i].deleter;

		if (!deleter || n->sqs[i].in_flight)
			continue;
		n->sqs[i].deleter = NULL;
		nvme_cmd_run(deleter);
	}
}
