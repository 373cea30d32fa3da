// SPDX-License-Identifier: BSD-3-Clause
/*
 * R27: death at every store.
 *
 * While the device runs, its state, the undo's count and the guest's queues
 * are read-only.  Each store there faults; before it is let through, the whole
 * process forks.  In the child the device is dead at that instruction: what an
 * open step protected is put back, a fresh device takes the state over as
 * after a migration, and the guest, with the memory and the knowledge that it
 * has, goes on with its session to the end.  Some die again on the way.
 *
 * The guest's oracle: each command that it gave is told exactly once, with the
 * result and the data of a disk that never went away, and the state at the end
 * is that of an undisturbed session, but for what docs/nvme.md lists.
 */
#include "lib.h"

#include <outboard/block_backend.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __x86_64__

#define QUEUE_MEMORY	(512u << 10)	/* of the guest, from its beginning */
#define TRAP_FLAG	0x100		/* EFLAGS.TF: one instruction */
#define NR_QUEUES	3u
#define CHILDREN	8u
#define PATIENCE	100000u		/* turns in which nothing happens */
#define RESTLESS	20u		/* of them, before we nap in each */

struct variant {
	const char *options;
	enum guest_memory memory;
	bool shadow;
};

static const struct variant *variant;

/* -- which stores count ------------------------------------------------ */

static struct {
	struct guest *g;
	bool on, child;
	unsigned long point, every, first;
	unsigned long countdown;	/* to another death; 0: none */
	struct child {
		pid_t pid;
		unsigned long point;
		const char *where;
		size_t at;
	} children[CHILDREN];
	sigjmp_buf out;
} watch;

static uint32_t coins;

static unsigned coin(unsigned limit)
{
	coins = coins * 1664525u + 1013904223u;
	return (coins >> 8) % limit;
}

static size_t whole(size_t size)
{
	return (size + 4095) & ~(size_t)4095;
}

static void set_access(int access)
{
	struct ob_device *dev = watch.g->dev;

	if (mprotect(dev->state, whole(sizeof(struct nvme_plain)), access) ||
	    mprotect(dev->hot, whole(sizeof(struct nvme_hot)), access) ||
	    mprotect(dev->undo, 4096, access) ||
	    mprotect(watch.g->mem, QUEUE_MEMORY, access))
		abort();
}

static void watch_on(void)
{
	watch.on = true;
	set_access(PROT_READ);
}

static void watch_off(void)
{
	if (watch.on)
		set_access(PROT_READ | PROT_WRITE);
	watch.on = false;
}

/* -- dying ------------------------------------------------------------- */

static void die(void)
{
	watch.countdown = 0;
	siglongjmp(watch.out, 1);
}

static void become_child(void)
{
	alarm(100);
	watch.child = true;
	coins = watch.point * 2654435761u + 1;
	die();
}

/* One of the children has ended; most of their time they wait for the end of
 * a ring, so several are there at a time. */
static void reap(void)
{
	int status;
	pid_t pid = wait(&status);
	unsigned i = 0;

	while (i < CHILDREN && watch.children[i].pid != pid)
		i++;
	if (pid < 0 || i == CHILDREN)
		abort();
	watch.children[i].pid = 0;
	if (status == 0)
		return;
	fprintf(stderr, "%s: death at store %lu, to %s + 0x%zx: status 0x%x\n",
		variant->options, watch.children[i].point,
		watch.children[i].where, watch.children[i].at, status);
	abort();
}

static struct child *free_child(void)
{
	for (;;) {
		for (unsigned i = 0; i < CHILDREN; i++)
			if (!watch.children[i].pid)
				return &watch.children[i];
		reap();
	}
}

static void reap_all(void)
{
	for (unsigned i = 0; i < CHILDREN; i++)
		while (watch.children[i].pid)
			reap();
}

static void locate(struct child *child, const char *at)
{
	const struct ob_device *dev = watch.g->dev;
	const struct {
		const char *name;
		const void *from;
		size_t size;
	} places[] = {
		{ "plain", dev->state, sizeof(struct nvme_plain) },
		{ "hot", dev->hot, sizeof(struct nvme_hot) },
		{ "undo", dev->undo, 4096 },
		{ "guest", watch.g->mem, GUEST_SIZE },
	};

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		child->at = at - (const char *)places[i].from;
		child->where = places[i].name;
		if (child->at < places[i].size)
			return;
	}
}

