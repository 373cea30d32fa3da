// SPDX-License-Identifier: BSD-3-Clause
/*
 * The engine: every queue of a thread is looked at, refilled and rung in turn.
 * One clock reading serves all completions that one look found and all commands that
 * replace them; one doorbell, at most, tells of both.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <time.h>

#include "bench.h"

#define POLL_BATCH 64u
#define STUCK_NS 30000000000ull		/* no completion for so long */
#define SPIN_LOOKS 4096u		/* before it gives the CPU to others */
#define CLOCK_LOOKS 64u			/* between two looks at the clock */
#define BUSY_TRIES 16u
#define NAP_NS 60000u			/* what sleeping is accurate to */

/* -- what comes next --------------------------------------------------- */

static uint64_t next_random(struct bench_thread *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return t->random;
}

static uint64_t below(struct bench_thread *t, uint64_t limit)
{
	return (uint64_t)((unsigned __int128)next_random(t) * limit >> 64);
}

static uint8_t next_dir(struct bench_thread *t)
{
	uint64_t mix = t->bench->opt.mix;

	if (mix == 0 || mix == 100)
		return mix ? BENCH_DIR_READ : BENCH_DIR_WRITE;
	return below(t, 100) < mix ? BENCH_DIR_READ : BENCH_DIR_WRITE;
}

static uint64_t next_unit(struct bench_thread *t, uint32_t units)
{
	enum bench_rw rw = t->bench->opt.rw;
	uint64_t unit;

	if (rw == BENCH_RANDREAD || rw == BENCH_RANDWRITE || rw == BENCH_RANDRW)
		return t->first + below(t, t->end - t->first - units + 1);
	unit = t->end - t->next < units ? t->first : t->next;
	t->next = unit + units;
	return unit;
}

static bool may_write(const struct bench_thread *t, uint64_t unit,
		      uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		if (!verify_may_write(&t->verify, unit + i))
			return false;
	return true;
}

bool bench_pick(struct bench_thread *t, struct bench_slot *slot)
{
	const struct bench *b = t->bench;
	uint32_t units;

	slot->size = b->opt.nr_sizes == 1 ? 0 : b->opt.by_percent[below(t, 100)];
	slot->dir = next_dir(t);
	units = b->units[slot->size];
	for (unsigned i = 0; i < BUSY_TRIES; i++) {
		slot->unit = next_unit(t, units);
		if (slot->dir == BENCH_DIR_READ || !b->opt.verify ||
		    may_write(t, slot->unit, units))
			return true;
	}
	return false;
}

/*
 * The next units that were written, as many as the smallest size has; false:
 * all have been read.
 */
static bool pick_written(struct bench_thread *t, struct bench_slot *slot)
{
	const struct bench *b = t->bench;

	slot->dir = BENCH_DIR_READ;
	slot->size = 0;
	for (unsigned i = 1; i < b->opt.nr_sizes; i++)
		if (b->units[i] < b->units[slot->size])
			slot->size = (uint8_t)i;
	while (t->next < t->end) {
		slot->unit = t->next++;
		if (!verify_begin_read(&t->verify, slot->unit))
			continue;
		/* The last ones again rather than beyond the end. */
		if (t->end - slot->unit < b->units[slot->size])
			slot->unit = t->end - b->units[slot->size];
		t->next = slot->unit + b->units[slot->size];
		return true;
	}
	return false;
}

/* -- starting ---------------------------------------------------------- */

static void prepare_data(struct bench_thread *t, struct bench_slot *slot,
			 uint8_t *buf)
{
	const struct bench *b = t->bench;

	for (uint32_t i = 0; i < b->units[slot->size]; i++, buf += b->unit)
		if (slot->dir == BENCH_DIR_WRITE)
			verify_begin_write(&t->verify, slot->unit + i, buf);
		else
			slot->at_least[i] = verify_begin_read(&t->verify,
							      slot->unit + i);
}

/* When the next may start. */
static uint64_t due(const struct bench_pace *p)
{
	return p->from + (uint64_t)((double)(p->count + 1) * 1e9 / p->rate);
}

/*
 * How many may start now.  What is counted keeps to the rate on its own: what
 * the ramp fell behind is not made up for.
 */
