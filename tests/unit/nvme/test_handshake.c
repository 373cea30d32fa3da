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
 * A wake-up is lost when the guest does not ring and the device sleeps with
 * an entry that it has not seen.
 *
 * The model is exhaustive.  Each side is a short program over the two shared
 * words; a store goes to the side's store buffer, and reaches memory in a
 * later step of its own.  With TSO (x86) a buffer is emptied in order; on
 * weaker machines stores to different words may overtake each other, and a
 * load may be done before what stands in front of it in the program.  A fence
 * is passed only with an empty buffer, and nothing overtakes it.  The search
 * tries every next step of every state, over several entries and several
 * sleeps, so the side that lags, too, is tried everywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ENTRIES	3	/* that the guest puts in, one after the other */
#define BUFFER	4

enum { SHADOW, INDEX, NR_WORDS };
enum { GUEST, DEVICE, NR_SIDES };

struct store {
	uint8_t word, value;
};

struct side {
	struct store buffer[BUFFER];	/* oldest first */
	uint8_t buffered;
	uint8_t pc;
	uint8_t value;			/* guest: its tail; device: seen */
	uint8_t early;			/* what a load found ahead of time */
	bool is_early;
};

struct world {
	uint8_t memory[NR_WORDS];
	struct side sides[NR_SIDES];
	bool rung;			/* a doorbell message is on its way */
	bool asleep;
};

struct machine {
	bool weak;			/* else TSO */
	bool fence[NR_SIDES];
};

/* Both programs are: 0 store, 1 fence, 2 load and decide. */
enum { STORE, FENCE, LOAD };

/* Every state that was reached, as a set. */
#define SEEN (1u << 20)
static struct world seen[SEEN];
static bool used[SEEN];
static unsigned nr_seen;

static bool is_new(const struct world *w)
{
	const uint8_t *bytes = (const uint8_t *)w;
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < sizeof(*w); i++)
		h = (h ^ bytes[i]) * 0x100000001b3ull;
	for (h ^= h >> 32; used[h % SEEN]; h++)
		if (!memcmp(&seen[h % SEEN], w, sizeof(*w)))
			return false;
	assert_true(++nr_seen < SEEN / 2);
	used[h % SEEN] = true;
	seen[h % SEEN] = *w;
	return true;
}

static void store(struct side *s, uint8_t word, uint8_t value)
{
	assert_true(s->buffered < BUFFER);
	s->buffer[s->buffered++] = (struct store){ word, value };
}

/* A side sees its own stores first. */
static uint8_t load(const struct world *w, const struct side *s, uint8_t word)
{
	for (unsigned i = s->buffered; i > 0; i--)
		if (s->buffer[i - 1].word == word)
			return s->buffer[i - 1].value;
	return w->memory[word];
}

/* Stores to one word stay in order on every machine. */
static bool may_drain(const struct machine *m, const struct side *s,
		      unsigned i)
{
	if (i && !m->weak)
		return false;
	for (unsigned k = 0; k < i; k++)
		if (s->buffer[k].word == s->buffer[i].word)
			return false;
	return true;
}

static void drain(struct world *w, struct side *s, unsigned i)
{
	w->memory[s->buffer[i].word] = s->buffer[i].value;
	s->buffered--;
	memmove(&s->buffer[i], &s->buffer[i + 1],
		(s->buffered - i) * sizeof(s->buffer[0]));
	s->buffer[s->buffered] = (struct store){ 0 };
}

static uint8_t finish_load(const struct world *w, struct side *s, uint8_t word)
{
	uint8_t value = s->is_early ? s->early : load(w, s, word);

	s->is_early = false;
	s->early = 0;
	return value;
}

/* B.5: ring when the index is passed. */
static void guest_decide(struct world *w)
{
	struct side *s = &w->sides[GUEST];
	uint8_t index = finish_load(w, s, INDEX);
	uint8_t old = s->value - 1, new = s->value;

	w->rung |= (uint8_t)(new - index - 1) < (uint8_t)(new - old);
}

static void device_decide(struct world *w)
{
	struct side *s = &w->sides[DEVICE];
	uint8_t tail = finish_load(w, s, SHADOW);

	w->asleep = tail == s->value;
	s->value = tail;
}

