// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "fake.h"

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

void *ob_dev_runtime(struct ob_device *dev)
{
	return dev->runtime;
}

void ob_dev_enter(struct ob_device *dev)
{
	dev->depth++;
}

void ob_dev_leave(struct ob_device *dev)
{
	assert_true(dev->depth);
	if (--dev->depth == 0)
		ob_dev_commit(dev);
}

/* The barriers are for the compiler: a process that dies loses no store. */
void ob_dev_protect(struct ob_device *dev, const void *hot, size_t len)
{
	struct fake_lasting *lasting = dev->lasting;

	assert_true(dev->depth);
	assert_true(!hot && !len);
	if (lasting->armed)
		return;
	lasting->saved = lasting->now;
	atomic_signal_fence(memory_order_seq_cst);
	lasting->armed = true;
	atomic_signal_fence(memory_order_seq_cst);
}

void ob_dev_commit(struct ob_device *dev)
{
	atomic_signal_fence(memory_order_seq_cst);
	dev->lasting->armed = false;
	atomic_signal_fence(memory_order_seq_cst);
}

struct ob_loop *ob_dev_loop(struct ob_device *dev)
{
	return dev->loop;
}

const struct ob_options *ob_dev_options(const struct ob_device *dev)
{
	return dev->opts;
}

void ob_dev_stopped(struct ob_device *dev)
{
	dev->stopped++;
}

bool ob_dev_is_halted(const struct ob_device *dev)
{
	return dev->still;
}

void ob_irq_raise(struct ob_device *dev, unsigned vector)
{
	assert_in_range(vector, 0, 31);
	if (dev->still)
		dev->owed_irqs |= 1u << vector;
	else
		dev->raised[vector]++;
}

void ob_irq_level(struct ob_device *dev, bool asserted)
{
	dev->level = dev->lasting->now.level = asserted;
}

void ob_dev_log(struct ob_device *dev, enum ob_level level,
		const char *fmt, ...)
{
	(void)level;
	(void)fmt;
	dev->logged++;
}

static int dma_copy(struct ob_device *dev, const struct ob_seg *seg, void *buf,
		    bool write)
{
	uint8_t *guest;

	if (seg->addr < FAKE_GUEST || seg->len > FAKE_GUEST_SIZE ||
	    seg->addr - FAKE_GUEST > FAKE_GUEST_SIZE - seg->len)
		return -EFAULT;
	guest = dev->guest + (seg->addr - FAKE_GUEST);
	if (write)
		memcpy(guest, buf, seg->len);
	else
		memcpy(buf, guest, seg->len);
	return 0;
}

static int dma(struct ob_device *dev, const struct ob_seg *segs,
	       unsigned count, void *buf, struct ob_dma_op *op, bool write)
{
	assert_int_equal(count, 1);
	assert_null(dev->dma_op);	/* op is still the library's */
	if (dev->still)
		return -EACCES;
	dev->dma_count++;
	if (!dev->dma_later)
		return dma_copy(dev, segs, buf, write);
	dev->dma_op = op;
	dev->dma_seg = segs[0];
	dev->dma_buf = buf;
	dev->dma_write = write;
	return -EINPROGRESS;
}

int ob_dma_read(struct ob_device *dev, const struct ob_seg *segs,
		unsigned count, void *buf, struct ob_dma_op *op)
{
	return dma(dev, segs, count, buf, op, false);
}

int ob_dma_write(struct ob_device *dev, const struct ob_seg *segs,
		 unsigned count, const void *buf, struct ob_dma_op *op)
{
	return dma(dev, segs, count, (void *)buf, op, true);
}

void fake_dma_end(struct ob_device *dev, int rc)
{
	struct ob_dma_op *op = dev->dma_op;

	assert_non_null(op);
	dev->dma_op = NULL;
	if (!rc)	/* the client does it whether we stand still or not */
		rc = dma_copy(dev, &dev->dma_seg, dev->dma_buf,
			      dev->dma_write);
	ob_dev_enter(dev);
	op->done(op, rc);
	ob_dev_leave(dev);
}

static void build(struct ob_device *dev)
{
	struct ob_err err = { 0 };

	dev->pci = *dev->cls->pci;
	dev->runtime = calloc(1, dev->cls->runtime_size + 1);
	assert_non_null(dev->runtime);
	if (dev->cls->init && dev->cls->init(dev, &dev->pci, &err))
		fail_msg("init: %s", err.msg);
}

static void unbuild(struct ob_device *dev)
{
	if (dev->cls->finish)
		dev->cls->finish(dev);
	free(dev->runtime);
}

