// SPDX-License-Identifier: BSD-3-Clause
#include "lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <outboard/option.h>

static const struct ob_option common[] = {
	{ .name = "socket", .type = OB_OPT_STRING },
	{ 0 }
};

/* A lane's handle has a loop and a poller; the rest is the device's. */
static struct ob_device *home_of(struct ob_device *dev)
{
	return dev->home ? dev->home : dev;
}

/* -- what the model asks of the library -------------------------------- */

const struct ob_device_class *ob_dev_class(const struct ob_device *dev)
{
	return dev->cls;
}

const char *ob_dev_id(const struct ob_device *dev)
{
	return dev->cls->name;
}

void *ob_dev_state(struct ob_device *dev)
{
	return dev->state;
}

size_t ob_dev_hot_written(struct ob_device *dev)
{
	return dev->cls->hot->size;
}

void *ob_dev_hot(struct ob_device *dev)
{
	return dev->hot;
}

void *ob_dev_runtime(struct ob_device *dev)
{
	return home_of(dev)->runtime;
}

struct ob_loop *ob_dev_loop(struct ob_device *dev)
{
	return dev->loop;
}

unsigned ob_dev_lanes(const struct ob_device *dev)
{
	return dev->nr_lanes;
}

struct ob_device *ob_dev_lane(struct ob_device *dev, unsigned number)
{
	assert_true(number < dev->nr_lanes);
	return number ? dev->lanes[number] : dev;
}

bool ob_dev_may_spread(struct ob_device *dev)
{
	return dev->may_spread;
}

void ob_dev_spread(struct ob_device *dev, bool on)
{
	(void)dev;
	(void)on;
}

const struct ob_options *ob_dev_options(const struct ob_device *dev)
{
	return dev->opts;
}

/* Whatever comes wakes the loop, which asks its pollers before it sleeps again. */
void ob_dev_enter(struct ob_device *dev)
{
	dev->asleep = false;
	home_of(dev)->entered++;
}

static void commit(struct ob_device *dev)
{
	if (dev->undo->count)
		__atomic_store_n(&dev->undo->count, 0, __ATOMIC_SEQ_CST);
	dev->undo->used = 0;
}

void ob_dev_leave(struct ob_device *dev)
{
	dev = home_of(dev);
	assert_true(dev->entered-- > 0);
	if (!dev->entered) {
		dev->undo->whole_step = false;
		commit(dev);
	}
}

static void protect(struct ob_device *dev, const void *at, size_t len)
{
	struct lib_undo *undo = dev->undo;
	uint32_t i = undo->count;

	for (uint32_t k = 0; k < i; k++)
		if ((const uint8_t *)at >= undo->extents[k].at &&
		    (const uint8_t *)at + len <=
		    undo->extents[k].at + undo->extents[k].len)
			return;
	assert_true(i < LIB_UNDO_EXTENTS && len <= LIB_UNDO_BYTES - undo->used);
	undo->extents[i].at = (uint8_t *)(uintptr_t)at;
	undo->extents[i].len = len;
	memcpy(undo->bytes + undo->used, at, len);
	undo->used += len;
	__atomic_store_n(&undo->count, i + 1, __ATOMIC_SEQ_CST);
}

void ob_dev_protect(struct ob_device *dev, const void *hot, size_t len)
{
	protect(dev, dev->state, dev->cls->state->size);
	if (hot && len)
		protect(dev, hot, len);
}

void ob_dev_commit(struct ob_device *dev)
{
	if (!dev->undo->whole_step)
		commit(dev);
}

void lib_undo(struct ob_device *dev)
{
	struct lib_undo *undo = dev->undo;
	uint8_t *from = undo->bytes;
	uint32_t count = undo->count;

	for (uint32_t i = 0; i < count; from += undo->extents[i++].len)
		memcpy(undo->extents[i].at, from, undo->extents[i].len);
	undo->count = undo->used = 0;
	undo->whole_step = false;
}

