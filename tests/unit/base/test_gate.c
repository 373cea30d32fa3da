// SPDX-License-Identifier: BSD-3-Clause
/*
 * The gate, in every order that a machine with store buffers (x86) can produce.
 *
 * It is gate.c itself, on words of ours.  A thread is run up to its next access to
 * one of them; what is tried then is each thread's access and each buffer's oldest
 * store.  To go on in the middle of a call the thread is run again from its begin,
 * with what its accesses have found so far.  Every state that was reached is
 * remembered, so the search ends, and is exhaustive for so many turns.
 *
 * There must be no state in which the owner and a lane are in, and none in which
 * somebody is not done and nobody can go on.  Without the fence, or a wake-up, the
 * search must find one.
 *
 * test_gate_threads.c runs it on threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t model_load(const uint32_t *at);
static void model_store(uint32_t *at, uint32_t value);
static uint32_t model_exchange(uint32_t *at, uint32_t value);
static bool model_compare(uint32_t *at, uint32_t *expected, uint32_t value);
static long model_call(long number, ...);
static int model_lock(pthread_mutex_t *lock);
static int model_unlock(pthread_mutex_t *lock);

#define __atomic_load_n(at, order) model_load(at)
#define __atomic_store_n(at, value, order) model_store(at, value)
#define __atomic_exchange_n(at, value, order) model_exchange(at, value)
#define __atomic_compare_exchange_n(at, expected, value, weak, yes, no) \
	model_compare(at, expected, value)
#define __atomic_signal_fence(order) ((void)0)
#define syscall model_call
#define pthread_mutex_lock model_lock
#define pthread_mutex_unlock model_unlock
#define SPINS 1u
#include "base/gate.c"
#undef syscall

#define THREADS	3u		/* the owner, lanes */
#define OWNER	0u
#define WORDS	THREADS		/* the state, each lane's inside */
#define BUFFER	6u
#define TRACE	64u
#define ROUNDS	3u		/* of the owner */

enum mutation { NONE, NO_FENCE, NO_WAKE_OF_OWNER, NO_WAKE_OF_LANES };

static struct setup {
	bool fenced, busy[ROUNDS];
	unsigned rounds, turns, lanes;
	enum mutation mutation;
} setup;

struct thread {
	uint8_t nr, trace[TRACE];	/* what its accesses have found */
	uint8_t stores, word[BUFFER], value[BUFFER];	/* not in memory yet */
	uint8_t asleep;			/* on word number asleep - 1 */
	bool is_in, done;
};

struct world {
	struct thread threads[THREADS];
	uint8_t words[WORDS];
	uint8_t locked;			/* by thread number locked - 1 */
	uint8_t reserved[8 - (THREADS * sizeof(struct thread) + WORDS + 1) % 8];
};
static_assert(sizeof(struct world) % 8 == 0, "hashed by words");

static struct {
	struct world *w;
	unsigned who, at;
	bool acted;
	jmp_buf stop;
	struct ob_gate gate;
} run;

static struct thread *self(void)
{
	return &run.w->threads[run.who];
}

/* -- the machine ------------------------------------------------------- */

static unsigned word_of(const uint32_t *at)
{
	for (unsigned i = 0; i < THREADS - 1; i++)
		if (at == &run.gate.lanes[i].inside)
			return i + 1;
	assert_ptr_equal(at, &run.gate.state);
	return 0;
}

static void drain(struct world *w, unsigned who)
{
	struct thread *t = &w->threads[who];

	w->words[t->word[0]] = t->value[0];
	t->stores--;
	memmove(t->word, t->word + 1, BUFFER - 1);
	memmove(t->value, t->value + 1, BUFFER - 1);
	t->word[BUFFER - 1] = t->value[BUFFER - 1] = 0;
}

static void drain_all(struct world *w, unsigned who)
{
	while (w->threads[who].stores)
		drain(w, who);
}

/* True: this access has been, with that value.  Else it is to be done now. */
static bool was(uint32_t *value)
{
	struct thread *t = self();

	if (run.at < t->nr) {
		*value = t->trace[run.at++];
		return true;
	}
	if (run.acted)
		longjmp(run.stop, 1);
	run.acted = true;
	return false;
}

static uint32_t note(uint32_t value)
{
	struct thread *t = self();

	assert_true(t->nr < TRACE);
	t->trace[t->nr++] = (uint8_t)value;
	run.at++;
	return value;
}

