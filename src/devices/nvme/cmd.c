// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a command.
 *
 * A command occupies a slot of the hot state (struct nvme_slot) from fetch to
 * the moment its completion entry is in guest memory, and with it the slot's
 * runtime twin (struct nvme_cmd).  Its opcode's row names steps; the runner
 * calls one after the other until one fails, waits, or none is left.
 *
 * At most one operation of a command is under way with somebody else (the
 * drive, or the server for memory that is reached by messages): `busy`.  A
 * reset cannot recall it, so it disowns the command: the slot is free in the
 * state and stays taken here, and the operation's completion gives it back
 * and does nothing else.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "devices/nvme/nvme.h"

unsigned nvme_slot_index(const struct nvme_cmd *c)
{
	return c - c->n->cmds;
}

/* One piece of memory; in front what each queue writes. */
static size_t size_of_queues(const struct nvme *n)
{
	return (n->max_queues + 1) * (sizeof(*n->sqs) + sizeof(*n->cqs)) +
	       sizeof(*n->batches);
}

static void divide_queues(struct nvme *n)
{
	_Static_assert((sizeof(*n->sqs) + sizeof(*n->cqs)) % NVME_LINE == 0,
		       "batches begin a line");

	n->cqs = (struct nvme_cq *)(n->sqs + n->max_queues + 1);
	n->batches = (struct nvme_batches *)(n->cqs + n->max_queues + 1);
}

int nvme_cmds_init(struct nvme *n, struct ob_err *err)
{
	n->cmds = nvme_memory_get(NVME_SLOTS * sizeof(*n->cmds));
	n->sqs = nvme_memory_get(size_of_queues(n));
	if (n->sqs)
		divide_queues(n);
	if (!n->cmds || !n->sqs)
		return ob_fail(err, ENOMEM, "no memory for commands");
	nvme_list_init(&n->aers);
	return nvme_io_init(n, err);
}

void nvme_cmds_finish(struct nvme *n)
{
	nvme_memory_put(n->requests, NVME_IO_SLOTS * n->request_stride);
	nvme_memory_put(n->sqs, size_of_queues(n));
	nvme_memory_put(n->cmds, NVME_SLOTS * sizeof(*n->cmds));
}

static void tie_twin(struct nvme_lane *owner, unsigned i)
{
	struct nvme *n = owner->n;
	struct nvme_cmd *c = &n->cmds[i];

	c->n = n;
	c->owner = owner;
	c->slot = &n->hot->slots[i];
	c->req = nvme_io_request(n, i);
}

/* A twin is set up when its slot is first used, so that idle ones stay
 * untouched memory. */
static struct nvme_cmd *take_unused(struct nvme_lane *lane)
{
	struct nvme_slots *slots = &lane->slots;

	if (slots->seen == slots->end)
		return NULL;
	tie_twin(lane, slots->seen);
	return &lane->n->cmds[slots->seen++];
}

static bool has_slots(const struct nvme_slots *slots)
{
	return slots->free.first || slots->seen < slots->end;
}

/* While all I/O queues are lane 0's it has all slots. */
static struct nvme_lane *owner_for(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;

	if (has_slots(&lane->slots))
		return lane;
	for (unsigned i = 1; i < n->nr_lanes && lane == n->lanes; i++)
		if (!n->spread && has_slots(&n->lanes[i].slots))
			return &n->lanes[i];
	return NULL;
}

bool nvme_slots_left(struct nvme_lane *lane)
{
	return lane->slots.free.first || owner_for(lane);
}

static struct nvme_cmd *take_slot(struct nvme_lane *lane)
{
	struct nvme_cmd *c = nvme_list_pop(&lane->slots.free);
	struct nvme_lane *owner;

	if (c)
		return c;
	owner = owner_for(lane);
	if (owner)
		c = nvme_list_pop(&owner->slots.free);
	return c || !owner ? c : take_unused(owner);
}