void ob_dev_trace(struct ob_device *dev, enum ob_trace what, uint16_t a,
		  uint32_t b, uint64_t c)
{
	(void)a;
	(void)b;
	(void)c;
	assert_true(what <= OB_TRACE_AT_ONCE);
	home_of(dev)->traced[what]++;
}

void ob_dev_stopped(struct ob_device *dev)
{
	dev->stopped++;
}

bool ob_dev_is_halted(const struct ob_device *dev)
{
	return dev->halted;
}

bool ob_dev_is_incoming(const struct ob_device *dev)
{
	return dev->incoming;
}

int ob_dev_drive_open(struct ob_device *dev, unsigned index, const char *spec,
		      unsigned flags, struct ob_drive **out,
		      struct ob_err *err)
{
	(void)index;
	return ob_drive_open(ob_dev_loop(dev), spec, flags, out, err);
}

int ob_dev_acquire_drives(struct ob_device *dev, struct ob_err *err)
{
	dev->acquired++;
	return dev->acquire ? ob_fail(err, -dev->acquire, "image in use") : 0;
}

void *ob_dev_bar_memory(struct ob_device *dev, unsigned bar)
{
	return bar == OB_BAR0 && dev->pci.bars[0].nr_areas ? dev->bar : NULL;
}

void ob_dev_poll(struct ob_device *dev, bool on, bool busy)
{
	(void)busy;
	dev->poll = on;
	dev->asleep = false;
	dev->idle = 0;
}

void ob_dev_log(struct ob_device *dev, enum ob_level level,
		const char *fmt, ...)
{
	va_list args;

	if (level == OB_DEBUG)
		return;
	dev = home_of(dev);
	va_start(args, fmt);
	vsnprintf(dev->said, sizeof(dev->said), fmt, args);
	va_end(args);
}

/* -- interrupts -------------------------------------------------------- */

enum ob_irq_mode ob_irq_mode(const struct ob_device *dev)
{
	return dev->home ? dev->home->mode : dev->mode;
}

unsigned ob_irq_vectors(const struct ob_device *dev)
{
	if (dev->home)
		dev = dev->home;
	return dev->mode == OB_IRQ_INTX ? 1 : dev->pci.msix_vectors;
}

void ob_irq_raise(struct ob_device *dev, unsigned vector)
{
	dev = home_of(dev);
	assert_true(vector < LIB_VECTORS);
	if (dev->mode == OB_IRQ_INTX)
		return;
	if (dev->masked[vector] || dev->halted)
		dev->pending[vector] = true;
	else
		dev->raised[vector]++;
}

void ob_irq_level(struct ob_device *dev, bool asserted)
{
	dev->level = asserted;
}

static void deliver_pending(struct ob_device *dev)
{
	for (unsigned i = 0; i < LIB_VECTORS; i++) {
		if (!dev->pending[i] || dev->masked[i])
			continue;
		dev->pending[i] = false;
		dev->raised[i]++;
	}
}

/* -- guest memory ------------------------------------------------------ */

static bool within(const struct ob_seg *seg)
{
	return seg->len <= GUEST_SIZE && seg->addr >= GUEST_BASE &&
	       seg->addr - GUEST_BASE <= GUEST_SIZE - seg->len;
}

static int reach(const struct ob_device *dev, const struct ob_seg *segs,
		 unsigned count)
{
	if (!dev->master || dev->halted)
		return -EACCES;
	if (!dev->connected)
		return -EFAULT;
	for (unsigned i = 0; i < count; i++)
		if (!within(&segs[i]))
			return -EFAULT;
	return 0;
}

static void copy_all(struct guest *g, const struct ob_seg *segs,
		     unsigned count, uint8_t *buf, bool write)
{
	for (unsigned i = 0; i < count; buf += segs[i++].len) {
		void *at = guest_ptr(g, segs[i].addr);

		if (write)
			memcpy(at, buf, segs[i].len);
		else
			memcpy(buf, at, segs[i].len);
	}
}

