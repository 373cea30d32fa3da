// SPDX-License-Identifier: BSD-3-Clause
/*
 * R18: the handshake of shadow doorbells, in every order that a machine can
 * produce.
 *
 *	guest				device
 *	shadow = tail	(store)		index = seen	(store)
 *	[fence]				[fence]
 *	read index	(load)		read shadow	(load)
 *	ring if it must			sleep if nothing is new
 *
 * A wake-up is lost when the device sleeps, no message is on its way, and
 * there is an entry that it has not seen, or room in a completion queue for
 * which it waits.
 *
 * The device is doorbell.c itself, on memory of ours (shared.h): it is run up to
 * its next access to a shared word, and what is tried then is everything that
 * may happen in that moment: the access, with each value that it may find, a
 * step of a guest's processor, a message, the death of the process.  To go on
 * in the middle of a call the call is run again with the values that its loads
 * have found so far.  Every state that was reached is remembered, so the search
 * ends, and is exhaustive for so many commands.
 *
 * Each queue pair has a processor of the guest, which follows the rule of B.5
 * as Linux does (nvme_dbbuf_need_event).  Two machines:
 *
 * TSO	(x86) a store goes to the processor's buffer, which empties in order and
 *	at any time; a fence waits for that
 * weak	a word is the list of all its values; a load finds any that is not
 *	older than what its side knows; who fences knows all that others knew
 *	when they fenced (C11's fence, without any other order)
 *
 * Both must find the loss when a part of the handshake is missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OB_DEVICES_NVME_SHARED_H
static uint32_t nvme_shared_load(const uint32_t *at);
static void nvme_shared_store(uint32_t *at, uint32_t value);
static void nvme_shared_fence(void);
#include "devices/nvme/doorbell.c"

#define QUEUES	2u
#define WORDS	(4 * QUEUES)	/* shadows, then indexes; by doorbell */
#define VALUES	12u		/* of a word, that somebody may still find */
#define BUFFER	8u
#define TRACE	40u		/* accesses of a call */
#define DEVICE	QUEUES		/* the processors: guests, then the device */
#define SHADOWS 0x1000u		/* guest addresses */
#define INDEXES 0x2000u

enum mutation {
	NONE, NO_DEVICE_FENCE, NO_GUEST_FENCE, NO_SECOND_LOOK, LATE_INDEX,
	HEADS_NOT_ARMED, NO_WRAP, BLIND_SUCCESSOR,
};

static struct setup {
	bool weak;
	enum mutation mutation;
	unsigned queues;
	uint8_t sq, cq;			/* entries */
	uint8_t commands;		/* of each queue */
	uint8_t deaths;
} setup;

struct word {
	uint8_t values[VALUES];		/* the first: what its reader knows */
	uint8_t nr;
	uint8_t fenced;			/* by its writer, up to here */
	uint8_t sent;			/* before a message, up to here */
};

struct processor {
	uint8_t word[BUFFER], value[BUFFER];	/* TSO, oldest first */
	uint8_t nr;
};

enum guest_pc { REST, FENCE, DECIDE };

struct guest {
	uint8_t pc, left, tail, head;
	uint8_t doorbell, old;		/* of what it does now */
};

enum call { IDLE, POLL, ARM, WRITE, SERVE, RESUME };

struct device {
	uint8_t tail[QUEUES], head[QUEUES], posted[QUEUES];
	uint8_t fetched[QUEUES], waiting[QUEUES];	/* without room */
	uint8_t indexes[2 * QUEUES];
	uint8_t seen[QUEUES];		/* what look_at_tails saw; UINT8_MAX: nothing */
	uint8_t kicked;			/* a bit for each queue */
	uint8_t asleep;
	uint8_t call, argument;
	uint8_t nr, trace[TRACE];	/* of the call so far: what loads found */
};

struct world {
	struct word words[WORDS];
	struct processor processors[QUEUES + 1];
	struct guest guests[QUEUES];
	struct device device;
	uint8_t messages;		/* a bit for each doorbell */
	uint8_t deaths;
};

/* -- the machine ------------------------------------------------------- */

static bool writes(unsigned processor, unsigned word)
{
	return word < 2 * QUEUES ? processor == word / 2 : processor == DEVICE;
}

