// SPDX-License-Identifier: BSD-3-Clause
/*
 * A state that came from elsewhere, as hostile input (R25): each thing that
 * the running code relies on is broken once, and must be refused by its name;
 * and what is accepted must do no harm, whatever it is.  That all of the state
 * arrives (R24) is here, too, because the same walk shows it.
 */
#include "lib.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char options[] =
	"drive=delay:hang:mem:1M,drive=mem:1M,queues=16";

struct state {
	struct nvme_plain plain;
	struct nvme_hot hot;
};

static struct guest *guest;
static struct ob_device *target;	/* stands still */
static struct state good;

/* -- a state with something of everything ------------------------------ */

static void put_and_ring(struct queue *q, struct nvme_sqe sqe, unsigned count)
{
	while (count--)
		guest_put(guest, q, &sqe);
	guest_ring(guest, q);
	guest_settle(guest);
}

/* Two AERs wait, writes are at the drive, completions find no room. */
static void make_busy(void)
{
	uint64_t data = guest_alloc(guest, 4096);
	struct nvme_sqe aer = { .opcode = NVME_ADM_ASYNC_EVENT };
	struct nvme_sqe flush = { .opcode = NVME_IO_FLUSH, .nsid = 2 };

	guest_enable(guest);
	assert_int_equal(guest_create_queue(guest, 1, 64), 0);
	assert_int_equal(guest_create_queue(guest, 2, 4), 0);
	guest_shadow(guest);
	put_and_ring(&guest->admin, aer, 2);
	put_and_ring(&guest->io[1], guest_rw(guest, NVME_IO_WRITE, 0, 8, data),
		     3);
	put_and_ring(&guest->io[2], flush, 3);
	put_and_ring(&guest->io[2], flush, 2);
	/* One told, its log not read; one that waits for that. */
	guest_set_reg(guest, NVME_REG_DBS + 4 * 7, 1);
	guest_settle(guest);
	guest_set_reg(guest, NVME_REG_DBS, 500);
	guest_settle(guest);
}

static void save(struct ob_device *dev, struct state *s)
{
	lib_copy(&nvme_plain_table, &s->plain, dev->state);
	lib_copy(&nvme_hot_table, &s->hot, dev->hot);
}

static int setup(void **state)
{
	(void)state;
	guest = guest_start(options);
	make_busy();
	target = lib_create(guest, options);
	lib_stop(target);
	lib_halt(target);
	lib_stop(guest->dev);
	lib_halt(guest->dev);
	guest_settle(guest);
	save(guest->dev, &good);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lib_destroy(target);
	guest_end(guest);
	return 0;
}

static int judged(struct ob_device *dev, const struct state *s,
		  struct ob_err *err)
{
	*err = (struct ob_err){ "" };
	return dev->cls->check(dev, &s->plain, &s->hot, err);
}

static void test_the_state_has_something_of_everything(void **state)
{
	unsigned running = 0, done = 0;

	(void)state;
	for (unsigned i = 0; i < NVME_SLOTS; i++) {
		running += good.hot.slots[i].stage == NVME_SLOT_RUNNING;
		done += good.hot.slots[i].stage == NVME_SLOT_DONE;
	}
	assert_int_equal(running, 1 + 3);
	assert_int_equal(done, 2);
	assert_int_equal(good.plain.nr_events, 1);
	assert_int_equal(good.plain.dbbuf, 1);
}

/* -- R25: each invariant ------------------------------------------------ */

struct bad {
	const char *name;	/* what the refusal begins with */
	bool hot, set;		/* set to value, or flip its bits */
	size_t at, size;
	uint64_t value;
};

#define ROW(name, hot, set, s, m, v) \
	{ name, hot, set, offsetof(s, m), sizeof(((s *)0)->m), v }
#define PLAIN(m, v)	ROW(#m, false, true, struct nvme_plain, m, v)
#define PLAIN_AS(n, m, v) ROW(n, false, true, struct nvme_plain, m, v)
#define FLIP(m, v)	ROW(#m, false, false, struct nvme_plain, m, v)
#define FLIP_AS(n, m, v) ROW(n, false, false, struct nvme_plain, m, v)
#define HOT_AS(n, m, v)	ROW(n, true, true, struct nvme_hot, m, v)
#define HOT(m, v)	ROW(#m, true, true, struct nvme_hot, m, v)

