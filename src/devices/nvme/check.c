// SPDX-License-Identifier: BSD-3-Clause
/*
 * Is a state that came from elsewhere one that this controller can be in?
 *
 * The bounds of single fields are in the tables (state.c) and hold already.
 * Here is what depends on more than one field, or on this controller's options
 * and drives; together they are all that the running code relies on.  A
 * refusal begins with the field's name as a dump shows it.
 *
 * Not judged: contents that mean nothing here (free slots, the error log,
 * counters), any order of fetching, and entries that the guest wrote, which
 * are judged when they run.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

struct judge {
	struct nvme *n;
	const struct nvme_plain *st;
	const struct nvme_hot *hot;
	struct ob_err *err;
};

#define REFUSE(j, ...) ob_fail((j)->err, EINVAL, __VA_ARGS__)

static bool is_ready(const struct judge *j)
{
	return j->st->csts & NVME_CSTS_RDY;
}

static uint64_t page_size(const struct judge *j)
{
	return 4096u << ((j->st->cc & NVME_CC_MPS_MASK) >> NVME_CC_MPS_SHIFT);
}

/* -- the disk that the guest knows ------------------------------------- */

static bool is_text(const uint8_t *text, size_t size)
{
	size_t len = strnlen((const char *)text, size);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	for (size_t i = len; i < size; i++)
		if (text[i])
			return false;
	return len;
}

static int check_text(const struct judge *j, const char *name,
		      const uint8_t *text, size_t size, const char *given)
{
	if (!is_text(text, size))
		return REFUSE(j, "%s: not a printable text", name);
	if (given && (strlen(given) > size ||
		      strncmp(given, (const char *)text, size)))
		return REFUSE(j, "%s: \"%s\" here, \"%.*s\" in the stream "
			      "(option %s)", name, given, (int)size,
			      (const char *)text, name);
	return 0;
}

/* Names that were not asked for are the stream's. */
static int check_identity(const struct judge *j)
{
	const struct ob_options *opts = ob_dev_options(j->n->dev);
	const char *model = ob_options_str(opts, "model");
	int rc = check_text(j, "serial", j->st->serial,
			    sizeof(j->st->serial),
			    ob_options_str(opts, "serial"));

	if (rc)
		return rc;
	if (model && !strcmp(model, NVME_DEFAULT_MODEL))
		model = NULL;
	return check_text(j, "model", j->st->model, sizeof(j->st->model),
			  model);
}

static int check_options(const struct judge *j, const struct nvme_shape *here)
{
	static const char *const doorbells[] = {
		"adaptive", "trapped", "mapped"
	};
	const struct nvme_shape *there = &j->st->shape;

	if (there->lba_shift != here->lba_shift)
		return REFUSE(j, "shape.lba_shift: %u here, %u in the stream "
			      "(option lba)", here->lba_shift,
			      there->lba_shift);
	if (there->nr_ns != here->nr_ns)
		return REFUSE(j, "shape.nr_ns: %u namespaces here, %u in the "
			      "stream", here->nr_ns, there->nr_ns);
	if (there->queues != here->queues)
		return REFUSE(j, "shape.queues: %u here, %u in the stream "
			      "(option queues)", here->queues,
			      there->queues);
	if (there->doorbells > NVME_DB_MAPPED)
		return REFUSE(j, "shape.doorbells: %u", there->doorbells);
	if (there->doorbells != here->doorbells)
		return REFUSE(j, "shape.doorbells: %s here, %s in the stream "
			      "(option doorbells)", doorbells[here->doorbells],
			      doorbells[there->doorbells]);
	return 0;
}

static int check_flag(const struct judge *j, const char *name, uint64_t here,
		      uint64_t there)
{
	if (here == there)
		return 0;
	return REFUSE(j, "%s: 0x%llx here, 0x%llx in the stream (a bit for "
		      "each namespace)", name, (unsigned long long)here,
		      (unsigned long long)there);
}