static bool reads(unsigned processor, unsigned word)
{
	return word < 2 * QUEUES ? processor == DEVICE
				 : processor == (word - 2 * QUEUES) / 2;
}

/* Its reader knows the n-th value: those before are never found again. */
static void forget(struct word *w, unsigned n)
{
	w->nr -= n;
	memmove(w->values, w->values + n, w->nr);
	memset(w->values + w->nr, 0, n);
	w->fenced = w->fenced > n ? w->fenced - n : 0;
	w->sent = w->sent > n ? w->sent - n : 0;
}

static void put(struct world *w, unsigned word, uint8_t value)
{
	struct word *at = &w->words[word];

	if (!setup.weak) {
		at->values[0] = value;
		return;
	}
	assert_true(at->nr < VALUES);
	at->values[at->nr++] = value;
}

static void drain(struct world *w, unsigned processor)
{
	struct processor *p = &w->processors[processor];

	put(w, p->word[0], p->value[0]);
	p->nr--;
	memmove(p->word, p->word + 1, BUFFER - 1);
	memmove(p->value, p->value + 1, BUFFER - 1);
	p->word[BUFFER - 1] = p->value[BUFFER - 1] = 0;
}

static void drain_all(struct world *w, unsigned processor)
{
	while (w->processors[processor].nr)
		drain(w, processor);
}

static void store(struct world *w, unsigned processor, unsigned word,
		  uint8_t value)
{
	struct processor *p = &w->processors[processor];

	assert_true(writes(processor, word));
	if (setup.weak) {
		put(w, word, value);
		return;
	}
	if (p->nr == BUFFER)
		drain(w, processor);
	p->word[p->nr] = word;
	p->value[p->nr++] = value;
}

static unsigned choices(const struct world *w, unsigned processor,
			unsigned word)
{
	return writes(processor, word) ? 1 : w->words[word].nr;
}

/* One's own stores first; of others' words the chosen value. */
static uint8_t load(struct world *w, unsigned processor, unsigned word,
		    unsigned choice)
{
	const struct processor *p = &w->processors[processor];
	struct word *at = &w->words[word];

	if (!writes(processor, word)) {
		forget(at, choice);
		return at->values[0];
	}
	for (unsigned i = p->nr; i > 0; i--)
		if (p->word[i - 1] == word)
			return p->value[i - 1];
	return at->values[at->nr - 1];
}

static bool fence(struct world *w, unsigned processor)
{
	if (w->processors[processor].nr)
		return false;
	for (unsigned i = 0; i < WORDS; i++) {
		if (writes(processor, i))
			w->words[i].fenced = w->words[i].nr - 1;
		else if (reads(processor, i))
			forget(&w->words[i], w->words[i].fenced);
	}
	return true;
}

/* -- the device: a call of doorbell.c, up to its next access ------------ */

static struct nvme_plain plain;
static struct nvme_hot hot;
static struct nvme n;
static struct nvme_lane lanes[2];		/* and the admin queue's */
static struct nvme_sq sqs[NVME_QIDS];
static struct nvme_cq cqs[NVME_QIDS];
static struct nvme_batches batches;
static uint32_t shadows[2 * NVME_QIDS], indexes[2 * NVME_QIDS];

static struct {
	struct world *w;		/* on which the access is done */
	unsigned at, nr;		/* of the trace */
	unsigned choice, choices;
	bool may_act, acted, blocked, has_fenced;
	jmp_buf stop;
	unsigned nr_late;		/* LATE_INDEX */
	uint8_t late[BUFFER], late_value[BUFFER];
} run;

static unsigned word_of(const uint32_t *at)
{
	bool is_index = at >= indexes && at < indexes + 2 * NVME_QIDS;
	unsigned doorbell = at - (is_index ? indexes : shadows);

	assert_in_range(doorbell, 2, 2 * QUEUES + 1);
	return doorbell - 2 + (is_index ? 2 * QUEUES : 0);
}

/* True: that was before, with this value. */
static bool was(uint8_t *value)
{
	if (run.at < run.nr) {
		*value = run.w->device.trace[run.at++];
		return true;
	}
	if (run.acted || !run.may_act)
		longjmp(run.stop, 1);
	run.acted = true;
	return false;
}

