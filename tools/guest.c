// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "hist.h"

#define STUCK_NS 20000000000ull		/* an I/O that takes longer is lost */
#define WAIT_MS 20000

uint64_t guest_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* -- start ------------------------------------------------------------- */

static int open_disk(struct guest *g, struct ob_client *client,
		     struct ob_err *err)
{
	const struct nvme_user_params params = {
		.queues = g->opts.queues, .depth = g->opts.depth,
		.buffer_size = GUEST_BLOCK, .nsid = 1,
		.shadow = g->opts.shadow, .interrupts = g->opts.interrupts,
	};

	return nvme_user_open(client, &params, &g->disk, err);
}

int guest_start(struct guest *g, struct ob_client *client,
		const struct guest_options *opts, struct ob_err *err)
{
	struct nvme_user *disk;
	int r;

	memset(g, 0, sizeof(*g));
	g->opts = *opts;
	g->random = opts->seed | 1;
	if (!g->opts.queues)
		g->opts.queues = 4;
	if (!g->opts.depth)
		g->opts.depth = 32;
	if (g->opts.queues > GUEST_MAX_QUEUES ||
	    g->opts.depth > GUEST_MAX_DEPTH)
		return ob_fail(err, EINVAL, "at most %u queues, %u deep",
			       GUEST_MAX_QUEUES, GUEST_MAX_DEPTH);
	g->last_ns = now_ns();
	r = open_disk(g, client, err);
	if (r)
		return r;
	disk = g->disk;
	if (disk->lbas * disk->lba_size < opts->blocks * GUEST_BLOCK)
		return ob_fail(err, EINVAL, "the disk is too small");
	r = verify_init(&g->verify, opts->blocks, disk->lba_size,
			GUEST_BLOCK / disk->lba_size, opts->seed, err);
	return r ? r : guest_ram_init(&g->ram, disk->memory, disk->memory_addr,
				disk->memory_size, disk->memory_fd, err);
}

/* -- I/O --------------------------------------------------------------- */

static uint64_t free_block(struct guest *g)
{
	uint64_t block;

	do
		block = guest_random(&g->random) % g->opts.blocks;
	while (!verify_may_write(&g->verify, block));
	return block;
}

static void submit(struct guest *g, struct nvme_user_queue *q, unsigned slot,
		   struct guest_io *io)
{
	void *buf = nvme_user_buffer(q, slot);
	uint32_t sectors = GUEST_BLOCK / g->disk->lba_size;
	struct nvme_user_sqe *sqe = &q->sq[q->tail];

	if (io->opcode == NVME_USER_WRITE) {
		verify_begin_write(&g->verify, io->block, buf);
		guest_ram_wrote(&g->ram, buf, GUEST_BLOCK);
	} else if (io->opcode == NVME_USER_READ) {
		io->at_least = verify_begin_read(&g->verify, io->block);
		memset(buf, 0, 64);
		guest_ram_wrote(&g->ram, buf, 64);
	}
	nvme_user_submit(q, slot, io->opcode, io->block * sectors, sectors);
	guest_ram_wrote(&g->ram, sqe, sizeof(*sqe));
	io->busy = true;
	g->in_flight++;
}

/* As guests do; and who serves them may make one request of several. */
static bool go_on(struct guest *g, struct guest_io *io)
{
	*io = g->last;
	io->block++;
	return io->opcode != NVME_USER_FLUSH && io->block < g->opts.blocks &&
		guest_random(&g->random) % 4 &&
		verify_may_write(&g->verify, io->block);
}

static void choose(struct guest *g, struct guest_io *io)
{
	unsigned dice = guest_random(&g->random) % 100;

	if (!go_on(g, io)) {
		io->block = free_block(g);
		io->opcode = dice < 55 ? NVME_USER_WRITE :
			     dice < 98 ? NVME_USER_READ : NVME_USER_FLUSH;
	}
	g->last = *io;
}

