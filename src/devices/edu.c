// SPDX-License-Identifier: BSD-3-Clause
/*
 * QEMU's teaching device, from its documentation (docs/specs/edu.rst), so
 * that the drivers and course material written for it work with this one.
 *
 * It has the three things that most devices have: registers, work that takes
 * longer than a register access (a factorial), and DMA; and it tells of the
 * end of both by an interrupt.
 *
 *	BAR0, 1 MiB; 4-byte accesses below 0x80, 4- or 8-byte ones from there
 *	0x00	identification
 *	0x04	liveness: reads as the complement of what was written
 *	0x08	factorial: write n, read n! (modulo 2^32) once status allows
 *	0x20	status: 0x01 computing; 0x80 interrupt when done
 *	0x24	interrupt status: the values of all interrupts not acknowledged
 *	0x60	raise: sets bits of the interrupt status
 *	0x64	acknowledge: clears bits of the interrupt status
 *	0x80	DMA source		0x88	DMA destination
 *	0x90	DMA bytes		0x98	DMA command
 * One of source and destination lies in the device's buffer of 4 KiB at
 * 0x40000, which only DMA can reach.
 *
 * Both kinds of work are written in the state before they begin (status,
 * dma_command), and what carries them out is runtime.  So a device that stops
 * may forget the work, and one that runs again, here or elsewhere, sees what
 * is owed and begins it again (edu_run).
 *
 * The end of work changes several registers at once.  It comes by itself and
 * not with a client's access, so it asks for protection: a process that is
 * killed in the middle of it has not ended the work.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "devices/models.h"

#define EDU_BAR_SIZE		(1u << 20)
#define EDU_BUFFER		0x40000u
#define EDU_BUFFER_SIZE		4096u
#define EDU_ID			0x010000edu

enum {
	REG_ID = 0x00, REG_LIVENESS = 0x04, REG_FACTORIAL = 0x08,
	REG_STATUS = 0x20, REG_IRQ_STATUS = 0x24,
	REG_IRQ_RAISE = 0x60, REG_IRQ_ACK = 0x64,
	REG_DMA_SOURCE = 0x80, REG_DMA_DEST = 0x88,
	REG_DMA_COUNT = 0x90, REG_DMA_COMMAND = 0x98,
};

enum { STATUS_COMPUTING = 0x01, STATUS_IRQ = 0x80 };
enum { DMA_RUN = 0x01, DMA_TO_GUEST = 0x02, DMA_IRQ = 0x04 };
enum { IRQ_FACTORIAL = 0x001, IRQ_DMA = 0x100 };

struct edu_state {
	uint32_t liveness;
	uint32_t factorial;
	uint32_t status;
	uint32_t irq_status;
	uint64_t dma_source;
	uint64_t dma_dest;
	uint64_t dma_count;
	uint64_t dma_command;
	uint8_t buffer[EDU_BUFFER_SIZE];
};

static const struct ob_field edu_fields[] = {
	OB_U32(1, struct edu_state, liveness, "0.1"),
	OB_U32(2, struct edu_state, factorial, "0.1"),
	OB_U32(3, struct edu_state, status, "0.1",
	       .max = STATUS_COMPUTING | STATUS_IRQ),
	OB_U32(4, struct edu_state, irq_status, "0.1"),
	OB_U64(5, struct edu_state, dma_source, "0.1"),
	OB_U64(6, struct edu_state, dma_dest, "0.1"),
	OB_U64(7, struct edu_state, dma_count, "0.1"),
	OB_U64(8, struct edu_state, dma_command, "0.1"),
	OB_BYTES(9, struct edu_state, buffer, "0.1"),
	OB_END
};

static const struct ob_table edu_table = {
	.name = "edu", .size = sizeof(struct edu_state), .fields = edu_fields,
};

static const struct ob_option edu_options[] = {
	{ .name = "dma_mask", .type = OB_OPT_UINT, .def = "0x0fffffff",
	  .max = UINT64_MAX,
	  .help = "address bits that the DMA engine drives" },
	{ 0 }
};

static const struct ob_pci edu_pci = {
	.vendor = 0x1234, .device = 0x11e8,
	.subsystem_vendor = 0x1234, .subsystem = 0x11e8,
	.revision = 0x10,
	.class_code = 0x00ff00,
	.bars = { { .size = EDU_BAR_SIZE } },
	.intx = true,
	.msi_vectors = 1,
};

struct edu_runtime {
	struct ob_device *dev;
	struct ob_deferred compute;
	struct ob_dma_op op;
	bool busy;		/* op is the library's */
	bool disowned;		/* a reset came after op began */
	bool still;		/* from stop to run */
	bool to_guest;
	uint32_t offset;	/* in the buffer */
	struct ob_seg seg;
	uint8_t copy[EDU_BUFFER_SIZE];
};

