// SPDX-License-Identifier: BSD-3-Clause
/*
 * From lane to lane, which are threads.
 *
 * A command belongs to one lane at a time, and nobody else touches it.  Where it goes
 * on elsewhere it is handed over: pushed on the other's stack, which needs no
 * lock, and posted if the stack was empty.
 *
 *	            what is rare, or fails
 *	lane k ------------------------------> lane 0, on the device's thread
 *	   ^                                      |
 *	   +--------------------------------------+
 *	     when it has ended, to be posted
 *
 * So a lane away from home reads, writes and posts, and lane 0 does all that a
 * device with one lane does, as that does it.  What touches more than a command
 * (a queue that goes, a failed controller) is asked for, and done by a control step,
 * which has all lanes to itself.
 */
#include "devices/nvme/nvme.h"

static void push(struct nvme_lane *to, struct nvme_cmd *c)
{
	struct nvme_cmd *top = __atomic_load_n(&to->arrivals, __ATOMIC_RELAXED);

	do
		c->next = top;
	while (!__atomic_compare_exchange_n(&to->arrivals, &top, c, true,
					    __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	if (!top)
		ob_loop_post(to->loop, &to->arrive);
}

void nvme_hand_over(struct nvme_cmd *c, struct nvme_lane *to,
		    enum nvme_arrival why)
{
	c->lane = to;
	c->arrival = why;
	push(to, c);
}

/* The oldest first. */
static struct nvme_list take_arrivals(struct nvme_lane *lane)
{
	struct nvme_cmd *c = __atomic_exchange_n(&lane->arrivals, NULL,
						 __ATOMIC_ACQUIRE), *next;
	struct nvme_list list;

	nvme_list_init(&list);
	for (; c; c = next) {
		next = c->next;
		nvme_list_push_front(&list, c);
	}
	return list;
}

static struct nvme_cq *cq_of(const struct nvme_cmd *c)
{
	return &c->n->cqs[c->n->st->sqs[c->slot->sqid].cqid];
}

static void go_on(struct nvme_cmd *c)
{
	struct nvme_cq *cq = cq_of(c);

	switch ((enum nvme_arrival)c->arrival) {
	case NVME_BEGINS:
		nvme_cmd_begin_anew(c);
		break;
	case NVME_ENDS:
		nvme_cmd_complete(c, c->end_status);
		break;
	case NVME_DRIVE_ENDED:
		nvme_io_drive_ended(c, c->drive_rc);
		break;
	case NVME_IS_DONE:
		if (cq->lane == c->lane)
			nvme_cq_add(c->n, cq - c->n->cqs, c);
		else
			nvme_hand_over(c, cq->lane, NVME_IS_DONE);
		break;
	case NVME_IS_FREE:
		nvme_list_push_front(&c->lane->slots.free, c);
		break;
	}
}

static void cancel_requests(struct nvme_lane *lane)
{
	struct nvme_cmd *c;

	while ((c = nvme_list_pop(&lane->cancels))) {
		c->cancelled = false;
		ob_drive_cancel(c->drive, c->req);
	}
}

static void arrive(struct ob_post *post)
{
	struct nvme_lane *lane = (struct nvme_lane *)
		((char *)post - offsetof(struct nvme_lane, arrive));
	struct nvme_list list;
	struct nvme_cmd *c;

	ob_dev_enter(lane->step);
	list = take_arrivals(lane);
	lane->moved = 0;
	while ((c = nvme_list_pop(&list))) {
		if (nvme_turn_is_over(lane) && c->arrival == NVME_BEGINS)
			push(lane, c);		/* the next turn's (R8) */
		else
			go_on(c);
	}
	cancel_requests(lane);
	nvme_doorbells_rung(lane);
	nvme_kick(lane);
	nvme_settled(lane->n);
	ob_dev_leave(lane->step);
}

void nvme_hand_home(struct nvme_lane *lane)
{
	struct nvme_list list = take_arrivals(lane);
	struct nvme_cmd *c;

	while ((c = nvme_list_pop(&list))) {
		if (c->arrival == NVME_IS_FREE)
			nvme_list_push_front(&c->owner->slots.free, c);
		else
			nvme_hand_over(c, lane->n->lanes, c->arrival);
	}
}

/* Those with a request of a drive are still that lane's to end. */
void nvme_hand_forget(struct nvme *n)
{
	struct nvme_list list = take_arrivals(n->lanes);
	struct nvme_cmd *c;

	while ((c = nvme_list_pop(&list))) {
		if (c->arrival == NVME_IS_FREE)
			nvme_list_push_front(&c->owner->slots.free, c);
		else if (c->arrival == NVME_DRIVE_ENDED)
			push(n->lanes, c);
		else if (c->arrival == NVME_IS_DONE)
			nvme_list_push(&cq_of(c)->done, c);
	}
}

/* -- control steps that lanes ask for ----------------------------------- */

static void serve_wants(struct nvme *n, unsigned wants)
{
	if (n->failing)
		nvme_fatal(n, n->why_fatal);
	if (wants & NVME_WANT_REFUSED)
		nvme_doorbells_refused(n);
	if (wants & NVME_WANT_DELETED)
		nvme_sqs_deleted(n);
	if (wants & NVME_WANT_BALANCE)
		nvme_balance(n);
	nvme_spread_update(n);
}

static void asked(struct ob_post *post)
{
	struct nvme *n = (struct nvme *)
		((char *)post - offsetof(struct nvme, asked));

	ob_dev_enter(n->dev);
	serve_wants(n, __atomic_exchange_n(&n->wants, 0, __ATOMIC_ACQUIRE));
	ob_dev_leave(n->dev);
}

void nvme_ask(struct nvme *n, enum nvme_want what)
{
	if (n->nr_lanes == 1) {
		serve_wants(n, what);
		return;
	}
	__atomic_fetch_or(&n->wants, what, __ATOMIC_RELEASE);
	ob_loop_post(n->loop, &n->asked);
}

/* From here on nothing is posted: of what has ended some may be wrong. */
void nvme_lane_fatal(struct nvme_lane *lane, const char *why)
{
	__atomic_store_n(&lane->n->why_fatal, why, __ATOMIC_RELAXED);
	__atomic_store_n(&lane->n->failing, true, __ATOMIC_RELAXED);
	nvme_ask(lane->n, NVME_WANT_FATAL);
}

void nvme_hand_init(struct nvme_lane *lane)
{
	lane->arrive.run = arrive;
	lane->n->asked.run = asked;
	nvme_list_init(&lane->cancels);
}
