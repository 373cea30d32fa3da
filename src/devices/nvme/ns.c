// SPDX-License-Identifier: BSD-3-Clause
/*
 * Namespaces: one for each drive, numbered from 1 in the order given.  All
 * exist for good; a guest may detach and attach them (5.12).
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

struct ns_request {
	struct nvme_ns *ns;
	max_align_t align[];
};

#define REQUEST_HEAD \
	((sizeof(struct ns_request) + _Alignof(max_align_t) - 1) & \
	 ~(_Alignof(max_align_t) - 1))

static uint64_t bit(uint32_t nsid)
{
	return 1ull << (nsid - 1);
}

struct nvme_ns *nvme_ns_get(struct nvme *n, uint32_t nsid)
{
	return nsid >= 1 && nsid <= n->nr_ns ? &n->ns[nsid - 1] : NULL;
}

bool nvme_ns_active(const struct nvme *n, uint32_t nsid)
{
	return nsid >= 1 && nsid <= n->nr_ns && (n->st->attached & bit(nsid));
}

bool nvme_has_write_cache(const struct nvme *n)
{
	for (unsigned i = 0; i < n->nr_ns; i++)
		if (n->ns[i].info->write_cache)
			return true;
	return false;
}

/* Notes the change for the log, and tells the guest if it asked for it. */
void nvme_ns_changed(struct nvme *n, uint32_t nsid)
{
	nvme_guard(n, NULL, 0);
	n->st->changed |= bit(nsid);
	if (n->st->features.events & (1u << 8))
		nvme_aer_event(n, NVME_EVENT_NOTICE, NVME_EVENT_NS_CHANGED,
			       NVME_LOG_CHANGED_NS);
	nvme_unguard(n);
}

static void resized(void *arg)
{
	struct nvme_ns *ns = arg;

	ob_dev_enter(ns->n->dev);
	nvme_guard(ns->n, NULL, 0);
	ns->blocks = ns->info->size >> ns->n->lba_shift;
	ns->n->st->shape.blocks[ns->nsid - 1] = ns->blocks;
	ob_dev_log(ns->n->dev, OB_INFO, "namespace %u has %llu blocks now",
		   ns->nsid, (unsigned long long)ns->blocks);
	nvme_ns_changed(ns->n, ns->nsid);
	nvme_unguard(ns->n);
	ob_dev_leave(ns->n->dev);
}

void nvme_ns_shape(const struct nvme *n, struct nvme_shape *shape)
{
	*shape = (struct nvme_shape){
		.lba_shift = n->lba_shift, .nr_ns = n->nr_ns,
		.queues = n->max_queues, .doorbells = n->doorbells,
	};
	for (unsigned i = 0; i < n->nr_ns; i++) {
		const struct nvme_ns *ns = &n->ns[i];

		shape->blocks[i] = ns->blocks;
		if (ns->info->readonly)
			shape->readonly |= bit(ns->nsid);
		if (ns->info->write_cache)
			shape->write_cache |= bit(ns->nsid);
	}
}

static int open_one(struct nvme *n, struct nvme_ns *ns, const char *spec,
		    unsigned flags, struct ob_err *err)
{
	int rc = ob_dev_drive_open(n->dev, ns->nsid - 1, spec, flags,
				   &ns->drive, err);
	char *head;

	if (rc)
		return rc;
	ns->info = ob_drive_info(ns->drive);
	if (!ns->info->size || ns->info->size % (1u << n->lba_shift))
		return ob_fail(err, EINVAL,
			       "%s: its size, %llu bytes, is not a positive "
			       "multiple of the block size, %u",
			       ob_drive_name(ns->drive),
			       (unsigned long long)ns->info->size,
			       1u << n->lba_shift);
	head = calloc(1, REQUEST_HEAD + ob_drive_request_size(ns->drive));
	if (!head)
		return ob_fail(err, ENOMEM, "no memory for a namespace");
	((struct ns_request *)head)->ns = ns;
	ns->flush = (struct ob_block_request *)(head + REQUEST_HEAD);
	ns->blocks = ns->info->size >> n->lba_shift;
	ob_drive_on_resize(ns->drive, resized, ns);
	return 0;
}