static void message_ended(struct ob_device *dev, struct lib_message *m,
			  int rc)
{
	struct lib_message **at = &dev->messages;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	ob_dev_enter(dev);
	m->op->done(m->op, rc);
	ob_dev_leave(dev);
	free(m);
}

static void execute(struct ob_device *dev, struct lib_message *m)
{
	copy_all(dev->g, m->segs, m->count, m->buf, m->write);
	m->stage = LIB_EXECUTED;
	dev->g->nr_dma++;
}

/* One step of one message; each of the three takes a turn. */
static bool pump_one(struct ob_device *dev, struct lib_message *m)
{
	switch (m->stage) {
	case LIB_CANCELLED:
		message_ended(dev, m, -ECANCELED);
		return true;
	case LIB_WAITS:
		if (!dev->stopping)
			m->stage = LIB_SENT;
		return false;
	case LIB_SENT:
		if (!dev->g->hold_dma)
			execute(dev, m);
		return false;
	case LIB_EXECUTED:
		if (dev->g->hold_dma || dev->hold_answers)
			return false;
		message_ended(dev, m, 0);
		return true;
	}
	return false;
}

static void pump(struct ob_deferred *deferred)
{
	struct ob_device *dev = (struct ob_device *)
		((char *)deferred - offsetof(struct ob_device, pump));
	struct lib_message *m = dev->messages, *next;

	for (; m; m = next) {
		next = m->next;
		pump_one(dev, m);
	}
	if (dev->messages)
		ob_defer(dev->loop, &dev->pump);
}

static int add_message(struct ob_device *dev, const struct ob_seg *segs,
		       unsigned count, void *buf, struct ob_dma_op *op,
		       bool write)
{
	struct lib_message *m = calloc(1, sizeof(*m)), **at = &dev->messages;

	assert_non_null(m);
	assert_true(count <= NVME_WALK_SEGS);
	memcpy(m->segs, segs, count * sizeof(*segs));
	m->op = op;
	m->count = count;
	m->buf = buf;
	m->write = write;
	m->stage = dev->stopping ? LIB_CANCELLED : LIB_WAITS;
	op->rc = dev->stopping ? -ECANCELED : 0;
	while (*at)
		at = &(*at)->next;
	*at = m;
	ob_defer(dev->loop, &dev->pump);
	return -EINPROGRESS;
}

static int transfer(struct ob_device *dev, const struct ob_seg *segs,
		    unsigned count, void *buf, struct ob_dma_op *op,
		    bool write)
{
	int rc = reach(dev, segs, count);

	if (rc)
		return rc;
	assert_true(dev->g->memory == GUEST_MAPPED || dev == home_of(dev));
	if (dev->g->memory == GUEST_MESSAGES)
		return add_message(dev, segs, count, buf, op, write);
	copy_all(dev->g, segs, count, buf, write);
	return 0;
}

void lib_execute_sent(struct ob_device *dev)
{
	for (struct lib_message *m = dev->messages; m; m = m->next)
		if (m->stage == LIB_SENT)
			execute(dev, m);
}

int ob_dma_read(struct ob_device *dev, const struct ob_seg *segs,
		unsigned count, void *buf, struct ob_dma_op *op)
{
	return transfer(home_of(dev), segs, count, buf, op, false);
}

int ob_dma_write(struct ob_device *dev, const struct ob_seg *segs,
		 unsigned count, const void *buf, struct ob_dma_op *op)
{
	return transfer(home_of(dev), segs, count, (void *)(uintptr_t)buf, op,
			true);
}

void ob_dma_cancel_all(struct ob_device *dev)
{
	for (struct lib_message *m = dev->messages; m; m = m->next) {
		if (m->stage != LIB_WAITS)
			continue;
		m->stage = LIB_CANCELLED;
		m->op->rc = -ECANCELED;
	}
}