static const struct bad bads[] = {
	/* the disk */
	PLAIN_AS("serial", serial[0], 0), PLAIN_AS("serial", serial[3], 7),
	PLAIN_AS("serial", serial[4], 0x80),
	PLAIN_AS("serial", serial[19], 'x'),
	PLAIN_AS("model", model[0], 0), PLAIN_AS("model", model[39], 'x'),
	PLAIN(shape.lba_shift, 12), PLAIN(shape.nr_ns, 1),
	PLAIN(shape.queues, 4), PLAIN(shape.doorbells, 1),
	PLAIN(shape.doorbells, 77), PLAIN(shape.readonly, 1),
	PLAIN(shape.write_cache, 2), PLAIN(shape.blocks[1], 4096),
	PLAIN(shape.blocks[5], 1),
	/* registers */
	FLIP(cc, 2), FLIP(cc, 1u << 4), FLIP(cc, 5u << 7), FLIP(cc, 1u << 11),
	FLIP(cc, 1u << 31), FLIP_AS("csts", cc, 1),
	PLAIN(csts, 0x21), PLAIN(csts, 0xd), PLAIN(csts, 0),
	FLIP(aqa, 1u << 12), FLIP(asq, 1), FLIP(acq, 2048),
	/* shadow doorbells */
	PLAIN_AS("dbs_addr", dbbuf, 0), PLAIN(dbbuf, 2),
	PLAIN_AS("dbbuf", csts, NVME_CSTS_CFS),
	FLIP(dbs_addr, 8), FLIP(eis_addr, 8),
	/* events, namespaces */
	PLAIN(nr_events, 17), PLAIN_AS("events[0]", nr_events, 0),
	PLAIN(events[0].type, 3), PLAIN_AS("events[9]", events[9].info, 1),
	PLAIN(events_masked, 8), PLAIN(attached, 4),
	PLAIN(changed, 1ull << 63),
	/* features */
	FLIP(features.arbitration, 8), FLIP(features.power, 1),
	FLIP(features.error_recovery, 1u << 16),
	FLIP(features.coalescing, 1u << 16), FLIP(features.atomicity, 2),
	FLIP(features.events, 1u << 9), PLAIN(features.write_cache, 2),
	PLAIN(features.nr_sqs, 0), PLAIN(features.nr_sqs, 17),
	PLAIN(features.nr_cqs, 0), PLAIN(features.nr_cqs, 17),
	PLAIN_AS("sqs[2].created", features.nr_sqs, 1),
	PLAIN_AS("cqs[2].created", features.nr_cqs, 1),
	PLAIN(features.timestamp_origin, 2),
	PLAIN(features.no_coalescing[0], 1u << 17),
	PLAIN(features.no_coalescing[1], 1),
	/* queues that are there */
	PLAIN(sqs[0].created, 0), PLAIN(cqs[0].created, 0),
	PLAIN(sqs[1].created, 2), PLAIN(cqs[1].created, 2),
	FLIP(sqs[1].base, 8), FLIP(cqs[1].base, 64),
	PLAIN(sqs[1].entries, 0), PLAIN(sqs[1].entries, 1),
	PLAIN(sqs[1].entries, 4097), PLAIN(sqs[1].entries, UINT32_MAX),
	PLAIN(cqs[1].entries, 0), PLAIN(cqs[1].entries, 4097),
	FLIP(sqs[0].base, 4096), FLIP(cqs[0].base, 4096),
	PLAIN(sqs[0].entries, 31), PLAIN(cqs[0].entries, 33),
	PLAIN(sqs[0].cqid, 1), PLAIN(sqs[1].cqid, 0), PLAIN(sqs[1].cqid, 3),
	PLAIN(sqs[1].cqid, 65), PLAIN(sqs[1].cqid, 0xffff),
	PLAIN(sqs[1].priority, 4), PLAIN(sqs[0].priority, 1),
	PLAIN(cqs[0].interrupts, 0), PLAIN(cqs[1].interrupts, 2),
	PLAIN(cqs[0].vector, 1), PLAIN(cqs[1].vector, 17),
	/* and those that are not */
	PLAIN_AS("sqs[1].base", sqs[1].created, 0),
	PLAIN_AS("cqs[1].base", cqs[1].created, 0),
	PLAIN_AS("sqs[3].entries", sqs[3].created, 1),
	PLAIN_AS("cqs[3].entries", cqs[3].created, 1),
	PLAIN(sqs[20].created, 1), PLAIN(cqs[64].created, 1),
	PLAIN(sqs[3].base, 4096), PLAIN(cqs[3].base, 4096),
	PLAIN(sqs[3].entries, 2), PLAIN(cqs[3].entries, 2),
	PLAIN(sqs[3].cqid, 1), PLAIN(sqs[3].priority, 1),
	PLAIN(cqs[3].vector, 1), PLAIN(cqs[3].interrupts, 1),
	/* cursors */
	HOT(sqs[1].head, 64), HOT(sqs[1].tail, 64), HOT(cqs[1].head, 64),
	HOT(cqs[1].tail, UINT32_MAX), HOT(sqs[0].head, 32),
	HOT(cqs[0].tail, 32), HOT(cqs[1].phase, 2), HOT(cqs[3].phase, 0),
	HOT(sqs[3].head, 1), HOT(sqs[3].tail, 1), HOT(cqs[3].head, 1),
	HOT(cqs[3].tail, 1), HOT(sqs[64].tail, 1),
	/* counters, against the cursors that follow from them */
	HOT(sqs[1].fetched, 1ull << 62), HOT(sqs[1].fetched, 40),
	HOT(cqs[2].posted, 1ull << 63), HOT(sqs[3].fetched, 1),
	HOT(cqs[3].posted, 1), HOT_AS("cqs[2].phase", cqs[2].posted, 7),
	HOT(slots[1].fetch, 1000), HOT(slots[1].post, 1),
	/* commands: an event request, a write */
	HOT(slots[1].stage, 3), HOT(slots[32].stage, 255),
	HOT(slots[1].sqid, 1), HOT(slots[1].sqid, 0xffff),
	HOT(slots[32].sqid, 0), HOT(slots[32].sqid, 3),
	HOT(slots[32].sqid, 65), HOT(slots[32].generation, 77),
	HOT(slots[1].generation, 77),
	HOT(slots[5].sqid, 2),
};

