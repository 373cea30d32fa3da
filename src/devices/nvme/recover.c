// SPDX-License-Identifier: BSD-3-Clause
/*
 * Death at any instruction (docs/nvme.md, "Death"): guards, for what changes
 * as a whole or not at all, and what a successor makes of the counters.
 */
#include "devices/nvme/nvme.h"

/* -- guards ------------------------------------------------------------ */

void nvme_guard(struct nvme *n, const void *hot, size_t len)
{
	n->guards++;
	ob_dev_protect(n->dev, hot, len);
}

void nvme_unguard(struct nvme *n)
{
	if (--n->guards == 0)
		ob_dev_commit(n->dev);
}

/* Within a guard: the slot, too. */
void nvme_guard_slot(const struct nvme_cmd *c)
{
	ob_dev_protect(c->n->dev, c->slot, sizeof(*c->slot));
}

/* Those that were never used stay untouched memory; with many lanes all of them are
 * one piece, since the undo has room for a few. */
static void protect_slots(struct nvme *n)
{
	struct nvme_slot *slots = n->hot->slots;

	if (n->nr_lanes > 1) {
		ob_dev_protect(n->dev, slots, sizeof(n->hot->slots));
		return;
	}
	nvme_for_each_lane(n, lane)
		ob_dev_protect(n->dev, slots + lane->slots.first,
			       (lane->slots.seen - lane->slots.first) *
			       sizeof(*slots));
}

/* Queues and lanes that this device cannot have stay untouched as well. */
void nvme_protect_all(struct nvme *n)
{
	struct nvme_hot *hot = n->hot;

	ob_dev_protect(n->dev, hot->cqs, sizeof(hot->cqs));
	ob_dev_protect(n->dev, hot->sqs,
		       (n->max_queues + 1) * sizeof(hot->sqs[0]));
	ob_dev_protect(n->dev, hot->lanes,
		       (n->nr_lanes - 1) * sizeof(hot->lanes[0]));
	protect_slots(n);
}

/* -- recovery ---------------------------------------------------------- */

static bool was_written(const struct nvme *n, const void *at)
{
	return (size_t)((const char *)at - (const char *)n->hot) <
	       n->hot_written;
}

/*
 * A release without counters: any that fit the cursors will do, if what the
 * slots hold is before them.  A slot's index is a number of its own.
 */
static void number_sq(struct nvme *n, unsigned qid)
{
	struct nvme_sq_hot *hot = &n->hot->sqs[qid];
	uint64_t entries = n->st->sqs[qid].entries;

	hot->fetched = hot->head + entries * NVME_SLOTS;
	for (unsigned i = 0; i < n->slots_written; i++)
		if (n->hot->slots[i].stage != NVME_SLOT_FREE &&
		    n->hot->slots[i].sqid == qid)
			n->hot->slots[i].fetch = i;
}

static void recover_sq(struct nvme *n, unsigned qid)
{
	struct nvme_sq_hot *hot = &n->hot->sqs[qid];
	uint32_t entries = n->st->sqs[qid].entries;

	if (!was_written(n, hot))
		return;
	if (hot->fetched == NVME_NO_VALUE)
		number_sq(n, qid);
	else if (entries)
		hot->head = hot->fetched % entries;
}

static void recover_cq(struct nvme *n, unsigned qid)
{
	struct nvme_cq_hot *hot = &n->hot->cqs[qid];
	uint32_t entries = n->st->cqs[qid].entries;

	if (hot->posted == NVME_NO_VALUE)
		hot->posted = hot->tail + (hot->phase ? 0 : (uint64_t)entries);
	if (!entries)
		return;
	hot->tail = hot->posted % entries;
	hot->phase = ~(hot->posted / entries) & 1;
}

static bool is_over(const struct nvme *n, const struct nvme_slot *slot)
{
	unsigned cqid = n->st->sqs[slot->sqid].cqid;

	if (slot->stage == NVME_SLOT_RUNNING)
		return slot->fetch >= n->hot->sqs[slot->sqid].fetched;
	return slot->post && slot->post <= n->hot->cqs[cqid].posted;
}

/* There may have been more lanes than now. */
static void recover_counters(struct nvme *n)
{
	struct nvme_counters *sum = &n->st->counters;

	for (unsigned i = 0; i < OB_LANES_MAX - 1; i++) {
		struct nvme_counters *more = &n->hot->lanes[i].counters;

		if (!was_written(n, more))
			break;
		sum->blocks_read += more->blocks_read;
		sum->blocks_written += more->blocks_written;
		sum->reads += more->reads;
		sum->writes += more->writes;
		*more = (struct nvme_counters){ 0 };
	}
}

void nvme_recover(struct nvme *n)
{
	recover_counters(n);
	for (unsigned i = 0; i < NVME_QIDS; i++) {
		recover_sq(n, i);
		recover_cq(n, i);
	}
	for (unsigned i = 0; i < n->slots_written; i++) {
		struct nvme_slot *slot = &n->hot->slots[i];

		if (slot->stage != NVME_SLOT_FREE && is_over(n, slot))
			slot->stage = NVME_SLOT_FREE;
	}
}