struct nvme_cmd *nvme_cmd_take(struct nvme *n, uint16_t sqid,
			       const struct nvme_sqe *sqe)
{
	struct nvme_lane *lane = n->sqs[sqid].lane;
	struct nvme_cmd *c = take_slot(lane);
	struct nvme_slot *slot;

	if (!c)
		return NULL;
	slot = c->slot;
	/* Not before it was FREE. */
	atomic_signal_fence(memory_order_seq_cst);
	slot->sqe = *sqe;
	slot->sqid = sqid;
	slot->result = 0;
	slot->status = 0;
	slot->step = 0;
	slot->generation = n->st->generation;
	slot->order = nvme_next_order(lane);
	slot->fetch = n->hot->sqs[sqid].fetched;
	slot->post = 0;
	__atomic_store_n(&slot->stage, NVME_SLOT_RUNNING, __ATOMIC_RELEASE);
	n->sqs[sqid].in_flight++;
	c->lane = lane;
	c->since = ob_loop_turn_time(lane->loop);
	c->told = false;
	return c;
}

/*
 * The flight recorder: one that ends without having waited is one event, and no
 * two; that it was begun is in its slot.
 */
void nvme_cmd_tell(struct nvme_cmd *c)
{
	if (c->told)
		return;
	c->told = true;
	ob_dev_trace(c->lane->dev, OB_TRACE_FETCH, c->slot->sqid,
		     c->slot->sqe.cid, c->slot->sqe.opcode);
}

void nvme_cmd_tell_end(const struct nvme_cmd *c)
{
	const struct nvme_slot *slot = c->slot;

	if (c->told)
		ob_dev_trace(c->lane->dev, OB_TRACE_POST, slot->sqid,
			     slot->sqe.cid, slot->status);
	else
		ob_dev_trace(c->lane->dev, OB_TRACE_AT_ONCE, slot->sqid,
			     slot->sqe.cid,
			     (uint64_t)slot->status << 8 | slot->sqe.opcode);
}

const struct nvme_op *nvme_op_find(const struct nvme_op *ops, unsigned count,
				   uint8_t opcode)
{
	for (unsigned i = 0; i < count; i++)
		if (ops[i].opcode == opcode)
			return &ops[i];
	return NULL;
}

static const struct nvme_op *find_op(const struct nvme_cmd *c)
{
	const struct nvme_op *op;

	if (c->slot->sqid)
		return nvme_op_find(nvme_io_ops, nvme_nr_io_ops,
				    c->slot->sqe.opcode);
	op = nvme_op_find(nvme_admin_ops, nvme_nr_admin_ops,
			  c->slot->sqe.opcode);
	if (op && (op->flags & NVME_OP_DBBUF) &&
	    c->n->doorbells != NVME_DB_ADAPTIVE)
		return NULL;
	return op;
}

static int check_namespace(struct nvme_cmd *c)
{
	uint32_t nsid = c->slot->sqe.nsid;

	if (!(c->op->flags & (NVME_OP_NSID | NVME_OP_NSID_ALL)))
		return 0;
	if (nsid == NVME_NSID_ALL && (c->op->flags & NVME_OP_NSID_ALL))
		return 0;
	if (nsid == 0 || nsid > c->n->nr_ns)
		return NVME_INVALID_NAMESPACE;
	if (!nvme_ns_active(c->n, nsid))
		return NVME_INVALID_FIELD;
	c->ns = nvme_ns_get(c->n, nsid);
	if ((c->op->flags & NVME_OP_WRITE) && c->ns->info->readonly)
		return NVME_WRITE_PROTECTED;
	return 0;
}

/* What all commands have in common (4.2), judged on the slot's copy. */
static int check_command(struct nvme_cmd *c)
{
	uint8_t flags = c->slot->sqe.flags;

	if (!c->op)
		return NVME_INVALID_OPCODE;
	if (flags & NVME_SQE_FUSE)
		return NVME_INVALID_FIELD;
	/* PCIe controllers take no SGLs for admin commands (4.4). */
	if (!c->slot->sqid && NVME_SQE_PSDT(flags))
		return NVME_INVALID_FIELD;
	return check_namespace(c);
}