static uint8_t note(uint8_t value)
{
	struct device *d = &run.w->device;

	assert_true(d->nr < TRACE);
	d->trace[d->nr++] = value;
	return value;
}

static uint32_t nvme_shared_load(const uint32_t *at)
{
	unsigned word = word_of(at), qid = word / 2 + 1;
	uint8_t value;

	if (setup.mutation == NO_SECOND_LOOK && run.has_fenced &&
	    word < 2 * QUEUES)
		return word % 2 ? hot.cqs[qid].head : hot.sqs[qid].tail;
	if (was(&value))
		return value;
	run.choices = choices(run.w, DEVICE, word);
	return note(load(run.w, DEVICE, word, run.choice));
}

static void nvme_shared_store(uint32_t *at, uint32_t v)
{
	unsigned word = word_of(at);
	bool arms = run.w->device.call == ARM;
	uint8_t value;

	if (arms && setup.mutation == HEADS_NOT_ARMED && word % 2)
		return;
	if (arms && setup.mutation == LATE_INDEX) {
		run.late[run.nr_late] = word;
		run.late_value[run.nr_late++] = v;
		return;
	}
	if (was(&value))
		return;
	store(run.w, DEVICE, word, v);
	note(0);
}

static void nvme_shared_fence(void)
{
	uint8_t value;

	run.has_fenced = true;
	if (setup.mutation == NO_DEVICE_FENCE || was(&value))
		return;
	run.blocked = !fence(run.w, DEVICE);
	if (run.blocked)
		longjmp(run.stop, 1);
	note(0);
}

/* What doorbell.c needs of others. */
void *ob_dma_ptr(struct ob_device *dev, uint64_t addr, uint64_t len, bool write)
{
	(void)dev;
	(void)len;
	(void)write;
	return addr == SHADOWS ? shadows : indexes;
}

void *ob_dev_bar_memory(struct ob_device *dev, unsigned bar)
{
	(void)dev;
	(void)bar;
	return NULL;
}

void ob_dma_wrote(struct ob_device *dev, uint64_t addr, uint64_t len)
{
	(void)dev;
	(void)addr;
	(void)len;
}

enum ob_irq_mode ob_irq_mode(const struct ob_device *dev)
{
	(void)dev;
	return OB_IRQ_MSIX;
}

void nvme_set_polling(struct nvme *nvme, bool on, bool busy)
{
	(void)nvme;
	(void)on;
	(void)busy;
}

/* One lane, at home: nothing is left to others. */
void nvme_ask(struct nvme *nvme, enum nvme_want what)
{
	(void)nvme;
	fail_msg("want %u", what);
}

void ob_loop_post(struct ob_loop *loop, struct ob_post *post)
{
	(void)loop;
	(void)post;
	fail();
}

static uint8_t all_queues(void)
{
	return (1 << setup.queues) - 1;
}

void nvme_kick(struct nvme_lane *lane)
{
	(void)lane;
	run.w->device.kicked = all_queues();
}

void nvme_cq_queue(struct nvme_cq *cq)
{
	run.w->device.kicked |= 1 << (cq - cqs - 1);
}

bool nvme_list_empty(const struct nvme_list *list)
{
	return !list->first;
}

bool nvme_cq_unconsumed(const struct nvme *nvme, unsigned qid)
{
	return nvme->hot->cqs[qid].head != nvme->hot->cqs[qid].tail;
}

void nvme_irq_update(struct nvme *nvme)
{
	(void)nvme;
}

/* A value is refused: here that is a mistake of ours. */
void ob_dev_log(struct ob_device *dev, enum ob_level level, const char *fmt, ...)
{
	(void)dev;
	(void)level;
	fail_msg("%s", fmt);
}

void nvme_guard(struct nvme *nvme, const void *also, size_t len)
{
	(void)nvme;
	(void)also;
	(void)len;
}

void nvme_unguard(struct nvme *nvme)
{
	(void)nvme;
}

void nvme_error_add(struct nvme *nvme, const struct nvme_error_entry *entry)
{
	(void)nvme;
	(void)entry;
}

void nvme_aer_event(struct nvme *nvme, uint8_t type, uint8_t info, uint8_t log)
{
	(void)nvme;
	(void)type;
	(void)info;
	(void)log;
}