#define RUNTIME_OF(pointer, member) \
	((struct edu_runtime *)((char *)(pointer) -                           \
				offsetof(struct edu_runtime, member)))

/* Interrupts: the pin follows the status, a message tells of each value. */

static void irq_raise(struct ob_device *dev, uint32_t value)
{
	struct edu_state *st = ob_dev_state(dev);

	st->irq_status |= value;
	if (!st->irq_status)
		return;
	ob_irq_level(dev, true);
	ob_irq_raise(dev, 0);
}

static void irq_acknowledge(struct ob_device *dev, uint32_t value)
{
	struct edu_state *st = ob_dev_state(dev);

	st->irq_status &= ~value;
	ob_irq_level(dev, st->irq_status != 0);
}

/* Factorial */

/* 34! and all after it are 0 modulo 2^32: a guest cannot ask for much. */
static uint32_t factorial(uint32_t n)
{
	uint32_t product = 1;

	if (n >= 34)
		return 0;
	for (; n > 1; n--)
		product *= n;
	return product;
}

static void compute_run(struct ob_deferred *deferred)
{
	struct edu_runtime *rt = RUNTIME_OF(deferred, compute);
	struct edu_state *st = ob_dev_state(rt->dev);

	ob_dev_enter(rt->dev);
	ob_dev_protect(rt->dev, NULL, 0);
	st->factorial = factorial(st->factorial);
	st->status &= ~STATUS_COMPUTING;
	if (st->status & STATUS_IRQ)
		irq_raise(rt->dev, IRQ_FACTORIAL);
	ob_dev_leave(rt->dev);
}

static void compute_start(struct ob_device *dev, uint32_t n)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);
	struct edu_state *st = ob_dev_state(dev);

	if (st->status & STATUS_COMPUTING)
		return;
	st->factorial = n;
	st->status |= STATUS_COMPUTING;
	if (!rt->still)
		ob_defer(ob_dev_loop(dev), &rt->compute);
}

/* DMA: through a private copy, so that a reset can forget a transfer. */

static int dma_setup(struct edu_runtime *rt, const struct edu_state *st)
{
	uint64_t mask = ob_options_u64(ob_dev_options(rt->dev), "dma_mask");
	uint64_t inside, guest;

	rt->to_guest = st->dma_command & DMA_TO_GUEST;
	inside = rt->to_guest ? st->dma_source : st->dma_dest;
	guest = rt->to_guest ? st->dma_dest : st->dma_source;
	if (inside < EDU_BUFFER || inside - EDU_BUFFER > EDU_BUFFER_SIZE ||
	    st->dma_count > EDU_BUFFER_SIZE - (inside - EDU_BUFFER))
		return -EINVAL;
	rt->offset = inside - EDU_BUFFER;
	rt->seg = (struct ob_seg){ .addr = guest & mask,
				   .len = st->dma_count };
	return 0;
}

