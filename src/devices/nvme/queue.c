// SPDX-License-Identifier: BSD-3-Clause
/*
 * Creation and deletion of queues (5.3 to 5.6, and 3.1.8 for the admin pair).
 *
 * Queue memory is contiguous (CAP.CQR).  A queue counts as created only when
 * everything about it has been checked.  Its cursors come and go with it and
 * with the command's completion, all or nothing (nvme_guard).
 */
#include "devices/nvme/nvme.h"

static bool page_aligned(const struct nvme *n, uint64_t addr)
{
	return addr % nvme_page_size(n) == 0;
}

static uint64_t prp1(const struct nvme_sqe *sqe)
{
	uint64_t addr;

	__builtin_memcpy(&addr, sqe->dptr, sizeof(addr));
	return addr;
}

void nvme_queues_note(struct nvme *n)
{
	n->last_cq = 0;
	nvme_for_each_lane(n, lane)
		lane->nr_sqs = lane->next_sq = 0;
	for (unsigned i = 0; i <= n->max_queues; i++) {
		struct nvme_lane *lane = n->sqs[i].lane;

		if (n->st->cqs[i].created)
			n->last_cq = i;
		if (!n->st->sqs[i].created)
			continue;
		lane->qids[lane->nr_sqs++] = i;
		nvme_kick(lane);	/* it may be at its list now */
	}
	if (n->nr_lanes > 1)
		nvme_set_polling(n, n->polls, n->polls_busy);
}

static void tie_sq(struct nvme *n, unsigned qid)
{
	struct nvme_cq *cq = &n->cqs[n->st->sqs[qid].cqid];

	cq->sqs++;
	n->sqs[qid].lane = cq->lane;
}

/* What follows from the queues of a state that came from elsewhere. */
void nvme_queues_adopt(struct nvme *n)
{
	for (unsigned i = 0; i <= n->max_queues; i++)
		if (n->st->cqs[i].created)
			nvme_cq_renew(n, i);
	for (unsigned i = 0; i <= n->max_queues; i++) {
		if (!n->st->sqs[i].created)
			continue;
		nvme_sq_renew(n, i);
		tie_sq(n, i);
	}
	nvme_queues_note(n);
}

/* Sizes are told 0's based: 1 is the smallest, two entries (R16). */
static bool size_ok(uint32_t zero_based)
{
	return zero_based >= 1 && zero_based < NVME_MAX_ENTRIES;
}

int nvme_queue_admin(struct nvme *n)
{
	uint32_t sq_size = n->st->aqa & 0xfff, cq_size = n->st->aqa >> 16;

	if (!size_ok(sq_size) || !size_ok(cq_size) ||
	    !page_aligned(n, n->st->asq) || !page_aligned(n, n->st->acq))
		return -EINVAL;
	n->st->cqs[0] = (struct nvme_cq_state){
		.base = n->st->acq, .entries = cq_size + 1,
		.created = 1, .interrupts = 1,
	};
	n->st->sqs[0] = (struct nvme_sq_state){
		.base = n->st->asq, .entries = sq_size + 1, .created = 1,
	};
	nvme_cq_renew(n, 0);
	nvme_sq_renew(n, 0);
	tie_sq(n, 0);
	nvme_queues_note(n);
	/* A mapped page can be written before. */
	nvme_doorbell_fresh(n, 0, false);
	nvme_doorbell_fresh(n, 0, true);
	return 0;
}

static int check_create(const struct nvme_cmd *c, uint32_t allocated,
			bool taken)
{
	const struct nvme *n = c->n;
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint32_t qid = sqe->cdw10 & 0xffff, size = sqe->cdw10 >> 16;

	if (qid == 0 || qid > allocated || taken)
		return NVME_INVALID_QID;
	if (!size_ok(size))
		return NVME_INVALID_QUEUE_SIZE;
	if (!(sqe->cdw11 & 1))
		return NVME_INVALID_FIELD;
	return page_aligned(n, prp1(sqe)) ? 0 : NVME_PRP_OFFSET_INVALID;
}

static int check_create_cq(const struct nvme_cmd *c)
{
	const struct nvme *n = c->n;
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint32_t qid = sqe->cdw10 & 0xffff, vector = sqe->cdw11 >> 16;
	uint32_t cqes = n->st->cc >> NVME_CC_IOCQES_SHIFT & 15;
	bool taken = qid < NVME_QIDS && n->st->cqs[qid].created;
	int rc = check_create(c, n->st->features.nr_cqs, taken);

	if (rc)
		return rc;
	if (cqes != 4)
		return NVME_INVALID_FIELD;
	if ((sqe->cdw11 & 2) && vector >= n->vectors)
		return NVME_INVALID_VECTOR;
	return 0;
}