void nvme_cmd_begin(struct nvme_cmd *c)
{
	int status;

	c->ns = NULL;
	c->len = c->moved = c->at = c->count = 0;
	c->busy = c->is_drive = c->disowned = c->disowned_write = false;
	c->put_off = c->hurried = c->ended = false;
	c->buf = (struct nvme_buffer){ 0 };
	c->op = find_op(c);
	c->steps = c->op ? c->op->steps : NULL;
	if (nvme_is_away(c->lane) && c->op && !(c->op->flags & NVME_OP_AWAY)) {
		nvme_cmd_tell(c);
		nvme_hand_over(c, c->n->lanes, NVME_BEGINS);
		return;
	}
	status = check_command(c);
	if (status)
		nvme_cmd_complete(c, status);
	else
		nvme_cmd_run(c);
}

void nvme_cmd_begin_anew(struct nvme_cmd *c)
{
	c->slot->result = 0;
	c->slot->status = 0;
	c->slot->step = 0;
	nvme_cmd_begin(c);
}

static void run_steps(struct nvme_cmd *c)
{
	nvme_step step;
	int rc;

	while ((step = c->steps[c->slot->step])) {
		c->slot->step++;
		rc = step(c);
		if (rc < 0) {
			if (rc != NVME_GONE)
				nvme_cmd_tell(c);
			return;
		}
		if (rc > 0) {
			nvme_cmd_complete(c, rc);
			return;
		}
	}
	nvme_cmd_complete(c, NVME_OK);
}

/*
 * What an admin command changes and its completion are one, and so is what it
 * changes on the way and the fact that it waits.
 */
void nvme_cmd_run(struct nvme_cmd *c)
{
	if (c->slot->sqid) {
		run_steps(c);
		return;
	}
	nvme_guard(c->n, c->slot, sizeof(*c->slot));
	run_steps(c);
	nvme_unguard(c->n);
}

void nvme_cmd_again(struct nvme_cmd *c)
{
	c->slot->step--;
}

void nvme_cmd_resume(struct nvme_cmd *c, int status)
{
	c->busy = c->hurried = false;
	if (c->disowned) {
		nvme_cmd_release(c);
	} else if (c->n->halted) {
		c->ended = true;	/* goes on from here when it runs */
		c->end_status = status;
	} else if (status) {
		nvme_cmd_complete(c, status);
	} else {
		nvme_cmd_run(c);
	}
}

void nvme_cmd_put_off(struct nvme_cmd *c)
{
	c->busy = c->hurried = false;
	c->put_off = true;
	nvme_buffer_put(c);
	nvme_owed_settle(c);
	/* It runs already: the end of a request that halt had cancelled. */
	if (!c->n->draining)
		nvme_owed_add(c);
}

/* Would the same command, sent again, fail again? */
static bool is_final(uint16_t status)
{
	switch (status) {
	case NVME_DATA_TRANSFER_ERROR:
	case NVME_INTERNAL_ERROR:
	case NVME_ABORT_REQUESTED:
	case NVME_ABORT_SQ_DELETED:
	case NVME_WRITE_FAULT:
	case NVME_UNRECOVERED_READ:
	case NVME_NS_NOT_READY:
		return false;
	default:
		return status != NVME_OK;
	}
}

static bool is_logged(uint16_t status)
{
	return status == NVME_DATA_TRANSFER_ERROR ||
	       (status >> 8 == 2 && status != NVME_COMPARE_FAILURE);
}

static void set_done(struct nvme_cmd *c, uint16_t status)
{
	c->slot->status = status;
	__atomic_store_n(&c->slot->stage, NVME_SLOT_DONE, __ATOMIC_RELEASE);
}

/* One that is in the error log, and its entry, are one. */
static void set_done_logged(struct nvme_cmd *c, uint16_t status)
{
	nvme_guard(c->n, c->slot, sizeof(*c->slot));
	nvme_error_command(c, status);
	set_done(c, status | NVME_STATUS_MORE);
	nvme_unguard(c->n);
}