static void break_it(struct state *s, const struct bad *bad)
{
	uint8_t *at = bad->hot ? (uint8_t *)&s->hot : (uint8_t *)&s->plain;
	uint64_t value = 0;

	memcpy(&value, at + bad->at, bad->size);
	value = bad->set ? bad->value : value ^ bad->value;
	memcpy(at + bad->at, &value, bad->size);
}

static void expect_refusal(const struct state *s, const char *name)
{
	struct ob_err err;
	size_t len = strlen(name);

	if (!judged(target, s, &err))
		fail_msg("%s: accepted", name);
	if (strncmp(err.msg, name, len) || err.msg[len] != ':')
		fail_msg("%s: refused as \"%s\"", name, err.msg);
}

static void test_r25_each_field(void **state)
{
	struct state *s = malloc(sizeof(*s));
	struct ob_err err;

	(void)state;
	assert_non_null(s);
	if (judged(target, &good, &err))
		fail_msg("the good one: %s", err.msg);
	for (unsigned i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		*s = good;
		if (bads[i].at == offsetof(struct nvme_hot, slots[5].sqid))
			s->hot.slots[5].stage = NVME_SLOT_DONE;
		break_it(s, &bads[i]);
		expect_refusal(s, bads[i].name);
	}
	free(s);
}

static void test_r25_what_takes_more_than_one_field(void **state)
{
	struct state *s = malloc(sizeof(*s));

	(void)state;
	assert_non_null(s);
	*s = good;
	s->plain.eis_addr = s->plain.dbs_addr;
	expect_refusal(s, "eis_addr");
	*s = good;
	s->plain.dbbuf = 0;
	s->plain.dbs_addr = 0;
	expect_refusal(s, "eis_addr");
	*s = good;
	for (unsigned i = 8; i < 13; i++) {
		s->hot.slots[i] = s->hot.slots[1];
		s->hot.slots[i].fetch = i - 8;
	}
	expect_refusal(s, "slots[12].sqe");
	*s = good;
	s->hot.slots[8] = s->hot.slots[1];
	expect_refusal(s, "slots[8].fetch");
	*s = good;
	for (unsigned i = NVME_ADMIN_SLOTS; i < NVME_SLOTS; i++) {
		if (s->hot.slots[i].stage != NVME_SLOT_DONE)
			continue;
		s->hot.slots[i].status = 0x8000;
		break;
	}
	assert_int_equal(judged(target, s, &(struct ob_err){ "" }), -EINVAL);
	free(s);
}