void *ob_dma_ptr(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write)
{
	struct ob_seg seg = { addr, len };

	(void)write;
	dev = home_of(dev);
	if (dev->g->memory != GUEST_MAPPED || reach(dev, &seg, 1))
		return NULL;
	return guest_ptr(dev->g, addr);
}

void ob_dma_wrote(struct ob_device *dev, uint64_t addr, uint64_t len)
{
	(void)addr;
	(void)len;
	assert_false(home_of(dev)->halted);
}

int ob_dma_check(struct ob_device *dev, uint64_t addr, uint64_t len,
		 bool write)
{
	struct ob_seg seg = { addr, len };

	(void)write;
	return reach(dev, &seg, 1);
}

bool ob_dma_lost(struct ob_device *dev)
{
	bool lost = dev->lost;

	dev->lost = false;
	return lost;
}

/* -- a device's life --------------------------------------------------- */

static void build(struct ob_device *dev, const char *options)
{
	const struct ob_option *const tables[] = {
		common, dev->cls->options, NULL
	};
	struct ob_err err = { "" };
	char text[512];

	snprintf(text, sizeof(text), "nvme,%s", options);
	if (ob_options_parse(text, tables, &dev->opts, &err))
		fail_msg("%s", err.msg);
	dev->pci = *dev->cls->pci;
	if (dev->cls->init(dev, &dev->pci, &err))
		fail_msg("%s", err.msg);
}

static void reset(struct ob_device *dev, enum ob_reset kind)
{
	ob_dev_enter(dev);
	dev->cls->reset(dev, kind);
	ob_dev_leave(dev);
}

