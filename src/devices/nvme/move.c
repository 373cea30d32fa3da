// SPDX-License-Identifier: BSD-3-Clause
/*
 * Standing still and going on (docs/migration.md; device.h, "Moving").
 *
 *	         stop                 halt                    run
 *	runs ---------> drains ----------------> stands ------------> runs
 *	     fetching off,      state complete,          owed first,
 *	     the rest goes on   ends are only noted      then fetching
 *
 * halt reduces a command that has not ended to its slot, unless a request of
 * it is with the drive: it leaves every list and gives its buffer back.  run
 * then begins it again, here or elsewhere, so both are one way.  Only here
 * there can be more than the slot: a request that ended meanwhile is kept as
 * ended, and one that is still under way simply goes on.
 *
 * To begin again is right for every command (R27).  What changes more than
 * its own data (queues, features, logs, events, attachment) does so in the
 * step that ends it, so it is DONE, or has changed nothing.  Reads, writes,
 * zeroes and flushes may be done twice before their completion is told, since
 * nothing newer is fetched from an I/O queue before they have ended (R26).
 */
#include "devices/nvme/nvme.h"

/* -- stop and halt ----------------------------------------------------- */

/*
 * Is nothing left that ends by itself?  Whatever else can go on has asked for
 * a turn of work; what has not waits for the guest, the client or run.
 */
void nvme_drained(struct nvme *n)
{
	if (!n->halted && !n->nr_busy_flush && nvme_lanes_idle(n))
		ob_dev_stopped(n->dev);
}

void nvme_move_stop(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->draining = true;
	nvme_gather(n);
	nvme_kick_all(n);	/* their ends look at what is left */
}

static void halt_command(struct nvme_cmd *c)
{
	c->owed = false;
	if (c->busy && c->is_drive) {
		c->hurried = true;
		nvme_io_cancel(c);
	} else if (!c->busy && !c->ended) {
		c->put_off = true;
		nvme_buffer_put(c);
	}
}

static void halt_commands(struct nvme *n)
{
	struct nvme_cmd *list[NVME_SLOTS];
	unsigned count = nvme_cmds_in_order(n, list);

	nvme_data_forget_waiting(n);
	nvme_list_init(&n->aers);
	n->nr_aers = 0;
	nvme_owed_forget(n);
	for (unsigned i = 0; i < count; i++)
		if (list[i]->slot->stage == NVME_SLOT_RUNNING)
			halt_command(list[i]);
}

/*
 * What lanes have asked for comes by a post, perhaps after this: and then it would
 * change a state that may have been saved, so that who goes on with that has lost it.
 * The rest of what is asked for changes nothing of a device that stands.
 */
static void serve_asked(struct nvme *n)
{
	if (n->failing)
		nvme_fatal(n, n->why_fatal);
	nvme_doorbells_refused(n);
}

void nvme_move_halt(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	nvme_gather(n);
	serve_asked(n);
	nvme_doorbells_halt(n);
	n->halted = n->draining = true;
	nvme_set_polling(n, false, false);
	nvme_sqs_halt(n);
	nvme_cqs_halt(n);
	halt_commands(n);
	nvme_irq_finish(n);
	nvme_timestamp_rebase(n);
}

/* -- run --------------------------------------------------------------- */

static void owe(struct nvme_cmd *c)
{
	c->owed = true;
	c->n->nr_owed++;
	c->lane->nr_owed++;
}

void nvme_owed_add(struct nvme_cmd *c)
{
	owe(c);
	nvme_list_push(&c->lane->owed, c);
	nvme_kick(c->lane);
}

void nvme_owed_end(struct nvme_cmd *c)
{
	struct nvme *n = c->n;

	c->owed = false;
	n->nr_owed--;
	if (!--c->lane->nr_owed)
		nvme_kick_all(n);
	if (!n->nr_owed)
		nvme_settled(n);
}

void nvme_owed_forget(struct nvme *n)
{
	n->nr_owed = 0;
	nvme_for_each_lane(n, lane) {
		nvme_list_init(&lane->owed);
		lane->nr_owed = 0;
	}
}

/*
 * The admin queue waits for its own commands to end and for all to have begun.
 * What it brings meets no others than it could have met anyway, and the way
 * out of a drive that hangs must stay open (R21).
 */