void nvme_cmd_complete(struct nvme_cmd *c, uint16_t status)
{
	struct nvme *n = c->n;
	unsigned cqid = n->st->sqs[c->slot->sqid].cqid;

	nvme_buffer_put(c);
	nvme_owed_settle(c);
	if (!is_logged(status)) {
		set_done(c, is_final(status) ? status | NVME_STATUS_DNR
					     : status);
	} else if (!nvme_is_away(c->lane)) {
		set_done_logged(c, status);
	} else {
		c->end_status = status;
		nvme_hand_over(c, n->lanes, NVME_ENDS);
		return;
	}
	if (n->cqs[cqid].lane == c->lane)
		nvme_cq_add(n, cqid, c);
	else
		nvme_hand_over(c, n->cqs[cqid].lane, NVME_IS_DONE);
}

void nvme_cmd_release(struct nvme_cmd *c)
{
	struct nvme_lane *lane = c->lane;

	nvme_buffer_put(c);
	__atomic_store_n(&c->slot->stage, NVME_SLOT_FREE, __ATOMIC_RELEASE);
	if (c->disowned_write)
		nvme_ns_old_write_done(c->ns);
	c->disowned = c->disowned_write = false;
	c->put_off = c->ended = false;
	if (lane->starved)
		nvme_kick(lane);
	if (c->owner == lane || !c->n->spread)
		nvme_list_push_front(&c->owner->slots.free, c);
	else
		nvme_hand_over(c, c->owner, NVME_IS_FREE);
}

static void disown(struct nvme_cmd *c)
{
	c->owed = false;
	if (!c->busy) {
		nvme_cmd_release(c);
		return;
	}
	c->disowned = true;
	c->slot->stage = NVME_SLOT_FREE;
	if (!c->is_drive)
		return;
	if (c->op->flags & NVME_OP_WRITE) {
		c->disowned_write = true;
		c->ns->old_writes++;
	}
	nvme_io_cancel(c);
}

static void disown_all(struct nvme *n, const struct nvme_slots *slots)
{
	for (unsigned i = slots->first; i < slots->seen; i++) {
		struct nvme_cmd *c = &n->cmds[i];

		if (c->slot->stage != NVME_SLOT_FREE && !c->disowned)
			disown(c);
	}
}

void nvme_cmds_disown(struct nvme *n)
{
	nvme_for_each_lane(n, lane)
		disown_all(n, &lane->slots);
}

/* Takes a command out of wherever it waits with us. */
static bool unwait(struct nvme_cmd *c)
{
	struct nvme_lane *lane = c->lane;
	struct nvme *n = c->n;

	if (c->busy)
		return false;
	if (nvme_list_remove(&n->aers, c)) {
		n->nr_aers--;
		return true;
	}
	if (nvme_list_remove(&lane->pool.waiting, c)) {
		/* The next one may need less, and find room (R18). */
		nvme_kick(lane);
		return true;
	}
	return nvme_list_remove(&lane->parked, c) ||
	       nvme_list_remove(&lane->owed, c) ||
	       (c->ns && nvme_list_remove(&c->ns->held, c));
}

/* Ends what waits with us; asks the drive for an early end of the rest. */
bool nvme_cmd_hurry(struct nvme_cmd *c, uint16_t status)
{
	if (unwait(c)) {
		nvme_cmd_complete(c, status);
		return true;
	}
	c->hurried = false;
	if (c->busy && c->is_drive)
		nvme_io_cancel(c);
	return false;
}

/* Is it one of this queue that has not ended yet? */
static bool runs_for(const struct nvme_cmd *c, uint16_t sqid)
{
	return c->slot->stage == NVME_SLOT_RUNNING && !c->disowned &&
	       c->slot->sqid == sqid;
}

static void hurry_all(struct nvme *n, const struct nvme_slots *slots,
		      unsigned sqid)
{
	for (unsigned i = slots->first; i < slots->seen; i++)
		if (runs_for(&n->cmds[i], sqid))
			nvme_cmd_hurry(&n->cmds[i], NVME_ABORT_SQ_DELETED);
}

void nvme_cmds_hurry(struct nvme *n, unsigned sqid)
{
	nvme_for_each_lane(n, lane)
		hurry_all(n, &lane->slots, sqid);
}

