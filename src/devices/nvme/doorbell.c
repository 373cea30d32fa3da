// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doorbells, three ways (3.1.24, 3.1.25, and B.5 for shadow doorbells).
 *
 * trapped	every write is a message.
 * shadow	after Doorbell Buffer Config the I/O queues' doorbells live in
 *		a page of guest memory, and a second page (EventIdx) says from
 *		which value on the guest must also write the register.  While
 *		the device polls it keeps EventIdx behind what it has seen, so
 *		that the guest makes no exits.
 * mapped	the register page itself is memory; the device polls it.
 *
 * There is one truth for each doorbell.  A queue whose shadow can be read is
 * led by the shadow, and a register write is only a call to look; the admin
 * queue is always led by the register, since drivers do not keep its shadow
 * (its EventIdx is kept at the last value seen, so that one that does so
 * writes the register every time).
 *
 * No wake-up is lost (R18).  The guest stores a new tail into the shadow,
 * then loads EventIdx.  Before sleeping we store the tail that we saw into
 * EventIdx, then load the shadow again.  Each side has a full fence between
 * its store and its load, so in every order of the four accesses at least one
 * side sees the other's store: either we find the new tail now, or the guest
 * finds the index armed and writes the register.
 *
 * Every value is hostile at any time (R17).
 */
#include <string.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/shared.h"

#define SHADOW_BYTES (NVME_QIDS * 2 * sizeof(uint32_t))

/* The library makes a BAR's memory after init. */
static uint32_t *register_page(struct nvme *n)
{
	char *bar;

	if (!n->db_page && n->doorbells == NVME_DB_MAPPED) {
		bar = ob_dev_bar_memory(n->dev, OB_BAR0);
		n->db_page = bar ? (uint32_t *)(bar + NVME_DB_OFFSET) : NULL;
	}
	return n->db_page;
}

/* Where the doorbells can be read, or NULL: only by messages.  In a step of that
 * lane; the admin queue's is for control steps. */
static const uint32_t *doorbell_page(const struct nvme_lane *lane)
{
	struct nvme *n = lane->n;

	if (n->doorbells == NVME_DB_MAPPED)
		return register_page(n);
	if (!n->st->dbbuf)
		return NULL;
	return ob_dma_ptr(lane->dev, n->st->dbs_addr, SHADOW_BYTES, false);
}

static bool is_led_by_page(const struct nvme *n, unsigned qid)
{
	return qid || n->doorbells == NVME_DB_MAPPED;
}

static void refuse(struct nvme *n, unsigned qid, bool cq, uint32_t value,
		   uint8_t info)
{
	struct nvme_error_entry e = {
		.sqid = qid, .cid = 0xffff, .status = 0xffff,
		.location = 0xffff, .specific = value,
	};

	ob_dev_log(n->dev, OB_GUEST, "%s doorbell %u: %s (value %u)",
		   cq ? "completion" : "submission", qid,
		   info == NVME_EVENT_BAD_DB_VALUE ? "not within the queue"
						   : "no such queue", value);
	nvme_guard(n, NULL, 0);
	nvme_error_add(n, &e);
	nvme_aer_event(n, NVME_EVENT_ERROR, info, NVME_LOG_ERROR);
	nvme_unguard(n);
}

static bool is_created(const struct nvme *n, unsigned qid, bool cq)
{
	return cq ? n->st->cqs[qid].created : n->st->sqs[qid].created;
}

static struct nvme_lane *lane_of(const struct nvme *n, unsigned qid, bool cq)
{
	return cq ? n->cqs[qid].lane : n->sqs[qid].lane;
}

/* By whose lane is away it is left to a control step. */
static void refuse_value(struct nvme *n, unsigned qid, bool cq, uint32_t value)
{
	if (!nvme_is_away(lane_of(n, qid, cq))) {
		refuse(n, qid, cq, value, NVME_EVENT_BAD_DB_VALUE);
		return;
	}
	*(cq ? &n->cqs[qid].refused : &n->sqs[qid].refused) = value;
	nvme_ask(n, NVME_WANT_REFUSED);
}

