// SPDX-License-Identifier: BSD-3-Clause
/*
 * A command's data between guest memory and the controller's own.
 *
 * Drives never see guest memory (R7, R10, R13); what they read and write is a
 * run of pages of a pool.  Admin commands have a pool of their own, so that a
 * drive that hangs with all of the I/O pool cannot stop them.  A command that
 * finds no room waits in the pool's queue, first come first served; later
 * ones queue behind it even if they would fit, so everyone's turn comes.
 *
 * What is large is moved in parts, one a turn, and between two of them
 * registers are answered (R8).  A command in the middle of its data is like one
 * that waits: it has no completion, so whoever dies, halts or resets there begins
 * it again or forgets it.  Its segments are its own copy (R13), and each part is
 * looked up anew, so what was unmapped meanwhile is not touched (R10).
 */
#include <string.h>
#include <sys/mman.h>

#include "devices/nvme/nvme.h"

int nvme_pool_init(struct nvme_pool *pool, uint32_t pages)
{
	void *base = nvme_memory_get((size_t)pages * 4096);

	if (!base)
		return -ENOMEM;
	/* Guest data: not in a core dump (R32). */
	madvise(base, (size_t)pages * 4096, MADV_DONTDUMP);
	pool->base = base;
	pool->pages = pages;
	nvme_list_init(&pool->waiting);
	return 0;
}

void nvme_pool_finish(struct nvme_pool *pool)
{
	nvme_memory_put(pool->base, (size_t)pool->pages * 4096);
	pool->base = NULL;
}

static bool page_used(const struct nvme_pool *pool, uint32_t page)
{
	return pool->used[page / 64] >> (page % 64) & 1;
}

/* First free run of count pages, or pool->pages. */
static uint32_t find_run(const struct nvme_pool *pool, uint32_t count)
{
	uint32_t run = 0;

	for (uint32_t i = 0; i < pool->pages; i++) {
		if (i % 64 == 0 && pool->used[i / 64] == UINT64_MAX) {
			run = 0;
			i += 63;
			continue;
		}
		run = page_used(pool, i) ? 0 : run + 1;
		if (run == count)
			return i + 1 - count;
	}
	return pool->pages;
}

static bool pool_take(struct nvme_pool *pool, struct nvme_buffer *buf)
{
	uint32_t page = find_run(pool, buf->pages);

	if (page == pool->pages)
		return false;
	for (uint32_t i = page; i < page + buf->pages; i++)
		pool->used[i / 64] |= 1ull << (i % 64);
	buf->page = page;
	buf->pool = pool;
	buf->data = pool->base + (size_t)page * 4096;
	return true;
}

static struct nvme_pool *pool_of(struct nvme_cmd *c)
{
	return &c->lane->pool;
}

int nvme_buffer_get(struct nvme_cmd *c, uint32_t bytes)
{
	struct nvme_pool *pool = pool_of(c);

	c->buf.pages = (bytes + 4095) / 4096;
	if (!c->buf.pages)
		return 0;
	if (nvme_list_empty(&pool->waiting) && pool_take(pool, &c->buf))
		return 0;
	nvme_list_push(&pool->waiting, c);
	return -EINPROGRESS;
}

void nvme_buffer_put(struct nvme_cmd *c)
{
	struct nvme_buffer *buf = &c->buf;
	struct nvme_pool *pool = buf->pool;

	if (!buf->data)
		return;
	for (uint32_t i = buf->page; i < buf->page + buf->pages; i++)
		pool->used[i / 64] &= ~(1ull << (i % 64));
	*buf = (struct nvme_buffer){ 0 };
	if (pool != pool_of(c))
		nvme_settled(c->n);
	else if (!nvme_list_empty(&pool->waiting))
		nvme_kick(c->lane);
}

bool nvme_pool_drain(struct nvme_pool *pool)
{
	struct nvme_cmd *c;
	bool did = false;

	while ((c = pool->waiting.first) && !nvme_turn_is_over(c->lane) &&
	       pool_take(pool, &c->buf)) {
		nvme_list_pop(&pool->waiting);
		nvme_cmd_run(c);
		did = true;
	}
	return did;
}