struct ob_device *fake_create(const struct ob_device_class *cls,
			      const char *text)
{
	const struct ob_option *tables[] = { cls->options, NULL };
	struct ob_device *dev = calloc(1, sizeof(*dev));
	struct ob_err err = { 0 };

	assert_non_null(dev);
	dev->cls = cls;
	if (ob_loop_create(&(struct ob_loop_params){ .engine = OB_LOOP_POOL },
			   &dev->loop, &err) ||
	    ob_options_parse(text, tables, &dev->opts, &err))
		fail_msg("%s", err.msg);
	assert_in_range(cls->state->size, 1, FAKE_STATE_SIZE);
	dev->lasting = mmap(NULL, sizeof(*dev->lasting), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(dev->lasting != MAP_FAILED);
	dev->state = dev->lasting->now.state;
	dev->guest = dev->lasting->guest;
	dev->raised = dev->lasting->raised;
	build(dev);
	cls->reset(dev, OB_RESET_INIT);
	fake_run(dev);
	return dev;
}

void fake_stop(struct ob_device *dev)
{
	if (dev->cls->stop)
		dev->cls->stop(dev);
	if (dev->cls->halt)
		dev->cls->halt(dev);
	dev->still = true;
}

void fake_run(struct ob_device *dev)
{
	uint32_t owed = dev->owed_irqs;

	ob_dev_enter(dev);
	dev->still = false;
	dev->owed_irqs = 0;
	for (unsigned i = 0; i < 32; i++)
		dev->raised[i] += owed >> i & 1;
	if (dev->cls->run)
		dev->cls->run(dev);
	ob_dev_leave(dev);
}

int fake_load(struct ob_device *to, const struct ob_device *from,
	      struct ob_err *err)
{
	int rc = 0;

	assert_true(to->still && from->still);
	if (to->cls->check)
		rc = to->cls->check(to, from->state, NULL, err);
	if (rc)
		return rc;
	to->cls->reset(to, OB_RESET_DEVICE);
	memcpy(to->state, from->state, to->cls->state->size);
	if (to->cls->loaded)
		to->cls->loaded(to);
	return 0;
}

void fake_destroy(struct ob_device *dev)
{
	unbuild(dev);
	ob_options_destroy(dev->opts);
	ob_loop_destroy(dev->loop);
	munmap(dev->lasting, sizeof(*dev->lasting));
	free(dev);
}

void fake_rebuild(struct ob_device *dev)
{
	unbuild(dev);
	dev->dma_op = NULL;
	build(dev);
	fake_run(dev);
}

void fake_revive(struct ob_device *dev, const struct fake_lasting *left)
{
	const struct fake_protected *was = left->armed ? &left->saved
						       : &left->now;
	struct ob_err err = { 0 };

	unbuild(dev);
	dev->dma_op = NULL;
	dev->depth = 0;
	dev->still = true;
	dev->owed_irqs = 0;
	build(dev);
	dev->cls->reset(dev, OB_RESET_INIT);
	if (dev->cls->check &&
	    dev->cls->check(dev, was->state, NULL, &err))
		fail_msg("check: %s", err.msg);
	memcpy(dev->guest, left->guest, FAKE_GUEST_SIZE);
	memcpy(dev->raised, left->raised, sizeof(left->raised));
	dev->lasting->now = *was;
	dev->level = was->level;
	dev->lasting->armed = false;
	if (dev->cls->loaded)
		dev->cls->loaded(dev);
	fake_run(dev);
}

/* A client's access is protected as a whole, unless the class says it is hot. */
static void access_begin(struct ob_device *dev, uint64_t offset, bool write)
{
	ob_dev_enter(dev);
	if (!dev->cls->is_hot ||
	    !dev->cls->is_hot(dev, OB_BAR0, offset, write))
		ob_dev_protect(dev, NULL, 0);
}

static void access_end(struct ob_device *dev)
{
	dev->lasting->now.accesses++;
	ob_dev_leave(dev);
}

static void fake_read(struct ob_device *dev, uint64_t offset, void *buf,
		      size_t len)
{
	access_begin(dev, offset, false);
	dev->cls->region_read(dev, OB_BAR0, offset, buf, len);
	access_end(dev);
}

static void fake_write(struct ob_device *dev, uint64_t offset, const void *buf,
		       size_t len)
{
	access_begin(dev, offset, true);
	dev->cls->region_write(dev, OB_BAR0, offset, buf, len);
	access_end(dev);
}

void fake_turn(struct ob_device *dev)
{
	assert_in_range(ob_loop_turn(dev->loop, false), 0, INT32_MAX);
}

uint32_t fake_read32(struct ob_device *dev, uint64_t offset)
{
	uint32_t v = 0;

	fake_read(dev, offset, &v, sizeof(v));
	return v;
}

uint64_t fake_read64(struct ob_device *dev, uint64_t offset)
{
	uint64_t v = 0;

	fake_read(dev, offset, &v, sizeof(v));
	return v;
}

void fake_write32(struct ob_device *dev, uint64_t offset, uint32_t value)
{
	fake_write(dev, offset, &value, sizeof(value));
}

void fake_write64(struct ob_device *dev, uint64_t offset, uint64_t value)
{
	fake_write(dev, offset, &value, sizeof(value));
}