static void try_death(const char *at)
{
	struct child *child = free_child();
	pid_t pid = fork();

	if (pid == 0)
		become_child();
	if (pid < 0)
		abort();
	child->pid = pid;
	child->point = watch.point;
	locate(child, at);
}

static void stored(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (!watch.on) {
		signal(sig, SIG_DFL);	/* a real one: again, and die of it */
		return;
	}
	watch.point++;
	if (watch.child) {
		if (watch.countdown && !--watch.countdown)
			die();
	} else if (watch.every && watch.point % watch.every == watch.first) {
		try_death(info->si_addr);
	}
	set_access(PROT_READ | PROT_WRITE);
	uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void stepped(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	(void)info;
	uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	if (watch.on)
		set_access(PROT_READ);
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = {
		.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	assert_int_equal(sigaction(sig, &sa, NULL), 0);
}

/* -- the guest's oracle ------------------------------------------------ */

struct given {
	bool out, told;
	struct nvme_cqe cqe;
};

static struct given (*given)[1 << 16];		/* of each queue */
static bool alive[NR_QUEUES];
static uint64_t next_data;

static struct queue *queue_of(struct guest *g, unsigned id)
{
	return id ? &g->io[id] : &g->admin;
}

static void collect_queue(struct guest *g, unsigned id)
{
	struct nvme_cqe cqe;

	while (guest_take(g, queue_of(g, id), &cqe)) {
		struct given *c;

		assert_true(cqe.sq_id < NR_QUEUES);
		c = &given[cqe.sq_id][cqe.cid];
		if (!c->out)
			fail_msg("queue %u, command %u: told, and not out",
				 cqe.sq_id, cqe.cid);
		c->out = false;
		c->told = true;
		c->cqe = cqe;
	}
}

static void collect(struct guest *g)
{
	for (unsigned id = 0; id < NR_QUEUES; id++)
		if (alive[id])
			collect_queue(g, id);
}

static void ring_heads(struct guest *g)
{
	for (unsigned id = 0; id < NR_QUEUES; id++)
		if (alive[id])
			guest_ring_head(g, queue_of(g, id));
}

static uint16_t give(struct guest *g, unsigned id, struct nvme_sqe sqe)
{
	uint16_t cid = guest_put(g, queue_of(g, id), &sqe);

	given[id][cid] = (struct given){ .out = true };
	return cid;
}

/*
 * Patience is for a device that does nothing, and is counted in its turns: at each
 * of its stores we fork, and wait for children.  A ring's request may need a
 * thread of the kernel, which gets no processor while all of us spin.
 */
static uint16_t await(struct guest *g, unsigned id, uint16_t cid)
{
	const struct given *c = &given[id][cid];
	unsigned long point = watch.point;
	unsigned quiet = 0;

	while (!c->told) {
		guest_turn(g);
		collect(g);
		ring_heads(g);
		quiet = point == watch.point ? quiet + 1 : 0;
		point = watch.point;
		if (!c->told && quiet > PATIENCE)
			fail_msg("queue %u, command %u: never told", id, cid);
		if (!c->told && quiet > RESTLESS)
			usleep(50);
	}
	g->result = c->cqe.result;
	return c->cqe.status >> 1 & 0x7ff;
}

static uint16_t run(struct guest *g, unsigned id, struct nvme_sqe sqe)
{
	uint16_t cid = give(g, id, sqe);

	guest_ring(g, queue_of(g, id));
	return await(g, id, cid);
}

/* -- the successor ----------------------------------------------------- */

static const struct ob_drive *innermost(const struct ob_drive *drive)
{
	return drive->inner ? innermost(drive->inner) : drive;
}

/* What the dead one had asked of a drive and had not got, was not done. */
static void take_drive(struct ob_device *to, struct ob_device *from)
{
	const struct ob_drive *a = innermost(from->cls->drive(from, 0));
	const struct ob_drive *b = innermost(to->cls->drive(to, 0));

	memcpy(b->info.memory, a->info.memory, a->info.size);
}

static void take_over(struct guest *g)
{
	struct ob_device *old = g->dev, *dev;
	struct ob_err err = { "" };

	lib_undo(old);
	assert_int_equal(ob_loop_create(NULL, &g->loop, &err), 0);
	dev = lib_create(g, variant->options);
	lib_stop(dev);
	lib_halt(dev);
	if (lib_load(dev, old, &err))
		fail_msg("%s", err.msg);
	take_drive(dev, old);
	lib_copy_config(dev, old);
	dev->may_spread = old->may_spread;
	g->dev = dev;
	if (g->page)
		g->page = (uint32_t *)(dev->bar + NVME_DB_OFFSET);
}

static void go_on(struct guest *g, void *arg)
{
	(void)arg;
	lib_run(g->dev);
}

/* The guest does not know: its processors go on while nobody serves it. */
static void resurrect(struct guest *g)
{
	bool consumes = coin(2);

	if (coin(2))
		lib_execute_sent(g->dev);
	if (consumes)
		collect(g);
	take_over(g);
	if (coin(4) == 0)
		watch.countdown = 1 + coin(40);
	if (consumes)
		ring_heads(g);
}

static void around(struct guest *g, void (*entry)(struct guest *g, void *arg),
		   void *arg, bool message)
{
	bool late;

	if (watch.child && !watch.countdown) {
		entry(g, arg);
		return;
	}
	if (!sigsetjmp(watch.out, 1)) {
		watch_on();
		entry(g, arg);
		watch_off();
		return;
	}
	watch_off();
	resurrect(g);
	late = coin(2);
	if (message && late)
		around(g, entry, arg, true);
	if (g->dev->halted)
		around(g, go_on, NULL, false);
	if (g->dev->halted)
		lib_run(g->dev);
	if (message && !late)
		around(g, entry, arg, true);
}

/* -- the session ------------------------------------------------------- */

static uint64_t data(struct guest *g, uint32_t seed)
{
	uint64_t at = next_data;

	next_data += 4096;
	assert_true(next_data <= GUEST_BASE + GUEST_SIZE);
	fill(guest_ptr(g, at), 4096, seed);
	return at;
}

static void enable(struct guest *g)
{
	memset(given[0], 0, sizeof(given[0]));
	guest_enable(g);
	alive[0] = true;
}

static struct nvme_sqe about_queue(struct guest *g, uint8_t opcode,
				   unsigned id, uint64_t at, uint32_t flags)
{
	struct nvme_sqe sqe = guest_sqe(g, opcode, 0, at, 4096);

	sqe.cdw10 = (g->io[id].entries - 1) << 16 | id;
	sqe.cdw11 = id << 16 | flags;
	return sqe;
}

static void create(struct guest *g, unsigned id, uint32_t entries)
{
	struct queue *q = &g->io[id];

	*q = (struct queue){ .id = id, .entries = entries, .phase = 1 };
	q->sq = guest_alloc(g, 4096);
	q->cq = guest_alloc(g, 4096);
	memset(given[id], 0, sizeof(given[id]));
	assert_int_equal(run(g, 0, about_queue(g, NVME_ADM_CREATE_CQ, id,
					       q->cq, 3)), 0);
	assert_int_equal(run(g, 0, about_queue(g, NVME_ADM_CREATE_SQ, id,
					       q->sq, 1)), 0);
	alive[id] = true;
}

static void delete(struct guest *g, unsigned id)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADM_DELETE_SQ, .cdw10 = id };

	alive[id] = false;
	assert_int_equal(run(g, 0, sqe), 0);
	sqe.opcode = NVME_ADM_DELETE_CQ;
	assert_int_equal(run(g, 0, sqe), 0);
}