/* The doorbell's shadow is a page that the CPU writes. */
static int ring(struct guest *g, struct nvme_user_queue *q, struct ob_err *err)
{
	int r = nvme_user_ring(q, err);

	if (q->sq_shadow.value)
		guest_ram_wrote(&g->ram, q->sq_shadow.value, sizeof(uint32_t));
	return r;
}

static int fill_queue(struct guest *g, unsigned at, unsigned fill,
		      struct ob_err *err)
{
	struct nvme_user_queue *q = &g->disk->queues[at];

	for (unsigned slot = 0; slot < g->opts.depth && fill; slot++) {
		struct guest_io *io = &g->io[at][slot];

		if (io->busy)
			continue;
		choose(g, io);
		submit(g, q, slot, io);
		fill--;
	}
	return ring(g, q, err);
}

static int judge(struct guest *g, struct nvme_user_queue *q,
		 const struct nvme_user_done *done, struct guest_io *io,
		 struct ob_err *err)
{
	io->busy = false;
	g->in_flight--;
	__atomic_store_n(&g->done, g->done + 1, __ATOMIC_RELAXED);
	if (io->opcode == NVME_USER_WRITE)
		verify_end_write(&g->verify, io->block, !done->status);
	if (done->status) {
		g->faults.errors++;
		return ob_fail(err, EIO, "queue %u, block %llu, opcode %u: "
			       "status %#x", q->id,
			       (unsigned long long)io->block, io->opcode,
			       done->status);
	}
	g->writes += io->opcode == NVME_USER_WRITE;
	g->reads += io->opcode == NVME_USER_READ;
	g->flushes += io->opcode == NVME_USER_FLUSH;
	return io->opcode != NVME_USER_READ ? 0 :
		verify_check(&g->verify, io->block, io->at_least,
			     nvme_user_buffer(q, done->slot), err);
}

static int take_one(struct guest *g, unsigned at,
		    const struct nvme_user_done *done, struct ob_err *err)
{
	struct nvme_user_queue *q = &g->disk->queues[at];

	if (done->slot >= g->opts.depth)
		return ob_fail(err, EPROTO, "command %u was never sent",
			       done->slot);
	if (done->stale || !g->io[at][done->slot].busy) {
		g->faults.twice++;
		return ob_fail(err, EPROTO, "queue %u: command %u completed "
			       "twice", q->id, done->slot);
	}
	return judge(g, q, done, &g->io[at][done->slot], err);
}

/* 0 for one who goes on and looks at the account in the end. */
static int tolerate(struct guest *g, int r, struct ob_err *err)
{
	if (!r || !g->opts.tolerant)
		return r;
	if (!g->faults.first.msg[0])
		g->faults.first = *err;
	*err = (struct ob_err){ 0 };
	return 0;
}

static void note_time(struct guest *g)
{
	uint64_t now = now_ns(), stall = now - g->last_ns;

	if (stall > g->longest_ns)
		g->longest_ns = stall;
	if (stall > GUEST_STALL_NS)
		g->stalls[g->nr_stalls++ % GUEST_STALLS] =
			(struct guest_stall){ g->last_ns, now };
	g->last_ns = now;
}

uint64_t guest_longest_stall(const struct guest *g, uint64_t from_ns,
			     uint64_t to_ns)
{
	uint64_t longest = GUEST_STALL_NS, now = now_ns();

	if (g->last_ns < to_ns && now - g->last_ns > longest)
		longest = now - g->last_ns;
	for (unsigned i = 0; i < GUEST_STALLS; i++) {
		const struct guest_stall *s = &g->stalls[i];

		if (s->begin_ns < to_ns && s->end_ns > from_ns &&
		    s->end_ns - s->begin_ns > longest)
			longest = s->end_ns - s->begin_ns;
	}
	return longest;
}