int nvme_step_buffer(struct nvme_cmd *c)
{
	return nvme_buffer_get(c, c->len);
}

static struct nvme_cmd *cmd_of(struct ob_dma_op *op)
{
	return (struct nvme_cmd *)((char *)op - offsetof(struct nvme_cmd, dma));
}

static void dma_prepare(struct nvme_cmd *c,
			void (*done)(struct ob_dma_op *op, int rc))
{
	memset(&c->dma, 0, sizeof(c->dma));
	c->dma.done = done;
}

/* The step that is running now is done again by a later turn. */
static int park(struct nvme_cmd *c)
{
	c->busy = false;
	nvme_cmd_again(c);
	nvme_list_push(&c->lane->parked, c);
	nvme_kick(c->lane);
	return -EINPROGRESS;
}

/*
 * With no client there is no memory, and that is not the guest's doing: the
 * data waits for the next client.
 */
static bool parked(struct nvme_cmd *c, int rc)
{
	if (!rc || !c->n->frozen || c->disowned)
		return false;
	c->moved = 0;
	park(c);
	return true;
}

/* They are begun again: halt. */
void nvme_data_forget_waiting(struct nvme *n)
{
	nvme_for_each_lane(n, lane) {
		nvme_list_init(&lane->pool.waiting);
		nvme_list_init(&lane->parked);
	}
	nvme_hand_forget(n);
	nvme_ns_forget_held(n);
}

bool nvme_data_unpark(struct nvme_lane *lane)
{
	struct nvme_cmd *c;
	bool did = false;

	while (nvme_running(lane->n) && !nvme_turn_is_over(lane) &&
	       (c = nvme_list_pop(&lane->parked))) {
		nvme_cmd_run(c);
		did = true;
	}
	return did;
}

/*
 * Messages that were not sent because the device is to stand still, or whose
 * answers came while it stood: run begins the command again.
 */
static bool put_off(struct nvme_cmd *c, int rc)
{
	if (c->disowned || !(c->n->halted || rc == -ECANCELED))
		return false;
	nvme_cmd_put_off(c);
	return true;
}

/* What its own thread cannot reach: all of it again, at home. */
static int go_home(struct nvme_cmd *c)
{
	nvme_buffer_put(c);
	nvme_cmd_tell(c);
	nvme_hand_over(c, c->n->lanes, NVME_BEGINS);
	return NVME_GONE;
}

static int dma_started(struct nvme_cmd *c, int rc)
{
	if (rc == -EAGAIN)
		return go_home(c);
	if (rc == -EINPROGRESS) {
		c->busy = true;
		c->is_drive = false;
		c->lane->nr_busy_dma++;
		return rc;
	}
	if (rc == -ECANCELED && put_off(c, rc))
		return -EINPROGRESS;
	return parked(c, rc) ? -EINPROGRESS : nvme_dma_status(c->lane, rc);
}

/* Feeds the walker its lists until it is content, fails or must wait. */
static int walk_on(struct nvme_cmd *c, int rc);

static void list_read(struct ob_dma_op *op, int rc)
{
	struct nvme_cmd *c = cmd_of(op);
	int status;

	c->lane->nr_busy_dma--;
	nvme_settled(c->n);
	if (put_off(c, rc) || parked(c, rc))
		return;
	status = nvme_dma_status(c->lane, rc);
	if (!status && !c->disowned) {
		status = walk_on(c, nvme_walk_next(&c->walk));
		if (status < 0)
			return;
	}
	nvme_cmd_resume(c, status);
}

static int walk_on(struct nvme_cmd *c, int rc)
{
	struct nvme_walk *w = &c->walk;

	while (rc == -EAGAIN) {
		dma_prepare(c, list_read);
		rc = dma_started(c, ob_dma_read(c->lane->dev, &w->need, 1,
						w->list, &c->dma));
		if (rc)
			return rc;
		rc = nvme_walk_next(w);
	}
	return rc;
}

