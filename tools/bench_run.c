// SPDX-License-Identifier: BSD-3-Clause
/*
 * The engine: every queue is polled, refilled and rung in turn, by one
 * thread.  One clock reading serves all completions that one poll found and
 * all commands that replace them.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "server_process.h"

#define POLL_BATCH 64u
#define STUCK_NS 30000000000ull		/* no completion for so long */
#define IDLE_LOOKS 4096u		/* between two looks at the clock */
#define BUSY_TRIES 16u

static uint64_t next_random(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random;
}

static bool is_random(const struct bench *b)
{
	return b->opt.rw == BENCH_RANDREAD || b->opt.rw == BENCH_RANDWRITE ||
	       b->opt.rw == BENCH_RANDRW;
}

static uint8_t next_opcode(struct bench *b)
{
	switch (b->opt.rw) {
	case BENCH_RANDWRITE:
	case BENCH_WRITE:
		return NVME_USER_WRITE;
	case BENCH_RANDRW:
		return next_random(b) >> 40 & 1 ? NVME_USER_WRITE
						: NVME_USER_READ;
	default:
		return NVME_USER_READ;
	}
}

static uint64_t next_block(struct bench *b)
{
	uint64_t block;

	if (is_random(b))
		return (uint64_t)((unsigned __int128)next_random(b) *
				  b->nr_blocks >> 64);
	block = b->next_block++;
	if (b->next_block == b->nr_blocks)
		b->next_block = 0;
	return block;
}

/* The next I/O of the run; false: none can start now. */
static bool pick(struct bench *b, struct bench_slot *slot)
{
	slot->opcode = next_opcode(b);
	for (unsigned i = 0; i < BUSY_TRIES; i++) {
		slot->block = next_block(b);
		if (slot->opcode == NVME_USER_READ || !b->opt.verify ||
		    verify_may_write(&b->verify, slot->block))
			return true;
	}
	return false;
}

/* The next block that was written; false: all have been read. */
static bool pick_written(struct bench *b, struct bench_slot *slot)
{
	slot->opcode = NVME_USER_READ;
	while (b->next_block < b->nr_blocks) {
		slot->block = b->next_block++;
		if (verify_begin_read(&b->verify, slot->block))
			return true;
	}
	return false;
}

static void prepare_data(struct bench *b, struct bench_slot *slot, void *buf)
{
	if (!b->opt.verify)
		return;
	if (slot->opcode == NVME_USER_WRITE)
		verify_begin_write(&b->verify, slot->block, buf);
	else
		slot->at_least = verify_begin_read(&b->verify, slot->block);
}

static int fill(struct bench *b, struct bench_queue *q, uint64_t now)
{
	while (q->nr_free) {
		unsigned n = q->free[q->nr_free - 1];
		struct bench_slot *slot = &q->slots[n];

		if (!(b->reading_back ? pick_written(b, slot) : pick(b, slot)))
			break;
		q->nr_free--;
		prepare_data(b, slot, nvme_user_buffer(q->nvme, n));
		slot->start = now;
		nvme_user_submit(q->nvme, n, slot->opcode,
				 slot->block * b->sectors, b->sectors);
		b->in_flight++;
	}
	return nvme_user_ring(q->nvme, &b->err);
}

static void count_error(struct bench *b, const struct bench_slot *slot,
			struct bench_direction *dir, uint16_t status)
{
	if (dir->errors++)
		return;
	dir->first_bad_lba = slot->block * b->sectors;
	dir->first_status = status;
}

static int complete(struct bench *b, struct bench_queue *q,
		    const struct nvme_user_done *done, uint64_t now)
{
	struct bench_direction *dir;
	struct bench_slot *slot;

	if (done->slot >= b->opt.depth)
		return ob_fail(&b->err, EPROTO,
			       "a completion of command %u, which does not "
			       "exist", done->slot);
	slot = &q->slots[done->slot];
	if (!slot->start)
		return ob_fail(&b->err, EPROTO,
			       "command %u is completed twice", done->slot);
	dir = slot->opcode == NVME_USER_WRITE ? &b->write : &b->read;
	b->in_flight--;
	q->free[q->nr_free++] = done->slot;
	if (!b->reading_back) {
		hist_add(&dir->latency, now - slot->start);
		b->completed++;
	}
	slot->start = 0;
	if (done->status)
		count_error(b, slot, dir, done->status);
	if (!b->opt.verify)
		return 0;
	if (slot->opcode == NVME_USER_WRITE) {
		verify_end_write(&b->verify, slot->block, !done->status);
		return 0;
	}
	if (done->status)
		return 0;
	return verify_check(&b->verify, slot->block, slot->at_least,
			    nvme_user_buffer(q->nvme, done->slot), &b->err);
}