static uint16_t feature(struct guest *g, uint8_t fid, uint32_t value)
{
	return run(g, 0, (struct nvme_sqe){
		.opcode = NVME_ADM_SET_FEATURES, .cdw10 = fid, .cdw11 = value,
	});
}

static uint16_t log_page(struct guest *g, uint8_t lid, uint64_t at)
{
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_GET_LOG, NVME_NSID_ALL,
					at, 4096);

	sqe.cdw10 = 1023u << 16 | lid;
	return run(g, 0, sqe);
}

static void identify(struct guest *g)
{
	uint64_t at = data(g, 1);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_IDENTIFY, 0, at, 4096);

	sqe.cdw10 = NVME_CNS_CTRL;
	assert_int_equal(run(g, 0, sqe), 0);
	assert_int_equal(((struct nvme_id_ctrl *)guest_ptr(g, at))->vid,
			 NVME_PCI_VENDOR);
}

/* Several at once, more than the completion queue has room for. */
static void write_some(struct guest *g, unsigned id, uint32_t seed)
{
	uint16_t cids[3];

	for (unsigned i = 0; i < 3; i++)
		cids[i] = give(g, id, guest_rw(g, NVME_IO_WRITE, 8 * i, 8,
					       data(g, seed + i)));
	guest_ring(g, &g->io[id]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(await(g, id, cids[i]), 0);
}

static void read_some(struct guest *g, unsigned id, uint32_t seed)
{
	uint16_t cids[3];
	uint64_t at[3];

	for (unsigned i = 0; i < 3; i++) {
		at[i] = data(g, 77);
		cids[i] = give(g, id, guest_rw(g, NVME_IO_READ, 8 * i, 8,
					       at[i]));
	}
	guest_ring(g, &g->io[id]);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(await(g, id, cids[i]), 0);
		assert_true(is_filled(guest_ptr(g, at[i]), 4096, seed + i));
	}
}