static uint32_t model_load(const uint32_t *at)
{
	const struct thread *t = self();
	unsigned word = word_of(at);
	uint32_t value;

	if (was(&value))
		return value;
	for (unsigned i = t->stores; i > 0; i--)
		if (t->word[i - 1] == word)
			return note(t->value[i - 1]);
	return note(run.w->words[word]);
}

static void model_store(uint32_t *at, uint32_t value)
{
	struct thread *t = self();
	unsigned word = word_of(at);
	uint32_t old;

	if (was(&old))
		return;
	if (t->stores == BUFFER)
		drain(run.w, run.who);
	t->word[t->stores] = (uint8_t)word;
	t->value[t->stores++] = (uint8_t)value;
	note(0);
}

static uint32_t model_exchange(uint32_t *at, uint32_t value)
{
	unsigned word = word_of(at);
	uint32_t old;

	if (setup.mutation == NO_FENCE && run.who != OWNER) {
		model_store(at, value);
		return 0;
	}
	if (was(&old))
		return old;
	drain_all(run.w, run.who);
	old = run.w->words[word];
	run.w->words[word] = (uint8_t)value;
	return note(old);
}

static bool model_compare(uint32_t *at, uint32_t *expected, uint32_t value)
{
	unsigned word = word_of(at);
	uint32_t old;

	if (!was(&old)) {
		drain_all(run.w, run.who);
		old = run.w->words[word];
		if (old == *expected)
			run.w->words[word] = (uint8_t)value;
		note(old);
	}
	if (old == *expected)
		return true;
	*expected = old;
	return false;
}

static void wait_for(unsigned word, uint32_t value)
{
	uint32_t found;

	if (was(&found))
		return;
	drain_all(run.w, run.who);
	if (run.w->words[word] == value)
		self()->asleep = (uint8_t)(word + 1);
	note(0);
}

static void wake(unsigned word)
{
	bool lost = setup.mutation == (word ? NO_WAKE_OF_OWNER
					    : NO_WAKE_OF_LANES);
	uint32_t found;

	if (was(&found))
		return;
	drain_all(run.w, run.who);
	for (unsigned i = 0; i < THREADS && !lost; i++)
		if (run.w->threads[i].asleep == word + 1)
			run.w->threads[i].asleep = 0;
	note(0);
}

static void barrier(void)
{
	uint32_t found;

	if (setup.mutation == NO_FENCE || was(&found))
		return;
	for (unsigned i = 0; i < THREADS; i++)
		drain_all(run.w, i);
	note(0);
}

static long model_call(long number, ...)
{
	va_list ap;
	uint32_t *word;
	int op;

	if (number == SYS_membarrier) {
		barrier();
		return 0;
	}
	va_start(ap, number);
	word = va_arg(ap, uint32_t *);
	op = va_arg(ap, int);
	if (op == FUTEX_WAIT_PRIVATE)
		wait_for(word_of(word), va_arg(ap, uint32_t));
	else
		wake(word_of(word));
	va_end(ap);
	return 0;
}

static int model_lock(pthread_mutex_t *lock)
{
	uint32_t found;

	(void)lock;
	if (was(&found))
		return 0;
	if (run.w->locked) {
		run.acted = false;	/* it waits */
		longjmp(run.stop, 1);
	}
	drain_all(run.w, run.who);
	run.w->locked = (uint8_t)(run.who + 1);
	note(0);
	return 0;
}

static int model_unlock(pthread_mutex_t *lock)
{
	uint32_t found;

	(void)lock;
	if (was(&found))
		return 0;
	assert_int_equal(run.w->locked, run.who + 1);
	drain_all(run.w, run.who);
	run.w->locked = 0;
	note(0);
	return 0;
}

static void be_in(bool in)
{
	uint32_t found;

	if (was(&found))
		return;
	self()->is_in = in;
	note(0);
}

/* -- the threads ------------------------------------------------------- */

static void own(void)
{
	for (unsigned i = 0; i < setup.rounds; i++) {
		ob_gate_close(&run.gate);
		be_in(true);
		be_in(false);
		ob_gate_open(&run.gate, setup.busy[i]);
	}
}

static void go_through(unsigned lane)
{
	for (unsigned i = 0; i < setup.turns; i++) {
		ob_gate_enter(&run.gate, lane);
		be_in(true);
		be_in(false);
		ob_gate_leave(&run.gate, lane);
	}
}