/* Completions found, or -errno. */
static int serve_queue(struct bench *b, struct bench_queue *q, bool refill)
{
	struct nvme_user_done done[POLL_BATCH];
	int n = nvme_user_poll(q->nvme, done, POLL_BATCH, &b->err), r = 0;
	uint64_t now;

	if (n < 0 || (!n && !q->nr_free))
		return n;
	now = now_ns();
	for (int i = 0; i < n && !r; i++)
		r = complete(b, q, &done[i], now);
	if (!r && refill)
		r = fill(b, q, now);
	return r ? r : n;
}

/* Nothing has completed: sleep, or now and then look for signs of life. */
static int idle(struct bench *b, unsigned looks, uint64_t last)
{
	int r;

	if (b->opt.interrupts) {
		r = nvme_user_wait(b->nvme, 1000, &b->err);
		if (r && r != -ETIMEDOUT)
			return r;
	} else if (looks % IDLE_LOOKS) {
		if (looks > 64)
			sched_yield();
		return 0;
	}
	r = ob_client_poll(b->client, 0, &b->err);
	if (r < 0)
		return r;
	if (b->in_flight && now_ns() - last > STUCK_NS)
		return ob_fail(&b->err, ETIMEDOUT,
			       "%u commands are not completed after %llu s",
			       b->in_flight, STUCK_NS / 1000000000u);
	return 0;
}

/*
 * The rate of each part of the run, when the part is over; of several at once
 * if the machine took the CPU away for so long.
 */
struct sampler {
	uint64_t part, next, since, count;
};

static void take_sample(struct bench *b, struct sampler *s, uint64_t now)
{
	if (now < s->next || b->nr_samples == BENCH_SAMPLES)
		return;
	b->samples[b->nr_samples++] = (double)(b->completed - s->count) * 1e9 /
				      (double)(now - s->since);
	s->since = now;
	s->count = b->completed;
	while (s->next <= now)
		s->next += s->part;
}

/* Until `end`, or until nothing is left to start and to complete. */
static int keep_busy(struct bench *b, uint64_t start, uint64_t end)
{
	uint64_t now = start, last = start, part = (end - start) / BENCH_SAMPLES;
	struct sampler sampler = {
		.part = part, .next = start + part, .since = start,
	};
	unsigned looks = 0;
	int found, r;

	do {
		bool refill = now < end;

		found = 0;
		for (unsigned i = 0; i < b->opt.queues; i++) {
			r = serve_queue(b, &b->queues[i], refill);
			if (r < 0)
				return r;
			found += r;
		}
		looks = found ? 0 : looks + 1;
		now = now_ns();
		if (found)
			last = now;
		else if (b->in_flight && (r = idle(b, looks, last)))
			return r;
		if (!b->reading_back)
			take_sample(b, &sampler, now);
	} while (b->in_flight || (now < end && !b->reading_back));
	return 0;
}

static double own_cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static int timed_run(struct bench *b)
{
	struct server_processes server;
	double own, other;
	uint64_t start;
	int r;

	server_find(b->client, &server);
	own = own_cpu_seconds();
	other = server_cpu_seconds(&server);
	start = now_ns();
	r = keep_busy(b, start, start + (uint64_t)(b->opt.seconds * 1e9));
	b->elapsed = (double)(now_ns() - start) / 1e9;
	b->client_cpu = (own_cpu_seconds() - own) / b->elapsed;
	b->server_cpu = (server_cpu_seconds(&server) - other) / b->elapsed;
	return r;
}

int bench_run(struct bench *b)
{
	int r = timed_run(b);

	if (r || !b->opt.verify || !bench_writes(b))
		return r;
	b->reading_back = true;
	b->next_block = 0;
	return keep_busy(b, now_ns(), UINT64_MAX);
}