static void other_io(struct guest *g)
{
	struct nvme_sqe flush = { .opcode = NVME_IO_FLUSH, .nsid = 1 };
	uint64_t at = data(g, 5);
	const uint32_t *words = guest_ptr(g, at);

	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_COMPARE, 0, 8,
					    data(g, 10))), 0);
	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_COMPARE, 8, 8,
					    data(g, 10))),
			 NVME_COMPARE_FAILURE);
	assert_int_equal(run(g, 1, flush), 0);
	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_WRITE_ZEROES, 24, 8,
					    0)), 0);
	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_READ, 24, 8, at)), 0);
	assert_int_equal(words[0] | words[1023], 0);
}

/* One that is wrong, one that fails and is in the log, a wrong opcode. */
static void errors(struct guest *g)
{
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8, 4096);
	uint64_t at = data(g, 0);
	struct nvme_error_entry *e = guest_ptr(g, at);

	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_READ, 1 << 30, 8, at)),
			 NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(run(g, 1, sqe), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(log_page(g, NVME_LOG_ERROR, at), 0);
	assert_int_equal(e[0].count, 1);
	assert_int_equal(e[0].cid, (uint16_t)(g->io[1].next_cid - 1));
	assert_int_equal(e[1].count, 0);
	sqe.opcode = 0x77;
	assert_int_equal(run(g, 0, sqe), NVME_INVALID_OPCODE);
}

static struct nvme_sqe attachment(struct guest *g, bool detach)
{
	uint64_t at = data(g, 0);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_NS_ATTACHMENT, 1, at,
					4096);

	*(uint32_t *)guest_ptr(g, at) = 1;
	sqe.cdw10 = detach;
	return sqe;
}

/* Two wait; one is told, one is aborted, and none is told twice. */
static void events(struct guest *g)
{
	struct nvme_sqe aer = { .opcode = NVME_ADM_ASYNC_EVENT };
	struct nvme_sqe abort = { .opcode = NVME_ADM_ABORT };
	uint64_t at = data(g, 0);
	uint16_t first = give(g, 0, aer), second = give(g, 0, aer);

	guest_ring(g, &g->admin);
	assert_int_equal(feature(g, NVME_FID_EVENTS, 1u << 8 | 2), 0);
	assert_int_equal(run(g, 0, attachment(g, true)), 0);
	assert_int_equal(await(g, 0, first), 0);
	assert_int_equal(g->result, NVME_EVENT_NOTICE |
			 NVME_LOG_CHANGED_NS << 16);
	assert_int_equal(run(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, at)),
			 NVME_INVALID_FIELD);
	assert_int_equal(run(g, 0, attachment(g, false)), 0);
	assert_int_equal(run(g, 0, attachment(g, false)),
			 NVME_NS_ALREADY_ATTACHED);
	abort.cdw10 = (uint32_t)second << 16;
	assert_true(given[0][second].out);
	assert_int_equal(run(g, 0, abort), 0);
	assert_int_equal(g->result, 0);
	assert_int_equal(await(g, 0, second), NVME_ABORT_REQUESTED);
	assert_int_equal(log_page(g, NVME_LOG_CHANGED_NS, at), 0);
	assert_int_equal(*(uint32_t *)guest_ptr(g, at), 1);
	assert_int_equal(log_page(g, NVME_LOG_CHANGED_NS, at), 0);
	assert_int_equal(*(uint32_t *)guest_ptr(g, at), 0);
	give(g, 0, aer);
	guest_ring(g, &g->admin);
	/* The event that was kept while the first was not read is told. */
	assert_int_equal(feature(g, NVME_FID_TEMPERATURE, 300), 0);
	assert_int_equal(feature(g, NVME_FID_TEMPERATURE, 0xffff), 0);
}

