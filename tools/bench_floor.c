// SPDX-License-Identifier: BSD-3-Clause
/*
 * What memory allows: the same blocks of a memory of the same size, in the
 * order in which the engine would ask for them, copied to the same buffers,
 * by one instruction after the other and nobody else.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define CLOCK_COPIES 16u

static size_t memory_size(const struct bench *b)
{
	return b->nr_units * b->unit;
}

/* Written to, since memory that nobody has written to is one page of zeros. */
int bench_memcpy_prepare(struct bench *b)
{
	bool huge = b->opt.floor == BENCH_FLOOR_MEMCPY_HUGE;
	size_t size = memory_size(b);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return ob_fail(&b->err, errno, "memory for %zu bytes: %s", size,
			       strerror(errno));
	b->memory = p;
	if (madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		return ob_fail(&b->err, errno, "huge pages: %s",
			       strerror(errno));
	memset(p, 0x5a, size);
	return 0;
}

void bench_memcpy_finish(struct bench *b)
{
	if (b->memory)
		munmap(b->memory, memory_size(b));
}

static void copy(struct bench_thread *t, const struct bench_slot *slot,
		 void *buf)
{
	struct bench *b = t->bench;
	void *block = b->memory + slot->unit * b->unit;
	size_t size = b->opt.sizes[slot->size];

	if (slot->dir == BENCH_DIR_READ)
		memcpy(buf, block, size);
	else
		memcpy(block, buf, size);
}

/* Each took the mean of those between two looks at the clock. */
static void count(struct bench_thread *t, const struct bench_slot *slots,
		  unsigned n)
{
	uint64_t now = now_ns(), each = (now - t->now) / n;

	if (t->now >= t->bench->count_from)
		for (unsigned i = 0; i < n; i++)
			bench_count(t, &slots[i], each, 1);
	if (t->now >= t->bench->count_from && t->left != UINT64_MAX)
		t->left -= n;
	t->now = now;
}

int bench_memcpy(struct bench_thread *t)
{
	struct bench_slot slots[CLOCK_COPIES];
	struct bench *b = t->bench;
	struct nvme_user_queue *q = b->queues[t->index].nvme;
	unsigned buffer = 0;

	t->now = now_ns();
	while (t->left && t->now < b->until && !b->stop) {
		unsigned n = t->left < CLOCK_COPIES ? (unsigned)t->left
						    : CLOCK_COPIES;

		for (unsigned i = 0; i < n; i++) {
			bench_pick(t, &slots[i]);
			copy(t, &slots[i], nvme_user_buffer(q, buffer));
			if (++buffer == b->opt.depth)
				buffer = 0;
		}
		count(t, slots, n);
	}
	return 0;
}