static int dma_transfer(struct edu_runtime *rt, struct edu_state *st)
{
	int rc = dma_setup(rt, st);

	if (rc || !rt->seg.len)
		return rc;
	if (!rt->to_guest)
		return ob_dma_read(rt->dev, &rt->seg, 1, rt->copy, &rt->op);
	memcpy(rt->copy, st->buffer + rt->offset, rt->seg.len);
	return ob_dma_write(rt->dev, &rt->seg, 1, rt->copy, &rt->op);
}

static void dma_finish(struct edu_runtime *rt, int rc)
{
	struct edu_state *st = ob_dev_state(rt->dev);

	ob_dev_protect(rt->dev, NULL, 0);
	if (rc)
		ob_dev_log(rt->dev, OB_GUEST,
			   "DMA from 0x%llx to 0x%llx, %llu bytes: %s",
			   (unsigned long long)st->dma_source,
			   (unsigned long long)st->dma_dest,
			   (unsigned long long)st->dma_count, strerror(-rc));
	else if (!rt->to_guest)
		memcpy(st->buffer + rt->offset, rt->copy, rt->seg.len);
	st->dma_command &= ~(uint64_t)DMA_RUN;
	if (st->dma_command & DMA_IRQ)
		irq_raise(rt->dev, IRQ_DMA);
}

/* A transfer that a reset disowned still has op: then dma_done goes on. */
static void dma_start(struct edu_runtime *rt)
{
	int rc;

	if (rt->busy || rt->still)
		return;
	rc = dma_transfer(rt, ob_dev_state(rt->dev));
	rt->busy = rc == -EINPROGRESS;
	if (!rt->busy)
		dma_finish(rt, rc);
}

/* What ends while the device stops, or was cancelled for it, did not happen. */
static void dma_done(struct ob_dma_op *op, int rc)
{
	struct edu_runtime *rt = RUNTIME_OF(op, op);
	struct edu_state *st = ob_dev_state(rt->dev);
	bool forget = rt->disowned || rt->still || rc == -ECANCELED;

	rt->busy = rt->disowned = false;
	if (!forget)
		dma_finish(rt, rc);
	else if (st->dma_command & DMA_RUN)
		dma_start(rt);
}

static void dma_write_register(struct ob_device *dev, uint64_t *reg,
			       uint64_t value)
{
	struct edu_state *st = ob_dev_state(dev);

	if (st->dma_command & DMA_RUN)
		return;
	*reg = value;
	if (st->dma_command & DMA_RUN)
		dma_start(ob_dev_runtime(dev));
}

/* Registers */

static bool access_allowed(uint64_t offset, size_t len)
{
	return len == 4 || (len == 8 && offset >= REG_DMA_SOURCE);
}

static uint64_t register_read(const struct edu_state *st, uint64_t offset)
{
	switch (offset) {
	case REG_ID:		return EDU_ID;
	case REG_LIVENESS:	return st->liveness;
	case REG_FACTORIAL:	return st->factorial;
	case REG_STATUS:	return st->status;
	case REG_IRQ_STATUS:	return st->irq_status;
	case REG_DMA_SOURCE:	return st->dma_source;
	case REG_DMA_DEST:	return st->dma_dest;
	case REG_DMA_COUNT:	return st->dma_count;
	case REG_DMA_COMMAND:	return st->dma_command;
	default:		return UINT64_MAX;
	}
}

static void register_write(struct ob_device *dev, uint64_t offset,
			   uint64_t value)
{
	struct edu_state *st = ob_dev_state(dev);

	switch (offset) {
	case REG_LIVENESS:
		st->liveness = ~value;
		break;
	case REG_FACTORIAL:
		compute_start(dev, value);
		break;
	case REG_STATUS:
		st->status = (st->status & STATUS_COMPUTING) |
			     (value & STATUS_IRQ);
		break;
	case REG_IRQ_RAISE:
		irq_raise(dev, value);
		break;
	case REG_IRQ_ACK:
		irq_acknowledge(dev, value);
		break;
	case REG_DMA_SOURCE:
		dma_write_register(dev, &st->dma_source, value);
		break;
	case REG_DMA_DEST:
		dma_write_register(dev, &st->dma_dest, value);
		break;
	case REG_DMA_COUNT:
		dma_write_register(dev, &st->dma_count, value);
		break;
	case REG_DMA_COMMAND:
		dma_write_register(dev, &st->dma_command, value);
		break;
	}
}