static void shut_down(struct guest *g)
{
	guest_set_reg(g, NVME_REG_CC, 4 << 20 | 6 << 16 | 1 << 14 |
		      NVME_CC_EN);
	while ((guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK) !=
	       NVME_CSTS_SHST_DONE)
		guest_turn(g);
	guest_disable(g);
	memset(alive, 0, sizeof(alive));
}

static void shadow(struct guest *g)
{
	struct nvme_sqe sqe;
	uint32_t *page;

	g->index = guest_alloc(g, 4096);
	sqe = guest_sqe(g, NVME_ADM_DBBUF_CONFIG, 0, guest_alloc(g, 4096),
			4096);
	memcpy(sqe.dptr + 8, &g->index, 8);
	page = guest_ptr(g, *(uint64_t *)sqe.dptr);
	for (unsigned i = 1; i < NR_QUEUES; i++) {
		page[2 * i] = g->io[i].tail;
		page[2 * i + 1] = g->io[i].head;
	}
	assert_int_equal(run(g, 0, sqe), 0);
	g->shadow = *(uint64_t *)sqe.dptr;
}

/* The driver of a next life: everything anew. */
static void again(struct guest *g)
{
	enable(g);
	create(g, 1, 8);
	read_some(g, 1, 30);
}

static void session(struct guest *g)
{
	enable(g);
	identify(g);
	create(g, 1, 8);
	create(g, 2, 3 + 1);
	if (variant->shadow)
		shadow(g);
	for (unsigned i = 0; i < 3; i++)
		write_some(g, 2, 10);
	read_some(g, 1, 10);
	other_io(g);
	errors(g);
	events(g);
	delete(g, 2);
	create(g, 2, 4);
	write_some(g, 2, 30);
	read_some(g, 2, 30);
	shut_down(g);
	again(g);
	guest_reset(g);
	memset(alive, 0, sizeof(alive));
	g->shadow = g->index = 0;
	again(g);
}

/* -- the end ----------------------------------------------------------- */

struct state {
	struct nvme_plain plain;
	struct nvme_hot hot;
};

static struct state *undisturbed;

/* What may differ: SMART's counters, clocks, what a free slot held. */
static void save(struct ob_device *dev, struct state *s)
{
	lib_stop(dev);
	lib_halt(dev);
	lib_copy(&nvme_plain_table, &s->plain, dev->state);
	lib_copy(&nvme_hot_table, &s->hot, dev->hot);
	s->plain.counters.reads = s->plain.counters.writes = 0;
	s->plain.counters.blocks_read = s->plain.counters.blocks_written = 0;
	memset(s->hot.lanes, 0, sizeof(s->hot.lanes));
	s->plain.features.timestamp_ms = s->plain.features.timestamp_ns = 0;
	for (unsigned i = 0; i < NVME_SLOTS; i++) {
		assert_int_equal(s->hot.slots[i].stage, NVME_SLOT_FREE);
		s->hot.slots[i] = (struct nvme_slot){ .stage = 0 };
	}
}

static void end_child(struct guest *g)
{
	struct state *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	watch.countdown = 0;
	guest_settle(g);
	save(g->dev, s);
	assert_memory_equal(&s->plain, &undisturbed->plain, sizeof(s->plain));
	assert_memory_equal(&s->hot, &undisturbed->hot, sizeof(s->hot));
	_exit(0);
}

