// SPDX-License-Identifier: BSD-3-Clause
/* Commands in flight, in words: what `outboard inspect --inflight` shows. */
#include "devices/nvme/nvme.h"

static const char *const admin_words[] = {
	[NVME_ADM_DELETE_SQ] = "delete sq", [NVME_ADM_CREATE_SQ] = "create sq",
	[NVME_ADM_GET_LOG] = "get log", [NVME_ADM_DELETE_CQ] = "delete cq",
	[NVME_ADM_CREATE_CQ] = "create cq", [NVME_ADM_IDENTIFY] = "identify",
	[NVME_ADM_ABORT] = "abort", [NVME_ADM_SET_FEATURES] = "set features",
	[NVME_ADM_GET_FEATURES] = "get features",
	[NVME_ADM_ASYNC_EVENT] = "await event",
};

static const char *const io_words[] = {
	[NVME_IO_FLUSH] = "flush", [NVME_IO_WRITE] = "write",
	[NVME_IO_READ] = "read", [NVME_IO_COMPARE] = "compare",
	[NVME_IO_WRITE_ZEROES] = "write zeroes", [NVME_IO_DSM] = "trim",
	[NVME_IO_VERIFY] = "verify",
};

static const char *word(const char *const *words, size_t count, uint8_t opcode)
{
	return opcode < count && words[opcode] ? words[opcode] : "other";
}

static const char *operation(const struct nvme_slot *slot)
{
	if (!slot->sqid)
		return word(admin_words, sizeof(admin_words) /
			    sizeof(admin_words[0]), slot->sqe.opcode);
	return word(io_words, sizeof(io_words) / sizeof(io_words[0]),
		    slot->sqe.opcode);
}

static bool has_range(const struct nvme_slot *slot)
{
	return slot->sqid && slot->sqe.opcode != NVME_IO_FLUSH &&
	       slot->sqe.opcode != NVME_IO_DSM;
}

struct teller {
	const struct nvme *n;
	void (*each)(void *arg, const struct ob_device_inflight *io);
	void *arg;
};

static void tell_slot(const struct teller *t, unsigned i)
{
	const struct nvme_slot *slot = &t->n->hot->slots[i];
	unsigned shift = t->n->st->shape.lba_shift;
	struct ob_device_inflight io = {
		.queue = slot->sqid, .command = slot->sqe.cid,
		.operation = operation(slot),
		.phase = slot->stage == NVME_SLOT_DONE ?
			 "to be posted" : "running",
	};

	if (slot->stage == NVME_SLOT_FREE)
		return;
	io.since = t->n->cmds[i].since;
	if (has_range(slot)) {
		io.offset = nvme_start(&slot->sqe) << shift;
		io.bytes = ((slot->sqe.cdw12 & 0xffffull) + 1) << shift;
	}
	t->each(t->arg, &io);
}

/* To look at those that were never used would make them memory. */
static void tell_slots(const struct teller *t, const struct nvme_slots *slots)
{
	for (unsigned i = slots->first; i < slots->seen; i++)
		tell_slot(t, i);
}

void nvme_inflight(struct ob_device *dev,
		   void (*each)(void *arg,
				const struct ob_device_inflight *io),
		   void *arg)
{
	const struct nvme *n = ob_dev_runtime(dev);
	const struct teller teller = { n, each, arg };

	tell_slots(&teller, &n->admin->slots);
	for (unsigned i = 0; i < n->nr_lanes; i++)
		tell_slots(&teller, &n->lanes[i].slots);
}