static void refuse_left(struct nvme *n, unsigned qid, bool cq, uint64_t *value)
{
	if (!is_created(n, qid, cq) || *value == NVME_NO_VALUE)
		return;
	refuse(n, qid, cq, *value, NVME_EVENT_BAD_DB_VALUE);
	*value = NVME_NO_VALUE;
}

void nvme_doorbells_refused(struct nvme *n)
{
	for (unsigned i = 0; i <= n->max_queues; i++) {
		refuse_left(n, i, false, &n->sqs[i].refused);
		refuse_left(n, i, true, &n->cqs[i].refused);
	}
}

/* True if the tail moved.  A page keeps a bad value: tell it once. */
static bool set_tail(struct nvme *n, unsigned qid, uint32_t tail)
{
	if (tail == n->hot->sqs[qid].tail)
		return false;
	if (tail >= n->st->sqs[qid].entries) {
		if (n->sqs[qid].bad_tail != tail)
			refuse_value(n, qid, false, tail);
		n->sqs[qid].bad_tail = tail;
		return false;
	}
	n->hot->sqs[qid].tail = n->sqs[qid].lane->tails[qid] = tail;
	n->sqs[qid].bad_tail = NVME_NO_VALUE;
	return true;
}

/*
 * The guest cannot have consumed more than was posted, or is being posted: it
 * may see entries that travel by message before we hear that they arrived, and
 * those whose posting was cut short by our death.
 */
static bool head_ok(const struct nvme *n, unsigned qid, uint32_t head)
{
	const struct nvme_cq_hot *hot = &n->hot->cqs[qid];
	uint32_t entries = n->st->cqs[qid].entries;
	uint32_t posted = (hot->tail + entries - hot->head) % entries;

	posted += n->cqs[qid].assigned;
	return head < entries &&
	       (head + entries - hot->head) % entries <= posted;
}

static bool set_head(struct nvme *n, unsigned qid, uint32_t head)
{
	struct nvme_cq *cq = &n->cqs[qid];

	if (head == n->hot->cqs[qid].head)
		return false;
	if (!head_ok(n, qid, head)) {
		if (cq->bad_head != head)
			refuse_value(n, qid, true, head);
		cq->bad_head = head;
		return false;
	}
	n->hot->cqs[qid].head = head;
	cq->bad_head = NVME_NO_VALUE;
	if (!nvme_list_empty(&cq->done))
		nvme_cq_queue(cq);
	return true;
}

/* Where the pin matters, all queues are at home. */
static void heads_moved(struct nvme_lane *lane)
{
	if (!nvme_is_away(lane))
		nvme_irq_update(lane->n);
}

/* Looks at a completion queue's head where that costs no exit. */
void nvme_cq_head_refresh(struct nvme *n, unsigned qid)
{
	struct nvme_lane *lane = n->cqs[qid].lane;
	const uint32_t *page = doorbell_page(lane);

	if (page && is_led_by_page(n, qid) &&
	    set_head(n, qid, nvme_shared_load(&page[2 * qid + 1])))
		heads_moved(lane);
}

static void apply(struct nvme *n, unsigned qid, bool cq, uint32_t value)
{
	/* A register takes a new value each time, also the same bad one. */
	*(cq ? &n->cqs[qid].bad_head : &n->sqs[qid].bad_tail) = NVME_NO_VALUE;
	if (!cq && set_tail(n, qid, value))
		nvme_kick(n->sqs[qid].lane);
	else if (cq && set_head(n, qid, value))
		heads_moved(n->cqs[qid].lane);
}

/* A queue that is led by a page has the word in it; else it is the message's. */
static void take_ring(struct nvme_lane *lane, unsigned qid, bool cq,
		      uint32_t value)
{
	const uint32_t *page = doorbell_page(lane);

	if (page && is_led_by_page(lane->n, qid))
		value = nvme_shared_load(&page[2 * qid + cq]);
	apply(lane->n, qid, cq, value);
}

static uint32_t *rung(struct nvme *n, unsigned qid, bool cq)
{
	return cq ? &n->hot->cqs[qid].rung : &n->hot->sqs[qid].rung;
}