/* Places that the guest may have seen: one batch, without holes. */
static void test_r25_places_of_a_batch(void **state)
{
	struct state *s = malloc(sizeof(*s));
	uint64_t posted = good.hot.cqs[2].posted;
	struct nvme_slot *done[2];
	unsigned count = 0;
	struct ob_err err;

	(void)state;
	assert_non_null(s);
	for (unsigned i = NVME_ADMIN_SLOTS; i < NVME_SLOTS && count < 2; i++)
		if (good.hot.slots[i].stage == NVME_SLOT_DONE)
			done[count++] = &s->hot.slots[i];
	assert_int_equal(count, 2);
	*s = good;
	s->hot.cqs[2].posted -= 3;		/* tail 0, of 4 entries */
	s->hot.cqs[2].tail = 0;
	s->hot.cqs[2].phase = 1;
	posted -= 3;
	done[0]->post = posted + 2;
	done[1]->post = posted + 1;
	if (judged(target, s, &err))
		fail_msg("%s", err.msg);
	done[1]->post = posted + 2;
	assert_int_equal(judged(target, s, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "].post: 2 is that of another"));
	done[0]->post = 0;
	expect_refusal(s, "slots[].post");
	done[1]->post = posted + 4;
	assert_int_equal(judged(target, s, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "].post: 4, too far from 0"));
	done[1]->post = UINT64_MAX;
	assert_int_equal(judged(target, s, &err), -EINVAL);
	free(s);
}

static void test_r25_messages_say_both_values(void **state)
{
	struct state *s = malloc(sizeof(*s));
	struct ob_err err;

	(void)state;
	assert_non_null(s);
	*s = good;
	s->hot.sqs[1].head = 70;
	judged(target, s, &err);
	assert_string_equal(err.msg, "sqs[1].head: 70 of 64 entries");
	*s = good;
	s->plain.shape.blocks[0] = 262144;
	judged(target, s, &err);
	assert_string_equal(err.msg, "shape.blocks[0]: namespace 1 has 2048 "
			    "blocks here, 262144 in the stream");
	free(s);
}

/* A destination that was started otherwise. */
static void test_r25_other_options(void **state)
{
	static const struct {
		const char *options, *name;
	} cases[] = {
		{ "drive=mem:1M", "shape.nr_ns" },
		{ "drive=mem:1M,drive=mem:2M", "shape.blocks[1]" },
		{ "drive=mem:1M,drive=mem:1M,lba=4096", "shape.lba_shift" },
		{ "drive=mem:1M,drive=mem:1M,queues=4", "shape.queues" },
		{ "drive=mem:1M,drive=mem:1M,readonly=on", "shape.readonly" },
		{ "drive=mem:1M,drive=mem:1M,doorbells=trapped",
		  "shape.doorbells" },
		{ "drive=mem:1M,drive=mem:1M,serial=OTHER", "serial" },
		{ "drive=mem:1M,drive=mem:1M,model=Other disk", "model" },
		{ "drive=mem:1M,drive=mem:1M", "" },
	};
	struct ob_err err;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ob_device *dev = lib_create(guest, cases[i].options);
		size_t len = strlen(cases[i].name);
		int rc = judged(dev, &good, &err);

		assert_int_equal(rc, len ? -EINVAL : 0);
		if (strncmp(err.msg, cases[i].name, len))
			fail_msg("%s: %s", cases[i].name, err.msg);
		lib_destroy(dev);
	}
}

/* The same text given on both sides is the same. */
static void test_r25_names_given_twice(void **state)
{
	static const char named[] =
		"drive=mem:1M,serial=12345678901234567890,model=A disk";
	struct guest *g = guest_ready(named);
	struct ob_device *old = g->dev;

	(void)state;
	lib_move(g, lib_create(g, named));
	lib_destroy(old);
	guest_end(g);
}