/* What a side may do at its next place in its program. */
static bool can_step(const struct machine *m, const struct world *w,
		     unsigned side)
{
	const struct side *s = &w->sides[side];

	switch (s->pc) {
	case STORE:
		/* An entry more; or, awake, one more try to sleep. */
		return s->buffered + 1 < BUFFER &&
		       (side == GUEST ? s->value < ENTRIES : !w->asleep);
	case FENCE:
		return !m->fence[side] || !s->buffered;
	default:
		return true;
	}
}

static void step(struct world *w, unsigned side)
{
	struct side *s = &w->sides[side];

	switch (s->pc) {
	case STORE:
		if (side == GUEST)
			store(s, SHADOW, ++s->value);
		else
			store(s, INDEX, s->value);
		s->pc = FENCE;
		break;
	case FENCE:
		s->pc = LOAD;
		break;
	default:
		if (side == GUEST)
			guest_decide(w);
		else
			device_decide(w);
		s->pc = STORE;
	}
}

/* A load that is done before the store in front of it, and kept. */
static bool can_load_early(const struct machine *m, const struct world *w,
			   unsigned side)
{
	const struct side *s = &w->sides[side];

	return m->weak && !m->fence[side] && !s->is_early && s->pc != LOAD;
}

static bool search(const struct machine *m, const struct world *w);

static bool search_drains(const struct machine *m, const struct world *w,
			  unsigned side)
{
	for (unsigned i = 0; i < w->sides[side].buffered; i++) {
		struct world next = *w;

		if (!may_drain(m, &w->sides[side], i))
			continue;
		drain(&next, &next.sides[side], i);
		if (search(m, &next))
			return true;
	}
	return false;
}

static bool search_side(const struct machine *m, const struct world *w,
			unsigned side)
{
	struct world next = *w;

	if (can_step(m, w, side)) {
		step(&next, side);
		if (search(m, &next))
			return true;
	}
	if (can_load_early(m, w, side)) {
		struct side *s = &next.sides[side];

		next = *w;
		s->early = load(w, s, side == GUEST ? INDEX : SHADOW);
		s->is_early = true;
		if (search(m, &next))
			return true;
	}
	return search_drains(m, w, side);
}

/* The message arrives: the device looks, and tries to sleep again. */
static bool search_wake(const struct machine *m, const struct world *w)
{
	struct world next = *w;

	if (!w->rung)
		return false;
	next.rung = false;
	if (w->asleep) {
		next.asleep = false;
		next.sides[DEVICE].value = load(w, &w->sides[DEVICE], SHADOW);
	}
	return search(m, &next);
}

/* All has come to rest, and an entry lies there unseen. */
static bool is_lost(const struct world *w)
{
	const struct side *guest = &w->sides[GUEST];
	const struct side *device = &w->sides[DEVICE];

	return w->asleep && !w->rung && guest->pc == STORE &&
	       !guest->buffered && !device->buffered &&
	       device->value != guest->value;
}

/* True if some order of steps loses a wake-up. */
static bool search(const struct machine *m, const struct world *w)
{
	if (!is_new(w))
		return false;
	return is_lost(w) || search_side(m, w, GUEST) ||
	       search_side(m, w, DEVICE) || search_wake(m, w);
}

static bool loses(bool weak, bool guest_fence, bool device_fence)
{
	struct machine m = { weak, { guest_fence, device_fence } };
	struct world start;

	memset(&start, 0, sizeof(start));
	memset(used, 0, sizeof(used));
	nr_seen = 0;
	return search(&m, &start);
}

static void test_R18_handshake(void **state)
{
	(void)state;
	assert_false(loses(false, true, true));
	assert_true(nr_seen > 100);
	assert_false(loses(true, true, true));
	assert_true(nr_seen > 100);
}

/* Without the fences of both sides the search finds the loss. */
static void test_R18_handshake_needs_both_fences(void **state)
{
	(void)state;
	for (int weak = 0; weak < 2; weak++) {
		assert_true(loses(weak, true, false));
		assert_true(loses(weak, false, true));
		assert_true(loses(weak, false, false));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_R18_handshake),
		cmocka_unit_test(test_R18_handshake_needs_both_fences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
