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
#include <string.h>

#include "devices/nvme/nvme.h"

unsigned nvme_slot_index(const struct nvme_cmd *c)
{
	return c - c->n->cmds;
}

static struct nvme_list *free_list(struct nvme_cmd *c)
{
	return nvme_slot_index(c) < NVME_ADMIN_SLOTS ? &c->n->free_admin
						     : &c->n->free_io;
}

int nvme_cmds_init(struct nvme *n, struct ob_err *err)
{
	n->cmds = nvme_memory_get(NVME_SLOTS * sizeof(*n->cmds));
	n->batches = nvme_memory_get(sizeof(*n->batches));
	n->sqs = calloc(n->max_queues + 1, sizeof(*n->sqs));
	n->cqs = calloc(n->max_queues + 1, sizeof(*n->cqs));
	if (!n->cmds || !n->batches || !n->sqs || !n->cqs ||
	    nvme_pool_init(&n->io_pool, NVME_IO_POOL_PAGES) ||
	    nvme_pool_init(&n->admin_pool, NVME_ADMIN_POOL_PAGES))
		return ob_fail(err, ENOMEM, "no memory for commands");
	/* What drives transfer to and from; a want of memory costs speed. */
	(void)ob_loop_lend(n->loop, n->io_pool.base,
			   (size_t)n->io_pool.pages * 4096);
	nvme_list_init(&n->free_admin);
	nvme_list_init(&n->free_io);
	nvme_list_init(&n->aers);
	nvme_list_init(&n->parked);
	nvme_list_init(&n->owed);
	n->io_slots_seen = NVME_ADMIN_SLOTS;
	return nvme_io_init(n, err);
}

void nvme_cmds_finish(struct nvme *n)
{
	if (n->io_pool.base)
		ob_loop_reclaim(n->loop, n->io_pool.base);
	nvme_pool_finish(&n->io_pool);
	nvme_pool_finish(&n->admin_pool);
	nvme_memory_put(n->requests, NVME_IO_SLOTS * n->request_stride);
	free(n->sqs);
	free(n->cqs);
	nvme_memory_put(n->batches, sizeof(*n->batches));
	nvme_memory_put(n->cmds, NVME_SLOTS * sizeof(*n->cmds));
}

static void tie_twin(struct nvme *n, unsigned i)
{
	struct nvme_cmd *c = &n->cmds[i];

	c->n = n;
	c->slot = &n->hot->slots[i];
	c->req = nvme_io_request(n, i);
}

/* A twin is set up when its slot is first used, so that idle ones stay
 * untouched memory. */
static struct nvme_cmd *take_unused(struct nvme *n, bool admin)
{
	unsigned *seen = admin ? &n->admin_slots_seen : &n->io_slots_seen;
	unsigned limit = admin ? NVME_ADMIN_SLOTS : NVME_SLOTS;

	if (*seen == limit)
		return NULL;
	tie_twin(n, *seen);
	return &n->cmds[(*seen)++];
}

struct nvme_cmd *nvme_cmd_take(struct nvme *n, uint16_t sqid,
			       const struct nvme_sqe *sqe)
{
	struct nvme_list *list = sqid ? &n->free_io : &n->free_admin;
	struct nvme_cmd *c = nvme_list_pop(list);
	struct nvme_slot *slot;

	if (!c)
		c = take_unused(n, !sqid);
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
	slot->order = n->order++;
	slot->fetch = n->hot->sqs[sqid].fetched;
	slot->post = 0;
	__atomic_store_n(&slot->stage, NVME_SLOT_RUNNING, __ATOMIC_RELEASE);
	n->sqs[sqid].in_flight++;
	c->since = ob_loop_turn_time(n->loop);
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
	ob_dev_trace(c->n->dev, OB_TRACE_FETCH, c->slot->sqid,
		     c->slot->sqe.cid, c->slot->sqe.opcode);
}

