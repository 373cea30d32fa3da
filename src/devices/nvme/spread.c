// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which lane has which queue.  All of it is control steps.
 *
 * A completion queue is on one lane, with every submission queue that uses it.  While
 * something holds that only the device's thread can do (messages for guest memory,
 * a dirty log, another interrupt than MSI-X, commands of a former life), all are
 * lane 0's: the device is gathered.  Else they are spread, evenly by number at
 * first, then by what they do.
 *
 * A queue that moves takes its posting with it.  Its commands end in the lane that
 * runs them, where their buffers and their requests of a drive are, and come to
 * the queue's lane when they are done.  Where lanes are gathered what waits in one comes
 * to lane 0, and so does what ends there later.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

#define LOAD_WINDOW	32768u		/* commands' worth of work */
#define LOAD_SHIFT	14		/* bytes that are as much as a command */
#define BALANCE_NS	100000000u	/* from one comparison to the next */

/* -- moving ------------------------------------------------------------ */

static void unqueue(struct nvme_cq *cq)
{
	struct nvme_cq **at = &cq->lane->flush;

	if (!cq->queued)
		return;
	while (*at != cq)
		at = &(*at)->next;
	*at = cq->next;
	cq->queued = false;
}

static void move_cq(struct nvme *n, unsigned cqid, struct nvme_lane *to)
{
	struct nvme_cq *cq = &n->cqs[cqid];

	if (!n->st->cqs[cqid].created || cq->lane == to)
		return;
	nvme_irq_now(cq);
	unqueue(cq);
	cq->lane->nr_full -= cq->full;
	to->nr_full += cq->full;
	cq->lane = to;
	for (struct nvme_cmd *c = cq->done.first; c; c = c->next)
		c->lane = to;
	for (unsigned i = 1; i <= n->max_queues; i++)
		if (n->st->sqs[i].created && n->st->sqs[i].cqid == cqid)
			n->sqs[i].lane = to;
	if (!nvme_list_empty(&cq->done))
		nvme_cq_queue(cq);
	ob_loop_post(to->loop, &to->arrive);	/* doorbells that the other had */
}

/* A queue's commands keep their order, whichever lane counted before. */
static void align_orders(struct nvme *n)
{
	uint64_t order = 0;

	for (unsigned i = 0; i < n->nr_lanes; i++)
		if (n->lanes[i].own_order > order)
			order = n->lanes[i].own_order;
	for (unsigned i = 0; i < n->nr_lanes; i++)
		n->lanes[i].own_order = order + i;
}

static void moved(struct nvme *n)
{
	align_orders(n);
	nvme_doorbells_forget(n);
	nvme_queues_note(n);
	for (unsigned i = 0; i < n->nr_lanes; i++)
		n->lanes[i].load = 0;
	for (unsigned i = 0; i <= n->max_queues; i++)
		if (n->st->sqs[i].created)
			n->sqs[i].load = 0;
}

static unsigned nr_cqs(const struct nvme *n, const struct nvme_lane *lane)
{
	unsigned count = 0;

	for (unsigned i = 1; i <= n->max_queues; i++)
		count += n->st->cqs[i].created && n->cqs[i].lane == lane;
	return count;
}

/* The one with the fewest, lane 0 the last of equals: it has the rest to do. */
static struct nvme_lane *emptiest(struct nvme *n)
{
	struct nvme_lane *found = n->lanes;

	for (unsigned i = 1; i < n->nr_lanes; i++)
		if (nr_cqs(n, &n->lanes[i]) < nr_cqs(n, found) ||
		    (found == n->lanes &&
		     nr_cqs(n, &n->lanes[i]) == nr_cqs(n, found)))
			found = &n->lanes[i];
	return found;
}

struct nvme_lane *nvme_place(struct nvme *n)
{
	return n->spread ? emptiest(n) : n->lanes;
}

/* -- spread ------------------------------------------------------------ */

static bool wants_to_spread(struct nvme *n)
{
	return n->nr_lanes > 1 && n->branches && !n->draining &&
	       nvme_running(n) && ob_dev_may_spread(n->dev);
}

static bool is_unused(const struct nvme_pool *pool)
{
	for (unsigned i = 0; i < sizeof(pool->used) / sizeof(pool->used[0]); i++)
		if (pool->used[i])
			return false;
	return true;
}

/* Nothing is left of what was spread before, or of a former life. */
static bool is_settled(const struct nvme *n)
{
	for (unsigned i = 0; i < n->nr_ns; i++)
		if (n->ns[i].old_writes)
			return false;
	for (unsigned i = 1; i < n->nr_lanes; i++)
		if (n->lanes[i].nr_busy_drive || !is_unused(&n->lanes[i].pool))
			return false;
	return !n->nr_owed && !n->lanes->nr_busy_dma && !n->lanes->republish &&
	       !__atomic_load_n(&n->lanes->arrivals, __ATOMIC_RELAXED);
}

static void spread(struct nvme *n)
{
	n->spread = true;
	ob_dev_spread(n->dev, true);
	for (unsigned i = 1, next = 1; i <= n->max_queues; i++)
		if (n->st->cqs[i].created)
			move_cq(n, i, &n->lanes[next++ % n->nr_lanes]);
	moved(n);
}