static uint8_t in_queue(unsigned from, unsigned to, unsigned entries)
{
	return (to + entries - from) % entries;
}

/* Commands of a queue, fetched and ended; posted as far as there is room. */
static void serve(struct device *d, unsigned q)
{
	struct nvme_cq_hot *cq = &hot.cqs[q + 1];
	unsigned room;

	d->kicked &= ~(1 << q);
	d->waiting[q] += in_queue(d->fetched[q], d->tail[q], setup.sq);
	d->fetched[q] = d->tail[q];
	n.cqs[q + 1].done.first = d->waiting[q] ? &n.cmds[0] : NULL;
	if (!d->waiting[q])
		return;
	if (in_queue(cq->head, cq->tail, setup.cq) == setup.cq - 1u)
		nvme_cq_head_refresh(&n, q + 1);
	if (in_queue(cq->head, cq->tail, setup.cq) == setup.cq - 1u)
		return;
	nvme_cq_head_behind(&n, q + 1);
	nvme_sq_tail_behind(&n, q + 1);
	room = setup.cq - 1u - in_queue(cq->head, cq->tail, setup.cq);
	if (room > d->waiting[q])
		room = d->waiting[q];
	d->waiting[q] -= room;
	cq->tail = (cq->tail + room) % setup.cq;
	if (d->waiting[q])
		d->kicked |= 1 << q;
}

static void set_up(const struct device *d)
{
	lanes->nr_full = 0;
	for (unsigned q = 0; q < setup.queues; q++) {
		lanes->nr_full += d->waiting[q] > 0;
		lanes->tails[q + 1] = d->seen[q] == UINT8_MAX ? UINT32_MAX : d->seen[q];
		hot.sqs[q + 1].tail = d->tail[q];
		hot.cqs[q + 1].head = d->head[q];
		hot.cqs[q + 1].tail = d->posted[q];
		n.cqs[q + 1].done.first = d->waiting[q] ? &n.cmds[0] : NULL;
		batches.indexes[2 * q + 2] = d->indexes[2 * q];
		batches.indexes[2 * q + 3] = d->indexes[2 * q + 1];
	}
}

static void take_over(struct device *d)
{
	for (unsigned q = 0; q < setup.queues; q++) {
		d->seen[q] = (uint8_t)lanes->tails[q + 1];
		d->tail[q] = hot.sqs[q + 1].tail;
		d->head[q] = hot.cqs[q + 1].head;
		d->posted[q] = hot.cqs[q + 1].tail;
		d->indexes[2 * q] = batches.indexes[2 * q + 2];
		d->indexes[2 * q + 1] = batches.indexes[2 * q + 3];
	}
}

static void call(struct device *d)
{
	bool arms = d->call == ARM, may_sleep = false;

	switch ((enum call)d->call) {
	case POLL:
		if (nvme_doorbells_poll(lanes))
			nvme_kick(lanes);
		break;
	case ARM:
		may_sleep = nvme_doorbells_arm(lanes);
		break;
	case WRITE:
		nvme_doorbell_write(&n, NVME_REG_DBS + 4 * d->argument, 0);
		break;
	case SERVE:
		serve(d, d->argument);
		break;
	case RESUME:
		nvme_doorbells_resume(&n);
		nvme_kick(lanes);
		break;
	case IDLE:
		break;
	}
	for (unsigned i = 0; i < run.nr_late; i++)
		store(run.w, DEVICE, run.late[i], run.late_value[i]);
	take_over(d);
	d->asleep = arms && may_sleep && !d->kicked;
	d->call = d->argument = d->nr = 0;
	memset(d->trace, 0, sizeof(d->trace));
}

/* From its next access up to the one behind; false: it must wait. */
static bool go_on(struct world *w, unsigned choice, bool may_act)
{
	static struct device before;

	before = w->device;
	memset(&run, 0, sizeof(run));
	run.w = w;
	run.nr = before.nr;
	run.choice = choice;
	run.may_act = may_act;
	set_up(&before);
	if (!setjmp(run.stop)) {
		call(&w->device);
		return true;
	}
	/* It will begin again, with one value more. */
	before.nr = w->device.nr;
	memcpy(before.trace, w->device.trace, sizeof(before.trace));
	w->device = before;
	return !run.blocked;
}