/* A refusal changes nothing: the target still is what it was. */
static void test_r25_refused_state_leaves_the_device_alone(void **state)
{
	struct nvme *n = ob_dev_runtime(target);
	struct state *before = malloc(sizeof(*before));
	struct state *after = malloc(sizeof(*after));
	struct nvme_hot *hot = guest->dev->hot;
	struct ob_err err = { "" };

	(void)state;
	assert_true(before && after);
	save(target, before);
	hot->sqs[1].head = 64;
	assert_int_equal(lib_load(target, guest->dev, &err), -EINVAL);
	hot->sqs[1].head = good.hot.sqs[1].head;
	save(target, after);
	assert_memory_equal(before, after, sizeof(*before));
	assert_int_equal(n->st->csts, 0);
	free(before);
	free(after);
}

/* -- R24: all of it arrives -------------------------------------------- */

/* Says which field differs; the clock of another process does. */
static bool differs(const struct ob_table *table, const void *a,
		    const void *b, char *where, size_t room)
{
	const struct ob_field *f;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		const uint8_t *x = (const uint8_t *)a + f->offset;
		const uint8_t *y = (const uint8_t *)b + f->offset;

		if (f->type == OB_FIELD_RESERVED ||
		    !strcmp(f->name, "timestamp_ns"))
			continue;
		for (uint32_t i = 0; i < f->count; i++, x += f->size,
						   y += f->size) {
			if (f->type == OB_FIELD_STRUCT
			    ? !differs(f->sub, x, y, where, room)
			    : !memcmp(x, y, f->size))
				continue;
			if (f->type != OB_FIELD_STRUCT)
				snprintf(where, room, "%s", f->name);
			return true;
		}
	}
	return false;
}

static void test_r24_every_field_arrives(void **state)
{
	char where[64] = "";
	struct ob_err err;

	(void)state;
	if (lib_load(target, guest->dev, &err))
		fail_msg("%s", err.msg);
	if (differs(&nvme_plain_table, guest->dev->state, target->state,
		    where, sizeof(where)) ||
	    differs(&nvme_hot_table, guest->dev->hot, target->hot, where,
		    sizeof(where)))
		fail_msg("%s was lost", where);
}

/* And the walk would notice one that does not: each leaf, once. */
static unsigned drop_each(const struct ob_table *root, void *whole,
			  const void *other, const struct ob_table *table,
			  uint8_t *at)
{
	const struct ob_field *f;
	char where[64];
	unsigned count = 0;

	for (f = table->fields; f->type != OB_FIELD_END; f++) {
		uint8_t *field = at + f->offset;

		if (f->type == OB_FIELD_RESERVED ||
		    !strcmp(f->name, "timestamp_ns"))
			continue;
		if (f->type == OB_FIELD_STRUCT) {
			count += drop_each(root, whole, other, f->sub, field);
			continue;
		}
		*field ^= 0xff;
		assert_true(differs(root, whole, other, where,
				    sizeof(where)));
		assert_string_equal(where, f->name);
		*field ^= 0xff;
		count++;
	}
	return count;
}

static void test_r24_a_lost_field_would_be_noticed(void **state)
{
	struct state *s = malloc(sizeof(*s));

	(void)state;
	assert_non_null(s);
	*s = good;
	assert_true(drop_each(&nvme_plain_table, &s->plain, &good.plain,
			      &nvme_plain_table, (uint8_t *)&s->plain) > 50);
	assert_true(drop_each(&nvme_hot_table, &s->hot, &good.hot,
			      &nvme_hot_table, (uint8_t *)&s->hot) > 10);
	free(s);
}

/* -- R25: what is accepted does no harm -------------------------------- */

static uint32_t random_state = 1;

static uint32_t random_word(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return random_state >> 8 ^ random_state << 16;
}

static unsigned random_below(unsigned limit)
{
	return (random_word() >> 4) % limit;
}

static uint64_t random_value(void)
{
	switch (random_below(5)) {
	case 0:
		return random_below(70);
	case 1:
		return 1ull << random_below(64);
	case 2:
		return (1ull << random_below(64)) - 1;
	case 3:
		return GUEST_BASE + 4096ull * random_below(GUEST_SIZE / 4096);
	default:
		return (uint64_t)random_word() << 32 | random_word();
	}
}

/* Some leaf of the table, with respect for the bound of its row. */
static void spoil(const struct ob_table *table, uint8_t *at)
{
	const struct ob_field *f;
	unsigned count = 0;
	uint64_t value;

	while (table->fields[count].type != OB_FIELD_END)
		count++;
	f = &table->fields[random_below(count)];
	if (f->type == OB_FIELD_RESERVED)
		return;
	at += f->offset + (size_t)f->size * random_below(f->count);
	if (f->type == OB_FIELD_STRUCT) {
		spoil(f->sub, at);
		return;
	}
	value = random_value();
	if (f->max && value > f->max)
		value %= f->max + 1;
	memcpy(at, &value, f->size);
}