/* Pages of its own: what a successor finds. */
static void *lib_pages(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

unsigned lib_lanes = 1;
bool lib_turns_lanes;

static void lanes_create(struct ob_device *dev)
{
	struct ob_err err = { "" };

	dev->nr_lanes = lib_lanes;
	for (unsigned i = 1; i < lib_lanes; i++) {
		struct ob_device *lane = calloc(1, sizeof(*lane));

		assert_non_null(lane);
		lane->home = dev;
		lane->number = i;
		lane->cls = dev->cls;
		lane->g = dev->g;
		if (ob_loop_create(NULL, &lane->loop, &err))
			fail_msg("%s", err.msg);
		dev->lanes[i] = lane;
	}
}

static void lanes_destroy(struct ob_device *dev)
{
	for (unsigned i = 1; i < dev->nr_lanes; i++) {
		ob_loop_destroy(dev->lanes[i]->loop);
		free(dev->lanes[i]);
	}
}

void lib_spread(struct ob_device *dev, bool may)
{
	dev->may_spread = may;
	ob_dev_enter(dev);
	dev->cls->spread_changed(dev);
	ob_dev_leave(dev);
}

static void lane_poll(struct ob_device *lane)
{
	if (!lane->poll || lane->asleep || lane->home->halted)
		return;
	ob_dev_enter(lane);
	if (lane->cls->lane_poll(lane->home, lane->number))
		lane->idle = 0;
	else if (++lane->idle > 2)
		lane->asleep = lane->cls->lane_sleep(lane->home, lane->number);
	ob_dev_leave(lane);
}

void lib_turn_lane(struct ob_device *dev, unsigned lane)
{
	assert_int_equal(ob_loop_turn(dev->lanes[lane]->loop, false), 0);
	lane_poll(dev->lanes[lane]);
}

struct ob_device *lib_create(struct guest *g, const char *options)
{
	struct ob_device *dev = calloc(1, sizeof(*dev));

	assert_non_null(dev);
	dev->cls = &ob_nvme_class;
	dev->g = g;
	dev->loop = g->loop;
	dev->connected = dev->master = true;
	dev->pump.run = pump;
	dev->state = lib_pages(dev->cls->state->size);
	dev->hot = lib_pages(dev->cls->hot->size);
	dev->runtime = calloc(1, dev->cls->runtime_size);
	dev->bar = calloc(1, NVME_BAR_SIZE);
	dev->undo = lib_pages(sizeof(*dev->undo));
	assert_true(dev->runtime && dev->bar);
	lanes_create(dev);
	build(dev, options);
	reset(dev, OB_RESET_INIT);
	dev->cls->bus_master(dev, true);
	dev->cls->run(dev);
	return dev;
}

/* The client of a device that goes is gone: its messages end. */
static void end_messages(struct ob_device *dev)
{
	while (dev->messages)
		message_ended(dev, dev->messages, -ENOTCONN);
}

static void quiesce(struct ob_device *dev)
{
	uint64_t end = ob_loop_now(dev->loop) + 10000000000ull;

	while (dev->cls->in_flight(dev)) {
		assert_int_equal(ob_loop_turn(dev->loop, false), 0);
		for (unsigned i = 1; i < dev->nr_lanes; i++)
			lib_turn_lane(dev, i);
		assert_true(ob_loop_now(dev->loop) < end);
	}
}

void lib_destroy(struct ob_device *dev)
{
	dev->connected = false;
	dev->cls->disconnected(dev);
	end_messages(dev);
	reset(dev, OB_RESET_DEVICE);
	end_messages(dev);
	quiesce(dev);
	ob_defer_cancel(dev->loop, &dev->pump);
	dev->cls->finish(dev);
	lanes_destroy(dev);
	ob_options_destroy(dev->opts);
	munmap(dev->state, dev->cls->state->size);
	munmap(dev->hot, dev->cls->hot->size);
	munmap(dev->undo, sizeof(*dev->undo));
	free(dev->runtime);
	free(dev->bar);
	free(dev);
}

/* -- moving ------------------------------------------------------------ */

void lib_stop(struct ob_device *dev)
{
	assert_false(dev->stopping);
	dev->stopping = true;
	dev->stopped = 0;
	ob_dma_cancel_all(dev);
	ob_dev_enter(dev);
	dev->cls->stop(dev);
	ob_dev_leave(dev);
}

static void turn(struct ob_device *dev)
{
	assert_int_equal(ob_loop_turn(dev->loop, false), 0);
}

bool lib_drain(struct ob_device *dev, unsigned us)
{
	uint64_t end = ob_loop_now(dev->loop) + us * 1000ull;

	while (!dev->stopped && ob_loop_now(dev->loop) < end)
		turn(dev);
	return dev->stopped;
}

/* What was sent is executed before the client sees our answer. */
void lib_halt(struct ob_device *dev)
{
	assert_true(dev->stopping && !dev->halted);
	dev->halted = true;
	ob_dev_enter(dev);
	dev->cls->halt(dev);
	ob_dev_leave(dev);
	assert_false(dev->poll);
	lib_execute_sent(dev);
}

void lib_run(struct ob_device *dev)
{
	dev->stopping = dev->halted = false;
	deliver_pending(dev);
	ob_dev_enter(dev);
	dev->cls->run(dev);
	ob_dev_leave(dev);
}

static void copy_field(const struct ob_field *f, uint8_t *to,
		       const uint8_t *from)
{
	if (f->type != OB_FIELD_STRUCT) {
		memcpy(to, from, (size_t)f->size * f->count);
		return;
	}
	for (uint32_t i = 0; i < f->count; i++)
		lib_copy(f->sub, to + i * f->size, from + i * f->size);
}

void lib_copy(const struct ob_table *table, void *to, const void *from)
{
	const struct ob_field *f;

	memset(to, 0, table->size);
	for (f = table->fields; f->type != OB_FIELD_END; f++)
		if (f->type != OB_FIELD_RESERVED)
			copy_field(f, (uint8_t *)to + f->offset,
				   (const uint8_t *)from + f->offset);
}

int lib_load(struct ob_device *to, struct ob_device *from,
	     struct ob_err *err)
{
	void *plain = malloc(to->cls->state->size);
	void *hot = malloc(to->cls->hot->size);
	int rc;

	assert_true(to->halted && plain && hot);
	lib_copy(to->cls->state, plain, from->state);
	lib_copy(to->cls->hot, hot, from->hot);
	rc = to->cls->check(to, plain, hot, err);
	if (!rc) {
		reset(to, OB_RESET_DEVICE);
		assert_int_equal(to->cls->in_flight(to), 0);
		memcpy(to->state, plain, to->cls->state->size);
		memcpy(to->hot, hot, to->cls->hot->size);
		if (!from->bar_stays)
			memcpy(to->bar, from->bar, NVME_BAR_SIZE);
		to->cls->loaded(to);
	}
	free(plain);
	free(hot);
	return rc;
}

struct io {
	int rc;
	bool over;
	struct ob_block_request *req;
};

static struct io io;

static void io_over(struct ob_block_request *req, int rc)
{
	(void)req;
	io.rc = rc;
	io.over = true;
}

static void transfer_all(struct ob_loop *loop, struct ob_drive *drive,
			enum ob_block_op op, void *buf, uint64_t size)
{
	struct ob_block_request *req = calloc(1, ob_drive_request_size(drive));

	assert_non_null(req);
	req->op = op;
	req->length = size;
	req->buf = buf;
	req->done = io_over;
	io.over = false;
	ob_drive_submit(drive, req);
	while (!io.over)
		assert_int_equal(ob_loop_turn(loop, true), 0);
	assert_int_equal(io.rc, 0);
	free(req);
}

void lib_copy_drives(struct ob_device *to, struct ob_device *from)
{
	struct ob_drive *a, *b;

	quiesce(from);
	for (unsigned i = 0; (a = from->cls->drive(from, i)); i++) {
		uint64_t size = ob_drive_info(a)->size;
		void *buf;

		if (strstr(ob_drive_name(a), "hang"))
			continue;
		buf = malloc(size);
		assert_non_null(buf);
		b = to->cls->drive(to, i);
		transfer_all(to->loop, a, OB_BLOCK_READ, buf, size);
		transfer_all(to->loop, b, OB_BLOCK_WRITE, buf, size);
		free(buf);
	}
}

/* What configuration space and the MSI-X table carry; not who is owed one. */
void lib_copy_config(struct ob_device *to, const struct ob_device *from)
{
	to->mode = from->mode;
	memcpy(to->masked, from->masked, sizeof(to->masked));
	if (to->master != from->master) {
		to->master = from->master;
		to->cls->bus_master(to, to->master);
	}
	to->cls->irq_changed(to);
}

void lib_move(struct guest *g, struct ob_device *to)
{
	struct ob_device *from = g->dev;
	struct ob_err err = { "" };

	if (!from->stopping)
		lib_stop(from);
	if (!from->halted)
		lib_halt(from);
	if (!to->stopping)
		lib_stop(to);
	if (!to->halted)
		lib_halt(to);
	end_messages(to);
	quiesce(to);
	if (lib_load(to, from, &err))
		fail_msg("%s", err.msg);
	lib_copy_drives(to, from);
	memset(to->raised, 0, sizeof(to->raised));
	memset(to->pending, 0, sizeof(to->pending));
	lib_copy_config(to, from);
	g->dev = to;
	if (g->page)
		g->page = (uint32_t *)(to->bar + NVME_DB_OFFSET);
	lib_run(to);
}

/* -- the guest's way to it --------------------------------------------- */

static void poll(struct ob_device *dev)
{
	if (!dev->poll || dev->asleep || dev->halted || !dev->connected)
		return;
	ob_dev_enter(dev);
	if (dev->cls->poll(dev))
		dev->idle = 0;
	else if (++dev->idle > 2)
		dev->asleep = dev->cls->sleep(dev);
	ob_dev_leave(dev);
}

void (*lib_around)(struct guest *g, void (*run)(struct guest *g, void *arg),
		   void *arg, bool message);

static void enter(struct guest *g, void (*run)(struct guest *g, void *arg),
		  void *arg, bool message)
{
	if (lib_around)
		lib_around(g, run, arg, message);
	else
		run(g, arg);
}

static void one_turn(struct guest *g, void *arg)
{
	(void)arg;
	turn(g->dev);
	poll(g->dev);
	for (unsigned i = 1; lib_turns_lanes && i < g->dev->nr_lanes; i++)
		lib_turn_lane(g->dev, i);
}

void guest_turn(struct guest *g)
{
	enter(g, one_turn, NULL, false);
}

struct access {
	uint64_t offset;
	void *buf;
	uint32_t len;
	bool write;
};

/* A step that a client's message begins, and all that it changes is one. */
static void enter_message(struct ob_device *dev, bool hot)
{
	ob_dev_enter(dev);
	if (hot)
		return;
	ob_dev_protect(dev, NULL, 0);
	dev->undo->whole_step = true;
}

static void wake(struct ob_device *dev)
{
	dev->asleep = false;
	dev->idle = 0;
}

static void one_access(struct guest *g, void *arg)
{
	struct ob_device *dev = g->dev;
	struct access *a = arg;

	wake(dev);
	for (unsigned i = 1; i < dev->nr_lanes; i++)
		wake(dev->lanes[i]);
	enter_message(dev, dev->cls->is_hot(dev, OB_BAR0, a->offset,
					    a->write));
	if (a->write)
		dev->cls->region_write(dev, OB_BAR0, a->offset, a->buf,
				       a->len);
	else
		dev->cls->region_read(dev, OB_BAR0, a->offset, a->buf,
				      a->len);
	ob_dev_leave(dev);
}

static void one_reset(struct guest *g, void *arg)
{
	(void)arg;
	enter_message(g->dev, false);
	g->dev->cls->reset(g->dev, OB_RESET_DEVICE);
	ob_dev_leave(g->dev);
}

void guest_access(struct guest *g, bool write, unsigned region,
		  uint64_t offset, void *buf, uint32_t len)
{
	struct access a = { offset, buf, len, write };

	assert_int_equal(region, 0);
	enter(g, one_access, &a, true);
}

void guest_reset(struct guest *g)
{
	enter(g, one_reset, NULL, true);
	ob_dma_cancel_all(g->dev);
}

void guest_master(struct guest *g, bool on)
{
	g->dev->master = on;
	g->dev->cls->bus_master(g->dev, on);
}

void guest_hang_up(struct guest *g)
{
	g->dev->connected = false;
	g->dev->cls->disconnected(g->dev);
	end_messages(g->dev);
	guest_settle(g);
}

void guest_connect(struct guest *g)
{
	g->dev->connected = true;
	g->dev->cls->memory_changed(g->dev);
}

void guest_msix(struct guest *g)
{
	g->dev->mode = OB_IRQ_MSIX;
	g->dev->cls->irq_changed(g->dev);
}

uint64_t guest_irqs(struct guest *g, unsigned vector)
{
	uint64_t count;

	guest_settle(g);
	count = g->dev->raised[vector];
	g->dev->raised[vector] = 0;
	return count;
}

struct guest *guest_start_as(const char *options, enum guest_memory memory)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct ob_err err = { "" };

	assert_non_null(g);
	g->memory = memory;
	g->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g->mem, MAP_FAILED);
	g->next = GUEST_BASE;
	if (ob_loop_create(NULL, &g->loop, &err))
		fail_msg("%s", err.msg);
	g->dev = lib_create(g, options);
	return g;
}

void guest_end(struct guest *g)
{
	lib_destroy(g->dev);
	ob_loop_destroy(g->loop);
	munmap(g->mem, GUEST_SIZE);
	free(g);
}