/* What its process had stored stays; the cursors are in the state. */
static void die(struct world *w)
{
	struct device *d = &w->device;
	struct device heir = { .call = RESUME };

	drain_all(w, DEVICE);
	set_up(d);
	if (d->call)
		go_on(w, 0, false);
	take_over(d);
	memcpy(heir.tail, d->tail, sizeof(heir.tail));
	memcpy(heir.head, d->head, sizeof(heir.head));
	memcpy(heir.posted, d->posted, sizeof(heir.posted));
	memcpy(heir.fetched, d->fetched, sizeof(heir.fetched));
	memcpy(heir.waiting, d->waiting, sizeof(heir.waiting));
	if (setup.mutation == BLIND_SUCCESSOR) {
		heir.call = IDLE;
		heir.asleep = true;
	}
	w->device = heir;
	w->deaths--;
}

/* -- the guest --------------------------------------------------------- */

/* B.5, and nvme_dbbuf_need_event of Linux. */
static bool must_ring(uint8_t index, uint8_t new, uint8_t old)
{
	if (setup.mutation == NO_WRAP)
		return index >= old && index < new;
	return (uint16_t)(new - index - 1) < (uint16_t)(new - old);
}

static void begin(struct world *w, unsigned q, bool head, uint8_t old,
		  uint8_t new)
{
	struct guest *g = &w->guests[q];

	g->doorbell = 2 * q + head;
	g->old = old;
	g->pc = FENCE;
	store(w, q, g->doorbell, new);
}

static bool can_submit(const struct world *w, unsigned q)
{
	const struct guest *g = &w->guests[q];

	return g->pc == REST && g->left &&
	       in_queue(w->device.fetched[q], g->tail, setup.sq) + 1 < setup.sq;
}

static void submit(struct world *w, unsigned q)
{
	struct guest *g = &w->guests[q];
	uint8_t old = g->tail;

	g->tail = (g->tail + 1) % setup.sq;
	g->left--;
	begin(w, q, false, old, g->tail);
}

static bool can_consume(const struct world *w, unsigned q)
{
	return w->guests[q].pc == REST &&
	       w->guests[q].head != w->device.posted[q];
}

/* All that is there. */
static void consume(struct world *w, unsigned q)
{
	struct guest *g = &w->guests[q];
	uint8_t old = g->head;

	g->head = w->device.posted[q];
	begin(w, q, true, old, g->head);
}

/* A message takes along all that was stored before. */
static void ring_doorbell(struct world *w, unsigned q)
{
	drain_all(w, q);
	for (unsigned i = 2 * q; i < 2 * q + 2; i++)
		w->words[i].sent = w->words[i].nr - 1;
	w->messages |= 1 << w->guests[q].doorbell;
}

static void decide(struct world *w, unsigned q, unsigned choice)
{
	struct guest *g = &w->guests[q];
	uint8_t new = g->doorbell % 2 ? g->head : g->tail;
	uint8_t index = load(w, q, g->doorbell + 2 * QUEUES, choice);

	if (must_ring(index, new, g->old))
		ring_doorbell(w, q);
	g->pc = REST;
	g->doorbell = g->old = 0;
}

/* -- the search -------------------------------------------------------- */

#define SEEN (1u << 23)
static uint64_t *seen;
static unsigned nr_seen;
static struct world *todo;
static size_t nr_todo, room_todo;
static bool is_lost;

static bool is_new(const struct world *w)
{
	const uint8_t *bytes = (const uint8_t *)w;
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < sizeof(*w); i++)
		h = (h ^ bytes[i]) * 0x100000001b3ull;
	h ^= h >> 29;
	h |= 1;				/* 0: a free place */
	for (uint64_t at = h >> 8;; at++) {
		if (seen[at % SEEN] == h)
			return false;
		if (seen[at % SEEN])
			continue;
		seen[at % SEEN] = h;
		assert_true(++nr_seen < SEEN / 4 * 3);
		return true;
	}
}

static void reach(const struct world *w)
{
	if (!is_new(w))
		return;
	if (nr_todo == room_todo) {
		room_todo = room_todo ? 2 * room_todo : 1024;
		todo = realloc(todo, room_todo * sizeof(*todo));
		assert_non_null(todo);
	}
	todo[nr_todo++] = *w;
}