static struct guest *begin(void)
{
	struct guest *g = guest_start_as(variant->options, variant->memory);

	if (strstr(variant->options, "mapped"))
		g->page = (uint32_t *)(g->dev->bar + NVME_DB_OFFSET);
	next_data = GUEST_BASE + QUEUE_MEMORY;
	memset(alive, 0, sizeof(alive));
	watch.g = g;
	watch.point = 0;
	return g;
}

static void run_session(void)
{
	struct guest *g = begin();

	if (lib_lanes > 1) {
		guest_msix(g);
		lib_spread(g->dev, true);
	}
	session(g);
	if (watch.child)
		end_child(g);
	lib_around = NULL;
	reap_all();
	guest_settle(g);
	save(g->dev, undisturbed);
	guest_end(g);
}

static unsigned long number(const char *name, unsigned long def)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : def;
}

/* First without deaths, to know how many stores there are. */
static void die_everywhere(const struct variant *v, unsigned long points)
{
	unsigned long all;

	variant = v;
	watch.every = 0;
	lib_around = around;
	run_session();
	all = watch.point;
	points = number("OB_TEST_POINTS", points);
	watch.every = all > points ? all / points : 1;
	watch.first = number("OB_TEST_SEED", 0) % watch.every;
	lib_around = around;
	run_session();
	print_message("%s: %lu stores, death at each %lu.\n", v->options, all,
		      watch.every);
}

static int setup(void **state)
{
	(void)state;
	/* A child's failure must end the child. */
	setenv("CMOCKA_TEST_ABORT", "1", 1);
	given = calloc(NR_QUEUES, sizeof(*given));
	undisturbed = calloc(1, sizeof(*undisturbed));
	handle(SIGTRAP, stepped);
	return given && undisturbed ? 0 : -1;
}

static void die_as(const char *options, enum guest_memory memory, bool shadowed,
		   unsigned long points)
{
	const struct variant v = { options, memory, shadowed };

	handle(SIGSEGV, stored);
	die_everywhere(&v, points);
}

static void test_r27_memory_drive(void **state)
{
	(void)state;
	die_as("drive=mem:64K", GUEST_MAPPED, false, 700);
}

static void test_r27_slow_drive(void **state)
{
	(void)state;
	die_as("drive=delay:10:mem:64K", GUEST_MAPPED, false, 500);
}

static void test_r27_shadow_doorbells(void **state)
{
	(void)state;
	die_as("drive=mem:64K", GUEST_MAPPED, true, 500);
}

static void test_r27_mapped_doorbells(void **state)
{
	(void)state;
	die_as("drive=mem:64K,doorbells=mapped", GUEST_MAPPED, false, 500);
}

static void test_r27_two_lanes(void **state)
{
	(void)state;
	lib_lanes = 2;
	lib_turns_lanes = true;
	die_as("drive=mem:64K", GUEST_MAPPED, true, 500);
	lib_lanes = 1;
	lib_turns_lanes = false;
}

static void test_r27_memory_by_messages(void **state)
{
	(void)state;
	die_as("drive=mem:64K", GUEST_MESSAGES, false, 500);
}

static void end_after_death(struct guest *g)
{
	lib_destroy(g->dev);
	ob_loop_destroy(g->loop);
	munmap(g->mem, GUEST_SIZE);
	free(g);
}

/* What kills again and again is not begun again; a reset is the way out. */
static void test_r31_a_failed_device_begins_nothing(void **state)
{
	static const struct variant v = {
		"drive=delay:hang:mem:64K", GUEST_MAPPED, 0
	};
	struct guest *g;
	uint16_t cid;

	(void)state;
	variant = &v;
	g = begin();
	enable(g);
	create(g, 1, 8);
	cid = give(g, 1, guest_rw(g, NVME_IO_READ, 0, 8, data(g, 1)));
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_int_equal(g->dev->traced[OB_TRACE_DRIVE], 1);
	take_over(g);
	ob_dev_enter(g->dev);
	(g->dev->cls->fail)(g->dev);	/* a macro of cmocka, too */
	ob_dev_leave(g->dev);
	lib_run(g->dev);
	guest_settle(g);
	collect(g);
	assert_true(given[1][cid].out);
	assert_int_equal(g->dev->traced[OB_TRACE_DRIVE], 0);
	assert_true(guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_CFS);
	guest_disable(g);
	enable(g);
	identify(g);
	end_after_death(g);
}

