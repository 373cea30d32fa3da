// SPDX-License-Identifier: BSD-3-Clause
/*
 * A lane's turn of work, in which everything happens; its thread alone does it.
 *
 * Register writes only note what they ask for; the lane of their queue does it
 * in a later turn of the event loop, a bounded amount at a time, so that a
 * register access is answered soon whatever the load (and no request to the
 * client is ever nested in a reply, R9).
 */
#include <stdlib.h>

#include "devices/nvme/nvme.h"

/* Whether another thread's lane works, and would look again, is not to be seen here. */
void nvme_kick(struct nvme_lane *lane)
{
	if (lane->n->nr_lanes > 1 && !ob_loop_is_here(lane->loop))
		ob_loop_post(lane->loop, &lane->arrive);
	else if (lane->working)
		lane->again = true;
	else
		ob_defer(lane->loop, &lane->work);
}

void nvme_kick_all(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		nvme_kick(lane);
}

/* Those on other threads. */
void nvme_kick_others(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		if (lane->number)
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

static void check_memory(struct nvme_lane *lane)
{
	if (ob_dma_lost(lane->dev))
		nvme_lane_fatal(lane, "guest memory was truncated");
}

void nvme_post(struct nvme_lane *lane)
{
	check_memory(lane);
	nvme_cqs_flush(lane);
}

/* What a predecessor was writing to completion queues. */
static void republish(struct nvme_lane *lane)
{
	if (!lane->republish || !nvme_running(lane->n))
		return;
	lane->republish = false;
	nvme_cqs_flush(lane);
	nvme_settled(lane->n);
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
	check_memory(lane);
	nvme_doorbells_intx(lane);
	lane->working = false;
	if (!all || lane->again)
		ob_defer(lane->loop, &lane->work);
	if (n->draining && !nvme_is_away(lane))
		nvme_drained(n);
	return did;
}

static void run_work(struct ob_deferred *deferred)
{
	struct nvme_lane *lane = (struct nvme_lane *)
		((char *)deferred - offsetof(struct nvme_lane, work));
	struct nvme *n = lane->n;

	ob_dev_enter(lane->step);
	if (lane == n->admin && !n->halted && !(n->st->csts & NVME_CSTS_RDY))
		nvme_doorbells_clear(n);
	nvme_lane_work(lane);
	ob_dev_leave(lane->step);
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
	nvme_for_each_lane(n, lane) {
		if (lane->nr_busy_drive)
			return false;
		if (nvme_is_away(lane))
			continue;	/* it has nothing to do: gathered */
		if (lane->working || lane->work.queued ||
		    __atomic_load_n(&lane->arrivals, __ATOMIC_RELAXED))
			return false;
	}
	return true;
}

/* -- life -------------------------------------------------------------- */

static uint64_t bytes_of(const struct nvme_pool *pool)
{
	return (uint64_t)pool->pages * 4096;
}

/* What drives transfer to and from; a want of memory costs speed. */
static void lend(struct ob_post *post)
{
	struct nvme_lane *lane = (struct nvme_lane *)
		((char *)post - offsetof(struct nvme_lane, lend));

	(void)ob_loop_lend(lane->loop, lane->pool.base, bytes_of(&lane->pool));
}

static void leave_loop(void *arg)
{
	struct nvme_lane *lane = arg;

	if (lane->coalescing)
		ob_timer_cancel(lane->loop, &lane->coalesce);
	ob_defer_cancel(lane->loop, &lane->work);
	ob_post_cancel(lane->loop, &lane->arrive);
	ob_post_cancel(lane->loop, &lane->lend);
	if (lane != lane->n->admin && lane->pool.base)
		ob_loop_reclaim(lane->loop, lane->pool.base);
}

static int lane_init(struct nvme_lane *lane, struct nvme *n, unsigned first,
		     unsigned end, uint32_t pages)
{
	lane->n = n;
	lane->work.run = run_work;
	lane->slots.first = lane->slots.seen = first;
	lane->slots.end = end;
	nvme_list_init(&lane->slots.free);
	nvme_list_init(&lane->parked);
	nvme_list_init(&lane->owed);
	nvme_irq_init(lane);
	nvme_hand_init(lane);
	return nvme_pool_init(&lane->pool, pages);
}

/* Lane 0 and the admin queue are the device's own thread's. */
static void place_at_home(struct nvme_lane *lane, struct nvme *n)
{
	lane->dev = lane->step = n->dev;
	lane->loop = n->loop;
	lane->counters = &n->st->counters;
	lane->order = &n->lanes->own_order;
}

static int io_lane_init(struct nvme *n, unsigned i, struct ob_err *err)
{
	struct nvme_lane *lane = &n->lanes[i];
	unsigned each = NVME_IO_SLOTS / n->nr_lanes;
	unsigned first = NVME_ADMIN_SLOTS + i * each;
	int rc = lane_init(lane, n, first,
			   i + 1 == n->nr_lanes ? NVME_SLOTS : first + each,
			   NVME_IO_POOL_PAGES);

	if (rc)
		return ob_fail(err, ENOMEM, "no memory for data");
	place_at_home(lane, n);
	lane->number = i;
	lane->step = ob_dev_lane(n->dev, i);
	lane->loop = ob_dev_loop(lane->step);
	if (i) {
		lane->dev = lane->step;
		lane->counters = &n->hot->lanes[i - 1].counters;
		lane->order = &lane->own_order;
		lane->own_order = i;
	}
	lane->lend.run = lend;
	if (nvme_is_away(lane))
		ob_loop_post(lane->loop, &lane->lend);
	else
		lend(&lane->lend);
	return nvme_ns_branch(lane, err);
}

int nvme_lanes_init(struct nvme *n, struct ob_err *err)
{
	n->nr_lanes = ob_dev_lanes(n->dev);
	n->branches = true;
	n->lanes = nvme_lines_get(_Alignof(struct nvme_lane),
				  (n->nr_lanes + 1) * sizeof(*n->lanes));
	if (!n->lanes)
		return ob_fail(err, ENOMEM, "no memory for lanes");
	n->admin = &n->lanes[n->nr_lanes];
	if (nvme_cells_init(n))
		return ob_fail(err, ENOMEM, "no memory for lanes");
	if (lane_init(n->admin, n, 0, NVME_ADMIN_SLOTS, NVME_ADMIN_POOL_PAGES))
		return ob_fail(err, ENOMEM, "no memory for data");
	place_at_home(n->admin, n);
	for (unsigned i = 0; i < n->nr_lanes; i++) {
		int rc = io_lane_init(n, i, err);

		if (rc)
			return rc;
	}
	return 0;
}

static void leave_all(struct nvme *n, bool away)
{
	nvme_for_each_lane(n, lane)
		if (lane->loop && nvme_is_away(lane) == away)
			ob_loop_call(lane->loop, leave_loop, lane);
}

/*
 * Those that are away may hand something to each other, and home, up to where they
 * leave.  They have nothing to do any more, so what comes of that goes no further.
 */
void nvme_lanes_finish(struct nvme *n)
{
	if (!n->lanes)
		return;
	leave_all(n, true);
	leave_all(n, true);
	leave_all(n, false);
	ob_post_cancel(n->loop, &n->asked);
	nvme_for_each_lane(n, lane) {
		nvme_ns_unbranch(lane);
		nvme_pool_finish(&lane->pool);
	}
	free(n->lanes);
	n->lanes = NULL;
	nvme_cells_finish(n);
}