static void try_guest(const struct world *w, unsigned q)
{
	struct world next = *w;
	unsigned nr;

	switch (w->guests[q].pc) {
	case REST:
		if (can_submit(w, q)) {
			submit(&next, q);
			reach(&next);
			next = *w;
		}
		if (can_consume(w, q)) {
			consume(&next, q);
			reach(&next);
		}
		return;
	case FENCE:
		next.guests[q].pc = DECIDE;
		if (setup.mutation == NO_GUEST_FENCE || fence(&next, q))
			reach(&next);
		return;
	default:
		nr = choices(w, q, w->guests[q].doorbell + 2 * QUEUES);
		for (unsigned i = 0; i < nr; i++) {
			next = *w;
			decide(&next, q, i);
			reach(&next);
		}
	}
}

static void try_call(const struct world *w)
{
	unsigned nr = 1;

	for (unsigned i = 0; i < nr; i++) {
		struct world next = *w;

		if (!go_on(&next, i, true))
			return;
		if (run.choices > nr)
			nr = run.choices;
		reach(&next);
	}
}

static void try_begin(const struct world *w, enum call what, unsigned argument)
{
	struct world next = *w;

	next.device.call = what;
	next.device.argument = argument;
	reach(&next);
}

static void try_message(const struct world *w, unsigned doorbell)
{
	struct world next = *w;

	next.messages &= ~(1 << doorbell);
	next.device.asleep = false;
	next.device.call = WRITE;
	next.device.argument = doorbell + 2;
	forget(&next.words[doorbell], next.words[doorbell].sent);
	reach(&next);
}

/* At rest: messages, what is to be done, and else to look or to sleep. */
static void try_device(const struct world *w)
{
	const struct device *d = &w->device;

	if (d->call) {
		try_call(w);
		return;
	}
	for (unsigned i = 0; i < 2 * setup.queues; i++)
		if (w->messages >> i & 1)
			try_message(w, i);
	if (d->asleep)
		return;
	for (unsigned q = 0; q < setup.queues; q++)
		if (d->kicked >> q & 1)
			try_begin(w, SERVE, q);
	if (d->kicked)
		return;
	try_begin(w, POLL, 0);
	try_begin(w, ARM, 0);
}

/* All has come to rest, and something was not seen. */
static bool loses(const struct world *w)
{
	if (!w->device.asleep || w->messages)
		return false;
	for (unsigned i = 0; i <= QUEUES; i++)
		if (w->processors[i].nr)
			return false;
	for (unsigned q = 0; q < setup.queues; q++)
		if (w->guests[q].pc != REST || can_consume(w, q))
			return false;
	for (unsigned q = 0; q < setup.queues; q++)
		if (w->guests[q].tail != w->device.tail[q] ||
		    w->device.waiting[q])
			return true;
	return false;
}

static void try_all(const struct world *w)
{
	is_lost |= loses(w);
	for (unsigned i = 0; i <= QUEUES; i++)
		if (w->processors[i].nr) {
			struct world next = *w;

			drain(&next, i);
			reach(&next);
		}
	for (unsigned q = 0; q < setup.queues; q++)
		try_guest(w, q);
	try_device(w);
	if (w->deaths) {
		struct world next = *w;

		die(&next);
		reach(&next);
	}
}

static void prepare(struct world *w)
{
	memset(w, 0, sizeof(*w));
	for (unsigned i = 0; i < WORDS; i++)
		w->words[i].nr = 1;
	for (unsigned q = 0; q < setup.queues; q++)
		w->guests[q].left = setup.commands;
	w->deaths = setup.deaths;
	n = (struct nvme){
		.st = &plain, .hot = &hot, .sqs = sqs, .cqs = cqs,
		.batches = &batches,
		.master = true,
		.lanes = lanes, .admin = &lanes[1], .nr_lanes = 1,
		.last_cq = setup.queues, .max_queues = setup.queues,
	};
	lanes[0] = lanes[1] = (struct nvme_lane){ .n = &n };
	for (unsigned q = 1; q <= setup.queues; q++)
		lanes->qids[lanes->nr_sqs++] = q;
	plain.csts = NVME_CSTS_RDY;
	plain.dbbuf = 1;
	plain.dbs_addr = SHADOWS;
	plain.eis_addr = INDEXES;
	for (unsigned q = 0; q < NVME_QIDS; q++) {
		plain.sqs[q] = (struct nvme_sq_state){
			.created = q && q <= setup.queues,
			.entries = setup.sq, .cqid = q,
		};
		plain.cqs[q] = (struct nvme_cq_state){
			.created = q && q <= setup.queues,
			.entries = setup.cq, .interrupts = 1,
		};
		n.sqs[q].bad_tail = n.cqs[q].bad_head = NVME_NO_VALUE;
		n.sqs[q].lane = n.cqs[q].lane = q ? lanes : n.admin;
	}
}