int nvme_step_walk(struct nvme_cmd *c)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;

	if (!c->len) {
		c->walk.count = 0;
		return 0;
	}
	return walk_on(c, nvme_walk_start(&c->walk, sqe->dptr,
					  NVME_SQE_PSDT(sqe->flags), c->len,
					  nvme_page_size(c->n)));
}

/* With several lanes, others may be there, too. */
static bool has_cells(const struct nvme_cmd *c)
{
	return c->n->cells && nvme_io_is_in_place(c);
}

static uint32_t part_of(const struct nvme_cmd *c)
{
	uint32_t left = c->len - c->moved;
	uint32_t most = has_cells(c) ? nvme_cell_left(c->offset + c->moved) :
			NVME_PART_BYTES;

	return left < most ? left : most;
}

/* The segments of bytes [from, from + len) of the data; how many. */
static unsigned cut(const struct nvme_walk *w, uint32_t from, uint32_t len,
		    struct ob_seg *out)
{
	unsigned count = 0;

	for (const struct ob_seg *at = w->segs; len; at++) {
		struct ob_seg seg = { at->addr + from, at->len - from };

		if (from >= at->len) {
			from -= at->len;
			continue;
		}
		from = 0;
		if (seg.len > len)
			seg.len = len;
		len -= seg.len;
		out[count++] = seg;
	}
	return count;
}

static void data_moved(struct ob_dma_op *op, int rc)
{
	struct nvme_cmd *c = cmd_of(op);

	c->lane->nr_busy_dma--;
	nvme_settled(c->n);
	nvme_io_data_moved(c);
	if (put_off(c, rc) || parked(c, rc))
		return;
	c->moved += part_of(c);
	if (!rc && c->moved < c->len && !c->disowned)
		nvme_cmd_again(c);
	nvme_cmd_resume(c, nvme_dma_status(c->lane, rc));
}

static int transfer(struct nvme_cmd *c, const struct ob_seg *segs,
		    unsigned count, uint8_t *at, bool write)
{
	struct ob_device *dev = c->lane->dev;

	return write ? ob_dma_write(dev, segs, count, at, &c->dma) :
		       ob_dma_read(dev, segs, count, at, &c->dma);
}

static int transfer_alone(struct nvme_cmd *c, const struct ob_seg *segs,
			  unsigned count, uint8_t *at, bool write)
{
	uint64_t offset = c->offset + c->moved;
	int rc;

	nvme_cell_take(c->ns, offset);
	rc = transfer(c, segs, count, at, write);
	nvme_cell_put(c->ns, offset);
	return rc;
}

static int move_part(struct nvme_cmd *c, uint8_t *at, bool write)
{
	struct ob_seg some[NVME_WALK_SEGS];
	const struct ob_seg *segs = c->walk.segs;
	unsigned count = c->walk.count;
	uint32_t part = part_of(c);

	if (part < c->len) {
		count = cut(&c->walk, c->moved, part, some);
		segs = some;
		at += c->moved;
	}
	dma_prepare(c, data_moved);
	c->lane->moved += part;
	return dma_started(c, has_cells(c) ?
			   transfer_alone(c, segs, count, at, write) :
			   transfer(c, segs, count, at, write));
}

/* The step that calls this is called again until all is moved. */
static int move(struct nvme_cmd *c, uint8_t *at, bool write)
{
	int rc = 0;

	while (!rc && c->moved < c->len) {
		if (c->moved && nvme_turn_is_over(c->lane))
			return park(c);
		rc = move_part(c, at, write);
		if (!rc)
			c->moved += part_of(c);
	}
	return rc;
}

int nvme_data_read(struct nvme_cmd *c, void *to)
{
	return move(c, to, false);
}

int nvme_data_write(struct nvme_cmd *c, const void *from)
{
	return move(c, (uint8_t *)(uintptr_t)from, true);
}

int nvme_step_data_in(struct nvme_cmd *c)
{
	return c->len ? nvme_data_read(c, c->buf.data) : 0;
}

/* A drive may finish many large reads at once; they take their turns. */
int nvme_step_data_out(struct nvme_cmd *c)
{
	if (nvme_turn_is_over(c->lane))
		return park(c);
	return c->len ? nvme_data_write(c, c->buf.data) : 0;
}
