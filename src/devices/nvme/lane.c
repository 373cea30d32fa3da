// SPDX-License-Identifier: BSD-3-Clause
/*
 * A lane's turn of work, in which everything happens.
 *
 * Register writes only note what they ask for; the lane of their queue does it
 * in a later turn of the event loop, a bounded amount at a time, so that a
 * register access is answered soon whatever the load (and no request to the
 * client is ever nested in a reply, R9).
 */
#include <stdlib.h>

#include "devices/nvme/nvme.h"

void nvme_kick(struct nvme_lane *lane)
{
	if (!lane->working)
		ob_defer(lane->loop, &lane->work);
	else
		lane->again = true;
}

void nvme_kick_all(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		nvme_kick(lane);
}

/* What was fetched and has no slot yet is still the queue's. */
static bool has_entries(const struct nvme *n, unsigned qid)
{
	return n->hot->sqs[qid].head != n->hot->sqs[qid].tail;
}

/* Each queue in turn, beginning behind the one that was last; false when the
 * turn's share was used up. */
static bool serve_queues(struct nvme_lane *lane, bool *did)
{
	unsigned budget = NVME_TURN_COMMANDS, count = lane->nr_sqs;
	unsigned next = lane->next_sq;

	/* By data that waited: then it is nobody's turn, and all keep their place. */
	if (nvme_turn_is_over(lane))
		return false;
	for (unsigned i = 0; i < count; i++) {
		unsigned now = next < count ? next : 0;
		unsigned qid = lane->qids[now];

		next = now + 1;
		if (!has_entries(lane->n, qid))
			continue;
		if (nvme_sq_serve(lane, qid, &budget))
			*did = true;
		if (!budget || nvme_turn_is_over(lane)) {
			lane->next_sq = next;
			return false;
		}
	}
	return true;
}

static void check_memory(struct nvme *n)
{
	if (ob_dma_lost(n->dev))
		nvme_fatal(n, "guest memory was truncated");
}

void nvme_post(struct nvme_lane *lane)
{
	check_memory(lane->n);
	nvme_cqs_flush(lane);
}

/* What a predecessor was writing to completion queues. */
static void republish(struct nvme_lane *lane)
{
	if (!lane->republish || !nvme_running(lane->n))
		return;
	lane->republish = false;
	nvme_cqs_flush(lane);
}

bool nvme_lane_work(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	bool did, all;

	if (n->halted)
		return false;
	lane->working = true;
	lane->again = lane->starved = false;
	lane->moved = 0;
	republish(lane);
	did = nvme_owed_serve(lane);
	did |= nvme_pool_drain(&lane->pool);
	did |= nvme_data_unpark(lane);
	all = serve_queues(lane, &did);
	nvme_post(lane);
	check_memory(n);
	nvme_doorbells_intx(lane);
	lane->working = false;
	if (!all || lane->again)
		ob_defer(lane->loop, &lane->work);
	if (n->draining)
		nvme_drained(n);
	return did;
}

static void run_work(struct ob_deferred *deferred)
{
	struct nvme_lane *lane = (struct nvme_lane *)
		((char *)deferred - offsetof(struct nvme_lane, work));
	struct nvme *n = lane->n;

	ob_dev_enter(n->dev);
	if (lane == n->admin && !n->halted && !(n->st->csts & NVME_CSTS_RDY))
		nvme_doorbells_clear(n);
	nvme_lane_work(lane);
	ob_dev_leave(n->dev);
}

/*
 * One share a turn: with more to do than that, the next turn's has been asked
 * for.  Then there is no hurry to hear of more, and a doorbell is a line that the
 * guest's core has; now and then, for the queues that have not been seen.
 */
bool nvme_lane_poll(struct nvme_lane *lane)
{
	if (lane->work.queued && ++lane->looks % NVME_LOOK_EVERY)
		return false;
	__builtin_prefetch(lane->expected);
	if (!nvme_doorbells_poll(lane))
		return false;
	if (!lane->work.queued)
		nvme_lane_work(lane);
	return true;
}

bool nvme_lanes_idle(const struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		if (lane->working || lane->work.queued || lane->nr_busy_drive)
			return false;
	return true;
}

/* -- life -------------------------------------------------------------- */

static int lane_init(struct nvme_lane *lane, struct nvme *n, unsigned first,
		     unsigned end, uint32_t pages)
{
	lane->n = n;
	lane->loop = n->loop;
	lane->work.run = run_work;
	lane->counters = &n->st->counters;
	lane->slots.first = lane->slots.seen = first;
	lane->slots.end = end;
	nvme_list_init(&lane->slots.free);
	nvme_list_init(&lane->parked);
	nvme_list_init(&lane->owed);
	nvme_irq_init(lane);
	return nvme_pool_init(&lane->pool, pages);
}

int nvme_lanes_init(struct nvme *n, struct ob_err *err)
{
	n->nr_lanes = 1;
	n->lanes = calloc(n->nr_lanes + 1, sizeof(*n->lanes));
	if (!n->lanes)
		return ob_fail(err, ENOMEM, "no memory for lanes");
	n->admin = &n->lanes[n->nr_lanes];
	if (lane_init(n->admin, n, 0, NVME_ADMIN_SLOTS,
		      NVME_ADMIN_POOL_PAGES) ||
	    lane_init(n->lanes, n, NVME_ADMIN_SLOTS, NVME_SLOTS,
		      NVME_IO_POOL_PAGES))
		return ob_fail(err, ENOMEM, "no memory for data");
	/* What drives transfer to and from; a want of memory costs speed. */
	(void)ob_loop_lend(n->loop, n->lanes->pool.base,
			   (size_t)n->lanes->pool.pages * 4096);
	return 0;
}

void nvme_lanes_finish(struct nvme *n)
{
	if (!n->lanes)
		return;
	nvme_irq_finish(n);
	if (n->lanes->pool.base)
		ob_loop_reclaim(n->loop, n->lanes->pool.base);
	nvme_for_each_lane(n, lane) {
		ob_defer_cancel(n->loop, &lane->work);
		nvme_pool_finish(&lane->pool);
	}
	free(n->lanes);
	n->lanes = NULL;
}