static int check_shape(const struct judge *j)
{
	const struct nvme_shape *there = &j->st->shape;
	struct nvme_shape here;
	int rc;

	nvme_ns_shape(j->n, &here);
	if ((rc = check_options(j, &here)) ||
	    (rc = check_flag(j, "shape.readonly", here.readonly,
			     there->readonly)) ||
	    (rc = check_flag(j, "shape.write_cache", here.write_cache,
			     there->write_cache)))
		return rc;
	for (unsigned i = 0; i < NVME_MAX_NS; i++)
		if (there->blocks[i] != here.blocks[i])
			return REFUSE(j, "shape.blocks[%u]: namespace %u has "
				      "%llu blocks here, %llu in the stream",
				      i, i + 1,
				      (unsigned long long)here.blocks[i],
				      (unsigned long long)there->blocks[i]);
	return 0;
}

/* -- registers --------------------------------------------------------- */

static int check_cc(const struct judge *j)
{
	uint32_t cc = j->st->cc, csts = j->st->csts;

	if (cc & ~NVME_CC_WRITABLE)
		return REFUSE(j, "cc: 0x%x has reserved bits", cc);
	if (!is_ready(j))
		return (cc & NVME_CC_EN) && !(csts & NVME_CSTS_CFS)
			? REFUSE(j, "csts: 0x%x, enabled but neither ready "
				 "nor failed", csts) : 0;
	if (!(cc & NVME_CC_EN))
		return REFUSE(j, "csts: 0x%x, ready but not enabled", csts);
	if ((cc & (NVME_CC_CSS_MASK | NVME_CC_AMS_MASK)) ||
	    page_size(j) > 4096u << NVME_MPSMAX)
		return REFUSE(j, "cc: 0x%x, ready with an unsupported "
			      "configuration", cc);
	return 0;
}