void nvme_cmd_tell_end(const struct nvme_cmd *c)
{
	const struct nvme_slot *slot = c->slot;

	if (c->told)
		ob_dev_trace(c->n->dev, OB_TRACE_POST, slot->sqid,
			     slot->sqe.cid, slot->status);
	else
		ob_dev_trace(c->n->dev, OB_TRACE_AT_ONCE, slot->sqid,
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
	status = check_command(c);
	if (status)
		nvme_cmd_complete(c, status);
	else
		nvme_cmd_run(c);
}

static void run_steps(struct nvme_cmd *c)
{
	nvme_step step;
	int rc;

	while ((step = c->steps[c->slot->step])) {
		c->slot->step++;
		rc = step(c);
		if (rc < 0) {
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

	nvme_buffer_put(c);
	nvme_owed_settle(c);
	if (is_logged(status))
		set_done_logged(c, status);
	else
		set_done(c, is_final(status) ? status | NVME_STATUS_DNR
					     : status);
	nvme_cq_add(n, n->st->sqs[c->slot->sqid].cqid, c);
}

void nvme_cmd_release(struct nvme_cmd *c)
{
	struct nvme *n = c->n;

	nvme_buffer_put(c);
	__atomic_store_n(&c->slot->stage, NVME_SLOT_FREE, __ATOMIC_RELEASE);
	nvme_list_push_front(free_list(c), c);
	if (c->disowned_write)
		nvme_ns_old_write_done(c->ns);
	c->disowned = c->disowned_write = false;
	c->put_off = c->ended = false;
	if (n->starved)
		nvme_kick(n);
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
	ob_drive_cancel(c->ns->drive, c->req);
}

static void disown_range(struct nvme *n, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct nvme_cmd *c = &n->cmds[i];

		if (c->slot->stage != NVME_SLOT_FREE && !c->disowned)
			disown(c);
	}
}

void nvme_cmds_disown(struct nvme *n)
{
	disown_range(n, 0, n->admin_slots_seen);
	disown_range(n, NVME_ADMIN_SLOTS, n->io_slots_seen);
}

/* Takes a command out of wherever it waits with us. */
static bool unwait(struct nvme_cmd *c)
{
	struct nvme *n = c->n;

	if (c->busy)
		return false;
	if (nvme_list_remove(&n->aers, c)) {
		n->nr_aers--;
		return true;
	}
	if (nvme_list_remove(&n->io_pool.waiting, c) ||
	    nvme_list_remove(&n->admin_pool.waiting, c)) {
		/* The next one may need less, and find room (R18). */
		nvme_kick(n);
		return true;
	}
	return nvme_list_remove(&n->parked, c) ||
	       nvme_list_remove(&n->owed, c) ||
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
		ob_drive_cancel(c->ns->drive, c->req);
	return false;
}

void nvme_cmds_hurry(struct nvme *n, unsigned sqid)
{
	for (unsigned i = NVME_ADMIN_SLOTS; i < n->io_slots_seen; i++) {
		struct nvme_cmd *c = &n->cmds[i];

		if (c->slot->stage == NVME_SLOT_RUNNING && !c->disowned &&
		    c->slot->sqid == sqid)
			nvme_cmd_hurry(c, NVME_ABORT_SQ_DELETED);
	}
}

/* The command of this name that has not ended yet, or NULL. */
struct nvme_cmd *nvme_cmd_find(struct nvme *n, uint16_t sqid, uint16_t cid)
{
	unsigned from = sqid ? NVME_ADMIN_SLOTS : 0;
	unsigned to = sqid ? n->io_slots_seen : n->admin_slots_seen;

	for (unsigned i = from; i < to; i++) {
		struct nvme_cmd *c = &n->cmds[i];

		if (c->slot->stage == NVME_SLOT_RUNNING && !c->disowned &&
		    c->slot->sqid == sqid && c->slot->sqe.cid == cid)
			return c;
	}
	return NULL;
}

/* Guest memory that fails is the guest's doing, or its owner's (R7). */
int nvme_dma_status(struct nvme *n, int rc)
{
	if (!rc)
		return 0;
	if (rc == -EIO && ob_dma_lost(n->dev))
		nvme_fatal(n, "guest memory was truncated");
	return NVME_DATA_TRANSFER_ERROR;
}

/* -- state that came from elsewhere ------------------------------------ */

static int by_order(const void *a, const void *b)
{
	uint64_t x = (*(struct nvme_cmd *const *)a)->slot->order;
	uint64_t y = (*(struct nvme_cmd *const *)b)->slot->order;

	return (x > y) - (x < y);
}

static unsigned in_use(struct nvme *n, unsigned from, unsigned to,
		       struct nvme_cmd **list)
{
	unsigned count = 0;

	for (unsigned i = from; i < to; i++)
		if (n->cmds[i].slot->stage != NVME_SLOT_FREE)
			list[count++] = &n->cmds[i];
	return count;
}

unsigned nvme_cmds_in_order(struct nvme *n, struct nvme_cmd *list[NVME_SLOTS])
{
	unsigned count = in_use(n, 0, n->admin_slots_seen, list);

	count += in_use(n, NVME_ADMIN_SLOTS, n->io_slots_seen, list + count);
	qsort(list, count, sizeof(*list), by_order);
	return count;
}

/* The twins of one region; those behind the last slot in use stay unseen. */
static unsigned adopt_region(struct nvme *n, unsigned from, unsigned to,
			     struct nvme_list *free)
{
	if (to > n->slots_written)
		to = n->slots_written > from ? n->slots_written : from;
	while (to > from && n->hot->slots[to - 1].stage == NVME_SLOT_FREE)
		to--;
	nvme_list_init(free);
	for (unsigned i = from; i < to; i++) {
		tie_twin(n, i);
		n->cmds[i].ns = NULL;
		n->cmds[i].since = 0;
		if (n->hot->slots[i].stage == NVME_SLOT_FREE)
			nvme_list_push(free, &n->cmds[i]);
	}
	return to;
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
	c->told = true;
	c->put_off = c->slot->stage == NVME_SLOT_RUNNING;
	if (c->put_off)
		return;
	nvme_list_push(&cq->done, c);
	if (c->slot->post) {
		cq->assigned++;
		n->republish = true;
	}
}

void nvme_cmds_adopt(struct nvme *n)
{
	struct nvme_cmd *list[NVME_SLOTS];
	unsigned count;

	n->admin_slots_seen = adopt_region(n, 0, NVME_ADMIN_SLOTS,
					   &n->free_admin);
	n->io_slots_seen = adopt_region(n, NVME_ADMIN_SLOTS, NVME_SLOTS,
					&n->free_io);
	n->republish = false;
	count = nvme_cmds_in_order(n, list);
	n->order = count ? list[count - 1]->slot->order + 1 : 0;
	qsort(list, count, sizeof(*list), by_place);
	for (unsigned i = 0; i < count; i++)
		adopt_command(list[i]);
}
