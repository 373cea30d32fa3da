// SPDX-License-Identifier: BSD-3-Clause
/*
 * A model in a shared object, as somebody outside of the tree writes it.  It
 * is also built with an interface number, a size or a name that is wrong, and
 * as one whose operations never end, and one that a certain write kills, or, in
 * each life that takes it over, a register's value.
 */
#include <outboard/device.h>

#include <stdlib.h>
#include <string.h>

#ifndef SAMPLE_ABI
#define SAMPLE_ABI OB_DEVICE_ABI
#endif
#ifndef SAMPLE_SIZE
#define SAMPLE_SIZE sizeof(struct ob_device_class)
#endif
#ifndef SAMPLE_NAME
#define SAMPLE_NAME "sample"
#endif

static void sample_write(struct ob_device *dev, unsigned bar, uint64_t offset,
			 const void *buf, size_t len)
{
	(void)bar;
	(void)offset;
	(void)buf;
	(void)len;
#ifdef SAMPLE_CRASHES
	if (len == 4 && offset == 0 && !memcmp(buf, "\xad\xde\0\0", 4))
		abort();
	if (len == 4 && offset == 4)
		memcpy(ob_dev_state(dev), buf, len);
#endif
	ob_irq_raise(dev, 0);
}

#ifdef SAMPLE_CRASHES
struct sample {
	uint32_t value;
};

static const struct ob_field sample_rows[] = {
	OB_U32(1, struct sample, value, "0.1"),
	OB_END
};

static const struct ob_table sample_table = {
	"sample", sizeof(struct sample), sample_rows
};

/* Not gracefully, whatever it says. */
static int sample_check(struct ob_device *dev, const void *plain,
			const void *hot, struct ob_err *err)
{
	(void)dev;
	(void)hot;
	(void)err;
	if (((const struct sample *)plain)->value == 0xdead)
		abort();
	return 0;
}
#endif

#ifdef SAMPLE_HANGS
static unsigned sample_in_flight(struct ob_device *dev)
{
	(void)dev;
	return 1;
}
#else
#define sample_in_flight NULL
#endif

static const struct ob_pci sample_pci = {
	.vendor = 0x1234, .device = 0x0001,
	.class_code = 0xff0000,
	.bars = { { .size = 4096 } },
	.msi_vectors = 1,
};

#ifdef SAMPLE_SYMBOL
__attribute__((visibility("default")))
extern const struct ob_device_class SAMPLE_SYMBOL;
#define outboard_device_class SAMPLE_SYMBOL
#endif

__attribute__((visibility("default")))
const struct ob_device_class outboard_device_class = {
	.size = SAMPLE_SIZE,
	.abi = SAMPLE_ABI,
	.name = SAMPLE_NAME,
	.summary = "a model from outside",
	.pci = &sample_pci,
	.region_write = sample_write,
	.in_flight = sample_in_flight,
#ifdef SAMPLE_CRASHES
	.state = &sample_table,
	.check = sample_check,
#endif
};