/* A drive of another size calls resized. */
void nvme_ns_refresh_all(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);
	struct ob_err err = { 0 };

	for (unsigned i = 0; i < n->nr_ns; i++)
		if (ob_drive_refresh(n->ns[i].drive, &err))
			ob_dev_log(dev, OB_ERROR, "%s", err.msg);
}

int nvme_ns_open_all(struct nvme *n, struct ob_err *err)
{
	const struct ob_options *opts = ob_dev_options(n->dev);
	size_t count = ob_options_count(opts, "drive");
	unsigned flags = ob_options_bool(opts, "readonly") ? OB_DRIVE_READONLY
							   : 0;

	if (ob_dev_is_incoming(n->dev))
		flags |= OB_DRIVE_INCOMING;
	if (count > NVME_MAX_NS)
		return ob_fail(err, EINVAL, "%zu drives; the limit is %u",
			       count, NVME_MAX_NS);
	n->ns = calloc(count, sizeof(*n->ns));
	if (!n->ns)
		return ob_fail(err, ENOMEM, "no memory for namespaces");
	for (size_t i = 0; i < count; i++) {
		struct nvme_ns *ns = &n->ns[i];
		int rc;

		ns->n = n;
		ns->nsid = i + 1;
		n->nr_ns = i + 1;
		nvme_list_init(&ns->held);
		nvme_identity_ns(ns);
		rc = open_one(n, ns, ob_options_nth(opts, "drive", i),
			      flags, err);
		if (rc)
			return rc;
	}
	return 0;
}

void nvme_ns_close_all(struct nvme *n)
{
	for (unsigned i = 0; i < n->nr_ns; i++) {
		ob_drive_close(n->ns[i].drive);
		if (n->ns[i].flush)
			free((char *)n->ns[i].flush - REQUEST_HEAD);
	}
	free(n->ns);
	n->ns = NULL;
	n->nr_ns = 0;
}

/* -- lanes -------------------------------------------------------------- */

/* One that has none is a reason to stay together, and no failure. */
int nvme_ns_branch(struct nvme_lane *lane, struct ob_err *err)
{
	struct nvme *n = lane->n;

	lane->drives = calloc(n->nr_ns, sizeof(struct ob_drive *));
	if (!lane->drives)
		return ob_fail(err, ENOMEM, "no memory for a lane");
	for (unsigned i = 0; i < n->nr_ns && n->branches; i++) {
		struct ob_err why = { 0 };

		if (!nvme_is_away(lane))
			lane->drives[i] = n->ns[i].drive;
		else if (ob_drive_branch(n->ns[i].drive, lane->loop,
					 1u << n->lba_shift, &lane->drives[i],
					 &why))
			n->branches = false;
		if (!n->branches)
			ob_dev_log(n->dev, OB_INFO, "one lane will do: %s: %s",
				   ob_drive_name(n->ns[i].drive), why.msg);
	}
	return 0;
}

void nvme_ns_unbranch(struct nvme_lane *lane)
{
	for (unsigned i = 0; i < lane->n->nr_ns && lane->drives; i++)
		if (nvme_is_away(lane) && lane->drives[i])
			ob_drive_close(lane->drives[i]);
	free(lane->drives);
	lane->drives = NULL;
}

/* -- writes of a former life ------------------------------------------- */

/*
 * A disowned write may still reach the drive.  A new command to the same
 * namespace waits for it, so that the old cannot overwrite the new.
 */
int nvme_step_settled(struct nvme_cmd *c)
{
	if (!c->ns->old_writes)
		return 0;
	nvme_cmd_again(c);
	nvme_list_push(&c->ns->held, c);
	return -EINPROGRESS;
}