/* Ten writes through a queue of so many entries; what was traced is counted. */
static struct guest *begin_traced(const struct variant *v, unsigned entries)
{
	struct guest *g;

	variant = v;
	g = begin();
	enable(g);
	create(g, 1, entries);
	write_some(g, 1, 10);
	return g;
}

/* A reader of the recorder can pair what was fetched and what was told. */
static void test_each_command_is_traced(void **state)
{
	static const struct variant v = {
		"drive=delay:10:mem:64K", GUEST_MAPPED, 0
	};
	struct guest *g = begin_traced(&v, 8);
	const unsigned *traced = g->dev->traced;

	(void)state;
	assert_int_equal(traced[OB_TRACE_AT_ONCE], 2);	/* the queues */
	assert_int_equal(traced[OB_TRACE_FETCH], 3);
	assert_int_equal(traced[OB_TRACE_POST], 3);
	assert_int_equal(traced[OB_TRACE_DRIVE], 3);
	assert_int_equal(traced[OB_TRACE_DRIVE_DONE], 3);
	guest_end(g);
}

/* One that ends without having waited is one event; one that waits for room in
 * its queue is known to wait. */
static void test_what_ends_at_once_is_one_event(void **state)
{
	static const struct variant v = { "drive=mem:64K", GUEST_MAPPED, 0 };
	struct guest *g = begin_traced(&v, 4);
	const unsigned *traced = g->dev->traced;

	(void)state;
	assert_int_equal(traced[OB_TRACE_AT_ONCE], 2 + 3);
	assert_int_equal(traced[OB_TRACE_FETCH], 0);
	for (unsigned i = 0; i < 5; i++) {
		give(g, 1, guest_rw(g, NVME_IO_WRITE, 0, 8, data(g, 1)));
		guest_ring(g, &g->io[1]);
		guest_settle(g);
	}
	assert_int_equal(traced[OB_TRACE_AT_ONCE], 2 + 3 + 3);
	assert_int_equal(traced[OB_TRACE_FETCH], 2);
	assert_int_equal(traced[OB_TRACE_POST], 0);
	collect(g);
	ring_heads(g);
	guest_settle(g);
	assert_int_equal(traced[OB_TRACE_POST], 2);
	guest_end(g);
}

/* halt stops the clock for a move; without halt it was a death, and the clock
 * of the dead is ours. */
static void test_r27_the_timestamp_goes_on(void **state)
{
	static const struct variant v = { "drive=mem:64K", GUEST_MAPPED, 0 };
	struct nvme_features *there, *here;
	struct guest *g;

	(void)state;
	variant = &v;
	g = begin();
	there = &((struct nvme_plain *)g->dev->state)->features;
	there->timestamp_ms = 1000;
	there->timestamp_ns -= 50000000000ull;
	take_over(g);
	here = &((struct nvme_plain *)g->dev->state)->features;
	assert_int_equal(here->timestamp_ns, there->timestamp_ns);
	lib_run(g->dev);
	lib_stop(g->dev);
	lib_halt(g->dev);
	assert_true(here->timestamp_ms >= 51000);
	assert_int_equal(here->timestamp_live, 0);
	end_after_death(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r27_memory_drive),
		cmocka_unit_test(test_r27_slow_drive),
		cmocka_unit_test(test_r27_shadow_doorbells),
		cmocka_unit_test(test_r27_mapped_doorbells),
		cmocka_unit_test(test_r27_memory_by_messages),
		cmocka_unit_test(test_r27_two_lanes),
		cmocka_unit_test(test_r27_the_timestamp_goes_on),
		cmocka_unit_test(test_r31_a_failed_device_begins_nothing),
		cmocka_unit_test(test_each_command_is_traced),
		cmocka_unit_test(test_what_ends_at_once_is_one_event),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

#else
int main(void)
{
	puts("single steps are known for x86-64 only");
	return 77;
}
#endif