static void guard_cq(struct nvme *n, unsigned qid)
{
	ob_dev_protect(n->dev, &n->hot->cqs[qid], sizeof(n->hot->cqs[qid]));
}

static void guard_sq(struct nvme *n, unsigned qid)
{
	ob_dev_protect(n->dev, &n->hot->sqs[qid], sizeof(n->hot->sqs[qid]));
}

int nvme_step_create_cq(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint32_t qid = sqe->cdw10 & 0xffff;
	int rc = check_create_cq(c);

	if (rc)
		return rc;
	guard_cq(n, qid);
	nvme_cq_reset(n, qid);
	nvme_cq_renew(n, qid);
	n->cqs[qid].lane = nvme_place(n);
	n->st->cqs[qid] = (struct nvme_cq_state){
		.base = prp1(sqe),
		.entries = (sqe->cdw10 >> 16) + 1,
		.vector = sqe->cdw11 >> 16,
		.interrupts = sqe->cdw11 >> 1 & 1,
		.created = 1,
	};
	nvme_queues_note(n);
	nvme_doorbell_fresh(n, qid, true);
	return 0;
}

static int check_create_sq(const struct nvme_cmd *c)
{
	const struct nvme *n = c->n;
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint32_t qid = sqe->cdw10 & 0xffff, cqid = sqe->cdw11 >> 16;
	uint32_t sqes = n->st->cc >> NVME_CC_IOSQES_SHIFT & 15;
	bool taken = qid < NVME_QIDS && n->st->sqs[qid].created;
	int rc = check_create(c, n->st->features.nr_sqs, taken);

	if (rc)
		return rc;
	if (sqes != 6)
		return NVME_INVALID_FIELD;
	if (cqid == 0 || cqid > n->max_queues)
		return NVME_INVALID_QID;
	if (!n->st->cqs[cqid].created)
		return NVME_INVALID_CQ;
	return 0;
}

int nvme_step_create_sq(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint32_t qid = sqe->cdw10 & 0xffff, cqid = sqe->cdw11 >> 16;
	int rc = check_create_sq(c);

	if (rc)
		return rc;
	guard_sq(n, qid);
	nvme_sq_reset(n, qid);
	nvme_sq_renew(n, qid);
	n->st->sqs[qid] = (struct nvme_sq_state){
		.base = prp1(sqe),
		.entries = (sqe->cdw10 >> 16) + 1,
		.cqid = cqid,
		.priority = sqe->cdw11 >> 1 & 3,
		.created = 1,
	};
	tie_sq(n, qid);
	nvme_queues_note(n);
	nvme_doorbell_fresh(n, qid, false);
	return 0;
}

static void remove_sq(struct nvme *n, unsigned qid)
{
	n->cqs[n->st->sqs[qid].cqid].sqs--;
	guard_sq(n, qid);
	nvme_sq_reset(n, qid);
	nvme_queues_note(n);
}

/*
 * Deletion waits until every command that was fetched from the queue has its
 * completion in guest memory; entries not fetched are dropped.  The commands
 * that wait for the drive are asked to hurry.
 */
int nvme_step_delete_sq(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	uint32_t qid = c->slot->sqe.cdw10 & 0xffff;

	if (qid == 0 || qid >= NVME_QIDS || !n->st->sqs[qid].created ||
	    (n->sqs[qid].deleter && n->sqs[qid].deleter != c))
		return NVME_INVALID_QID;
	if (n->sqs[qid].in_flight) {
		n->sqs[qid].deleter = c;
		nvme_owed_settle(c);
		nvme_cmd_again(c);
		nvme_cmds_hurry(n, qid);
		return -EINPROGRESS;
	}
	remove_sq(n, qid);
	return 0;
}

int nvme_step_delete_cq(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	uint32_t qid = c->slot->sqe.cdw10 & 0xffff;

	if (qid == 0 || qid >= NVME_QIDS || !n->st->cqs[qid].created)
		return NVME_INVALID_QID;
	if (n->cqs[qid].sqs)
		return NVME_INVALID_QUEUE_DELETION;
	guard_cq(n, qid);
	nvme_cq_reset(n, qid);
	nvme_queues_note(n);
	nvme_irq_update(n);
	return 0;
}