/* Commands of the good state, mostly, so that some stay in one piece. */
static void spoil_commands(struct nvme_hot *hot, uint32_t generation)
{
	for (unsigned i = random_below(6); i; i--) {
		unsigned at = random_below(NVME_SLOTS);
		struct nvme_slot *slot = &hot->slots[at];

		if (random_below(2))
			at = random_below(NVME_ADMIN_SLOTS);
		slot = &hot->slots[at];
		for (unsigned k = 0; k < sizeof(slot->sqe); k += 4)
			if (random_below(2))
				memcpy((uint8_t *)&slot->sqe + k,
				       &(uint32_t){ random_value() }, 4);
		slot->sqe.opcode = random_below(16);
		slot->sqid = at < NVME_ADMIN_SLOTS ? 0 : 1 + random_below(2);
		slot->stage = 1 + random_below(2);
		slot->status = random_below(0x7fff);
		slot->generation = generation;
		slot->order = random_value();
	}
}

static void make_trouble(struct guest *g)
{
	for (unsigned i = 0; i < 20; i++) {
		uint32_t value = random_below(3) ? random_below(64)
						 : random_word();

		switch (random_below(6)) {
		case 0:
			guest_set_reg(g, NVME_REG_INTMC, value);
			break;
		case 1:
			((uint32_t *)guest_ptr(g, good.plain.dbs_addr))
				[random_below(8)] = value;
			break;
		default:
			guest_set_reg(g, NVME_REG_DBS + 4 * random_below(8),
				      value);
		}
		guest_turn(g);
	}
	guest_nap(g, 100);
	guest_set_reg(g, NVME_REG_CC, guest_reg(g, NVME_REG_CC) | 1 << 14);
	guest_settle(g);
}

static bool live_with(struct guest *g, const struct state *s)
{
	struct ob_device *dev = g->dev;
	struct ob_err err;

	if (judged(dev, s, &err))
		return false;
	dev->cls->reset(dev, OB_RESET_DEVICE);
	while (dev->cls->in_flight(dev))
		guest_turn(g);
	memcpy(dev->state, &s->plain, sizeof(s->plain));
	memcpy(dev->hot, &s->hot, sizeof(s->hot));
	dev->cls->loaded(dev);
	lib_run(dev);
	make_trouble(g);
	lib_stop(dev);
	lib_drain(dev, 200);
	lib_halt(dev);
	/* What became of it is a state again, and travels. */
	save(dev, (struct state *)(uintptr_t)s);
	if (judged(dev, s, &err))
		fail_msg("our own state: %s", err.msg);
	return true;
}

static void test_r25_accepted_states_do_no_harm(void **state)
{
	struct state *s = malloc(sizeof(*s));
	struct ob_device *source = guest->dev;
	unsigned accepted = 0;

	(void)state;
	assert_non_null(s);
	guest->dev = target;
	for (unsigned i = 0; i < 1500; i++) {
		*s = good;
		for (unsigned k = random_below(4); k; k--) {
			if (random_below(2))
				spoil(&nvme_plain_table, (uint8_t *)&s->plain);
			else
				spoil(&nvme_hot_table, (uint8_t *)&s->hot);
		}
		spoil_commands(&s->hot, s->plain.generation);
		accepted += live_with(guest, s);
	}
	guest->dev = source;
	assert_in_range(accepted, 200, 1400);
	free(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_state_has_something_of_everything),
		TEST(test_r24_every_field_arrives),
		TEST(test_r24_a_lost_field_would_be_noticed),
		TEST(test_r25_each_field),
		TEST(test_r25_what_takes_more_than_one_field),
		TEST(test_r25_places_of_a_batch),
		TEST(test_r25_messages_say_both_values),
		TEST(test_r25_other_options),
		cmocka_unit_test(test_r25_names_given_twice),
		TEST(test_r25_refused_state_leaves_the_device_alone),
		TEST(test_r25_accepted_states_do_no_harm),
	};
	const char *seed = getenv("OB_TEST_SEED");

	random_state = seed ? strtoul(seed, NULL, 0) : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