void nvme_ns_old_write_done(struct nvme_ns *ns)
{
	struct nvme_cmd *c;

	if (--ns->old_writes)
		return;
	nvme_settled(ns->n);
	while ((c = nvme_list_pop(&ns->held))) {
		nvme_list_push(&c->lane->parked, c);
		nvme_kick(c->lane);
	}
}

void nvme_ns_forget_held(struct nvme *n)
{
	for (unsigned i = 0; i < n->nr_ns; i++)
		nvme_list_init(&n->ns[i].held);
}

/* -- flush at shutdown ------------------------------------------------- */

static void flush_one(struct nvme_ns *ns);

static void flushed(struct ob_block_request *req, int rc)
{
	struct nvme_ns *ns =
		((struct ns_request *)((char *)req - REQUEST_HEAD))->ns;

	ob_dev_enter(ns->n->dev);
	ns->n->nr_busy_flush--;
	ns->flushing = false;
	if (rc)
		ob_dev_log(ns->n->dev, OB_ERROR, "%s: flush at shutdown: %s",
			   ob_drive_name(ns->drive), strerror(-rc));
	if (ns->flush_again)
		flush_one(ns);
	nvme_ctrl_shutdown_step(ns->n);
	if (ns->n->draining)
		nvme_drained(ns->n);
	ob_dev_leave(ns->n->dev);
}

static void flush_one(struct nvme_ns *ns)
{
	ns->flush_again = ns->flushing;
	if (ns->flushing)
		return;
	ns->flushing = true;
	ns->n->nr_busy_flush++;
	ns->flush->op = OB_BLOCK_FLUSH;
	ns->flush->flags = 0;
	ns->flush->offset = ns->flush->length = 0;
	ns->flush->buf = NULL;
	ns->flush->done = flushed;
	ob_drive_submit(ns->drive, ns->flush);
}

void nvme_ns_flush_all(struct nvme *n)
{
	for (unsigned i = 0; i < n->nr_ns; i++)
		if (n->ns[i].info->write_cache && !n->ns[i].info->readonly)
			flush_one(&n->ns[i]);
}

bool nvme_ns_flushing(const struct nvme *n)
{
	return n->nr_busy_flush;
}

/* -- attachment -------------------------------------------------------- */

/* The controller list must name this controller, 0, and no other. */
static int check_controllers(const struct nvme_cmd *c)
{
	uint16_t words[2];

	memcpy(words, c->buf.data, sizeof(words));
	return words[0] != 1 || words[1] != 0 ? NVME_CONTROLLER_LIST_INVALID
					      : 0;
}

int nvme_step_attach(struct nvme_cmd *c)
{
	struct nvme_plain *st = c->n->st;
	uint32_t nsid = c->slot->sqe.nsid, select = c->slot->sqe.cdw10 & 15;
	int rc = check_controllers(c);

	if (!nvme_ns_get(c->n, nsid))
		return NVME_INVALID_NAMESPACE;
	if (select > 1)
		return NVME_INVALID_FIELD;
	if (rc)
		return rc;
	if (select == 0 && (st->attached & bit(nsid)))
		return NVME_NS_ALREADY_ATTACHED;
	if (select == 1 && !(st->attached & bit(nsid)))
		return NVME_NS_NOT_ATTACHED;
	st->attached ^= bit(nsid);
	nvme_ns_changed(c->n, nsid);
	return 0;
}

/* The whole capacity belongs to the drives: nothing to create or delete. */
int nvme_step_ns_management(struct nvme_cmd *c)
{
	switch (c->slot->sqe.cdw10 & 15) {
	case 0:
		return NVME_INSUFFICIENT_CAPACITY;
	case 1:
		return NVME_OPERATION_DENIED;
	default:
		return NVME_INVALID_FIELD;
	}
}
