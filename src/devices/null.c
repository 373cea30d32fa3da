// SPDX-License-Identifier: BSD-3-Clause
/*
 * The smallest model: a page of registers that remember what was written,
 * and one of them rings an interrupt.  docs/edu-tutorial.md walks through it.
 *
 *	BAR0	0x000 to 0xffb	scratch
 *		0xffc to 0xfff	scratch; a write also raises MSI-X vector 0
 *	BAR1	the MSI-X table and pending bits
 */
#include <string.h>

#include "devices/models.h"

#define NULL_SIZE	4096
#define NULL_DOORBELL	0xffc

/* What must survive the process: all of it is here. */
struct null_state {
	uint8_t registers[NULL_SIZE];
};

static const struct ob_field null_fields[] = {
	OB_BYTES(1, struct null_state, registers, "0.1"),
	OB_END
};

static const struct ob_table null_table = {
	.name = "null", .size = sizeof(struct null_state),
	.fields = null_fields,
};

/* The vendor is the one that emulators use for devices of no vendor. */
static const struct ob_pci null_pci = {
	.vendor = 0x1234, .device = 0x0b00,
	.subsystem_vendor = 0x1234, .subsystem = 0x0b00,
	.class_code = 0xff0000,		/* in no class */
	.bars = { { .size = NULL_SIZE }, { .size = 4096 } },
	.pm = true,
	.express = true,
	.msix_vectors = 1,
	.msix_table_bar = 1, .msix_pba_bar = 1, .msix_pba_offset = 0x800,
};

/* The library has checked that the access is inside the BAR. */
static void null_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		      void *buf, size_t len)
{
	struct null_state *st = ob_dev_state(dev);

	if (bar == OB_BAR0)
		memcpy(buf, st->registers + offset, len);
}

static void null_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		       const void *buf, size_t len)
{
	struct null_state *st = ob_dev_state(dev);

	if (bar != OB_BAR0)
		return;
	memcpy(st->registers + offset, buf, len);
	if (offset + len > NULL_DOORBELL)
		ob_irq_raise(dev, 0);
}

static bool null_is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
			bool write)
{
	(void)dev;
	(void)bar;
	(void)offset;
	return !write;
}

static void null_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct null_state *st = ob_dev_state(dev);

	(void)kind;
	memset(st, 0, sizeof(*st));
}

const struct ob_device_class ob_null_class = {
	.size = sizeof(struct ob_device_class),
	.abi = OB_DEVICE_ABI,
	.name = "null",
	.summary = "a page of scratch registers and one interrupt",
	.pci = &null_pci,
	.state = &null_table,
	.region_read = null_read,
	.region_write = null_write,
	.is_hot = null_is_hot,
	.reset = null_reset,
};
