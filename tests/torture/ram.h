/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's memory while it moves: one memfd on each side, one address.  The
 * guest's pointers stay right because the other side's memfd is mapped over
 * the same addresses when it has moved.
 *
 * A VMM knows which pages its CPUs wrote; here the guest says so (ram_wrote).
 * What the device wrote it must learn from the device's log, so a page that
 * is missing there arrives as it was before, or as garbage.
 */
#ifndef TORTURE_RAM_H
#define TORTURE_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>

#define RAM_PAGE 4096u

struct ram {
	uint8_t *here;			/* where the guest sees it */
	uint64_t addr;			/* guest-physical */
	size_t size, pages;
	int fds[2];			/* a side's memory each */
	uint8_t *sides[2];		/* the same, for copying */
	unsigned side;			/* where the guest is */
	uint64_t *dirty;		/* bit per page, still to be copied */
};

/* Takes over the memory that is mapped at here and is fd's. */
int ram_init(struct ram *ram, void *here, uint64_t addr, size_t size, int fd,
	     struct ob_err *err);
void ram_finish(struct ram *ram);

/* The guest's CPU wrote there. */
void ram_wrote(struct ram *ram, const void *at, size_t len);
/* A move begins: the other side is garbage, every page is to be copied. */
void ram_begin(struct ram *ram);
/* Adds what the device wrote; a page's bit is taken out of its log. */
int ram_collect(struct ram *ram, struct ob_client *client, struct ob_err *err);
/* Copies what is to be copied; returns the pages. */
size_t ram_copy(struct ram *ram);
/* The guest is on the other side now. */
int ram_switch(struct ram *ram, struct ob_err *err);
/* Memory of a side, for a client's map. */
struct ob_client_dma ram_map(const struct ram *ram, unsigned side);

#endif