/* True if some order of steps loses a wake-up. */
static bool search(struct setup s)
{
	static struct nvme_cmd any;
	struct world w;

	setup = s;
	prepare(&w);
	n.cmds = &any;
	seen = calloc(SEEN, sizeof(*seen));
	assert_non_null(seen);
	nr_seen = 0;
	is_lost = false;
	nr_todo = 0;
	reach(&w);
	while (nr_todo && !is_lost) {
		w = todo[--nr_todo];
		try_all(&w);
	}
	free(seen);
	free(todo);
	todo = NULL;
	room_todo = 0;
	return is_lost;
}

static const struct setup setups[] = {
	/* Round and round a small queue. */
	{ .queues = 1, .sq = 2, .cq = 2, .commands = 4 },
	{ .queues = 1, .sq = 3, .cq = 4, .commands = 4 },
	/* A completion queue that is full. */
	{ .queues = 1, .sq = 4, .cq = 2, .commands = 4 },
	/* Two processors of the guest. */
	{ .queues = 2, .sq = 3, .cq = 3, .commands = 1 },
	/* Deaths in the middle of it. */
	{ .queues = 1, .sq = 3, .cq = 2, .commands = 3, .deaths = 2 },
};
#define NR_SETUPS (sizeof(setups) / sizeof(*setups))

static bool any_loses(enum mutation mutation, bool weak)
{
	bool lost = false;

	for (unsigned i = 0; i < NR_SETUPS && !lost; i++) {
		struct setup s = setups[i];

		s.mutation = mutation;
		s.weak = weak;
		if (mutation == BLIND_SUCCESSOR && !s.deaths)
			continue;
		lost = search(s);
		print_message("%s, setup %u: %u states%s\n",
			      weak ? "weak" : "TSO", i, nr_seen,
			      lost ? ", a loss" : "");
	}
	return lost;
}

static void test_R18_nothing_is_lost(void **state)
{
	(void)state;
	for (int weak = 0; weak < 2; weak++) {
		assert_false(any_loses(NONE, weak));
		assert_true(nr_seen > 1000);
	}
}

#define FINDS(what, mutation)						\
	static void test_R18_finds_##what(void **state)			\
	{								\
		(void)state;						\
		assert_true(any_loses(mutation, false));		\
		assert_true(any_loses(mutation, true));			\
	}

FINDS(no_fence_of_the_device, NO_DEVICE_FENCE)
FINDS(no_fence_of_the_guest, NO_GUEST_FENCE)
FINDS(no_second_look, NO_SECOND_LOOK)
FINDS(an_index_after_the_look, LATE_INDEX)
FINDS(heads_that_are_not_armed, HEADS_NOT_ARMED)
FINDS(a_guest_that_does_not_wrap, NO_WRAP)
FINDS(a_successor_that_does_not_look, BLIND_SUCCESSOR)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R18_nothing_is_lost),
		cmocka_unit_test(test_R18_finds_no_fence_of_the_device),
		cmocka_unit_test(test_R18_finds_no_fence_of_the_guest),
		cmocka_unit_test(test_R18_finds_no_second_look),
		cmocka_unit_test(test_R18_finds_an_index_after_the_look),
		cmocka_unit_test(test_R18_finds_heads_that_are_not_armed),
		cmocka_unit_test(test_R18_finds_a_guest_that_does_not_wrap),
		cmocka_unit_test(test_R18_finds_a_successor_that_does_not_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
