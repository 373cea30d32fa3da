// SPDX-License-Identifier: BSD-3-Clause
/*
 * A block of a drive in memory is old or new for whoever reads it, never half of each
 * (NVM command set, 2.1.4: a logical block is written as a whole).  One thread that
 * copies cannot do otherwise.  Several have to take turns where they meet: the drive
 * is divided into cells, of a page each, and whoever copies to or from one has it
 * meanwhile.  A cell has no memory of its own: those that are some way apart
 * share a flag.
 *
 * Nobody waits for anything else while he has one, so the wait is as long as a page
 * takes; or as long as the scheduler keeps the other off his core.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

#define CELL	4096u
#define FLAGS	256u
#define SPINS	64u

/* A line each: neighbours are different threads'. */
struct nvme_cell {
	_Alignas(64) uint32_t taken;
};

int nvme_cells_init(struct nvme *n)
{
	if (n->nr_lanes == 1)
		return 0;
	n->cells = nvme_lines_get(_Alignof(struct nvme_cell),
				  FLAGS * sizeof(*n->cells));
	return n->cells ? 0 : -ENOMEM;
}

void nvme_cells_finish(struct nvme *n)
{
	free(n->cells);
	n->cells = NULL;
}

uint32_t nvme_cell_left(uint64_t offset)
{
	return CELL - offset % CELL;
}

static struct nvme_cell *cell_of(const struct nvme_ns *ns, uint64_t offset)
{
	return &ns->n->cells[(offset / CELL + ns->nsid) % FLAGS];
}

void nvme_cell_take(const struct nvme_ns *ns, uint64_t offset)
{
	struct nvme_cell *cell = cell_of(ns, offset);

	for (unsigned i = 1;
	     __atomic_exchange_n(&cell->taken, 1, __ATOMIC_ACQUIRE); i++)
		if (i % SPINS == 0)
			sched_yield();
}

void nvme_cell_put(const struct nvme_ns *ns, uint64_t offset)
{
	__atomic_store_n(&cell_of(ns, offset)->taken, 0, __ATOMIC_RELEASE);
}

void nvme_cells_read(const struct nvme_ns *ns, uint64_t offset, void *to,
		     uint32_t len)
{
	const uint8_t *memory = ns->info->memory;
	uint8_t *at = to;

	while (len && ns->n->cells) {
		uint32_t part = nvme_cell_left(offset);

		if (part > len)
			part = len;
		nvme_cell_take(ns, offset);
		memcpy(at, memory + offset, part);
		nvme_cell_put(ns, offset);
		at += part;
		offset += part;
		len -= part;
	}
	memcpy(at, memory + offset, len);
}
