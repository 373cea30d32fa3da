/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's memory while it moves: one memfd on each side, one address.  The
 * guest's pointers stay right because the other side's memfd is mapped over
 * the same addresses when it has moved.
 *
 * A VMM knows which pages its CPUs wrote; here the guest says so (guest_ram_wrote).
 * What the device wrote it must learn from the device's log, so a page that
 * is missing there arrives as it was before, or as garbage.
 */
#ifndef TOOLS_GUEST_RAM_H
#define TOOLS_GUEST_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>

#define RAM_PAGE 4096u

struct guest_ram {
	uint8_t *here;			/* where the guest sees it */
	uint64_t addr;			/* guest-physical */
	size_t size, pages;
	int fds[2];			/* a side's memory each */
	uint8_t *sides[2];		/* the same, for copying */
	unsigned side;			/* where the guest is */
	uint64_t *dirty;		/* bit per page, still to be copied */
};

/* Takes over the memory that is mapped at here and is fd's. */
int guest_ram_init(struct guest_ram *ram, void *here, uint64_t addr, size_t size, int fd,
	     struct ob_err *err);
void guest_ram_finish(struct guest_ram *ram);

/* The guest's CPU wrote there. */
void guest_ram_wrote(struct guest_ram *ram, const void *at, size_t len);
/* A move begins: the other side is garbage, every page is to be copied. */
void guest_ram_begin(struct guest_ram *ram);
/* Adds what the device wrote; a page's bit is taken out of its log. */
int guest_ram_collect(struct guest_ram *ram, struct ob_client *client, struct ob_err *err);
/* Copies what is to be copied; returns the pages. */
size_t guest_ram_copy(struct guest_ram *ram);
/* The guest is on the other side now. */
int guest_ram_switch(struct guest_ram *ram, struct ob_err *err);
/* Memory of a side, for a client's map. */
struct ob_client_dma guest_ram_map(const struct guest_ram *ram, unsigned side);

#endif