/* What waits in a lane, and what will come out of its drives, is lane 0's. */
static void take_commands(struct nvme_lane *from, struct nvme_lane *to)
{
	struct nvme *n = from->n;
	struct nvme_cmd *list[NVME_SLOTS], *c;
	unsigned count = nvme_cmds_in_order(n, list);

	for (unsigned i = 0; i < count; i++)
		if (list[i]->lane == from)
			list[i]->lane = to;
	while ((c = nvme_list_pop(&from->parked)))
		nvme_list_push(&to->parked, c);
	while ((c = nvme_list_pop(&from->pool.waiting)))
		nvme_list_push(&to->pool.waiting, c);
	nvme_hand_home(from);
}

void nvme_gather(struct nvme *n)
{
	n->blocked = false;
	if (!n->spread)
		return;
	n->spread = false;
	ob_dev_spread(n->dev, false);
	for (unsigned i = 1; i <= n->max_queues; i++)
		move_cq(n, i, n->lanes);
	for (unsigned i = 1; i < n->nr_lanes; i++)
		take_commands(&n->lanes[i], n->lanes);
	moved(n);
	nvme_doorbells_rung(n->lanes);
	nvme_kick(n->lanes);
}

void nvme_spread_update(struct nvme *n)
{
	bool wanted = wants_to_spread(n);

	if (!wanted) {
		nvme_gather(n);
		return;
	}
	if (n->spread)
		return;
	n->blocked = !is_settled(n);
	if (!n->blocked)
		spread(n);
}

void nvme_spread_changed(struct ob_device *dev)
{
	nvme_spread_update(ob_dev_runtime(dev));
}

/* -- balance ----------------------------------------------------------- */

/* Only what such a command moves; one that will be refused moves nothing. */
static uint64_t bytes_moved(const struct nvme *n, const struct nvme_sqe *sqe)
{
	uint64_t count = (sqe->cdw12 & 0xffff) + 1;

	if (sqe->opcode != NVME_IO_READ && sqe->opcode != NVME_IO_WRITE &&
	    sqe->opcode != NVME_IO_COMPARE)
		return 0;
	if (!sqe->nsid || sqe->nsid > n->nr_ns)
		return 0;
	if (count << n->lba_shift > NVME_MAX_TRANSFER ||
	    !nvme_ns_has(&n->ns[sqe->nsid - 1], nvme_start(sqe), count))
		return 0;
	return count << n->lba_shift;
}

/*
 * Where there is nothing to choose nobody is asked; nor is anybody asked often,
 * however a guest turns its load to and fro: a comparison keeps all lanes out, and a
 * move has two threads look for what the queue has.
 */
void nvme_note_load(struct nvme_lane *lane, struct nvme_sq *sq,
		    const struct nvme_sqe *sqe)
{
	struct nvme *n = lane->n;
	uint32_t load = 1 + (bytes_moved(n, sqe) >> LOAD_SHIFT);

	sq->load += load;
	lane->load += load;
	if (lane->load < LOAD_WINDOW || lane->nr_sqs < 2)
		return;
	lane->load = 0;
	if (ob_loop_turn_time(lane->loop) >= n->balance_after)
		nvme_ask(n, NVME_WANT_BALANCE);
}

static uint64_t load_of_cq(const struct nvme *n, unsigned cqid)
{
	uint64_t load = 0;

	for (unsigned i = 1; i <= n->max_queues; i++)
		if (n->st->sqs[i].created && n->st->sqs[i].cqid == cqid)
			load += n->sqs[i].load;
	return load;
}

static uint64_t load_of_lane(const struct nvme *n, const struct nvme_lane *lane)
{
	uint64_t load = 0;

	for (unsigned i = 1; i <= n->max_queues; i++)
		if (n->st->cqs[i].created && n->cqs[i].lane == lane)
			load += load_of_cq(n, i);
	return load;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The queue whose move leaves the larger of both loads smallest, or 0. */
static unsigned best_move(const struct nvme *n, const struct nvme_lane *from,
			  uint64_t most, uint64_t least)
{
	uint64_t best = most - most / 8;	/* less is not worth it */
	unsigned found = 0;

	for (unsigned i = 1; i <= n->max_queues; i++) {
		uint64_t load;

		if (!n->st->cqs[i].created || n->cqs[i].lane != from)
			continue;
		load = load_of_cq(n, i);
		if (larger(most - load, least + load) >= best)
			continue;
		best = larger(most - load, least + load);
		found = i;
	}
	return found;
}

void nvme_balance(struct nvme *n)
{
	struct nvme_lane *busy = n->lanes, *idle = n->lanes;
	unsigned cqid;

	if (!n->spread)
		return;
	n->balance_after = ob_loop_turn_time(n->loop) + BALANCE_NS;
	for (unsigned i = 1; i < n->nr_lanes; i++) {
		uint64_t load = load_of_lane(n, &n->lanes[i]);

		if (load > load_of_lane(n, busy))
			busy = &n->lanes[i];
		if (load < load_of_lane(n, idle))
			idle = &n->lanes[i];
	}
	cqid = best_move(n, busy, load_of_lane(n, busy), load_of_lane(n, idle));
	if (cqid) {
		ob_dev_log(n->dev, OB_DEBUG, "queue %u goes from lane %u to %u",
			   cqid, busy->number, idle->number);
		move_cq(n, cqid, idle);
	}
	moved(n);
}