/* The command of this name that has not ended yet, or NULL. */
struct nvme_cmd *nvme_cmd_find(struct nvme *n, uint16_t sqid, uint16_t cid)
{
	nvme_for_each_lane(n, lane)
		for (unsigned i = lane->slots.first; i < lane->slots.seen; i++)
			if (runs_for(&n->cmds[i], sqid) &&
			    n->cmds[i].slot->sqe.cid == cid)
				return &n->cmds[i];
	return NULL;
}

/* Guest memory that fails is the guest's doing, or its owner's (R7). */
int nvme_dma_status(struct nvme_lane *lane, int rc)
{
	if (!rc)
		return 0;
	if (rc == -EIO && ob_dma_lost(lane->dev))
		nvme_lane_fatal(lane, "guest memory was truncated");
	return NVME_DATA_TRANSFER_ERROR;
}

/* -- state that came from elsewhere ------------------------------------ */

static int by_order(const void *a, const void *b)
{
	uint64_t x = (*(struct nvme_cmd *const *)a)->slot->order;
	uint64_t y = (*(struct nvme_cmd *const *)b)->slot->order;

	return (x > y) - (x < y);
}

static unsigned in_use(struct nvme *n, const struct nvme_slots *slots,
		       struct nvme_cmd **list)
{
	unsigned count = 0;

	for (unsigned i = slots->first; i < slots->seen; i++)
		if (n->cmds[i].slot->stage != NVME_SLOT_FREE)
			list[count++] = &n->cmds[i];
	return count;
}

unsigned nvme_cmds_in_order(struct nvme *n, struct nvme_cmd *list[NVME_SLOTS])
{
	unsigned count = 0;

	nvme_for_each_lane(n, lane)
		count += in_use(n, &lane->slots, list + count);
	qsort(list, count, sizeof(*list), by_order);
	return count;
}

/* The twins of a lane's slots; those behind the last in use stay unseen. */
static void adopt_slots(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	struct nvme_slots *slots = &lane->slots;
	unsigned from = slots->first, to = slots->end;

	if (to > n->slots_written)
		to = n->slots_written > from ? n->slots_written : from;
	while (to > from && n->hot->slots[to - 1].stage == NVME_SLOT_FREE)
		to--;
	nvme_list_init(&slots->free);
	for (unsigned i = from; i < to; i++) {
		tie_twin(lane, i);
		n->cmds[i].ns = NULL;
		n->cmds[i].since = 0;
		if (n->hot->slots[i].stage == NVME_SLOT_FREE)
			nvme_list_push(&slots->free, &n->cmds[i]);
	}
	slots->seen = to;
}

/* Those that have a place already are first, by place. */
static int by_place(const void *a, const void *b)
{
	const struct nvme_slot *x = (*(struct nvme_cmd *const *)a)->slot;
	const struct nvme_slot *y = (*(struct nvme_cmd *const *)b)->slot;

	/* None is 0, and becomes the largest. */
	if (x->post != y->post)
		return x->post - 1 > y->post - 1 ? 1 : -1;
	return by_order(a, b);
}

static void adopt_command(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	unsigned sqid = c->slot->sqid;
	struct nvme_cq *cq = &n->cqs[n->st->sqs[sqid].cqid];

	n->sqs[sqid].in_flight++;
	c->lane = cq->lane;
	c->told = true;
	c->put_off = c->slot->stage == NVME_SLOT_RUNNING;
	if (c->put_off)
		return;
	nvme_list_push(&cq->done, c);
	if (c->slot->post) {
		cq->assigned++;
		c->lane->republish = true;
	}
}

void nvme_cmds_adopt(struct nvme *n)
{
	struct nvme_cmd *list[NVME_SLOTS];
	unsigned count;

	nvme_for_each_lane(n, lane) {
		adopt_slots(lane);
		lane->republish = false;
	}
	count = nvme_cmds_in_order(n, list);
	for (unsigned i = 0; i < n->nr_lanes; i++)
		n->lanes[i].own_order = i + (count ? list[count - 1]->slot->order + 1
						   : 0);
	qsort(list, count, sizeof(*list), by_place);
	for (unsigned i = 0; i < count; i++)
		adopt_command(list[i]);
}
