/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of moving have in common. */
#ifndef OB_TESTS_NVME_MOVE_H
#define OB_TESTS_NVME_MOVE_H

#include "lib.h"

static const struct nvme_sqe flush = {
	.opcode = NVME_IO_FLUSH, .nsid = 1,
};

static inline struct nvme *model(struct guest *g)
{
	return ob_dev_runtime(g->dev);
}

static inline uint16_t put(struct guest *g, struct nvme_sqe sqe)
{
	return guest_put(g, &g->io[1], &sqe);
}

static inline uint64_t filled(struct guest *g, uint32_t seed)
{
	uint64_t addr = guest_alloc(g, 4096);

	fill(guest_ptr(g, addr), 4096, seed);
	return addr;
}

static inline bool holds(struct guest *g, uint64_t lba, uint32_t seed)
{
	uint64_t addr = guest_alloc(g, 4096);

	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, lba, 8, addr)),
			 0);
	return is_filled(guest_ptr(g, addr), 4096, seed);
}

static inline void stop_at_once(struct guest *g)
{
	lib_stop(g->dev);
	lib_halt(g->dev);
}

/* g goes on in a new device; the old one goes. */
static inline void move(struct guest *g, const char *options)
{
	struct ob_device *old = g->dev;

	lib_move(g, lib_create(g, options));
	lib_destroy(old);
}

#endif