static int take(struct guest *g, unsigned at, bool *any, struct ob_err *err)
{
	struct nvme_user_queue *q = &g->disk->queues[at];
	struct nvme_user_done done[GUEST_MAX_DEPTH];
	int n = nvme_user_poll(q, done, g->opts.depth, err), r;

	if (q->cq_shadow.value && n > 0)
		guest_ram_wrote(&g->ram, q->cq_shadow.value, sizeof(uint32_t));
	for (int i = 0; i < n; i++) {
		r = tolerate(g, take_one(g, at, &done[i], err), err);
		if (r)
			return r;
	}
	*any |= n > 0;
	return n < 0 ? n : 0;
}

static int take_all(struct guest *g, bool *any, struct ob_err *err)
{
	int r = 0;

	for (unsigned at = 0; at < g->opts.queues && !r; at++)
		r = take(g, at, any, err);
	if (*any)
		note_time(g);
	return r;
}

/* Until something completes: by interrupt, or by looking. */
static int wait_for_some(struct guest *g, struct ob_err *err)
{
	uint64_t end = now_ns() + STUCK_NS;
	bool any = false;
	int r;

	while (!any) {
		if (g->opts.interrupts)
			r = nvme_user_wait(g->disk, WAIT_MS, err);
		else
			r = ob_client_poll(g->disk->client, 0, err);
		if (r < 0)
			return r;
		r = take_all(g, &any, err);
		if (r)
			return r;
		if (now_ns() > end)
			return ob_fail(err, ETIMEDOUT, "%u I/Os never completed",
				       g->in_flight);
	}
	return 0;
}

int guest_turn(struct guest *g, unsigned fill, bool wait, struct ob_err *err)
{
	bool any = false;
	int r = take_all(g, &any, err);

	for (unsigned at = 0; at < g->opts.queues && !r && fill; at++)
		r = fill_queue(g, at, 1 + guest_random(&g->random) % fill, err);
	if (r || any || !wait || !g->in_flight)
		return r;
	return wait_for_some(g, err);
}

/* -- moving ------------------------------------------------------------ */

int guest_prepare(struct guest *g, struct ob_client *client, unsigned side,
		  struct ob_err *err)
{
	struct ob_client_dma map = guest_ram_map(&g->ram, side);
	int fds[GUEST_MAX_QUEUES], r = ob_client_dma_map(client, &map, err);

	if (r || !g->opts.interrupts)
		return r;
	for (unsigned i = 0; i < g->opts.queues; i++)
		fds[i] = g->disk->queues[i].eventfd;
	return ob_client_irq_attach(client, OB_CLIENT_MSIX, 1, fds,
				    g->opts.queues, err);
}

int guest_attach(struct guest *g, struct ob_client *client, struct ob_err *err)
{
	g->disk->client = client;
	return guest_ram_switch(&g->ram, err);
}

/* -- end --------------------------------------------------------------- */

static int drain(struct guest *g, struct ob_err *err)
{
	int r = 0;

	while (g->in_flight && !r)
		r = guest_turn(g, 0, true, err);
	return r;
}

/* Every block once more, whatever was written to it. */
static int read_all(struct guest *g, struct ob_err *err)
{
	struct nvme_user_queue *q = &g->disk->queues[0];
	uint64_t block = 0;
	int r = 0;

	while (block < g->opts.blocks && !r) {
		for (unsigned slot = 0; slot < g->opts.depth &&
		     block < g->opts.blocks; slot++) {
			g->io[0][slot] = (struct guest_io){
				.opcode = NVME_USER_READ, .block = block++,
			};
			submit(g, q, slot, &g->io[0][slot]);
		}
		r = ring(g, q, err);
		if (!r)
			r = drain(g, err);
	}
	return r;
}

int guest_end(struct guest *g, struct ob_err *err)
{
	int r = drain(g, err);

	if (!r)
		r = read_all(g, err);
	nvme_user_close(g->disk);
	guest_ram_finish(&g->ram);
	verify_finish(&g->verify);
	return r;
}