static uint64_t allowance(struct bench_thread *t)
{
	struct bench_pace *p = &t->pace;
	uint64_t from = t->now < t->bench->count_from ? t->bench->start
						      : t->bench->count_from;
	double sum;

	if (!p->rate || t->reading_back)
		return UINT64_MAX;
	if (p->from != from)
		*p = (struct bench_pace){ .rate = p->rate, .from = from };
	sum = (double)(t->now - from) / 1e9 * p->rate;
	return sum > (double)p->count ? (uint64_t)(sum - (double)p->count) : 0;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool counts(const struct bench_thread *t)
{
	return t->now >= t->bench->count_from && !t->reading_back;
}

/* Fills the queue; how many have started. */
static unsigned fill(struct bench_thread *t, struct bench_queue *q)
{
	uint64_t room = min64(min64(q->nr_free, t->left), allowance(t));
	const struct bench *b = t->bench;
	unsigned started = 0;

	for (; started < room; started++) {
		unsigned n = q->free[q->nr_free - 1];
		struct bench_slot *slot = &q->slots[n];
		uint32_t sectors;

		if (!(t->reading_back ? pick_written(t, slot)
				      : bench_pick(t, slot)))
			break;
		q->nr_free--;
		if (b->opt.verify)
			prepare_data(t, slot, nvme_user_buffer(q->nvme, n));
		slot->start = t->now;
		sectors = b->units[slot->size] * b->unit_sectors;
		nvme_user_submit(q->nvme, n, slot->dir == BENCH_DIR_WRITE
				 ? NVME_USER_WRITE : NVME_USER_READ,
				 slot->unit * b->unit_sectors, sectors);
	}
	t->in_flight += started;
	t->pace.count += started;
	if (t->left != UINT64_MAX && counts(t))
		t->left -= started;
	return started;
}

/* -- completing -------------------------------------------------------- */

void bench_count(struct bench_thread *t, const struct bench_slot *slot,
		 uint64_t ns, uint64_t count)
{
	struct bench_direction *dir = &t->dirs[slot->dir];

	hist_add_many(&dir->latency, ns, count);
	dir->by_size[slot->size] += count;
	/* One writer; others may look. */
	__atomic_store_n(&t->completed, t->completed + count,
			 __ATOMIC_RELAXED);
}

static void count_error(struct bench_thread *t, const struct bench_slot *slot,
			uint16_t status)
{
	struct bench_direction *dir = &t->dirs[slot->dir];

	if (dir->errors++)
		return;
	dir->first_bad_lba = slot->unit * t->bench->unit_sectors;
	dir->first_status = status;
}

static int check_data(struct bench_thread *t, const struct bench_slot *slot,
		      const uint8_t *buf, uint16_t status)
{
	const struct bench *b = t->bench;
	int r = 0;

	for (uint32_t i = 0; !r && i < b->units[slot->size]; i++)
		if (slot->dir == BENCH_DIR_WRITE)
			verify_end_write(&t->verify, slot->unit + i, !status);
		else if (!status)
			r = verify_check(&t->verify, slot->unit + i,
					 slot->at_least[i], buf + i * b->unit,
					 &t->err);
	return r;
}

static int complete(struct bench_thread *t, struct bench_queue *q,
		    const struct nvme_user_done *done)
{
	const struct bench *b = t->bench;
	struct bench_slot *slot = &q->slots[done->slot];

	if (done->slot >= b->opt.depth)
		return ob_fail(&t->err, EPROTO,
			       "a completion of command %u, which does not "
			       "exist", done->slot);
	if (!slot->start)
		return ob_fail(&t->err, EPROTO,
			       "command %u is completed twice", done->slot);
	t->in_flight--;
	q->free[q->nr_free++] = done->slot;
	if (slot->start >= b->count_from && !t->reading_back)
		bench_count(t, slot, t->now - slot->start, 1);
	slot->start = 0;
	if (done->status)
		count_error(t, slot, done->status);
	return b->opt.verify
		? check_data(t, slot, nvme_user_buffer(q->nvme, done->slot),
			     done->status) : 0;
}

/* Something has completed or started, or -errno. */
static int serve_queue(struct bench_thread *t, struct bench_queue *q,
		       bool refill)
{
	struct nvme_user_done done[POLL_BATCH];
	unsigned n = nvme_user_take(q->nvme, done, POLL_BATCH), started = 0;
	int r = 0;

	if (n)
		t->now = now_ns();
	if (counts(t)) {
		t->looks++;
		t->empty_looks += !n;
	}
	for (unsigned i = 0; i < n && !r; i++)
		r = complete(t, q, &done[i]);
	if (!r && refill && q->nr_free)
		started = fill(t, q);
	if (!r && (n || started))
		r = nvme_user_ring(q->nvme, &t->err);
	return r ? r : n + started > 0;
}

/* -- waiting ----------------------------------------------------------- */

static int check_stuck(struct bench_thread *t, uint64_t last)
{
	if (!t->in_flight || t->now - last <= STUCK_NS)
		return 0;
	return ob_fail(&t->err, ETIMEDOUT,
		       "%u commands are not completed after %llu s",
		       t->in_flight, STUCK_NS / 1000000000u);
}

/* For how long nothing needs to be started; 0: no time. */
static uint64_t spare(const struct bench_thread *t)
{
	uint64_t end = t->pace.rate ? due(&t->pace) : t->now;

	end = min64(end, t->now < t->bench->count_from ? t->bench->count_from
						       : t->bench->until);
	return end > t->now ? min64(end - t->now, 100000000u) : 0;
}

static void nap(uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };

	if (ns > NAP_NS)
		nanosleep(&ts, NULL);
}

