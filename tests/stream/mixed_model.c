// SPDX-License-Identifier: BSD-3-Clause
/*
 * One model in three releases of itself, for tests of what they read of each
 * other; RELEASE says which.  Between the first and the second everything
 * that docs/stream.md allows has happened to its table: rows have moved,
 * become wider, narrower and longer, have gone and come, some of them
 * optional.  The third is the first with one more part.
 *
 * BAR0 has registers of 8 bytes, the same in each release; one whose field
 * the release has not reads as ones.
 */
#include <string.h>

#include <outboard/device.h>

#ifndef RELEASE
#define RELEASE 1
#endif

#if RELEASE == 2
struct queue {
	uint32_t head, depth;
	uint64_t base;
};

struct mixed {
	struct queue queues[2];
	uint32_t hint, added;
	uint8_t name[16];
	uint32_t list[4];
	uint32_t bound;
	uint16_t narrow;
	uint8_t reserved[2];
	uint64_t wide;
};

static const struct ob_field queue_rows[] = {
	OB_U32(2, struct queue, head, "1"),
	OB_U32(3, struct queue, depth, "2", .def = 32),
	OB_U64(1, struct queue, base, "1"),
	OB_END
};

static const struct ob_table queue_table = {
	"mixed-queue", sizeof(struct queue), queue_rows
};

static const struct ob_field rows[] = {
	OB_STRUCTS(9, struct mixed, queues, struct queue, &queue_table, "1"),
	OB_U32(8, struct mixed, hint, "2", .optional = true),
	OB_U32(10, struct mixed, added, "2", .def = 77),
	OB_BYTES(7, struct mixed, name, "1"),
	OB_U32(6, struct mixed, list, "1"),
	OB_U32(3, struct mixed, bound, "1", .max = 1000),
	OB_U16(2, struct mixed, narrow, "1"),
	OB_RESERVED(struct mixed, reserved),
	OB_U64(1, struct mixed, wide, "1"),
	OB_END
};
#else
struct queue {
	uint64_t base;
	uint32_t head;
	uint8_t reserved[4];
};

struct mixed {
	uint64_t narrow;
	uint32_t bound, gone, forgotten, list[2];
	uint16_t wide;
	uint8_t reserved[2];
	uint8_t name[8];
	struct queue queues[2];
};

static const struct ob_field queue_rows[] = {
	OB_U64(1, struct queue, base, "1"),
	OB_U32(2, struct queue, head, "1"),
	OB_RESERVED(struct queue, reserved),
	OB_END
};

static const struct ob_table queue_table = {
	"mixed-queue", sizeof(struct queue), queue_rows
};

static const struct ob_field rows[] = {
	OB_U64(2, struct mixed, narrow, "1"),
	OB_U32(3, struct mixed, bound, "1"),
	OB_U32(4, struct mixed, gone, "1"),
	OB_U32(5, struct mixed, forgotten, "1", .optional = true),
	OB_U32(6, struct mixed, list, "1"),
	OB_U16(1, struct mixed, wide, "1"),
	OB_RESERVED(struct mixed, reserved),
	OB_BYTES(7, struct mixed, name, "1"),
	OB_STRUCTS(9, struct mixed, queues, struct queue, &queue_table, "1"),
	OB_END
};
#endif

static const struct ob_table table = { "mixed", sizeof(struct mixed), rows };

#if RELEASE == 3
struct hot {
	uint64_t cursor;
};

static const struct ob_field hot_rows[] = {
	OB_U64(1, struct hot, cursor, "3"),
	OB_END
};

static const struct ob_table hot_table = {
	"mixed-hot", sizeof(struct hot), hot_rows
};
#endif

static const struct ob_pci pci = {
	.vendor = 0x1234, .device = 0x0002, .class_code = 0xff0000,
	.bars = { { .size = 4096 } },
	.msi_vectors = 1,
};

/* Where a register is; size 0: this release has it not. */
struct place {
	bool hot;
	size_t offset, size;
};

#define AT(member) { false, offsetof(struct mixed, member), \
		     sizeof(((struct mixed *)0)->member) }

/* By number; tests/stream/test_mixed.py has their names. */
static const struct place places[] = {
	[0] = AT(wide), [1] = AT(narrow), [2] = AT(bound),
	[7] = AT(list[0]), [8] = AT(list[1]),
	[12] = AT(queues[1].base), [13] = AT(queues[1].head),
#if RELEASE == 2
	[5] = AT(added), [6] = AT(hint), [9] = AT(list[2]), [10] = AT(list[3]),
	[11] = { false, offsetof(struct mixed, name), 8 },
	[14] = AT(queues[1].depth),
	[15] = { false, offsetof(struct mixed, name) + 8, 8 },
#else
	[3] = AT(gone), [4] = AT(forgotten), [11] = AT(name),
#endif
#if RELEASE == 3
	[16] = { true, 0, 8 },
#endif
	[17] = { 0 },
};

static uint8_t *find(struct ob_device *dev, uint64_t offset, size_t *size)
{
	size_t i = offset / 8;
	const struct place *p;

	if (i >= sizeof(places) / sizeof(places[0]) || !places[i].size)
		return NULL;
	p = &places[i];
	*size = p->size;
	return (uint8_t *)(p->hot ? ob_dev_hot(dev) : ob_dev_state(dev)) +
	       p->offset;
}

static void mixed_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		       void *buf, size_t len)
{
	uint64_t value = UINT64_MAX;
	size_t size;
	uint8_t *at = find(dev, offset, &size);

	(void)bar;
	if (at) {
		value = 0;
		memcpy(&value, at, size);
	}
	memcpy(buf, &value, len < 8 ? len : 8);
}

static void mixed_write(struct ob_device *dev, unsigned bar, uint64_t offset,
			const void *buf, size_t len)
{
	size_t size;
	uint8_t *at = find(dev, offset, &size);

	(void)bar;
	if (at && len >= size)
		memcpy(at, buf, size);
}

static void mixed_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct mixed *st = ob_dev_state(dev);

	(void)kind;
	memset(st, 0, sizeof(*st));
#if RELEASE == 2
	st->added = 77;
	st->queues[0].depth = st->queues[1].depth = 32;
#endif
#if RELEASE == 3
	memset(ob_dev_hot(dev), 0, sizeof(struct hot));
#endif
}

__attribute__((visibility("default")))
const struct ob_device_class outboard_device_class = {
	.size = sizeof(struct ob_device_class),
	.abi = OB_DEVICE_ABI,
	.name = "mixed",
	.summary = "a model in several releases",
	.pci = &pci,
	.state = &table,
#if RELEASE == 3
	.hot = &hot_table,
#endif
	.region_read = mixed_read,
	.region_write = mixed_write,
	.reset = mixed_reset,
};