static int check_registers(const struct judge *j)
{
	const struct nvme_plain *st = j->st;

	if ((st->csts & ~(NVME_CSTS_RDY | NVME_CSTS_CFS |
			  NVME_CSTS_SHST_MASK | NVME_CSTS_NSSRO)) ||
	    (st->csts & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_MASK)
		return REFUSE(j, "csts: 0x%x has reserved bits", st->csts);
	if (st->aqa & ~0x0fff0fffu)
		return REFUSE(j, "aqa: 0x%x has reserved bits", st->aqa);
	if (st->asq % 4096)
		return REFUSE(j, "asq: 0x%llx is not a page",
			      (unsigned long long)st->asq);
	if (st->acq % 4096)
		return REFUSE(j, "acq: 0x%llx is not a page",
			      (unsigned long long)st->acq);
	return check_cc(j);
}

static int check_doorbells(const struct judge *j)
{
	const struct nvme_plain *st = j->st;

	if (!st->dbbuf && st->dbs_addr)
		return REFUSE(j, "dbs_addr: set without dbbuf");
	if (!st->dbbuf && st->eis_addr)
		return REFUSE(j, "eis_addr: set without dbbuf");
	if (!st->dbbuf)
		return 0;
	if (st->dbbuf > 1 || !is_ready(j) ||
	    j->n->doorbells != NVME_DB_ADAPTIVE)
		return REFUSE(j, "dbbuf: %u on a controller that has none",
			      st->dbbuf);
	if (st->dbs_addr % page_size(j))
		return REFUSE(j, "dbs_addr: 0x%llx is not a page",
			      (unsigned long long)st->dbs_addr);
	if (st->eis_addr % page_size(j) || st->eis_addr == st->dbs_addr)
		return REFUSE(j, "eis_addr: 0x%llx is not a page of its own",
			      (unsigned long long)st->eis_addr);
	return 0;
}

/* -- events, namespaces, features -------------------------------------- */

static int check_events(const struct judge *j)
{
	static const struct nvme_event none;
	const struct nvme_plain *st = j->st;

	if (st->nr_events > NVME_MAX_EVENTS)
		return REFUSE(j, "nr_events: %u of %u", st->nr_events,
			      NVME_MAX_EVENTS);
	if (st->events_masked >> NVME_NR_EVENT_TYPES)
		return REFUSE(j, "events_masked: 0x%x", st->events_masked);
	for (unsigned i = 0; i < NVME_MAX_EVENTS; i++) {
		if (st->events[i].type >= NVME_NR_EVENT_TYPES)
			return REFUSE(j, "events[%u].type: %u", i,
				      st->events[i].type);
		if (i >= st->nr_events &&
		    memcmp(&st->events[i], &none, sizeof(none)))
			return REFUSE(j, "events[%u]: beyond nr_events, %u",
				      i, st->nr_events);
	}
	return 0;
}

static int check_namespaces(const struct judge *j)
{
	unsigned count = j->n->nr_ns;
	uint64_t none = count == 64 ? 0 : UINT64_MAX << count;

	if (j->st->attached & none)
		return REFUSE(j, "attached: 0x%llx with %u namespaces",
			      (unsigned long long)j->st->attached, count);
	if (j->st->changed & none)
		return REFUSE(j, "changed: 0x%llx with %u namespaces",
			      (unsigned long long)j->st->changed, count);
	return 0;
}

#define WORD(fid, member) \
	{ fid, "features." #member, offsetof(struct nvme_features, member) }

static const struct {
	uint8_t fid;
	const char *name;
	size_t at;
} words[] = {
	WORD(NVME_FID_ARBITRATION, arbitration),
	WORD(NVME_FID_POWER, power),
	WORD(NVME_FID_ERROR_RECOVERY, error_recovery),
	WORD(NVME_FID_COALESCING, coalescing),
	WORD(NVME_FID_ATOMICITY, atomicity),
	WORD(NVME_FID_EVENTS, events),
};

static int check_words(const struct judge *j)
{
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t value;

		memcpy(&value, (const char *)&j->st->features + words[i].at,
		       sizeof(value));
		if (value & ~nvme_feature_mask(words[i].fid))
			return REFUSE(j, "%s: 0x%x has reserved bits",
				      words[i].name, value);
	}
	return 0;
}

static int check_queue_counts(const struct judge *j)
{
	const struct nvme_features *f = &j->st->features;
	uint32_t max = j->n->max_queues;

	if (f->nr_sqs < 1 || f->nr_sqs > max)
		return REFUSE(j, "features.nr_sqs: %u of %u", f->nr_sqs, max);
	if (f->nr_cqs < 1 || f->nr_cqs > max)
		return REFUSE(j, "features.nr_cqs: %u of %u", f->nr_cqs, max);
	return 0;
}

static int check_features(const struct judge *j)
{
	const struct nvme_features *f = &j->st->features;
	int rc;

	if ((rc = check_words(j)) || (rc = check_queue_counts(j)))
		return rc;
	if (f->write_cache > 1)
		return REFUSE(j, "features.write_cache: %u", f->write_cache);
	if (f->timestamp_origin > 1)
		return REFUSE(j, "features.timestamp_origin: %u",
			      f->timestamp_origin);
	for (unsigned v = j->n->vectors; v < 128; v++)
		if (f->no_coalescing[v / 64] >> (v % 64) & 1)
			return REFUSE(j, "features.no_coalescing[%u]: vector "
				      "%u of %u", v / 64, v, j->n->vectors);
	return 0;
}

/* -- queues ------------------------------------------------------------ */

/* What submission and completion queues have in common. */
struct queue {
	const char *kind;
	unsigned i;
	uint64_t base, admin_base;
	uint32_t entries, admin_entries, allocated, head, tail;
	bool created;
};

static int check_absent(const struct judge *j, const struct queue *q)
{
	if (q->i == 0 && is_ready(j))
		return REFUSE(j, "%s[0].created: 0 of a ready controller",
			      q->kind);
	if (q->base)
		return REFUSE(j, "%s[%u].base: of a queue that is not there",
			      q->kind, q->i);
	if (q->entries)
		return REFUSE(j, "%s[%u].entries: of a queue that is not "
			      "there", q->kind, q->i);
	if (q->head)
		return REFUSE(j, "%s[%u].head: %u of a queue that is not "
			      "there", q->kind, q->i, q->head);
	if (q->tail)
		return REFUSE(j, "%s[%u].tail: %u of a queue that is not "
			      "there", q->kind, q->i, q->tail);
	return 0;
}

static int check_place(const struct judge *j, const struct queue *q)
{
	if (!is_ready(j) || q->i > q->allocated)
		return REFUSE(j, "%s[%u].created: %s", q->kind, q->i,
			      is_ready(j) ? "more than are allocated"
					  : "the controller is not ready");
	if (q->base % page_size(j))
		return REFUSE(j, "%s[%u].base: 0x%llx is not a page", q->kind,
			      q->i, (unsigned long long)q->base);
	if (q->entries < 2 || q->entries > NVME_MAX_ENTRIES)
		return REFUSE(j, "%s[%u].entries: %u, not 2 to %u", q->kind,
			      q->i, q->entries, NVME_MAX_ENTRIES);
	if (q->i == 0 && q->base != q->admin_base)
		return REFUSE(j, "%s[0].base: not what the register says",
			      q->kind);
	if (q->i == 0 && q->entries != q->admin_entries)
		return REFUSE(j, "%s[0].entries: %u, not what aqa says",
			      q->kind, q->entries);
	return 0;
}

static int check_queue(const struct judge *j, const struct queue *q)
{
	int rc = q->created ? check_place(j, q) : check_absent(j, q);

	if (rc || !q->created)
		return rc;
	if (q->head >= q->entries)
		return REFUSE(j, "%s[%u].head: %u of %u entries", q->kind,
			      q->i, q->head, q->entries);
	if (q->tail >= q->entries)
		return REFUSE(j, "%s[%u].tail: %u of %u entries", q->kind,
			      q->i, q->tail, q->entries);
	return 0;
}

/*
 * The cursors follow the counters by a store or two: a tail may be a batch
 * behind, a head an entry; what stands at its place has the right phase.
 */
static int check_posted(const struct judge *j, unsigned i)
{
	const struct nvme_cq_hot *hot = &j->hot->cqs[i];
	uint32_t entries = j->st->cqs[i].entries, place;

	if (hot->posted == NVME_NO_VALUE)
		return 0;
	if (!entries)
		return hot->posted ? REFUSE(j, "cqs[%u].posted: of a queue "
					    "that is not there", i) : 0;
	if (hot->posted >> 62)
		return REFUSE(j, "cqs[%u].posted: %llu", i,
			      (unsigned long long)hot->posted);
	place = hot->posted % entries;
	if ((place + entries - hot->tail) % entries > NVME_POST)
		return REFUSE(j, "cqs[%u].posted: %llu of %u entries, with "
			      "tail %u", i, (unsigned long long)hot->posted,
			      entries, hot->tail);
	if (hot->tail == place &&
	    hot->phase != (~(hot->posted / entries) & 1))
		return REFUSE(j, "cqs[%u].phase: %u after %llu of %u entries",
			      i, hot->phase, (unsigned long long)hot->posted,
			      entries);
	return 0;
}

static int check_fetched(const struct judge *j, unsigned i)
{
	const struct nvme_sq_hot *hot = &j->hot->sqs[i];
	uint32_t entries = j->st->sqs[i].entries;

	if (hot->fetched == NVME_NO_VALUE)
		return 0;
	if (!entries)
		return hot->fetched ? REFUSE(j, "sqs[%u].fetched: of a queue "
					     "that is not there", i) : 0;
	if (hot->fetched >> 62)
		return REFUSE(j, "sqs[%u].fetched: %llu", i,
			      (unsigned long long)hot->fetched);
	if ((hot->fetched % entries + entries - hot->head) % entries > 1)
		return REFUSE(j, "sqs[%u].fetched: %llu of %u entries, with "
			      "head %u", i, (unsigned long long)hot->fetched,
			      entries, hot->head);
	return 0;
}

static int check_cq(const struct judge *j, unsigned i)
{
	const struct nvme_cq_state *cq = &j->st->cqs[i];
	const struct nvme_cq_hot *hot = &j->hot->cqs[i];
	const struct queue q = {
		"cqs", i, cq->base, j->st->acq, cq->entries,
		(j->st->aqa >> 16) + 1, j->st->features.nr_cqs, hot->head,
		hot->tail, cq->created,
	};
	int rc = check_queue(j, &q);

	if (rc)
		return rc;
	if (cq->created > 1)
		return REFUSE(j, "cqs[%u].created: %u", i, cq->created);
	if (cq->interrupts > cq->created)
		return REFUSE(j, "cqs[%u].interrupts: %u of a queue that is "
			      "not there", i, cq->interrupts);
	if (i == 0 && cq->interrupts != cq->created)
		return REFUSE(j, "cqs[0].interrupts: 0 of the admin queue");
	if (cq->vector && (!cq->created || i == 0))
		return REFUSE(j, "cqs[%u].vector: %u, not 0", i, cq->vector);
	if (cq->interrupts && cq->vector >= j->n->vectors)
		return REFUSE(j, "cqs[%u].vector: %u of %u", i, cq->vector,
			      j->n->vectors);
	if (hot->phase > 1 || (!cq->created && hot->phase != 1))
		return REFUSE(j, "cqs[%u].phase: %u", i, hot->phase);
	return check_posted(j, i);
}

static int check_sq(const struct judge *j, unsigned i)
{
	const struct nvme_sq_state *sq = &j->st->sqs[i];
	const struct queue q = {
		"sqs", i, sq->base, j->st->asq, sq->entries,
		(j->st->aqa & 0xfff) + 1, j->st->features.nr_sqs,
		j->hot->sqs[i].head, j->hot->sqs[i].tail, sq->created,
	};
	int rc = check_queue(j, &q);

	if (rc)
		return rc;
	if (sq->created > 1)
		return REFUSE(j, "sqs[%u].created: %u", i, sq->created);
	if (sq->priority > (sq->created && i ? 3 : 0))
		return REFUSE(j, "sqs[%u].priority: %u", i, sq->priority);
	rc = check_fetched(j, i);
	if (rc)
		return rc;
	if (!sq->created || i == 0)
		return sq->cqid ? REFUSE(j, "sqs[%u].cqid: %u, not 0", i,
					 sq->cqid) : 0;
	if (sq->cqid < 1 || sq->cqid > j->n->max_queues ||
	    !j->st->cqs[sq->cqid].created)
		return REFUSE(j, "sqs[%u].cqid: %u, no such queue", i,
			      sq->cqid);
	return 0;
}

static int check_queues(const struct judge *j)
{
	int rc = 0;

	for (unsigned i = 0; i < NVME_QIDS && !rc; i++)
		rc = check_cq(j, i);
	for (unsigned i = 0; i < NVME_QIDS && !rc; i++)
		rc = check_sq(j, i);
	return rc;
}

/* -- commands ---------------------------------------------------------- */

/* Without counters there are no numbers. */
static int check_numbers(const struct judge *j, unsigned i)
{
	const struct nvme_slot *slot = &j->hot->slots[i];
	bool done = slot->stage == NVME_SLOT_DONE;
	uint64_t fetched = j->hot->sqs[slot->sqid].fetched;

	if (fetched != NVME_NO_VALUE && slot->fetch >= fetched + !done)
		return REFUSE(j, "slots[%u].fetch: %llu of %llu", i,
			      (unsigned long long)slot->fetch,
			      (unsigned long long)fetched);
	if (slot->post && !done)
		return REFUSE(j, "slots[%u].post: %llu of a command that has "
			      "not ended", i, (unsigned long long)slot->post);
	return 0;
}

static int check_slot(const struct judge *j, unsigned i)
{
	const struct nvme_slot *slot = &j->hot->slots[i];

	if (slot->stage > NVME_SLOT_DONE)
		return REFUSE(j, "slots[%u].stage: %u", i, slot->stage);
	if (slot->sqid > NVME_MAX_QUEUES ||
	    (i < NVME_ADMIN_SLOTS) != (slot->sqid == 0))
		return REFUSE(j, "slots[%u].sqid: %u, the admin queue has "
			      "slots 0 to %u", i, slot->sqid,
			      NVME_ADMIN_SLOTS - 1);
	if (!j->st->sqs[slot->sqid].created)
		return REFUSE(j, "slots[%u].sqid: %u, no such queue", i,
			      slot->sqid);
	if (slot->generation != j->st->generation)
		return REFUSE(j, "slots[%u].generation: %u in the "
			      "controller's %u", i, slot->generation,
			      j->st->generation);
	if (slot->stage == NVME_SLOT_DONE && slot->status >> 15)
		return REFUSE(j, "slots[%u].status: 0x%x", i, slot->status);
	return check_numbers(j, i);
}

static int check_slots(const struct judge *j)
{
	unsigned aers = 0;

	for (unsigned i = 0; i < NVME_SLOTS; i++) {
		const struct nvme_slot *slot = &j->hot->slots[i];
		int rc;

		if (slot->stage == NVME_SLOT_FREE)
			continue;
		rc = check_slot(j, i);
		if (rc)
			return rc;
		if (i < NVME_ADMIN_SLOTS && slot->stage == NVME_SLOT_RUNNING &&
		    slot->sqe.opcode == NVME_ADM_ASYNC_EVENT &&
		    ++aers > NVME_MAX_AERS + 1)
			return REFUSE(j, "slots[%u].sqe: more than %u event "
				      "requests wait", i, NVME_MAX_AERS);
	}
	return 0;
}

/* -- the numbers of all commands --------------------------------------- */

struct number {
	uint64_t number;
	uint16_t qid, slot;
};

static int by_number(const void *a, const void *b)
{
	const struct number *x = a, *y = b;

	if (x->qid != y->qid)
		return x->qid < y->qid ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static int check_fetches(const struct judge *j)
{
	struct number list[NVME_SLOTS];
	unsigned count = 0;

	for (unsigned i = 0; i < NVME_SLOTS; i++) {
		const struct nvme_slot *slot = &j->hot->slots[i];

		if (slot->stage != NVME_SLOT_FREE &&
		    j->hot->sqs[slot->sqid].fetched != NVME_NO_VALUE)
			list[count++] = (struct number){
				slot->fetch, slot->sqid, i
			};
	}
	qsort(list, count, sizeof(*list), by_number);
	for (unsigned i = 1; i < count; i++)
		if (!by_number(&list[i - 1], &list[i]))
			return REFUSE(j, "slots[%u].fetch: %llu is that of "
				      "slot %u, too", list[i].slot,
				      (unsigned long long)list[i].number,
				      list[i - 1].slot);
	return 0;
}

/* Places beyond posted: one batch, without holes, in one piece of the ring. */
static int check_place_of(const struct judge *j, unsigned i,
			  uint64_t places[NVME_QIDS])
{
	const struct nvme_slot *slot = &j->hot->slots[i];
	unsigned cqid = j->st->sqs[slot->sqid].cqid;
	uint32_t entries = j->st->cqs[cqid].entries;
	uint64_t posted = j->hot->cqs[cqid].posted, at;

	if (posted == NVME_NO_VALUE)
		return REFUSE(j, "slots[%u].post: without cqs[%u].posted", i,
			      cqid);
	if (slot->post <= posted)
		return 0;
	at = slot->post - posted - 1;
	if (at >= NVME_POST || at >= entries - posted % entries ||
	    at >= entries - 1)
		return REFUSE(j, "slots[%u].post: %llu, too far from %llu", i,
			      (unsigned long long)slot->post,
			      (unsigned long long)posted);
	if (places[cqid] >> at & 1)
		return REFUSE(j, "slots[%u].post: %llu is that of another "
			      "slot, too", i, (unsigned long long)slot->post);
	places[cqid] |= 1ull << at;
	return 0;
}

static int check_posts(const struct judge *j)
{
	uint64_t places[NVME_QIDS] = { 0 };
	int rc = 0;

	for (unsigned i = 0; i < NVME_SLOTS && !rc; i++)
		if (j->hot->slots[i].stage == NVME_SLOT_DONE &&
		    j->hot->slots[i].post)
			rc = check_place_of(j, i, places);
	for (unsigned i = 0; i < NVME_QIDS && !rc; i++)
		if (places[i] & (places[i] + 1))
			rc = REFUSE(j, "slots[].post: queue %u has a hole "
				    "behind %llu", i,
				    (unsigned long long)j->hot->cqs[i].posted);
	return rc;
}

/* In this order: later ones rely on what earlier ones found. */
static int (*const checks[])(const struct judge *j) = {
	check_identity, check_shape, check_registers, check_doorbells,
	check_events, check_namespaces, check_features, check_queues,
	check_slots, check_fetches, check_posts,
};

int nvme_check(struct ob_device *dev, const void *plain, const void *hot,
	       struct ob_err *err)
{
	const struct judge j = { ob_dev_runtime(dev), plain, hot, err };
	int rc = 0;

	for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]) && !rc; i++)
		rc = checks[i](&j);
	return rc;
}