/* Until a completion, or until something may be started. */
static int sleep_well(struct bench_thread *t)
{
	unsigned stride = bench_stride(&t->bench->opt);
	uint64_t ms = t->pace.rate ? spare(t) / 1000000 : 1000;
	int r = nvme_user_wait_own(t->bench->nvme, t->index * stride,
				   (unsigned)t->bench->opt.threads * stride,
				   (int)ms, &t->err);

	return r == -ETIMEDOUT ? 0 : r;
}

/* Nothing has completed: sleep, or now and then look for signs of life. */
static int idle(struct bench_thread *t, uint64_t last)
{
	unsigned looks = ++t->idle_looks;
	int r = 0;

	if (t->pace.rate || looks % CLOCK_LOOKS == 0)
		t->now = now_ns();
	if (!t->in_flight)
		nap(spare(t));
	else if (t->bench->opt.interrupts)
		r = sleep_well(t);
	else if (looks < SPIN_LOOKS)
		return 0;
	else
		sched_yield();
	if (!r && looks % SPIN_LOOKS == 0)
		r = nvme_user_look(t->bench->nvme, &t->err);
	if (t->bench->opt.interrupts || looks >= SPIN_LOOKS)
		t->now = now_ns();
	return r ? r : check_stuck(t, last);
}

/*
 * One thread does this beside its I/O, and waits for the answer; what is in
 * flight keeps the server busy meanwhile.
 */
static int read_register(struct bench_thread *t)
{
	struct bench *b = t->bench;
	uint64_t value, start = now_ns(), end;
	int r;

	if (t->index || start < t->next_register || !counts(t))
		return 0;
	pthread_mutex_lock(&b->nvme->lock);
	r = nvme_user_get_reg(b->nvme, NVME_USER_VERSION, &value, 4, &t->err);
	pthread_mutex_unlock(&b->nvme->lock);
	end = now_ns();
	hist_add(&t->registers, end - start);
	t->next_register = start + (uint64_t)(1e9 / b->opt.registers);
	return r;
}

/* -- the run ----------------------------------------------------------- */

/* Found or started something on some queue; -errno. */
static int serve_all(struct bench_thread *t, bool refill)
{
	struct bench *b = t->bench;
	int found = 0;

	for (uint64_t i = t->index; i < b->opt.queues; i += b->opt.threads) {
		int r = serve_queue(t, &b->queues[i], refill);

		if (r < 0)
			return r;
		found |= r;
	}
	return found;
}

static bool goes_on(const struct bench_thread *t)
{
	const struct bench *b = t->bench;

	return t->left && !__atomic_load_n(&b->stop, __ATOMIC_RELAXED) &&
	       (t->reading_back ? t->next < t->end : t->now < b->until);
}

/* Until the end, or until nothing is left to start and to complete. */
int bench_engine(struct bench_thread *t)
{
	uint64_t last = t->now = now_ns();
	bool refill;
	int r;

	do {
		refill = goes_on(t);
		r = serve_all(t, refill);
		if (r > 0) {
			last = t->now;
			t->idle_looks = 0;
		} else if (!r) {
			r = idle(t, last);
		}
		if (r >= 0 && t->bench->opt.registers)
			r = read_register(t);
	} while (r >= 0 && (t->in_flight || refill));
	return r < 0 ? r : 0;
}