/* One access of that thread; false: it cannot. */
static bool act(struct world *w, unsigned who)
{
	struct thread *t = &w->threads[who];

	if (t->done || t->asleep)
		return false;
	run.w = w;
	run.who = who;
	run.at = 0;
	run.acted = false;
	run.gate = (struct ob_gate){
		.nr = setup.lanes, .fenced = setup.fenced, .locks = true,
	};
	if (!setjmp(run.stop)) {
		if (who == OWNER)
			own();
		else
			go_through(who - 1);
		t->done = true;
		memset(t->trace, 0, sizeof(t->trace));
		t->nr = 0;
		return true;
	}
	return run.acted;
}

/* -- the search -------------------------------------------------------- */

#define SLOTS (1u << 22)
#define PENDING (1u << 22)

static uint64_t *known;
static struct world *pending;
static size_t nr_pending, nr_known;

static uint64_t hash(const struct world *w)
{
	uint64_t words[sizeof(*w) / 8], h = 0xcbf29ce484222325u;

	memcpy(words, w, sizeof(words));
	for (size_t i = 0; i < sizeof(*w) / 8; i++) {
		h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return h ? h : 1;
}

static void reach(const struct world *w)
{
	uint64_t h = hash(w);
	size_t at = h % SLOTS;

	while (known[at] && known[at] != h)
		at = (at + 1) % SLOTS;
	if (known[at])
		return;
	known[at] = h;
	assert_true(++nr_known < SLOTS / 2);
	assert_true(nr_pending < PENDING);
	pending[nr_pending++] = *w;
}

static bool is_wrong(const struct world *w)
{
	for (unsigned i = 1; i <= setup.lanes; i++)
		if (w->threads[OWNER].is_in && w->threads[i].is_in)
			return true;
	return false;
}

static bool all_done(const struct world *w)
{
	for (unsigned i = 0; i <= setup.lanes; i++)
		if (!w->threads[i].done)
			return false;
	return true;
}

/* Whatever may happen next; false: nothing. */
static bool go_on(const struct world *w)
{
	bool any = false;

	for (unsigned i = 0; i <= setup.lanes; i++) {
		struct world next = *w;

		if (act(&next, i)) {
			reach(&next);
			any = true;
		}
		if (w->threads[i].stores) {
			next = *w;
			drain(&next, i);
			reach(&next);
			any = true;
		}
	}
	return any;
}

/* False: it goes wrong, or comes to a stand. */
static bool holds(const struct setup *how)
{
	struct world w;

	setup = *how;
	memset(&w, 0, sizeof(w));
	memset(known, 0, SLOTS * sizeof(*known));
	nr_pending = nr_known = 0;
	w.words[0] = OB_GATE_LOCKED;
	reach(&w);
	while (nr_pending) {
		w = pending[--nr_pending];
		if (is_wrong(&w) || (!go_on(&w) && !all_done(&w)))
			return false;
	}
	return true;
}

/* The owner's ways to open it, each after each. */
static bool hold_all(struct setup how)
{
	for (unsigned ways = 0; ways < 1u << how.rounds; ways++) {
		for (unsigned i = 0; i < how.rounds; i++)
			how.busy[i] = ways >> i & 1;
		if (!holds(&how))
			return false;
	}
	return true;
}

static void test_one_lane(void **state)
{
	(void)state;
	for (unsigned fenced = 0; fenced < 2; fenced++)
		assert_true(hold_all((struct setup){
			.fenced = fenced, .rounds = 3, .turns = 2, .lanes = 1,
		}));
}

static void test_two_lanes(void **state)
{
	(void)state;
	assert_true(hold_all((struct setup){
		.rounds = 2, .turns = 1, .lanes = 2,
	}));
}

static void test_what_is_needed(void **state)
{
	(void)state;
	for (unsigned fenced = 0; fenced < 2; fenced++)
		for (enum mutation m = NO_FENCE; m <= NO_WAKE_OF_LANES; m++)
			assert_false(hold_all((struct setup){
				.fenced = fenced, .rounds = 3, .turns = 2,
				.lanes = 1, .mutation = m,
			}));
}

static int set_up(void **state)
{
	(void)state;
	known = calloc(SLOTS, sizeof(*known));
	pending = malloc(PENDING * sizeof(*pending));
	return !known || !pending;
}

static int tear_down(void **state)
{
	(void)state;
	free(known);
	free(pending);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_lane),
		cmocka_unit_test(test_two_lanes),
		cmocka_unit_test(test_what_is_needed),
	};

	return cmocka_run_group_tests_name("gate", tests, set_up, tear_down);
}