/*
 * The message is over, but its lane is another thread's: until that has moved the
 * cursor a successor finds the value here.
 */
static void leave_ring(struct nvme *n, unsigned qid, bool cq, uint32_t value)
{
	struct nvme_lane *lane = lane_of(n, qid, cq);

	__atomic_store_n(rung(n, qid, cq),
			 value < UINT32_MAX ? value + 1 : value,
			 __ATOMIC_RELEASE);
	ob_loop_post(lane->loop, &lane->arrive);
}

static void take_rung(struct nvme_lane *lane, unsigned qid, bool cq)
{
	struct nvme *n = lane->n;
	uint32_t *at = rung(n, qid, cq), value;

	/* A stream can say so of a queue that there is not. */
	if (lane_of(n, qid, cq) != lane || !is_created(n, qid, cq))
		return;
	value = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	while (value) {
		/* Out of reach a shadow may be newer; who goes on looks at all. */
		if (nvme_running(n) || !n->st->dbbuf)
			take_ring(lane, qid, cq, value - 1);
		if (__atomic_compare_exchange_n(at, &value, 0, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			break;
	}
}

void nvme_doorbells_rung(struct nvme_lane *lane)
{
	for (unsigned i = 1; i <= lane->n->max_queues; i++) {
		take_rung(lane, i, false);
		take_rung(lane, i, true);
	}
}

void nvme_doorbell_write(struct nvme *n, uint64_t offset, uint32_t value)
{
	unsigned index = (offset - NVME_REG_DBS) / sizeof(uint32_t);
	unsigned qid = index / 2;
	bool cq = index & 1;
	struct nvme_lane *lane;

	if ((n->st->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) != NVME_CSTS_RDY) {
		ob_dev_log(n->dev, OB_GUEST,
			   "doorbell %u written while not ready", qid);
		return;
	}
	if (qid >= NVME_QIDS || !is_created(n, qid, cq)) {
		refuse(n, qid, cq, value, NVME_EVENT_BAD_DB_REGISTER);
		return;
	}
	if (register_page(n))
		nvme_shared_store(&n->db_page[index], value);
	/* Guest memory is out of reach; run looks at it (R29). */
	if (n->halted && n->st->dbbuf && qid)
		return;
	lane = lane_of(n, qid, cq);
	if (nvme_is_away(lane)) {
		leave_ring(n, qid, cq, value);
		return;
	}
	/* An older one, from before all queues came home, counts no more. */
	if (*rung(n, qid, cq))
		__atomic_store_n(rung(n, qid, cq), 0, __ATOMIC_RELEASE);
	take_ring(lane, qid, cq, value);
	if (!qid)
		nvme_admin_index(n);
}

/* EventIdx page, or NULL; it must be written to be of use. */
static uint32_t *index_page(const struct nvme_lane *lane)
{
	struct nvme *n = lane->n;

	if (!n->st->dbbuf)
		return NULL;
	return ob_dma_ptr(lane->dev, n->st->eis_addr, SHADOW_BYTES, true);
}

static void set_index(const struct nvme_lane *lane, uint32_t *page, unsigned i,
		      uint32_t v)
{
	struct nvme *n = lane->n;

	n->batches->indexes[i] = v;
	if (nvme_shared_load(&page[i]) == v)
		return;
	nvme_shared_store(&page[i], v);
	ob_dma_wrote(lane->dev, n->st->eis_addr + i * sizeof(v), sizeof(v));
}

/*
 * With INTx no exit is saved: VMMs take an access to the device for the end
 * of the interrupt, so a guest that makes none is interrupted for ever.
 */
static bool uses_pin(const struct nvme *n, unsigned cqid)
{
	return ob_irq_mode(n->cqs[cqid].lane->dev) == OB_IRQ_INTX &&
	       n->st->cqs[cqid].interrupts;
}

/* Would the guest ring in this half of the ring?  By what we set last. */
static bool comes_up(const struct nvme *n, unsigned i, uint32_t at,
		     uint32_t entries)
{
	uint32_t index = n->batches->indexes[i];
	uint32_t ahead = index < at ? index + entries - at : index - at;

	return ahead < entries / 2 || ahead >= entries;
}

/*
 * While the device looks by itself nobody is to ring.  The guest rings when it
 * passes the index, so that is put behind what was seen before the guest comes
 * round to it: seldom, since the guest reads it each time, and a store takes
 * the line away from it.  Before a sleep it is put in front (arm).
 */
static void put_behind(const struct nvme_lane *lane, unsigned i, uint32_t at,
		       uint32_t entries)
{
	uint32_t *page = index_page(lane);

	/* Who cannot look does not say so. */
	if (page && doorbell_page(lane))
		set_index(lane, page, i, (at ? at : entries) - 1);
}

static void tail_behind(struct nvme *n, unsigned qid)
{
	uint32_t tail = n->hot->sqs[qid].tail;
	uint32_t entries = n->st->sqs[qid].entries;

	if (qid && n->st->dbbuf && comes_up(n, 2 * qid, tail, entries) &&
	    !uses_pin(n, n->st->sqs[qid].cqid))
		put_behind(n->sqs[qid].lane, 2 * qid, tail, entries);
}

/*
 * Before posting, if it stands where a sleep has put it: what the guest submits next
 * comes while the device is awake, and looks.
 */
void nvme_sq_tail_behind(struct nvme *n, unsigned qid)
{
	if (n->batches->indexes[2 * qid] == n->hot->sqs[qid].tail)
		tail_behind(n, qid);
}

/* Before posting: the guest's head may be wherever our tail was. */
void nvme_cq_head_behind(struct nvme *n, unsigned qid)
{
	const struct nvme_cq_hot *hot = &n->hot->cqs[qid];
	uint32_t entries = n->st->cqs[qid].entries;

	if (!qid || !n->st->dbbuf || uses_pin(n, qid) ||
	    !comes_up(n, 2 * qid + 1, hot->tail, entries))
		return;
	nvme_cq_head_refresh(n, qid);
	put_behind(n->cqs[qid].lane, 2 * qid + 1, hot->head, entries);
}

void nvme_admin_index(struct nvme *n)
{
	uint32_t *page = index_page(n->admin);

	if (!page)
		return;
	set_index(n->admin, page, 0, n->hot->sqs[0].tail);
	set_index(n->admin, page, 1, n->hot->cqs[0].head);
}

/* Ends: a head moves forward only, and not beyond what was posted. */
void nvme_cq_head_arm(struct nvme *n, unsigned qid)
{
	const struct nvme_lane *lane = n->cqs[qid].lane;
	const uint32_t *page = doorbell_page(lane);
	uint32_t *index = index_page(lane);

	if (!qid || !page || !index)
		return;
	do {
		set_index(lane, index, 2 * qid + 1, n->hot->cqs[qid].head);
		nvme_shared_fence();
	} while (set_head(n, qid, nvme_shared_load(&page[2 * qid + 1])));
}

static bool tail_moved(struct nvme_lane *lane, unsigned qid, uint32_t tail)
{
	struct nvme *n = lane->n;

	lane->tails[qid] = tail;
	if (!n->st->sqs[qid].created || !set_tail(n, qid, tail))
		return false;
	tail_behind(n, qid);
	return true;
}

/* Once in a turn, for every queue of the lane: words side by side, no more. */
static bool look_at_tails(struct nvme_lane *lane, const uint32_t *page)
{
	bool found = false;

	for (unsigned i = 0; i < lane->nr_sqs; i++) {
		unsigned qid = lane->qids[i];
		uint32_t tail = nvme_shared_load(&page[2 * qid]);

		if (tail != lane->tails[qid])
			found |= tail_moved(lane, qid, tail);
	}
	return found;
}

/* What was seen of doorbells does not count any more: look at all anew. */
void nvme_doorbells_forget(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		memset(lane->tails, 0xff, sizeof(lane->tails));
}

/* Heads matter only to a queue that is full, and to the level of INTx. */
static bool head_matters(const struct nvme *n, unsigned qid)
{
	if (!n->st->cqs[qid].created)
		return false;
	return !nvme_list_empty(&n->cqs[qid].done) ||
	       (uses_pin(n, qid) && nvme_cq_unconsumed(n, qid));
}

static bool look_at_heads(struct nvme_lane *lane, const uint32_t *page)
{
	struct nvme *n = lane->n;
	bool found = false;

	if (!lane->nr_full && ob_irq_mode(lane->dev) != OB_IRQ_INTX)
		return false;
	for (unsigned i = 0; i <= n->last_cq; i++)
		if (n->cqs[i].lane == lane && head_matters(n, i) &&
		    set_head(n, i, nvme_shared_load(&page[2 * i + 1])))
			found = true;
	if (found)
		heads_moved(lane);
	return found;
}

/* True if there was something new. */
bool nvme_doorbells_poll(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	const uint32_t *page = nvme_running(n) ? doorbell_page(lane) : NULL;
	bool tails, heads;

	if (!page)
		return false;
	tails = look_at_tails(lane, page);
	heads = look_at_heads(lane, page);
	return tails || heads;
}

static void arm_tail(const struct nvme_lane *lane, uint32_t *page, unsigned qid)
{
	const struct nvme *n = lane->n;

	if (n->st->sqs[qid].created)
		set_index(lane, page, 2 * qid, n->hot->sqs[qid].tail);
}

/* Also while it polls: each entry is to make an exit. */
void nvme_doorbells_intx(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	uint32_t *page;

	if (ob_irq_mode(lane->dev) != OB_IRQ_INTX || !(page = index_page(lane)))
		return;
	for (unsigned i = 0; i < lane->nr_sqs; i++) {
		unsigned qid = lane->qids[i];

		if (n->st->cqs[n->st->sqs[qid].cqid].interrupts)
			arm_tail(lane, page, qid);
	}
}

/*
 * Asks to be woken; false when there is work after all, or when nobody would
 * wake us.
 */
bool nvme_doorbells_arm(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	uint32_t *page;

	if (!nvme_running(n))
		return true;
	if (n->doorbells == NVME_DB_MAPPED)
		return false;
	page = index_page(lane);
	if (!page)
		return true;
	for (unsigned i = 0; i < lane->nr_sqs; i++)
		arm_tail(lane, page, lane->qids[i]);
	for (unsigned i = 1; i <= n->last_cq; i++)
		if (n->cqs[i].lane == lane && head_matters(n, i))
			set_index(lane, page, 2 * i + 1, n->hot->cqs[i].head);
	nvme_shared_fence();
	if (!nvme_doorbells_poll(lane))
		return true;
	/* The next poll finds these doorbells old: serve them now. */
	nvme_kick(lane);
	return false;
}

/* Corrects what the shadow page says, if it can be written. */
static void set_shadow(struct nvme *n, unsigned i, uint32_t value)
{
	uint32_t *index = index_page(n->admin), *page;

	if (!index)
		return;
	set_index(n->admin, index, i, value);
	page = ob_dma_ptr(n->dev, n->st->dbs_addr, SHADOW_BYTES, true);
	if (!page || nvme_shared_load(&page[i]) == value)
		return;
	nvme_shared_store(&page[i], value);
	ob_dma_wrote(n->dev, n->st->dbs_addr + i * sizeof(value),
		     sizeof(value));
}

/*
 * A queue begins with both doorbells at 0; the pages may hold what a deleted
 * queue of the same number left there.
 */
void nvme_doorbell_fresh(struct nvme *n, unsigned qid, bool cq)
{
	if (register_page(n))
		nvme_shared_store(&n->db_page[2 * qid + cq], 0);
	set_shadow(n, 2 * qid + cq, 0);
	if (!cq)
		n->sqs[qid].lane->tails[qid] = UINT32_MAX;
}

/* A zeroed page is not the truth about queues that are in use already. */
static void adopt_queues(struct nvme *n)
{
	const uint32_t *page = doorbell_page(n->admin);

	for (unsigned i = 1; page && i <= n->max_queues; i++) {
		if (n->st->sqs[i].created && !nvme_shared_load(&page[2 * i]))
			set_shadow(n, 2 * i, n->hot->sqs[i].tail);
		if (n->st->cqs[i].created && !nvme_shared_load(&page[2 * i + 1]))
			set_shadow(n, 2 * i + 1, n->hot->cqs[i].head);
	}
}

/*
 * A register page that came with the state is newer than the cursors.  One
 * that is all zeros did not come: it begins with what is known, since zeros
 * would be doorbells.
 */
void nvme_doorbells_adopt(struct nvme *n)
{
	uint32_t *page = register_page(n);

	n->old_page = !(n->st->csts & NVME_CSTS_RDY);
	for (unsigned i = 0; page && i < 2 * NVME_QIDS; i++)
		if (nvme_shared_load(&page[i]))
			return;
	for (unsigned i = 0; page && i < NVME_QIDS; i++) {
		nvme_shared_store(&page[2 * i], n->hot->sqs[i].tail);
		nvme_shared_store(&page[2 * i + 1], n->hot->cqs[i].head);
	}
}

/*
 * All of them: any head may have moved, though it did not matter until now.
 * Guest memory only while it can be reached; the register page always can.
 */
static void look_at_all(struct nvme *n)
{
	const uint32_t *page = NULL;

	if (nvme_running(n) || n->doorbells == NVME_DB_MAPPED)
		page = doorbell_page(n->admin);
	for (unsigned i = 0; page && i < NVME_QIDS; i++) {
		if (!is_led_by_page(n, i))
			continue;
		if (n->st->cqs[i].created)
			set_head(n, i, nvme_shared_load(&page[2 * i + 1]));
		if (n->st->sqs[i].created)
			set_tail(n, i, nvme_shared_load(&page[2 * i]));
	}
}

/* The register page may stay behind, so what is in it goes on record. */
void nvme_doorbells_halt(struct nvme *n)
{
	if (n->st->csts & NVME_CSTS_RDY)
		look_at_all(n);
}

/* After standing still: what was rung meanwhile (R29). */
void nvme_doorbells_resume(struct nvme *n)
{
	nvme_doorbells_forget(n);
	nvme_doorbells_rung(n->lanes);
	look_at_all(n);
	if (n->st->csts & NVME_CSTS_CFS)
		return;
	if (n->doorbells == NVME_DB_MAPPED)
		nvme_set_polling(n, true, true);
	else if (n->st->dbbuf)
		nvme_set_polling(n, true, false);
}

/*
 * The register page is cleared by a later step than the reset: it could not be
 * had back if that were cut short.  A device that stands still is reset again
 * before it runs, and one that is loaded begins with zeros.
 */
void nvme_doorbells_clear(struct nvme *n)
{
	if (!n->old_page)
		return;
	n->old_page = false;
	if (register_page(n))
		memset(n->db_page, 0, NVME_DB_SIZE);
}

void nvme_doorbells_reset(struct nvme *n)
{
	n->st->dbbuf = 0;
	n->st->dbs_addr = n->st->eis_addr = 0;
	nvme_doorbells_forget(n);
	n->old_page = true;
	if (n->halted)
		nvme_doorbells_clear(n);
	else
		nvme_kick(n->admin);
	nvme_set_polling(n, false, false);
}

/* Doorbell Buffer Config (5.7).  Only memory that can be polled will do. */
int nvme_step_dbbuf(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	uint64_t addr[2];

	memcpy(addr, c->slot->sqe.dptr, sizeof(addr));
	if (addr[0] % nvme_page_size(n) || addr[1] % nvme_page_size(n) ||
	    addr[0] == addr[1])
		return NVME_INVALID_FIELD;
	if (!ob_dma_ptr(n->dev, addr[0], SHADOW_BYTES, false) ||
	    !ob_dma_ptr(n->dev, addr[1], SHADOW_BYTES, true))
		return NVME_INVALID_FIELD;
	n->st->dbs_addr = addr[0];
	n->st->eis_addr = addr[1];
	n->st->dbbuf = 1;
	nvme_doorbells_forget(n);
	adopt_queues(n);
	nvme_admin_index(n);
	nvme_set_polling(n, true, false);
	return 0;
}