/* What is not defined reads as ones, as QEMU's does. */
static void edu_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		     void *buf, size_t len)
{
	uint64_t value;

	(void)bar;
	if (!access_allowed(offset, len)) {
		memset(buf, 0xff, len);
		return;
	}
	value = htole64(register_read(ob_dev_state(dev), offset));
	memcpy(buf, &value, len);
}

static void edu_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		      const void *buf, size_t len)
{
	uint64_t value = 0;

	(void)bar;
	if (!access_allowed(offset, len))
		return;
	memcpy(&value, buf, len);
	register_write(dev, offset, le64toh(value));
}

/* Reading changes nothing here: a driver that polls is served at full speed. */
static bool edu_is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
		       bool write)
{
	(void)dev;
	(void)bar;
	(void)offset;
	return !write;
}

static int edu_init(struct ob_device *dev, struct ob_pci *pci,
		    struct ob_err *err)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	(void)pci;
	(void)err;
	rt->dev = dev;
	rt->compute.run = compute_run;
	rt->op.done = dma_done;
	return 0;
}

static void edu_finish(struct ob_device *dev)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	ob_defer_cancel(ob_dev_loop(dev), &rt->compute);
}

static void edu_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	(void)kind;
	ob_defer_cancel(ob_dev_loop(dev), &rt->compute);
	rt->disowned = rt->busy;
	memset(ob_dev_state(dev), 0, sizeof(struct edu_state));
	ob_irq_level(dev, false);
}

/* Nothing need end before the state is complete: it says what is owed. */
static void edu_stop(struct ob_device *dev)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	rt->still = true;
	ob_defer_cancel(ob_dev_loop(dev), &rt->compute);
	ob_dev_stopped(dev);
}

static void edu_run(struct ob_device *dev)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);
	struct edu_state *st = ob_dev_state(dev);

	rt->still = false;
	irq_raise(dev, 0);	/* rather once too often than not at all */
	if (st->status & STATUS_COMPUTING)
		ob_defer(ob_dev_loop(dev), &rt->compute);
	if (st->dma_command & DMA_RUN)
		dma_start(rt);
}

/* The rows of the table bound each field; this is what they cannot say. */
static int edu_check(struct ob_device *dev, const void *plain,
		     const void *hot, struct ob_err *err)
{
	const struct edu_state *st = plain;

	(void)dev;
	(void)hot;
	if (st->status & ~(STATUS_COMPUTING | STATUS_IRQ))
		return ob_fail(err, EINVAL, "status: 0x%x has unknown bits",
			       st->status);
	return 0;
}

static unsigned edu_in_flight(struct ob_device *dev)
{
	struct edu_runtime *rt = ob_dev_runtime(dev);

	return rt->busy;
}

const struct ob_device_class ob_edu_class = {
	.size = sizeof(struct ob_device_class),
	.abi = OB_DEVICE_ABI,
	.name = "edu",
	.summary = "QEMU's teaching device: factorial, DMA, interrupts",
	.pci = &edu_pci,
	.options = edu_options,
	.state = &edu_table,
	.runtime_size = sizeof(struct edu_runtime),
	.init = edu_init,
	.finish = edu_finish,
	.region_read = edu_read,
	.region_write = edu_write,
	.is_hot = edu_is_hot,
	.reset = edu_reset,
	.in_flight = edu_in_flight,
	.stop = edu_stop,
	.run = edu_run,
	.check = edu_check,
};