bool nvme_owed_is_before(const struct nvme_lane *lane)
{
	const struct nvme *n = lane->n;

	if (lane != n->admin)
		return n->nr_owed;
	nvme_for_each_lane(n, other)
		if (!nvme_list_empty(&other->owed))
			return true;
	return lane->nr_owed;
}

static void begin_again(struct nvme_cmd *c)
{
	c->put_off = false;
	if (c->ended) {
		c->ended = false;
		nvme_cmd_resume(c, c->end_status);
		return;
	}
	nvme_cmd_begin_anew(c);
}

/* A turn's share of what is owed, in order. */
bool nvme_owed_serve(struct nvme_lane *lane)
{
	struct nvme *n = lane->n;
	unsigned budget = NVME_TURN_COMMANDS;
	bool did = false;

	if (!nvme_running(n) || n->draining)
		return false;
	while (!nvme_list_empty(&lane->owed)) {
		if (!budget-- || nvme_turn_is_over(lane)) {
			lane->again = true;
			break;
		}
		begin_again(nvme_list_pop(&lane->owed));
		did = true;
	}
	if (did && nvme_list_empty(&lane->owed))
		nvme_kick(n->admin);	/* its queue may wait for that */
	return did;
}

/* Those in lists of their own (run without halt) just go on. */
static void gather_owed(struct nvme *n)
{
	struct nvme_cmd *list[NVME_SLOTS];
	unsigned count = nvme_cmds_in_order(n, list);

	for (unsigned i = 0; i < count; i++) {
		struct nvme_cmd *c = list[i];

		if (c->slot->stage != NVME_SLOT_RUNNING || c->owed)
			continue;
		if (c->put_off || c->ended) {
			nvme_owed_add(c);
		} else if (c->busy) {
			owe(c);
		}
	}
}

/* A guest that is powered off is told when its writes are safe. */
static void resume_shutdown(struct nvme *n)
{
	if ((n->st->csts & NVME_CSTS_SHST_MASK) != NVME_CSTS_SHST_BUSY)
		return;
	nvme_ns_flush_all(n);
	nvme_ctrl_shutdown_step(n);
}

void nvme_move_run(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->halted = n->draining = false;
	n->st->features.timestamp_live = 1;
	resume_shutdown(n);
	if (!(n->st->csts & NVME_CSTS_RDY) || !nvme_ctrl_has_drives(n))
		return;
	/* The client may have brought the memory, or bring it later. */
	if (n->master)
		n->frozen = !nvme_queues_mapped(n);
	gather_owed(n);
	nvme_doorbells_resume(n);
	nvme_irq_resume(n);
	nvme_cqs_revive(n);
	nvme_kick_all(n);
	nvme_spread_update(n);
}

/* -- loaded ------------------------------------------------------------ */

static void adopt_timestamp(struct nvme *n)
{
	struct nvme_features *f = &n->st->features;
	uint64_t now = ob_loop_now(n->loop);

	if (!f->timestamp_live || f->timestamp_ns > now)
		f->timestamp_ns = now;
}

/* Memory that was never written is not looked at: it would become real. */
static void note_written(struct nvme *n)
{
	size_t bytes = ob_dev_hot_written(n->dev);
	size_t first = offsetof(struct nvme_hot, slots);

	n->hot_written = bytes;
	n->slots_written = bytes <= first ? 0 :
		(bytes - first + sizeof(struct nvme_slot) - 1) /
		sizeof(struct nvme_slot);
}

/* check has accepted the state, and a reset has emptied the runtime.  Memory
 * behind the BAR is in place, if it came. */
void nvme_move_loaded(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->halted = n->draining = true;
	adopt_timestamp(n);
	note_written(n);
	nvme_recover(n);
	nvme_identity_adopt(n);
	nvme_queues_adopt(n);
	nvme_cmds_adopt(n);
	nvme_doorbells_adopt(n);
}

struct ob_drive *nvme_move_drive(struct ob_device *dev, unsigned i)
{
	struct nvme *n = ob_dev_runtime(dev);

	return i < n->nr_ns ? n->ns[i].drive : NULL;
}
